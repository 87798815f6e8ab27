"""Conversations about pictures that a program draws: a spec is invented, solved, worded, drawn.

A family is a module with two functions and a third that draws. `invent(draw) -> spec` gives JSON
with the `names` a choice is made from. `solve(spec) -> (values, facts)` computes the answer to each
kind of question, None where this spec has no clear one, and the facts a reply may name. Its words
are templates in a file of its name in the dataset's folder; {value} is the answer, {Value} the same
with a capital.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from itertools import cycle
from pathlib import Path
from types import ModuleType
from typing import Any

from preprocess.generators.canvas import NoRoom
from preprocess.rows import Conversation, Turn
from preprocess.source import Context, Generated, load

# Shares of replies.
LONG = 0.68
SIGNED = 0.4  # of the plain ones
SLIPS = 0.14  # a mistake that is seen and mended
FURTHER = 0.5  # of the plain ones
# How often a question ends in which wish.
WISHES = {"plain": 8, "short": 3, "steps": 3, "colleague": 4}

Solution = tuple[dict, dict]
Families = Mapping[str, ModuleType]
Pictures = Callable[[dict, random.Random], tuple[bytes, ...]]


@dataclass(frozen=True)
class Draw:
    """Where the numbers and names of a spec come from: the training part of every range or the
    held-out one, never both.
    """

    rng: random.Random
    scenario: dict
    heldout: bool
    wording: dict  # of the family

    def number(self, low: int, high: int, step: int = 1) -> int:
        """One of low, low + step ... high (five values or more); every fifth is held out."""
        numbers = enumerate(range(low, high + 1, step))
        return self.rng.choice([n for place, n in numbers if (place % 5 == 3) == self.heldout])

    def pick(self, what: str, count: int) -> list[str]:
        """So many of the scenario's names for `what`."""
        return self.rng.sample(self.scenario[what], count)

    def services(self, count: int) -> list[str]:
        """The entry and others, in the order a request meets them."""
        first, *rest = self.scenario["services"]
        return [first, *sorted(self.rng.sample(rest, count - 1), key=rest.index)]


def named(items: list[dict], name: str) -> dict:
    """The item of that name."""
    return next(item for item in items if item["name"] == name)


@cache
def wording(folder: Path, name: str) -> Any:
    """A file of the folder of wordings, a list or a dict. Raises MixError or FileError."""
    return load(folder / f"{name}.yaml", list | dict)


def told(
    wording: dict, common: dict, kind: str, facts: dict, rng: random.Random
) -> tuple[str, str, str]:
    """Question, reasoning and answer of one kind, in a family's words.

    The question may end in a wish of common.yaml's `tails`, which the answer then obeys.
    """
    templates = wording["kinds"][kind]
    words = _words(wording, facts)
    words["wrong"] = templates["mistake"]["value"].format_map(words)

    def written(options: list[str | dict]) -> str:
        """One of the options that are true here."""
        usable = [text for text in map(_usable(facts), options) if text]
        return rng.choice(usable).format_map(words)

    wish = rng.choices(list(WISHES), list(WISHES.values()))[0]
    if wish == "colleague" and words["wrong"].split()[0] == str(facts["value"]):
        wish = "plain"
    question = written(templates["asks"])
    tail = written(common["tails"][wish])
    if tail and question[-1].isalnum():
        question += "."
    works = rng.sample(templates["work"], 2)
    whys = rng.sample(templates["mistake"]["why"], 2)
    reasoning = [[works[0]]]
    if wish != "colleague" and rng.random() < SLIPS:  # a wrong start that corrects itself
        reasoning.insert(0, templates["slip"])
    if wish == "plain" and rng.random() < SIGNED:
        reasoning.insert(0, wording["signature"])
    if rng.random() < LONG:
        reasoning.insert(0, wording["reads"])
    if wish == "plain" and rng.random() < FURTHER:  # what follows from the answer
        reasoning.append(templates["so"])
    if wish == "colleague":
        reasoning.append([whys[0]])
    result = f"{facts['value']} {templates.get('unit', '')}"
    answer = {
        "plain": [templates["answer"]],
        "short": [[f"**{result.strip()}**"]],
        "steps": [templates["answer"], [works[1]]],
        "colleague": [templates["answer"], [whys[1]]],
    }[wish]
    told_reasoning = "\n\n".join(map(written, reasoning))
    told_answer = "\n\n".join(map(written, answer))
    return f"{question} {tail}".strip(), told_reasoning, told_answer


def _words(wording: dict, facts: dict) -> dict:
    """What the slots of the templates are filled with."""
    words = {
        name: _listed(fact) if isinstance(fact, list) else fact for name, fact in facts.items()
    }
    for name, rule in wording["lists"].items():
        items = [rule["each"].format_map(item) for item in facts[rule["over"]]]
        words[name] = rule["join"].join(items) or "none"
    words["Value"] = str(facts["value"]).capitalize()
    words["opposite"] = {"yes": "no", "no": "yes"}.get(facts["value"])
    return words


def _usable(facts: dict) -> Callable[[str | dict], str]:
    """The text of an option, empty where its condition, the name of a fact, does not hold."""

    def text(option: str | dict) -> str:
        if isinstance(option, str):
            return option
        return option["say"] if facts[option["when"]] else ""

    return text


def _listed(items: list) -> str:
    """a, b and c; none."""
    *most, last = map(str, items or ["none"])
    return f"{', '.join(most)} and {last}" if most else last


def recompute(families: Families, answer: dict) -> int | float | str:
    """The value of an answer, computed again from the spec it holds."""
    values, _ = families[answer["spec"]["family"]].solve(answer["spec"])
    return values[answer["asks"]]


@dataclass(frozen=True)
class Series:
    """What one source draws: `name` begins its rows' ids; `pictures` draws a spec as PNG files, and
    may raise NoRoom.
    """

    name: str
    families: Families
    pictures: Pictures
    folder: Path  # of the wordings

    def conversations(self, config: Generated, context: Context) -> Iterator[Conversation]:
        """Conversations of one question each, families and kinds in turn, the same for the same
        arguments.
        """
        heldout = context.heldout
        kinds = {name: cycle(wording(self.folder, name)["kinds"]) for name in self.families}
        for number, family in zip(range(config.wanted(heldout)), cycle(self.families)):
            rng = random.Random(f"{self.name} {context.seed} {heldout} {number}")
            asks = next(kinds[family])
            made = None
            while made is None:
                with suppress(NoRoom):
                    made = self._made(family, asks, rng, heldout)
            turn, answer = made
            spec = json.dumps(answer["spec"], sort_keys=True)
            yield Conversation(
                id=f"{self.name}-{'heldout-' if heldout else ''}{context.seed}-{number:05d}",
                category=config.category,
                origin="procedural",
                turns=(turn,),
                tags=(f"family:{family}", f"asks:{asks}"),
                answer=answer,
                group=f"{self.name}-{hashlib.sha256(spec.encode()).hexdigest()}",
            )

    def _made(
        self, family: str, asks: str, rng: random.Random, heldout: bool
    ) -> tuple[Turn, dict] | None:
        """An exchange and its checkable answer; None where the spec drawn has no clear answer.

        Raises NoRoom.
        """
        module = self.families[family]
        words = wording(self.folder, family)
        scenarios = wording(self.folder, "scenarios")
        scenario = rng.choice([s for s in scenarios if s.get("heldout", False) == heldout])
        spec = {"family": family, "title": scenario["title"]}
        spec |= module.invent(Draw(rng, scenario, heldout, words))
        values, facts = module.solve(spec)
        value = values[asks]
        if value is None:
            return None
        common = wording(self.folder, "common")
        facts = spec | facts | {"value": value}
        question, reasoning, reply = told(words, common, asks, facts, rng)
        user = " ".join([*self._before(common, spec, rng), question])
        answer = {
            "kind": "text" if isinstance(value, str) else "number",
            "value": value,
            "unit": words["kinds"][asks].get("unit", ""),
            "asks": asks,
            "spec": spec,
        }
        for choices in (["yes", "no"], spec["names"]):
            if value in choices:
                answer |= {"kind": "choice", "choices": choices}
                break
        return Turn(user, reasoning, reply, self.pictures(spec, rng)), answer

    def _before(self, common: dict, spec: dict, rng: random.Random) -> list[str]:
        """What stands before the question: where the picture comes from, how a clip was sampled."""
        moving = "every" in spec
        before = [rng.choice(common["clip_leads" if moving else "leads"]).format_map(spec)]
        if moving:
            before.append(rng.choice(common["frames"]).format_map(spec))
        return [text for text in before if text]
