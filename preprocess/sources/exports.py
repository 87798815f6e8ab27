"""A person's own conversations: OpenAI and Claude exports, ShareGPT, and messages JSONL, told apart by their shape.

Secrets and personal data are masked, and what was masked is noted. A reply without reasoning is not trained on: this model always
reasons first, so such a question waits for a teacher. Reasoning is taken from `reasoning_content`, thinking blocks and `<think>`.
Nothing outside the folder is read: no link, no address, no path that leads out.
"""

import hashlib
import io
import json
import re
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, TextIO

from PIL import Image

from apriel import chat, facts, rows
from preprocess.mix import MixError
from preprocess.rows import Conversation, Note, Skip, Turn
from preprocess.sources.masking import mask

LARGEST = 64 * 2**20  # characters of one conversation in an export's array
CHUNK = 2**16
_ROLES = {"human": "user", "gpt": "assistant", "chatgpt": "assistant", "bing": "assistant", "model": "assistant"}


class Said(NamedTuple):
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
                turns = _turns(_said(raw), folder, masked)
                if not any(turn.reasoning for turn in turns):
                    raise Skip("no reply with reasoning; a question for a teacher")
                name = hashlib.sha256("\n".join(turn.user for turn in turns).encode()).hexdigest()[:12]
                yield Conversation(f"own-{name}", "", "conversation", turns=turns)
            except Skip as skip:
                yield skip
            except MixError as error:
                raise MixError(f"{where}: {error}") from None
            except (KeyError, TypeError, AttributeError, ValueError) as error:
                raise MixError(f"{where}: {type(error).__name__} {error}; not a conversation in a shape that is known") from None
        yield from (Note(f"{path.name}: {kind} masked", count) for kind, count in sorted(masked.items()))


def _items(path: Path) -> Iterator[tuple[str, object]]:
    """(place, value) of each line of a JSONL file, or of each element of a JSON array, one in memory at a time."""
    number = 0
    try:
        with path.open(encoding="utf-8") as file:
            if (begins := file.read(CHUNK).lstrip()).startswith("["):
                for number, element in enumerate(_elements(begins[1:], file), 1):  # noqa: B007
                    yield f"{path}: conversation {number}", element
                return
        for number, _, line in rows.lines(path):
            if len(line) > rows.MAX_LINE:
                raise MixError(f"{path}:{number}: the line is longer than {rows.MAX_LINE:,} bytes; split the conversation")
            if line.strip():
                yield f"{path}:{number}", json.loads(line)
    except UnicodeDecodeError as error:
        raise MixError(f"{path}: not UTF-8 ({error.reason} at byte {error.start:,})") from None
    except (json.JSONDecodeError, RecursionError) as error:
        place = f": conversation {number + 1}: not JSON, or cut off" if begins.startswith("[") else f":{number}: not JSON"
        raise MixError(f"{path}{place} ({error})") from None


def _elements(buffer: str, file: TextIO) -> Iterator[object]:
    """The elements of a JSON array whose inside begins with `buffer` and goes on in `file`."""
    decoder = json.JSONDecoder()
    while not (buffer := buffer.lstrip(" \t\r\n,")).startswith("]"):
        try:
            element, end = decoder.raw_decode(buffer)
        except json.JSONDecodeError:
            more = file.read(max(CHUNK, len(buffer)))  # doubling: no element is scanned more than a few times
            if not more or len(buffer) > LARGEST:
                raise
            buffer += more
        else:
            yield element
            buffer = buffer[end:]


def _said(raw: dict) -> list[Said]:
    """Who said what, in order. Raises Skip, or KeyError and the like for an unknown shape."""
    if "mapping" in raw:
        return _openai(raw)
    shape = next((key for key in ("chat_messages", "conversations") if key in raw), "messages")
    return [_message(message) for message in raw[shape]]


def _openai(raw: dict) -> list[Said]:
    """The branch that is shown: from the current node back to the root. Thoughts are messages of their own before the reply."""
    branch, at, thoughts, said = [], raw.get("current_node") or list(raw["mapping"])[-1], [], []
    while at and len(branch) <= len(raw["mapping"]):
        branch.append(raw["mapping"][at].get("message") or {})
        at = raw["mapping"][at].get("parent")
    for message in reversed(branch):
        content, role = message.get("content") or {}, (message.get("author") or {}).get("role")
        kind = content.get("content_type")
        if kind == "thoughts":
            thoughts += [thought.get("content") or thought.get("summary", "") for thought in content.get("thoughts", [])]
        elif role in ("user", "assistant") and kind in ("text", "multimodal_text"):
            if any(not isinstance(part, str) for part in content["parts"]):
                raise Skip("an attachment that the export does not hold")
            if text := "\n".join(content["parts"]).strip():
                said.append(Said(role, text, "\n\n".join(thoughts) if role == "assistant" else ""))
                thoughts = []
    return said


def _message(message: dict) -> Said:
    """One message of Claude's export, of ShareGPT, or of messages JSONL."""
    role = next(message[key] for key in ("role", "sender", "from") if key in message)
    content = message.get("content") or message.get("value") or message.get("text") or ""
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    if message.get("attachments") or message.get("files"):
        raise Skip("an attachment that the export does not hold")
    if other := {part["type"] for part in parts} - {"text", "thinking", "image"}:
        raise Skip(f"a part of type {min(other)}, which is neither text nor an image of the folder")
    text, thinking = ("\n\n".join(part[kind] for part in parts if part["type"] == kind) for kind in ("text", "thinking"))
    reasoning = thinking or message.get("reasoning_content") or message.get("reasoning") or ""
    return Said(_ROLES.get(role, role), text, reasoning, tuple(part["path"] for part in parts if part["type"] == "image"))


def _turns(said: list[Said], folder: Path, masked: Counter) -> tuple[Turn, ...]:
    """User and assistant in pairs, masked. Raises Skip where they do not alternate."""
    said = [one for one in said if one.role not in ("system", "tool", "developer")]
    pairs = list(zip(said[::2], said[1::2], strict=False))  # without a last question that has no reply
    if not pairs or any((user.role, assistant.role) != ("user", "assistant") for user, assistant in pairs):
        raise Skip("user and assistant do not alternate")
    turns = []
    for user, assistant in pairs:
        reasoning, answer = assistant.reasoning, assistant.text
        if chat.BEGIN_FINAL in answer:
            reasoning, answer = chat.split(answer).reasoning, chat.split(answer).answer
        elif match := re.match(r"\s*<think>(.*?)</think>(.*)", answer, re.DOTALL):
            reasoning, answer = match[1].strip(), match[2].strip()
        cleaned = [mask(text) for text in (user.text, reasoning, answer)]
        masked.update(kind for _, found in cleaned for kind in found.elements())
        turns.append(Turn(*(text for text, _ in cleaned), tuple(image(folder, path) for path in user.images)))
    return tuple(turns)


def image(folder: Path, name: str) -> bytes:
    """An image of the folder as a PNG file. Raises MixError for a link, a path that leads out, or too many pixels."""
    path = folder / name
    if "://" in name or path.is_symlink() or not path.resolve().is_relative_to(folder.resolve()):
        raise MixError(f"image {name!r}: only plain files inside {folder.name}/ are read; copy it there")
    try:
        with warnings.catch_warnings(action="ignore", category=Image.DecompressionBombWarning), Image.open(path) as picture:
            if picture.width * picture.height > facts.MAX_PIXELS:
                raise MixError(f"image {name!r}: {picture.width}x{picture.height} pixels; scale it down")
            picture.thumbnail((facts.LONGEST_EDGE, facts.LONGEST_EDGE))
            picture.convert("RGB").save(file := io.BytesIO(), "PNG")
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise MixError(f"image {name!r}: {error}; give a whole PNG, JPEG or WebP file") from None
    return file.getvalue()
