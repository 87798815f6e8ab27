"""Quantise a merged model with llm-compressor, in its own environment.

.venvs/export/bin/python -m serving.quantise MODEL OUT fp8|w4
.venvs/export/bin/python -m serving.quantise MODEL OUT awq ROWS

FP8 and W4 go shard by shard without loading the model, on any machine. AWQ runs the model on
calibration rows with their pictures, and wants a GPU. Only the decoder's linear maps are quantised.
"""

import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from common.errors import command
from common.files import load_json, write_json
from common.options import parser_of
from serving.carried import sidecars

KEPT = (
    "re:.*lm_head",
    "re:.*vision_tower.*",
    "re:.*multi_modal_projector.*",
    "re:.*embed_tokens.*",
)
SCHEMES = {"fp8": "FP8_DYNAMIC", "w4": "W4A16"}
CALIBRATION_ROWS = 256
CALIBRATION_TOKENS = 4096
AWQ_GROUP = 32


def without_data(model: Path, out: Path, form: str) -> None:
    """FP8 or W4 of the weights as they are."""
    import torch
    from llmcompressor import model_free_ptq

    with tempfile.TemporaryDirectory() as alone:  # it reads and copies whatever lies in a folder
        for path in [*sidecars(model), *model.glob("*.safetensors*")]:
            (Path(alone) / path.name).symlink_to(path.resolve())
        model_free_ptq(
            model_stub=alone,
            save_directory=str(out),
            scheme=SCHEMES[form],
            ignore=list(KEPT),
            max_workers=1,
            device="cuda" if torch.cuda.is_available() else "cpu",
        )


def with_rows(model: Path, out: Path, rows: Path) -> None:
    """AWQ: scales moved between norms and maps so that what the rows make large is kept best."""
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
    from llmcompressor import oneshot
    from llmcompressor.modifiers.quantization import QuantizationModifier
    from llmcompressor.modifiers.transform.awq import AWQMapping, AWQModifier
    from transformers import AutoProcessor, LlavaForConditionalGeneration

    loaded = LlavaForConditionalGeneration.from_pretrained(model, dtype="auto")
    processor = AutoProcessor.from_pretrained(model)
    arguments = QuantizationArgs(
        num_bits=4, type="int", strategy="group", group_size=AWQ_GROUP, symmetric=True
    )
    scheme = QuantizationScheme(targets=["Linear"], weights=arguments)
    before = "re:.*language_model.*"
    feeds = {
        "input_layernorm": ("q_proj", "k_proj", "v_proj"),
        "v_proj": ("o_proj",),
        "post_attention_layernorm": ("gate_proj", "up_proj"),
        "up_proj": ("down_proj",),
    }
    mappings = [
        AWQMapping(f"{before}{name}$", [f"{before}{layer}$" for layer in layers])
        for name, layers in feeds.items()
    ]
    batches = calibration(rows, processor, loaded.dtype)
    oneshot(
        model=loaded,
        processor=processor,
        dataset=batches,
        recipe=[
            AWQModifier(mappings=mappings, duo_scaling=True),
            QuantizationModifier(config_groups={"decoder": scheme}, ignore=list(KEPT)),
        ],
        num_calibration_samples=len(batches),
        max_seq_length=CALIBRATION_TOKENS,
        sequential_targets=["MistralDecoderLayer"],
    )
    loaded.save_pretrained(out, save_compressed=True)


def calibration(path: Path, processor: Any, dtype: Any) -> Any:
    """The first rows of a file as the model reads them, with their pictures, one a batch."""
    import itertools

    from torch.utils.data import DataLoader

    from common import rows
    from common.pictures import decode

    made = []
    for row in itertools.islice(rows.read(path), CALIBRATION_ROWS):
        parts = itertools.chain.from_iterable(message["content"] for message in row["messages"])
        pictures = [decode(path.parent / p["path"], None) for p in parts if p["type"] == "image"]
        text = processor.apply_chat_template(row["messages"])
        inputs = processor(
            text=text, images=pictures or None, add_special_tokens=False, return_tensors="pt"
        )
        inputs.pop("token_type_ids", None)
        if "pixel_values" in inputs:
            inputs["pixel_values"] = inputs["pixel_values"].to(dtype)
        made.append(dict(inputs))
    return DataLoader(made, batch_size=1, collate_fn=lambda batch: batch[0])


def carry_over(model: Path, out: Path) -> None:
    """Leave in `out` the weights, the merged model's own files as they are, and nothing else."""
    quantised = load_json(out / "config.json")["quantization_config"]
    for path in out.iterdir():
        if not path.name.endswith((".safetensors", ".safetensors.index.json")):
            path.unlink()
    for path in sidecars(model):
        shutil.copyfile(path, out / path.name)
    config = load_json(model / "config.json")
    write_json(out / "config.json", config | {"quantization_config": quantised})


def main() -> int:
    parser = parser_of(__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("form")
    parser.add_argument("rows", type=Path, nargs="?")
    given = parser.parse_args()
    if given.rows:
        with_rows(given.model, given.out, given.rows)
    else:
        without_data(given.model, given.out, given.form)
    carry_over(given.model, given.out)
    return 0


if __name__ == "__main__":
    sys.exit(command(main))
