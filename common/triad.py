"""The members of a Triad, as a dataset's triad.yaml names them, and the system prompts that list
them.
"""

import os
from pathlib import Path
from typing import Self

from pydantic import ConfigDict, Field, model_validator

from common import schema
from common.errors import AetherError
from common.files import read_text
from common.schema import Part

MEMBERS = "{members}"  # where a system prompt lists them


class TriadError(AetherError):
    """A triad.yaml, or an environment, with which no Triad can be made."""


class Member(Part):
    """Who answers; triad.yaml says what each key means."""

    model_config = ConfigDict(frozen=True)

    name: str
    takes: str = ""
    outside: bool = False
    gives: list[str] = []
    sees: bool
    context: int = Field(gt=0)
    dollars_in: float = Field(ge=0)
    dollars_out: float = Field(ge=0)
    dollars_a_day: float | None = Field(None, gt=0)
    seconds: float = Field(gt=0)
    url: str
    model: str
    key: str

    @model_validator(mode="after")
    def _limit(self) -> Self:
        if self.outside != (self.dollars_a_day is not None):
            raise ValueError(
                "dollars_a_day belongs to each member that is outside, and to no other"
            )
        return self

    @property
    def unset(self) -> list[str]:
        """The environment variables for want of which it is absent."""
        needed = [self.url, self.model]
        if self.outside:
            needed.append(self.key)
        return [name for name in needed if not os.environ.get(name)]


class Triad(Part):
    """This model, and the others in the order in which they are asked."""

    model_config = ConfigDict(frozen=True)

    itself: Member = Field(alias="self")
    members: dict[str, Member]


def read(path: Path) -> Triad:
    """A triad.yaml. Raises FileError, and TriadError with the key that is wrong."""
    return schema.load(path, Triad, TriadError)


def persona(path: Path) -> str:
    """A system prompt as it is trained, served and asked: apart from the model's own default
    prompt, to which the model's template glues it as it is.

    Its line `{members}` becomes the list of the triad.yaml in its dataset's folder. Raises
    FileError and TriadError.
    """
    text = read_text(path)
    if MEMBERS in text:
        members = read(path.parent.parent / "triad.yaml").members
        lines = [
            f"- {id_} ({'outside' if member.outside else 'self-hosted'}): {member.takes}"
            for id_, member in members.items()
        ]
        text = text.replace(MEMBERS, "\n".join(lines))
    return f"\n\n{text.strip()}"
