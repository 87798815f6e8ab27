"""Async and architecture problems with provable answers: drawn parameters, told in many framings, worked step by step.

A family is a YAML file in datasets/aether/problems:

    draw: {rate: [100, 900, 20]}             # low, high, step of each parameter
    held_out: {rate: [600, 740]}             # never trained on; empty in an `evaluation_only` family
    formula: rate * wait_ms / 1000           # the answer, in one expression
    let: {in_flight: rate * seconds}         # the worked solution, in order: a second derivation of the answer
    require: [in_flight > 3]                 # a draw that breaks one is drawn again
    answer: {of: in_flight, unit: requests, tolerance: 0.01}
    steps, brief, wrong, checks, advice, signature, framings   # texts, see problem_text

Every row is checked when it is made: the worked solution must end where the formula does. Both compute exactly, in fractions.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import Field

from preprocess import mix
from preprocess.rows import Conversation, Turn
from preprocess.sources.problem_text import Renderer, TextError, evaluate

FOLDER = Path(__file__).resolve().parents[2] / "datasets" / "aether" / "problems"
LONG, BACKTRACKS, SIGNED, SIGNED_IN_ANSWER, NUMBERED, ADVISED_TWICE = (
    0.67,
    0.19,
    0.5,
    0.3,
    0.35,
    0.6,
)  # shares of replies
LONG_WORDS, SHORT_WORDS = 130, 36  # below these another check of the result is added
TRIES, TRIES_APART = (
    10_000,
    100,
)  # draws before requirements count as impossible; before a problem is told twice
Texts = Field(min_length=1)


class Framing(mix.Part):
    """One way to tell the problem. `words` fill the family's texts; `draw` narrows parameters to what this domain knows,
    `require` to where what its answer says is true."""

    id: str
    domain: str
    words: dict[str, str] = {}
    draw: dict[str, tuple[float, float, float]] = {}
    require: list[str] = []
    user: str
    opening: list[str] = Texts
    answer: list[str] = Texts


class Asked(mix.Part):
    of: str
    unit: str
    tolerance: float


class Wrong(mix.Part):
    before: int  # step, from 1
    texts: list[str] = Texts


class Family(mix.Part):
    name: str = ""
    evaluation_only: bool = False
    draw: dict[str, tuple[float, float, float]]
    held_out: dict[str, tuple[float, float]] = {}
    formula: str
    let: dict[str, str]
    require: list[str] = []
    digits: dict[str, int] = {}
    answer: Asked
    steps: list[list[str]] = Field(min_length=2)
    brief: list[str] = Field(min_length=3)
    wrong: Wrong
    checks: list[str] = Field(min_length=3)
    advice: list[str] = Field(min_length=3)
    signature: dict[Literal["reasoning", "answer"], list[str]]
    framings: list[Framing] = Field(min_length=6)

    def grids(self, framing: Framing, heldout: bool) -> dict[str, list[Fraction]]:
        """The values each parameter may take: of the held-out one those inside its held-out range, or those outside of it.

        Some list is empty where the framing's domain knows no such value: a ward has no 80 monitors.
        """
        grids = {}
        for name, bounds in {**self.draw, **framing.draw}.items():
            low, high, step = map(_exact, bounds)
            grids[name] = [low + step * number for number in range(int((high - low) / step) + 1)]
            if name in self.held_out:
                low, high = map(_exact, self.held_out[name])
                grids[name] = [value for value in grids[name] if (low <= value <= high) == heldout]
        return grids

    def parameters(
        self, framing: Framing, grids: dict[str, list[Fraction]], rng: random.Random
    ) -> dict[str, Fraction]:
        """Parameters drawn from `grids` that meet the requirements. Raises TextError when none do."""
        for _ in range(TRIES):
            drawn = {name: rng.choice(grid) for name, grid in grids.items()}
            try:
                values = self.values(drawn)
            except ZeroDivisionError:  # a rate that equals its capacity has no finite answer
                continue
            if all(evaluate(condition, values) for condition in (*self.require, *framing.require)):
                return drawn
        raise TextError(f"no draw meets {[*self.require, *framing.require]}")

    def values(self, parameters: dict[str, Fraction]) -> dict[str, Fraction]:
        """The parameters and everything the worked solution derives from them, unrounded. Raises TextError."""
        values = dict(parameters)
        for name, expression in self.let.items():
            values[name] = evaluate(expression, values)
        return values


def _exact(value: float) -> Fraction:
    return Fraction(str(value))


@cache
def families(folder: Path = FOLDER) -> dict[str, Family]:
    """The families of a folder by name. Raises MixError naming the file and the key."""
    return {
        path.stem: mix.load(path, Family).model_copy(update={"name": path.stem})
        for path in sorted(folder.glob("*.yaml"))
    }


def recompute(answer: dict) -> int | float:
    """The value a family's formula gives for the parameters that a checkable answer holds."""
    exact = {name: _exact(value) for name, value in answer["parameters"].items()}
    return _plain(evaluate(families()[answer["family"]].formula, exact))


def conversations(
    count: int, category: str, system: str, seed: int, heldout: bool = False
) -> Iterator[Conversation]:
    """`count` problems, the same for the same seed, spread evenly over the families and their framings.

    `heldout=True` yields the evaluation-only families and the held-out ranges of the others, `heldout=False` only the rest.
    Raises MixError for a problem file that cannot be used.
    """
    told = []
    for family in (
        family for family in families().values() if heldout or not family.evaluation_only
    ):
        framings = [(framing, family.grids(framing, heldout)) for framing in family.framings]
        told.append(
            (family, [(framing, grids) for framing, grids in framings if all(grids.values())])
        )
    seen = set()
    for number in range(count):
        family, framings = told[number % len(told)]
        framing, grids = framings[number // len(told) % len(framings)]
        rng = random.Random(f"problems {seed} {category} {heldout} {number}")
        try:
            for _ in range(TRIES_APART):
                parameters = family.parameters(framing, grids, rng)
                if (asked := (family.name, framing.id, *parameters.values())) not in seen:
                    break
            seen.add(asked)
            turn, answer, backtracks = _told(family, framing, parameters, rng)
            if (expected := recompute(answer)) != answer["value"]:
                raise TextError(
                    f"{answer['parameters']}: the worked solution gives {answer['value']}, the formula {expected}"
                )
        except ValueError as error:
            raise mix.MixError(f"{FOLDER / family.name}.yaml: {framing.id}: {error}") from None
        tags = [f"family:{family.name}", f"framing:{framing.id}", f"domain:{framing.domain}"]
        tags += ["backtracks"] * backtracks + ["held-out"] * heldout
        name, group = (
            f"problem-{'heldout-' * heldout}{category}-{number:05d}",
            f"{family.name} {framing.id}",
        )
        yield Conversation(
            name, category, "procedural", system, (turn,), tuple(tags), answer, group
        )


def _told(
    family: Family, framing: Framing, parameters: dict, rng: random.Random
) -> tuple[Turn, dict, bool]:
    """(the exchange, what a program can check of it, whether its reasoning takes a step back)."""
    values = family.values(parameters)
    render = Renderer(values, family.let, framing.words, family.digits, rng)
    long = rng.random() < LONG
    backtracks = long and rng.random() < BACKTRACKS
    question = re.sub(r"(?<=\d) %", "%", render(framing.user)).replace("≈", "about")
    reasoning = [render(rng.choice(framing.opening))]
    reasoning += _steps(family, render, backtracks) if long else [render(rng.choice(family.brief))]
    for check in rng.sample(family.checks, len(family.checks)):
        if len(" ".join(reasoning).split()) < (LONG_WORDS if long else SHORT_WORDS):
            reasoning.append(render(check))
    reply = [render(rng.choice(framing.answer))]
    advice = [render(text) for text in rng.sample(family.advice, 2)]
    reply.append("- " + "\n- ".join(advice) if rng.random() < ADVISED_TWICE else advice[0])
    if rng.random() < SIGNED:
        if rng.random() < SIGNED_IN_ANSWER:
            reply.append(render(rng.choice(family.signature["answer"])))
        else:
            reasoning.insert(1, render(rng.choice(family.signature["reasoning"])))
    answer = {
        "kind": "number",
        "value": _plain(values[family.answer.of]),
        "unit": render(family.answer.unit),
    }
    answer |= {"tolerance": family.answer.tolerance, "family": family.name}
    answer["parameters"] = {name: _plain(value) for name, value in parameters.items()}
    return (
        Turn(question, ("\n\n" if long else " ").join(reasoning), "\n\n".join(reply)),
        answer,
        backtracks,
    )


def _steps(family: Family, render: Renderer, backtracks: bool) -> list[str]:
    """The paragraphs of long reasoning, after a false start sometimes."""
    paragraphs, numbered = [], render.rng.random() < NUMBERED
    for number, phrasings in enumerate(family.steps, 1):
        if backtracks and number == family.wrong.before:
            paragraphs.append(render(render.rng.choice(family.wrong.texts)))
        paragraphs.append(
            (f"{number}. " if numbered else "") + render(render.rng.choice(phrasings))
        )
    return paragraphs


def _plain(value: Fraction) -> int | float:
    """As JSON holds it: a whole number without a point."""
    return int(value) if value == int(value) else float(value)
