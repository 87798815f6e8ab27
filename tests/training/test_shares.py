"""A model in shares over several ranks, and an adapter of which each has a copy, is the same training as
in one process, stops and resumes as one, and ends as one model.
"""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from common.recipes import RecipeError
from training import checkpoints, sharding, verify_whole
from training.adapter import MergeError

RATE = 1e-5  # half a step of bfloat16 is ten times it, at a weight of 0.06


def of_rank(folder, name: str, rank: int = 0) -> dict:
    return json.loads((folder / f"{name}-{rank}.json").read_text())


@pytest.mark.parametrize("what", ["same", "adapted"])
@pytest.mark.parametrize("ranks", [2, 3])
def test_loss_and_gradient_are_those_of_one_process(ranks_of, ranks, what):
    """Bins with pictures and bins without on different ranks; to 1e-5."""
    alone = of_rank(ranks_of(1), what)
    several = [of_rank(ranks_of(ranks), what, rank) for rank in range(ranks)]
    at_once = list(zip(*[found["pictures"] for found in several], strict=True))
    assert any(len(set(pictures)) == 2 for pictures in at_once)
    for found in several:
        for (loss, norm), (other, its_norm) in zip(found["logged"], alone["logged"], strict=True):
            assert loss == pytest.approx(other, rel=1e-5)
            assert norm == pytest.approx(its_norm, rel=1e-5)
    assert alone["logged"][-1][0] < alone["logged"][0][0]


@pytest.mark.parametrize("what", ["same", "adapted"])
@pytest.mark.parametrize("ranks", [2, 3])
def test_an_evaluation_of_uneven_bins_is_that_of_one_process(ranks_of, ranks, what):
    alone = of_rank(ranks_of(1), what)
    found = of_rank(ranks_of(ranks), what)
    assert alone["bins"] % ranks
    for when in ("before", "after"):
        assert found[when].keys() == alone[when].keys()
        for name, value in alone[when].items():
            assert found[when][name] == pytest.approx(value, rel=1e-5), name


@pytest.mark.parametrize("what", ["", "-adapter"])
def test_ranks_stop_together_where_one_is_told_to(ranks_of, what):
    """SIGTERM on the second rank alone, in the second step."""
    for rank in range(2):
        told = of_rank(ranks_of(2), "ended", rank)
        assert told[f"stopped{what}"] == "stopped by SIGTERM at step 2 of 4, checkpoint-2 is saved"
        assert told[f"diverged{what}"].startswith(
            "the loss is nan at step 3 of 4 and was not saved"
        )
    assert not (ranks_of(2) / f"diverged{what}" / "checkpoint-4").exists()


@pytest.mark.parametrize("file", ["model.safetensors", "-adapter/adapter_model.safetensors"])
def test_what_is_resumed_comes_to_the_same_weights(ranks_of, file):
    """8-bit states, dropout's random numbers and all: bit for bit."""
    what, _, name = file.rpartition("/")
    folder = ranks_of(2)
    straight = load_file(folder / f"straight{what}" / name)
    resumed = load_file(folder / f"stopped{what}" / name)
    assert straight.keys() == resumed.keys()
    assert all(torch.equal(straight[key], resumed[key]) for key in straight)


@pytest.mark.parametrize(("name", "kept"), [("masters", "float32"), ("rounded", "bfloat16")])
def test_passes_in_bfloat16_with_weights_of_one_type_learn(ranks_of, name, kept):
    """Axolotl hands over norms, embeddings and head in float32 and the rest in bfloat16."""
    found = of_rank(ranks_of(2), name)
    assert found["types"] == [f"torch.{kept}"]
    assert found["losses"][-1] < found["losses"][0]


def test_a_checkpoint_of_shares_is_sealed_with_every_rank(ranks_of):
    folder = ranks_of(2) / "straight" / "checkpoint-4"
    sealed = checkpoints.sealed(folder)["files"]
    assert {"shares-0-of-2.pt", "shares-1-of-2.pt", "scheduler.pt"} <= sealed.keys()
    assert checkpoints.damage(folder) is None
    held = torch.load(folder / "shares-1-of-2.pt", weights_only=True)
    kinds = {type(state["exp_avg"]).__name__ for state in held["states"].values()}
    assert "OptimState8bit" in kinds


def test_the_whole_model_is_proven(ranks_of, tiny, tmp_path):
    trained = ranks_of(2) / "straight"
    for name in ("config.json", "tokenizer.json"):
        assert (tiny / name).exists()
    for path in tiny.glob("*"):
        if path.suffix != ".safetensors":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    tensors = load_file(trained / "model.safetensors")
    save_file(tensors, tmp_path / "model.safetensors")
    assert "trained tensors are finite and moved" in verify_whole.prove(tiny, tmp_path)
    base = load_file(tiny / "model.safetensors")
    head = "language_model.lm_head.weight"
    eyes = "vision_tower.patch_conv.weight"
    wrong = {
        head: base[head],
        eyes: base[eyes] + 1,
        "language_model.model.norm.weight": torch.full_like(tensors["language_model.model.norm.weight"], torch.nan),
    }  # fmt: skip
    for key, value in wrong.items():
        save_file(tensors | {key: value}, tmp_path / "model.safetensors")
        with pytest.raises(MergeError, match=f"not proven: {key}"):
            verify_whole.prove(tiny, tmp_path)
    save_file({k: v for k, v in tensors.items() if k != head}, tmp_path / "model.safetensors")
    with pytest.raises(MergeError, match="in one model alone"):
        verify_whole.prove(tiny, tmp_path)


def test_a_vector_may_move_by_less_than_a_step_of_16_bits_and_a_matrix_may_not(tmp_path):
    """A norm's weights near one have steps of 0.008: with 1e-5 a step they are seldom reached."""
    norm = "language_model.model.norm.weight"
    base = {"language_model.lm_head.weight": torch.ones(4, 4), norm: torch.ones(4)}
    for name, moved in (("base", 0.0), ("tuned", 0.5)):
        (tmp_path / name).mkdir()
        tensors = {key: (value + moved).bfloat16() for key, value in base.items()}
        save_file(tensors | {norm: base[norm].bfloat16()}, tmp_path / name / "model.safetensors")
    proven = verify_whole.record(tmp_path / "base", tmp_path / "tuned")
    assert "1 trained tensors are finite and moved, 1 vectors moved by less than a step" in proven
    assert json.loads((tmp_path / "tuned" / "proof.json").read_text())["proven"] == proven
    with pytest.raises(MergeError, match="lm_head.weight: the base's still"):
        verify_whole.prove(tmp_path / "base", tmp_path / "base")


@pytest.fixture(scope="module")
def falls(tiny, dataset, tiny_renderer):
    """The fall of the loss of one bin in twenty steps at a small rate, by how weights are kept; and
    the share of the weights that moved.
    """
    from torchao.optim import AdamW8bit
    from transformers import AutoProcessor, LlavaForConditionalGeneration

    from training.data import Bins, collate
    from training.index import index

    found = index(dataset / "train.jsonl", tiny_renderer)
    processor = AutoProcessor.from_pretrained(tiny)
    bins = Bins(
        found, found.tokens.argsort()[:8], tiny_renderer, processor.image_processor, capacity=900
    )
    batch = collate(bins[0])

    def train(masters: bool, stochastic: bool = False) -> tuple[float, float]:
        torch.manual_seed(0)
        model = LlavaForConditionalGeneration.from_pretrained(tiny, dtype=torch.bfloat16)
        sharding.freeze_eyes(model)
        if masters:
            sharding.cast_trained(model)
        trained = [p for p in model.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(trained, lr=RATE, weight_decay=0.0)
        if stochastic:
            optimizer = AdamW8bit(trained, lr=RATE, weight_decay=0.0, bf16_stochastic_round=True)
            sharding.float32_states(optimizer)
        before = [p.detach().clone() for p in trained]
        losses = []
        for _ in range(21):
            with torch.autocast("cpu", torch.bfloat16):
                loss = model(**batch).loss
            losses.append(loss.item())
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        moved = sum(int((p != was).sum()) for p, was in zip(trained, before, strict=True))
        return losses[0] - losses[-1], moved / sum(p.numel() for p in trained)

    ways = {"masters": train(True), "bfloat16": train(False), "rounded": train(False, True)}
    print(ways)
    return ways


def test_pure_bfloat16_loses_the_updates_that_float32_masters_keep(falls):
    assert falls["masters"][0] > 3 * falls["bfloat16"][0], falls
    assert falls["masters"][1] > 3 * falls["bfloat16"][1], falls
    assert falls["rounded"][0] > 0.5 * falls["masters"][0], falls


def test_trained_bfloat16_weights_without_masters_are_refused():
    model = torch.nn.Linear(2, 2, dtype=torch.bfloat16)
    with pytest.raises(RecipeError, match="updates are lost in rounding"):
        sharding.require_masters(model, torch.optim.AdamW(model.parameters()))
    sharding.cast_trained(model)
    sharding.require_masters(model, torch.optim.AdamW(model.parameters()))


def test_a_model_of_which_nothing_is_trained_is_refused():
    model = torch.nn.Linear(2, 2).requires_grad_(False)
    with pytest.raises(RecipeError, match="no weight of the model is trained"):
        sharding.require_masters(model, torch.optim.AdamW(model.parameters()))
