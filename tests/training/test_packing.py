"""Packing is exact: the same rows give the same logits, loss and gradients packed or alone, and
every row is seen once an epoch.
"""

import numpy as np
import pytest
import torch
from references import TARGETS, exact_norm, gradients, stock
from transformers.models.mistral import modeling_mistral
from transformers.models.pixtral import modeling_pixtral

from common import facts
from common.recipes import RecipeError
from training import loss
from training import model as patches
from training.data import Bins, Collator, collate, plan
from training.index import index, select
from training.plugin import AetherPlugin
from training.render import IGNORE
from training.tiny_base import model


@pytest.fixture(scope="module")
def lora(tiny):
    """The tiny model in float32 with a LoRA adapter that does something."""
    from peft import LoraConfig, get_peft_model
    from transformers import LlavaForConditionalGeneration

    patches.install()
    torch.manual_seed(0)
    base = LlavaForConditionalGeneration.from_pretrained(tiny, dtype=torch.float32)
    wrapped = get_peft_model(base, LoraConfig(r=8, lora_alpha=16, target_modules=TARGETS))
    for name, parameter in wrapped.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.02)
    return wrapped.train()


def bins_of(dataset, renderer, tiny, **kwargs):
    from transformers import AutoProcessor

    found = index(dataset / "train.jsonl", renderer)
    return Bins(
        found,
        np.arange(len(found)),
        renderer,
        AutoProcessor.from_pretrained(tiny).image_processor,
        **kwargs,
    )


def test_every_map_of_the_tiny_model_is_drawn_by_its_width():
    """With one deviation for all of them the tiny base never learned to see."""
    drawn = model(facts.TINY, 0)
    maps = {
        name: m.weight
        for name, m in drawn.named_modules()
        if isinstance(m, torch.nn.Linear) and name != "lm_head"
    }
    assert len(maps) == 4 * 7 + 2 * 7 + 2
    for name, weight in maps.items():
        assert weight.std().item() == pytest.approx(weight.shape[1] ** -0.5, rel=0.05), name


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", ["mixed", "text", "images"])
def test_packed_equals_separate(dataset, tiny, tiny_renderer, lora, seed, kind):
    separate = bins_of(dataset, tiny_renderer, tiny, capacity=10**6, pack=False)
    rows = [separate[i][0] for i in np.random.default_rng(seed).permutation(len(separate))]
    rows = [r for r in rows if kind == "mixed" or bool(r["pixels"]) == (kind == "images")][:7]
    count = sum(int((r["encoded"].labels[1:] != IGNORE).sum()) for r in rows)
    lora.eval()
    with torch.no_grad():
        whole = lora(**{k: v for k, v in collate(rows).items() if k != "labels"}).logits[0]
        parts = torch.cat(
            [
                lora(**{k: v for k, v in collate([r]).items() if k != "labels"}).logits[0]
                for r in rows
            ]
        )
        nll = lora(**collate(rows), token_nll=True).logits
        alone = torch.cat([lora(**collate([r]), token_nll=True).logits for r in rows])
    assert (whole - parts).abs().max() < 1e-5 * max(1.0, parts.abs().max().item())
    assert (nll - alone).abs().max() < 1e-5 * max(1.0, alone.max().item())
    lora.train()
    loss, packed = gradients(lora, [collate(rows)], count)
    other, single = gradients(lora, [collate([r]) for r in rows], count)
    halves, split = gradients(lora, [collate(rows[:2]), collate(rows[2:])], count)
    assert abs(loss - other) < 1e-5 * other and abs(loss - halves) < 1e-5 * other
    assert packed.keys() == single.keys() and len(packed) == 2 * 7 * 4
    for name in packed:
        scale = single[name].abs().max().item()
        assert (packed[name] - single[name]).abs().max() <= 1e-4 * scale + 1e-9, name
        assert (split[name] - single[name]).abs().max() <= 1e-4 * scale + 1e-9, name


def test_the_loss_is_stock_cross_entropy_over_trained_tokens(dataset, tiny, tiny_renderer, lora):
    batch = collate([bins_of(dataset, tiny_renderer, tiny, capacity=10**6, pack=False)[0][0]])
    lora.eval()
    with torch.no_grad():
        ours = lora(**batch).loss
        logits = loss.stock_forward(
            lora.base_model.model, **{k: v for k, v in batch.items() if k != "labels"}
        ).logits
    wanted = torch.nn.functional.cross_entropy(
        logits[0, :-1], batch["labels"][0, 1:], ignore_index=IGNORE
    )
    assert ours.item() == pytest.approx(wanted.item(), rel=1e-5)


def test_without_restarted_positions_rows_would_see_each_other(dataset, tiny, tiny_renderer, lora):
    rows = [
        b[0]
        for b in [
            bins_of(dataset, tiny_renderer, tiny, capacity=10**6, pack=False)[i] for i in (1, 2)
        ]
    ]
    batch = collate(rows)
    lora.eval()
    with torch.no_grad():
        right = lora(**batch).loss
        wrong = lora(
            **(batch | {"position_ids": torch.arange(batch["input_ids"].shape[1])[None]})
        ).loss
    assert abs(right - wrong) > 1e-3


@pytest.mark.parametrize("window", [8, 4096])
def test_a_sliding_window_is_applied(dataset, tiny, tiny_renderer, monkeypatch, window):
    """Packed rows with ours against each row alone with the stock attention, in float64."""
    from transformers import LlavaConfig, LlavaForConditionalGeneration

    patches.install()
    monkeypatch.setattr(modeling_mistral.MistralRMSNorm, "forward", exact_norm)
    config = LlavaConfig.from_pretrained(tiny)
    config.text_config.sliding_window = window
    model = LlavaForConditionalGeneration.from_pretrained(tiny, config=config, dtype=torch.float64)
    separate = bins_of(dataset, tiny_renderer, tiny, capacity=10**6, pack=False)
    rows = [separate[i][0] for i in (1, 2, 4)]  # of words alone
    count = sum(int((r["encoded"].labels[1:] != IGNORE).sum()) for r in rows)
    loss, ours = gradients(model, [collate(rows)], count)
    with stock():
        wanted, theirs = gradients(model, [collate([r]) for r in rows], count)
    assert loss == pytest.approx(wanted, rel=1e-9)
    for name, gradient in theirs.items():
        assert (ours[name] - gradient).abs().max() <= 1e-9 * gradient.abs().max(), name


def test_attention_that_knows_no_bins_is_refused():
    with pytest.raises(RecipeError, match="attn_implementation: eager: bins need sdpa"):
        AetherPlugin().register({"attn_implementation": "eager"})


def test_images_of_a_call_do_not_see_each_other(lora, monkeypatch):
    tower = lora.base_model.model.model
    sizes = torch.tensor([[64, 96], [32, 32], [96, 48]])
    pictures = torch.randn(3, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    ask = {
        "vision_feature_layer": -1,
        "vision_feature_select_strategy": "full",
        "return_dict": True,
    }
    with torch.no_grad():
        together = tower.get_image_features(
            pixel_values=pictures, image_sizes=sizes, **ask
        ).pooler_output
        # Plain products, one image at a time.
        monkeypatch.setattr(tower.vision_tower.config, "_attn_implementation", "eager")
        monkeypatch.setattr(
            modeling_pixtral, "generate_block_attention_mask", lambda patches, tensor: None
        )
        for number, (found, size) in enumerate(zip(together, sizes, strict=True)):
            alone = tower.get_image_features(
                pixel_values=pictures[number : number + 1, :, : size[0], : size[1]],
                image_sizes=size[None],
                **ask,
            ).pooler_output[0]
            assert found.shape == alone.shape == (size.prod() // 256, 192)
            assert (found - alone).abs().max() < 1e-5 * alone.abs().max()


def test_a_batch_of_two_bins_is_the_rows_of_both(dataset, tiny, tiny_renderer):
    packed = bins_of(dataset, tiny_renderer, tiny, capacity=600)
    both = Collator()([packed[0], packed[1]])
    assert both["input_ids"].shape[1] == sum(
        len(r["encoded"].input_ids) for b in (packed[0], packed[1]) for r in b
    )
    assert (both["position_ids"] == 0).sum() == len(packed[0]) + len(packed[1])


@pytest.mark.parametrize("multiple", [1, 2, 3, 6])
def test_every_row_is_in_exactly_one_bin_each_epoch(multiple):
    lengths = np.random.default_rng(0).integers(10, 900, 500)
    seen = []
    for epoch in range(3):
        bins = plan(lengths, 1000, 7, epoch, multiple, at_least=300)
        assert sorted(row for one in bins for row in one) == list(range(500))
        assert len(bins) % multiple == 0 and max(sum(lengths[one]) for one in bins) <= 1000
        seen.append(bins)
    assert seen[0] != seen[1] and seen[0] == plan(lengths, 1000, 7, 0, multiple, at_least=300)


def test_bins_are_filled(pixtral_renderer):
    """Two in a hundred token slots of a bin may stay empty, at lengths as aether has them."""
    lengths = np.random.default_rng(1).lognormal(7.1, 0.6, 16_500).astype(int).clip(60, 8192)
    bins = plan(lengths, 8192, 42, 0)
    assert lengths.sum() / (len(bins) * 8192) > 0.98


def test_too_few_rows_for_the_ranks_is_said():
    with pytest.raises(ValueError, match="2 rows cannot fill 3 bins"):
        plan(np.array([5, 5]), 10, 0, 0, multiple=3)


def test_rows_that_do_not_fit_are_dropped_by_name(dataset, tiny_renderer):
    found = index(dataset / "train.jsonl", tiny_renderer)
    limit = int(np.median(found.tokens))
    kept, dropped = select(found, None, limit)
    assert (
        set(kept) | set(dropped) == set(range(len(found)))
        and (found.tokens[dropped] > limit).all()
        and len(dropped)
    )
    assert set(found.categories[select(found, ["plain"], 10**6)[0]]) == {"plain"}
    with pytest.raises(ValueError, match="no row of category 'nope'; it has async, plain"):
        select(found, ["nope"], limit)


def test_the_index_is_cached_and_notices_a_changed_file(dataset, tiny_renderer, tmp_path):
    import shutil

    copy = shutil.copytree(dataset, tmp_path / "copy")
    first = index(copy / "train.jsonl", tiny_renderer)
    assert (copy / ".cache" / "train.npz").exists()
    lines = (copy / "train.jsonl").read_text().splitlines(keepends=True)
    (copy / "train.jsonl").write_text("".join(lines[:5]))
    assert len(first) == 40 and len(index(copy / "train.jsonl", tiny_renderer)) == 5


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_the_trainer_sees_every_row_once_an_epoch(ranks_of, ranks):
    """Real Trainer, real processes over gloo: the rows of all ranks are every row."""
    seen = [
        line
        for path in sorted(ranks_of(ranks).glob("rank-*.txt"))
        for line in path.read_text().splitlines()
    ]
    for epoch in ("0", "1"):
        assert sorted(line.split()[1] for line in seen if line.split()[0] == epoch) == sorted(
            f"row-{n}" for n in range(40)
        )
