"""How a recipe's model is served: its short system prompt, and the flags of vLLM."""

import json
from pathlib import Path

from common import triad
from common.files import ROOT, load_yaml
from common.memory import PICTURES, SEQUENCES
from common.recipes import Recipe

SHORT_PROMPT = "serving.md"  # the name of a dataset's system prompt that is served
SIZES = (
    *("--limit-mm-per-prompt", json.dumps({"image": PICTURES})),
    *("--max-num-seqs", str(SEQUENCES)),
)
FLAGS = ("--reasoning-parser", "hf", *SIZES)  # hf: reads the copy's response_template


def persona_of(recipe: Recipe) -> str:
    """The short system prompt among those that a recipe's rows were built with, as they have it;
    "" where its mix names none of that name. Raises FileError.
    """
    dataset = (ROOT / recipe.data["rows"]["path"]).parent
    for source in load_yaml(dataset / "mix.yaml")["sources"]:
        named = source["system"]
        for name in named if isinstance(named, list) else [named]:
            if name and Path(name).name == SHORT_PROMPT:
                return triad.persona(dataset / name)
    return ""
