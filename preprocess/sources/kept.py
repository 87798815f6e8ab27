"""Replies that a person kept on the page of `make chat`: one row a line, as common.rows has them,
with their pictures beside the file."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from common import chat, rows
from preprocess.rows import Conversation, Turn
from preprocess.source import Context, Source


class Config(Source):
    """A file that need not exist."""

    kind: Literal["kept"]
    path: str = "kept/rows.jsonl"

    origins = ("kept",)
    written = True


def conversations(config: Config, context: Context) -> Iterator[Conversation]:
    """The kept rows of a file, under the category of the mix. Raises RowError naming the line."""
    path = context.path(config.path)
    for row in rows.read(path) if path.exists() else ():
        messages = rows.turns(row)
        system = "".join(map(rows.text_of, row["messages"][: -len(messages)]))
        exchanges = zip(messages[::2], messages[1::2], strict=True)
        turns = tuple(_turn(user, reply, path.parent) for user, reply in exchanges)
        yield Conversation(row["id"], "", "kept", system, turns, tuple(row["tags"]))


def _turn(user: dict, reply: dict, folder: Path) -> Turn:
    """An exchange; one that is not trained has no reasoning."""
    parts = tuple(
        part["text"] if part["type"] == "text" else (folder / part["path"]).read_bytes()
        for part in user["content"]
    )
    text = rows.text_of(reply)
    if not reply["weight"]:
        return Turn(rows.text_of(user), "", chat.final_only(text), parts=parts)
    found = chat.split(text)
    return Turn(rows.text_of(user), found.reasoning, found.answer or "", parts=parts)
