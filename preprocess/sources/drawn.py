"""Conversations about pictures that a program draws: a spec is invented, solved, worded, drawn.

A family is `(invent, solve, draw)`. `invent(draw) -> spec` gives JSON with the `names` a choice is made from. `solve(spec) ->
(values, facts)` computes the answer to each kind of question, None where this spec has no clear one, and the facts a reply may
name. Words are templates in datasets/aether/diagrams/<family>.yaml; {value} is the answer, {Value} the same with a capital.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from itertools import cycle
from pathlib import Path

from preprocess import mix
from preprocess.rows import Conversation, Turn
from preprocess.sources.canvas import NoRoom

FOLDER = Path(__file__).parents[2] / "datasets" / "aether" / "diagrams"
LONG, SIGNED, SLIPS = (
    0.68,
    0.5,
    0.14,
)  # shares of replies: long reasoning, a signature phrase, a mistake that is seen and mended


class Draw:
    """Where the numbers and names of a spec come from: the training part of every range or the held-out part, never both."""

    def __init__(self, rng: random.Random, scenario: dict, heldout: bool):
        self.rng, self.scenario, self.heldout = rng, scenario, heldout

    def number(self, low: int, high: int, step: int = 1) -> int:
        """One of low, low + step ... high (five values or more); every fifth of them is held out."""
        return self.rng.choice(
            [
                n
                for place, n in enumerate(range(low, high + 1, step))
                if (place % 5 == 3) == self.heldout
            ]
        )

    def pick(self, what: str, count: int) -> list[str]:
        return self.rng.sample(self.scenario[what], count)

    def services(self, count: int) -> list[str]:
        """The entry and others, in the order a request meets them."""
        first, *rest = self.scenario["services"]
        return [first, *sorted(self.rng.sample(rest, count - 1), key=rest.index)]


@cache
def read(name: str) -> list | dict:
    """A file of the folder. Raises MixError."""
    return mix.load(FOLDER / f"{name}.yaml", list | dict)


def told(family: str, kind: str, facts: dict, rng: random.Random) -> tuple[str, str, str]:
    """(question, reasoning, answer); `so` is what follows from the answer, `slip` a wrong start that corrects itself."""
    wording, templates = read(family), read(family)["kinds"][kind]
    words = {name: listed(fact) if isinstance(fact, list) else fact for name, fact in facts.items()}
    for name, rule in wording["lists"].items():
        words[name] = rule["join"].join(map(rule["each"].format_map, facts[rule["over"]])) or "none"
    words["Value"] = str(facts["value"]).capitalize()
    long, signed, slips = rng.random() < LONG, rng.random() < SIGNED, rng.random() < SLIPS
    ahead = (
        signed and rng.random() < 0.7
    )  # the phrase stands in the reasoning rather than in the answer
    parts = [wording["reads"]] * long + [wording["signature"]] * ahead + [templates["slip"]] * slips
    parts += [templates["work"]] + [templates["so"]] * long
    answer = [templates["answer"]] + [wording["signature"]] * (signed and not ahead)
    texts = [
        [rng.choice(options).format_map(words) for options in part]
        for part in ([templates["asks"]], parts, answer)
    ]
    return tuple("\n\n".join(part) for part in texts)


def listed(items: list) -> str:
    """a, b and c; none."""
    return (
        " and ".join(filter(None, [", ".join(map(str, items[:-1])), str(items[-1])]))
        if items
        else "none"
    )


def recompute(families: dict[str, tuple], answer: dict) -> int | float | str:
    """The value of an answer, computed again from the spec it holds."""
    return families[answer["spec"]["family"]][1](answer["spec"])[0][answer["asks"]]


def conversations(
    families: dict[str, tuple],
    pictures: Callable,
    count: int,
    about: tuple[str, str, str],
    seed: int,
    heldout: bool,
) -> Iterator[Conversation]:
    """`count` conversations, families and kinds in turn; `about` is (name of the source, category, system prompt).

    `pictures(spec, rng)` draws a spec as PNG files, and may raise NoRoom.
    """
    kinds = {family: cycle(read(family)["kinds"]) for family in families}
    source, category, system = about
    for number, family in zip(range(count), cycle(families), strict=False):
        rng, asks, made = (
            random.Random(f"{source} {seed} {heldout} {number}"),
            next(kinds[family]),
            None,
        )
        while made is None:
            with suppress(NoRoom):
                made = _made(family, families[family], asks, pictures, rng, heldout)
        spec = hashlib.sha256(json.dumps(made[1]["spec"], sort_keys=True).encode()).hexdigest()
        name, tags = (
            f"{source}-{'heldout-' * heldout}{seed}-{number:05d}",
            (f"family:{family}", f"asks:{asks}"),
        )
        yield Conversation(
            name, category, "procedural", system, (made[0],), tags, made[1], f"{source}-{spec}"
        )


def _made(
    family: str, functions: tuple, asks: str, pictures: Callable, rng: random.Random, heldout: bool
) -> tuple | None:
    """(Turn, its checkable answer); None where the spec drawn has no clear answer. Raises NoRoom."""
    scenario = rng.choice([s for s in read("scenarios") if s.get("heldout", False) == heldout])
    spec = {
        "family": family,
        "title": scenario["title"],
        **functions[0](Draw(rng, scenario, heldout)),
    }
    values, facts = functions[1](spec)
    if (value := values[asks]) is None:
        return None
    question, reasoning, reply = told(family, asks, spec | facts | {"value": value}, rng)
    common, moving = read("common"), "every" in spec
    lead, frames = (
        rng.choice(common["clip_leads" if moving else "leads"]),
        rng.choice(common["frames"]) if moving else "",
    )
    tail = rng.choice(common["tails"])
    question += "." if tail and question[-1].isalnum() else ""
    user = " ".join(filter(None, [lead.format_map(spec), frames.format_map(spec), question, tail]))
    choices = next((names for names in (["yes", "no"], spec["names"]) if value in names), [])
    kind = "choice" if choices else "text" if isinstance(value, str) else "number"
    answer = {
        "kind": kind,
        "value": value,
        "unit": read(family)["kinds"][asks].get("unit", ""),
        "asks": asks,
        "spec": spec,
    }
    return Turn(user, reasoning, reply, pictures(spec, rng)), answer | (
        {"choices": choices} if choices else {}
    )
