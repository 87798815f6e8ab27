"""Conversations about pictures that a program draws: a spec is invented, solved, worded, drawn.

A family is `(invent, solve)`. `invent(draw) -> spec` gives JSON with the `names` a choice is made from. `solve(spec) -> (values,
facts)` computes the answer to each kind of question, None where this spec has no clear one, and the facts a reply may name. Words
are templates in datasets/aether/diagrams/<family>.yaml; {value} is the answer, {Value} the same with a capital.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Iterator
from functools import cache
from itertools import cycle
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from preprocess.mix import MixError
from preprocess.rows import Conversation, Turn
from preprocess.sources.canvas import NoRoom

FOLDER = Path(__file__).parents[2] / "datasets" / "aether" / "diagrams"
LONG, SIGNED, SLIPS = 0.68, 0.5, 0.14  # shares of replies: long reasoning, a signature phrase, a mistake that is seen and mended


class Draw:
    """Where the numbers and names of a spec come from: the training part of every range or the held-out part, never both."""

    def __init__(self, rng: random.Random, scenario: dict, heldout: bool):
        self.rng, self.scenario, self.heldout = rng, scenario, heldout

    def number(self, low: int, high: int, step: int = 1) -> int:
        """One of low, low + step ... high (five values or more); every fifth of them is held out."""
        return self.rng.choice([n for place, n in enumerate(range(low, high + 1, step)) if (place % 5 == 3) == self.heldout])

    def pick(self, what: str, count: int) -> list[str]:
        return self.rng.sample(self.scenario[what], count)

    def services(self, count: int) -> list[str]:
        """The entry and others, in the order a request meets them."""
        first, *rest = self.scenario["services"]
        return [first, *sorted(self.rng.sample(rest, count - 1), key=rest.index)]


class Kind(BaseModel):
    """Templates of one kind of question; `so` is what follows from the answer, `slip` a wrong start that corrects itself."""

    model_config = ConfigDict(extra="forbid")
    unit: str = ""
    asks: list[str]
    work: list[str]
    so: list[str]
    slip: list[str] = []
    answer: list[str]


class Listing(BaseModel):
    """A text made of the items of a fact."""

    model_config = ConfigDict(extra="forbid")
    over: str
    each: str
    join: str


class Wording(BaseModel):
    model_config = ConfigDict(extra="forbid")
    lists: dict[str, Listing]
    reads: list[str]
    signature: list[str]
    kinds: dict[str, Kind]


@cache
def read(name: str) -> list | dict:
    """A file of the folder. Raises MixError."""
    try:
        return yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise MixError(f"{FOLDER / name}.yaml: {' '.join(str(error).split())}") from None


@cache
def load(family: str) -> Wording:
    """The templates of a family. Raises MixError naming the file and the key."""
    try:
        return Wording.model_validate(read(family))
    except ValidationError as error:
        first = error.errors()[0]
        raise MixError(f"{FOLDER / family}.yaml: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def told(family: str, kind: str, facts: dict, rng: random.Random) -> tuple[str, str, str]:
    """(question, reasoning, answer). Raises MixError where a template names a fact that is not there."""
    wording = load(family)
    words = {name: listed(fact) if isinstance(fact, list) else fact for name, fact in facts.items()}
    words |= {n: rule.join.join(map(rule.each.format_map, facts[rule.over])) or "none" for n, rule in wording.lists.items()}
    words["Value"] = str(facts["value"]).capitalize()
    templates = wording.kinds[kind]

    def one(options: list[str]) -> str:
        template = rng.choice(options)
        try:
            return template.format_map(words)
        except (KeyError, TypeError, ValueError) as error:
            raise MixError(f"{FOLDER / family}.yaml: {kind}: {template!r}: {error!r}") from None

    long, signed, slips = rng.random() < LONG, rng.random() < SIGNED, rng.random() < SLIPS
    ahead = signed and rng.random() < 0.7  # the phrase stands in the reasoning rather than in the answer
    parts = [wording.reads] * long + [wording.signature] * ahead + [templates.slip] * bool(slips and templates.slip)
    parts += [templates.work] + [templates.so] * long
    answer = [templates.answer] + [wording.signature] * (signed and not ahead)
    return one(templates.asks), "\n\n".join(map(one, parts)), "\n\n".join(map(one, answer))


def listed(items: list) -> str:
    """a, b and c; none."""
    return " and ".join(filter(None, [", ".join(map(str, items[:-1])), str(items[-1])])) if items else "none"


def recompute(answer: dict, families: dict[str, tuple[Callable, Callable]]) -> int | float | str:
    """The value of an answer, computed again from the spec it holds."""
    return families[answer["spec"]["family"]][1](answer["spec"])[0][answer["asks"]]


def conversations(
    families: dict[str, tuple[Callable, Callable]],
    pictures: Callable[[dict, random.Random], tuple[bytes, ...]],
    count: int,
    about: tuple[str, str, str],
    seed: int,
    heldout: bool,
) -> Iterator[Conversation]:
    """`count` conversations, families and kinds in turn; `about` is (name of the source, category, system prompt).

    `pictures(spec, rng)` draws a spec, and may raise NoRoom. No two questions have the same text.
    """
    kinds, texts = {family: cycle(load(family).kinds) for family in families}, set()
    source, category, system = about
    for number, family in zip(range(count), cycle(families), strict=False):
        rng, asks, made = random.Random(f"{source} {seed} {heldout} {number}"), next(kinds[family]), None
        while made is None or made[0].user in texts:
            made = _made(family, families[family], asks, pictures, rng, heldout)
        turn, answer = made
        texts.add(turn.user)
        spec = hashlib.sha256(json.dumps(answer["spec"], sort_keys=True).encode()).hexdigest()
        name, tags = f"{source}-{'heldout-' * heldout}{seed}-{number:05d}", (f"family:{family}", f"asks:{asks}")
        yield Conversation(name, category, "procedural", system, (turn,), tags, answer, f"{source}-{spec}")


def _made(family: str, functions: tuple, asks: str, pictures: Callable, rng: random.Random, heldout: bool) -> tuple | None:
    """(Turn, its checkable answer); None where the spec drawn has no clear answer or no readable picture."""
    scenario = rng.choice([s for s in read("scenarios") if s.get("heldout", False) == heldout])
    spec = {"family": family, "title": scenario["title"], **functions[0](Draw(rng, scenario, heldout))}
    values, facts = functions[1](spec)
    if (value := values[asks]) is None:
        return None
    question, reasoning, reply = told(family, asks, spec | facts | {"value": value}, rng)
    common = read("common")
    leads = common["clip_leads" if "every" in spec else "leads"]
    frames = rng.choice(common["frames"]).format_map(spec) if "every" in spec else ""
    lead, tail = rng.choice(leads).format_map(spec), rng.choice(common["tails"])
    question += "." if tail and question[-1].isalnum() else ""
    user = " ".join(filter(None, [lead, frames, question, tail]))
    try:
        turn = Turn(user, reasoning, reply, pictures(spec, rng))
    except NoRoom:
        return None
    if not isinstance(value, str):
        checkable = {"kind": "number", "value": value, "unit": load(family).kinds[asks].unit, "tolerance": 0}
    else:
        choices = next((names for names in (["yes", "no"], spec["names"]) if value in names), None)
        checkable = {"kind": "choice", "value": value, "choices": choices} if choices else {"kind": "text", "value": value}
    return turn, {**checkable, "asks": asks, "spec": spec}
