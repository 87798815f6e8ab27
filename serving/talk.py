"""A message asked of several models at once, and their replies as they come.

An endpoint may take the reasoning out of a reply (`reasoning`, `reasoning_content`) or leave it in
the text with the model's markers: a Reply holds both in the same form.
"""

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import httpx

from common import chat
from common.servers import Endpoint

TEMPERATURE = 0.6  # what the base's makers recommend
QUIET_SECONDS = 600  # between two pieces of a reply
EVERY = 0.15  # seconds between two looks at what has come
REPORTS_USAGE = ("cpu", "cuda")  # these say it unasked, and refuse to be asked


@dataclass(frozen=True)
class Reply:
    """A reply as far as it has come.

    Args:
        text: What the model wrote, with its markers.
        thought: Reasoning that the server took out of it.
        tokens: How many were written; None while that is not known.
        first: Seconds to the first piece.
        seconds: Until now.
        finish: Why it ended, in the server's word; "" while it goes on.
        problem: Why there is none, in words.
        model: Who wrote it, in the server's word.
    """

    text: str = ""
    thought: str = ""
    tokens: int | None = None
    first: float = 0.0
    seconds: float = 0.0
    finish: str = ""
    problem: str = ""
    model: str = ""

    @property
    def reasoning(self) -> str:
        return self.thought.strip() or chat.split(self.text).reasoning

    @property
    def answer(self) -> str:
        if self.thought:
            return chat.split(self.text).answer or self.text.strip()
        return chat.split(self.text).answer or ""

    @property
    def said(self) -> str:
        """The answer, also of a model that writes no markers; "" where it ends in its reasoning."""
        if self.answer or chat.REASONING in self.text:
            return self.answer
        return self.text.strip()

    @property
    def whole(self) -> bool:
        """Whether it came to its end: not cut off, not refused, with an answer."""
        ended = bool(self.thought) or chat.split(self.text).status == chat.COMPLETE
        return self.finish == "stop" and ended and bool(self.answer)

    @property
    def written(self) -> str:
        """The reply as the model wrote it, also where the server took it apart or it was cut."""
        if self.thought:
            text = f"{chat.REASONING}\n{self.reasoning}"
            if self.answer:
                text += f"\n{chat.BEGIN_FINAL}\n{self.answer}"
            return f"{text}\n{chat.END_FINAL}" if self.whole else text
        ends = [self.text.index(mark) for mark in chat.TURN_MARKERS if mark in self.text]
        return self.text[: min(ends, default=None)].strip()


def ask(
    endpoint: Endpoint,
    messages: list[dict],
    max_tokens: int,
    stop: threading.Event,
    quiet: float = QUIET_SECONDS,
) -> Iterator[Reply]:
    """The reply of a model, longer each time, until it ends, says nothing for `quiet` seconds or
    `stop` is set."""
    started = time.monotonic()
    body = {
        "model": endpoint.model,
        "messages": messages,
        "max_tokens": max_tokens,
        "temperature": TEMPERATURE,
        "stream": True,
        **(endpoint.extra({"temperature": TEMPERATURE}) or {}),
    }
    if endpoint.kind not in REPORTS_USAGE:
        body["stream_options"] = {"include_usage": True}
    headers = {"authorization": f"Bearer {endpoint.key}"}
    reply = Reply()
    try:
        url = f"{endpoint.url}/chat/completions"
        timeout = httpx.Timeout(min(30, quiet), read=quiet)
        with httpx.stream("POST", url, json=body, headers=headers, timeout=timeout) as response:
            if response.status_code != 200:
                said = response.read().decode(errors="replace").replace(endpoint.key, "[key]")
                yield Reply(problem=f"HTTP {response.status_code}: {' '.join(said.split())[:300]}")
                return
            for line in _lines(response):
                if stop.is_set():
                    return
                if line.startswith(b"data: {"):
                    reply = _longer(reply, json.loads(line[6:]), time.monotonic() - started)
                    yield reply
    except (httpx.HTTPError, ValueError, LookupError, TypeError, AttributeError) as error:
        yield replace(reply, problem=f"{endpoint.url}: {type(error).__name__} {error}")


def _lines(response: httpx.Response) -> Iterator[bytes]:
    """The lines of a stream. httpx would also end one at U+2028, which JSON may hold as it is."""
    rest = b""
    for block in response.iter_bytes():
        *lines, rest = (rest + block).split(b"\n")
        yield from lines
    yield rest


def _longer(reply: Reply, piece: dict, seconds: float) -> Reply:
    """The reply with one piece of the stream more."""
    reply = replace(reply, seconds=seconds, model=piece.get("model") or reply.model)
    if "error" in piece:
        return replace(reply, problem=str(piece["error"])[:300])
    if piece.get("usage"):
        reply = replace(reply, tokens=piece["usage"]["completion_tokens"])
    for choice in piece.get("choices", [])[:1]:
        delta = choice.get("delta") or {}
        thought = delta.get("reasoning") or delta.get("reasoning_content") or ""
        text = delta.get("content") or ""
        if thought or text:
            reply = replace(
                reply,
                thought=reply.thought + thought,
                text=reply.text + text,
                first=reply.first or seconds,
            )
        if choice.get("finish_reason"):
            reply = replace(reply, finish=choice["finish_reason"])
    return reply


def together(
    asked: dict[str, tuple[Endpoint, list[dict]]], max_tokens: int
) -> Iterator[dict[str, Reply]]:
    """The replies of several models to their messages, looked at a few times a second until all
    have ended. Whoever closes the iterator ends the requests.
    """
    latest = {side: Reply() for side in asked}
    stop = threading.Event()

    def follow(side: str) -> None:
        for reply in ask(*asked[side], max_tokens, stop):
            latest[side] = reply

    pool = ThreadPoolExecutor(len(asked))
    under_way = [pool.submit(follow, side) for side in asked]
    try:
        while not all(one.done() for one in under_way):
            yield dict(latest)
            time.sleep(EVERY)
    finally:
        stop.set()
        pool.shutdown(wait=False)  # a server that says nothing would hold up the next message
    for one in under_way:
        one.result()
    yield dict(latest)
