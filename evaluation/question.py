"""A question of a suite, and what may be wrong with where it comes from."""

from dataclasses import dataclass, field
from pathlib import Path

from common.errors import AetherError


class Absent(Exception):
    """The data of a suite is not there; the text says what is missing and how to get it."""


class SuiteError(AetherError):
    """A question file that is there and wrong."""


@dataclass(frozen=True)
class Question:
    """What is asked.

    Args:
        turns: Texts; user and assistant alternate, the user begins and ends.
        expect: What its scorer needs.
        images: Shown before the last turn.
        stratum: What a sample is stratified by.
        tools: What may be called, in OpenAI's form.
        talk: With tools, the messages in the place of the turns, as a row has them.
        unseen: Whether no training row has its family or its framing; None where nothing says so.
    """

    id: str
    turns: tuple[str, ...]
    expect: dict = field(default_factory=dict)
    images: tuple[Path, ...] = ()
    stratum: str = ""
    tools: tuple[dict, ...] = ()
    talk: tuple[dict, ...] = ()
    unseen: bool | None = None
