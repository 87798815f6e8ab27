"""Texts of a stream that come within a moment, made one piece: LiteLLM's work is by the piece."""

import asyncio
import json
import re
from collections.abc import AsyncGenerator, Iterator
from typing import Any

import httpx

PAUSE_SECONDS = 0.1  # between two readings of a stream
FULL = 16 * 1024  # bytes of the largest block that is read at once; more lies ready behind it
ENDED = re.compile(rb'data: ?\[DONE\]|"finish_reason": ?"')
TEXTS = {"content", "reasoning", "reasoning_content"}
# What an event may hold beside its text, where texts are joined.
EVENT = {"id", "object", "created", "model", "system_fingerprint", "choices"}
CHOICE = {"index", "delta"}


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
        ended = False
        async for block in self.stream:
            *lines, rest = (rest + block).split(b"\n")
            ended |= any(map(ENDED.search, lines))
            yield b"".join(line + b"\n" for line in joined(lines))
            if b"data: [DONE]" not in lines and len(block) < FULL:
                await asyncio.sleep(PAUSE_SECONDS)
        yield rest
        if not ended and not ENDED.search(rest):  # LiteLLM would call it whole
            raise httpx.RemoteProtocolError("the stream ended before the reply")

    async def aclose(self) -> None:
        await self.stream.aclose()


def joined(lines: list[bytes]) -> Iterator[bytes]:
    """The lines of events, with texts of one kind that follow each other in one event.

    Only events that hold nothing but a text are joined; all else stays as it came.
    """
    waiting: dict[str, Any] = {}  # the event that may get more text
    place = None
    for line in filter(bytes.strip, lines):
        event, found = _text_in(line)
        if waiting and found == place:
            waiting["choices"][0]["delta"][found[1]] += event["choices"][0]["delta"][found[1]]
            continue
        if waiting:
            yield b"data: " + json.dumps(waiting).encode()
        waiting = event
        place = found
        if not event:
            yield line
    if waiting:
        yield b"data: " + json.dumps(waiting).encode()


def _text_in(line: bytes) -> tuple[dict[str, Any], Any]:
    """(event, (choice, name) of the text that is all it holds); ({}, None) for another line."""
    try:
        event = json.loads(line.removeprefix(b"data:"))
        [choice] = event["choices"]
        [name] = _filled(choice["delta"]) - {"role"}
        if _filled(event) <= EVENT and _filled(choice) <= CHOICE and name in TEXTS:
            return event, (choice["index"], name)
    except (KeyError, TypeError, ValueError, AttributeError):
        return {}, None
    return {}, None


def _filled(part: dict[str, Any]) -> set[str]:
    return {name for name, value in part.items() if value is not None}
