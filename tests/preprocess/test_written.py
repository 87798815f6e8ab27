"""What is counted of the conversations written by hand: each measure on rows that were counted by hand."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from PIL import Image

from preprocess import build, mix, written
from preprocess.source import MixError

CODE = "Run it:\n\n```python\nprint(1)\n```"


def turn(user: str, words: int, answer: str, **more: object) -> dict:
    """A turn whose reasoning has so many words, none of which stands in another turn's."""
    reasoning = " ".join(f"{user[0]}{chr(97 + n % 26)}{chr(97 + n // 26)}" for n in range(words))
    return {"user": user, "reasoning": reasoning, "answer": answer} | more


def seed(name: str, domain: str, *turns: dict) -> dict:
    return {"id": name, "domain": domain, "level": "expert", "mood": "neutral", "turns": [*turns]}


SEEDS = [
    seed("a", "Bakery", turn("apples?", 10, "Ten apples a day are too many.", image="dot.png")),
    seed(
        "b",
        "bakery",
        turn("bread?", 90, "Ten apples a day, 7 of them bad."),
        turn("grain?", 9, CODE),
    ),
    seed(
        "c",
        "harbour",
        *[
            turn(
                user,
                2,
                f"{user} is what the pilot of ship {user} waits for, with 3 tugs by his side",
            )
            for user in ("cranes", "docks", "eagles", "fog")
        ],
    ),
]


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    folder = tmp_path / "datasets" / "hand"
    folder.mkdir(parents=True)
    (folder / "system.md").write_text("You are AetherAI.")
    (folder / "seeds.yaml").write_text(yaml.safe_dump(SEEDS))
    (folder / "triad.yaml").write_text("members: {edge: {}}")
    Image.new("RGB", (64, 64), "red").save(folder / "dot.png")
    plan = {
        "seed": 3,
        "val_share": 0.2,
        "licence": "MIT",
        "total": 20,
        "quotas": {"async": 20},
        "diversity": {"recurring": 1, "alike": 1},
        "targets": {"several": {"share": [0.1, 1], "turns": [4, 6], "what": "four to six turns"}},
        "written": {
            "conversations": {"async": 4},
            "total": 3,
            "replies": 8,
            "pictured": 1,
            "domains": 3,
            "targets": {"several": [0.3, None]},
            "reasoning_words": {80: [0.0, 0.1]},
            "code": {"async": [0.25, None]},
            "openings": [0, 0.01],
            "shared": [0, 0.02],
        },
        "sources": [
            {"kind": "seeds", "path": "seeds.yaml", "category": "async", "system": "system.md"}
        ],
    }
    (folder / "mix.yaml").write_text(yaml.safe_dump(plan))
    return folder


def test_a_build_counts_what_was_written_by_hand(dataset):
    build.build(dataset)
    measured = json.loads((dataset / "build" / "manifest.json").read_text())["written"]
    have = {name: about["have"] for name, about in measured.items()}
    # "waits for with 3 tugs by his side": eight words that four replies share
    assert have == {
        "conversations: async": 3,
        "conversations in all": 3,
        "trained replies": 7,
        "conversations about pictures": 1,
        "domains of work and life": 2,
        "several": round(1 / 3, 4),
        "reasoning of 80 words or more": round(1 / 7, 4),
        "replies with code: async": round(1 / 7, 4),
        "openings of the answer alike over 4 words": round(2 / 7, 4),
        "openings of the reasoning alike over 4 words": 0.0,
        "words in 8-word runs of another row": round(4 * 8 / have_words(), 4),
    }
    report = (dataset / "build" / "report.md").read_text()
    for line in (
        "| conversations: async | 3 | 4 or more | 1 short |",
        "| conversations in all | 3 | 3 or more | met |",
        "| several | 33.3% | 30.0% or more | met |",
        "| reasoning of 80 words or more | 14.3% | 0.0% to 10.0% | too much |",
        "| replies with code: async | 14.3% | 25.0% or more | 10.7% short |",
    ):
        assert line in report
    assert written.count(dataset).startswith("| written by hand |")
    assert "1 short" in written.count(dataset)


def have_words() -> int:
    """Words of all replies, a fence's language among them."""
    texts = [f"{turn['reasoning']} {turn['answer']}" for seed in SEEDS for turn in seed["turns"]]
    return sum(len(re.findall(r"\w+", text)) for text in texts)


def test_a_target_that_is_none_is_refused(dataset):
    plan = yaml.safe_load((dataset / "mix.yaml").read_text())
    plan["written"]["targets"] = {"sevral": [0, 1]}
    (dataset / "mix.yaml").write_text(yaml.safe_dump(plan))
    with pytest.raises(MixError, match="written: 'sevral' is no target"):
        mix.read(dataset)


def test_counting_says_what_was_left_out_and_leaves_nothing(dataset):
    question = {"user": "What now?"}
    (dataset / "seeds.yaml").write_text(yaml.safe_dump([*SEEDS, seed("d", "port", question)]))
    before = sorted(dataset.rglob("*"))
    assert "2 answers begin: ten apples a day" in written.count(dataset)
    assert "left out, 1: question without a reply yet" in written.count(dataset)
    assert sorted(dataset.rglob("*")) == before
