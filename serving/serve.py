"""Serve a recipe's merged model behind an OpenAI-compatible endpoint.

python -m serving.serve RECIPE [--base] [--port 8000]
"""

from __future__ import annotations

import argparse
import json
import signal
import sys

from common.errors import command
from common.files import shown
from common.recipes import find
from common.servers import Endpoint, merged_of, served_base, serving


def main() -> int:
    """Serve until Ctrl-C."""
    parser = argparse.ArgumentParser(
        prog="python -m serving.serve", description=__doc__.splitlines()[0]
    )
    parser.add_argument("recipe")
    parser.add_argument("--base", action="store_true", help="serve the recipe's base instead")
    parser.add_argument("--port", type=int, default=8000)
    options = parser.parse_args()
    recipe = find(options.recipe)
    model = served_base(recipe, None) if options.base else merged_of(recipe)
    log = recipe.output / "serve.log"
    with serving(model, log, options.port) as endpoint:
        print(f"{recipe.id} at {endpoint.url} ({endpoint.kind}); its log is {shown(log)}")
        print(f"Ctrl-C ends it. For instance:\n  {_example(endpoint)}", flush=True)
        signal.pause()
    return 0


def _example(endpoint: Endpoint) -> str:
    """A command that asks the model something."""
    body = {
        "model": endpoint.model,
        "messages": [{"role": "user", "content": "Why async?"}],
        "max_tokens": 300,
    }
    header = "-H 'content-type: application/json'"
    return f"curl {endpoint.url}/chat/completions {header} -d '{json.dumps(body)}'"


if __name__ == "__main__":
    sys.exit(command(main))
