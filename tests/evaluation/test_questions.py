"""The held-out questions of the evaluation: strict form, patterns held against answers written by hand, nothing from the training seeds."""

import re
import time
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

import pytest
import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from common.behaviour import SELF, route_of
from evaluation import scorers

TARGETS = (SELF, *scorers.settings()["members"])
ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "evaluation/questions"
RUN = 8  # words
Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


def compiles(pattern: str) -> str:
    re.compile(pattern, re.IGNORECASE)
    return pattern


Pattern = Annotated[str, AfterValidator(compiles)]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Question(Strict):
    id: str
    prompt: Text


class Design(Question):
    rubric: list[Text] = Field(min_length=4, max_length=7)


class Voice(Question):
    tags: list[Text] = Field(min_length=1)


class Examples(Strict):
    right: list[Text] = Field(min_length=1)
    wrong: list[Text] = Field(min_length=1)


class Identity(Question):
    must: list[Pattern] = Field(min_length=1)
    must_not: list[Pattern] = Field(min_length=1)
    examples: Examples


class Turn(Strict):
    role: Literal["user", "assistant"]
    text: Text


class Routing(Strict):
    id: str
    turns: list[Turn] = Field(min_length=1, max_length=5)
    target: Literal[TARGETS]

    @property
    def prompt(self) -> str:
        return "\n".join(turn.text for turn in self.turns if turn.role == "user")


FORMS = {  # model of an entry, how many there are at least
    "design": (Design, 44),
    "voice": (Voice, 60),
    "identity": (Identity, 25),
    "nudge": (Question, 40),
    "routing": (Routing, 40),
}


@cache
def load(name: str) -> tuple:
    form, _ = FORMS[name]
    entries = yaml.load((FOLDER / f"{name}.yaml").read_text("utf-8"), yaml.CSafeLoader)
    return tuple(form.model_validate(entry) for entry in entries)


def words(text: str) -> tuple[str, ...]:
    return tuple(re.findall(r"\w+", text.lower()))


def runs(tokens: tuple[str, ...], length: int) -> set[tuple[str, ...]]:
    return {tokens[i : i + length] for i in range(len(tokens) - length + 1)}


def coverage(tokens: tuple[str, ...], known: set[tuple[str, ...]], length: int = RUN) -> float:
    """Share of the words that stand in a run of that length which is also in `known`."""
    starts = [i for i in range(len(tokens) - length + 1) if tokens[i : i + length] in known]
    return len({i + k for i in starts for k in range(length)}) / len(tokens)


@cache
def training(length: int) -> set[tuple[str, ...]]:
    """The runs of that many words in all user turns of the training seeds."""
    turns = (words(turn["user"]) for seed in seeds() for turn in seed["turns"])
    return set().union(*(runs(turn, length) for turn in turns))


@cache
def seeds() -> list[dict]:
    files = sorted((ROOT / "datasets/aether/seeds").glob("*.yaml"))
    return [seed for file in files for seed in yaml.load(file.read_text("utf-8"), yaml.CSafeLoader)]


def found(patterns: list[str], answer: str) -> bool:
    return any(re.search(pattern, answer, re.IGNORECASE) for pattern in patterns)


@pytest.mark.parametrize("name", FORMS)
def test_files_are_strict_numbered_and_long_enough(name):
    entries = load(name)
    assert len(entries) >= FORMS[name][1]
    assert [entry.id for entry in entries] == [
        f"{name}-{n:03d}" for n in range(1, len(entries) + 1)
    ]


def test_no_prompt_stands_twice():
    counts = Counter(words(entry.prompt) for name in FORMS for entry in load(name))
    assert [" ".join(prompt) for prompt, n in counts.items() if n > 1] == []


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("a b c d e f g h", 1.0),
        ("x x x x x x x x a b c d e f g h", 0.5),  # 8 of 16 words
        ("a b c d e f g x y", 0.0),  # a run of seven is none
        ("a b c d e f g h i x", 0.9),  # two overlapping runs cover nine of ten
    ],
)
def test_coverage_by_hand(text, share):
    assert coverage(words(text), runs(words("A b, c d e f g h i"), RUN)) == share


@pytest.mark.parametrize("name", FORMS)
def test_no_prompt_comes_from_a_training_seed(name):
    assert len(training(RUN)) > 1000
    for entry in load(name):
        for text in (
            [turn.text for turn in entry.turns if turn.role == "user"]
            if name == "routing"
            else [entry.prompt]
        ):
            length = min(RUN, len(words(text)))  # a text shorter than a run is compared as a whole
            assert coverage(words(text), training(length), length) < 0.5, (entry.id, text)


@pytest.mark.parametrize("question", load("identity"), ids=lambda q: q.id)
def test_identity_patterns_accept_true_answers_and_reject_false_ones(question):
    right, wrong = question.examples.right, question.examples.wrong
    assert [answer for answer in right if not found(question.must, answer)] == []
    assert [answer for answer in right if found(question.must_not, answer)] == []
    assert [
        answer
        for answer in wrong
        if found(question.must, answer) and not found(question.must_not, answer)
    ] == []
    assert any(not found(question.must, answer) for answer in wrong), (
        "no wrong answer shows that `must` is needed"
    )
    assert any(found(question.must_not, answer) for answer in wrong), (
        "no wrong answer shows that `must_not` is needed"
    )


def test_every_identity_pattern_bites():
    wrong = [answer for question in load("identity") for answer in question.examples.wrong]
    for question in load("identity"):
        assert [
            p for p in question.must_not if not any(found([p], answer) for answer in wrong)
        ] == [], question.id
        assert [
            p for p in question.must if not any(found([p], a) for a in question.examples.right)
        ] == [], question.id


def test_identity_patterns_stay_linear_on_hostile_answers():
    """Every beginning of an example, run on with 2,000 blanks: two quantifiers that share them take 0.2 s or more."""
    for question in load("identity"):
        compiled = [
            re.compile(pattern, re.IGNORECASE) for pattern in question.must + question.must_not
        ]
        for example in question.examples.right + question.examples.wrong:
            for cut in [match.start() for match in re.finditer(r"\s|$", example)]:
                text = example[:cut] + " " * 2000
                for pattern in compiled:
                    start = time.process_time()
                    pattern.search(text)
                    assert time.process_time() - start < 0.05, (
                        question.id,
                        pattern.pattern,
                        text[: cut + 1],
                    )


def test_rubric_points_are_claims_about_an_answer():
    for question in load("design"):
        assert len(set(question.rubric)) == len(question.rubric), question.id
        for point in question.rubric:
            assert re.match(r"[A-Z][a-z]+s .*\.$", point), (
                question.id,
                point,
            )  # "Says that ...", "Computes ..."


def test_routing_is_balanced_and_earlier_answers_hand_over_to_nobody():
    counts = Counter(entry.target for entry in load("routing"))
    assert set(counts) == set(TARGETS) and len(set(counts.values())) == 1, counts
    for entry in load("routing"):
        roles = [turn.role for turn in entry.turns]
        assert roles == ["user", "assistant"] * (len(roles) // 2) + ["user"], entry.id
        assert all(
            route_of(turn.text, TARGETS) == SELF for turn in entry.turns if turn.role == "assistant"
        ), entry.id
