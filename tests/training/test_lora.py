"""Our LoRA steps against PEFT's own, element by element: outputs, loss and every gradient."""

import contextlib

import pytest
import torch
from axolotl.core.training_args import AxolotlTrainingArguments
from axolotl.utils.dict import DictDefault
from references import TARGETS, exact_norm, gradients, stock
from torch import nn
from transformers.models.mistral import modeling_mistral

from training import lora
from training import model as patches
from training.data import Collator, collate
from training.plugin import AetherPlugin
from training.recompute import keep_activations
from training.render import IGNORE
from training.trainer import AetherTrainer

EXACT = 1e-9  # relative, in float64


@pytest.fixture(scope="module")
def adapted(tiny):
    """Makes the tiny model in float64 with a LoRA adapter that does something, always the same."""
    from peft import LoraConfig, get_peft_model
    from transformers import LlavaForConditionalGeneration

    patches.install()

    def make():
        base = LlavaForConditionalGeneration.from_pretrained(tiny, dtype=torch.float64)
        torch.manual_seed(0)
        config = LoraConfig(r=8, lora_alpha=16, target_modules=TARGETS)
        model = get_peft_model(base, config, autocast_adapter_dtype=False)
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                nn.init.normal_(parameter, std=0.02)
        return model.double().train()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(modeling_mistral.MistralRMSNorm, "forward", exact_norm)
        yield make


@pytest.fixture(scope="module")
def of_words(dataset, tiny_renderer):
    """Nine rows of words, as `Bins` gives them."""
    from common import rows

    read = [row for row in rows.read(dataset / "train.jsonl") if not rows.images(row, dataset)]
    encoded = [tiny_renderer.encode(row, dataset) for row in read[:9]]
    return [{"encoded": one, "pixels": [], "category": "", "id": ""} for one in encoded]


def check(ours, wanted):
    """Both are (loss, gradients)."""
    assert ours[0] == pytest.approx(wanted[0], rel=EXACT)
    assert ours[1].keys() == wanted[1].keys()
    assert len(wanted[1]) == 2 * 7 * 4
    for name, gradient in wanted[1].items():
        assert gradient.abs().max() > 0, name
        assert (ours[1][name] - gradient).abs().max() <= EXACT * gradient.abs().max(), name


PACKED = pytest.mark.parametrize("packed", [True, False], ids=["packed", "a row a bin"])
NONE = pytest.param(4, id="no layer recomputed")
SOME = pytest.param(2, id="two layers recomputed")
ALL = pytest.param(0, id="all layers recomputed")


def bins_of(rows, packed):
    """Three rows of a step in one bin, or in one each."""
    return [rows] if packed else [[row] for row in rows]


def recompute(model, kept):
    """Let all layers but the last `kept` compute again what their backward pass reads."""
    model.gradient_checkpointing_enable({"use_reentrant": False})
    model.enable_input_require_grads()
    keep_activations(model, kept)


@PACKED
@pytest.mark.parametrize("kept", [NONE, SOME, ALL])
def test_loss_and_every_gradient_are_pefts(adapted, of_words, packed, kept):
    """PEFT's own reads each row alone and recomputes nothing."""
    model = adapted()
    rows = of_words[:3]
    count = sum(int((row["encoded"].labels[1:] != IGNORE).sum()) for row in rows)
    batches = [collate(rows) for rows in bins_of(rows, packed)]
    with stock():
        wanted = gradients(model, [collate([row]) for row in rows], count)
        check(gradients(model, batches, count), wanted)
    if kept < 4:
        recompute(model, kept)
    check(gradients(model, batches, count), wanted)


class Listed(list):
    """Bins in their order."""

    column_names = None

    def set_epoch(self, epoch):
        pass


class Stopped(Exception):
    pass


class Recorded(AetherTrainer):
    """Keeps the summed loss of each step and the gradients that its optimizer is given."""

    stop_at = None

    def training_step(self, *args, **kwargs):
        if self.state.global_step == self.stop_at:
            raise Stopped
        loss = super().training_step(*args, **kwargs)
        named = self.model.named_parameters()
        found = {name: p.grad.clone() for name, p in named if p.grad is not None}
        before = self.steps.get(self.state.global_step, (0.0, None))[0]
        self.steps[self.state.global_step] = (before + loss.item(), found)
        return loss


def trained(model, rows, packed, folder, stop_at=None, resume=False):
    """{step: (loss, gradients)} of a training of three steps, three rows each, with a checkpoint
    after each.
    """
    steps = [bins_of(rows[n : n + 3], packed) for n in (0, 3, 6)]
    arguments = AxolotlTrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=1,
        gradient_accumulation_steps=len(steps[0]),
        num_train_epochs=1,
        learning_rate=1e-3,
        max_grad_norm=0.0,
        curriculum_sampling=True,
        save_steps=1,
        report_to=[],
        use_cpu=True,
        **AetherPlugin().get_training_args(DictDefault(seed=3)),
    )
    bins = Listed(one for step in steps for one in step)
    trainer = Recorded(model=model, args=arguments, train_dataset=bins, data_collator=Collator())
    trainer.steps = {}
    trainer.stop_at = stop_at
    with pytest.raises(Stopped) if stop_at else contextlib.nullcontext():
        trainer.train(resume_from_checkpoint=resume)
    return trainer.steps


@pytest.fixture(scope="module")
def unbroken(adapted, of_words, tmp_path_factory):
    """The steps of PEFT's own training that nothing stops, a row a bin, no layer recomputed."""
    with stock():
        return trained(adapted(), of_words, False, tmp_path_factory.mktemp("peft"))


@PACKED
@pytest.mark.parametrize("kept", [NONE, ALL])
def test_resumed_the_next_loss_and_gradients_are_those_of_pefts_unbroken_run(
    adapted, of_words, unbroken, tmp_path, packed, kept
):
    """Stopped after the first step of three, taken up from its checkpoint by a model made anew: the
    second needs its weights, the third its optimizer's state.
    """
    ours = {}
    for told in ({"stop_at": 1}, {"resume": True}):
        model = adapted()
        if kept < 4:
            recompute(model, kept)
        steps = trained(model, of_words, packed, tmp_path / "ours", **told)
        assert not ours.keys() & steps.keys()
        ours |= steps
    assert ours.keys() == unbroken.keys() == {0, 1, 2}
    for step, wanted in unbroken.items():
        check(ours[step], wanted)


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
