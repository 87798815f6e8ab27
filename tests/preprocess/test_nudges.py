"""Nudges: the situations hold as the numbers say, and a reply never gives them away."""

from __future__ import annotations

import random
import re

import pytest

from common.behaviour import not_a_nudge
from common.files import ROOT
from preprocess.diversity import alike_share, fingerprint, recurring_share
from preprocess.generators import nudges
from preprocess.generators.slots import Renderer
from preprocess.source import Context, MixError, load

DATASET = ROOT / "datasets" / "aether"
CONTEXT = Context(7, DATASET, None, False, lambda texts: None)
SITUATIONS = load(DATASET / "nudges" / "situations.yaml", list[nudges.Situation])
# What each situation claims, once more in plain Python: the numbers of the `truth`.
AGAIN = {
    "idle-consumers": lambda v: {"idle": v["consumers"] - v["partitions"]},
    "retry-storm": lambda v: {"load": v["rate"] * v["client"] * v["gateway"] * v["service"]},
    "blocked-loop": lambda v: {"use": v["rate"] * v["share"] / 100 * v["block"] / 10},
    "cache-points": lambda v: {"factor": (100 - v["after"]) / (100 - v["hit"])},
    "tail-of-many": lambda v: {"percent": 100 * (1 - (1 - v["slow"] / 100) ** v["parts"])},
    "growing-queue": lambda v: {"minutes": v["size"] / (v["rate"] - v["workers"] * v["each"]) / 60},
    "low-limit": lambda v: {"seconds": -(-v["jobs"] // v["limit"]) * v["each"] / 1000},
    "pool-sum": lambda v: {"over": v["pods"] * v["pool"] - v["most"]},
    "busy-line": lambda v: {"wait": 1000 / (1000 / v["service"] - v["rate"])},
    "late-caller": lambda v: {
        "late": v["attempt"] * v["attempts"] + v["pause"] * (v["attempts"] - 1) - v["caller"]
    },
    "one-by-one": lambda v: {"seconds": v["rows"] * (v["fixed"] + v["insert"] * 0.1) / 1000},
    "polling-crowd": lambda v: {
        "rate": v["clients"] / v["interval"],
        "share": 100 * v["news"] / (86400 / v["interval"]),
    },
}


@pytest.fixture(scope="module")
def told():
    config = nudges.Config(kind="nudges", category="nudge", system="s.md", count=240)
    return list(nudges.conversations(config, CONTEXT))


@pytest.mark.parametrize("situation", SITUATIONS, ids=lambda situation: situation.id)
def test_the_numbers_hold_and_every_text_renders(situation):
    assert set(AGAIN) == {one.id for one in SITUATIONS}
    texts = [*situation.user, *situation.truth, *situation.question, *situation.breadcrumb]
    assert len(situation.words) >= 5 and len(situation.user) >= 5
    for number in range(20):
        rng = random.Random(number)
        values = situation.values(rng)
        plain = {name: float(value) for name, value in values.items()}
        for name, value in AGAIN[situation.id](plain).items():
            assert plain[name] == pytest.approx(value, rel=1e-9), name
        for words in situation.words:
            render = Renderer(values, situation.let, words, {}, rng)
            for text in texts:
                assert not re.search(r"[{}]|\[\[|\]\]", render(text))


def test_every_reply_is_a_nudge_and_keeps_the_cause_to_itself(told):
    for conversation in told:
        (turn,) = conversation.turns
        assert not_a_nudge(turn.answer) is None, turn.answer
        assert len(turn.answer.split()) <= 90
        truth = set(fingerprint(turn.reasoning.partition("\n\n")[0]).runs)
        assert not truth & set(fingerprint(turn.answer).runs), turn.answer


def test_nudges_differ(told):
    rows = [fingerprint(f"{t.reasoning}\n{t.answer}") for c in told for t in c.turns]
    assert recurring_share(rows) < 0.3 and alike_share(rows) < 0.15


def test_a_situation_without_numbers_is_named(tmp_path):
    texts = (DATASET / "nudges" / "texts.yaml").read_text()
    (tmp_path / "texts.yaml").write_text(texts)
    broken = (DATASET / "nudges" / "situations.yaml").read_text()
    broken = broken.replace("require: [idle > 3]", "require: [idle > 300]")
    (tmp_path / "situations.yaml").write_text(broken)
    more = {"category": "nudge", "system": "s.md", "count": 1, "path": str(tmp_path)}
    with pytest.raises(MixError, match="situations.yaml: idle-consumers: no draw meets"):
        list(nudges.conversations(nudges.Config(kind="nudges", **more), CONTEXT))
