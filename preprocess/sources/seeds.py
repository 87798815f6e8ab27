"""Conversations written by hand, in YAML files that are lists of

    - {id: async-001, domain: payments, level: practitioner, mood: frustrated, tags: [nudge], turns:
    [...]}

each turn with `user`, `reasoning` and `answer`. A seed whose last turn has only `user` is a
question for a teacher to answer; it makes no row of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from common import behaviour
from common.files import load_yaml, shown
from preprocess.rows import Conversation, Skip, Turn
from preprocess.source import Context, MixError, Part, Source, load


class Config(Source):
    """A file, or files by a glob (seeds/async*.yaml)."""

    kind: Literal["seeds"]
    path: str
    triad: str = "triad.yaml"  # the members that a target may name

    origins: ClassVar[tuple[str, ...]] = ("seed",)
    written: ClassVar[bool] = True


class SeedTurn(Part):
    """One exchange of a seed."""

    user: str = Field(min_length=1)
    reasoning: str | None = None
    answer: str | None = None


class Seed(Part):
    """One conversation of a file."""

    id: str
    domain: str
    level: Literal["beginner", "practitioner", "expert"]
    mood: Literal["curious", "frustrated", "rushed", "sceptical", "anxious", "playful", "neutral"]
    tags: list[str] = []
    target: str | None = None  # of a routing seed: the member it routes to
    turns: list[SeedTurn] = Field(min_length=1)

    @property
    def answered(self) -> bool:
        """Whether every turn has its reply."""
        return all(turn.answer is not None and turn.reasoning is not None for turn in self.turns)


def read(paths: Iterable[Path], triad: Path) -> Iterator[Seed]:
    """The seeds of some files, in order. `triad` lists the members that a target may name.

    Raises FileError or MixError; an id that stands twice names both files."""
    files: dict[str, Path] = {}
    known: tuple[str, ...] = ()
    for path in paths:
        for seed in load(path, list[Seed]):
            if seed.id in files:
                other = shown(files[seed.id])
                raise MixError(f"{shown(path)}: {seed.id}: stands in {other} too; rename one")
            files[seed.id] = path
            if seed.target:
                known = known or (behaviour.SELF, *load_yaml(triad)["members"])
                if seed.target not in known:
                    problem = f"{seed.target!r} is no member; one of {', '.join(known)}"
                    raise MixError(f"{shown(path)}: {seed.id}.target: {problem}")
            yield seed


def conversations(config: Config, context: Context) -> Iterator[Conversation | Skip]:
    """The answered seeds of the files; the others as Skip. Raises as `read`."""
    for seed in read(context.files(config.path), context.path(config.triad)):
        if not seed.answered:
            yield Skip("question without a reply yet")
            continue
        tags = [*seed.tags, f"level:{seed.level}", f"mood:{seed.mood}"]
        if seed.target:
            tags.append(f"target:{seed.target}")
        turns = tuple(
            Turn(turn.user, turn.reasoning or "", turn.answer or "") for turn in seed.turns
        )
        yield Conversation(seed.id, "", "seed", turns=turns, tags=tuple(tags))
