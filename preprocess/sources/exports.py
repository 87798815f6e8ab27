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
from typing import ClassVar, Literal, NamedTuple

from PIL import Image

from common import chat, facts, rows
from preprocess.rows import Conversation, Note, Skip, Turn
from preprocess.source import Context, MixError, Source
from preprocess.sources.masking import mask

LARGEST = (
    128 * 2**20
)  # bytes of a .json file, which is read whole; a .jsonl file is read line by line
_ROLES = {
    "human": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bing": "assistant",
    "model": "assistant",
}


class Config(Source):
    """A folder that need not exist."""

    kind: Literal["conversations"]
    path: str

    origins: ClassVar[tuple[str, ...]] = ("conversation",)
    written: ClassVar[bool] = True


class Said(NamedTuple):
    role: str
    text: str
    reasoning: str = ""
    images: tuple[str, ...] = ()  # paths


def conversations(config: Config, context: Context) -> Iterator[Conversation | Skip | Note]:
    """The conversations of every .json and .jsonl in a folder that may be absent. Raises MixError naming the place."""
    folder = context.path(config.path)
    for path in sorted([*folder.rglob("*.json"), *folder.rglob("*.jsonl")]):
        if path.is_symlink() or not path.resolve().is_relative_to(folder.resolve()):
            raise MixError(f"{path}: a link; put the file itself into {folder.name}/")
        masked: Counter[str] = Counter()
        for where, raw in _items(path):
            try:
                turns = _turns(_openai(raw) if "mapping" in raw else _plain(raw), folder, masked)
                if not any(turn.reasoning for turn in turns):
                    raise Skip("no reply with reasoning; a question for a teacher")
                name = hashlib.sha256("\n".join(turn.user for turn in turns).encode()).hexdigest()[
                    :12
                ]
                yield Conversation(f"own-{name}", "", "conversation", turns=turns)
            except Skip as skip:
                yield skip
            except MixError as error:
                raise MixError(f"{where}: {error}") from None
            except (KeyError, TypeError, AttributeError, ValueError) as error:
                raise MixError(
                    f"{where}: {type(error).__name__} {error}; not a conversation in a shape that is known"
                ) from None
        yield from (
            Note(f"{path.name}: {kind} masked", count) for kind, count in sorted(masked.items())
        )


def _items(path: Path) -> Iterator[tuple[str, object]]:
    """(place, value) of each line of a JSONL file, or of each element of a JSON array."""
    where = str(path)
    try:
        if path.suffix == ".json":
            if path.stat().st_size > LARGEST:
                advice = (
                    f"write one conversation a line: jq -c '.[]' {path.name} > {path.stem}.jsonl"
                )
                raise MixError(f"{path}: more than {LARGEST // 2**20} MB; {advice}")
            value = json.loads(path.read_bytes())
            yield from (
                (f"{path}: conversation {n}", item)
                for n, item in enumerate(value if isinstance(value, list) else [value], 1)
            )
            return
        for number, _, line in rows.lines(path):
            where = f"{path}:{number}"
            if len(line) > rows.MAX_LINE:
                raise MixError(
                    f"{where}: the line is longer than {rows.MAX_LINE:,} bytes; split the conversation"
                )
            if line.strip():
                yield where, json.loads(line)
    except (ValueError, RecursionError) as error:
        raise (
            error
            if isinstance(error, MixError)
            else MixError(f"{where}: not JSON, or cut off ({error})")
        ) from None


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
            thoughts += [
                thought.get("content") or thought.get("summary", "")
                for thought in content.get("thoughts", [])
            ]
        elif role in ("user", "assistant") and kind in ("text", "multimodal_text"):
            if any(not isinstance(part, str) for part in content["parts"]):
                raise Skip("an attachment that the export does not hold")
            if text := "\n".join(content["parts"]).strip():
                said.append(Said(role, text, "\n\n".join(thoughts) if role == "assistant" else ""))
                thoughts = []
    return said


def _plain(raw: dict) -> list[Said]:
    """The messages of Claude's export, of ShareGPT, or of messages JSONL."""
    said = []
    for message in raw[
        next((key for key in ("chat_messages", "conversations") if key in raw), "messages")
    ]:
        role = next(message[key] for key in ("role", "sender", "from") if key in message)
        content = message.get("content") or message.get("value") or message.get("text") or ""
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
        if message.get("attachments") or message.get("files"):
            raise Skip("an attachment that the export does not hold")
        if other := {part["type"] for part in parts} - {"text", "thinking", "image"}:
            raise Skip(
                f"a part of type {min(other)}, which is neither text nor an image of the folder"
            )
        text, thinking = (
            "\n\n".join(part[kind] for part in parts if part["type"] == kind)
            for kind in ("text", "thinking")
        )
        reasoning = thinking or message.get("reasoning_content") or message.get("reasoning") or ""
        images = tuple(part["path"] for part in parts if part["type"] == "image")
        said.append(Said(_ROLES.get(role, role), text, reasoning, images))
    return [one for one in said if one.role not in ("system", "tool", "developer")]


def _turns(said: list[Said], folder: Path, masked: Counter) -> tuple[Turn, ...]:
    """User and assistant in pairs, masked. Raises Skip where they do not alternate."""
    pairs = list(
        zip(said[::2], said[1::2], strict=False)
    )  # without a last question that has no reply
    if not pairs or any(
        (user.role, assistant.role) != ("user", "assistant") for user, assistant in pairs
    ):
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
        turns.append(
            Turn(*(text for text, _ in cleaned), tuple(image(folder, path) for path in user.images))
        )
    return tuple(turns)


def image(folder: Path, name: str) -> bytes:
    """An image of the folder as a PNG file. Raises MixError for a link, a path that leads out, or too many pixels."""
    path = folder / name
    if "://" in name or path.is_symlink() or not path.resolve().is_relative_to(folder.resolve()):
        raise MixError(
            f"image {name!r}: only plain files inside {folder.name}/ are read; copy it there"
        )
    try:
        with (
            warnings.catch_warnings(action="ignore", category=Image.DecompressionBombWarning),
            Image.open(path) as picture,
        ):
            if picture.width * picture.height > facts.MAX_PIXELS:
                raise MixError(
                    f"image {name!r}: {picture.width}x{picture.height} pixels; scale it down"
                )
            picture.thumbnail((facts.LONGEST_EDGE, facts.LONGEST_EDGE))
            picture.convert("RGB").save(file := io.BytesIO(), "PNG")
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise MixError(f"image {name!r}: {error}; give a whole PNG, JPEG or WebP file") from None
    return file.getvalue()
