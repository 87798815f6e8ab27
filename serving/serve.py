"""Serve a recipe's model behind an OpenAI-compatible endpoint.

python -m serving.serve RECIPE... [--export FORMAT | --adapter | --base] [--no-persona]

The merged model by default; with --export one of its exports; with --adapter, or with several
recipes, their base with the adapter of each under the recipe's id. The dataset's short system
prompt begins each conversation that brings none, unless --no-persona. The key that clients must
send is read from ENDPOINT_API_KEY.
"""

import argparse
import json
import os
import shlex
import signal
import sys

from common.errors import command
from common.files import shown
from common.options import parser_of
from common.recipes import Recipe, find
from common.servers import KEY, LOOPBACK, Endpoint, Served, ServeError, kind_here, serving
from serving import models
from serving.settings import persona_of


def main() -> int:
    """Serve until Ctrl-C."""
    options = _options()
    recipes = [find(name) for name in dict.fromkeys(options.recipes)]
    kind = "llama" if (options.export or "").startswith("gguf") else kind_here()
    options.adapter = options.adapter or len(recipes) > 1
    _require(kind, options)
    persona = "" if options.no_persona else _persona(recipes)
    model = _chosen(recipes, options, persona)
    log = recipes[0].output / "serve.log"
    with serving(model, log, options.port, options.host) as endpoint:
        told = "with its short system prompt" if persona else "with no system prompt of its own"
        print(f"{endpoint.model} at {endpoint.url} ({kind}), {told}; its log is {shown(log)}")
        print(f"Ctrl-C ends it. For instance:\n  {_example(endpoint, recipes)}", flush=True)
        signal.pause()
    return 0


def _options() -> argparse.Namespace:
    parser = parser_of(__doc__)
    add = parser.add_argument
    add("recipes", nargs="+", metavar="RECIPE")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--export", metavar="FORMAT", help="serve an export, such as gguf or fp8")
    what.add_argument("--adapter", action="store_true", help="serve the base with adapters hot")
    what.add_argument("--base", action="store_true", help="serve the recipe's base instead")
    add("--no-persona", action="store_true", help="without the dataset's short system prompt")
    add("--flags", default="", help="further flags of vLLM or llama.cpp's server, in one string")
    add("--host", default=LOOPBACK, help="address to listen on; this machine alone without it")
    add("--port", type=int, default=8000)
    return parser.parse_args()


def _persona(recipes: list[Recipe]) -> str:
    """The system prompt of all of them. Raises ServeError where they differ."""
    prompts = {persona_of(recipe): recipe.id for recipe in recipes}
    if len(prompts) > 1:
        ids = " and ".join(prompts.values())
        raise ServeError(f"{ids} have different short system prompts; give PERSONA=0")
    return next(iter(prompts))


def _chosen(recipes: list[Recipe], options: argparse.Namespace, persona: str) -> Served:
    """What to start a server of. Raises AetherError."""
    first = recipes[0]
    further = tuple(shlex.split(options.flags))
    if options.adapter:
        return models.adapted_model(recipes, persona, further)
    if options.export:
        return models.exported_model(first, options.export, persona, further)
    if options.base:
        return models.base_model(first, persona, further)
    return models.merged_model(first, persona, further)


def _require(kind: str, options: argparse.Namespace) -> None:
    """Raise ServeError, before anything is made, for what this kind of server cannot do."""
    has_key = bool(os.environ.get(KEY))
    bare = kind in ("cpu", "cuda")
    if options.adapter and (options.export or options.base):
        raise ServeError("several recipes, or ADAPTER=1, serve adapters on their base alone")
    if options.adapter and kind != "vllm":
        raise ServeError("adapters are served hot by vLLM alone; install it (.venvs/serve/.ready)")
    if options.flags and bare:
        raise ServeError("FLAGS= are those of vLLM or llama.cpp's server, which is not used here")
    if has_key and bare:
        raise ServeError(f"{KEY}: transformers serve asks no client for a key; unset it")
    if options.host not in (LOOPBACK, "localhost") and (bare or not has_key):
        raise ServeError(
            f"HOST={options.host}: others would reach the model without a key; serve it with vLLM "
            f"or llama.cpp and set {KEY}"
        )


def _example(endpoint: Endpoint, recipes: list[Recipe]) -> str:
    """A command that asks the model something."""
    body = {
        "model": endpoint.model,
        "messages": [{"role": "user", "content": "Why async?"}],
        "max_tokens": 300,
    }
    header = "-H 'content-type: application/json'"
    if os.environ.get(KEY):
        header += f' -H "authorization: Bearer ${KEY}"'
    return f"curl {endpoint.url}/chat/completions {header} -d '{json.dumps(body)}'"


if __name__ == "__main__":
    sys.exit(command(main))
