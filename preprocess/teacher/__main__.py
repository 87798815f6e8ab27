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
    return f"stopped: {run.stopped}" if run.stopped else int(run.gave_up)


def _table(run: Run) -> None:
    """What is missing and what it would cost, a line a category."""
    lines = list(run.estimate())
    print(
        f"{'category':<18}{'rows':>8}{'to write':>10}{'requests':>10}{'tokens in':>13}{'tokens out':>12}{'dollars':>10}{'minutes':>9}"
    )
    for name, rows, short, requests, into, out, dollars, minutes, basis in [
        *lines,
        ["all", *map(sum, list(zip(*lines, strict=True))[1:8]), ""],
    ]:
        counts = f"{rows:>8,}{short:>10,}{requests:>10,.0f}{into:>13,.0f}{out:>12,.0f}{dollars:>10,.2f}{minutes:>9,.0f}"
        print(f"{name:<18}{counts}  {basis}")
    settings, store = run.settings, run.store
    print(
        "Rejected rows are asked again, twice at most: up to three times as much. "
        f"Spent so far: ${store.spent / DOLLAR:.4f} of ${settings.cap_dollars:g}, {store.tokens:,} of {settings.cap_tokens:,} tokens."
    )


if __name__ == "__main__":
    sys.exit(main())
