"""The turns of a conversation about one problem: in words, with the value of each and its check."""

import random
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from typing import Literal

from preprocess.generators.exact import evaluate, plain
from preprocess.generators.problem_families import Family, Framing
from preprocess.generators.slots import Renderer
from preprocess.rows import Turn
from preprocess.source import Part

APART = Fraction(2, 100)  # relative distance of two values that a reader can tell apart
# What the turns work through, beside a family's own solution.
FORMULAS = {"gap": "larger - smaller", "pushed": "new / old", "times": "result / before"}


class Wrong(Part):
    """The value of a family that people get when they are wrong, and why they do."""

    of: str
    why: list[str] = []


class Talk(Part):
    """How a family of problems is talked about; all texts have slots."""

    quantity: str
    unit: str
    working: str
    levers: dict[str, str]  # a phrase for each parameter that may be changed
    wrong: Wrong | None = None
    apart: str = ""  # the unit of a difference, where not `unit`
    worse: Literal["more", "less"]


class Texts(Part):
    """What is said in the turns, and of how a result follows a parameter."""

    effects: dict[str, list[str]]
    turns: dict[str, dict[str, list[str]]]


class NoTurn(ValueError):
    """The numbers as they stand allow no turn of that kind."""


@dataclass(frozen=True)
class Goal:
    """Where a parameter would have to stand, and the values next to it on both sides."""

    lever: str
    low: Fraction
    value: Fraction
    high: Fraction


@dataclass
class Chain:
    """A conversation as far as it has come; `parameters` as they stand now."""

    family: Family
    framing: Framing
    grids: dict[str, list[Fraction]]
    talk: Talk
    texts: Texts
    rng: random.Random
    parameters: dict[str, Fraction]
    begun: dict[str, Fraction] = field(init=False)  # the parameters of the first turn
    goal: Goal | None = None
    moved: str = ""  # the lever that was changed last

    def __post_init__(self) -> None:
        self.begun = dict(self.parameters)

    def first(self) -> Turn:
        """The problem itself, with an answer that is not trained."""
        render = self._renderer({}, {})
        return Turn(render.question(self.framing.user), "", render.one_of(self.framing.answer))

    def turn(self, kind: str) -> Turn:
        """The next turn. Raises NoTurn."""
        return getattr(self, f"_{kind}")()

    def _value(self, parameters: dict[str, Fraction]) -> Fraction:
        return self.family.values(parameters)[self.family.answer.of]

    def _renderer(self, values: dict, words: dict, parameters: dict | None = None) -> Renderer:
        family = self.family
        known = family.values(parameters or self.parameters) | values
        formulas = family.let | FORMULAS
        return Renderer(known, formulas, self.framing.words | words, family.digits, self.rng)

    def _told(self, kind: str, values: dict, words: dict, check: dict) -> Turn:
        """The turn in words, with what a program can check of it."""
        texts = self.texts.turns[kind]
        talk = self.talk
        result = self._value(self.parameters)
        lever = words.pop("lever", "")
        others = [name for name in talk.levers if name != lever]
        render = self._renderer({}, {})
        words = {
            "quantity": render(talk.quantity),
            "unit": render(talk.unit),
            "apart": render(talk.apart or talk.unit),
            "working": render(talk.working),
            "state": render(talk.levers[self.rng.choice(others)]),
        } | words
        render = self._renderer({"result": result} | values, words)
        if "effect" in words:
            render.words["effect"] = render.one_of(self.texts.effects[words["effect"]])
        answer = {
            "kind": "number",
            "value": plain(result),
            "unit": words["unit"],
            "tolerance": self.family.answer.tolerance,
            "family": self.family.name,
            "asks": kind,
            "parameters": _plain(self.parameters),
        } | check
        return Turn(
            render.question(self.rng.choice(texts["user"])),
            render.one_of(texts[words.get("way", "reasoning")]),
            render.one_of(texts["answer"]),
            check=answer,
        )

    def _phrase(self, lever: str, parameters: dict) -> str:
        return self._renderer({}, {}, parameters)(self.talk.levers[lever])

    def _result(self, lever: str, value: Fraction) -> Fraction | None:
        """The result with one parameter changed, None where the family allows no such values."""
        try:
            values = self.family.values(self.parameters | {lever: value})
        except ZeroDivisionError:
            return None
        required = [*self.family.require, *self.framing.require]
        if all(evaluate(condition, values) for condition in required):
            return values[self.family.answer.of]
        return None

    def _what_if(self) -> Turn:
        lever = self.rng.choice(list(self.talk.levers))
        old = self.parameters[lever]
        new = self.rng.choice(self.grids[lever])
        result = self._result(lever, new)
        if result is None or new == old:
            raise NoTurn
        before = self._value(self.parameters)
        was = self._phrase(lever, self.parameters)
        self.parameters = self.parameters | {lever: new}
        self.moved = lever
        pushed = new / old
        times = result / before
        values = {"old": old, "new": new, "before": before, "pushed": pushed, "times": times}
        words = {
            "lever": lever,
            "was": was,
            "becomes": self._phrase(lever, self.parameters),
            "effect": _effect(pushed, times),
        }
        return self._told("what_if", values, words, {})

    def _colleague(self) -> Turn:
        if self.talk.wrong is None:
            raise NoTurn
        values = self.family.values(self.parameters)
        wrong = values[self.talk.wrong.of]
        result = values[self.family.answer.of]
        if abs(wrong - result) < APART * abs(result):
            raise NoTurn
        why = self._renderer({}, {}).one_of(self.talk.wrong.why)
        return self._told("colleague", {"wrong_value": wrong}, {"why": why}, {})

    def _decision(self) -> Turn:
        result = self._value(self.parameters)
        self.goal = self._find_goal(result)
        limit = self._value(self.parameters | {self.goal.lever: self.goal.value})
        fits = result <= limit if self.talk.worse == "more" else result >= limit
        words = {
            "rule": "at most" if self.talk.worse == "more" else "at least",
            "verdict": "yes" if fits else "no",
            "side": "right" if fits else "wrong",
        }
        check = {
            "kind": "choice",
            "value": words["verdict"],
            "choices": ["yes", "no"],
            "tolerance": 0,
            "limit": plain(limit),
            "worse": self.talk.worse,
        }
        return self._told("decision", {"limit": limit} | _gap(result, limit), words, check)

    def _find_goal(self, result: Fraction) -> Goal:
        """A lever and another value of it, the only one that gives its result. Raises NoTurn."""
        lever = self.rng.choice(list(self.talk.levers))
        grid = []
        results = []
        for value in self.grids[lever]:
            reached = self._result(lever, value)
            if reached is not None:
                grid.append(value)
                results.append(reached)
        if len(grid) < 3:
            raise NoTurn
        place = self.rng.randrange(1, len(grid) - 1)
        steps = [later - earlier for earlier, later in pairwise(results)]
        one_way = all(step > 0 for step in steps) or all(step < 0 for step in steps)
        goal = results[place]
        near = min(abs(steps[place]), abs(steps[place - 1]), abs(goal - result))
        if not one_way or near < APART * abs(goal):
            raise NoTurn
        if goal == self._value(self.begun):  # what was there at the beginning is no new wish
            raise NoTurn
        return Goal(lever, *grid[place - 1 : place + 2])

    def _inverse(self) -> Turn:
        if self.goal is None:
            raise NoTurn
        lever = self.goal.lever
        old = self.parameters[lever]
        low, new, high = self.goal.low, self.goal.value, self.goal.high
        probe = high if high != old else low
        result = self._value(self.parameters)
        reached = self.parameters | {lever: new}
        limit = self._value(reached)
        probed = self._value(self.parameters | {lever: probe})
        slope = (limit - result) / (new - old)
        values = {
            "old": old,
            "new": new,
            "limit": limit,
            "times": limit / result,
            "missing": limit - result,
            "steps": new - old,
            "slope": slope,
            "probe": probe,
            "probed": probed,
            "low": low,
            "high": high,
            "at_low": self._value(self.parameters | {lever: low}),
            "at_high": self._value(self.parameters | {lever: high}),
        }
        way = "trying"
        if limit * old == result * new:
            way = "proportion"
        elif limit * new == result * old:
            way = "inverse_proportion"
        elif probed - result == slope * (probe - old):
            way = "line"
        words = {
            "way": way,
            "lever": lever,
            "was": self._phrase(lever, self.parameters),
            "becomes": self._phrase(lever, reached),
            "working": self._renderer({}, {}, reached)(self.talk.working),
        }
        check = {
            "value": plain(new),
            "unit": "",
            "tolerance": 0.005,
            "lever": lever,
            "limit": plain(limit),
        }
        return self._told("inverse", values, words, check)

    def _compare(self) -> Turn:
        result = self._value(self.parameters)
        start = self._value(self.begun)
        values = {"start": start} | _gap(result, start)
        if not values["gap"]:
            raise NoTurn
        words = {
            "direction": "up" if result > start else "down",
            "lever": self.moved,
            "becomes": self._phrase(self.moved, self.parameters),
            "began": self._renderer({}, {}, self.begun)(self.talk.working),
        }
        check = {
            "asks": "difference",
            "value": plain(values["gap"]),
            "start": _plain(self.begun),
        }
        kind = self.rng.choice(["compare", "compare", "compare", "difference"])
        return self._told(kind, values, words, check)


def _gap(one: Fraction, other: Fraction) -> dict[str, Fraction]:
    """How far two values are apart, and which is which."""
    larger = max(one, other)
    smaller = min(one, other)
    return {"larger": larger, "smaller": smaller, "gap": larger - smaller}


def _effect(pushed: Fraction, times: Fraction) -> str:
    """How a result follows a parameter, by the factors of both."""
    if times == pushed:
        return "proportion"
    if times * pushed == 1:
        return "inverse"
    if times == 1:
        return "same"
    if (times > 1) != (pushed > 1):
        return "opposite"
    strength, push = (max(factor, 1 / factor) for factor in (times, pushed))
    return "stronger" if strength > push else "weaker"


def _plain(parameters: dict[str, Fraction]) -> dict:
    return {name: plain(value) for name, value in parameters.items()}
