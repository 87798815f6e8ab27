"""Talk to a recipe's base and tuned model side by side, in the browser.

python -m serving.chat RECIPE [--endpoint URL --model ID --base-model ID] [--port N]

Starts what servers it needs: of vLLM one with the base and the adapter hot, else one of
transformers for each. What is kept goes to datasets/<name>/kept/, which `make data` reads.
"""

import argparse
import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace

from common import runs
from common.errors import command
from common.files import ROOT, shown
from common.options import parser_of
from common.recipes import Recipe, find
from common.servers import Endpoint, ServeError, given, kind_here, serving
from serving import models
from serving.conversation import BASE, TUNED
from serving.settings import persona_of

MAX_TOKENS = {"cpu": 256}  # of a reply; a small model that never ends is not waited for
USUAL_TOKENS = 4_096


def main() -> int:
    """Show the page until Ctrl-C."""
    parser = parser_of(__doc__, "recipe", "--endpoint", "--model", "--base-model")
    of_page = "of the page; 0 for any that is free"
    parser.add_argument("--port", type=int, default=7860, help=of_page)
    options = parser.parse_args()
    recipe = find(options.recipe)
    os.environ |= {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_DISABLE_TELEMETRY": "1"}
    from serving.page import Talk, show  # Gradio reads the environment when it is imported

    with _endpoints(recipe, options) as endpoints:
        talk = Talk(
            title=recipe.id,
            endpoints=endpoints,
            names={BASE: f"Base: {recipe.data['base_model']}", TUNED: f"Tuned: {recipe.id}"},
            persona=persona_of(recipe),
            folder=(ROOT / recipe.data["rows"]["path"]).parent / "kept",
            max_tokens=MAX_TOKENS.get(endpoints[TUNED].kind, USUAL_TOKENS),
        )
        url = show(talk, options.port)
        print(f"{recipe.id}: {url}; what you keep goes to {shown(talk.folder)}. Ctrl-C ends it.")
        sys.stdout.flush()
        signal.pause()
    return 0


@contextlib.contextmanager
def _endpoints(recipe: Recipe, options: argparse.Namespace) -> Iterator[dict[str, Endpoint]]:
    """Who answers on each side. Raises ServeError, RecipeError or RunError."""
    if options.endpoint:
        if not (options.model and options.base_model):
            raise ServeError("ENDPOINT= also needs MODEL= and BASE_MODEL=, both models' ids there")
        sides = {BASE: options.base_model, TUNED: options.model}
        yield {side: given(options.endpoint, id_) for side, id_ in sides.items()}
        return
    runs.finished(recipe)
    logs = recipe.output / "served"
    with contextlib.ExitStack() as servers:
        print("starting the servers; a minute or two", flush=True)
        if kind_here() == "vllm":
            both = models.adapted_model([recipe])
            endpoint = servers.enter_context(serving(both, logs / "chat.log"))
            yield {BASE: endpoint, TUNED: replace(endpoint, model=recipe.id)}
            return
        served = {BASE: models.base_model(recipe), TUNED: models.merged_model(recipe)}
        yield {
            side: servers.enter_context(serving(model, logs / f"chat-{side}.log"))
            for side, model in served.items()
        }


if __name__ == "__main__":
    sys.exit(command(main))
