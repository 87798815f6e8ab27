"""Clips sampled by time into 4-6 pictures, with a question about what changed: a person's own mp4
files, and rendered ones.

A clip of one's own is `<name>.mp4` beside `<name>.yaml` with the fields of Sidecar. A rendered one
shows a screen that changes, and is drawn from a spec (see drawn).
"""

import random
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Literal

import av
from pydantic import Field

from common.pictures import png
from preprocess.generators import drawn
from preprocess.generators.canvas import Canvas, Style
from preprocess.generators.clip_families import clip_board, clip_depth
from preprocess.generators.clips import encoded_clip, sampled
from preprocess.rows import Conversation, Skip, Turn
from preprocess.source import Context, MixError, Part, load

FAMILIES = {"clip_depth": clip_depth, "clip_board": clip_board}


class Config(drawn.Drawing):
    """The folder with the families' words and the one with clips of one's own, relative to the
    dataset's.
    """

    kind: Literal["video"]
    path: str = "diagrams"
    clips: str = ""


class Sidecar(Part):
    """What is asked about a clip of one's own, and the part of it (seconds) to look at."""

    question: str = Field(min_length=1)
    reasoning: str = Field(min_length=1)
    answer: str = Field(min_length=1)
    frames: int = Field(5, ge=4, le=6)
    start: float = Field(0, ge=0)
    end: float | None = None


def conversations(config: Config, context: Context) -> Iterator[Conversation | Skip]:
    """The clips of one's own, unless for evaluation; then rendered ones, the same for the same
    arguments.
    """
    if config.clips and not context.heldout:
        for path in sorted(context.path(config.clips).glob("*.mp4")):
            yield _own_or_skip(path)
    folder = context.path(config.path)
    series = drawn.Series("video", FAMILIES, partial(_frames, folder), folder)
    yield from series.conversations(config, context)


def recompute(answer: dict, config: Config, context: Context) -> int | float | str:
    """The value of an answer, computed again from the spec it holds."""
    return drawn.recompute(FAMILIES, answer)


def _own_or_skip(path: Path) -> Conversation | Skip:
    try:
        turn = _own(path)
    except (MixError, ValueError, OSError, av.FFmpegError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        return Skip(f"{path.name}: {' '.join(reason.split())}")
    return Conversation(
        id=f"clip-{path.stem}",
        origin="conversation",
        turns=(turn,),
        tags=("own-clip",),
    )


def _own(path: Path) -> Turn:
    """What is asked about a person's own clip.

    Raises MixError, ValueError, OSError or FFmpegError where it can't be used.
    """
    beside = path.with_suffix(".yaml")
    if path.is_symlink() or beside.is_symlink():
        raise Skip("a link; put the file itself into the folder")
    sidecar: Sidecar = load(beside, Sidecar)
    with av.open(str(path), format="mp4") as container:
        length = (container.duration or 0) / av.time_base
    start = sidecar.start
    end = min(sidecar.end or length, length)
    if start >= end:
        raise Skip(f"nothing between {start:g} s and {end:g} s")
    share = (end - start) / sidecar.frames
    times = [start + share * (place + 0.5) for place in range(sidecar.frames)]
    frames = tuple(png(picture) for picture in sampled(str(path), times))
    return Turn(sidecar.question, sidecar.reasoning, sidecar.answer, frames)


def _frames(folder: Path, spec: dict, rng: random.Random) -> tuple[bytes, ...]:
    """The frames of a spec, as PNG files, out of the mp4 clip rendered from it."""
    style = Style.drawn(drawn.wording(folder, "styles"), rng)
    width = rng.randint(420, 640)
    height = rng.randint(220, 320)
    times = [place * spec["every"] for place in range(spec["count"])]
    pictures = []
    for place, time in enumerate(times):
        canvas = Canvas(style, width, height, spec["title"], f"t = {time:.1f} s")
        FAMILIES[spec["family"]].paint(canvas, spec, place, height)
        pictures.append(canvas.image())
    clip = encoded_clip(pictures, spec["every"])
    return tuple(png(picture) for picture in sampled(clip, times))
