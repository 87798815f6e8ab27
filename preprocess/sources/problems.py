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
from functools import lru_cache
from math import isclose
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from preprocess.mix import MixError
from preprocess.rows import Conversation, Turn
from preprocess.sources import formulas
from preprocess.sources.problem_text import Number, Renderer, evaluate

FOLDER = Path(__file__).resolve().parents[2] / "datasets" / "aether" / "problems"
LONG, BACKTRACKS, SIGNED, SIGNED_IN_ANSWER = 0.67, 0.19, 0.5, 0.3  # shares; BACKTRACKS of the long ones
NUMBERED, ADVISED = 0.35, 0.75
TRIES = 10_000  # draws before a family's requirements count as impossible


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


class Signature(_Part):
    reasoning: list[str] = Field(min_length=1)
    answer: list[str] = Field(min_length=1)


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
    signature: Signature
    framings: list[Framing] = Field(min_length=6)

    def grids(self, framing: Framing, heldout: bool) -> dict[str, list[Fraction]]:
        """The values each parameter may take: of the held-out one those inside its held-out range, or those outside of it."""
        grids = {name: _grid(*bounds) for name, bounds in {**self.draw, **framing.draw}.items()}
        for name, (low, high) in self.held_out.items():
            grids[name] = [value for value in grids[name] if (_exact(low) <= value <= _exact(high)) == heldout]
        return grids

    def told(self, heldout: bool) -> list[Framing]:
        """The framings whose domain knows such values: a ward has no 80 monitors, so it tells no held-out problem."""
        return [framing for framing in self.framings if all(self.grids(framing, heldout).values())]

    def parameters(self, framing: Framing, rng: random.Random, heldout: bool) -> dict[str, Fraction]:
        """Drawn parameters that meet the requirements. Raises MixError when none do."""
        grids = self.grids(framing, heldout)
        for _ in range(TRIES):
            drawn = {name: rng.choice(grid) for name, grid in grids.items()}
            values = self.values(drawn)
            if all(evaluate(condition, values) for condition in (*self.require, *framing.require)):
                return drawn
        raise MixError(f"{self.name}: {framing.id}: no draw meets {self.require} and {framing.require}")

    def values(self, parameters: dict[str, Fraction]) -> dict[str, Number]:
        """The parameters and everything the worked solution derives from them, unrounded."""
        values: dict[str, Number] = dict(parameters)
        for name, expression in self.let.items():
            values[name] = evaluate(expression, values)
        return values


def _exact(value: float) -> Fraction:
    return Fraction(str(value))


@lru_cache(maxsize=None)
def _grid(low: float, high: float, step: float) -> list[Fraction]:
    first, last, width = _exact(low), _exact(high), _exact(step)
    return [first + width * number for number in range(int((last - first) / width) + 1)]


@lru_cache(maxsize=None)
def families(folder: Path = FOLDER) -> tuple[Family, ...]:
    """The families of a folder, by name. Raises MixError naming the file and the key."""
    found = []
    for path in sorted(folder.glob("*.yaml")):
        try:
            with path.open(encoding="utf-8") as file:
                family = Family.model_validate({**yaml.load(file, getattr(yaml, "CSafeLoader", yaml.SafeLoader)), "name": path.stem})
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
    chosen = [family for family in families() if heldout or not family.evaluation_only]
    framings = {family.name: family.told(heldout) for family in chosen}
    seen = set()
    for number in range(count):
        family = chosen[number % len(chosen)]
        framing = framings[family.name][number // len(chosen) % len(framings[family.name])]
        rng = random.Random(f"problems {seed} {category} {heldout} {number}")
        for _ in range(TRIES):
            parameters = family.parameters(framing, rng, heldout)
            key = (framing.id, *parameters.values())
            if key not in seen:
                break
        seen.add(key)
        yield _conversation(family, framing, parameters, rng, (f"{category}-{number:05d}", category, system, heldout))


def _conversation(family: Family, framing: Framing, parameters: dict, rng: random.Random, where: tuple) -> Conversation:
    ordinal, category, system, heldout = where
    values = family.values(parameters)
    render = Renderer(values, family.let, framing.words, family.digits, rng)
    long = rng.random() < LONG
    backtracks = long and rng.random() < BACKTRACKS
    signed_in = rng.choices(("reasoning", "answer"), (1 - SIGNED_IN_ANSWER, SIGNED_IN_ANSWER))[0] if rng.random() < SIGNED else ""
    question = re.sub(r"(?<=\d) %", "%", render(framing.user)).replace("≈", "about")
    reasoning = _long(family, framing, rng, render, backtracks) if long else [render(rng.choice(family.brief))]
    if signed_in == "reasoning":
        reasoning.insert(1 if long else rng.randrange(2), render(rng.choice(family.signature.reasoning)))
    reply = [render(rng.choice(framing.answer))]
    if rng.random() < ADVISED:
        reply.append(render(rng.choice(family.advice)))
    if signed_in == "answer":
        reply.append(render(rng.choice(family.signature.answer)))
    stored = {name: int(value) if value.denominator == 1 else float(value) for name, value in parameters.items()}
    value = float(values[family.answer.of])
    answer = {"kind": "number", "value": int(value) if value.is_integer() else value, "unit": render(family.answer.unit)}
    answer |= {"tolerance": family.answer.tolerance, "family": family.name, "parameters": stored}
    verify(answer)
    tags = [f"family:{family.name}", f"framing:{framing.id}", f"domain:{framing.domain}"]
    return Conversation(
        id=f"problem-{'heldout-' if heldout else ''}{ordinal}",
        category=category,
        origin="procedural",
        system=system,
        turns=(Turn(question, "\n\n".join(reasoning) if long else " ".join(reasoning), "\n\n".join(reply)),),
        tags=tuple(tags + ["backtracks"] * backtracks + ["held-out"] * heldout),
        answer=answer,
        group=f"{family.name} {framing.id}",
    )


def _long(family: Family, framing: Framing, rng: random.Random, render: Renderer, backtracks: bool) -> list[str]:
    """The paragraphs of long reasoning: what is asked, the steps (after a false start, sometimes), a check."""
    numbered = rng.random() < NUMBERED
    paragraphs = [render(rng.choice(framing.opening))]
    for number, phrasings in enumerate(family.steps, 1):
        if backtracks and number == family.wrong.before:
            paragraphs.append(render(rng.choice(family.wrong.texts)))
        paragraphs.append((f"{number}. " if numbered else "") + render(rng.choice(phrasings)))
    return [*paragraphs, render(rng.choice(family.checks))]
