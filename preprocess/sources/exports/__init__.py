"""A person's own conversations: exports of ChatGPT and Claude, ShareGPT, LLaVA, and lists of
messages, told apart by their shape, as files and in archives.

Secrets and personal data are masked, and what was masked is noted. A reply without reasoning is not
trained on: this model always reasons first, and nobody else's questions are
sent to a teacher unasked. An odd conversation is skipped and counted; it stops nothing.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from typing import Literal

from common.files import shown
from preprocess.rows import Conversation, Note, Skip, Turn
from preprocess.source import Context, MixError, Source
from preprocess.sources.exports import calling, chatgpt, claude, listed
from preprocess.sources.exports.reading import Item, Reader, Unread
from preprocess.sources.exports.talk import Cleaner

SHAPES = (chatgpt, claude, listed)
UNKNOWN = "no conversation in a shape that is known"


class Config(Source):
    """A folder that need not exist."""

    kind: Literal["conversations"]
    path: str

    origins = ("conversation",)
    written = True


def conversations(config: Config, context: Context) -> Iterator[Conversation | Skip | Note]:
    """The conversations of a folder. Raises MixError for a file that cannot be read, and for a
    folder with files of which none holds a conversation.
    """
    folder = context.path(config.path)
    if folder.exists() and not folder.is_dir():
        raise MixError(f"{shown(folder)}: no folder; give the one that holds the conversations")
    reader = Reader(folder)
    seen: set[str] = set()
    notes: Counter = Counter()
    first_places: dict[str, str] = {}
    skips: Counter = Counter()
    read = 0
    for item in reader.items():
        try:
            conversation = _conversation(item, reader, notes)
            if conversation.id in seen:
                raise Skip("the same conversation as one before")
            seen.add(conversation.id)
            read += 1
            yield conversation
        except Skip as skip:
            read += not isinstance(skip, Unread)
            skips[str(skip)] += 1
            first_places.setdefault(str(skip), item.place)
            yield skip
    if not read and (skips or reader.unread):
        wanted = (
            "put .json, .jsonl, .ndjson or .zip files with conversations there, or take it away"
        )
        raise MixError(f"{shown(folder)}: nothing in it could be read as a conversation; {wanted}")
    for suffix, count in reader.unread.items():
        notes[f"files of a kind that is not read: {suffix}"] += count
    for reason, place in first_places.items():
        notes[f"{reason}: first in {place}"] += skips[reason]
    yield from (Note(text, count) for text, count in sorted(notes.items()))


def _conversation(item: Item, reader: Reader, notes: Counter) -> Conversation:
    """The conversation that a value holds. Raises Skip."""
    if isinstance(item.value, Skip):
        raise item.value
    value = item.value
    shapes = [shape for shape in SHAPES if isinstance(value, dict) and shape.fits(value)]
    if not shapes or not isinstance(value, dict):
        raise Unread(UNKNOWN)
    shape = shapes[0]
    masked: Counter = Counter()
    left_out: Counter = Counter()
    try:
        tools = calling.offered(value)
        names = {tool["function"]["name"] for tool in tools}
        messages = calling.folded(shape.read(value, left_out), names)
        system, turns = Cleaner(reader.picture, masked, left_out).turns(messages)
    except Skip:
        raise
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        name = shape.__name__.rpartition(".")[2]
        raise Skip(f"not what its shape ({name}) wants: {type(error).__name__}") from None
    finally:
        _note(notes, item.file, "masked", masked)
    reasoned = [turn.reasoning + step.reasoning for turn in turns for step in turn.steps]
    if not any(map(str.strip, [*reasoned, *(turn.reasoning for turn in turns)])):
        raise Skip(
            "no reply with reasoning to train on; add the reasoning, or write the question into "
            "seeds/*.yaml without an answer, for make expand"
        )
    _note(notes, item.file, "left out", left_out)
    name = _digest([system, *map(_identity, turns)])
    group = _digest(turns[0].user)
    return Conversation(
        f"own-{name}",
        "",
        "conversation",
        system,
        turns,
        group=f"own-{group}",
        offered=tools,
    )


def _note(notes: Counter, file: str, what: str, counts: Counter) -> None:
    for kind, count in counts.items():
        notes[f"{file}: {kind} {what}"] += count


def _identity(turn: Turn) -> list[str]:
    pictures = [hashlib.sha256(picture).hexdigest() for picture in turn.images]
    steps = [repr(step) for step in turn.steps]
    return [turn.user, turn.reasoning, turn.answer, *steps, *pictures]


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:12]
