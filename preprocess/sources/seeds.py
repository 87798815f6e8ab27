"""Conversations written by hand, in YAML files that are lists of

    - {id: async-001, domain: payments, level: practitioner, mood: frustrated, tags: [nudge], turns:
    [...]}

each turn with `user`, `reasoning` and `answer`. A seed whose last turn has only `user` is a
question for a teacher to answer; it makes no row of its own. What a user shows stands under
`image`, or `images`: a file's path relative to the dataset's folder, or `{draw: {family: timeline,
...}}`, which a program of the house draws (preprocess.generators.diagrams).
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from common import behaviour, pictures
from common import triad as members
from common.files import shown
from preprocess.generators import diagrams
from preprocess.rows import Conversation, Note, Skip, Turn
from preprocess.source import Context, MixError, Part, Source, load

LARGEST = 400_000  # bytes of a picture's file: it is committed with the text


class Config(Source):
    """A file, or files by a glob (seeds/async*.yaml)."""

    kind: Literal["seeds"]
    path: str
    triad: str = "triad.yaml"  # the members that a target may name
    diagrams: str = "diagrams"  # the looks of the pictures that a program draws

    origins = ("seed",)
    written = True
    names_left_out = True


class Drawn(Part):
    """A picture that a program draws from what a person wrote; `look` varies its style."""

    draw: dict
    look: int = 0


class SeedTurn(Part):
    """One exchange of a seed; its pictures stand before the user's text."""

    user: str = Field(min_length=1)
    # A teacher is shown, and asked for, the texts alone.
    image: str | Drawn | None = Field(default=None, exclude=True)
    images: list[str | Drawn] = Field(default=[], exclude=True)
    reasoning: str | None = None
    answer: str | None = None

    @model_validator(mode="after")
    def _one_key(self) -> Self:
        if self.image is not None and self.images:
            raise ValueError("give image or images, not both")
        return self

    @property
    def pictures(self) -> list[str | Drawn]:
        """What the user shows, in order."""
        return self.images if self.image is None else [self.image]


class Seed(Part):
    """One conversation of a file."""

    id: str
    domain: str
    level: Literal["beginner", "practitioner", "expert"]
    mood: Literal["curious", "frustrated", "rushed", "sceptical", "anxious", "playful", "neutral"]
    tags: list[str] = []
    target: str | None = None  # of a routing seed: the member it routes to
    licence: str | None = None  # of its pictures, where it is not the dataset's own
    turns: list[SeedTurn] = Field(min_length=1)

    @property
    def answered(self) -> bool:
        """Whether every turn has its reply."""
        return all(turn.answer is not None and turn.reasoning is not None for turn in self.turns)

    @property
    def pictured(self) -> bool:
        """Whether a turn shows a picture."""
        return any(turn.pictures for turn in self.turns)


def read(paths: Iterable[Path], triad: Path) -> Iterator[tuple[Path, Seed]]:
    """(file, seed) of some files, in order. `triad` lists the members that a target may name.

    Raises FileError, TriadError or MixError; an id that stands twice names both files."""
    files: dict[str, Path] = {}
    known: tuple[str, ...] = ()
    for path in paths:
        for seed in load(path, list[Seed]):
            if seed.id in files:
                other = shown(files[seed.id])
                raise MixError(f"{shown(path)}: {seed.id}: stands in {other} too; rename one")
            files[seed.id] = path
            if seed.target:
                known = known or (behaviour.SELF, *members.read(triad).members)
                if seed.target not in known:
                    problem = f"{seed.target!r} is no member; one of {', '.join(known)}"
                    raise MixError(f"{shown(path)}: {seed.id}.target: {problem}")
            yield path, seed


def conversations(config: Config, context: Context) -> Iterator[Conversation | Skip | Note]:
    """The answered seeds of the files; the others as Skip. Raises as `read`, and MixError for a
    picture that cannot be used."""
    for path, seed in read(context.files(config.path), context.path(config.triad)):
        where = f"{shown(path)}: {seed.id}"
        if not seed.answered:
            yield Skip("question without a reply yet", where)
            continue
        tags = [*seed.tags, f"level:{seed.level}", f"mood:{seed.mood}", f"domain:{seed.domain}"]
        if seed.target:
            tags.append(f"target:{seed.target}")
        if seed.licence:
            yield Note(f"hand-written conversations with a picture under {seed.licence}")
        turns = []
        for turn in seed.turns:
            images = tuple(_picture(where, shows, config, context) for shows in turn.pictures)
            turns.append(Turn(turn.user, turn.reasoning or "", turn.answer or "", images))
        yield Conversation(seed.id, "", "seed", turns=tuple(turns), tags=tuple(tags))


def _picture(where: str, shows: str | Drawn, config: Config, context: Context) -> bytes:
    """A picture of a seed as a PNG file. Raises MixError naming the seed and its file."""
    try:
        if isinstance(shows, Drawn):
            folder = context.path(config.diagrams)
            return diagrams.by_hand(folder, shows.draw, shows.look)
        path = context.path(shows)
        inside = path.resolve().is_relative_to(context.folder.resolve())
        if not inside or path.is_symlink() or not path.is_file():
            raise MixError("no file in the dataset's folder")
        if path.stat().st_size > LARGEST:
            raise MixError(f"more than {LARGEST:,} bytes; scale it down")
        return pictures.png(pictures.decode(path))
    except (MixError, pictures.PictureError) as error:
        raise MixError(f"{where}: picture {shows}: {error}") from None
