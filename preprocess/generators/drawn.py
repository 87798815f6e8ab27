"""Conversations about pictures that a program draws: a spec is invented, solved, worded, drawn.

A family is a module with two functions and a third that draws. `invent(draw) -> spec` gives JSON
with the `names` a choice is made from. `solve(spec) -> (values, facts)` computes the answer to each
kind of question, None where this spec has no clear one, and the facts a reply may name. Its words
are templates in a file of its name in the dataset's folder; {value} is the answer, {Value} the same
with a capital.
"""

import hashlib
import json
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, partial
from itertools import cycle
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import Field

from preprocess.generators.canvas import NoRoom
from preprocess.rows import Conversation, Turn
from preprocess.source import Context, Generated, load

# Shares of replies.
LONG = 0.68
SIGNED = 0.4  # of the plain ones
SLIPS = 0.14  # a mistake that is seen and mended
FURTHER = 0.5  # of the plain ones
# How often a question ends in which wish; one that is asked again later, one that is asked again.
WISHES = {"plain": 8, "short": 3, "steps": 3, "colleague": 4}
BEFORE = WISHES | {"colleague": 0}
AGAIN = {"colleague": 1}

Solution = tuple[dict, dict]
Families = Mapping[str, ModuleType]
Pictures = Callable[[dict, random.Random], tuple[bytes, ...]]


class Drawing(Generated):
    """A source that draws."""

    # Share of the conversations that ask all its questions about one picture, and the first again.
    talks: float = Field(default=0, ge=0, le=1)


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
    wording: dict,
    common: dict,
    kind: str,
    facts: dict,
    rng: random.Random,
    said: set[str],
    wishes: Mapping[str, int] = WISHES,
) -> tuple[str, str, str]:
    """Question, reasoning and answer of one kind, in a family's words.

    The question may end in one of the `wishes`, of common.yaml's `tails`, which the answer then
    obeys. No text that was `said` in the conversation, a set that grows, is said again while there
    is another. Raises NoRoom where a colleague must be wrong and is right.
    """
    templates = wording["kinds"][kind]
    words = _words(wording, facts)
    words["wrong"] = templates["mistake"]["value"].format_map(words)
    written = partial(_one_of, facts=facts, words=words, rng=rng, said=said)
    wish = rng.choices(list(wishes), list(wishes.values()))[0]
    mistaken = words["wrong"].split()[0] != str(facts["value"])
    if wish == "colleague" and not mistaken:
        if wishes is AGAIN:
            raise NoRoom("the colleague is right")
        wish = "plain"
    question = written(templates["asks"])
    tail = written(common["tails"][wish])
    if tail and question[-1].isalnum():
        question += "."
    reasoning = [templates["work"]]
    if wish == "plain" and rng.random() < SIGNED:
        reasoning.insert(0, wording["signature"])
    if rng.random() < LONG:
        reasoning.insert(0, wording["reads"])
    if wish != "colleague" and mistaken and rng.random() < SLIPS:
        reasoning.insert(0, templates["slip"])  # a wrong first look that corrects itself
    if wish == "plain" and rng.random() < FURTHER:  # what follows from the answer
        reasoning.append(templates["so"])
    if wish == "colleague":
        reasoning.append(templates["mistake"]["why"])
    result = f"{facts['value']} {templates.get('unit', '')}"
    answer = {
        "plain": [templates["answer"]],
        "short": [[f"**{result.strip()}**"]],
        "steps": [templates["answer"], templates["work"]],
        "colleague": [templates["answer"], templates["mistake"]["why"]],
    }[wish]
    told_reasoning = "\n\n".join(map(written, reasoning))
    told_answer = "\n\n".join(map(written, answer))
    return f"{question} {tail}".strip(), told_reasoning, told_answer


def _one_of(
    options: list[str | dict], facts: dict, words: dict, rng: random.Random, said: set[str]
) -> str:
    """One of the options that are true of the facts and were not said yet, in words."""
    true = [o if isinstance(o, str) else o["say"] for o in options if _holds(o, facts)]
    texts = [text.format_map(words) for text in true]
    text = rng.choice([text for text in texts if text not in said] or texts)
    said.update([text] if text else [])
    return text


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


def _holds(option: str | dict, facts: dict) -> bool:
    """Whether an option has no condition, the name of a fact, or that fact is there."""
    return isinstance(option, str) or bool(facts[option["when"]])


def _listed(items: list) -> str:
    """a, b and c; none."""
    *most, last = map(str, items or ["none"])
    return f"{', '.join(most)} and {last}" if most else last


def recompute(families: Families, answer: dict) -> int | float | str:
    """The value of an answer, computed again from the spec it holds."""
    values, _ = families[answer["spec"]["family"]].solve(answer["spec"])
    return values[answer["asks"]]


def _answer(spec: dict, asks: str, value: int | float | str, unit: str) -> dict:
    """The checkable answer to a question."""
    kind = "text" if isinstance(value, str) else "number"
    answer = {"kind": kind, "value": value, "unit": unit, "asks": asks, "spec": spec}
    for choices in (["yes", "no"], spec["names"]):
        if value in choices:
            return answer | {"kind": "choice", "choices": choices}
    return answer


@dataclass(frozen=True)
class Series:
    """What one source draws: `name` begins its rows' ids; `pictures` draws a spec as PNG files, and
    may raise NoRoom.
    """

    name: str
    families: Families
    pictures: Pictures
    folder: Path  # of the wordings

    def conversations(self, config: Drawing, context: Context) -> Iterator[Conversation]:
        """Conversations of one question each, or of several about one picture, families and kinds
        in turn, the same for the same arguments.
        """
        heldout = context.heldout
        kinds = {name: cycle(wording(self.folder, name)["kinds"]) for name in self.families}
        for number, family in zip(range(config.wanted(heldout)), cycle(self.families)):
            rng = random.Random(f"{self.name} {context.seed} {heldout} {number}")
            asks = next(kinds[family])
            asked = [asks]
            # Of its own, so that what is drawn stays the same whatever the share.
            share = random.Random(f"{self.name} {context.seed} {number} talks").random()
            if not heldout and share < config.talks:
                others = wording(self.folder, family)["kinds"]
                asked += [*(kind for kind in others if kind != asks), asks]
            turns: list[Turn] = []
            while not turns:
                with suppress(NoRoom):
                    turns = self._made(family, asked, rng, heldout)
            answer = turns[-1].check or {}
            spec = json.dumps(answer["spec"], sort_keys=True)
            yield Conversation(
                id=f"{self.name}-{'heldout-' if heldout else ''}{context.seed}-{number:05d}",
                turns=tuple(turns),
                tags=(f"family:{family}", f"asks:{asks}"),
                answer=answer,
                group=f"{self.name}-{hashlib.sha256(spec.encode()).hexdigest()}",
            )

    def _made(self, family: str, asked: list[str], rng: random.Random, heldout: bool) -> list[Turn]:
        """An exchange a question, each with its checkable answer; none where the spec drawn has no
        clear answer to one of them.

        Raises NoRoom.
        """
        module = self.families[family]
        words = wording(self.folder, family)
        scenarios = wording(self.folder, "scenarios")
        scenario = rng.choice([s for s in scenarios if s.get("heldout", False) == heldout])
        spec = {"family": family, "title": scenario["title"]}
        spec |= module.invent(Draw(rng, scenario, heldout, words))
        values, facts = module.solve(spec)
        if any(values[asks] is None for asks in asked):
            return []
        common = wording(self.folder, "common")
        turns: list[Turn] = []
        said: set[str] = set()
        for number, asks in enumerate(asked):
            again = asks in asked[:number]
            wishes = AGAIN if again else BEFORE if asks in asked[number + 1 :] else WISHES
            known = spec | facts | {"value": values[asks]}
            question, reasoning, reply = told(words, common, asks, known, rng, said, wishes)
            before = [] if turns else self._before(common, spec, rng)
            if again:
                before = [rng.choice(common["again"])]
            pictures = () if turns else self.pictures(spec, rng)
            answer = _answer(spec, asks, values[asks], words["kinds"][asks].get("unit", ""))
            turns.append(Turn(" ".join([*before, question]), reasoning, reply, pictures, answer))
        return turns

    def _before(self, common: dict, spec: dict, rng: random.Random) -> list[str]:
        """What stands before the question: where the picture comes from, how a clip was sampled."""
        moving = "every" in spec
        before = [rng.choice(common["clip_leads" if moving else "leads"]).format_map(spec)]
        if moving:
            before.append(rng.choice(common["frames"]).format_map(spec))
        return [text for text in before if text]
