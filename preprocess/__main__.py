"""python -m preprocess DATASET: build datasets/DATASET/build. On a wrong input: one line, exit 1, the last build stays."""

import argparse
import os
import sys
from pathlib import Path

from common.hub import HubError
from common.rows import RowError
from preprocess import build, report
from preprocess.mix import MixError


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m preprocess", description=__doc__)
    parser.add_argument("dataset", help="name of a folder under datasets/ that holds a mix.yaml")
    hub = os.environ.get("HUB_DIR") or None
    parser.add_argument(
        "--hub-dir",
        type=Path,
        default=hub,
        help="folder with the public data sets, instead of the hub",
    )
    parser.add_argument(
        "--heldout",
        action="store_true",
        help="only the rows kept for evaluation, into datasets/DATASET/heldout",
    )
    parser.add_argument(
        "--export",
        type=Path,
        metavar="FOLDER",
        help="write a copy that `datasets.load_dataset` reads",
    )
    parser.add_argument(
        "--card", action="store_true", help="copy the built card to datasets/DATASET/README.md"
    )
    args = parser.parse_args()
    folder = build.ROOT / "datasets" / args.dataset
    if not (folder / "mix.yaml").is_file():
        there = ", ".join(
            sorted(path.parent.name for path in build.ROOT.glob("datasets/*/mix.yaml"))
        )
        sys.exit(f"no dataset {args.dataset!r}. There are: {there}")
    try:
        print(build.build(folder, args.hub_dir, args.heldout))
        if args.heldout:
            return 0
        if args.card:
            (folder / "README.md").write_bytes((folder / "build" / "README.md").read_bytes())
        if args.export:
            print(report.export(folder / "build", args.export))
    except (MixError, HubError, RowError, build.BuildError) as error:
        sys.exit(f"error: {error}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
