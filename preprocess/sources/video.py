"""Clips sampled by time into 4-6 pictures, with a question about what changed: rendered ones, and a person's own mp4 files.

A clip of one's own is `<name>.mp4` beside `<name>.yaml`:

    question: What happens to the second pump?
    reasoning: |-
      ...
    answer: |-
      ...
    frames: 5        # optional, 4 to 6
    start: 0.0       # optional, seconds
    end: 12.5        # optional, seconds; the clip's end where it is absent
"""

from __future__ import annotations

import io
import random
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import yaml
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from apriel.facts import LONGEST_EDGE, MAX_PIXELS
from preprocess.rows import Conversation, Skip, Turn
from preprocess.sources import clips, drawn
from preprocess.sources.canvas import FONTS, encoded

FAMILIES = {
    "clip_depth": (clips.depth, clips.solve_depth, clips.paint_depth),
    "clip_board": (clips.board, clips.solve_board, clips.paint_board),
    "clip_log": (clips.log, clips.solve_log, clips.paint_log),
}
SIZES = ((448, 256), (480, 320), (512, 288), (512, 384), (576, 320), (640, 352))
FILLS = ("#3a7bd5", "#00897b", "#8e5bd0", "#d97706")
_RATE = 2  # frames a second of a rendered clip: a screen is no film
_MOST_DECODED = 2000  # frames from a key frame to the moment wanted; a file that needs more is not read


class Sidecar(BaseModel):
    model_config = ConfigDict(extra="forbid")
    question: str = Field(min_length=1)
    reasoning: str = Field(min_length=1)
    answer: str = Field(min_length=1)
    frames: int = Field(5, ge=4, le=6)
    start: float = Field(0, ge=0)
    end: float | None = None


def recompute(answer: dict) -> int | float | str:
    return drawn.recompute(answer, FAMILIES)


def conversations(
    count: int, category: str, system: str, seed: int, heldout: bool = False, folder: Path | None = None
) -> Iterator[Conversation | Skip]:
    """The clips of `folder`, unless for evaluation; then `count` rendered ones, the same for the same arguments."""
    for path in sorted(folder.glob("*.mp4")) if folder and not heldout else ():
        try:
            yield own(path, category, system)
        except Skip as skip:
            yield skip
    yield from drawn.conversations(FAMILIES, frames, count, ("video", category, system), seed, heldout)


def frames(spec: dict, rng: random.Random) -> tuple[bytes, ...]:
    """The frames of a spec, as PNG files, out of its clip."""
    clip = io.BytesIO(rendered(spec, rng))
    return tuple(map(encoded, sampled(clip, [place * spec["every"] for place in range(spec["count"])])))


def rendered(spec: dict, rng: random.Random) -> bytes:
    """The clip of a spec as an mp4 file."""
    look = {"palette": rng.choice(drawn.read("styles")), "size": rng.choice(SIZES), "columns": rng.choice((3, 3, 4))}
    look |= {"font": rng.choice(FONTS[:4]), "fill": rng.choice(FILLS)}
    with av.open(file := io.BytesIO(), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=_RATE, options={"preset": "ultrafast", "crf": "18", "g": str(2 * _RATE)})
        (stream.width, stream.height), stream.pix_fmt = look["size"], "yuv420p"
        stream.codec_context.thread_count = 1  # the same bytes on any number of cores
        for number in range(int((spec["count"] - 1) * spec["every"] * _RATE) + 2):
            screen = clips.Screen(look, spec["title"], number / _RATE)
            FAMILIES[spec["family"]][2](screen, spec, number / _RATE)
            container.mux(stream.encode(av.VideoFrame.from_image(screen.image)))
        container.mux(stream.encode())
    return file.getvalue()


def sampled(file: io.BytesIO | str, times: list[float]) -> list[Image.Image]:
    """The picture on screen at each time (seconds from the clip's start), upright, its longest edge at most 1024 pixels.

    By timestamp, never by frame number: recordings of screens and phones have no constant rate. Raises Skip.
    """
    try:
        with av.open(file, format="mp4") as container:  # never what a file says it is: a playlist could name other files
            stream = _video(container)
            return [_shown(container, stream, time) for time in times]
    except av.FFmpegError as error:
        raise Skip(f"not a video that can be decoded: {error.strerror}") from None


def _video(container: av.container.InputContainer) -> av.VideoStream:
    if not container.streams.video:
        raise Skip("no video in the file")
    stream = container.streams.video[0]
    if not 0 < stream.width * stream.height <= MAX_PIXELS:
        raise Skip(f"frames of {stream.width}x{stream.height} pixels; at most {MAX_PIXELS:,} are decoded")
    return stream


def _shown(container: av.container.InputContainer, stream: av.VideoStream, time: float) -> Image.Image:
    """The last frame that begins at or before `time`."""
    wanted = time + float((stream.start_time or 0) * stream.time_base)
    container.seek(int(wanted / stream.time_base), stream=stream)
    shown = None
    for number, frame in enumerate(container.decode(stream)):
        if shown is not None and frame.time > wanted + 1e-6:
            break
        if number > _MOST_DECODED:
            raise Skip(f"no key frame within {_MOST_DECODED:,} frames before {time:.1f} s")
        shown = frame
    if shown is None:
        raise Skip(f"no frame at {time:.1f} s")
    picture = Image.fromarray(np.ascontiguousarray(shown.to_ndarray(format="rgb24")))
    if shown.rotation:  # a phone writes how it was held beside the pixels
        picture = picture.rotate(shown.rotation, expand=True)
    picture.thumbnail((LONGEST_EDGE, LONGEST_EDGE), Image.Resampling.LANCZOS)
    return picture


def own(path: Path, category: str, system: str) -> Conversation:
    """The conversation of a person's own clip and its sidecar. Raises Skip naming the file."""
    beside = path.with_suffix(".yaml")
    try:
        if path.is_symlink() or beside.is_symlink():
            raise Skip("a link; put the file itself into the folder")
        sidecar = Sidecar.model_validate(yaml.safe_load(beside.read_text(encoding="utf-8")))
        with av.open(str(path), format="mp4") as container:
            stream = _video(container)
            length = float((stream.duration or 0) * stream.time_base) or (container.duration or 0) / av.time_base
        end = min(sidecar.end or length, length)
        if sidecar.start >= end:
            raise Skip(f"nothing between {sidecar.start:g} s and {end:g} s")
        share = (end - sidecar.start) / sidecar.frames
        pictures = sampled(str(path), [sidecar.start + share * (place + 0.5) for place in range(sidecar.frames)])
    except (Skip, OSError, UnicodeDecodeError, yaml.YAMLError, ValidationError, av.FFmpegError) as error:
        raise Skip(f"{path.name}: {' '.join(str(error).split())}") from None
    turn = Turn(sidecar.question, sidecar.reasoning, sidecar.answer, tuple(map(encoded, pictures)))
    return Conversation(f"clip-{path.stem}", category, "conversation", system, (turn,), ("own-clip",), group=f"clip-{path.stem}")
