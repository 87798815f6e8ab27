"""python -m preprocess.teacher DATASET: write the rows its prompt files ask for, to
datasets/DATASET/teacher/accepted.

A killed or stopped run continues where it was; a finished one costs nothing to run again. Exit code
1 when it could not go on.
"""

import argparse
import asyncio
import sys
from contextlib import closing
from dataclasses import astuple, fields
from pathlib import Path

from common.errors import AetherError, command
from common.files import ROOT
from common.options import parser_of
from preprocess.teacher import settings
from preprocess.teacher.expand import EVERYTHING, Run
from preprocess.teacher.tally import Estimate, estimates


def main(words: list[str] | None = None, root: Path = ROOT) -> int:
    """Run the command.

    `words`: the command line's; `root`: the folder that holds datasets/. Raises AetherError.
    """
    options = arguments(words)
    folder = root / "datasets" / options.dataset
    if not (folder / "teacher" / "teacher.yaml").is_file():
        there = sorted(path.parts[-3] for path in root.glob("datasets/*/teacher/teacher.yaml"))
        wanted = f"no dataset {options.dataset!r} with a teacher/teacher.yaml"
        raise AetherError(f"{wanted}. There are: {', '.join(there)}")
    try:
        run = Run(settings.read(folder), options.limit, options.hub_dir, options.dry_run)
        with closing(run.database):
            asyncio.run(run.run())
            if options.dry_run:
                show_estimates(run, options.limit)
            else:
                print(run.outcome())
    except OSError as error:
        raise AetherError(f"{error.filename or folder}: {error.strerror}") from None
    if run.stopped:
        print(f"stopped: {run.stopped}", file=sys.stderr)
        return 1
    return 1 if run.tally.short and not options.dry_run else 0


def arguments(words: list[str] | None) -> argparse.Namespace:
    """The options of a command line."""
    parser = parser_of(__doc__, "--hub-dir")
    parser.add_argument(
        "dataset", help="name of a folder under datasets/ that holds teacher/teacher.yaml"
    )
    parser.add_argument(
        "--limit",
        type=int,
        default=EVERYTHING,
        help="at most so many variations of a seed and problems of a kind",
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="say what is missing and what it would cost; sends nothing",
    )
    return parser.parse_args(words)


def show_estimates(run: Run, limit: int) -> None:
    """Print what is missing and what it would cost, a line a category."""
    found = list(estimates(run.teaching, run.clients, run.tally, limit))
    total = Estimate("all", 0, 0)
    for estimate in found:
        for field in fields(Estimate)[1:]:
            setattr(total, field.name, getattr(total, field.name) + getattr(estimate, field.name))
    names = [field.name.replace("_", " ") for field in fields(Estimate)]
    print(f"{names[0]:<18}" + "".join(f"{name:>12}" for name in names[1:]))
    for estimate in [*found, total]:
        category, *numbers = astuple(estimate)
        cells = [
            f"{number:>12,.2f}" if name == "dollars" else f"{number:>12,.0f}"
            for name, number in zip(names[1:], numbers, strict=True)
        ]
        print(f"{category:<18}{''.join(cells)}")
    caps = run.teaching.settings
    print(
        "Rejected rows are asked again, twice at most: up to three times as much. Spent so far: "
        f"${run.ledger.dollars:.4f} of ${caps.cap_dollars:g}, "
        f"{run.ledger.tokens:,} of {caps.cap_tokens:,} tokens."
    )


if __name__ == "__main__":
    sys.exit(command(main))
