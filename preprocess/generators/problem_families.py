"""Families of problems, each a YAML file of a dataset's folder:

draw: {rate: [100, 900, 20]}      # low, high, step of each parameter
held_out: {rate: [600, 740]}      # never trained on; empty in an `evaluation_only` family
formula: rate * wait_ms / 1000    # the answer, in one expression
let: {in_flight: rate * seconds}  # the worked solution, in order: a second derivation of it
require: [in_flight > 3]          # a draw that breaks one is drawn again
answer: {of: in_flight, unit: requests, tolerance: 0.01}
steps, brief, wrong, checks, advice, signature, framings   # texts, see slots
"""

import random
from fractions import Fraction
from functools import cache
from itertools import cycle
from pathlib import Path
from typing import Literal

from pydantic import Field

from common.files import shown
from preprocess.generators.exact import TextError, evaluate, fraction
from preprocess.source import MixError, Part, load

TRIES = 10_000  # draws before requirements count as impossible
Texts = Field(min_length=1)


class Framing(Part):
    """One way to tell a family's problem.

    `words` fill the family's texts; `draw` narrows parameters to what this domain knows, `require`
    to where what its answer says is true.
    """

    id: str
    domain: str
    held_out: bool = False  # told for evaluation only
    bare: bool = (
        False  # it says itself how short the reply is to be: nothing is added to its answer
    )
    words: dict[str, str] = {}
    draw: dict[str, tuple[float, float, float]] = {}
    require: list[str] = []
    user: str
    opening: list[str] = Texts
    answer: list[str] = Texts


class Asked(Part):
    """The value asked for, by its name among the family's values; `tolerance` is relative."""

    of: str
    unit: str
    tolerance: float


class Wrong(Part):
    """A false start that corrects itself, told before a step (counted from 1)."""

    before: int
    texts: list[str] = Texts


class Family(Part):
    """A kind of problem: its parameters, its solution, and the texts that tell it."""

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

    def tellable(self, heldout: bool) -> list[tuple[Framing, dict[str, list[Fraction]]]]:
        """The framings, in the order in which they are told, that know values for every parameter.

        For evaluation every second one is held out, or all are where the family is.
        """
        known = [(framing, self.grids(framing, heldout)) for framing in self.framings]
        usable = [pair for pair in known if all(pair[1].values())]
        seen = [pair for pair in usable if not pair[0].held_out]
        unseen = [pair for pair in usable if pair[0].held_out]
        if not heldout or not unseen:
            return seen
        return [pair for both in zip(cycle(unseen), seen, strict=False) for pair in both]

    def grids(self, framing: Framing, heldout: bool) -> dict[str, list[Fraction]]:
        """The values each parameter may take: of a held-out one those inside its range, or those
        outside of it.

        A list is empty where the framing's domain knows no such value: a ward has no 80 monitors.
        """
        grids = {}
        for name, bounds in {**self.draw, **framing.draw}.items():
            low, high, step = map(fraction, bounds)
            grid = [low + step * number for number in range(int((high - low) / step) + 1)]
            if name in self.held_out:
                first, last = map(fraction, self.held_out[name])
                grid = [value for value in grid if (first <= value <= last) == heldout]
            grids[name] = grid
        return grids

    def parameters(
        self, framing: Framing, grids: dict[str, list[Fraction]], rng: random.Random
    ) -> dict[str, Fraction]:
        """Parameters from `grids` that meet the requirements. Raises TextError when none do."""
        required = [*self.require, *framing.require]
        for _ in range(TRIES):
            drawn = {name: rng.choice(grid) for name, grid in grids.items()}
            try:
                values = self.values(drawn)
            except ZeroDivisionError:  # a rate that equals its capacity has no finite answer
                continue
            if all(evaluate(condition, values) for condition in required):
                return drawn
        raise TextError(f"no draw meets {required}")

    def values(self, parameters: dict[str, Fraction]) -> dict[str, Fraction]:
        """The parameters and all that the solution derives, unrounded. Raises TextError."""
        values = dict(parameters)
        for name, expression in self.let.items():
            values[name] = evaluate(expression, values)
        return values


@cache
def families(folder: Path) -> dict[str, Family]:
    """The families of a folder by name, one or more. Raises MixError naming file and key."""
    found = {}
    for path in sorted(folder.glob("*.yaml")):
        found[path.stem] = load(path, Family).model_copy(update={"name": path.stem})
    if not found:
        raise MixError(f"{shown(folder)}: no family of problems in it")
    return found
