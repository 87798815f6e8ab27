"""Frozen maps in FP8: their products, their gradients, and how far they are from the maps before."""

import pytest
import torch
from references import TARGETS, gradients
from torch import nn

from common.facts import APRIEL_15B
from common.recipes import find
from training import fp8, lora, memory
from training import model as patches
from training.data import collate
from training.render import IGNORE


def plain(rounded):
    """The matrix that FP8 values and scales stand for, in float32."""
    return rounded.values.float() * rounded.scales


@pytest.fixture
def layer():
    torch.manual_seed(0)
    return fp8.Fp8Linear(nn.Linear(64, 48, bias=False))


def test_a_row_is_rounded_within_its_step():
    """e4m3 has three bits after the leading one: half a step is a sixteenth of the value."""
    torch.manual_seed(0)
    x = torch.randn(33, 64) * torch.logspace(-6, 6, 33)[:, None]
    found = plain(fp8.rounded(x))
    peak = x.abs().amax(1, keepdim=True)
    allowed = torch.maximum(x.abs() / 16, peak / fp8.LARGEST * 2**-10)
    assert ((found - x).abs() <= allowed * 1.001).all()
    assert (found.abs().amax(1, keepdim=True) - peak).abs().max() <= 1e-6 * peak.max()


def test_a_row_of_zeros_stays_zeros(layer):
    nothing = fp8.rounded(torch.zeros(2, 64))
    assert plain(nothing).abs().max() == 0
    assert layer.forth(nothing, torch.float32).abs().max() == 0


def test_products_are_those_of_the_rounded_matrices(layer):
    x = fp8.rounded(torch.randn(5, 64))
    gradient = fp8.rounded(torch.randn(5, 48))
    weight = layer.weight.float() * layer.scale
    forth = layer.forth(x, torch.float32)
    back = layer.back(gradient, torch.float32)
    torch.testing.assert_close(forth, plain(x) @ weight.t(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(back, plain(gradient) @ weight, rtol=1e-5, atol=1e-5)


def adapted_maps(count):
    from peft import LoraConfig, inject_adapter_in_model

    torch.manual_seed(0)
    model = nn.ModuleDict({f"map{n}": nn.Linear(64, 48, bias=False) for n in range(count)})
    config = LoraConfig(r=8, lora_alpha=16, target_modules=list(model), init_lora_weights=False)
    inject_adapter_in_model(config, model)
    assert fp8.convert(model) == count
    return model.train()


@pytest.mark.parametrize("count", [1, 3])
def test_maps_with_lora_are_the_sum_of_their_parts(count):
    """Outputs and all gradients, from the rounded matrices by hand."""
    patches.install()
    model = adapted_maps(count)
    modules = list(model.values())
    x = torch.randn(2, 5, 64, requires_grad=True)
    outputs = lora.lora_maps(x, modules)
    assert len({id(y.grad_fn) for y in outputs}) == 1
    upstream = [torch.randn_like(y) for y in outputs]
    torch.autograd.backward(list(outputs), upstream)
    tokens = x.detach().view(-1, 64)
    of_input = torch.zeros_like(tokens)
    for module, output, given in zip(modules, outputs, upstream, strict=True):
        down = module.lora_A["default"].weight
        up = module.lora_B["default"].weight
        scale = module.scaling["default"]
        weight = module.base_layer.weight.float() * module.base_layer.scale
        given = given.view(-1, 48)
        wanted = plain(fp8.rounded(tokens)) @ weight.t() + scale * tokens @ down.t() @ up.t()
        torch.testing.assert_close(output.view(-1, 48), wanted, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(up.grad, scale * given.t() @ tokens @ down.t())
        torch.testing.assert_close(down.grad, scale * (given @ up).t() @ tokens)
        of_input += plain(fp8.rounded(given)) @ weight + scale * given @ up @ down
    torch.testing.assert_close(x.grad.view(-1, 64), of_input, rtol=1e-4, atol=1e-3)


def test_a_map_whose_adapter_is_off_still_works():
    """The reference of a preference recipe is the model with its adapter off."""
    patches.install()
    module = adapted_maps(1)["map0"]
    module.enable_adapters(False)
    x = torch.randn(1, 3, 64, requires_grad=True)
    output = module(x)
    output.sum().backward()
    weight = module.base_layer.weight.float() * module.base_layer.scale
    wanted = plain(fp8.rounded(x.detach()[0])) @ weight.t()
    torch.testing.assert_close(output[0], wanted, rtol=1e-5, atol=1e-5)
    assert x.grad.abs().max() > 0


@pytest.fixture
def tiny_adapted(tiny):
    from peft import LoraConfig, get_peft_model
    from transformers import LlavaForConditionalGeneration

    patches.install()
    base = LlavaForConditionalGeneration.from_pretrained(tiny, dtype=torch.float32)
    torch.manual_seed(0)
    model = get_peft_model(base, LoraConfig(r=8, lora_alpha=16, target_modules=TARGETS))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.02)
    return model.train()


def test_a_model_in_fp8_is_near_and_recomputing_changes_nothing(
    tiny_adapted, dataset, tiny_renderer
):
    from common import rows

    read = [row for row in rows.read(dataset / "train.jsonl") if not rows.images(row, dataset)]
    encoded = [tiny_renderer.encode(row, dataset) for row in read[:3]]
    made = [{"encoded": one, "pixels": [], "category": "", "id": ""} for one in encoded]
    count = sum(int((one.labels[1:] != IGNORE).sum()) for one in encoded)
    before_loss, before = gradients(tiny_adapted, [collate(made)], count)
    assert fp8.convert(tiny_adapted) == 4 * 7
    kept = [type(m).__name__ for n, m in tiny_adapted.named_modules() if "vision_tower" in n]
    assert "Linear" in kept and "Fp8Linear" not in kept
    loss, found = gradients(tiny_adapted, [collate(made)], count)
    assert loss == pytest.approx(before_loss, rel=1e-2)
    assert loss != before_loss
    ours = torch.cat([found[name].flatten() for name in sorted(found)])
    exact = torch.cat([before[name].flatten() for name in sorted(before)])
    assert torch.cosine_similarity(ours, exact, 0) > 0.97
    tiny_adapted.gradient_checkpointing_enable({"use_reentrant": False})
    tiny_adapted.enable_input_require_grads()
    again_loss, again = gradients(tiny_adapted, [collate(made)], count)
    assert again_loss == loss
    for name, gradient in found.items():
        torch.testing.assert_close(again[name], gradient, rtol=1e-5, atol=1e-8)


def test_memory_counts_a_byte_a_weight():
    data = find("qlora_r128_fp8").data
    in_fp8 = memory.estimate(data, APRIEL_15B)["weights"]
    whole = memory.estimate(data | {"fp8_base": False}, APRIEL_15B)["weights"]
    saved = (whole - in_fp8) * memory.GIB
    assert saved == pytest.approx(APRIEL_15B.decoder_linear_parameters)
