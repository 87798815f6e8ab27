"""The row contract: one JSON object a line, Pixtral-style chat, with the reading and the checking
of it.

    {"id": "async-001", "category": "async", "origin": "seed", "tags": [], "messages": [
      {"role": "system", "content": [{"type": "text", "text": "..."}]},
      {"role": "user", "content": [{"type": "image", "path": "images/<sha256>.png"}, {"type":
      "text", "text": "..."}]},
      {"role": "assistant", "content": [{"type": "text", "text": "..."}], "weight": 1}]}

`weight` says which assistant turns are trained (1) and which are history (0). `answer` may hold
what a program can check. A row may offer `tools`; earlier assistant turns then carry `tool_calls`,
and messages of role `tool` their results, all as OpenAI writes them. A trained turn is the whole
reply as the model writes it, its calls included (common.tools). A pair is a row with `rejected`:
{"content": parts, "why": text}, a worse reply in the place of its one trained turn, the last. Every
error names the file, the line, the key, what is wrong and what to do.
"""

import json
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from common import tools
from common.errors import AetherError
from common.facts import MAX_PIXELS

MAX_LINE = 4 * 2**20  # bytes; a longer line is not a conversation
_KEYS = {"id", "category", "origin", "messages", "tags", "answer", "tools", "rejected"}
_ORIGIN = re.compile(r"[a-z0-9][a-z0-9_-]*")
# Turns by letter: user, call of tools, result of one, answer.
_TURNS = re.compile(r"(?:u(?:cr+)*a)*u(?:cr+)*[ac]")
_OF_ROLE = {"assistant": {"weight", "tool_calls"}, "tool": {"tool_call_id"}}
_IMAGE_PATH = re.compile(r"images/[0-9a-f]{64}\.png")


class RowError(AetherError):
    """A row that may not be trained on."""


@dataclass(frozen=True)
class Image:
    path: Path
    width: int  # pixels, from the file's header
    height: int


def png_size(path: Path) -> tuple[int, int]:
    """(width, height) in pixels from the header of a PNG file, without decoding it. Raises
    RowError."""
    try:
        with path.open("rb") as file:
            header = file.read(24)
    except FileNotFoundError:
        raise RowError(f"{path}: no such image; build the dataset again") from None
    if len(header) < 24 or header[:8] != b"\x89PNG\r\n\x1a\n" or header[12:16] != b"IHDR":
        raise RowError(f"{path}: not a PNG file; store images as PNG")
    width, height = struct.unpack(">II", header[16:24])
    if not width or not height or width * height > MAX_PIXELS:
        limit = f"at most {MAX_PIXELS:,} are read, scale the image down"
        raise RowError(f"{path}: {width}x{height} pixels; {limit}")
    return width, height


def parse(line: bytes | str) -> dict:
    """The row in one line of JSON. Raises RowError."""
    if len(line) > MAX_LINE:
        raise RowError(f"the line is {len(line):,} bytes long; at most {MAX_LINE:,} are read")
    try:
        row = json.loads(line)
        if "\\ud" in str(line).lower():
            json.dumps(row, ensure_ascii=False).encode()  # no half of a character
    except (ValueError, RecursionError) as error:
        raise RowError(f"not JSON ({error}); write one object a line") from None
    check(row)
    return row


def check(row: object) -> None:
    """Raise RowError unless `row` keeps the contract; images are looked at by `images`."""
    if not isinstance(row, dict):
        raise RowError(f"a {type(row).__name__} where an object is wanted")
    for key in ("id", "category", "origin"):
        if not isinstance(row.get(key), str) or not row[key]:
            raise RowError(f"{key}: {row.get(key)!r}; give a non-empty string")
    if not _ORIGIN.fullmatch(row["origin"]):
        raise RowError(f"origin: {row['origin']!r}; a word in small letters, such as seed")
    if unknown := sorted(set(row) - _KEYS):
        raise RowError(f"unknown key {unknown[0]!r}; known are {', '.join(sorted(_KEYS))}")
    messages = row.get("messages")
    if not isinstance(messages, list) or not messages:
        raise RowError("messages: give a non-empty list")
    for number, message in enumerate(messages):
        _check_message(message, f"messages[{number}]")
    _check_order(messages)
    if "tools" in row or any(_letter(message) in "cr" for message in messages):
        _check_calls(row)
    if "rejected" in row:
        _check_rejected(row["rejected"], messages)


def _check_message(message: object, where: str) -> None:
    if not isinstance(message, dict):
        raise RowError(f"{where}: a {type(message).__name__} where an object is wanted")
    role = message.get("role")
    if role not in ("system", "user", "assistant", "tool"):
        raise RowError(f"{where}.role: {role!r}; one of system, user, assistant, tool")
    weight = message.get("weight")
    if role == "assistant" and weight not in (0, 1):
        raise RowError(f"{where}.weight: {weight!r}; 1 to train on this turn, 0 for history")
    if unknown := sorted(set(message) - {"role", "content"} - _OF_ROLE.get(role, set())):
        raise RowError(f"{where}: unknown key {unknown[0]!r}")
    calls = message.get("tool_calls", [None])
    if not isinstance(calls, list) or not calls:
        raise RowError(f"{where}.tool_calls: give a non-empty list, or leave it out")
    content = message.get("content")
    if not isinstance(content, list) or not content:
        raise RowError(f"{where}.content: give a non-empty list of parts")
    for number, part in enumerate(content):
        _check_part(part, role, f"{where}.content[{number}]")


def _check_part(part: object, role: str, where: str) -> None:
    fields = part if isinstance(part, dict) else {}
    kind = fields.get("type")
    path = fields.get("path")
    if kind == "text" and isinstance(fields.get("text"), str):
        return
    if kind != "image" or role != "user" or not isinstance(path, str):
        wanted = 'a part is {"type": "text", "text": ...} or, for a user, an image with a path'
        raise RowError(f"{where}: {str(part)[:60]!r}; {wanted}")
    if not _IMAGE_PATH.fullmatch(path):
        allowed = "only images/<sha256>.png inside the dataset's folder is read"
        raise RowError(f"{where}.path: {path!r}; {allowed}")


def _check_order(messages: list[dict]) -> None:
    roles = [message["role"] for message in messages]
    turns = messages[1:] if roles[0] == "system" else messages
    if "system" in roles[1:]:
        raise RowError("messages: a system turn that is not the first; join them into one")
    letters = "".join(map(_letter, turns))
    if not _TURNS.fullmatch(letters):
        wanted = "user and assistant must alternate and the assistant end"
        if "c" in letters or "r" in letters:
            wanted += "; the results of its calls stand before its next turn"
        raise RowError(f"messages: the roles are {', '.join(roles)}; {wanted}")
    if not any(message.get("weight") for message in messages):
        raise RowError("messages: no assistant turn has weight 1, so there is nothing to train on")


def _letter(message: dict) -> str:
    """The letter that _TURNS has for a message."""
    if "tool_calls" in message:
        return "c"
    return {"user": "u", "assistant": "a", "tool": "r"}.get(message["role"], "s")


def _check_calls(row: dict) -> None:
    """Raise RowError unless every call is of one of the row's tools and has its result."""
    messages = row["messages"]
    try:
        offered = tools.parameters(row.get("tools"))
    except tools.ToolError as error:
        raise RowError(str(error)) from None
    for number, message in enumerate(messages):
        where = f"messages[{number}].tool_calls"
        ids = [_call_id(call, where, offered) for call in message.get("tool_calls", ())]
        results = []
        for after in messages[number + 1 :]:
            if after["role"] != "tool":
                break
            results.append(after.get("tool_call_id"))
        if ids and results and sorted(ids) != sorted(map(str, results)):
            raise RowError(f"{where}: the ids are {ids}, those of the results {results}")


def _call_id(entry: object, where: str, offered: dict[str, dict]) -> str:
    """The id of a call. Raises RowError."""
    try:
        call = tools.of_openai(entry)
    except tools.ToolError as error:
        raise RowError(f"{where}: {error}") from None
    if call.name not in offered:
        raise RowError(f"{where}: {call.name!r} is none of the tools, {', '.join(offered)}")
    id_ = entry.get("id") if isinstance(entry, dict) else None
    if not isinstance(id_, str) or not id_:
        raise RowError(f"{where}: id: {id_!r}; give each call a name of its own")
    return id_


def _check_rejected(rejected: object, messages: list[dict]) -> None:
    if not isinstance(rejected, dict) or set(rejected) != {"content", "why"}:
        raise RowError('rejected: give {"content": [parts], "why": "what is wrong with it"}')
    if not isinstance(rejected["why"], str) or not rejected["why"].strip():
        raise RowError("rejected.why: say what is wrong with the reply")
    *earlier, last = messages
    reply = {"role": "assistant", "content": rejected["content"], "weight": 1}
    _check_message(reply, "rejected")  # no part of an assistant is a picture
    if not text_of(reply).strip():
        raise RowError("rejected.content: empty; give the worse reply")
    if text_of(reply).strip() == text_of(last).strip():
        raise RowError("rejected.content: the same as the chosen reply; one of them must be worse")
    if last["weight"] != 1 or any(message.get("weight") for message in earlier):
        raise RowError("messages: a pair trains its last turn alone; give the others weight 0")


def sides(row: dict) -> list[dict]:
    """The row itself, or a pair as two rows: with its chosen reply, then with its rejected one."""
    if "rejected" not in row:
        return [row]
    *earlier, last = row["messages"]
    chosen = {key: value for key, value in row.items() if key != "rejected"}
    worse = last | {"content": row["rejected"]["content"]}
    return [chosen, chosen | {"messages": [*earlier, worse]}]


def file_of(split: str, pairs: bool) -> str:
    """The file of a built dataset with a split (train or val) of its rows, or of its pairs."""
    if pairs:
        return "pairs.jsonl" if split == "train" else "pairs_val.jsonl"
    return f"{split}.jsonl"


def text_parts(text: str) -> list[dict]:
    """The content of a message that is a text alone."""
    return [{"type": "text", "text": text}]


def text_of(message: dict) -> str:
    """The text parts of a message, joined."""
    return "".join(part["text"] for part in message["content"] if part["type"] == "text")


def turns(row: dict) -> list[dict]:
    """The messages of a row without its system prompt, where it has one."""
    return [message for message in row["messages"] if message["role"] != "system"]


def last_user(row: dict) -> dict:
    """The user's last message."""
    return next(message for message in reversed(row["messages"]) if message["role"] == "user")


def images(row: dict, folder: Path) -> list[Image]:
    """The images of a row in order, sizes read from their headers. Raises RowError; a link out of
    `folder` is refused."""
    found = []
    for message in row["messages"]:
        for part in message["content"]:
            if part["type"] != "image":
                continue
            path = folder / part["path"]
            if path.is_symlink() or not path.resolve().is_relative_to(folder.resolve()):
                raise RowError(
                    f"{path}: a link; images must be plain files inside the dataset's folder"
                )
            found.append(Image(path, *png_size(path)))
    return found


def lines(path: Path) -> Iterator[tuple[int, int, bytes]]:
    """The lines of a file as `numbered` gives them."""
    with path.open("rb") as file:
        yield from numbered(file)


def numbered(file: IO[bytes]) -> Iterator[tuple[int, int, bytes]]:
    """(line number, byte offset, line) of each line of an open file, one in memory at a time.

    A line longer than MAX_LINE is cut at MAX_LINE + 2 bytes; the rest of it is passed over.
    """
    offset = 0
    number = 0
    while line := file.readline(MAX_LINE + 2):
        number += 1
        yield number, offset, line
        while line and not line.endswith(b"\n"):
            offset += len(line)
            line = file.readline(MAX_LINE)
        offset += len(line)


def read(path: Path) -> Iterator[dict]:
    """The rows of a file, one in memory at a time. Raises RowError with file:line."""
    for number, _, line in lines(path):
        try:
            row = parse(line)
            images(row, path.parent)
        except RowError as error:
            raise RowError(f"{path}:{number}: {error}") from None
        yield row
