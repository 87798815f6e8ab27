"""Conversations of four to six turns about one problem, each turn standing on the ones before.

After the problem itself: a what-if, a colleague's wrong value, a decision, the inverse question, a
comparison with the beginning. The first reply is history; what follows is trained. The words are
two files of a folder: `families.yaml` (how a family is talked about) and `turns.yaml`.
"""

import random
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Literal

from preprocess.generators.chain_turns import Chain, NoTurn, Talk, Texts
from preprocess.generators.exact import evaluate, fraction, plain
from preprocess.generators.problem_families import Family, Framing, families
from preprocess.rows import Conversation, Turn
from preprocess.source import Context, Generated, load

PLANS = (
    ("what_if", "decision", "inverse"),
    ("colleague", "what_if", "decision", "inverse"),
    ("what_if", "colleague", "decision", "inverse"),
    ("what_if", "compare", "decision", "inverse"),
    ("colleague", "what_if", "compare", "decision", "inverse"),
    ("what_if", "what_if", "compare", "decision", "inverse"),
    ("decision", "inverse", "what_if", "compare"),
    ("what_if", "colleague", "compare"),
    ("what_if", "what_if", "colleague", "compare"),
)
TRIES = 200  # plans and parameters drawn before a family counts as one that has no such chain


class Config(Generated):
    """Folders of the words and of the problem families, relative to the dataset's."""

    kind: Literal["chains"]
    path: str = "chains"
    problems: str = "problems"


def recompute(answer: dict, config: Config, context: Context) -> int | float | str | None:
    """The value of an answer, from the family's formula; None where an inverse doesn't hold."""
    formula = families(context.path(config.problems))[answer["family"]].formula

    def value(parameters: dict) -> Fraction:
        return evaluate(formula, {name: fraction(given) for name, given in parameters.items()})

    now = value(answer["parameters"])
    if answer["asks"] == "difference":
        return plain(abs(now - value(answer["start"])))
    if answer["asks"] == "decision":
        limit = fraction(answer["limit"])
        fits = now <= limit if answer["worse"] == "more" else now >= limit
        return "yes" if fits else "no"
    if answer["asks"] == "inverse":
        reached = value(answer["parameters"] | {answer["lever"]: answer["value"]})
        holds = abs(reached - fraction(answer["limit"])) <= abs(reached) / 10**9
        return answer["value"] if holds else None
    return plain(now)


def conversations(config: Config, context: Context) -> Iterator[Conversation]:
    """Conversations spread evenly over the families, the same for the same arguments."""
    known = families(context.path(config.problems))
    folder = context.path(config.path)
    talks = load(folder / "families.yaml", dict[str, Talk])
    texts = load(folder / "turns.yaml", Texts)
    names = list(talks)
    heldout = context.heldout
    for number in range(config.wanted(heldout)):
        name = names[number % len(names)]
        rng = random.Random(f"chains {context.seed} {config.category} {heldout} {number}")
        turns, framing = _made(known[name], talks[name], texts, rng, heldout, folder)
        yield Conversation(
            id=f"chain-{'heldout-' if heldout else ''}{config.category}-{number:05d}",
            turns=tuple(turns),
            tags=("chain", f"family:{name}", f"framing:{framing.id}", f"domain:{framing.domain}"),
            group=f"{name} {framing.id}",
        )


def _made(
    family: Family, talk: Talk, texts: Texts, rng: random.Random, heldout: bool, folder: Path
) -> tuple[list[Turn], Framing]:
    usable = family.tellable(heldout)
    for _ in range(TRIES):
        framing, grid = rng.choice(usable)
        parameters = family.parameters(framing, grid, rng)
        chain = Chain(family, framing, grid, talk, texts, rng, parameters)
        try:
            return [chain.first(), *map(chain.turn, rng.choice(PLANS))], framing
        except NoTurn:
            continue
    raise NoTurn(f"{folder / 'families.yaml'}: {family.name}: no chain in {TRIES} draws")
