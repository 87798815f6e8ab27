"""Conversations written by hand, one YAML file a category.

    - id: async-001
      domain: payments
      level: practitioner      # beginner | practitioner | expert
      mood: frustrated
      tags: [nudge]            # optional
      target: self             # routing only
      turns:
        - user: |-
            ...
          reasoning: |-
            ...
          answer: |-
            ...

A seed whose last turn has only `user` is a question for a teacher to answer; it makes no row of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from preprocess.mix import MixError
from preprocess.rows import Conversation, Skip, Turn


class SeedTurn(BaseModel):
    model_config = ConfigDict(extra="forbid")
    user: str = Field(min_length=1)
    reasoning: str | None = None
    answer: str | None = None


class Seed(BaseModel):
    model_config = ConfigDict(extra="forbid")
    id: str
    domain: str
    level: Literal["beginner", "practitioner", "expert"]
    mood: Literal["curious", "frustrated", "rushed", "sceptical", "anxious", "playful", "neutral"]
    tags: list[str] = []
    target: Literal["self", "grok-4-fast", "claude-sonnet-4.5", "long-context", "edge"] | None = None
    turns: list[SeedTurn] = Field(min_length=1)


def load(path: Path) -> list[Seed]:
    """The seeds of a file. Raises MixError naming the file, the entry and the key."""
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise MixError(f"{path}: no such file") from None
    except yaml.YAMLError as error:
        raise MixError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    try:
        seeds = TypeAdapter(list[Seed]).validate_python(raw)
    except ValidationError as error:
        first = error.errors()[0]
        entry = raw[first["loc"][0]].get("id", first["loc"][0]) if isinstance(raw, list) and first["loc"] else "file"
        raise MixError(f"{path}: {entry}: {'.'.join(map(str, first['loc'][1:]))}: {first['msg']}") from None
    ids = [seed.id for seed in seeds]
    if repeated := next((i for i in ids if ids.count(i) > 1), None):
        raise MixError(f"{path}: {repeated}: this id stands twice")
    return seeds


def conversations(path: Path, category: str) -> Iterator[Conversation | Skip]:
    for seed in load(path):
        if any(turn.answer is None or turn.reasoning is None for turn in seed.turns):
            yield Skip("question without a reply yet")
            continue
        tags = [*seed.tags, f"level:{seed.level}", f"mood:{seed.mood}"]
        yield Conversation(
            id=seed.id,
            category=category,
            origin="seed",
            turns=tuple(Turn(t.user, t.reasoning or "", t.answer or "") for t in seed.turns),
            tags=tuple(tags + ([f"target:{seed.target}"] if seed.target else [])),
        )
