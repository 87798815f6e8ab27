"""Users who blame the wrong cause of a computed situation, and replies that ask instead of telling.

The reply is one question and one breadcrumb; the reasoning says what is really wrong and why not to
say it. The words are two files of a folder: `situations.yaml` and `texts.yaml`.
"""

import random
from collections.abc import Iterator
from fractions import Fraction
from typing import Literal

from common.behaviour import not_a_nudge
from preprocess.generators.exact import TextError, evaluate, fraction
from preprocess.generators.slots import Renderer
from preprocess.rows import Conversation, Turn
from preprocess.source import Context, Generated, MixError, Part, load

TRIES = 5_000  # draws before a situation's requirements count as impossible


class Config(Generated):
    """The folder of the words, relative to the dataset's."""

    kind: Literal["nudges"]
    path: str = "nudges"


class Numbers(Part):
    """Numbers that are drawn, and what follows from them."""

    draw: dict[str, tuple[float, float, float]] = {}  # low, high, step
    let: dict[str, str] = {}
    require: list[str] = []

    def values(self, rng: random.Random) -> dict[str, Fraction]:
        """Numbers that meet the requirements. Raises TextError when there are none."""
        for _ in range(TRIES):
            values = {}
            for name, bounds in self.draw.items():
                low, high, step = map(fraction, bounds)
                values[name] = low + step * rng.randint(0, int((high - low) / step))
            try:
                for name, expression in self.let.items():
                    values[name] = evaluate(expression, values)
            except ZeroDivisionError:
                continue
            if all(evaluate(condition, values) for condition in self.require):
                return values
        raise TextError(f"no draw meets {self.require}")


class Situation(Numbers):
    """What happens, whom the user blames, what is really wrong, and what to ask."""

    id: str
    words: list[dict[str, str]]
    user: list[str]
    truth: list[str]
    question: list[str]
    breadcrumb: list[str]


class Texts(Part):
    """The parts of the reasoning."""

    seen: list[str]
    withheld: list[str]
    aim: list[str]


def conversations(config: Config, context: Context) -> Iterator[Conversation]:
    """Nudges spread evenly over the situations. Raises MixError where a text makes no nudge."""
    folder = context.path(config.path)
    situations = load(folder / "situations.yaml", list[Situation])
    texts = load(folder / "texts.yaml", Texts)
    for number in range(config.wanted(context.heldout)):
        situation = situations[number % len(situations)]
        rng = random.Random(f"nudges {context.seed} {config.category} {number}")
        try:
            turn = _told(situation, texts, rng)
        except TextError as error:
            raise MixError(f"{folder / 'situations.yaml'}: {situation.id}: {error}") from None
        yield Conversation(
            id=f"nudge-{config.category}-{number:05d}",
            turns=(turn,),
            tags=("nudge", f"situation:{situation.id}"),
            group=f"nudges {situation.id}",
        )


def _told(situation: Situation, texts: Texts, rng: random.Random) -> Turn:
    words = dict(rng.choice(situation.words))
    render = Renderer(situation.values(rng), situation.let, words, {}, rng)
    words["truth"] = render.one_of(situation.truth)
    words["aim"] = render.one_of(texts.aim)
    reasoning = f"{render.one_of(texts.seen)}\n\n{render.one_of(texts.withheld)}"
    answer = [render.one_of(situation.question), render.one_of(situation.breadcrumb)]
    if rng.random() < 0.5:
        answer.reverse()
    reply = "\n\n".join(answer)
    reason = not_a_nudge(reply)
    if reason:
        raise TextError(f"{reply!r} {reason}")
    return Turn(render.question(rng.choice(situation.user)), reasoning, reply)
