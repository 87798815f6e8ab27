"""The proofs of an export, on right exports of a small model and on wrong ones, each refused by name."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT
from safetensors.torch import load_file, save_file

from common import facts
from common.errors import command
from serving import verify as command_line
from serving.carried import expected_eyes, expected_text, sidecars
from serving.convert import TEKKEN, ConversionError, correct
from serving.llama_cpp import SOURCE
from serving.proof import EYES_FILE, TEXT_FILE, ExportError
from serving.ready import form_of, require_room, require_shape
from serving.verify import verify
from serving.verify_gguf import EMBEDDINGS, IMAGE_BREAK, library, permuted, place
from serving.verify_packed import DECODER

SMALL = replace(
    facts.TINY_V2, hidden=128, layers=2, head_dim=32, ffn=256, vision_hidden=32, vision_layers=1
)
UP = "language_model.model.layers.1.mlp.up_proj.weight"
with_source = pytest.mark.skipif(
    not SOURCE.is_dir(), reason="llama.cpp's source is not here: make .venvs/llama/.source"
)


@pytest.fixture(scope="module")
def merged(dataset, tmp_path_factory) -> Path:
    """A small model in bfloat16, as a merged one is."""
    from training import tiny_base

    folder = tmp_path_factory.mktemp("export") / "merged"
    tiny_base.write(folder, dataset, shape=SMALL)
    weights = folder / "model.safetensors"
    tensors = {key: value.bfloat16() for key, value in load_file(weights).items()}
    save_file(tensors, weights, metadata={"format": "pt"})
    return folder


# --- GGUF


def gguf_of(merged: Path, quantised: str = "") -> tuple[dict, dict]:
    """({file: {tensor: (float32 values, type)}}, {file: settings}) of a right export."""
    config = json.loads((merged / "config.json").read_text())
    tensors = {TEXT_FILE: {}, EYES_FILE: {}}
    for key, tensor in load_file(merged / "model.safetensors").items():
        file, name, heads = place(key, config)
        values = tensor.float().numpy()
        matrix = file == TEXT_FILE and values.ndim == 2
        kind = quantised if matrix and quantised else ("F32" if values.ndim == 1 else "BF16")
        tensors[file][name] = (permuted(values, heads) if heads else values, kind)
        if key == EMBEDDINGS:
            row = values[facts.SPECIAL_TOKENS["[IMG_BREAK]"]]
            tensors[EYES_FILE][IMAGE_BREAK] = (row, "F32")
    return tensors, {TEXT_FILE: expected_text(merged), EYES_FILE: expected_eyes(merged)}


def write_gguf(folder: Path, tensors: dict, settings: dict) -> Path:
    gguf = library()
    from gguf.quants import quantize

    folder.mkdir(exist_ok=True)
    for file in tensors:
        writer = gguf.GGUFWriter(folder / file, "llama" if file == TEXT_FILE else "clip")
        for name, value in settings[file].items():
            if isinstance(value, list):
                writer.add_array(name, value)
            elif isinstance(value, bool):
                writer.add_bool(name, value)
            elif isinstance(value, str):
                writer.add_string(name, value)
            elif isinstance(value, int):
                writer.add_uint32(name, value)
            else:
                writer.add_float32(name, value)
        for name, (values, kind) in tensors[file].items():
            if isinstance(kind, bytes):  # already stored
                writer.add_tensor(name, values, raw_dtype=gguf.GGMLQuantizationType[kind.decode()])
                continue
            type_ = gguf.GGMLQuantizationType[kind]
            stored = np.ascontiguousarray(values, dtype=np.float32)
            if kind not in ("F32", "F16"):
                stored = quantize(stored, type_)
            elif kind == "F16":
                stored = stored.astype(np.float16)
            raw = None if kind in ("F32", "F16") else type_
            writer.add_tensor(name, stored, raw_dtype=raw)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    return folder


@with_source
@pytest.mark.parametrize(
    ("form", "quantised", "said"),
    [
        ("gguf", "", "gguf: 37 tensors equal; nothing missing"),
        ("gguf-q8_0", "Q8_0", "21 tensors equal, 16 Q8_0 within their step"),
        ("gguf-q4_k_m", "Q5_0", "21 tensors equal, 16 Q5_0 under a threshold"),
    ],
)
def test_a_right_gguf_is_proven(merged, tmp_path, form, quantised, said):
    proof = verify(merged, write_gguf(tmp_path / form, *gguf_of(merged, quantised)), form)
    assert proof.wrong == [] and said in str(proof)


def swap_back(tensors, settings):
    name = "blk.0.attn_q.weight"
    values, kind = tensors[TEXT_FILE][name]
    heads = values.reshape(SMALL.heads, -1, 2, SMALL.hidden)
    tensors[TEXT_FILE][name] = (heads.swapaxes(1, 2).reshape(values.shape), kind)


def drop_layer(tensors, settings):
    for name in [name for name in tensors[TEXT_FILE] if name.startswith("blk.1.")]:
        del tensors[TEXT_FILE][name]
    settings[TEXT_FILE]["llama.block_count"] = 1


def add_tensor(tensors, settings):
    tensors[TEXT_FILE]["rope_freqs.weight"] = (np.ones(16), "F32")


def store(file, name, kind):
    def change(tensors, settings):
        tensors[file][name] = (tensors[file][name][0], kind)

    return change


def say(file, name, value):
    def change(tensors, settings):
        settings[file][name] = value

    return change


def swap_tokens(tensors, settings):
    tokens = list(settings[TEXT_FILE]["tokenizer.ggml.tokens"])
    tokens[1500], tokens[1501] = tokens[1501], tokens[1500]
    settings[TEXT_FILE]["tokenizer.ggml.tokens"] = tokens


def move_one(tensors, settings):
    values, kind = tensors[TEXT_FILE]["blk.0.ffn_up.weight"]
    values = values.copy()
    values[3, 5] += 2 * np.abs(values[3, :32]).max() / 127
    tensors[TEXT_FILE]["blk.0.ffn_up.weight"] = (values, kind)


def nudge_eyes(tensors, settings):
    values, kind = tensors[EYES_FILE]["mm.1.weight"]
    tensors[EYES_FILE]["mm.1.weight"] = (values * 1.01, kind)


def drop_break(tensors, settings):
    del tensors[EYES_FILE][IMAGE_BREAK]


WRONG_GGUF = [
    ("gguf", drop_break, rf"{IMAGE_BREAK}: missing, so no picture can be read"),
    ("gguf", swap_back, r"blk\.0\.attn_q\.weight: changed"),
    ("gguf-q8_0", swap_back, r"blk\.0\.attn_q\.weight: Q8_0, off by"),
    ("gguf-q4_k_m", swap_back, r"blk\.0\.attn_q\.weight: Q5_0, relative error .* threshold"),
    ("gguf", drop_layer, r"layers\.1\.mlp\.down_proj\.weight: not in the export"),
    ("gguf", say(TEXT_FILE, "tokenizer.chat_template", "{{ x }}"), r"tokenizer\.chat_template: '"),
    ("gguf", add_tensor, r"rope_freqs\.weight: in model\.gguf, not in the merged model"),
    ("gguf", store(TEXT_FILE, "blk.0.ffn_up.weight", "F16"), r"ffn_up\.weight: stored as F16"),
    ("gguf", store(TEXT_FILE, "blk.0.ffn_up.weight", "Q8_0"), r"ffn_up\.weight: stored as Q8_0"),
    ("gguf-q8_0", store(EYES_FILE, "mm.1.weight", "Q8_0"), r"mm\.1\.weight: stored as Q8_0"),
    ("gguf", nudge_eyes, r"mm\.1\.weight: changed"),
    ("gguf", say(TEXT_FILE, "tokenizer.ggml.eos_token_id", 0), r"eos_token_id: 0, the merged .* 2"),
    ("gguf", say(EYES_FILE, "clip.vision.image_size", 512), r"image_size: 512, the merged .* 1024"),
    ("gguf", say(EYES_FILE, "clip.vision.image_mean", [0.5, 0.5, 0.5]), r"image_mean: \[0\.5"),
    ("gguf", say(TEXT_FILE, "tokenizer.ggml.pre", "llama-bpe"), r"ggml\.pre: 'llama-bpe'"),
    ("gguf", say(TEXT_FILE, "llama.rope.scaling.factor", 4.0), r"scaling\.factor: a setting that"),
    ("gguf", swap_tokens, r"tokenizer\.ggml\.tokens: "),
    ("gguf-q8_0", move_one, r"blk\.0\.ffn_up\.weight: Q8_0, off by"),
]


@with_source
@pytest.mark.parametrize(("form", "change", "said"), WRONG_GGUF)
def test_a_wrong_gguf_is_refused_by_name(merged, tmp_path, form, change, said):
    quantised = {"gguf": "", "gguf-q8_0": "Q8_0", "gguf-q4_k_m": "Q5_0"}[form]
    tensors, settings = gguf_of(merged, quantised)
    change(tensors, settings)
    wrong = verify(merged, write_gguf(tmp_path / form, tensors, settings), form).wrong
    assert any(re.search(said, line) for line in wrong), wrong


# --- compressed-tensors


def packed_of(merged: Path, form: str) -> dict[str, torch.Tensor]:
    """The tensors of a right export, as the format defines them."""
    made = {}
    for key, tensor in load_file(merged / "model.safetensors").items():
        if not DECODER.fullmatch(key):
            made[key] = tensor
            continue
        weight = tensor.float()
        if form == "fp8":
            scale = weight.abs().amax(dim=1, keepdim=True) / 448
            made[key] = (weight / scale).to(torch.float8_e4m3fn)
            made[f"{key}_scale"] = scale.bfloat16()
            continue
        groups = weight.reshape(weight.shape[0], -1, 128)
        scale = groups.abs().amax(dim=2, keepdim=True) / 7.5
        codes = (groups / scale).round().clamp(-8, 7).int().reshape(weight.shape) + 8
        words = codes.reshape(weight.shape[0], -1, 8)
        packed = (words << torch.arange(0, 32, 4)).sum(dim=2)
        made[f"{key}_packed"] = packed.to(torch.uint32).view(torch.int32)
        made[f"{key}_scale"] = scale[..., 0].bfloat16()
        made[f"{key}_shape"] = torch.tensor(weight.shape)
    return made


def write_packed(merged: Path, folder: Path, tensors: dict) -> Path:
    folder.mkdir()
    for path in sidecars(merged):
        shutil.copyfile(path, folder / path.name)
    config = json.loads((merged / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "compressed-tensors"}
    (folder / "config.json").write_text(json.dumps(config))
    contiguous = {key: value.contiguous() for key, value in tensors.items()}
    save_file(contiguous, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.mark.parametrize("form", ["fp8", "w4"])
def test_a_right_quantised_folder_is_proven(merged, tmp_path, form, capsys, monkeypatch):
    folder = write_packed(merged, tmp_path / form, packed_of(merged, form))
    proof = verify(merged, folder, form)
    assert proof.wrong == [] and proof.stored == {form.upper(): 14} and proof.equal == 22
    assert 0.5 < proof.within[form.upper()] <= 1
    words = ["verify", "--merged", str(merged), "--exported", str(folder)]
    monkeypatch.setattr(sys, "argv", words)
    assert command(command_line.main) == 0 and "proven: " in capsys.readouterr().out
    shutil.copyfile(folder / "config.json", folder / "run.json")
    assert command(command_line.main) == 1
    assert "run.json: in the export, not in the merged model" in capsys.readouterr().err


def beyond(form):
    """One value further away than its step allows."""

    def change(tensors, folder):
        if form == "fp8":
            bits = tensors[UP].view(torch.uint8)
            bits[0, 0] ^= 8  # a bit of the exponent
            return
        tensors[f"{UP}_packed"][0, 0] ^= 2

    return change


def coarse(tensors, folder):
    tensors[f"{UP}_scale"] *= 1.2


def head_bit(tensors, folder):
    key = "language_model.lm_head.weight"
    tensors[key] = tensors[key].clone()
    tensors[key].view(torch.int16)[7, 7] ^= 1


def without(key):
    def change(tensors, folder):
        for name in [name for name in tensors if name.startswith(key)]:
            del tensors[name]

    return change


def with_extra(tensors, folder):
    tensors[f"{UP}_zero_point"] = torch.zeros(2)


def unquantised(tensors, folder):
    tensors[UP] = tensors[UP].float().bfloat16()


def edit(name, old, new):
    def change(tensors, folder):
        path = folder / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    return change


WRONG_PACKED = [
    ("fp8", beyond("fp8"), rf"{UP}: FP8, off by"),
    ("w4", beyond("w4"), rf"{UP}: W4, off by"),
    ("fp8", coarse, rf"{UP}: FP8, off by"),
    ("fp8", head_bit, r"lm_head\.weight: changed"),
    ("w4", without("language_model.model.layers.1."), r"layers\.1\..*: not in the export"),
    ("fp8", without("vision_tower.ln_pre"), r"ln_pre\.weight: not in the export"),
    ("fp8", with_extra, r"zero_point: in the export, not in the merged model"),
    ("fp8", unquantised, rf"{UP}: not stored as FP8"),
    ("w4", edit("chat_template.jinja", "<|user|>", "<|User|>"), r"chat_template\.jinja: "),
    ("w4", edit("generation_config.json", '"eos_token_id": 2', '"eos_token_id": 0'), r"generation"),
    ("fp8", edit("tokenizer.json", "[IMG_END]", "[IMG_FIN]"), r"tokenizer\.json: "),
    ("fp8", edit("processor_config.json", "1024", "512"), r"processor_config\.json: "),
    ("fp8", edit("config.json", '"rms_norm_eps": 1e-05', '"rms_norm_eps": 1e-06'), r"config\.json"),
]


@pytest.mark.parametrize(("form", "change", "said"), WRONG_PACKED)
def test_a_wrong_quantised_folder_is_refused_by_name(merged, tmp_path, form, change, said):
    tensors = packed_of(merged, form)
    folder = write_packed(merged, tmp_path / form, tensors)
    change(tensors, folder)
    contiguous = {key: value.contiguous() for key, value in tensors.items()}
    save_file(contiguous, folder / "model.safetensors", metadata={"format": "pt"})
    wrong = verify(merged, folder, form).wrong
    assert any(re.search(said, line) for line in wrong), wrong


# --- before anything is written, and when it ends early


def test_formats_are_named(tmp_path):
    assert form_of("gguf", "q4_k_m") == "gguf-q4_k_m" and form_of("fp8", None) == "fp8"
    for words in (("gguf", "q2"), ("fp8", "q8_0"), ("gptq", None), ("", None)):
        with pytest.raises(ExportError, match="no such format; FORMAT= one of"):
            form_of(*words)


def test_a_disk_without_room_is_said_before_anything_is_written(tmp_path):
    with (tmp_path / "model.safetensors").open("wb") as file:
        file.truncate(10**13)
    with pytest.raises(ExportError, match=r"gguf needs 11,?000\.0 GB while it is made"):
        require_room(tmp_path, tmp_path / "export" / "gguf", "gguf")
    assert not (tmp_path / "export").exists()


@pytest.mark.parametrize(
    ("form", "size", "said"),
    [
        ("w4", ("text_config", "hidden_size", 192), "groups of 128, and those of q_proj do not"),
        ("gguf-q8_0", ("vision_config", "num_hidden_layers", 2), "needs 3 vision layers, there"),
    ],
)
def test_a_model_too_small_for_a_format_is_one_line(tmp_path, form, size, said):
    from training.tiny_base import config_of

    config = config_of(facts.TINY_V2).to_dict()
    part, key, value = size
    for known in (config[part][key], value):
        config[part][key] = known
        (tmp_path / "config.json").write_text(json.dumps(config))
        if known == value:
            with pytest.raises(ExportError, match=said):
                require_shape(tmp_path, form)
        else:
            require_shape(tmp_path, form)


def test_another_pre_tokenizer_is_refused(merged, tmp_path):
    text = (merged / "tokenizer.json").read_text()
    assert json.dumps(TEKKEN)[1:-1] in text
    (tmp_path / "tokenizer.json").write_text(text.replace(json.dumps(TEKKEN)[1:-1], r"\\w+"))
    with pytest.raises(ConversionError, match="not cut by Tekken's regex"):
        correct(tmp_path)


WRITING = """
import resource, sys
from pathlib import Path
from common.errors import command
from serving import export
if sys.argv[3] != "0":
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), int(sys.argv[3])))
merged, out = Path(sys.argv[1]), Path(sys.argv[2])
sys.exit(command(lambda: export.write(merged, out, "gguf", Path("none"), {}) and None))
"""


@with_source
@pytest.mark.slow
@pytest.mark.parametrize("how", ["killed", "disk full"])
def test_an_export_that_ends_early_leaves_nothing_that_looks_like_one(merged, tmp_path, how):
    out = tmp_path / "export" / "gguf"
    limit = "0" if how == "killed" else "200000"
    process = subprocess.Popen(
        [sys.executable, "-c", WRITING, merged, out, limit],
        cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)}, start_new_session=True,
    )  # fmt: skip
    if how == "killed":
        deadline = time.monotonic() + 120
        while not list(out.parent.glob(".gguf-aside")) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert list(out.parent.glob(".gguf-aside"))
        os.kill(process.pid, signal.SIGKILL)
    said = process.communicate(timeout=300)[1]
    assert process.returncode not in (0, None)
    if how == "disk full":
        assert "error: " in said and not list(out.parent.glob(".gguf-aside"))
    assert not out.exists() and not list(out.parent.glob("[!.]*"))
