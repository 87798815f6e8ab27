"""python -m preprocess.teacher DATASET: write the rows its prompt files ask for, to datasets/DATASET/teacher/accepted.

A killed or stopped run continues where it was; a finished one costs nothing to run again. Exit code 1 when it could not go on.
"""

import argparse
import os
import sys
from contextlib import closing
from pathlib import Path

from preprocess import build
from preprocess.mix import MixError
from preprocess.teacher.expand import Run
from preprocess.teacher.store import DOLLAR

HEAD = ("category", "rows", "to write", "requests", "tokens in", "tokens out", "dollars", "minutes", "reply length and speed")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m preprocess.teacher", description=__doc__)
    parser.add_argument("dataset", help="name of a folder under datasets/ that holds teacher/teacher.yaml")
    parser.add_argument("--only", nargs="+", metavar="CATEGORY", help="these prompt files, instead of teacher.yaml's categories")
    parser.add_argument("--limit", type=int, help="at most so many variations of a seed and problems of a kind")
    parser.add_argument("--dry-run", action="store_true", help="say what is missing and what it would cost; sends nothing")
    parser.add_argument("--recheck", action="store_true", help="decide anew on every stored reply; sends nothing")
    parser.add_argument(
        "--hub-dir", type=Path, default=os.environ.get("HUB_DIR") or None, help="folder with the public data sets"
    )
    args = parser.parse_args()
    folder = build.ROOT / "datasets" / args.dataset
    if not (folder / "teacher" / "teacher.yaml").is_file():
        there = ", ".join(sorted(path.parts[-3] for path in build.ROOT.glob("datasets/*/teacher/teacher.yaml")))
        sys.exit(f"no dataset {args.dataset!r} with a teacher/teacher.yaml. There are: {there}")
    try:
        run = Run(folder, args.only, args.limit, args.hub_dir, offline=args.dry_run or args.recheck)
        with closing(run.store.db):
            run.run(recheck=args.recheck)
            if args.dry_run:
                _table(run)
            else:
                print(run.status())
                print(f"dropped: {', '.join(f'{why} {n:,}' for why, n in run.dropped.most_common()) or 'none'}")
                print(f"calls: {', '.join(f'{outcome} {n:,}' for outcome, n in run.store.outcomes().items()) or 'none'}")
                print(run.export())
    except MixError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        sys.exit(f"error: {error.filename or folder}: {error.strerror}")
    return f"stopped: {run.stopped}" if run.stopped else 0


def _table(run: Run) -> None:
    """What is missing and what it would cost, a line a category."""
    lines = list(run.estimate())
    sums = ["all", *(sum(line[at] for line in lines) for at in range(1, 8)), ""]
    shown = [
        HEAD,
        *(
            [f"{c:,.2f}" if at == 6 else f"{c:,.0f}" if at else c for at, c in enumerate(line[:8])] + line[8:]
            for line in [*lines, sums]
        ),
    ]
    widths = [max(len(line[at]) for line in shown) for at in range(len(HEAD))]
    for line in shown:
        print(
            "  ".join(
                cell.rjust(width) if at else cell.ljust(width) for at, (cell, width) in enumerate(zip(line, widths, strict=True))
            )
        )
    settings = run.settings
    print(
        f"Rejected rows are asked again, twice at most: up to three times as much. Spent so far: ${run.store.spent / DOLLAR:.4f}",
        end=" ",
    )
    print(
        f"of ${settings.cap_dollars:g}, {run.store.tokens:,} of {settings.cap_tokens:,} tokens. {settings.concurrency} requests at a time."
    )


if __name__ == "__main__":
    sys.exit(main())
