"""The merge, and the proof that tells a right one from wrong ones."""

import json
import shutil
import subprocess
import sys

import pytest
import torch
from conftest import ROOT
from safetensors.torch import load_file, save_file

from training.merge import merge
from training.verify_merge import MergeError, verify

TARGETS = r"model\.language_model\.layers\.\d+\.(mlp|self_attn)\.(up|down|gate|q|k|v|o)_proj"


@pytest.fixture(scope="module", params=["float32", "bfloat16"])
def trained(request, tiny, tmp_path_factory):
    """(base folder, adapter folder): the tiny model in a dtype, and a LoRA adapter with weights drawn at random."""
    from peft import LoraConfig, get_peft_model
    from transformers import LlavaForConditionalGeneration

    folder = tmp_path_factory.mktemp("merge")
    base = shutil.copytree(tiny, folder / "base")
    model = LlavaForConditionalGeneration.from_pretrained(base, dtype=getattr(torch, request.param))
    model.save_pretrained(base)
    torch.manual_seed(1)
    wrapped = get_peft_model(model, LoraConfig(r=8, lora_alpha=24, target_modules=TARGETS))
    for name, parameter in wrapped.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    wrapped.save_pretrained(folder / "adapter")
    return base, folder / "adapter"


@pytest.fixture
def merged(trained, tmp_path):
    merge(*trained, tmp_path / "merged")
    return tmp_path / "merged"


def change(folder, edit):
    tensors = load_file(folder / "model.safetensors")
    edit(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def test_the_right_merge_is_proven_and_is_pefts(trained, merged):
    from peft import PeftModel
    from transformers import AutoProcessor, LlavaForConditionalGeneration

    wrong, said = verify(*trained, merged)
    assert wrong == [] and said.startswith("28 of 28 modules")
    dtype = json.loads((merged / "config.json").read_text())["dtype"]
    base = LlavaForConditionalGeneration.from_pretrained(trained[0], dtype=dtype)
    theirs = PeftModel.from_pretrained(base, trained[1]).merge_and_unload().state_dict()
    ours = LlavaForConditionalGeneration.from_pretrained(merged, dtype=dtype).state_dict()
    assert ours.keys() == theirs.keys()
    unit = torch.finfo(getattr(torch, dtype)).eps
    for name, tensor in ours.items():
        assert (tensor.float() - theirs[name].float()).abs().max() <= 2 * unit * theirs[
            name
        ].float().abs().max(), name
    assert AutoProcessor.from_pretrained(merged).chat_template


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("adapter lost", "the adapter is not in it"),
        ("wrong scale", "not base + scale·B·A"),
        ("one module left out", "the adapter is not in it"),
        ("another tensor touched", "changed, and no target"),
        ("embeddings rounded through another dtype", "changed, and no target"),
        ("a tensor missing", "in the base, not in the merged"),
        ("a tensor added", "in the merged model, not in the base"),
        ("a dtype changed", "the base has"),
        ("a NaN", "not base + scale·B·A"),
    ],
)
def test_wrong_merges_are_rejected(trained, merged, name, said):
    base = load_file(trained[0] / "model.safetensors")
    key = "language_model.model.layers.1.mlp.up_proj.weight"
    embedding = "language_model.model.embed_tokens.weight"

    def edit(t):
        if name == "adapter lost":
            t.update(base)
        elif name == "wrong scale":
            for k in t:
                t[k] = (
                    base[k] + ((t[k] - base[k]).float() * 1.5).to(t[k].dtype)
                    if "_proj" in k
                    else t[k]
                )
        elif name == "one module left out":
            t[key] = base[key]
        elif name == "another tensor touched":
            t[embedding][7, 3] += 0.01
        elif name == "embeddings rounded through another dtype":
            t[embedding] = t[embedding].to(torch.float8_e4m3fn).to(t[embedding].dtype)
        elif name == "a tensor missing":
            t.pop(embedding)
        elif name == "a tensor added":
            t["extra.weight"] = torch.zeros(2)
        elif name == "a dtype changed":
            t[embedding] = t[embedding].half()
        else:
            t[key][0, 0] = float("nan")

    change(merged, edit)
    wrong, _ = verify(*trained, merged)
    assert wrong and any(said in line for line in wrong), wrong[:3]
    command = [
        sys.executable,
        "-m",
        "training.verify_merge",
        "--base",
        trained[0],
        "--adapter",
        trained[1],
        "--merged",
        merged,
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and "NOT PROVEN" in done.stdout


def test_unreadable_input_is_one_line(trained, tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"not safetensors")
    command = [
        sys.executable,
        "-m",
        "training.verify_merge",
        "--base",
        trained[0],
        "--adapter",
        trained[1],
        "--merged",
        tmp_path,
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (
        done.returncode == 1 and done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    )


def test_dora_is_refused_not_merged_wrongly(trained, tmp_path):
    adapter = shutil.copytree(trained[1], tmp_path / "adapter")
    config = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps(config | {"use_dora": True}))
    with pytest.raises(MergeError, match="use_dora"):
        merge(trained[0], adapter, tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


def test_axolotls_default_merge_is_caught(trained, tmp_path):
    """axolotl 0.19.0's memory_efficient merge exits 0 and leaves the adapter out of a model with this key layout."""
    from axolotl.cli.utils.lora_merge import merge_lora_sharded_efficient

    merge_lora_sharded_efficient(
        base_model_path=trained[0],
        lora_adapter_path=trained[1],
        output_path=tmp_path,
        safe_tensors=True,
        device="cpu",
        simulate_nf4=False,
    )
    wrong, _ = verify(*trained, tmp_path)
    assert any("the adapter is not in it" in line for line in wrong)
