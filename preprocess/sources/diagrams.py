"""Diagrams drawn from a spec, with questions whose answers are computed from it: six families, several kinds of question each.

Their size follows from the text in them. With `heldout` scenarios and numbers come from parts of their ranges that training never
sees.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import pairwise

from preprocess.rows import Conversation
from preprocess.sources import diagram_specs as specs
from preprocess.sources import drawn
from preprocess.sources.canvas import LONGEST, MARGIN, Canvas, NoRoom, Style, width_of


def conversations(
    count: int, category: str, system: str, seed: int, heldout: bool = False
) -> Iterator[Conversation]:
    """`count` pictures with one question each, the same for the same arguments."""

    def picture(spec: dict, rng: random.Random) -> tuple[bytes]:
        title = spec["title"] if rng.random() < 0.6 else ""
        return (draw(spec, title, Style.drawn(drawn.read("styles"), rng), rng),)

    return drawn.conversations(
        FAMILIES, picture, count, ("diagram", category, system), seed, heldout
    )


def draw(spec: dict, title: str, style: Style, rng: random.Random) -> bytes:
    """The picture of a spec as a PNG file, its text as large as still fits. Raises NoRoom when no layout is readable."""
    layout, note = FAMILIES[spec["family"]][2], drawn.read(spec["family"]).get("note", "")
    for px in range(style.px, 11, -1):
        with suppress(NoRoom):
            return layout(spec, (title, note), replace(style, px=px), rng).png(rng)
    raise NoRoom(f"{spec['family']} {title}: no readable layout")


def _timeline(spec: dict, words: tuple, style: Style, rng: random.Random) -> Canvas:
    """One line a task: a dot when it is ready, dashes while it waits, a bar while it runs; the loop itself on top."""
    tasks, px, fills = specs.run(spec["tasks"]), style.px - 1, style.palette["fills"]
    names = (
        max(
            1.1 * width_of(text, style.px, style.font)
            for text in ("event loop", "ready at 100", *spec["names"])
        )
        + 14
    )
    plot, height = (
        rng.uniform(400, min(860, LONGEST - 3 * MARGIN - names)),
        style.px * rng.uniform(2.5, 3.3),
    )
    canvas = Canvas(style, names + plot, height * (len(tasks) + 1) + 2 * px, *words)
    left, loop, scale = MARGIN + names, canvas.top + height / 2, (plot - 60) / tasks[-1]["end"]
    for tick in range(0, tasks[-1]["end"] + 1, 50 if scale > 1.5 else 200):
        canvas.line(
            [
                (left + tick * scale, canvas.top),
                (left + tick * scale, loop + height * (len(tasks) + 0.5)),
            ],
            "soft",
            0.6,
        )
        canvas.text(left + tick * scale, loop + height * (len(tasks) + 0.5) + px, f"{tick} ms", px)
    canvas.text(left - 12, loop, "event loop", align="right", bold=True)
    for number, t in enumerate(tasks, 1):
        y, ready, start, end = (
            loop + height * number,
            *(left + t[key] * scale for key in ("ready", "start", "end")),
        )
        canvas.text(left - 12, y - px * 0.6, t["name"], align="right")
        canvas.text(left - 12, y + px * 0.7, f"ready at {t['ready']}", px, "right", "soft")
        for lane in (loop, y):
            canvas.box(
                (start + end) / 2,
                lane,
                end - start,
                height * 0.56,
                fills[number % len(fills)],
                corner=0,
            )
        canvas.line([(ready, y), (start, y)], dashed=True)
        canvas.box(ready, y, 8, 8, "alarm", corner=4)
        canvas.text(end + 5, y, f"{t['ms']} ms", px, "left")
    return canvas


def _sequence(spec: dict, words: tuple, style: Style, rng: random.Random) -> Canvas:
    """Lifelines side by side, one arrow a message in order, its time at the left; not to scale."""
    names, messages, px = spec["names"], spec["messages"], style.px - 1
    boxes = [1.1 * width_of(name, style.px, style.font) + 20 for name in names]
    pitch = max(
        max(boxes) + 14, *(width_of(m["text"], px, style.font) + 30 for m in messages)
    ) * rng.uniform(1, 1.15)
    times, step = width_of("1000 ms", px, style.font) + 12, style.px * rng.uniform(2.3, 2.9)
    canvas = Canvas(
        style, times + pitch * len(names), 2.6 * style.px + step * (len(messages) + 0.6), *words
    )
    lanes = {name: MARGIN + times + pitch * (place + 0.5) for place, name in enumerate(names)}
    fill, top = rng.choice(style.palette["fills"]), canvas.top + 2.2 * style.px
    for (name, x), wide in zip(lanes.items(), boxes, strict=True):
        canvas.line([(x, top), (x, top + step * (len(messages) + 0.5))], "soft", 1)
        canvas.box(x, top - 1.1 * style.px, wide, 2.2 * style.px, fill)
        canvas.text(x, top - 1.1 * style.px, name, colour="text", bold=True)
    for number, m in enumerate(messages, 1):
        y, start, stop, sent = (
            top + step * number,
            lanes[m["from"]],
            lanes[m["to"]],
            m["style"] == "send",
        )
        canvas.text(MARGIN, y, f"{m['at']} ms", px, "left")
        canvas.line(
            [(start, y), (stop, y)],
            "alarm" if sent else "ink",
            dashed=m["style"] == "reply",
            head=True,
            hollow=sent,
        )
        canvas.plate(start + (pitch if stop > start else -pitch) / 2, y - px * 0.75, m["text"])
    return canvas


def _rows(spec: dict) -> tuple[list[list[tuple]], list[tuple]]:
    """(rows of boxes as (name, further lines, shape), no name where a place stays empty; arrows as (from, to, label))."""
    if spec["family"] == "queues":
        rows = [[(p["name"], [f"sends {p['rate']}/s"], "box") for p in spec["producers"]]]
        for s in spec["stages"]:
            rows.append([(s["name"], [f"holds {s['depth']:,} of {s['capacity']:,}"], "queue")])
            rows.append(
                [(f"{s['name']}-worker", [f"{s['count']} running", f"{s['each']}/s each"], "round")]
            )
        return rows, [
            (a[0], b[0], "") for upper, lower in pairwise(rows) for a in upper for b in lower
        ]
    if spec["family"] == "fanout":
        root, legs = spec["root"], spec["legs"]
        rows = [
            [(root, [f"own work {spec['own']} ms"], "round")],
            [(leg["name"], [f"{leg['ms']} ms"], "box") for leg in legs],
        ]
        rows.append([(leg["then"], [f"{leg['then_ms']} ms"], "box") for leg in legs])
        return rows, [(root, leg["name"], "") for leg in legs] + [
            (g["name"], g["then"], "then") for g in legs if g["then"]
        ]
    parts = [(p["name"], [f"{p['count']} x {p['each']} req/s"], "box") for p in spec["parts"]]
    rows = [parts[:1], parts[1:2], parts[2:5], [*parts[5:], ("", [], ""), ("", [], "")]][
        : 3 + (len(parts) > 5)
    ]
    return rows, [(p["from"], p["name"], f"{p['share']} %") for p in spec["parts"] if p["from"]]


def _tree(spec: dict, words: tuple, style: Style, rng: random.Random) -> Canvas:
    """Rows of boxes from top to bottom or from left to right; an arrow goes from one row to the next, so it meets no third box."""
    (rows, edges), across, slack = _rows(spec), rng.random() < 0.5, rng.uniform(1, 1.3)
    boxes = {box[0]: box for row in rows for box in row if box[0]}
    sizes = {name: _size(box, style) for name, box in boxes.items()}
    (wide, high), label = (
        map(max, zip(*sizes.values(), strict=True)),
        max(width_of(e[2], style.px, style.font) for e in edges),
    )
    beside, along = (
        max(wide + 20, 2 * label + 16) * slack,
        high + slack * (3.4 * style.px + 14 * bool(label)),
    )
    if across:
        beside, along = high + 24 * slack, wide + slack * (46 + label)
    breadth, depth = beside * (max(map(len, rows)) - 1), along * (len(rows) - 1)
    canvas = Canvas(
        style,
        *((depth + wide, breadth + high) if across else (breadth + wide, depth + high)),
        *words,
    )
    middle, places = (canvas.top + (breadth + high) / 2) if across else canvas.width / 2, {}
    first = (canvas.width - depth) / 2 if across else canvas.top + high / 2
    for number, row in enumerate(rows):
        for place, (name, *_) in enumerate(row):
            u, v = middle + (place - (len(row) - 1) / 2) * beside, first + number * along
            places[name] = (v, u) if across else (u, v)
    fills = dict(zip(("box", "round", "queue"), rng.sample(style.palette["fills"], 3), strict=True))
    for name, box in boxes.items():
        _box(canvas, box, *places[name], *sizes[name], fills[box[2]])
    for a, b, words_on_it in edges:
        axis = 0 if across else 1
        start, end = list(places[a]), list(places[b])
        start[axis] += sizes[a][axis] / 2 + 3
        end[axis] -= sizes[b][axis] / 2 + 4
        canvas.line([start, end], head=True)
        if words_on_it:
            canvas.plate((start[0] + end[0]) / 2, (start[1] + end[1]) / 2, words_on_it)
    return canvas


def _states(spec: dict, words: tuple, style: Style, rng: random.Random) -> Canvas:
    """States in a row; arcs forward above it, backward below, the higher the further they go, so no label meets another arc."""
    names, marks = spec["names"][:-1], {spec["names"][0]: ["start"], spec["final"]: ["final"]}
    names.insert(
        rng.randint(1, len(names)), spec["names"][-1]
    )  # the trap anywhere between the others
    boxes = [(name, marks.get(name, []), "round") for name in names]
    sizes = [_size(box, style) for box in boxes]
    label = max(width_of(edge["event"], style.px, style.font) for edge in spec["edges"])
    pitch, high = (
        max(max(wide for wide, _ in sizes) + 14, label + 10) * rng.uniform(1, 1.1),
        max(high for _, high in sizes),
    )
    spans = [names.index(edge["to"]) - names.index(edge["from"]) for edge in spec["edges"]]
    above, below = (
        style.px * (1.6 + 3 * max(0, *(way * span for span in spans))) for way in (1, -1)
    )
    canvas = Canvas(style, pitch * len(names), above + high + below, *words)
    fill, colours = rng.choice(style.palette["fills"]), rng.sample(style.palette["lines"], 2)
    centre, left = canvas.top + above + high / 2, (canvas.width - pitch * (len(names) - 1)) / 2
    for number, (box, size) in enumerate(zip(boxes, sizes, strict=True)):
        _box(canvas, box, left + pitch * number, centre, *size, fill)
    labels = []
    for number, (edge, span) in enumerate(zip(spec["edges"], spans, strict=True)):
        a, b, way = names.index(edge["from"]), names.index(edge["to"]), 1 if span > 0 else -1
        aside, rise = (
            way * pitch * (0.22 - 0.05 * abs(span)),
            way * style.px * (0.8 + 3 * abs(span)),
        )  # a longer arc begins outside
        (x0, y0), (x1, y1) = (
            (left + pitch * n + off, centre - way * (sizes[n][1] / 2 + 4))
            for n, off in ((a, aside), (b, -aside))
        )
        curve = [
            (3 * t**2 - 2 * t**3, t, 4 * t * (1 - t)) for t in (step / 40 for step in range(41))
        ]
        points = [(x0 + u * (x1 - x0), y0 + t * (y1 - y0) - rise * up) for u, t, up in curve]
        canvas.line(points, colours[number % 2], head=True)
        labels.append((*points[20], edge["event"], colours[number % 2]))
    for label in labels:
        canvas.plate(*label)
    return canvas


def _size(box: tuple, style: Style) -> tuple[float, float]:
    name, lines, shape = box
    wide = max(
        [1.08 * width_of(name, style.px, style.font)]
        + [width_of(line, style.px - 1, style.font) for line in lines]
    )
    return wide + 22 + 14 * (shape != "box"), (1 + len(lines)) * style.px * 1.4 + 14


def _box(canvas: Canvas, box: tuple, x: float, y: float, w: float, h: float, fill: str) -> None:
    (name, lines, shape), px = box, canvas.style.px
    canvas.box(x, y, w, h, fill, corner={"round": h / 2.4, "queue": 0}.get(shape))
    for bar in (
        (w / 2 - 5, w / 2 - 10, 5 - w / 2, 10 - w / 2) if shape == "queue" else ()
    ):  # slots at both ends
        canvas.line([(x + bar, y - h / 2), (x + bar, y + h / 2)], width=1)
    for number, line in enumerate((name, *lines)):
        top = y + (number - len(lines) / 2) * px * 1.4
        canvas.text(x, top, line, px - bool(number), colour="text", bold=bool(lines) and not number)


LAYOUTS = {
    "timeline": _timeline,
    "sequence": _sequence,
    "states": _states,
    "queues": _tree,
    "fanout": _tree,
    "architecture": _tree,
}
FAMILIES = {
    name: (getattr(specs, name), getattr(specs, f"solve_{name}"), layout)
    for name, layout in LAYOUTS.items()
}
recompute = partial(drawn.recompute, FAMILIES)
