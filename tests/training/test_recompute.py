"""Which layers are not recomputed: chosen by arithmetic, and kept by the Trainer."""

import pytest
import torch
from transformers import LlavaForConditionalGeneration, Trainer, TrainingArguments

from common import facts
from common.recipes import find
from training import memory
from training import model as patches
from training.recompute import KeepActivations


@pytest.mark.parametrize("name", ["qlora_r128", "qlora_r64", "qlora_r128_16k"])
def test_as_many_layers_are_kept_as_leave_the_margin(name):
    recipe = find(name).data
    shape = facts.APRIEL_15B
    limit = memory.L40S_GIB * (1 - memory.MARGIN)
    kept = memory.layers_kept(recipe, shape, 1.0, memory.L40S_GIB)
    assert 0 < kept < shape.layers
    assert sum(memory.estimate(recipe, shape, kept=kept).values()) <= limit
    assert sum(memory.estimate(recipe, shape, kept=kept + 1).values()) > limit


def test_no_layer_is_kept_where_there_is_no_room_and_none_is_asked_to():
    recipe = find("qlora_r128").data
    shape = facts.APRIEL_15B
    assert memory.layers_kept(recipe, shape, 1.0, 24.0) == 0
    assert memory.layers_kept(recipe, shape, 1.0, 141.0) == shape.layers
    for key in ("gradient_checkpointing", "bf16"):
        assert memory.layers_kept(recipe | {key: False}, shape, 1.0, 141.0) == 0


@pytest.mark.parametrize("kept", [0, 1, 4])
def test_the_trainer_recomputes_all_but_the_last_layers(tiny, tmp_path, kept):
    patches.install()
    model = LlavaForConditionalGeneration.from_pretrained(tiny, dtype=torch.float32)
    ids = torch.arange(1000, 1020)
    rows = [{"input_ids": ids, "labels": ids, "position_ids": torch.arange(20)}]
    arguments = TrainingArguments(
        output_dir=tmp_path,
        max_steps=1,
        gradient_checkpointing=True,
        gradient_checkpointing_kwargs={"use_reentrant": False},
        report_to=[],
        save_strategy="no",
        use_cpu=True,
    )
    seen = []

    def count(mlp, *_):
        seen.append(mlp.layer_number)

    for number, layer in enumerate(model.model.language_model.layers):
        layer.mlp.layer_number = number
        layer.mlp.register_forward_pre_hook(count)
    Trainer(model, arguments, train_dataset=rows, callbacks=[KeepActivations(kept)]).train()
    # Every layer once on the way forth, and on the way back those that are recomputed.
    assert sorted(seen) == sorted([*range(4), *range(4 - kept)])


def test_a_recomputation_is_one_forward_pass_of_its_layers():
    """Two tokens, the second seeing both: 3 pairs; 2 operations a weight and token, 4 a pair, head
    and channel.
    """
    shape = facts.Shape(hidden=4, layers=3, heads=2, kv_heads=1, head_dim=2, ffn=8, vocab=10)
    weights = 4 * 4 + 4 * 2 + 4 * 2 + 4 * 4 + 3 * 4 * 8
    assert shape.recomputation_flops(2, 3, layers=1) == 2 * weights * 2 + 4 * 2 * 2 * 3
    assert shape.recomputation_flops(2, 3, layers=3) == 3 * shape.recomputation_flops(2, 3, 1)
