"""Problems with provable answers: drawn parameters, told in many framings, worked step by step.

Every row is checked when it is made: the family's worked solution must end where its formula does,
and both compute exactly, in fractions.
"""

import random
from collections.abc import Iterator
from fractions import Fraction
from typing import Literal

from common.files import shown
from preprocess.generators.exact import TextError, evaluate, fraction, plain
from preprocess.generators.problem_families import Family, Framing, families
from preprocess.generators.slots import Renderer
from preprocess.rows import Conversation, Turn
from preprocess.source import Context, Generated, MixError, load

# Shares of replies.
LONG = 0.67
BACKTRACKS = 0.19  # of the long ones
SIGNED = 0.35
SIGNED_IN_ANSWER = 0.3  # of the signed ones
NUMBERED = 0.35  # of the long ones
# How often a reply has so many pieces of advice, and long reasoning so many checks of its result.
ADVICE = {0: 5, 1: 4, 2: 1}
CHECKS = {0: 3, 1: 4, 2: 2, 3: 1}
TRIES_APART = 100  # draws before a problem is told twice


# How often a problem ends in which wish.
WISHES = {"": 12, "short": 3, "steps": 3}


class Config(Generated):
    """A folder of problem families (see problem_families), and where there is one a file of wishes
    that a problem may end in, both relative to the dataset's folder."""

    kind: Literal["problems"]
    path: str = "problems"
    wishes: str = ""


def recompute(answer: dict, config: Config, context: Context) -> int | float:
    """The value a family's formula gives for the parameters that a checkable answer holds."""
    return _computed(answer, families(context.path(config.path)))


def _computed(answer: dict, known: dict[str, Family]) -> int | float:
    parameters = {name: fraction(value) for name, value in answer["parameters"].items()}
    return plain(evaluate(known[answer["family"]].formula, parameters))


def conversations(config: Config, context: Context) -> Iterator[Conversation]:
    """Problems spread evenly over the families and their framings, the same for the same arguments.

    Those for evaluation are the evaluation-only families and the held-out ranges of the others, the
    rest is for training. Raises MixError for a problem file that cannot be used.
    """
    heldout = context.heldout
    folder = context.path(config.path)
    tellable = [
        (family, family.tellable(heldout))
        for family in families(folder).values()
        if heldout or not family.evaluation_only
    ]
    wishes = {}
    if config.wishes:
        wishes = load(context.path(config.wishes), dict[str, list[str]])
    told: set[tuple] = set()
    for number in range(config.wanted(heldout)):
        family, framings = tellable[number % len(tellable)]
        framing, grids = framings[number // len(tellable) % len(framings)]
        rng = random.Random(f"problems {context.seed} {config.category} {heldout} {number}")
        try:
            parameters = _apart(family, framing, grids, told, rng)
            turn, answer, tags = _told(family, framing, parameters, wishes, rng)
            _check(answer, families(folder))
        except ValueError as error:
            file = shown(folder / f"{family.name}.yaml")
            raise MixError(f"{file}: {framing.id}: {error}") from None
        if heldout:
            tags += ("held-out",)
            if family.evaluation_only or framing.held_out:  # no trained row has its like
                tags += ("unseen",)
        yield Conversation(
            id=f"problem-{'heldout-' if heldout else ''}{config.category}-{number:05d}",
            turns=(turn,),
            tags=tags,
            answer=answer,
            group=f"{family.name} {framing.id}",
        )


def _apart(
    family: Family, framing: Framing, grids: dict, told: set[tuple], rng: random.Random
) -> dict[str, Fraction]:
    """Parameters with which the problem was not told yet, as far as there are any."""
    for _ in range(TRIES_APART):
        parameters = family.parameters(framing, grids, rng)
        problem = (family.name, framing.id, *parameters.values())
        if problem not in told:
            break
    told.add(problem)
    return parameters


def _check(answer: dict, known: dict[str, Family]) -> None:
    """Raise TextError where the worked solution does not end where the formula does."""
    value = answer["value"]
    expected = _computed(answer, known)
    if value != expected:
        raise TextError(
            f"{answer['parameters']}: the worked solution gives {value}, the formula {expected}"
        )


def _told(
    family: Family, framing: Framing, parameters: dict, wishes: dict, rng: random.Random
) -> tuple[Turn, dict, tuple[str, ...]]:
    """The exchange, what a program can check of it, and its tags."""
    values = family.values(parameters)
    render = Renderer(values, family.let, framing.words, family.digits, rng)
    wish = ""
    if wishes and not framing.bare:
        (wish,) = rng.choices(list(WISHES), list(WISHES.values()))
    question = render.question(framing.user)
    if wish:
        end = "." if question[-1].isalnum() else ""
        gap = "\n\n" if "\n" in question else " "
        question = f"{question}{end}{gap}{rng.choice(wishes[wish])}"
    long = wish != "steps" and rng.random() < LONG
    backtracks = long and rng.random() < BACKTRACKS
    reasoning = _reasoning(family, framing, render, long, backtracks)
    reply = [render.one_of(framing.answer)]
    if wish == "short":
        unit = render(family.answer.unit)
        reply = [render(f"**{{{family.answer.of}}} {unit}**")]
    elif wish == "steps":
        steps = [render.one_of(phrasings) for phrasings in family.steps]
        reply += [f"{number}. {step}" for number, step in enumerate(steps, 1)]
    elif not framing.bare:
        advice = [render(text) for text in _some(family.advice, ADVICE, rng)]
        reply += ["- " + "\n- ".join(advice)] if len(advice) > 1 else advice
        if rng.random() < SIGNED:
            if rng.random() < SIGNED_IN_ANSWER:
                reply.append(render.one_of(family.signature["answer"]))
            else:
                reasoning.insert(1, render.one_of(family.signature["reasoning"]))
    answer = {
        "kind": "number",
        "value": plain(values[family.answer.of]),
        "unit": render(family.answer.unit),
        "tolerance": family.answer.tolerance,
        "family": family.name,
        "parameters": {name: plain(value) for name, value in parameters.items()},
    }
    tags = [f"family:{family.name}", f"framing:{framing.id}", f"domain:{framing.domain}"]
    if backtracks:
        tags.append("backtracks")
    gap = "\n\n" if long else " "
    return Turn(question, gap.join(reasoning), "\n\n".join(reply)), answer, tuple(tags)


def _reasoning(
    family: Family, framing: Framing, render: Renderer, long: bool, backtracks: bool
) -> list[str]:
    """The paragraphs of the reasoning."""
    paragraphs = [render.one_of(framing.opening)]
    if long:
        paragraphs += _steps(family, render, backtracks)
        paragraphs += [render(check) for check in _some(family.checks, CHECKS, render.rng)]
    else:
        paragraphs.append(render.one_of(family.brief))
    return paragraphs


def _some(texts: list[str], often: dict[int, int], rng: random.Random) -> list[str]:
    """So many of the texts as is drawn: `often` is the weight of each number."""
    (count,) = rng.choices(list(often), list(often.values()))
    return rng.sample(texts, count)


def _steps(family: Family, render: Renderer, backtracks: bool) -> list[str]:
    """The paragraphs of long reasoning, after a false start sometimes."""
    paragraphs = []
    numbered = render.rng.random() < NUMBERED
    for number, phrasings in enumerate(family.steps, 1):
        if backtracks and number == family.wrong.before:
            paragraphs.append(render.one_of(family.wrong.texts))
        step = render.one_of(phrasings)
        paragraphs.append(f"{number}. {step}" if numbered else step)
    return paragraphs
