"""Requests whose right member of the Triad follows from what can be inferred of them.

Privacy, length and one need (stakes, freshness, speed, a place beside the sensor) are drawn, and
the member is computed from the table in triad.yaml. The words are two files of a folder:
`scenarios.yaml` and `texts.yaml`.
"""

import random
from collections.abc import Iterator
from fractions import Fraction
from itertools import product
from typing import Literal

from pydantic import Field

from common.behaviour import SELF
from common.triad import Triad, read
from preprocess.generators.slots import Renderer
from preprocess.rows import Conversation, Turn
from preprocess.source import Context, Generated, Part, load

NEEDS = ("stakes", "fresh", "speed", "sensor")


class Config(Generated):
    """Where the words and the table of members are, relative to the dataset's folder."""

    kind: Literal["routes"]
    path: str = "routes"
    triad: str = "triad.yaml"


class Scenario(Part):
    """What a request is about."""

    domain: str
    thing: str
    private: str = ""
    public: str = ""
    unit: str
    each: int = Field(gt=0)  # tokens
    pictures: bool = False
    stated: bool = False  # the request says it, where nobody could infer it
    few: tuple[int, int, int]
    many: tuple[int, int, int]
    tasks: list[str]
    stakes: str = ""
    fresh: str = ""
    speed: str = ""
    sensor: str = ""


class Texts(Part):
    """The words of requests and replies, by what they are about."""

    user: list[str]
    size: dict[str, list[str]]
    privacy: dict[str, list[str]]
    need: dict[str, list[str]]
    verdict: dict[str, list[str]]
    answer: dict[str, list[str]]


def target_of(
    triad: Triad, private: bool, tokens: int, need: str, pictures: bool = False
) -> str | None:
    """The id of the member for such a request, SELF, or None where nobody can take it."""
    able = {
        name: member
        for name, member in triad.members.items()
        if member.context >= tokens
        and not (private and member.outside)
        and not (pictures and not member.sees)
    }
    for name, member in able.items():
        if need in member.gives:
            return name
    if need == "sensor":
        return None
    return SELF if tokens <= triad.itself.context else next(iter(able), None)


def conversations(config: Config, context: Context) -> Iterator[Conversation]:
    """Requests spread evenly over the scenarios and what can be asked of them."""
    triad = read(context.path(config.triad))
    scenarios = load(context.path(config.path) / "scenarios.yaml", list[Scenario])
    texts = load(context.path(config.path) / "texts.yaml", Texts)
    cases = []
    for scenario in scenarios:
        needs = [need for need in NEEDS if getattr(scenario, need)]
        for size, need in product(("few", "many"), ["none", *needs]):
            # Few scenarios know them, and each of them is the whole work of one member.
            rare = need == "sensor" or need == "stakes" and scenario.public
            if size == "few":
                times = 3 if rare else 2
                cases += [(scenario, size, need)] * (1 if need == "none" else times)
            elif need == "none" or scenario.private and need != "sensor":
                cases.append((scenario, size, need))
    random.Random(f"routes {context.seed}").shuffle(cases)
    for number in range(config.wanted(context.heldout)):
        rng = random.Random(f"routes {context.seed} {config.category} {number}")
        scenario, size, need = cases[number % len(cases)]
        low, high, step = getattr(scenario, size)
        count = rng.randrange(low, high + 1, step)
        tokens = count * scenario.each
        target = target_of(triad, bool(scenario.private), tokens, need, scenario.pictures)
        if target is None:
            continue
        yield Conversation(
            id=f"route-{config.category}-{number:05d}",
            turns=(_told(triad, scenario, texts, need, count, target, rng),),
            tags=(f"target:{target}", f"domain:{scenario.domain}", f"needs:{need}"),
            group=f"routes {scenario.domain}",
        )


def _told(
    triad: Triad,
    scenario: Scenario,
    texts: Texts,
    need: str,
    count: int,
    target: str,
    rng: random.Random,
) -> Turn:
    """The request, and a reply that hands over to the target or stays."""
    tokens = count * scenario.each
    long = tokens > triad.itself.context
    member = triad.members.get(target, triad.itself)
    # Who would take it if it might leave the house.
    other = target_of(triad, False, tokens, need, scenario.pictures) or SELF
    reason = need
    if need not in member.gives:
        reason = _reason(long, withheld=other not in (target, SELF))
    values = {
        "n": rng.randint(2, 19),
        "count": count,
        "each": scenario.each,
        "tokens": tokens,
        "context": triad.itself.context,
        "member_context": member.context,
    }
    numbers = {name: Fraction(number) for name, number in values.items()}
    hint = getattr(scenario, need, "")
    why = scenario.private or scenario.public
    asides = [f"{why[0].upper()}{why[1:]}."] if scenario.stated else []
    words = {
        "unit": scenario.unit,
        "task": rng.choice(scenario.tasks),
        "why": why,
        "hint": " " + " ".join([*asides, hint]),
        "member": member.name,
        "other": triad.members.get(other, triad.itself).name,
    }
    render = Renderer(numbers, {}, words, {}, rng)
    words["thing"] = render(scenario.thing)
    user = render.question(rng.choice(texts.user))
    words["hint"] = hint
    reasoning = [
        render.one_of(texts.size["large" if long else "small"]),
        render.one_of(texts.privacy["private" if scenario.private else "public"]),
        render.one_of(texts.need[need]),
    ]
    rng.shuffle(reasoning)
    reasoning.append(render.one_of(texts.verdict[reason]))
    return Turn(" ".join(user.split()), "\n\n".join(reasoning), render.one_of(texts.answer[reason]))


def _reason(long: bool, withheld: bool) -> str:
    """Why the target takes a request though the need itself does not ask for it."""
    if withheld:
        return "long_private" if long else "kept_private"
    return "length" if long else "kept"
