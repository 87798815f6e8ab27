"""A person's own conversations: OpenAI and Claude exports, ShareGPT, and messages JSONL, told apart by their shape.

Secrets and personal data are masked, and what was masked is noted. A reply without reasoning is not trained on: this model always
reasons first, so such a question waits for a teacher. Reasoning is taken from `reasoning_content`, thinking blocks and `<think>`.
Nothing outside the folder is read: no link, no address, no path that leads out.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from apriel import chat, facts, rows
from preprocess.mix import MixError
from preprocess.rows import Conversation, Note, Skip, Turn
from preprocess.sources.masking import mask

LARGEST = 64 * 2**20  # characters of one conversation in an export's array
CHUNK = 2**18
_ROLES = {"human": "user", "gpt": "assistant", "chatgpt": "assistant", "bing": "assistant", "model": "assistant"}


@dataclass(frozen=True)
class Said:
    role: str
    text: str
    reasoning: str = ""
    images: tuple[str, ...] = ()  # paths


def conversations(folder: Path) -> Iterator[Conversation | Skip | Note]:
    """The conversations of every .json and .jsonl in a folder that may be absent. Raises MixError naming the place."""
    for path in sorted(folder.rglob("*.json*")):
        if path.is_symlink() or not path.resolve().is_relative_to(folder.resolve()):
            raise MixError(f"{path}: a link; put the file itself into {folder.name}/")
        masked: Counter[str] = Counter()
        for where, raw in _items(path):
            try:
                said = _said(raw)
                turns = _turns(said, folder, masked)
            except Skip as skip:
                yield skip
                continue
            except (MixError, rows.RowError) as error:
                raise MixError(f"{where}: {error}") from None
            except (KeyError, TypeError, AttributeError, ValueError) as error:
                raise MixError(f"{where}: {type(error).__name__} {error}; not a conversation in a shape that is known") from None
            if any(turn.reasoning for turn in turns):
                name = hashlib.sha256("\n".join(turn.user for turn in turns).encode()).hexdigest()[:12]
                yield Conversation(f"own-{name}", "", "conversation", turns=turns)
            else:
                yield Skip("no reply with reasoning; a question for a teacher")
        for kind, count in sorted(masked.items()):
            yield Note(f"{path.name}: {kind} masked", count)


def _items(path: Path) -> Iterator[tuple[str, object]]:
    """(place, value) of each line of a JSONL file, or of each element of a JSON array, one in memory at a time."""
    with path.open("rb") as file:
        begins = file.read(CHUNK).lstrip()[:1]
    try:
        if begins == b"[":
            yield from _elements(path)
            return
        for number, _, line in rows.lines(path):
            if len(line) > rows.MAX_LINE:
                raise MixError(f"{path}:{number}: the line is longer than {rows.MAX_LINE:,} bytes; split the conversation")
            if line.strip():
                yield f"{path}:{number}", json.loads(line)
    except (json.JSONDecodeError, RecursionError) as error:
        raise MixError(f"{path}:{number}: not JSON ({error}); write one object a line") from None
    except UnicodeDecodeError as error:
        raise MixError(f"{path}: not UTF-8 ({error.reason} at byte {error.start:,})") from None


def _elements(path: Path) -> Iterator[tuple[str, object]]:
    decoder, buffer, at, number = json.JSONDecoder(), "", 0, 1
    with path.open(encoding="utf-8") as file:
        buffer = file.read(CHUNK).lstrip()[1:]
        while True:
            at += len(buffer[at:]) - len(buffer[at:].lstrip(" \t\r\n,")) if buffer[at : at + 1] in " \t\r\n," else 0
            if buffer.startswith("]", at):
                return
            try:
                element, at = decoder.raw_decode(buffer, at)
            except RecursionError as error:
                raise MixError(f"{path}: conversation {number}: not JSON ({error})") from None
            except json.JSONDecodeError as error:
                more = file.read(max(CHUNK, len(buffer)))  # doubling: no element is scanned more than a few times
                if not more or len(buffer) - at > LARGEST:
                    raise MixError(
                        f"{path}: conversation {number}: not JSON, or cut off ({error.msg}); export it again"
                    ) from None
                buffer, at = buffer[at:] + more, 0
                continue
            yield f"{path}: conversation {number}", element
            number += 1
            if at > CHUNK:
                buffer, at = buffer[at:], 0


def _said(raw: dict) -> list[Said]:
    """Who said what, in order. Raises Skip, or KeyError and the like for an unknown shape."""
    if "mapping" in raw:
        return _openai(raw)
    if "chat_messages" in raw:
        return [_claude(message) for message in raw["chat_messages"]]
    if "conversations" in raw:
        return [Said(_ROLES.get(m["from"], m["from"]), str(m["value"])) for m in raw["conversations"]]
    return [_message(message) for message in raw["messages"]]


def _openai(raw: dict) -> list[Said]:
    """The branch that is shown: from the current node back to the root. Thoughts are messages of their own before the reply."""
    nodes, at, thoughts, said = [], raw.get("current_node") or list(raw["mapping"])[-1], [], []
    while at and len(nodes) <= len(raw["mapping"]):
        nodes.append(raw["mapping"][at])
        at = nodes[-1].get("parent")
    for message in (node.get("message") for node in reversed(nodes)):
        content = (message or {}).get("content") or {}
        role = ((message or {}).get("author") or {}).get("role")
        if content.get("content_type") == "thoughts":
            thoughts += [thought.get("content") or thought.get("summary", "") for thought in content.get("thoughts", [])]
        elif role in ("user", "assistant") and content.get("content_type") in ("text", "multimodal_text"):
            if any(not isinstance(part, str) for part in content["parts"]):
                raise Skip("an attachment that the export does not hold")
            if text := "\n".join(content["parts"]).strip():
                said.append(Said(role, text, "\n\n".join(thoughts) if role == "assistant" else ""))
                thoughts = []
    return said


def _claude(message: dict) -> Said:
    if message.get("attachments") or message.get("files"):
        raise Skip("an attachment that the export does not hold")
    blocks = message.get("content") or []
    text = "\n\n".join(b["text"] for b in blocks if b.get("type") == "text") or message.get("text", "")
    reasoning = "\n\n".join(b["thinking"] for b in blocks if b.get("type") == "thinking")
    return Said(_ROLES.get(message["sender"], message["sender"]), text, reasoning)


def _message(message: dict) -> Said:
    content = message["content"] or ""
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    if other := next((p for p in parts if p["type"] not in ("text", "image")), None):
        raise ValueError(f'part of type {other["type"]!r}; text, or {{"type": "image", "path": ...}} inside the folder')
    text = "".join(part["text"] for part in parts if part["type"] == "text")
    reasoning = message.get("reasoning_content") or message.get("reasoning") or ""
    return Said(message["role"], text, reasoning, tuple(part["path"] for part in parts if part["type"] == "image"))


def _turns(said: list[Said], folder: Path, masked: Counter) -> tuple[Turn, ...]:
    """User and assistant in pairs, masked. Raises Skip where they do not alternate."""
    said = [s for s in said if s.role not in ("system", "tool", "developer")]
    said = said[: len(said) // 2 * 2]  # a last question without a reply
    if not said or [s.role for s in said] != ["user", "assistant"] * (len(said) // 2):
        raise Skip("user and assistant do not alternate")

    def clean(text: str) -> str:
        text, found = mask(text)
        masked.update(found)
        return text

    turns = []
    for user, assistant in zip(said[::2], said[1::2], strict=True):
        reasoning, answer = assistant.reasoning, assistant.text
        if chat.BEGIN_FINAL in answer:
            whole = chat.split(answer)
            reasoning, answer = whole.reasoning, whole.answer or ""
        elif match := re.match(r"\s*<think>(.*?)</think>(.*)", answer, re.DOTALL):
            reasoning, answer = match[1].strip(), match[2].strip()
        images = tuple(image(folder, path) for path in user.images)
        turns.append(Turn(clean(user.text), clean(reasoning), clean(answer), images))
    return tuple(turns)


def image(folder: Path, name: str) -> bytes:
    """An image of the folder as a PNG file. Raises MixError for a link, a path that leads out, or too many pixels."""
    path = folder / name
    if "://" in name or path.is_symlink() or not path.resolve().is_relative_to(folder.resolve()):
        raise MixError(f"image {name!r}: only plain files inside {folder.name}/ are read; copy it there")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the limit below is stricter
            with Image.open(path) as picture:
                if picture.width * picture.height > facts.MAX_PIXELS:
                    raise MixError(f"image {name!r}: {picture.width}x{picture.height} pixels; scale it down")
                picture.thumbnail((facts.LONGEST_EDGE, facts.LONGEST_EDGE))
                file = io.BytesIO()
                picture.convert("RGB").save(file, "PNG")
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise MixError(f"image {name!r}: {error}; give a whole PNG, JPEG or WebP file") from None
    return file.getvalue()
