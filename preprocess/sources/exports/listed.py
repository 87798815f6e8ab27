"""A conversation as a plain list of messages: OpenAI's and LLaMA-Factory's `messages`, ShareGPT's
and LLaVA's `conversations`.

Every key is honoured, known to say nothing about what is trained, or a reason to leave the
conversation out: what is not read could mean that a turn must not be trained, or shows a picture.
"""

import base64
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

from common.rows import text_parts
from common.tools import ToolError
from preprocess.rows import Skip
from preprocess.sources.exports.calling import UNDESCRIBED, of_entries, of_parts, of_text
from preprocess.sources.exports.talk import Message, Picture

_ROLES = {
    **dict.fromkeys(("user", "human"), "user"),
    **dict.fromkeys(
        ("assistant", "gpt", "chatgpt", "bing", "bard", "claude", "model"), "assistant"
    ),
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("tool", "function", "observation"), "tool"),
    **dict.fromkeys(("function_call", "tool_call"), "call"),
}
_ROLE_KEYS = ("role", "from", "sender")
_TEXT_KEYS = ("content", "value", "text")
_REASONING_KEYS = ("reasoning_content", "reasoning", "thinking")
_TOOL_KEYS = ("tool_calls", "function_call", "tool_call_id")
# Keys that say nothing of what is trained.
_ABOUT = {
    *("id", "uuid", "conversation_id", "message_id", "idx", "index", "title", "name", "hash"),
    *("source", "dataset", "model", "language", "lang", "metadata", "tags", "category"),
    *("timestamp", "created_at", "updated_at", "create_time", "update_time", "created", "date"),
}
# What these say where a reply is whole, or ends in calls.
_ENDED = {
    "finish_reason": ("stop", "end_turn", "tool_calls", "function_call"),
    "stop_reason": ("stop", "end_turn", "stop_sequence", "tool_use"),
    "status": ("completed", "finished_successfully", "finished"),
    "recipient": ("all",),
    "end_turn": (True,),
}
_KNOWN = {"messages", "conversations", "system", "images", "image", "tools", "functions"} | _ABOUT
_KNOWN_OF_MESSAGE = {*_ROLE_KEYS, *_TEXT_KEYS, *_REASONING_KEYS, *_TOOL_KEYS, *_ENDED, "weight"}
_KNOWN_OF_MESSAGE |= _ABOUT - {"name"}  # which a server would send along
_UNSET: tuple = (None, "", [], {}, "[]")
_PLACE = re.compile(r"\n?<image>\n?")


def fits(raw: dict) -> bool:
    return "messages" in raw or "conversations" in raw


def read(raw: dict, left_out: Counter) -> list[Message]:
    """The messages, with each `<image>` replaced by a picture of `images`. Raises Skip."""
    _check_keys(raw, _KNOWN)
    raw_messages = raw.get("messages") or raw.get("conversations") or []
    pictures = [path for key in ("images", "image") for path in _listed(raw.get(key))]
    if any(not isinstance(path, str) for path in pictures):
        raise Skip("a picture that is no name of a file")
    waiting = [Picture(path) for path in pictures]
    messages = [made for message in raw_messages for made in _messages(message, waiting)]
    if waiting:
        raise Skip("more pictures than places for them")
    system = raw.get("system") or ""
    if not isinstance(system, str):
        raise Skip("a system prompt that is no text")
    if system:
        messages.insert(0, Message("system", (system,)))
    return messages


def _listed(value: object) -> list:
    if value in _UNSET:
        return []
    return value if isinstance(value, list) else [value]


def _check_keys(value: dict, known: set[str]) -> None:
    for key in value:
        if key not in known and value[key] not in _UNSET:
            raise Skip(f"a key that is not read: {str(key)[:40]}")


def _messages(message: dict, waiting: list[Picture]) -> Iterator[Message]:
    """The message, or those in its parts; pictures are taken from `waiting`. Raises Skip."""
    _check_keys(message, _KNOWN_OF_MESSAGE)
    named = next((message[key] for key in _ROLE_KEYS if message.get(key)), None)
    if named is None:
        raise Skip("a message without a role")
    role = _ROLES.get(str(named).lower())
    if role is None:
        raise Skip(f"a message of role {str(named)[:40]}")
    weight = 1 if message.get("weight") is None else message["weight"]
    if weight not in (0, 1):
        raise Skip("a weight that is neither 0 nor 1")
    parts: list[str | Picture] = []
    thoughts = [message[key] for key in _REASONING_KEYS if message.get(key)]
    content = next((message[key] for key in _TEXT_KEYS if message.get(key)), "")
    listed = text_parts(content) if isinstance(content, str) else content
    whole = all(message.get(key) in (None, *values) for key, values in _ENDED.items())
    flaw = "" if whole else "a reply that does not end"
    if any(part.get("type") in ("tool_use", "tool_result") for part in listed):
        yield from of_parts(Message(role, (), trained=bool(weight), flaw=flaw), listed)
        return
    for part in listed:
        if part.get("type") == "thinking":
            thoughts.append(part["thinking"])
        else:
            parts += _part(part, waiting)
    if role != "user" and any(isinstance(part, Picture) for part in parts):
        raise Skip("a picture that no user shows")
    made = Message(role, tuple(parts), "\n\n".join(thoughts), trained=bool(weight), flaw=flaw)
    yield _with_calls(made, message)


def _with_calls(made: Message, message: dict) -> Message:
    """The message with its calls, or as the result that it is. Raises Skip."""
    if made.role == "tool":
        return replace(made, result_of=str(message.get("tool_call_id") or ""))
    if made.role == "call":
        reasoning, calls = of_text(made.text)
        return replace(
            made,
            role="assistant",
            parts=(),
            reasoning=reasoning or made.reasoning,
            calls=calls,
        )
    try:
        calls = of_entries(message)
    except ToolError:
        return replace(made, flaw=UNDESCRIBED)
    ended = {message.get("finish_reason"), message.get("stop_reason")}
    if not calls and ended & {"tool_calls", "function_call", "tool_use"}:
        return replace(made, flaw=UNDESCRIBED)
    return replace(made, calls=calls)


def _part(part: dict, waiting: list[Picture]) -> Iterator[str | Picture]:
    """The texts and pictures of a part. Raises Skip."""
    kind = part.get("type")
    if kind in ("text", "input_text", "output_text"):
        texts = _PLACE.split(part["text"])
        for number, text in enumerate(texts):
            if number and not waiting:
                raise Skip("a place for a picture, and no picture")
            if number:
                yield waiting.pop(0)
            if text.strip():
                yield text
    elif kind in ("image", "image_url", "input_image"):
        value = part.get("path") or part.get("image") or part.get("url") or part.get("image_url")
        if isinstance(value, dict):
            value = value.get("url")
        # Without a name the next of the list.
        yield _picture(value) if value else waiting.pop(0)
    else:
        raise Skip(f"a part of type {str(kind)[:40]}")


def _picture(value: str) -> Picture:
    if not value.startswith("data:"):
        return Picture(value)
    _, _, encoded = value.partition(";base64,")
    return Picture("", data=base64.b64decode(encoded, validate=True))
