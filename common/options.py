"""The command lines of the house: what a module's text says of its call, and the options that mean
the same wherever they are taken.

Standard library only: it runs before any environment is there.
"""

import argparse
import os
import re
from pathlib import Path
from typing import NoReturn

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


class Parser(argparse.ArgumentParser):
    """A parser that says what is wrong in one line, with the variable that `make` takes."""

    def error(self, message: str) -> NoReturn:
        """Exit with 2, as argparse does."""
        named = re.sub(r"argument --(\S+):", lambda found: f"{found[1].upper()}=:", message)
        self.exit(2, f"error: {named}\n")


def parser_of(text: str, *shared: str) -> argparse.ArgumentParser:
    """The parser of a command whose module's text names the call, with these shared options."""
    called = re.search(r"python -m [\w.]+", text)
    assert called
    parser = Parser(prog=called[0], description=text.splitlines()[0])
    for name in shared:
        parser.add_argument(name, **SHARED[name])
    return parser
