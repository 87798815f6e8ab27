"""The merge, and the proofs that tell a right one from wrong ones."""

import json
import shutil
import subprocess
import sys

import pytest
import torch
from conftest import ROOT
from safetensors.torch import load_file, save_file

from common import facts
from common.errors import command
from common.files import FileError, only_writer
from training import verify_merge
from training.adapter import MergeError, load_adapter
from training.merging import merge, prove
from training.same_logits import compare
from training.verify_merge import verify
from training.weights import Checkpoint, load_into

TARGETS = r"model\.language_model\.layers\.\d+\.(mlp|self_attn)\.(up|down|gate|q|k|v|o)_proj"
UP_PROJ = "language_model.model.layers.1.mlp.up_proj.weight"
EMBEDDING = "language_model.model.embed_tokens.weight"


def load(folder, dtype):
    from transformers import LlavaForConditionalGeneration

    return LlavaForConditionalGeneration.from_pretrained(folder, dtype=dtype)


def adapted(model, folder, **options):
    """Save an adapter of PEFT on the model, its B matrices moved at random as a training would."""
    from peft import LoraConfig, get_peft_model

    settings = {"r": 8, "lora_alpha": 24, "lora_dropout": 0.1, "target_modules": TARGETS} | options
    torch.manual_seed(1)
    wrapped = get_peft_model(model, LoraConfig(**settings))
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if "lora_B" in name:
                parameter += 0.05 * torch.randn_like(parameter)
    wrapped.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module", params=["float32", "bfloat16"])
def trained(request, tiny, tmp_path_factory):
    """(base folder, adapter folder): the tiny model in a dtype, and a LoRA adapter with weights
    drawn at random.
    """
    folder = tmp_path_factory.mktemp("merge")
    base = shutil.copytree(tiny, folder / "base")
    model = load(base, getattr(torch, request.param))
    model.save_pretrained(base)
    return base, adapted(model, folder / "adapter")


@pytest.fixture(scope="module")
def merged_once(trained, dataset, tmp_path_factory):
    """(merged folder, what was proven)."""
    out = tmp_path_factory.mktemp("merged") / "merged"
    return out, merge(*trained, out, dataset / "val.jsonl")


@pytest.fixture
def merged(merged_once, tmp_path):
    return shutil.copytree(merged_once[0], tmp_path / "merged")


@pytest.fixture
def inputs():
    """Rows of ids of the tiny model's vocabulary."""
    random = torch.Generator().manual_seed(0)
    return [torch.randint(1000, 2000, (1, length), generator=random) for length in (40, 24)]


def change(folder, edit):
    tensors = load_file(folder / "model.safetensors")
    edit(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def configured(adapter, folder, **keys):
    """A copy of an adapter whose configuration says something else."""
    copy = shutil.copytree(adapter, folder)
    path = copy / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | keys))
    return copy


@pytest.fixture
def verified(monkeypatch, capsys):
    """Runs the command in this process: (exit code, stdout, stderr)."""

    def run(base, adapter, merged, *more):
        words = ["--base", base, "--adapter", adapter, "--merged", merged, *more]
        monkeypatch.setattr(sys, "argv", ["verify_merge", *map(str, words)])
        return command(verify_merge.main), *capsys.readouterr()

    return run


def test_the_right_merge_is_proven_and_is_pefts(trained, merged_once):
    from peft import PeftModel
    from transformers import AutoProcessor

    merged, proven = merged_once
    proof = verify(*trained, merged)
    assert proof.wrong == []
    assert str(proof).startswith("28 of 28 modules")
    assert "logits as base with adapter: apart by" in proven
    dtype = getattr(torch, json.loads((merged / "config.json").read_text())["dtype"])
    theirs = PeftModel.from_pretrained(load(trained[0], dtype), trained[1])
    theirs = theirs.merge_and_unload().state_dict()
    ours = load(merged, dtype).state_dict()
    assert ours.keys() == theirs.keys()
    unit = torch.finfo(dtype).eps
    for name, tensor in ours.items():
        distance = (tensor.float() - theirs[name].float()).abs().max()
        assert distance <= 2 * unit * theirs[name].float().abs().max(), name
    assert AutoProcessor.from_pretrained(merged).chat_template


def test_rslora_is_plain_lora_with_another_scale(trained, inputs, tmp_path):
    rslora = configured(trained[1], tmp_path / "adapter", use_rslora=True)
    plain = load_adapter(trained[1]).targets
    for name, low in load_adapter(rslora).targets.items():
        assert low.scale == pytest.approx(plain[name].scale * 8**0.5)
    merge(trained[0], rslora, tmp_path / "merged")
    assert compare(trained[0], rslora, tmp_path / "merged", inputs).holds
    assert not compare(trained[0], trained[1], tmp_path / "merged", inputs).holds


def lose_adapter(tensors, base):
    tensors.update(base)


def scale_adapter(tensors, base):
    for key in tensors:
        if "_proj" in key:
            delta = (tensors[key] - base[key]).float() * 1.5
            tensors[key] = base[key] + delta.to(base[key].dtype)


def lose_module(tensors, base):
    tensors[UP_PROJ] = base[UP_PROJ]


def touch_another(tensors, base):
    tensors[EMBEDDING][7, 3] += 0.01


def round_embeddings(tensors, base):
    tensors[EMBEDDING] = base[EMBEDDING].to(torch.float8_e4m3fn).to(base[EMBEDDING].dtype)


def lose_tensor(tensors, base):
    tensors.pop(EMBEDDING)


def add_tensor(tensors, base):
    tensors["extra.weight"] = torch.zeros(2)


def change_dtype(tensors, base):
    tensors[EMBEDDING] = base[EMBEDDING].half()


def put_nan(tensors, base):
    tensors[UP_PROJ][0, 0] = float("nan")


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lose_adapter, "the adapter is not in it"),
        (scale_adapter, "not base + scale·B·A"),
        (lose_module, "the adapter is not in it"),
        (touch_another, "changed, and no target"),
        (round_embeddings, "changed, and no target"),
        (lose_tensor, "in the base, not in the merged"),
        (add_tensor, "in the merged model, not in the base"),
        (change_dtype, "the base has"),
        (put_nan, "not base + scale·B·A"),
    ],
)
def test_wrong_merges_are_rejected(trained, merged, edit, said):
    base = load_file(trained[0] / "model.safetensors")
    change(merged, lambda tensors: edit(tensors, base))
    wrong = verify(*trained, merged).wrong
    assert any(said in line for line in wrong), wrong[:3]
    with pytest.raises(MergeError, match="the merge is not proven"):
        prove(*trained, merged, None)


@pytest.mark.parametrize("edit", [lose_adapter, scale_adapter, lose_module, put_nan])
def test_the_logits_tell_a_wrong_merge_too(trained, merged, inputs, edit):
    base = load_file(trained[0] / "model.safetensors")
    assert compare(*trained, merged, inputs).holds
    change(merged, lambda tensors: edit(tensors, base))
    assert not compare(*trained, merged, inputs).holds


def test_the_command_says_what_is_wrong_and_what_was_not_tried(trained, merged, dataset, verified):
    code, said, _ = verified(*trained, merged)
    assert code == 0 and said.startswith("proven: 28 of 28") and "logits not compared" in said
    code, said, _ = verified(*trained, merged, "--data", dataset)
    assert code == 0 and "logits as base with adapter" in said
    change(merged, lambda tensors: tensors.pop(EMBEDDING))
    code, said, wrong = verified(*trained, merged)
    assert code == 1 and said.startswith("NOT PROVEN") and wrong.startswith("error: ")


def test_unreadable_input_is_one_line(trained, tmp_path, verified):
    (tmp_path / "model.safetensors").write_bytes(b"not safetensors")
    code, _, wrong = verified(*trained, tmp_path)
    assert code == 1 and wrong.startswith("error: ") and wrong.count("\n") == 1


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("use_dora", True),
        ("init_lora_weights", "olora"),
        ("init_lora_weights", "pissa"),
        ("init_lora_weights", "pissa_niter_4"),
        ("init_lora_weights", "loftq"),
        ("init_lora_weights", "eva"),
        ("init_lora_weights", "corda"),
        ("init_lora_weights", "lora_ga"),
        ("loftq_config", {"loftq_bits": 4, "loftq_iter": 1}),
        ("eva_config", {"rho": 2.0}),
        ("corda_config", {"corda_method": "ipm"}),
        ("rank_pattern", {"q_proj": 4}),
        ("alpha_pattern", {"q_proj": 4}),
        ("bias", "all"),
        ("bias", "lora_only"),
        ("lora_bias", True),
        ("fan_in_fan_out", True),
        ("modules_to_save", ["lm_head"]),
        ("trainable_token_indices", [1, 2]),
        ("layer_replication", [[0, 4], [2, 5]]),
        ("target_parameters", ["mlp.experts"]),
        ("use_qalora", True),
        ("peft_type", "LOHA"),
        ("r", "8"),
        ("lora_alpha", float("nan")),
        ("a_key_of_tomorrow", None),
    ],
)
def test_what_is_not_known_to_be_plain_lora_is_refused_by_name(trained, tmp_path, key, value):
    adapter = configured(trained[1], tmp_path / "adapter", **{key: value})
    with pytest.raises(MergeError, match=key):
        merge(trained[0], adapter, tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


def test_the_list_knows_every_key_that_peft_writes(trained):
    """A PEFT with another key fails here, and the merge refuses it until somebody has looked."""
    from peft import LoraConfig

    adapter = load_adapter(trained[1])
    assert set(LoraConfig().to_dict()) <= set(adapter.config) | {"runtime_config"}


@pytest.mark.parametrize("kind", ["pissa", "olora", "pissa_niter_4"])
def test_an_adapter_that_moved_its_base_is_caught_by_the_logits(tiny, inputs, tmp_path, kind):
    """Real ones, their configuration taken for plain: each tensor is base + scale·B·A, and the
    model is another.
    """
    adapter = adapted(
        load(tiny, torch.float32), tmp_path / "adapter", init_lora_weights=kind, lora_alpha=8
    )
    with pytest.raises(MergeError, match="init_lora_weights"):
        load_adapter(adapter)
    disguised = configured(adapter, tmp_path / "disguised", init_lora_weights=True)
    merge(tiny, disguised, tmp_path / "merged")
    assert verify(tiny, disguised, tmp_path / "merged").wrong == []
    agreement = compare(tiny, adapter, tmp_path / "merged", inputs)
    assert not agreement.holds and agreement.difference > 100 * agreement.rounding


@pytest.mark.parametrize(
    ("target", "named"),
    [
        ("lm_head", "lm_head"),
        ("model.language_model.embed_tokens", "embed_tokens"),
        (r"model\.vision_tower\..*\.(q|k)_proj", "vision_tower"),
        (r"model\.multi_modal_projector\.linear_1", "multi_modal_projector"),
    ],
)
def test_adapters_on_other_modules_are_refused(tiny, tmp_path, target, named):
    adapter = adapted(load(tiny, torch.float32), tmp_path / "adapter", target_modules=target)
    with pytest.raises(MergeError, match=rf"{named}.*no LoRA matrix of a decoder's linear map"):
        merge(tiny, adapter, tmp_path / "merged")


def test_an_adapter_that_lost_a_module_is_refused(trained, tmp_path):
    adapter = shutil.copytree(trained[1], tmp_path / "adapter")
    tensors = load_file(adapter / "adapter_model.safetensors")
    kept = {key: value for key, value in tensors.items() if "layers.2.mlp.down_proj" not in key}
    save_file(kept, adapter / "adapter_model.safetensors")
    with pytest.raises(MergeError, match=r"layers\.2\.mlp\.down_proj, the adapter has no tensor"):
        merge(trained[0], adapter, tmp_path / "merged")


def test_a_base_of_another_width_is_one_line(trained, dataset, tmp_path):
    from dataclasses import replace

    from common import facts
    from training import tiny_base

    tiny_base.write(tmp_path / "wide", dataset, shape=replace(facts.TINY, ffn=768))
    with pytest.raises(MergeError, match=r"768.*it is of another base") as error:
        merge(tmp_path / "wide", trained[1], tmp_path / "merged")
    assert "\n" not in str(error.value)


def test_a_quantised_base_is_one_line(trained, tmp_path):
    base = shutil.copytree(trained[0], tmp_path / "base")
    config = json.loads((base / "config.json").read_text())
    quantised = config | {"quantization_config": {"load_in_4bit": True}}
    (base / "config.json").write_text(json.dumps(quantised))
    with pytest.raises(MergeError, match="quantization_config: these weights are quantised"):
        Checkpoint(base)


def test_a_zero_adapter_is_said(trained, dataset, tmp_path):
    adapter = shutil.copytree(trained[1], tmp_path / "adapter")
    tensors = load_file(adapter / "adapter_model.safetensors")
    zero = {key: value * ("lora_A" in key) for key, value in tensors.items()}
    save_file(zero, adapter / "adapter_model.safetensors")
    proven = merge(trained[0], adapter, tmp_path / "merged", dataset / "val.jsonl")
    assert "nothing changed: the adapter is zero" in proven


def test_two_merges_at_once_are_one_line(trained, tmp_path):
    code = (
        "import sys, time; from pathlib import Path; from common.files import only_writer\n"
        "with only_writer(Path(sys.argv[1])):\n  print(flush=True); time.sleep(60)"
    )
    out = tmp_path / "merged"
    holding = [sys.executable, "-c", code, out]
    with subprocess.Popen(holding, cwd=ROOT, stdout=subprocess.PIPE) as holder:
        holder.stdout.readline()
        with pytest.raises(FileError, match="is being merged by another process"):
            merge(*trained, out)
        holder.kill()
    with only_writer(out):
        assert not out.exists()


def test_axolotls_default_merge_is_caught(trained, tmp_path):
    """axolotl 0.19.0's memory_efficient merge exits 0 and leaves the adapter out of a model with
    this key layout.
    """
    from axolotl.cli.utils.lora_merge import merge_lora_sharded_efficient

    merge_lora_sharded_efficient(
        base_model_path=trained[0],
        lora_adapter_path=trained[1],
        output_path=tmp_path,
        safe_tensors=True,
        device="cpu",
        simulate_nf4=False,
    )
    wrong = verify(*trained, tmp_path).wrong
    assert any("the adapter is not in it" in line for line in wrong)


def test_a_whole_model_resumes_with_the_weights_of_its_checkpoint(tiny, tmp_path):
    """The files have LLaVA's old names, the model in memory the new ones."""
    from training.tiny_base import model

    resumed = model(facts.TINY, seed=7)
    load_into(resumed, tiny)
    wanted = load(tiny, torch.float32).state_dict()
    assert wanted.keys() == resumed.state_dict().keys()
    assert all(torch.equal(value, wanted[name]) for name, value in resumed.state_dict().items())
    with pytest.raises(MergeError, match="stands in the model or there alone"):
        load_into(model(facts.TINY_V2, seed=7), tiny)
