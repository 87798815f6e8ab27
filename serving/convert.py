"""llama.cpp's own converter with the two corrections that this model needs.

python -m serving.convert MODEL OUT --outtype bf16 [--mmproj]

The image break: the stock converter drops the embeddings before it takes the row of [IMG_BREAK]
from them, and exits 0 with a projector that no one can load. The pre-tokenizer: the stock one goes
by a hash, which takes Tekken's regex for another one where the tokenizer adds no <s>; here the
regex in tokenizer.json decides.
"""

import json
import runpy
import sys
from pathlib import Path
from typing import Any

from common.errors import AetherError, command
from common.options import parser_of
from serving.llama_cpp import SOURCE

# Tekken's way of cutting text into words, which llama.cpp knows by this name.
TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|"
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|"
    r"\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


class ConversionError(AetherError):
    """A model that llama.cpp's converter would get wrong."""


def words_of(model: Path) -> str:
    """The regex by which a model's tokenizer.json cuts text into words; empty where it has none."""
    before = json.loads((model / "tokenizer.json").read_text())["pre_tokenizer"] or {}
    steps = before.get("pretokenizers", [before])
    splits = [step["pattern"]["Regex"] for step in steps if step.get("type") == "Split"]
    return splits[0] if len(splits) == 1 else ""


def correct(model: Path) -> None:
    """Correct the converter in this process. Raises ConversionError for another pre-tokenizer."""
    if words_of(model) != TEKKEN:
        raise ConversionError(
            f"{model / 'tokenizer.json'}: its words are not cut by Tekken's regex: llama.cpp would "
            "read other tokens; FORMAT=fp8 or w4 keep the tokenizer as it is"
        )
    sys.path[:0] = [str(SOURCE), str(SOURCE / "gguf-py")]
    from conversion import base, llava

    def keep(cls: type, item: tuple[str, Any]) -> tuple[str, Any] | None:
        return item if item[0].endswith("embed_tokens.weight") else stock(cls, item)

    stock = llava.LlavaVisionModel.filter_tensors.__func__
    llava.LlavaVisionModel.filter_tensors = classmethod(keep)
    base.TextModel.get_vocab_base_pre = lambda self, tokenizer: "tekken"


def main() -> int:
    parser = parser_of(__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("out")
    given, options = parser.parse_known_args()
    correct(given.model)
    converter = str(SOURCE / "convert_hf_to_gguf.py")
    sys.argv = [converter, str(given.model), "--outfile", given.out, *options]
    runpy.run_path(sys.argv[0], run_name="__main__")
    return 0


if __name__ == "__main__":
    sys.exit(command(main))
