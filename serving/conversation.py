"""A conversation with two models, and what is kept of it as rows and pairs of a dataset.

Both models always read the same: of each earlier exchange the final answer of the chosen side, as a
client of a server sends it back (an exchange without one is left out). So two replies to one
message are a fair pair.

Kept are rows.jsonl and pairs.jsonl, with their pictures in images/: see common.rows.
"""

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from common import chat, rows
from common.errors import AetherError
from common.files import shown
from common.pictures import picture_part
from serving.talk import Reply

BASE = "base"
TUNED = "tuned"
ROWS = "rows.jsonl"
PAIRS = "pairs.jsonl"
WHY = "the owner liked the other one better"


class KeptError(AetherError):
    """A reply that cannot be kept."""


@dataclass(frozen=True)
class Exchange:
    """A message and what came back.

    Args:
        text: What the person wrote.
        pictures: PNG files, shown before the text.
        shown: Where the page finds these pictures.
        system: The system prompt under which it was asked; "" for none.
        replies: By side.
        chosen: The side with whose answer the conversation goes on.
    """

    text: str
    pictures: tuple[bytes, ...] = ()
    shown: tuple[str, ...] = ()
    system: str = ""
    replies: dict[str, Reply] | None = None
    chosen: str = TUNED

    def reply(self, side: str) -> Reply:
        return (self.replies or {}).get(side, Reply())


def asked(exchanges: list[Exchange]) -> list[dict]:
    """The messages of a request, in OpenAI's form, that ends with the last exchange's message."""
    messages = _messages(exchanges, picture_part)
    for message in messages:
        if message["role"] != "user":
            message["content"] = rows.text_of(message)
            message.pop("weight", None)
    return messages


def _messages(exchanges: list[Exchange], picture: Callable[[bytes], dict]) -> list[dict]:
    """The conversation up to the last message, in parts; `picture` makes a part of a picture."""
    messages: list[dict] = []
    if exchanges[-1].system:
        messages.append({"role": "system", "content": rows.text_parts(exchanges[-1].system)})
    for exchange in exchanges:
        parts = [picture(png) for png in exchange.pictures]
        if exchange.text:
            parts += rows.text_parts(exchange.text)
        messages.append({"role": "user", "content": parts})
        answer = exchange.reply(exchange.chosen).answer
        messages.append({"role": "assistant", "content": rows.text_parts(answer), "weight": 0})
    return messages[:-1]


def keep(folder: Path, exchanges: list[Exchange], side: str) -> str:
    """Keep a side's last reply as a row, and say so in a line. Raises KeptError."""
    return _append(folder / ROWS, _row(folder, exchanges, side))


def prefer(folder: Path, exchanges: list[Exchange], side: str, why: str) -> str:
    """Keep a side's last reply as better than the other side's, and say so in a line.

    `why` says what is wrong with the other. Raises KeptError.
    """
    other = exchanges[-1].reply(BASE if side == TUNED else TUNED).written
    if not other:
        raise KeptError("the other model wrote nothing: there is nothing that this is better than")
    row = _row(folder, exchanges, side)
    if other == rows.text_of(row["messages"][-1]):
        raise KeptError("both replies are the same")
    rejected = {"content": rows.text_parts(other), "why": why.strip() or WHY}
    return _append(folder / PAIRS, row | {"rejected": rejected})


def _row(folder: Path, exchanges: list[Exchange], side: str) -> dict:
    """The conversation with a side's last reply, in which that alone is trained. Raises KeptError,
    before any picture is written.
    """
    reply = exchanges[-1].reply(side)
    if not reply.whole:
        why = reply.problem or (
            f"it ended with {reply.finish!r}" if reply.finish else "it has not ended"
        )
        raise KeptError(f"only a whole reply with an answer can be kept; {why}")
    for exchange in exchanges:
        if marker := chat.reserved_in(exchange.text):
            raise KeptError(f"a message contains {marker}, which no row may")
    try:
        text = chat.compose(reply.reasoning, reply.answer)
    except ValueError as error:
        raise KeptError(f"the reply has not the form of a row: {error}") from None

    def stored(png: bytes) -> dict:
        name = f"images/{hashlib.sha256(png).hexdigest()}.png"
        (folder / "images").mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(png)
        return {"type": "image", "path": name}

    messages = _messages(exchanges, stored)
    messages.append({"role": "assistant", "content": rows.text_parts(text), "weight": 1})
    row = {"category": "kept", "origin": "kept", "tags": [], "messages": messages}
    rows.check(row | {"id": "kept"})
    return row


def _append(path: Path, row: dict) -> str:
    """Add a row to a file, once, under an id made of what it says."""
    text = json.dumps(row, ensure_ascii=False, sort_keys=True)
    row["id"] = f"kept-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    known = []
    if path.exists():
        known = [json.loads(line)["id"] for _, _, line in rows.lines(path)]
    if row["id"] in known:
        return f"kept before: {shown(path)}, {len(known)} in all"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row, ensure_ascii=False) + "\n")
        file.flush()
        os.fsync(file.fileno())
    return f"kept in {shown(path)}, {len(known) + 1} in all"
