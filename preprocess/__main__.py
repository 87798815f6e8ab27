"""python -m preprocess DATASET: build datasets/DATASET/build. Exit 1 with one line when an input is wrong; the last build stays."""

import argparse
import sys
from pathlib import Path

from preprocess import build
from preprocess.mix import MixError

ROOT = Path(__file__).resolve().parents[1]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m preprocess", description=__doc__)
    parser.add_argument("dataset", help="name of a folder under datasets/ that holds a mix.yaml")
    args = parser.parse_args()
    folder = ROOT / "datasets" / args.dataset
    if not (folder / "mix.yaml").is_file():
        there = ", ".join(sorted(path.parent.name for path in ROOT.glob("datasets/*/mix.yaml")))
        print(f"no dataset {args.dataset!r}. There are: {there}", file=sys.stderr)
        return 1
    try:
        print(build.build(folder))
    except (MixError, build.BuildError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
