"""Texts of a stream that come within a moment, made one piece: LiteLLM's work is by the piece."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Iterator
from typing import Any

import httpx

PAUSE_SECONDS = 0.1  # between two readings of a stream
EVENT = {"id", "object", "created", "model", "system_fingerprint", "choices"}
CHOICE = {"index", "delta"}
TEXTS = {"content", "reasoning", "reasoning_content"}


async def gather(response: httpx.Response) -> None:
    """A hook of httpx: let a streamed reply be read in larger pieces."""
    kind = response.headers.get("content-type", "")
    if kind.startswith("text/event-stream") and "content-encoding" not in response.headers:
        response.stream = Gathered(response.stream)


class Gathered(httpx.AsyncByteStream):
    """Server-sent events, of which all that lie ready are read at once, a few times a second."""

    def __init__(self, stream: Any):
        self.stream = stream

    async def __aiter__(self) -> AsyncGenerator[bytes]:
        rest = b""
        async for block in self.stream:
            *lines, rest = (rest + block).split(b"\n")
            yield b"".join(line + b"\n" for line in joined(lines))
            if b"data: [DONE]" not in lines:
                await asyncio.sleep(PAUSE_SECONDS)
        yield rest

    async def aclose(self) -> None:
        await self.stream.aclose()


def joined(lines: list[bytes]) -> Iterator[bytes]:
    """The lines of events, with texts of one kind that follow each other in one event.

    Only events that hold nothing but a text are joined; all else stays as it came.
    """
    waiting: tuple[tuple[int, str], dict] | None = None  # (choice and name of its text, event)
    for line in lines:
        event = _event(line)
        place = _text_in(event)
        if place and waiting and place == waiting[0]:
            _delta(waiting[1])[place[1]] += _delta(event)[place[1]]
            continue
        if waiting and line.strip():
            yield _line(waiting[1])
            waiting = None
        if place:
            waiting = place, event
        elif line.strip():
            yield line
    if waiting:
        yield _line(waiting[1])


def _event(line: bytes) -> Any:
    try:
        return json.loads(line.removeprefix(b"data:"))
    except ValueError:
        return None


def _line(event: dict) -> bytes:
    return b"data: " + json.dumps(event).encode() + b"\n"


def _text_in(event: Any) -> tuple[int, str] | None:
    """(choice, name) of the text that is all an event holds."""
    try:
        [choice] = event["choices"]
        [name] = _filled(choice["delta"]) - {"role"}
        if _filled(event) <= EVENT and _filled(choice) <= CHOICE and name in TEXTS:
            return choice["index"], name
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
    return None


def _delta(event: dict) -> dict:
    return event["choices"][0]["delta"]


def _filled(part: dict) -> set[str]:
    return {name for name, value in part.items() if value is not None}
