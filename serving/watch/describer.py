"""One camera's frames become text events.

Each of a few threads is a consumer of its own, with the same name after every start: what it had
begun when it was killed it begins again.
"""

from __future__ import annotations

import sys
import threading
import time

import redis

from common.events import SCENE, SKIPPED
from common.pictures import picture_part
from common.rows import text_parts
from serving import talk
from serving.watch.settings import Settings
from serving.watch.streams import Frame, Streams

TRIES = 3
BACKOFF_SECONDS = 1.0  # after the first try; it doubles
SAY_SECONDS = 5  # between two events of dropped frames


class Describer:
    """A camera, and who describes it."""

    def __init__(self, name: str, found: Settings, streams: Streams):
        self.name = name
        self.camera = found.cameras[name]
        self.model = found.model
        self.endpoint = found.model.endpoint()
        self.streams = streams
        tried = 4 * self.model.timeout_s + BACKOFF_SECONDS * 2**TRIES
        self.abandoned_ms = round(TRIES * tried * 1000)  # nobody works at a frame so long

    def consume(self, consumer: str) -> None:
        """Describe frames for ever, also of a Redis that goes away and comes back."""
        while True:
            try:
                self.streams.prepare(self.name)
                while True:
                    frame = self.streams.next(self.name, consumer, self.abandoned_ms)
                    if frame:
                        self._describe(frame)
            except redis.RedisError as error:
                _say(f"{consumer}: {type(error).__name__}; again in 1 s")
                time.sleep(1)

    def _describe(self, frame: Frame) -> None:
        """Turn a frame into its event."""
        picture = self.streams.picture(self.name, frame.sha256)
        if time.time() - frame.time > self.camera.stale_s:
            self._skip(frame, "stale")
        elif picture is None:
            self._skip(frame, "trimmed")
        else:
            self._ask(frame, picture)

    def _skip(self, frame: Frame, why: str, **more: str) -> None:
        self.streams.finish(self.name, frame, why, SKIPPED, {"why": why, "count": 1} | more)

    def _ask(self, frame: Frame, picture: bytes) -> None:
        """A few tries to have a picture described."""
        for number in range(TRIES):
            reply = self._reply(picture)
            if not reply.problem:
                data = {
                    "text": reply.said,
                    "whole": reply.finish == "stop",
                    "change": frame.change,
                    "model": reply.model or self.endpoint.model,
                }
                self.streams.finish(self.name, frame, "scene", SCENE, data)
                return
            _say(f"{self.name}: {reply.problem}")
            if number + 1 < TRIES:
                time.sleep(BACKOFF_SECONDS * 2**number)
        self._skip(frame, "failed", problem=reply.problem)

    def _reply(self, picture: bytes) -> talk.Reply:
        """What the model says of a picture, with a problem where it is not whole in time."""
        parts = [picture_part(picture, "jpeg"), *text_parts(self.camera.prompt)]
        messages = [{"role": "user", "content": parts}]
        seconds = self.model.timeout_s
        late = threading.Event()
        timer = threading.Timer(seconds, late.set)
        timer.start()
        asked = talk.ask(self.endpoint, messages, self.model.max_tokens, late, seconds)
        *_, reply = [talk.Reply(), *asked]
        timer.cancel()
        if reply.problem or reply.finish and reply.said:
            return reply
        ended = reply.finish or "late, or broken off"
        return talk.Reply(problem=f"{self.endpoint.url}: no description: {ended}")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def run(name: str, found: Settings, streams: Streams) -> None:
    """Describe the frames of a camera until a thread fails."""
    describer = Describer(name, found, streams)
    threads = [
        threading.Thread(target=describer.consume, args=(f"{name}-{number}",), daemon=True)
        for number in range(found.model.at_once)
    ]
    for thread in threads:
        thread.start()
    while all(thread.is_alive() for thread in threads):
        try:
            streams.say_dropped(name)
        except redis.RedisError as error:
            _say(f"{name}: {type(error).__name__}")
        time.sleep(SAY_SECONDS)
