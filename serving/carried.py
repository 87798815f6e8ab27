"""What an export must say beside its tensors: shape, tokenizer, chat template, special tokens, stop
tokens, image geometry. All of it is derived from the merged model's own files.
"""

from pathlib import Path

from common.bases import files_of
from common.files import json_if_there, load_json, read_text, sha256_of
from serving.proof import ExportError, Proof

TEMPLATE = "chat_template.jinja"
# llama.cpp's names of the kinds of tokens.
NORMAL = 1
CONTROL = 3
USER_DEFINED = 4
UNUSED = 5
# Settings that a tokenizer may leave to llama.cpp; where they stand they must be these.
OPTIONAL = {
    "tokenizer.ggml.add_bos_token": True,
    "tokenizer.ggml.add_eos_token": False,
    "tokenizer.ggml.add_sep_token": False,
    "tokenizer.ggml.add_space_prefix": False,
}


def expected_text(model: Path) -> dict:
    """The settings of the text model's GGUF file."""
    text = load_json(model / "config.json")["text_config"]
    rope = text.get("rope_parameters") or text
    width = text.get("head_dim") or text["hidden_size"] // text["num_attention_heads"]
    vocabulary = _vocabulary(model, text["vocab_size"])
    wanted = {
        "llama.block_count": text["num_hidden_layers"],
        "llama.context_length": text["max_position_embeddings"],
        "llama.embedding_length": text["hidden_size"],
        "llama.feed_forward_length": text["intermediate_size"],
        "llama.attention.head_count": text["num_attention_heads"],
        "llama.attention.head_count_kv": text["num_key_value_heads"],
        "llama.attention.layer_norm_rms_epsilon": text["rms_norm_eps"],
        "llama.rope.freq_base": rope["rope_theta"],
        "llama.rope.dimension_count": width,
        "llama.vocab_size": text["vocab_size"],
        "tokenizer.chat_template": read_text(model / TEMPLATE),
        **vocabulary,
    }
    if text.get("head_dim"):
        wanted |= {"llama.attention.key_length": width, "llama.attention.value_length": width}
    return wanted


def _vocabulary(model: Path, size: int) -> dict:
    """The tokenizer as llama.cpp keeps it, from tokenizer.json."""
    file = load_json(model / "tokenizer.json")
    added = {entry["id"]: entry for entry in file["added_tokens"]}
    ids = file["model"]["vocab"] | {entry["content"]: id_ for id_, entry in added.items()}
    tokens = [f"[PAD{number}]" for number in range(size)]
    kinds = [UNUSED] * size
    for token, id_ in ids.items():
        tokens[id_] = token
        kinds[id_] = NORMAL
    for id_, entry in added.items():
        kinds[id_] = CONTROL if entry["special"] else USER_DEFINED
    merges = [
        pair if isinstance(pair, str) else " ".join(part.replace(" ", "Ġ") for part in pair)
        for pair in file["model"]["merges"]
    ]
    named = json_if_there(model / "tokenizer_config.json")
    roles = {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding"}
    special = {}
    for role, name in roles.items():
        token = named.get(f"{role}_token")
        if token is not None:
            content = token if isinstance(token, str) else token["content"]
            special[f"tokenizer.ggml.{name}_token_id"] = ids[content]
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "tekken",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": kinds,
        "tokenizer.ggml.merges": merges,
        **special,
    }


def expected_eyes(model: Path) -> dict:
    """The settings of the projector's GGUF file.

    Raises ExportError where llama.cpp would scale pictures to another size than the processor does.
    """
    config = load_json(model / "config.json")
    vision = config["vision_config"]
    settings = json_if_there(model / "processor_config.json").get("image_processor")
    settings = settings or load_json(model / "preprocessor_config.json")
    edge = settings["size"]["longest_edge"]
    if edge != vision["image_size"]:
        raise ExportError(
            f"{model}: the processor scales pictures to {edge} pixels, config.json's image_size is "
            f"{vision['image_size']}, which llama.cpp goes by; make them equal in the base"
        )
    return {
        "clip.has_vision_encoder": True,
        "clip.projector_type": "pixtral",
        f"clip.use_{vision.get('hidden_act', 'gelu')}": True,
        "clip.vision.attention.head_count": vision["num_attention_heads"],
        "clip.vision.attention.layer_norm_epsilon": vision.get("layer_norm_eps", 1e-5),
        "clip.vision.block_count": vision["num_hidden_layers"],
        "clip.vision.embedding_length": vision["hidden_size"],
        "clip.vision.feed_forward_length": vision["intermediate_size"],
        "clip.vision.image_mean": settings["image_mean"],
        "clip.vision.image_size": edge,
        "clip.vision.image_std": settings["image_std"],
        "clip.vision.patch_size": vision["patch_size"],
        "clip.vision.projection_dim": config["text_config"]["hidden_size"],
    }


def sidecars(model: Path) -> list[Path]:
    """The files of a model that are no weights: what an export in safetensors carries over."""
    return [path for path in files_of(model) if ".safetensors" not in path.suffixes]


def judge_sidecars(proof: Proof, merged: Path, exported: Path) -> None:
    """Compare the files of an export in safetensors with the merged model's: config.json but for
    what quantisation adds, all others byte by byte, and no further ones.
    """
    known = {path.name for path in sidecars(merged)}
    for name in sorted(known):
        if not (exported / name).is_file():
            proof.wrong.append(f"{name}: missing in the export")
        elif name != "config.json":
            hashes = [sha256_of(folder / name) for folder in (exported, merged)]
            proof.require(name, *hashes)
    config = json_if_there(exported / "config.json")
    config.pop("quantization_config", None)
    proof.require("config.json", config, load_json(merged / "config.json"))
    for path in sorted(exported.iterdir()):
        weights = path.name.endswith((".safetensors", ".safetensors.index.json"))
        if path.name not in known and not weights and path.name != "export.json":
            proof.wrong.append(f"{path.name}: in the export, not in the merged model")
