"""Drawing a spec: boxes and arrows in rows or on a ring; the size follows from the text."""

from __future__ import annotations

import math
import random
from itertools import combinations, pairwise

from preprocess.sources import diagram_charts as charts
from preprocess.sources.canvas import Canvas, NoRoom, Style, overlap, width_of

SHARES = (50, 44, 56, 38, 62, 32, 68, 26, 74)  # where on an arrow its label may stand, percent of the way, best first


def draw(spec: dict, title: str, style: Style, rng: random.Random) -> bytes:
    """The picture of a spec as a PNG file, its text as large as still fits. Raises NoRoom when no layout is readable."""
    layout = {"timeline": charts.timeline, "sequence": charts.sequence, "states": _ring}.get(spec["family"], _rows)
    for attempt in range(30):
        try:
            return layout(spec, title, style, rng).png(rng)
        except NoRoom:
            style = style.smaller() if attempt % 3 == 2 else style
    raise NoRoom(f"{spec['family']} {title}: no readable layout")


def _scene(spec: dict) -> tuple[list[list], list[tuple], str]:
    """(rows of boxes, edges, note): a box is (name, further lines, shape), None a gap; an edge is (from, to, label)."""
    if spec["family"] == "queues":
        rows = [[(p["name"], [f"sends {p['rate']}/s"], "box") for p in spec["producers"]]]
        for s in spec["stages"]:
            rows.append([(s["name"], [f"holds {s['depth']:,} of {s['capacity']:,}"], "queue")])
            rows.append([(f"{s['name']}-worker", [f"{s['count']} running", f"{s['each']}/s each"], "round")])
        return rows, [(a[0], b[0], "") for upper, lower in pairwise(rows) for a in upper for b in lower], ""
    if spec["family"] == "fanout":
        root, legs = spec["root"], spec["legs"]
        rows = [[(root, [f"own work {spec['own']} ms"], "round")], [(leg["name"], [f"{leg['ms']} ms"], "box") for leg in legs]]
        rows.append([(leg["then"], [f"{leg['then_ms']} ms"], "box") if leg["then"] else None for leg in legs])
        edges = [(root, leg["name"], "") for leg in legs] + [(leg["name"], leg["then"], "then") for leg in legs if leg["then"]]
        return rows, edges, f"{root} starts all its calls at once; then: after that"
    boxes = [(p["name"], [f"{p['count']} x {p['each']} req/s"], "box") for p in spec["parts"]]
    rows = [boxes[:1], boxes[1:2], boxes[2:5], [*boxes[5:], None, None]]
    edges = [(p["from"], p["name"], f"{p['share']} %") for p in spec["parts"] if p["from"]]
    return rows[: 3 + (len(boxes) > 5)], edges, "copies x req/s of each copy;  %: share of the requests that go on"


def _size(box: tuple, style: Style) -> tuple[float, float]:
    name, lines, shape = box
    wide = max([1.08 * width_of(name, style.px, style.font)] + [width_of(line, style.px - 1, style.font) for line in lines])
    return wide + 22 + 14 * (shape != "box"), (1 + len(lines)) * style.px * 1.4 + 14


def _box(canvas: Canvas, box: tuple, x: float, y: float, fill: str) -> None:
    (name, lines, shape), (w, h), px = box, _size(box, canvas.style), canvas.style.px
    canvas.box(x, y, w, h, fill, corner={"round": h / 2.4, "queue": 0}.get(shape))
    for bar in (w / 2 - 5, w / 2 - 10, 5 - w / 2, 10 - w / 2) if shape == "queue" else ():  # slots at both ends
        canvas.line([(x + bar, y - h / 2), (x + bar, y + h / 2)], width=1)
    top = y - len(lines) * px * 0.7
    canvas.text(x, top, name, colour="text", bold=bool(lines))
    for number, line in enumerate(lines, 1):
        canvas.text(x, top + number * px * 1.4, line, px - 1, colour="text")


def _rows(spec: dict, title: str, style: Style, rng: random.Random) -> Canvas:
    """Rows one after another, left to right or top to bottom, sometimes backwards."""
    rows, edges, note = _scene(spec)
    across, back, slack = rng.random() < 0.5, rng.random() < 0.12, rng.uniform(1, 1.3)  # across: rows stand as columns
    sizes = [[_size(box, style) if box else (0, 0) for box in row] for row in rows]
    labels = max(width_of(label, style.px, style.font) for _, _, label in edges)
    gap = slack * (46 + labels if across else 3.4 * style.px + 14 * bool(labels))
    deep = [max(size[not across] for size in row) for row in sizes]
    wide = max(len(row) * (max(size[across] for size in row) + slack * 20) for row in sizes)
    long = sum(deep) + gap * (len(rows) - 1)
    canvas = Canvas(style, *((long, wide) if across else (wide, long)), title, note)
    left = (canvas.width - (long if across else wide)) / 2
    places, along = {}, 0.0
    for row, depth in zip(rows, deep, strict=True):
        at = long - along - depth / 2 if back else along + depth / 2
        for place, box in enumerate(row):
            side = wide * (place + 0.5) / len(row) + rng.uniform(-3, 3)
            if box:
                places[box[0]] = (left + at, canvas.top + side) if across else (left + side, canvas.top + at)
        along += depth + gap
    way = -1 if back else 1
    _graph(canvas, [box for row in rows for box in row if box], places, edges, rng, way=(way * across, way * (not across)))
    return canvas


def _ring(spec: dict, title: str, style: Style, rng: random.Random) -> Canvas:
    """States on an ellipse, either way round, the trap anywhere between them."""
    names = spec["names"][:-1]
    names.insert(rng.randint(1, len(names)), spec["names"][-1])
    names = names[:: rng.choice((1, -1))]
    marks = {spec["names"][0]: ["start"], spec["final"]: ["final"]}
    boxes = [(name, marks.get(name, []), "round") for name in names]
    widest = max(_size(box, style)[0] for box in boxes)
    rx, ry, turn = min(rng.uniform(1.9, 3) * widest, 480 - widest / 2), rng.uniform(170, 360), rng.uniform(0, math.tau)
    canvas = Canvas(style, 2 * rx + widest, 2 * ry + 60, title, "an event without an arrow changes nothing")
    places = {}
    for place, name in enumerate(names):
        angle = turn + math.tau * place / len(names)
        places[name] = (canvas.width / 2 + rx * math.cos(angle), canvas.top + 30 + ry * (1 + math.sin(angle)))
    _graph(canvas, boxes, places, [(e["from"], e["to"], e["event"]) for e in spec["edges"]], rng, bend=0.12)
    return canvas


def _graph(
    canvas: Canvas, boxes: list[tuple], places: dict, edges: list[tuple], rng: random.Random, bend: float = 0, way: tuple = (0, 0)
) -> None:
    """Boxes, arrows between them, labels where they cover nothing. Raises NoRoom when an arrow would cross a box.

    `way` is the direction in which rows follow each other: arrows leave a box on that side; (0, 0): wherever they point.
    """
    sizes, taken = {box[0]: _size(box, canvas.style) for box in boxes}, {}
    for name, (x, y) in places.items():
        w, h = sizes[name]
        taken[name] = (x - w / 2 - 3, y - h / 2 - 3, x + w / 2 + 3, y + h / 2 + 3)
    if any(overlap(taken[a], taken[b]) for a in taken for b in taken if a < b):
        raise NoRoom("boxes")
    canvas.taken += taken.values()
    paths = {}
    for a, b, _ in edges:
        ends = [tuple(p + s * v * d / 2 for p, v, d in zip(places[n], way, sizes[n], strict=True)) for n, s in ((a, 1), (b, -1))]
        paths[a, b] = _path(*ends, bend, (taken[a], taken[b]))
    if any(len(path) < 5 for path in paths.values()):
        raise NoRoom("an arrow without length")
    if bend and any(math.dist(p, q) < 10 for p, q in combinations((path[end] for path in paths.values() for end in (0, -1)), 2)):
        raise NoRoom("two arrows that meet look like one")
    if any(overlap((*p, *p), taken[n]) for pair, path in paths.items() for n in taken if n not in pair for p in path[::3]):
        raise NoRoom("an arrow through a box")
    spots = []
    for a, b, label in edges:
        path, others = paths[a, b], [p for key, other in paths.items() if key != (a, b) for p in other]
        spots.append(canvas.spot([path[len(path) * share // 100] for share in SHARES], label, others) if label else None)
    fills, lines = (rng.sample(canvas.style.palette[key], len(canvas.style.palette[key])) for key in ("fills", "lines"))
    lines = lines if bend and rng.random() < 0.5 else ["ink"]
    for box in boxes:
        _box(canvas, box, *places[box[0]], fills[("box", "round", "queue").index(box[2])])
    for number, (a, b, _) in enumerate(edges):
        canvas.arrow(paths[a, b], lines[number % len(lines)])
    for number, (_, _, label) in enumerate(edges):
        if label:
            canvas.label(*spots[number], label, lines[number % len(lines)])


def _path(a: tuple, b: tuple, bend: float, ends: tuple) -> list[tuple]:
    """Points of an arc from the border of one box to the border of another."""
    (x0, y0), (x1, y1) = a, b
    mx, my = (x0 + x1) / 2 + bend * (y1 - y0), (y0 + y1) / 2 - bend * (x1 - x0)
    weights = [((1 - t) ** 2, 2 * t * (1 - t), t * t) for t in (number / 100 for number in range(101))]
    arc = [(u * x0 + v * mx + w * x1, u * y0 + v * my + w * y1) for u, v, w in weights]
    return [point for point in arc if not any(overlap((*point, *point), end) for end in ends)]
