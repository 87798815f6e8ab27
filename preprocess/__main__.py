"""python -m preprocess DATASET: build datasets/DATASET/build. On a wrong input: one line, exit 1,
the last build stays."""

import sys
from pathlib import Path

from common.errors import AetherError, command
from common.files import ROOT
from common.options import parser_of
from common.processes import exit_on_sigterm
from preprocess import build, export, written


def main() -> None:
    parser = parser_of(__doc__, "--hub-dir")
    parser.add_argument("dataset", help="name of a folder under datasets/ that holds a mix.yaml")
    parser.add_argument(
        "--heldout",
        action="store_true",
        help="only the rows kept for evaluation, into datasets/DATASET/heldout",
    )
    parser.add_argument(
        "--written",
        action="store_true",
        help="build nothing: count the hand-written files, have and want, in seconds",
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
    exit_on_sigterm()  # what is written aside is removed
    folder = ROOT / "datasets" / args.dataset
    if not (folder / "mix.yaml").is_file():
        names = sorted(path.parent.name for path in ROOT.glob("datasets/*/mix.yaml"))
        raise AetherError(f"no dataset {args.dataset!r}. There are: {', '.join(names)}")
    if args.written:
        print(written.count(folder))
        return
    print(build.build(folder, args.hub_dir, args.heldout))
    if args.heldout:
        return
    if args.card:
        (folder / "README.md").write_bytes((folder / "build" / "README.md").read_bytes())
    if args.export:
        print(export.export(folder / "build", args.export))


if __name__ == "__main__":
    sys.exit(command(main))
