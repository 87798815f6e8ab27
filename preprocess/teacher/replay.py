"""python -m preprocess.teacher.replay RECIPE: collect the base model's own replies, whole, where
their answers check: what keeps it able to reason, see and call tools while it learns a voice.

Nothing is needed but the base, which is served on this machine for as long as it is asked;
ENDPOINT= names one that already runs. What was asked before is not asked again.
"""

import argparse
import asyncio
import contextlib
import sys
from contextlib import closing
from pathlib import Path

from common import servers
from common.errors import command
from common.files import ROOT, shown
from common.options import parser_of
from common.recipes import find
from preprocess.teacher import settings
from preprocess.teacher.expand import EVERYTHING, Run

CATEGORY = "replay"


def main(words: list[str] | None = None, root: Path = ROOT) -> int:
    """Run the command.

    `words`: the command line's; `root`: the folder that holds recipes/ and datasets/. Raises
    AetherError.
    """
    options = _arguments(words)
    recipe = find(options.recipe, root)
    folder = (root / recipe.data["rows"]["path"]).parent
    teaching = settings.read(folder, [CATEGORY])
    with contextlib.ExitStack() as stack:
        if options.endpoint:
            server = servers.given(options.endpoint, options.model)
        else:
            model = servers.served_base(recipe, options.base)
            server = stack.enter_context(servers.serving(model, folder / ".build-replay.log"))
        print(f"{server.model} answers at {server.url}", file=sys.stderr)
        run = Run(teaching.asking(server), options.limit, options.hub_dir)
        with closing(run.database):
            asyncio.run(run.run())
            print(run.outcome())
    if run.stopped:
        print(f"stopped: {run.stopped}", file=sys.stderr)
    print(f"now: make data DATASET={folder.name}; {shown(folder / 'mix.yaml')} has its quota")
    return 1 if run.stopped or run.tally.short else 0


def _arguments(words: list[str] | None) -> argparse.Namespace:
    parser = parser_of(__doc__, "recipe", "--base", "--endpoint", "--model", "--hub-dir")
    limited = "at most so many problems of a kind"
    parser.add_argument("--limit", type=int, default=EVERYTHING, help=limited)
    return parser.parse_args(words)


if __name__ == "__main__":
    sys.exit(command(main))
