"""Diagrams drawn from a spec, with questions whose answers are computed from it: six families, several kinds of question each.

Their size follows from the text in them. With `heldout` scenarios and numbers come from parts of their ranges that training never
sees.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations, pairwise

from preprocess.rows import Conversation
from preprocess.sources import diagram_specs as specs
from preprocess.sources import drawn
from preprocess.sources.canvas import LONGEST, MARGIN, Canvas, NoRoom, Style, overlap, width_of

SHARES = (50, 44, 56, 38, 62, 32, 68, 26, 74)  # where on an arrow its label may stand, percent of the way, best first


def recompute(answer: dict) -> int | str:
    return drawn.recompute(answer, FAMILIES)


def conversations(count: int, category: str, system: str, seed: int, heldout: bool = False) -> Iterator[Conversation]:
    """`count` pictures with one question each, the same for the same arguments."""

    def picture(spec: dict, rng: random.Random) -> tuple[bytes]:
        title = spec["title"] if rng.random() < 0.6 else ""
        return (draw(spec, title, Style.drawn(drawn.read("styles"), rng), rng),)

    return drawn.conversations(FAMILIES, picture, count, ("diagram", category, system), seed, heldout)


def draw(spec: dict, title: str, style: Style, rng: random.Random) -> bytes:
    """The picture of a spec as a PNG file, its text as large as still fits. Raises NoRoom when no layout is readable."""
    layout, note = FAMILIES[spec["family"]][2], drawn.read(spec["family"]).get("note", "")
    for attempt in range(30):
        try:
            return layout(spec, (title, note), replace(style, px=max(12, style.px - attempt // 3)), rng).png(rng)
        except NoRoom:
            continue
    raise NoRoom(f"{spec['family']} {title}: no readable layout")


def _timeline(spec: dict, words: tuple, style: Style, rng: random.Random) -> Canvas:
    """One line a task: a dot when it is ready, dashes while it waits, a bar while it runs; the loop itself on top."""
    tasks, px = specs.run(spec["tasks"]), style.px - 1
    names = max(1.1 * width_of(text, style.px, style.font) for text in ("event loop", "ready at 100", *spec["names"])) + 14
    plot, height = rng.uniform(400, min(860, LONGEST - 3 * MARGIN - names)), style.px * rng.uniform(2.5, 3.3)
    canvas = Canvas(style, names + plot, height * (len(tasks) + 1) + 2 * px, *words)
    left, loop, bottom = MARGIN + names, canvas.top + height / 2, canvas.top + height * (len(tasks) + 1)
    scale = (plot - 60) / tasks[-1]["end"]
    step = next(s for s in (20, 50, 100, 200, 500) if s * scale > 2 * width_of("1000", px, style.font))
    for tick in range(0, tasks[-1]["end"] + 1, step):
        canvas.line([(left + tick * scale, canvas.top), (left + tick * scale, bottom)], "soft", 0.6)
        canvas.text(left + tick * scale, bottom + px, f"{tick}" if tick else "0 ms", px)
    fills = rng.sample(style.palette["fills"], len(style.palette["fills"]))
    canvas.text(left - 12, loop, "event loop", align="right", bold=True)
    for number, t in enumerate(tasks):
        y, start, end = loop + height * (number + 1), left + t["start"] * scale, left + t["end"] * scale
        canvas.text(left - 12, y - px * 0.6, t["name"], align="right")
        canvas.text(left - 12, y + px * 0.7, f"ready at {t['ready']}", px, "right", "soft")
        for lane in (loop, y):
            canvas.box((start + end) / 2, lane, end - start, height * 0.56, fills[number % len(fills)], corner=0)
        canvas.line([(left + t["ready"] * scale, y), (start, y)], dashed=True)
        canvas.box(left + t["ready"] * scale, y, 8, 8, "alarm", corner=4)
        canvas.text(end + 5, y, f"{t['ms']} ms", px, "left")
    return canvas


def _sequence(spec: dict, words: tuple, style: Style, rng: random.Random) -> Canvas:
    """Lifelines side by side, one arrow a message in order, its time at the left; not to scale."""
    names, messages, px = spec["names"], spec["messages"], style.px - 1
    boxes = [1.1 * width_of(name, style.px, style.font) + 20 for name in names]
    pitch = max(max(boxes) + 14, *(width_of(m["text"], px, style.font) + 30 for m in messages)) * rng.uniform(1, 1.15)
    times, step = width_of("1000 ms", px, style.font) + 12, style.px * rng.uniform(2.3, 2.9)
    canvas = Canvas(style, times + pitch * len(names), 2.6 * style.px + step * (len(messages) + 0.6), *words)
    lanes = {name: MARGIN + times + pitch * (place + 0.5) for place, name in enumerate(names)}
    fill, top = rng.choice(style.palette["fills"]), canvas.top + 2.2 * style.px
    for (name, x), wide in zip(lanes.items(), boxes, strict=True):
        canvas.line([(x, top), (x, top + step * (len(messages) + 0.5))], "soft", 1)
        canvas.box(x, top - 1.1 * style.px, wide, 2.2 * style.px, fill)
        canvas.text(x, top - 1.1 * style.px, name, colour="text", bold=True)
    for number, m in enumerate(messages, 1):
        y, start, stop, sent = top + step * number, lanes[m["from"]], lanes[m["to"]], m["style"] == "send"
        canvas.text(MARGIN, y, f"{m['at']} ms", px, "left")
        canvas.line([(start, y), (stop, y)], "alarm" if sent else "ink", dashed=m["style"] == "reply", head=True, hollow=sent)
        canvas.label([(start + (pitch if stop > start else -pitch) / 2, y - px * 0.75)], m["text"])
    return canvas


def _scene(spec: dict) -> tuple[list[list], list[tuple]]:
    """(rows of boxes, edges): a box is (name, further lines, shape), None a gap; an edge is (from, to, label)."""
    if spec["family"] == "queues":
        rows = [[(p["name"], [f"sends {p['rate']}/s"], "box") for p in spec["producers"]]]
        for s in spec["stages"]:
            rows.append([(s["name"], [f"holds {s['depth']:,} of {s['capacity']:,}"], "queue")])
            rows.append([(f"{s['name']}-worker", [f"{s['count']} running", f"{s['each']}/s each"], "round")])
        return rows, [(a[0], b[0], "") for upper, lower in pairwise(rows) for a in upper for b in lower]
    if spec["family"] == "fanout":
        root, legs = spec["root"], spec["legs"]
        rows = [[(root, [f"own work {spec['own']} ms"], "round")], [(leg["name"], [f"{leg['ms']} ms"], "box") for leg in legs]]
        rows.append([(leg["then"], [f"{leg['then_ms']} ms"], "box") if leg["then"] else None for leg in legs])
        return rows, [(root, leg["name"], "") for leg in legs] + [(g["name"], g["then"], "then") for g in legs if g["then"]]
    boxes = [(p["name"], [f"{p['count']} x {p['each']} req/s"], "box") for p in spec["parts"]]
    rows = [boxes[:1], boxes[1:2], boxes[2:5], [*boxes[5:], None, None]][: 3 + (len(boxes) > 5)]
    return rows, [(p["from"], p["name"], f"{p['share']} %") for p in spec["parts"] if p["from"]]


def _rows(spec: dict, words: tuple, style: Style, rng: random.Random) -> Canvas:
    """Rows one after another, left to right or top to bottom."""
    rows, edges = _scene(spec)
    across, slack = rng.random() < 0.5, rng.uniform(1, 1.3)  # across: rows stand as columns
    sizes = [[_size(box, style) if box else (0, 0) for box in row] for row in rows]
    labels = max(width_of(label, style.px, style.font) for _, _, label in edges)
    gap = slack * (46 + labels if across else 3.4 * style.px + 14 * bool(labels))
    deep = [max(size[not across] for size in row) for row in sizes]
    wide = max(len(row) * (max(size[across] for size in row) + slack * 20) for row in sizes)
    long = sum(deep) + gap * (len(rows) - 1)
    canvas = Canvas(style, *((long, wide) if across else (wide, long)), *words)
    places, along, left = {}, 0.0, (canvas.width - (long if across else wide)) / 2
    for row, depth in zip(rows, deep, strict=True):
        for place, box in enumerate(row):
            at, side = along + depth / 2, wide * (place + 0.5) / len(row) + rng.uniform(-3, 3)
            if box:
                places[box[0]] = (left + at, canvas.top + side) if across else (left + side, canvas.top + at)
        along += depth + gap
    _graph(canvas, [box for row in rows for box in row if box], places, edges, rng, way=(across, not across))
    return canvas


def _ring(spec: dict, words: tuple, style: Style, rng: random.Random) -> Canvas:
    """States on an ellipse, either way round, the trap anywhere between them."""
    names = spec["names"][:-1]
    names.insert(rng.randint(1, len(names)), spec["names"][-1])
    marks = {spec["names"][0]: ["start"], spec["final"]: ["final"]}
    boxes = [(name, marks.get(name, []), "round") for name in names[:: rng.choice((1, -1))]]
    widest = max(_size(box, style)[0] for box in boxes)
    rx, ry, turn = min(rng.uniform(1.9, 3) * widest, 480 - widest / 2), rng.uniform(170, 360), rng.uniform(0, math.tau)
    canvas, places = Canvas(style, 2 * rx + widest, 2 * ry + 60, *words), {}
    for place, box in enumerate(boxes):
        angle = turn + math.tau * place / len(names)
        places[box[0]] = (canvas.width / 2 + rx * math.cos(angle), canvas.top + 30 + ry * (1 + math.sin(angle)))
    _graph(canvas, boxes, places, [(e["from"], e["to"], e["event"]) for e in spec["edges"]], rng, bend=0.12)
    return canvas


def _graph(
    canvas: Canvas, boxes: list[tuple], places: dict, edges: list[tuple], rng: random.Random, bend: float = 0, way: tuple = (0, 0)
) -> None:
    """Boxes, arrows between them, labels where they cover nothing. Raises NoRoom when an arrow would cross a box.

    `way` is the direction in which rows follow each other: arrows leave a box on that side; (0, 0): wherever they point.
    """
    sizes = {box[0]: _size(box, canvas.style) for box in boxes}
    taken = {n: (x - w / 2 - 3, y - h / 2 - 3, x + w / 2 + 3, y + h / 2 + 3) for n, (x, y) in places.items() for w, h in [sizes[n]]}
    canvas.taken += taken.values()
    paths = {}
    for a, b, _ in edges:
        ends = [tuple(p + s * v * d / 2 for p, v, d in zip(places[n], way, sizes[n], strict=True)) for n, s in ((a, 1), (b, -1))]
        paths[a, b] = _path(*ends, bend, (taken[a], taken[b]))
    if any(len(path) < 5 for path in paths.values()) or any(overlap(a, b) for a, b in combinations(taken.values(), 2)):
        raise NoRoom("boxes that touch")
    if bend and any(math.dist(p, q) < 10 for p, q in combinations((path[end] for path in paths.values() for end in (0, -1)), 2)):
        raise NoRoom("two arrows that meet look like one")
    if any(overlap((*p, *p), taken[n]) for pair, path in paths.items() for n in taken if n not in pair for p in path[::3]):
        raise NoRoom("an arrow through a box")
    fills, lines = (rng.sample(canvas.style.palette[key], len(canvas.style.palette[key])) for key in ("fills", "lines"))
    lines = lines if bend and rng.random() < 0.5 else ["ink"]
    for box in boxes:
        _box(canvas, box, *places[box[0]], fills[("box", "round", "queue").index(box[2])])
    for number, (a, b, label) in enumerate(edges):
        path, others = paths[a, b], [p for key, other in paths.items() if key != (a, b) for p in other]
        canvas.line(path, lines[number % len(lines)], head=True)
        if label:
            canvas.label([path[len(path) * share // 100] for share in SHARES], label, lines[number % len(lines)], others)


def _path(a: tuple, b: tuple, bend: float, ends: tuple) -> list[tuple]:
    """Points of an arc from the border of one box to the border of another."""
    (x0, y0), (x1, y1) = a, b
    mx, my = (x0 + x1) / 2 + bend * (y1 - y0), (y0 + y1) / 2 - bend * (x1 - x0)
    weights = [((1 - t) ** 2, 2 * t * (1 - t), t * t) for t in (number / 100 for number in range(101))]
    arc = [(u * x0 + v * mx + w * x1, u * y0 + v * my + w * y1) for u, v, w in weights]
    return [point for point in arc if not any(overlap((*point, *point), end) for end in ends)]


def _size(box: tuple, style: Style) -> tuple[float, float]:
    name, lines, shape = box
    wide = max([1.08 * width_of(name, style.px, style.font)] + [width_of(line, style.px - 1, style.font) for line in lines])
    return wide + 22 + 14 * (shape != "box"), (1 + len(lines)) * style.px * 1.4 + 14


def _box(canvas: Canvas, box: tuple, x: float, y: float, fill: str) -> None:
    (name, lines, shape), (w, h), px = box, _size(box, canvas.style), canvas.style.px
    canvas.box(x, y, w, h, fill, corner={"round": h / 2.4, "queue": 0}.get(shape))
    for bar in (w / 2 - 5, w / 2 - 10, 5 - w / 2, 10 - w / 2) if shape == "queue" else ():  # slots at both ends
        canvas.line([(x + bar, y - h / 2), (x + bar, y + h / 2)], width=1)
    for number, line in enumerate((name, *lines)):
        top = y + (number - len(lines) / 2) * px * 1.4
        canvas.text(x, top, line, px - bool(number), colour="text", bold=bool(lines) and not number)


FAMILIES = {
    "timeline": (specs.timeline, specs.solve_timeline, _timeline),
    "queues": (specs.queues, specs.solve_queues, _rows),
    "fanout": (specs.fanout, specs.solve_fanout, _rows),
    "sequence": (specs.sequence, specs.solve_sequence, _sequence),
    "states": (specs.states, specs.solve_states, _ring),
    "architecture": (specs.architecture, specs.solve_architecture, _rows),
}
