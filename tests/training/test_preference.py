"""The loss on pairs is exact: packed in bins, by chunks, with the adapter switched off for the
reference, it is what a plain implementation gives on each reply alone.
"""

import copy
import json
import math
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import ROOT, message, some_rows, write_dataset
from references import TARGETS, exact_norm, stock
from torch.nn import functional
from transformers.models.mistral import modeling_mistral

from common import chat, rows, runs
from common.bases import base_of, model_hash
from common.facts import APRIEL_15B
from common.files import sha256_of, write_json
from common.recipes import Recipe, all_recipes, find
from training import loss, memory
from training import model as patches
from training.check_recipe import problems
from training.data import Bins, collate
from training.index import index, select
from training.meter import Meter
from training.preference import without_adapter
from training.preference_loss import judge
from training.prerequisites import makers_of
from training.recipe_schema import Preference
from training.render import IGNORE

LOSSES = {
    "dpo": Preference(loss="dpo", beta=0.1, sft=0.2),
    "dpo by the token": Preference(loss="dpo", beta=5, length_normalised=True),
    "orpo": Preference(loss="orpo", beta=0.25),
    "simpo": Preference(loss="simpo", beta=2.0, margin=0.5),
}


def pair(row, number):
    worse = chat.compose(f"Step {number}.", f"A worse answer {number}, of {number % 5} words." * 2)
    content = [{"type": "text", "text": worse}]
    return row | {"rejected": {"content": content, "why": "a lecture"}}


def some_pairs(folder, count):
    return [pair(row, number) for number, row in enumerate(some_rows(folder, count))]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs")
    write_dataset(folder, some_rows(folder, 4))
    made = some_pairs(folder, 20)
    for name, part in (("pairs", made), ("pairs_val", made[:5])):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part))
    return folder


@pytest.fixture(scope="module")
def adapted(tiny):
    """The tiny model in float64 with a LoRA adapter that does something."""
    from peft import LoraConfig, get_peft_model
    from transformers import LlavaForConditionalGeneration

    patches.install()
    torch.manual_seed(0)
    base = LlavaForConditionalGeneration.from_pretrained(tiny, dtype=torch.float64)
    wrapped = get_peft_model(base, LoraConfig(r=8, lora_alpha=16, target_modules=TARGETS))
    for name, parameter in wrapped.named_parameters():
        parameter.data = parameter.data.double()
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.02)
    return wrapped.eval()


def bins_of(folder, renderer, tiny, **kwargs):
    from transformers import AutoProcessor

    found = index(folder / "pairs.jsonl", renderer, pairs=True)
    processor = AutoProcessor.from_pretrained(tiny).image_processor
    return Bins(found, np.arange(len(found)), renderer, processor, **kwargs)


def alone(model, side):
    """The log-likelihood of a reply by stock's forward pass and whole logits."""
    batch = collate([side])
    labels = batch.pop("labels")[0, 1:]
    logits = loss.stock_forward(model.base_model.model, **batch).logits[0, :-1]
    picked = logits.log_softmax(-1).gather(-1, batch["input_ids"][0, 1:, None])[:, 0]
    return picked[labels != IGNORE].sum()


def packed(model, sides):
    """(log-likelihoods, tokens) of the replies of a bin, (pairs, 2)."""
    batch = collate(sides, with_rows=True)
    batch.pop("categories")
    rows_of = batch.pop("row_index")[0, :-1][batch["labels"][0, 1:] != IGNORE]
    nats = model(**batch, token_nll=True).logits
    sums = -nats.new_zeros(len(sides)).index_add(0, rows_of, nats)
    return sums.view(-1, 2), torch.bincount(rows_of, minlength=len(sides)).view(-1, 2)


def gradients_of(model, losses):
    model.zero_grad()
    losses.sum().backward()
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("name", LOSSES)
def test_a_bin_of_pairs_is_its_replies_alone(
    pairs, tiny, tiny_renderer, adapted, name, monkeypatch
):
    """Likelihoods, reference and LoRA gradients, against the stock model and PEFT's own switch."""
    monkeypatch.setattr(modeling_mistral.MistralRMSNorm, "forward", exact_norm)
    monkeypatch.setattr(loss, "CHUNK", 7)  # many chunks, the last one not whole
    data = bins_of(pairs, tiny_renderer, tiny, capacity=3000)
    sides = next(one for one in data if any(side["pixels"] for side in one))
    assert len(sides) >= 4
    with stock():
        plain = torch.stack([alone(adapted, side) for side in sides]).view(-1, 2)
        with torch.no_grad(), adapted.disable_adapter():
            wanted = torch.stack([alone(adapted, side) for side in sides]).view(-1, 2)
        tokens = torch.tensor([(s["encoded"].labels[1:] != IGNORE).sum() for s in sides])
        theirs = judge(LOSSES[name], plain, tokens.view(-1, 2), wanted)
        expected = gradients_of(adapted, theirs.losses)
    with torch.no_grad(), without_adapter(adapted):
        reference, counted = packed(adapted, sides)
    ours, _ = packed(adapted, sides)
    assert (counted == tokens.view(-1, 2)).all()
    assert (ours - plain).abs().max() < 1e-5 * plain.abs().max()
    assert (reference - wanted).abs().max() < 1e-5 * wanted.abs().max()
    assert (reference - ours).abs().max() > 1e-3  # the adapter does something
    outcome = judge(LOSSES[name], ours, counted, reference)
    assert outcome.losses.tolist() == pytest.approx(theirs.losses.tolist(), rel=1e-4)
    found = gradients_of(adapted, outcome.losses)
    assert found.keys() == expected.keys() and len(found) == 2 * 7 * 4
    for key, gradient in expected.items():
        assert (found[key] - gradient).abs().max() <= 1e-4 * gradient.abs().max(), key


def test_the_losses_are_those_of_their_papers():
    """By hand: two tokens each, likelihoods of -2 and -4, of the reference -3 and -3."""
    sums = torch.tensor([[-2.0, -4.0]], dtype=torch.float64)
    reference = torch.full((1, 2), -3.0, dtype=torch.float64)
    tokens = torch.tensor([[2.0, 2.0]])

    def of(**how):
        return float(judge(Preference(**how), sums, tokens, reference).losses)

    def softplus(x):
        return math.log1p(math.exp(x))

    assert of(loss="dpo", beta=0.5) == pytest.approx(softplus(-0.5 * 2))
    assert of(loss="dpo", beta=0.5, length_normalised=True) == pytest.approx(softplus(-0.5))
    assert of(loss="dpo", beta=0.5, sft=0.1) == pytest.approx(softplus(-1) + 0.1 * 1)
    assert of(loss="simpo", beta=2.0, margin=0.5) == pytest.approx(softplus(-(2 * 1 - 0.5)))
    odds = [p / (1 - p) for p in (math.exp(-1), math.exp(-2))]
    of_odds = -math.log(1 / (1 + odds[1] / odds[0]))
    assert of(loss="orpo", beta=0.3) == pytest.approx(1 + 0.3 * of_odds)


def test_what_is_watched(pairs):
    sums = torch.tensor([[-2.0, -4.0], [-3.0, -3.0], [-6.0, -2.0]], dtype=torch.float64)
    tokens = torch.tensor([[2, 4], [2, 4], [2, 4]])
    reference = torch.full((3, 2), -3.0, dtype=torch.float64)
    outcome = judge(Preference(loss="dpo", beta=1.0), sums, tokens, reference)
    seen = dict(
        zip(("loss", "right", "margin", "chosen", "rejected"), outcome.watched().T, strict=False)
    )
    assert seen["right"].tolist() == [1.0, 0.5, 0.0]  # a pair without a margin is half right
    assert seen["margin"].tolist() == [2.0, 0.0, -4.0]
    assert seen["chosen"].tolist() == [1.0, 0.0, -3.0] and outcome.watched().shape == (3, 9)


def test_token_likelihoods_and_their_gradient_by_chunks(monkeypatch):
    torch.manual_seed(0)
    monkeypatch.setattr(loss, "CHUNK", 5)
    hidden = torch.randn(17, 8, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(30, 8, dtype=torch.float64)
    labels = torch.randint(30, (17,))
    scale = torch.randn(17, dtype=torch.float64)
    (loss.nll(hidden, weight, labels) * scale).sum().backward()
    ours, hidden.grad = hidden.grad, None
    plain = functional.cross_entropy(hidden @ weight.T, labels, reduction="none")
    (plain * scale).sum().backward()
    assert torch.allclose(ours, hidden.grad, rtol=1e-12, atol=1e-14)
    assert torch.allclose(loss.nll(hidden, weight, labels), plain)
    assert loss.nll(hidden[:0], weight, labels[:0]).shape == (0,)


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda row: row.pop("rejected"), "rejected: missing; a recipe with `preference:` reads"),
        (lambda row: row["rejected"].update(content=[]), "rejected.content: give a non-empty list"),
        (lambda row: row["rejected"].pop("why"), "rejected: give"),
        (lambda row: row["rejected"].update(why=" "), "rejected.why: say what is wrong"),
        (lambda row: row["rejected"]["content"][0].update(text=" \n"), "rejected.content: empty"),
        (
            lambda row: row["rejected"].update(
                content=copy.deepcopy(row["messages"][-1]["content"])
            ),
            "rejected.content: the same as the chosen reply",
        ),
        (
            lambda row: row["rejected"]["content"].append(
                {"type": "image", "path": "images/a.png"}
            ),
            "rejected.content[1]",
        ),
        (
            lambda row: row["messages"].extend(
                [message("user", "x"), message("assistant", "y", weight=1)]
            ),
            "messages: a pair trains its last turn alone",
        ),
        (
            lambda row: row["messages"].extend(
                [message("user", "x"), message("assistant", "y", weight=0)]
            ),
            "messages: a pair trains its last turn alone",
        ),
    ],
)
def test_a_bad_pair_is_named_by_file_and_line(pairs, tmp_path, tiny_renderer, edit, said):
    made = [pair(row, n) for n, row in enumerate(some_rows(tmp_path, 3))]
    edit(made[1])
    write_dataset(tmp_path, some_rows(tmp_path, 2))
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in made))
    with pytest.raises(ValueError) as error:
        index(tmp_path / "pairs.jsonl", tiny_renderer, pairs=True)
    assert f"pairs.jsonl:2: {said}" in str(error.value)


def test_pairs_and_rows_are_not_taken_for_each_other(pairs, tmp_path, tiny_renderer):
    write_dataset(tmp_path, some_pairs(tmp_path, 2))
    with pytest.raises(rows.RowError, match="train.jsonl:1: rejected: only a recipe with"):
        index(tmp_path / "train.jsonl", tiny_renderer)
    with pytest.raises(rows.RowError, match="the dataset has no pairs; name some in its mix.yaml"):
        index(tmp_path / "pairs.jsonl", tiny_renderer, pairs=True)


def test_a_pair_counts_with_both_its_sides_and_is_dropped_by_name(pairs, tiny_renderer):
    found = index(pairs / "pairs.jsonl", tiny_renderer, pairs=True)
    first = next(rows.read(pairs / "pairs.jsonl"))
    both = [tiny_renderer.encode(side, pairs) for side in rows.sides(first)]
    assert found.tokens[0] == sum(len(side.input_ids) for side in both)
    assert found.images[0] == 2 * len(both[0].images) == 4
    kept, dropped = select(found, None, int(np.median(found.tokens)))
    assert set(kept) | set(dropped) == set(range(20)) and len(dropped)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{loss: dpo, beta: 0}", "preference.beta"),
        ("{loss: ipo, beta: 1}", "preference.loss"),
        ("{loss: dpo, beta: 1, gamma: 2}", "preference.gamma"),
        ("{loss: orpo, beta: 1, length_normalised: true}", "of dpo alone; remove it from orpo"),
        ("{loss: dpo, beta: 1, margin: 0.5}", "of simpo alone; remove it from dpo"),
        ("{loss: orpo, beta: 1, sft: 0.1}", "orpo's loss has the chosen reply's own in it"),
    ],
)
def test_a_preference_that_is_not_honoured_is_refused(tmp_path, text, said):
    path = tmp_path / "tiny" / "v1.yaml"
    path.parent.mkdir()
    path.write_text(
        find("tiny/v1").text.replace("chat_template:", f"preference: {text}\nchat_template:")
    )
    assert any(said in line for line in problems(Recipe(path))), problems(Recipe(path))


def test_preference_wants_an_adapter_and_no_rl(tmp_path):
    path = tmp_path / "tiny_base" / "v1.yaml"
    path.parent.mkdir()
    given = "preference: {loss: dpo, beta: 1}\nchat_template:"
    path.write_text(find("tiny_base/v1").text.replace("chat_template:", given))
    assert any(
        "preference: its reference is the model without" in p for p in problems(Recipe(path))
    )
    path.write_text(find("tiny_base/v1").text.replace("chat_template:", "rl: dpo\nchat_template:"))
    assert any("rl: pairs are trained on our own bins" in p for p in problems(Recipe(path)))


def test_memory_and_operations_count_the_pairs():
    recipe = find("qlora_r128/v1").data
    shape = APRIEL_15B
    pairs_too = recipe | {"preference": {"loss": "dpo", "beta": 1}}
    rows_gib = memory.estimate(recipe, shape)
    pairs_gib = memory.estimate(pairs_too, shape)
    chunk = loss.CHUNK * shape.vocab * 10 / memory.GIB
    assert pairs_gib["logits"] == pytest.approx(chunk + 8192 * 5120 * 4 / memory.GIB)
    assert {k: v for k, v in rows_gib.items() if k != "logits"}.items() <= pairs_gib.items()
    assert shape.forward_flops(1, 0) == pytest.approx(shape.training_flops(1, 0) / 3)
    batch = {
        "input_ids": torch.ones(1, 40, dtype=torch.long),
        "position_ids": torch.arange(40)[None],
    }
    config = {"text_config": TEXT, "vision_config": {}}
    shares = []
    for reference in (False, True):
        meter = Meter(config, ceiling=1e12, reference=reference)
        meter.since -= 1000.0  # so that moments between the two do not count
        meter.add(batch)
        shares.append(flops_a_token(meter))
    assert shares[1] / shares[0] == pytest.approx(4 / 3, rel=0.01)


TEXT = {
    "hidden_size": 192, "num_hidden_layers": 4, "num_attention_heads": 4,
    "num_key_value_heads": 2, "intermediate_size": 512, "vocab_size": 2048,
}  # fmt: skip


def flops_a_token(meter):
    """What a meter's figures say that a token costs."""
    if not torch.cuda.is_available():
        meter_peak, torch.cuda.max_memory_reserved = torch.cuda.max_memory_reserved, lambda: 0
    try:
        figures = meter.read()
    finally:
        if not torch.cuda.is_available():
            torch.cuda.max_memory_reserved = meter_peak
    return figures["speed/share_of_ceiling"] / figures["speed/tokens_per_s"] * 1e12


def train(pairs, tiny, out, ranks, accumulate, dies_at=0):
    """Run tests/training/pair_ranks.py; its exit code and what it said."""
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    words += [f"--nproc-per-node={ranks}", str(ROOT / "tests" / "training" / "pair_ranks.py")]
    words += [str(pairs), str(tiny), str(out), str(accumulate), str(dies_at)]
    env = os.environ | {
        "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true",
    }  # fmt: skip
    done = subprocess.run(words, capture_output=True, text=True, env=env, timeout=900)
    return done.returncode, done.stderr[-3000:]


@pytest.fixture(scope="module")
def trained(pairs, tiny, tmp_path_factory):
    """Adapters and histories of one training: by 1, 2 and 3 ranks with accumulation to match, and
    killed in its second step and resumed.
    """
    found = {}
    for name, ranks, accumulate in (
        ("one", 1, 6),
        ("two", 2, 3),
        ("three", 3, 2),
        ("killed", 1, 6),
    ):
        out = tmp_path_factory.mktemp(name)
        if name == "killed":
            code, said = train(pairs, tiny, out, ranks, accumulate, dies_at=2)
            assert code != 0 and not (out / "adapter.pt").exists(), said
        code, said = train(pairs, tiny, out, ranks, accumulate)
        assert code == 0, said
        found[name] = torch.load(out / "adapter.pt"), json.loads((out / "history.json").read_text())
    return found


@pytest.mark.slow
def test_the_start_is_a_coin_and_ranks_and_kills_change_nothing(trained):
    adapter, history = trained["one"]
    evaluated = [logs for logs in history if "eval_loss" in logs]
    first, last = evaluated[0], evaluated[-1]
    assert abs(first["eval_loss"] - math.log(2)) < 1e-6 and first["eval_right"] == 0.5
    assert first["eval_margin"] == first["eval_reward_chosen"] == 0.0
    steps = [logs for logs in history if "loss" in logs]
    assert abs(steps[0]["loss"] - math.log(2)) < 1e-6
    assert last["eval_right"] > 0.5 and last["eval_loss"] < first["eval_loss"]
    assert last["eval_right_low"] <= last["eval_right"] <= last["eval_right_high"]
    for name in ("two", "three", "killed"):
        other, of_other = trained[name]
        assert other.keys() == adapter.keys()
        for key, value in adapter.items():
            # Three ranks sum in another order, and Adam divides a gradient near zero by its own
            # size: single values part, a matrix as a whole does not.
            assert (other[key] - value).norm() <= 1e-4 * value.norm(), (name, key)
        logged = {(logs["step"], key): value for logs in of_other for key, value in logs.items()}
        assert (last["step"], "eval_loss") in logged and (steps[-1]["step"], "loss") in logged
        for ours in history:
            for key in {"loss", "eval_loss", "pairs/margin", "eval_right"} & ours.keys():
                if name == "killed" and (ours["step"], key) not in logged:
                    continue  # told by the process that was killed
                theirs = logged[ours["step"], key]
                assert theirs == pytest.approx(ours[key], rel=1e-5, abs=1e-7), (name, key)


def test_a_base_that_is_a_merge_is_made_by_its_run_and_its_merge():
    base = base_of(find("dpo_r128"))
    assert base.is_merge and base.maker.id == "qlora_r128/v1"
    if not base.maker.output.exists():
        assert makers_of(base) == [
            ["training.run", "qlora_r128/v1"],
            ["training.merge", "qlora_r128/v1"],
        ]
    assert base_of(find("tiny_dpo")).maker.id == all_recipes_of("tiny")[-1]
    assert not base_of(find("tiny")).is_merge
    assert base_of(find("tiny"), "outputs/tiny_base/v1/merged").maker is None  # it has no adapter


def all_recipes_of(name):
    return [recipe.id for recipe in all_recipes() if recipe.path.parent.name == name]


def test_a_base_that_is_not_the_merge_it_names_is_refused(tiny, tmp_path):
    assert "is not there to compare with" in runs.wrong_merge(tmp_path)
    adapter = tmp_path / "adapter_model.safetensors"
    adapter.write_bytes(b"trained")
    merged = shutil.copytree(tiny, tmp_path / "merged")
    assert "without a proof on record" in runs.wrong_merge(tmp_path)
    proof = {"proven": "", "adapter_sha256": sha256_of(adapter), "model": model_hash(merged)}
    write_json(merged / runs.MERGE_PROOF, proof)
    assert runs.wrong_merge(tmp_path) is None
    adapter.write_bytes(b"trained again")
    assert "from another adapter than is here" in runs.wrong_merge(tmp_path)
    adapter.write_bytes(b"trained")
    (merged / "config.json").write_text("{}")
    assert "changed since its merge was proven" in runs.wrong_merge(tmp_path)
