"""Async and architecture problems with provable answers: drawn parameters, told in many framings, worked step by step.

A family is one formula: the function of that name in `formulas`, and a YAML file of that name in datasets/aether/problems:

    draw: {rate: [100, 900, 20]}             # low, high, step of each parameter
    held_out: {rate: [600, 740]}             # never trained on; empty in an `evaluation_only` family
    let: {in_flight: rate * seconds}         # the worked solution, in order: a second derivation of the answer
    require: [in_flight > 3]                 # a draw that breaks one is drawn again
    answer: {of: in_flight, unit: requests, tolerance: 0.01}
    steps, brief, wrong, checks, advice, signature, framings   # texts, see problem_text

Every row is checked when it is made: the derivation in the YAML must end where the function does.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from fractions import Fraction
from functools import cache
from math import isclose
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from preprocess.mix import MixError
from preprocess.rows import Conversation, Turn
from preprocess.sources import formulas
from preprocess.sources.problem_text import Number, Renderer, TextError, evaluate

FOLDER = Path(__file__).resolve().parents[2] / "datasets" / "aether" / "problems"
LONG, BACKTRACKS, SIGNED, SIGNED_IN_ANSWER = 0.67, 0.19, 0.5, 0.3  # shares; BACKTRACKS of the long ones
NUMBERED, ADVISED_TWICE = 0.35, 0.4
LONG_WORDS, SHORT_WORDS, ANSWER_WORDS = 130, 36, 45  # below these another check, another piece of advice is added
TRIES, TRIES_APART = 10_000, 100  # draws before requirements count as impossible; before a problem is told twice


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Framing(_Part):
    """One way to tell the problem. `words` fill the family's texts; `draw` narrows parameters to what this domain knows,
    `require` to where what its answer says is true."""

    id: str
    domain: str
    words: dict[str, str] = {}
    draw: dict[str, tuple[float, float, float]] = {}
    require: list[str] = []
    user: str
    opening: list[str] = Field(min_length=1)
    answer: list[str] = Field(min_length=1)


class Asked(_Part):
    of: str
    unit: str
    tolerance: float


class Wrong(_Part):
    before: int  # step, from 1
    texts: list[str] = Field(min_length=1)


class Family(_Part):
    name: str
    evaluation_only: bool = False
    draw: dict[str, tuple[float, float, float]]
    held_out: dict[str, tuple[float, float]] = {}
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
        """The values each parameter may take: of the held-out one those inside its held-out range, or those outside of it."""
        grids = {name: _grid(*bounds) for name, bounds in {**self.draw, **framing.draw}.items()}
        for name, bounds in self.held_out.items():
            low, high = map(_exact, bounds)
            grids[name] = [value for value in grids[name] if (low <= value <= high) == heldout]
        return grids

    def told(self, heldout: bool) -> list[tuple[Framing, dict[str, list[Fraction]]]]:
        """The framings whose domain knows such values, with them: a ward has no 80 monitors, so it tells no held-out problem."""
        told = [(framing, self.grids(framing, heldout)) for framing in self.framings]
        return [(framing, grids) for framing, grids in told if all(grids.values())]

    def parameters(self, framing: Framing, grids: dict[str, list[Fraction]], rng: random.Random) -> dict[str, Fraction]:
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

    def values(self, parameters: dict[str, Fraction]) -> dict[str, Number]:
        """The parameters and everything the worked solution derives from them, unrounded."""
        values: dict[str, Number] = dict(parameters)
        for name, expression in self.let.items():
            values[name] = evaluate(expression, values)
        return values


def _exact(value: float) -> Fraction:
    return Fraction(str(value))


@cache
def _grid(low: float, high: float, step: float) -> list[Fraction]:
    first, last, width = _exact(low), _exact(high), _exact(step)
    return [first + width * number for number in range(int((last - first) / width) + 1)]


@cache
def families(folder: Path = FOLDER) -> tuple[Family, ...]:
    """The families of a folder, by name. Raises MixError naming the file and the key."""
    found = []
    for path in sorted(folder.glob("*.yaml")):
        try:
            raw = yaml.load(path.read_bytes(), yaml.CSafeLoader)
            family = Family.model_validate({**raw, "name": path.stem} if isinstance(raw, dict) else raw)
        except yaml.YAMLError as error:
            raise MixError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
        except ValidationError as error:
            first = error.errors()[0]
            raise MixError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
        if not hasattr(formulas, family.name):
            raise MixError(f"{path}: preprocess/sources/formulas.py has no function {family.name}")
        found.append(family)
    return tuple(found)


def recompute(family: str, parameters: dict[str, float]) -> float:
    """The answer of a family's formula, derived anew from stored parameters."""
    return float(getattr(formulas, family)(**{name: _exact(value) for name, value in parameters.items()}))


def verify(answer: dict) -> None:
    """Raise ValueError unless a row's stored answer is what its family's formula gives for its stored parameters."""
    expected = recompute(answer["family"], answer["parameters"])
    if not isclose(answer["value"], expected, rel_tol=1e-9):
        raise ValueError(f"{answer['family']} {answer['parameters']}: stored {answer['value']!r}, recomputed {expected!r}")


def conversations(count: int, category: str, system: str, seed: int, heldout: bool = False) -> Iterator[Conversation]:
    """`count` problems, the same for the same seed, spread evenly over the families and their framings.

    `heldout=True` yields the evaluation-only families and the held-out ranges of the others, `heldout=False` only the rest.
    Every stored answer is verified. Raises MixError for a problem file that cannot be used.
    """
    told = [(family, family.told(heldout)) for family in families() if heldout or not family.evaluation_only]
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
            verify(answer)
        except ValueError as error:
            raise MixError(f"{FOLDER / family.name}.yaml: {framing.id}: {error}") from None
        tags = [f"family:{family.name}", f"framing:{framing.id}", f"domain:{framing.domain}"]
        tags += ["backtracks"] * backtracks + ["held-out"] * heldout
        name, group = f"problem-{'heldout-' * heldout}{category}-{number:05d}", f"{family.name} {framing.id}"
        yield Conversation(name, category, "procedural", system, (turn,), tags=tuple(tags), answer=answer, group=group)


def _told(family: Family, framing: Framing, parameters: dict, rng: random.Random) -> tuple[Turn, dict, bool]:
    """(the exchange, what a program can check of it, whether its reasoning takes a step back)."""
    values = family.values(parameters)
    render = Renderer(values, family.let, framing.words, family.digits, rng)
    long = rng.random() < LONG
    backtracks = long and rng.random() < BACKTRACKS
    signed = rng.choices(("reasoning", "answer"), (1 - SIGNED_IN_ANSWER, SIGNED_IN_ANSWER))[0] if rng.random() < SIGNED else ""
    question = re.sub(r"(?<=\d) %", "%", render(framing.user)).replace("≈", "about")
    reasoning = [render(rng.choice(framing.opening))]
    reasoning += _long(family, rng, render, backtracks) if long else [render(rng.choice(family.brief))]
    if _words(reasoning) < SHORT_WORDS:
        reasoning.append(render(rng.choice(family.checks)))
    reply = [render(rng.choice(framing.answer))]
    advice = [render(text) for text in rng.sample(family.advice, 2)]
    twice = _words([*reply, advice[0]]) < ANSWER_WORDS or rng.random() < ADVISED_TWICE
    reply.append("- " + "\n- ".join(advice) if twice else advice[0])
    if signed == "reasoning":
        reasoning.insert(1, render(rng.choice(family.signature[signed])))
    elif signed:
        reply.append(render(rng.choice(family.signature[signed])))
    answer = {
        "kind": "number",
        "value": _plain(values[family.answer.of]),
        "unit": render(family.answer.unit),
        "tolerance": family.answer.tolerance,
        "family": family.name,
        "parameters": {name: _plain(value) for name, value in parameters.items()},
    }
    return Turn(question, ("\n\n" if long else " ").join(reasoning), "\n\n".join(reply)), answer, backtracks


def _long(family: Family, rng: random.Random, render: Renderer, backtracks: bool) -> list[str]:
    """The paragraphs of long reasoning: the steps, after a false start sometimes, and checks of the result."""
    numbered = rng.random() < NUMBERED
    paragraphs = []
    for number, phrasings in enumerate(family.steps, 1):
        if backtracks and number == family.wrong.before:
            paragraphs.append(render(rng.choice(family.wrong.texts)))
        paragraphs.append((f"{number}. " if numbered else "") + render(rng.choice(phrasings)))
    for number, check in enumerate(rng.sample(family.checks, len(family.checks))):
        if number and _words(paragraphs) > LONG_WORDS:
            break
        paragraphs.append(render(check))
    return paragraphs


def _words(texts: list[str]) -> int:
    return len(" ".join(texts).split())


def _plain(value: Number) -> int | float:
    """As JSON holds it: a whole number without a point."""
    return int(value) if value == int(value) else float(value)
