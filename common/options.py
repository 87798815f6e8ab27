"""The command lines of the house: what a module's text says of its call, and the options that mean
the same wherever they are taken.

Standard library only: it runs before any environment is there.
"""

import argparse
import os
import re
from pathlib import Path

SHARED: dict[str, dict] = {
    "recipe": {
        "nargs": "?",
        "default": "",
        "help": "name, name/vN, or a path to a YAML file",
    },
    "--base": {"help": "a local folder in the place of the recipe's base model"},
    "--gpus": {"type": int, "help": "how many; as many as the recipe asks for without it"},
    "--json": {"action": "store_true", "help": "print one JSON object instead"},
    "--endpoint": {
        "help": "OpenAI-compatible server that already runs; ENDPOINT_API_KEY where it wants a key"
    },
    "--model": {"default": "", "help": "the id of the model that is meant at that server"},
    "--base-model": {"default": "", "help": "the base's id there"},
    "--hub-dir": {
        "type": Path,
        "default": os.environ.get("HUB_DIR") or None,
        "help": "folder with the public data sets, in the place of the hub",
    },
}


def parser_of(text: str, *shared: str) -> argparse.ArgumentParser:
    """The parser of a command whose module's text names the call, with these shared options."""
    called = re.search(r"python -m [\w.]+", text)
    assert called
    parser = argparse.ArgumentParser(prog=called[0], description=text.splitlines()[0])
    for name in shared:
        parser.add_argument(name, **SHARED[name])
    return parser
