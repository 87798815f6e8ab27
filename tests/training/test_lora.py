"""Our LoRA steps against PEFT's own, element by element: outputs, loss and every gradient."""

import pytest
import torch
from references import TARGETS, exact_norm, gradients, stock
from torch import nn
from transformers.models.mistral import modeling_mistral

from training import lora
from training import model as patches
from training.data import collate
from training.render import IGNORE

EXACT = 1e-9  # relative, in float64


@pytest.fixture
def adapted(tiny, monkeypatch):
    """The tiny model in float64 with a LoRA adapter that does something."""
    from peft import LoraConfig, get_peft_model
    from transformers import LlavaForConditionalGeneration

    patches.install()
    monkeypatch.setattr(modeling_mistral.MistralRMSNorm, "forward", exact_norm)
    base = LlavaForConditionalGeneration.from_pretrained(tiny, dtype=torch.float64)
    torch.manual_seed(0)
    config = LoraConfig(r=8, lora_alpha=16, target_modules=TARGETS)
    model = get_peft_model(base, config, autocast_adapter_dtype=False)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.02)
    return model.double().train()


@pytest.fixture
def packed(dataset, tiny_renderer):
    """(rows of words as `Bins` gives them, their trained tokens)."""
    from common import rows

    read = [row for row in rows.read(dataset / "train.jsonl") if not rows.images(row, dataset)]
    encoded = [tiny_renderer.encode(row, dataset) for row in read[:3]]
    made = [{"encoded": one, "pixels": [], "category": "", "id": ""} for one in encoded]
    return made, sum(int((one.labels[1:] != IGNORE).sum()) for one in encoded)


def check(ours, wanted):
    """Both are (loss, gradients)."""
    assert ours[0] == pytest.approx(wanted[0], rel=EXACT)
    assert ours[1].keys() == wanted[1].keys()
    assert len(wanted[1]) == 2 * 7 * 4
    for name, gradient in wanted[1].items():
        assert gradient.abs().max() > 0, name
        assert (ours[1][name] - gradient).abs().max() <= EXACT * gradient.abs().max(), name


@pytest.mark.parametrize("recomputed", [0, 2, 4])
def test_loss_and_every_gradient_are_pefts(adapted, packed, recomputed):
    """Rows packed with ours, recomputed in all layers, some, none; each row alone with PEFT's."""
    rows, count = packed
    with stock():
        wanted = gradients(adapted, [collate([row]) for row in rows], count)
        together = gradients(adapted, [collate(rows)], count)
    check(together, wanted)
    if recomputed:
        adapted.gradient_checkpointing_enable({"use_reentrant": False})
        adapted.enable_input_require_grads()
        layers = adapted.base_model.model.model.language_model.layers
        for layer in layers[: len(layers) - recomputed]:
            layer.gradient_checkpointing = False
    check(gradients(adapted, [collate(rows)], count), wanted)
    check(gradients(adapted, [collate([row]) for row in rows], count), wanted)


def four_bit_map(inputs, outputs):
    """A linear map in NF4 with random weights, computed in float32."""
    import bitsandbytes as bnb

    layer = bnb.nn.Linear4bit(
        inputs, outputs, bias=False, quant_type="nf4", compute_dtype=torch.float32
    )
    weight = torch.randn(outputs, inputs)
    layer.weight = bnb.nn.Params4bit(weight, quant_type="nf4", requires_grad=False)
    return layer.to("cpu")


def with_adapters(layers, names, **settings):
    from peft import LoraConfig, inject_adapter_in_model

    model = nn.ModuleDict(layers)
    options = {"r": 8, "lora_alpha": 32, "target_modules": list(layers)} | settings
    for name in names:
        inject_adapter_in_model(LoraConfig(init_lora_weights=False, **options), model, name)
    for layer in model.values():
        layer.set_adapter(names)
    return model.train()


def outputs_and_gradients(model, run, x):
    """What `run` makes of x through the model, and the gradients of x and of every LoRA matrix."""
    model.zero_grad()
    x = x.clone().requires_grad_()
    torch.manual_seed(1)  # the same dropout masks
    outputs = run(x, list(model.values()))
    sum((y * torch.arange(y.shape[-1])).sum() for y in outputs).backward()
    matrices = [p.grad for name, p in sorted(model.named_parameters()) if "lora" in name]
    return [*(y.detach() for y in outputs), x.grad, *(m.clone() for m in matrices)]


def by_peft(x, modules):
    with stock():
        return [module(x) for module in modules]


@pytest.mark.parametrize("dropout", [0.0, 0.5])
@pytest.mark.parametrize("names", [["default"], ["default", "other"]])
@pytest.mark.parametrize("outputs", [(128,), (128, 32, 32)])
def test_maps_of_four_bits_are_pefts(dropout, names, outputs):
    """Also where ours must step aside."""
    patches.install()
    torch.manual_seed(0)
    layers = {f"map{n}": four_bit_map(64, width) for n, width in enumerate(outputs)}
    model = with_adapters(layers, names, lora_dropout=dropout)
    x = torch.linspace(-1, 1, 2 * 5 * 64).view(2, 5, 64)
    ours = outputs_and_gradients(model, lora.lora_maps, x)
    wanted = outputs_and_gradients(model, by_peft, x)
    for one, other in zip(ours, wanted, strict=True):
        assert other.abs().max() > 0
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(
    "aside",
    ["another scale", "another rank", "a bias", "dora", "merged", "switched off", "a trained base"],
)
def test_whatever_is_not_alike_goes_the_stock_way(aside):
    patches.install()
    torch.manual_seed(0)
    layers = {f"map{n}": nn.Linear(16, 8, bias=aside == "a bias").double() for n in range(2)}
    settings = {"use_dora": True} if aside == "dora" else {}
    if aside == "another rank":
        settings["rank_pattern"] = {"map1": 4}
    model = with_adapters(layers, ["default"], **settings).double()
    if aside == "another scale":
        model["map1"].scaling["default"] = 0.5
    elif aside == "merged":
        model["map1"].merge()
    elif aside == "switched off":
        model["map1"].enable_adapters(False)
    elif aside == "a trained base":
        model["map1"].base_layer.weight.requires_grad_(True)
    x = torch.linspace(-1, 1, 3 * 16).view(1, 3, 16).double()
    outputs = lora.lora_maps(x, list(model.values()))
    assert "LoraMaps" not in type(outputs[1].grad_fn).__name__ or aside in (
        "another scale",
        "another rank",
    )
    for one, other in zip(outputs, by_peft(x, list(model.values())), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_maps_of_one_input_are_one_step():
    patches.install()
    layers = {f"map{n}": nn.Linear(16, 8, bias=False).double() for n in range(3)}
    model = with_adapters(layers, ["default"]).double()
    x = torch.randn(1, 3, 16, dtype=torch.float64)
    steps = {id(y.grad_fn) for y in lora.lora_maps(x, list(model.values()))}
    assert len(steps) == 1


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_the_map_of_a_gated_input_keeps_gate_and_up_alone(dropout):
    """Output and gradients in float64 against silu(gate) * up through PEFT's own map."""
    patches.install()
    torch.manual_seed(0)
    layers = {"map": nn.Linear(16, 8, bias=False).double()}
    model = with_adapters(layers, ["default"], lora_dropout=dropout).double()
    gate, up = torch.randn(2, 1, 5, 16, dtype=torch.float64)
    kept = []

    def keep(tensor):
        kept.append(tensor)
        return tensor

    def by_ours(x, modules):
        return [lora.gated_map(x[0], x[1], modules[0], lora.SILU)]

    def plainly(x, modules):
        return by_peft(nn.functional.silu(x[0]) * x[1], modules)

    inputs = torch.stack([gate, up])
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        ours = outputs_and_gradients(model, by_ours, inputs)
    for one, other in zip(ours, outputs_and_gradients(model, plainly, inputs), strict=True):
        assert (one - other).abs().max() <= EXACT * other.abs().max()
    if dropout == 0:
        product = (nn.functional.silu(gate) * up).flatten()
        same_size = [tensor for tensor in kept if tensor.numel() == product.numel()]
        assert len(same_size) >= 2
        assert not any(torch.allclose(tensor.flatten(), product) for tensor in same_size)
