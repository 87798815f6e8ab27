"""Conversations written by hand, one YAML file a category: a list of

    - {id: async-001, domain: payments, level: practitioner, mood: frustrated, tags: [nudge], turns: [...]}

each turn with `user`, `reasoning` and `answer`. A seed whose last turn has only `user` is a question for a teacher to answer; it
makes no row of its own.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import Field

from preprocess import mix
from preprocess.rows import Conversation, Skip, Turn


class SeedTurn(mix.Part):
    user: str = Field(min_length=1)
    reasoning: str | None = None
    answer: str | None = None


class Seed(mix.Part):
    id: str
    domain: str
    level: Literal["beginner", "practitioner", "expert"]
    mood: Literal["curious", "frustrated", "rushed", "sceptical", "anxious", "playful", "neutral"]
    tags: list[str] = []
    target: Literal["self", "grok-4-fast", "claude-sonnet-4.5", "long-context", "edge"] | None = (
        None  # routing only
    )
    turns: list[SeedTurn] = Field(min_length=1)


def conversations(path: Path) -> Iterator[Conversation | Skip]:
    """The seeds of a file. Raises MixError naming the file, the entry and the key."""
    for seed in mix.load(path, list[Seed]):
        if any(turn.answer is None or turn.reasoning is None for turn in seed.turns):
            yield Skip("question without a reply yet")
            continue
        tags = [
            *seed.tags,
            f"level:{seed.level}",
            f"mood:{seed.mood}",
            *([f"target:{seed.target}"] if seed.target else []),
        ]
        turns = tuple(Turn(turn.user, turn.reasoning, turn.answer) for turn in seed.turns)
        yield Conversation(seed.id, "", "seed", turns=turns, tags=tuple(tags))
