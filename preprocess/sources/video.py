"""Clips sampled by time into 4-6 pictures, with a question about what changed: rendered ones, and a person's own mp4 files.

A clip of one's own is `<name>.mp4` beside `<name>.yaml` with the fields of Sidecar. A rendered one shows a screen that changes;
its spec (see drawn) has `count` frames, `every` seconds apart, the first at 0.
"""

from __future__ import annotations

import io
import random
from collections.abc import Iterator
from fractions import Fraction
from functools import partial
from pathlib import Path

import av
import numpy as np
from PIL import Image
from pydantic import Field

from common.facts import LONGEST_EDGE, MAX_PIXELS
from preprocess import mix
from preprocess.rows import Conversation, Skip, Turn
from preprocess.sources import drawn
from preprocess.sources.canvas import Canvas, Style, encoded


class Sidecar(mix.Part):
    """What is asked about a clip of one's own, and the part of it (seconds) to look at."""

    question: str = Field(min_length=1)
    reasoning: str = Field(min_length=1)
    answer: str = Field(min_length=1)
    frames: int = Field(5, ge=4, le=6)
    start: float = Field(0, ge=0)
    end: float | None = None


def conversations(
    count: int,
    category: str,
    system: str,
    seed: int,
    heldout: bool = False,
    folder: Path | None = None,
) -> Iterator[Conversation | Skip]:
    """The clips of `folder`, unless for evaluation; then `count` rendered ones, the same for the same arguments."""
    for path in sorted(folder.glob("*.mp4")) if folder and not heldout else ():
        try:
            turn = own(path)
            yield Conversation(
                f"clip-{path.stem}", category, "conversation", system, (turn,), ("own-clip",)
            )
        except (ValueError, OSError, av.FFmpegError) as error:
            yield Skip(
                f"{path.name}: {' '.join(str(getattr(error, 'strerror', None) or error).split())}"
            )
    yield from drawn.conversations(
        FAMILIES, frames, count, ("video", category, system), seed, heldout
    )


def own(path: Path) -> Turn:
    """What is asked about a person's own clip. Raises ValueError, OSError or FFmpegError where it can't be used."""
    beside = path.with_suffix(".yaml")
    if path.is_symlink() or beside.is_symlink():
        raise Skip("a link; put the file itself into the folder")
    sidecar: Sidecar = mix.load(beside, Sidecar)
    with av.open(str(path), format="mp4") as container:
        length = (container.duration or 0) / av.time_base
    end = min(sidecar.end or length, length)
    if sidecar.start >= end:
        raise Skip(f"nothing between {sidecar.start:g} s and {end:g} s")
    share = (end - sidecar.start) / sidecar.frames
    pictures = sampled(
        str(path), [sidecar.start + share * (place + 0.5) for place in range(sidecar.frames)]
    )
    return Turn(sidecar.question, sidecar.reasoning, sidecar.answer, tuple(map(encoded, pictures)))


def sampled(file: io.BytesIO | str, times: list[float]) -> list[Image.Image]:
    """The last picture that begins at or before each time (seconds from the clip's start), upright, at most 1024 pixels long.

    By timestamp, never by frame number: recordings of screens and phones have no constant rate. Raises Skip, av.FFmpegError.
    """
    pictures = []
    with av.open(
        file, format="mp4"
    ) as container:  # never what a file says it is: a playlist could name other files
        stream = next(iter(container.streams.video), None)
        if stream is None or not 0 < stream.width * stream.height <= MAX_PIXELS:
            raise Skip(f"no video, or frames of more than {MAX_PIXELS:,} pixels")
        for time in times:
            wanted, shown = time + float((stream.start_time or 0) * stream.time_base), None
            container.seek(int(wanted / stream.time_base), stream=stream)
            for frame in container.decode(stream):
                if shown is not None and frame.time > wanted + 1e-6:
                    break
                shown = frame
            if shown is None:
                raise Skip(f"no frame at {time:.1f} s")
            picture = Image.fromarray(np.ascontiguousarray(shown.to_ndarray(format="rgb24")))
            picture = picture.rotate(
                shown.rotation, expand=True
            )  # a phone writes how it was held beside the pixels
            picture.thumbnail((LONGEST_EDGE, LONGEST_EDGE), Image.Resampling.LANCZOS)
            pictures.append(picture)
    return pictures


def frames(spec: dict, rng: random.Random) -> tuple[bytes, ...]:
    """The frames of a spec, as PNG files, out of the mp4 clip rendered from it."""
    style, width, height = (
        Style.drawn(drawn.read("styles"), rng),
        rng.randint(420, 640),
        rng.randint(220, 320),
    )
    canvases = [
        Canvas(style, width, height, spec["title"], f"t = {n * spec['every']:.1f} s")
        for n in range(spec["count"])
    ]
    size = {"width": canvases[0].width, "height": canvases[0].height, "pix_fmt": "yuv420p"}
    with av.open(file := io.BytesIO(), "w", format="mp4") as container:
        rate, options = Fraction(2, int(2 * spec["every"])), {"preset": "ultrafast", "crf": "18"}
        stream = container.add_stream("libx264", rate, options, **size)
        stream.codec_context.thread_count = 1  # the same bytes on any number of cores
        for place, canvas in enumerate(canvases):
            FAMILIES[spec["family"]][2](canvas, spec, place, height)
            container.mux(stream.encode(av.VideoFrame.from_image(canvas.image())))
        container.mux(stream.encode())
    return tuple(
        map(encoded, sampled(file, [place * spec["every"] for place in range(spec["count"])]))
    )


def _moments(d: drawn.Draw) -> dict:
    return {
        "count": d.rng.randint(4, 6),
        "every": d.rng.choice((1.5, 2.5) if d.heldout else (1, 2)),
    }


def depth(d: drawn.Draw) -> dict:
    """The gauge of a queue that turns once; at its last pace it is full or empty after a whole number of seconds."""
    spec, way, left = _moments(d), d.rng.choice((1, -1)), d.number(5, 60)
    turn, pace = d.rng.randint(1, spec["count"] - 2), way * d.number(20, 240, 4)
    rates = [-way * d.number(20, 180, 4)] * turn + [pace] * (spec["count"] - 1 - turn)
    last = d.number(200, 2000, 10) if way > 0 else -pace * left
    levels = [
        last - sum(round(rate * spec["every"]) for rate in rates[place:])
        for place in range(spec["count"])
    ]
    limit = last + pace * left if way > 0 else max(levels) + d.number(50, 900, 50)
    return {
        **spec,
        "names": d.pick("queues", 1),
        "turn": turn,
        "levels": levels,
        "limit": max(limit, *levels),
    }


def solve_depth(spec: dict) -> tuple[dict, dict]:
    levels, every, step = spec["levels"], spec["every"], spec["levels"][-1] - spec["levels"][-2]
    rate, way = round(abs(step) / every), spec["limit"] - levels[-1] if step > 0 else levels[-1]
    values = {
        "turn": spec["turn"] * every,
        "rate": rate,
        "left": way // rate if way and way % rate == 0 else None,
    }
    readings = [{"at": n * every, "level": level} for n, level in enumerate(levels)]
    facts = {
        "frames": readings,
        "before": readings[-2],
        "last": readings[-1],
        "queue": spec["names"][0],
        "way": way,
    }
    moves, goal, other = ("rises", "full", "fell") if step > 0 else ("falls", "empty", "rose")
    facts |= {"moves": moves, "goal": goal, "other": other, "step": abs(step), "per_s": rate}
    return values if min(levels) >= 0 else dict.fromkeys(values), facts


def paint_depth(canvas: Canvas, spec: dict, place: int, height: float) -> None:
    level, wide, left, y = spec["levels"][place], canvas.width - 60, 30, canvas.top + height * 0.55
    canvas.text(left, y - height * 0.35, f"{spec['names'][0]}: {level:,} messages", 22, "left")
    canvas.box(left + wide / 2, y, wide, height * 0.3, "ground", corner=0)
    full = max(2, wide * level / spec["limit"])
    canvas.box(left + full / 2, y, full, height * 0.3, canvas.style.palette["lines"][0], corner=0)
    canvas.text(left, y + height * 0.28, "0", align="left")
    canvas.text(left + wide, y + height * 0.28, f"limit {spec['limit']:,}", align="right")


def board(d: drawn.Draw) -> dict:
    """A status board on which services go down, and sometimes the first comes back."""
    spec, names = _moments(d), [*d.services(d.rng.randint(6, 8)), d.scenario["side"]]
    fallen = d.rng.sample(names, d.rng.randint(2, 5))
    fails = dict(
        zip(fallen, sorted(d.rng.choices(range(1, spec["count"]), k=len(fallen))), strict=True)
    )
    later = range(fails[fallen[0]] + 1, spec["count"])
    back = {fallen[0]: d.rng.choice(later)} if later and d.rng.random() < 0.5 else {}
    return {**spec, "names": names, "fails": fails, "back": back}


def down(spec: dict, place: int) -> list[str]:
    """The services that are down in a frame."""
    return [
        name
        for name in spec["names"]
        if spec["fails"].get(name, 99) <= place < spec["back"].get(name, 99)
    ]


def solve_board(spec: dict) -> tuple[dict, dict]:
    red = [down(spec, place) for place in range(spec["count"])]
    (first, first_at), *others = sorted(spec["fails"].items(), key=lambda failure: failure[1])
    alone = all(place > first_at for _, place in others)
    values = {
        "first": first if alone else None,
        "red": len(red[-1]),
        "back": next(iter(spec["back"]), None),
    }
    seen = [
        {"at": place * spec["every"], "red": ", ".join(names) or "none"}
        for place, names in enumerate(red)
    ]
    facts = {
        "seen": seen,
        "red_names": red[-1],
        "first": first,
        "fallen": len(spec["fails"]),
        "end": seen[-1]["at"],
    }
    return values, facts | {"count_all": len(spec["names"]), "first_at": seen[first_at]["at"]}


def paint_board(canvas: Canvas, spec: dict, place: int, height: float) -> None:
    wide, tall, red = (
        (canvas.width - 24) / 3,
        height / -(-len(spec["names"]) // 3),
        down(spec, place),
    )
    for number, name in enumerate(spec["names"]):
        x, y = 12 + wide * (number % 3 + 0.5), canvas.top + tall * (number // 3 + 0.5)
        canvas.box(x, y, wide - 10, tall - 10, "#c62828" if name in red else "#2e7d32")
        canvas.text(x, y - tall * 0.15, name, colour="#ffffff")
        canvas.text(
            x,
            y + tall * 0.15,
            "DOWN" if name in red else "up",
            canvas.style.px - 1,
            colour="#ffffff",
        )


FAMILIES = {
    "clip_depth": (depth, solve_depth, paint_depth),
    "clip_board": (board, solve_board, paint_board),
}
recompute = partial(drawn.recompute, FAMILIES)
