"""GSM8K and MATH, train split only, as problems with plain worked solutions (see solutions and
replies)."""

import random
from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from common import hub
from preprocess.rows import Conversation, Note, Skip, Turn
from preprocess.source import Context, Source, load
from preprocess.sources.worked.replies import reply
from preprocess.sources.worked.solutions import Worked, gsm8k, math

READERS = {"gsm8k": gsm8k, "math": math}


class Config(Source):
    """The train split of a public data set, from the hub at its pinned revision or from a local
    folder."""

    kind: Literal["gsm8k", "math"]
    # Share of conversations that hold 4-6 problems instead of one.
    sessions: float = Field(default=0, ge=0, lt=1)
    # The few words around the solutions, and the problems that are left out.
    framings: str = "framings/worked.yaml"

    origins = ("gsm8k", "math")
    compares_itself = True

    @property
    def public_set(self) -> str:
        return self.kind


def conversations(config: Config, context: Context) -> Iterator[Conversation | Skip | Note]:
    """One problem a conversation, in a share of conversations 4-6 of one subject in a row. Raises
    HubError or MixError."""
    texts = load(context.path(config.framings), dict)
    rng = random.Random(f"{config.kind} {context.seed}")
    # By subject: how many problems make its next conversation, and those that wait for it.
    waiting: dict[str, tuple[int, list[Worked]]] = {}
    seen: set[str] = set()
    for record in hub.records(config.kind, "train", context.hub):
        try:
            worked = _read(config, record)
            if worked.key in texts["drop"]:
                raise Skip(texts["drop"][worked.key])
            note = context.contaminated([worked.problem], whole=True)
            if note:
                yield note
            if worked.key in seen:
                raise Skip("the same problem twice")
        except Skip as skip:
            yield skip
            continue
        seen.add(worked.key)
        several = rng.randint(4, 6) if rng.random() < config.sessions else 1
        wanted, problems = waiting.setdefault(worked.subject, (several, []))
        problems.append(worked)
        if len(problems) == wanted:
            del waiting[worked.subject]
            yield _conversation(problems, texts, context.seed)
    for _, rest in waiting.values():
        yield _conversation(rest, texts, context.seed)


def _read(config: Config, record: dict) -> Worked:
    """Raises Skip."""
    try:
        return READERS[config.kind](record)
    except Skip:
        raise
    except (KeyError, TypeError, AttributeError, ValueError):
        raise Skip("a record without the fields of its data set") from None


def _conversation(problems: list[Worked], texts: dict, seed: int) -> Conversation:
    turns = []
    for number, worked in enumerate(problems):
        rng = random.Random(f"{worked.key} {seed}")
        ask = rng.choice(texts["next" if number else "ask"]).replace("{problem}", worked.problem)
        reasoning, answer = reply(worked, texts, rng)
        turns.append(Turn(ask, reasoning, answer, check=worked.check))
    first = problems[0]
    return Conversation(
        id=f"{first.origin}-{first.key}",
        origin=first.origin,
        turns=tuple(turns),
        tags=(f"subject:{first.subject}",) if first.subject else (),
    )
