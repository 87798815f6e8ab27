"""python -m preprocess.teacher DATASET: write the rows its prompt files ask for, to datasets/DATASET/teacher/accepted.

A killed or stopped run continues where it was; a finished one costs nothing to run again. Exit code 1 when it could not go on.
"""

import argparse
import asyncio
import os
import sys
from contextlib import closing
from pathlib import Path

from common.hub import HubError
from common.rows import RowError
from preprocess import build
from preprocess.mix import MixError
from preprocess.teacher.expand import Run
from preprocess.teacher.store import DOLLAR


def main() -> int | str:
    parser = argparse.ArgumentParser(prog="python -m preprocess.teacher", description=__doc__)
    parser.add_argument(
        "dataset", help="name of a folder under datasets/ that holds teacher/teacher.yaml"
    )
    parser.add_argument(
        "--limit",
        type=int,
        default=10**9,
        help="at most so many variations of a seed and problems of a kind",
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="say what is missing and what it would cost; sends nothing",
    )
    hub = os.environ.get("HUB_DIR") or None
    parser.add_argument(
        "--hub-dir",
        type=Path,
        default=hub,
        help="folder with the public data sets, instead of the hub",
    )
    args = parser.parse_args()
    folder = build.ROOT / "datasets" / args.dataset
    if not (folder / "teacher" / "teacher.yaml").is_file():
        there = ", ".join(
            sorted(path.parts[-3] for path in build.ROOT.glob("datasets/*/teacher/teacher.yaml"))
        )
        return f"error: no dataset {args.dataset!r} with a teacher/teacher.yaml. There are: {there}"
    try:
        run = Run(folder, args.limit, args.hub_dir, offline=args.dry_run)
        with closing(run.store.db):
            asyncio.run(run.run())
            if args.dry_run:
                _table(run)
            else:
                print(run.status())
                print(
                    f"dropped: {', '.join(f'{why} {n:,}' for why, n in run.dropped.most_common()) or 'none'}"
                )
                print(
                    f"calls: {', '.join(f'{outcome} {n:,}' for outcome, n in run.store.outcomes().items()) or 'none'}"
                )
                print(run.export())
    except (MixError, HubError, RowError) as error:
        return f"error: {error}"
    except OSError as error:
        return f"error: {error.filename or folder}: {error.strerror}"
    return f"stopped: {run.stopped}" if run.stopped else int(not args.dry_run and bool(run.short))


def _table(run: Run) -> None:
    """What is missing and what it would cost, a line a category."""
    lines, names = (
        list(run.estimate()),
        ("rows", "to write", "requests", "tokens in", "tokens out", "dollars", "minutes"),
    )
    print(f"{'category':<18}" + "".join(f"{name:>12}" for name in names))
    for name, *counts in [*lines, ["all", *map(sum, list(zip(*lines, strict=True))[1:])]]:
        cells = [
            f"{count:>12,.2f}" if of == "dollars" else f"{count:>12,.0f}"
            for of, count in zip(names, counts, strict=True)
        ]
        print(f"{name:<18}{''.join(cells)}")
    print(
        "Rejected rows are asked again, twice at most: up to three times as much. Spent so far: "
        f"${run.store.spent / DOLLAR:.4f} of ${run.settings.cap_dollars:g}, {run.store.tokens:,} of {run.settings.cap_tokens:,} tokens."
    )


if __name__ == "__main__":
    sys.exit(main())
