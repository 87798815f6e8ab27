"""One camera's frames into Redis.

A frame is sent where enough of it differs from the last one that was sent, and at a heartbeat.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import sys
import time
from collections.abc import Iterator

import av
import numpy as np
import redis
from PIL import Image

from serving.watch.settings import SMALL, Camera, Settings, address_in
from serving.watch.streams import Frame, Streams

SILENT_SECONDS = 5.0  # without a byte, after which a camera counts as gone
LONGEST_WAIT = 8  # seconds between two tries to reach it
NOTICED = 12  # of 255: the least difference of a colour that counts
LONGEST_EDGE = 768  # pixels of a frame that is sent
QUALITY = 85


class NoVideo(OSError):
    """A stream that shows nothing."""


class Sampler:
    """What is looked at, and what was sent last."""

    def __init__(self, name: str, camera: Camera, streams: Streams):
        self.name = name
        self.camera = camera
        self.streams = streams
        self.counted = camera.counted()
        self.before: np.ndarray | None = None
        self.sent = 0.0  # seconds since 1970
        self.due = 0.0

    def look(self, frame: av.VideoFrame, now: float) -> None:
        """Send a frame if it is time to look at one and it differs."""
        if now < self.due:
            return
        every = 1 / self.camera.fps
        self.due = (self.due if now < self.due + every else now) + every
        width, height = SMALL
        small = frame.reformat(width, height, "rgb24", interpolation="AREA").to_ndarray()
        small = small.astype(np.int16)
        change = 100.0
        if self.before is not None:
            # Of any colour: grey would miss a red that turns into a green as bright.
            differs = np.abs(small - self.before).max(axis=2) > NOTICED
            change = 100 * float(differs[self.counted].mean())
        if change < self.camera.change and now - self.sent < self.camera.heartbeat_s:
            return
        picture = _jpeg(frame)
        made = Frame("", round(now, 3), round(change, 1), hashlib.sha256(picture).hexdigest())
        camera = self.camera
        self.streams.send(self.name, picture, made, camera.frames, camera.pictures_s)
        self.before = small
        self.sent = now


def _jpeg(frame: av.VideoFrame) -> bytes:
    """The frame as a JPEG file, scaled down."""
    scale = min(1, LONGEST_EDGE / max(frame.width, frame.height))
    width = round(frame.width * scale)
    height = round(frame.height * scale)
    pixels = frame.reformat(width, height, "rgb24").to_ndarray()
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=QUALITY)
    return file.getvalue()


def run(name: str, found: Settings, streams: Streams) -> None:
    """Look at a camera for ever, reaching for it again when it is gone; at a file once."""
    camera = found.cameras[name]
    url = address_in(camera.url, f"camera {name}")
    is_file = "://" not in url
    av.logging.set_level(None)  # it would write addresses
    sampler = Sampler(name, camera, streams)
    wait = 1
    while True:
        problem = "the stream ended"
        sampler.before = None  # what comes after a gap is worth a look
        try:
            streams.prepare(name)
            for frame in _frames(url, is_file):
                sampler.look(frame, time.time())
                wait = 1
            if is_file:
                return
        except (av.FFmpegError, OSError, redis.RedisError) as error:
            problem = type(error).__name__  # no more: PyAV's text holds the address
        print(f"{name}: {problem}; again in {wait} s", file=sys.stderr, flush=True)
        with contextlib.suppress(redis.RedisError):
            streams.note(name, problem=problem)
        time.sleep(wait)
        wait = min(LONGEST_WAIT, wait * 2)


def _frames(url: str, is_file: bool) -> Iterator[av.VideoFrame]:
    """The frames of a camera as they come, of a file at its own pace. Raises FFmpegError or
    NoVideo.
    """
    options = {"rtsp_transport": "tcp"} if url.startswith("rtsp") else {}
    with av.open(url, options=options, timeout=(SILENT_SECONDS, SILENT_SECONDS)) as container:
        if not container.streams.video:
            raise NoVideo
        started = time.monotonic()
        for frame in container.decode(video=0):
            if is_file:
                time.sleep(max(0, started + (frame.time or 0) - time.monotonic()))
            yield frame
