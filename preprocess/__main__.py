"""python -m preprocess DATASET: build datasets/DATASET/build. On a wrong input: one line, exit 1, the last build stays."""

import argparse
import os
import sys
from pathlib import Path

from apriel.rows import RowError
from preprocess import build, export
from preprocess.mix import MixError

ROOT = Path(__file__).resolve().parents[1]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m preprocess", description=__doc__)
    parser.add_argument("dataset", help="name of a folder under datasets/ that holds a mix.yaml")
    parser.add_argument(
        "--hub-dir",
        type=Path,
        default=os.environ.get("HUB_DIR") or None,
        help="folder with the public data sets, instead of the hub",
    )
    parser.add_argument(
        "--export", type=Path, metavar="FOLDER", help="write a copy that `datasets.load_dataset` reads: parquet with images"
    )
    parser.add_argument("--card", action="store_true", help="copy the built card to datasets/DATASET/README.md")
    args = parser.parse_args()
    folder = ROOT / "datasets" / args.dataset
    if not (folder / "mix.yaml").is_file():
        there = ", ".join(sorted(path.parent.name for path in ROOT.glob("datasets/*/mix.yaml")))
        print(f"no dataset {args.dataset!r}. There are: {there}", file=sys.stderr)
        return 1
    try:
        print(build.build(folder, args.hub_dir))
        if args.card:
            (folder / "README.md").write_bytes((folder / "build" / "README.md").read_bytes())
        if args.export:
            print(export.export(folder / "build", args.export))
    except (MixError, RowError, build.BuildError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
