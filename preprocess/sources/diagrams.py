"""Diagrams drawn from a spec, with questions whose answers are computed from it: six families, several kinds of question each.

Their size follows from the text in them. With `heldout` scenarios and numbers come from parts of their ranges that training never
sees.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import combinations, pairwise

from preprocess.rows import Conversation
from preprocess.sources import diagram_specs as specs
from preprocess.sources import drawn
from preprocess.sources.canvas import LONGEST, MARGIN, Canvas, NoRoom, Style, overlap, width_of

SHARES = (50, 44, 56, 38, 62, 32, 68, 26, 74)  # where on an arrow its label may stand, percent of the way, best first


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
    tasks, px, fills = specs.run(spec["tasks"]), style.px - 1, style.palette["fills"]
    names = max(1.1 * width_of(text, style.px, style.font) for text in ("event loop", "ready at 100", *spec["names"])) + 14
    plot, height = rng.uniform(400, min(860, LONGEST - 3 * MARGIN - names)), style.px * rng.uniform(2.5, 3.3)
    canvas = Canvas(style, names + plot, height * (len(tasks) + 1) + 2 * px, *words)
    left, loop, scale = MARGIN + names, canvas.top + height / 2, (plot - 60) / tasks[-1]["end"]
    for tick in range(0, tasks[-1]["end"] + 1, 50 if scale > 1.5 else 200):
        canvas.line([(left + tick * scale, canvas.top), (left + tick * scale, loop + height * (len(tasks) + 0.5))], "soft", 0.6)
        canvas.text(left + tick * scale, loop + height * (len(tasks) + 0.5) + px, f"{tick} ms", px)
    canvas.text(left - 12, loop, "event loop", align="right", bold=True)
    for number, t in enumerate(tasks, 1):
        y, ready, start, end = (loop + height * number, *(left + t[key] * scale for key in ("ready", "start", "end")))
        canvas.text(left - 12, y - px * 0.6, t["name"], align="right")
        canvas.text(left - 12, y + px * 0.7, f"ready at {t['ready']}", px, "right", "soft")
        for lane in (loop, y):
            canvas.box((start + end) / 2, lane, end - start, height * 0.56, fills[number % len(fills)], corner=0)
        canvas.line([(ready, y), (start, y)], dashed=True)
        canvas.box(ready, y, 8, 8, "alarm", corner=4)
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


def _scene(spec: dict, rng: random.Random) -> tuple[dict, list[tuple], float]:
    """({name: (further lines, shape, column, row)}, edges as (from, to, label), how much they bend)."""
    if spec["family"] == "states":
        names, turn = [*spec["names"][:-1]], rng.uniform(0, math.tau)
        names.insert(rng.randint(1, len(names)), spec["names"][-1])  # the trap anywhere between the others
        marks, boxes = {names[0]: ["start"], spec["final"]: ["final"]}, {}
        for name in names:
            turn += math.tau / len(names)
            boxes[name] = (marks.get(name, []), "round", math.cos(turn), 2.2 * math.sin(turn))
        return boxes, [(e["from"], e["to"], e["event"]) for e in spec["edges"]], 0.12
    if spec["family"] == "queues":
        rows = [[(p["name"], [f"sends {p['rate']}/s"], "box") for p in spec["producers"]]]
        for s in spec["stages"]:
            rows.append([(s["name"], [f"holds {s['depth']:,} of {s['capacity']:,}"], "queue")])
            rows.append([(f"{s['name']}-worker", [f"{s['count']} running", f"{s['each']}/s each"], "round")])
        edges = [(a[0], b[0], "") for upper, lower in pairwise(rows) for a in upper for b in lower]
    elif spec["family"] == "fanout":
        root, legs = spec["root"], spec["legs"]
        rows = [[(root, [f"own work {spec['own']} ms"], "round")], [(leg["name"], [f"{leg['ms']} ms"], "box") for leg in legs]]
        rows.append([(leg["then"], [f"{leg['then_ms']} ms"], "box") for leg in legs])
        edges = [(root, leg["name"], "") for leg in legs] + [(g["name"], g["then"], "then") for g in legs if g["then"]]
    else:
        parts = [(p["name"], [f"{p['count']} x {p['each']} req/s"], "box") for p in spec["parts"]]
        rows = [parts[:1], parts[1:2], parts[2:5], [*parts[5:], ("", [], ""), ("", [], "")]]
        edges = [(p["from"], p["name"], f"{p['share']} %") for p in spec["parts"] if p["from"]]
    places = ((box, place - (len(row) - 1) / 2, number) for number, row in enumerate(rows) for place, box in enumerate(row))
    return {name: (lines, shape, side, along) for (name, lines, shape), side, along in places if name}, edges, 0


def _graph(spec: dict, words: tuple, style: Style, rng: random.Random) -> Canvas:
    """Boxes, arrows between them, labels where they cover nothing. Raises NoRoom when an arrow would cross a box."""
    boxes, edges, bend = _scene(spec, rng)
    sizes = {name: _size(name, box, style) for name, box in boxes.items()}
    widest, highest = (max(edge) for edge in zip(*sizes.values(), strict=True))
    label, slack = max(width_of(edge[2], style.px, style.font) for edge in edges), rng.uniform(1, 1.3)
    cell = (widest + slack * 20, highest + slack * (3.4 * style.px + 14 * bool(label)))
    if bend:
        cell = (min(rng.uniform(1.9, 3) * widest, 480 - widest / 2), rng.uniform(80, 160))
    elif rng.random() < 0.5:  # rows stand as columns
        boxes = {name: (lines, shape, row, column) for name, (lines, shape, column, row) in boxes.items()}
        cell = (widest + slack * (46 + label), highest + slack * 20)
    us, vs = ([box[axis] * cell[axis - 2] for box in boxes.values()] for axis in (2, 3))
    canvas = Canvas(style, max(us) - min(us) + widest, max(vs) - min(vs) + highest + 10, *words)
    left, top = (canvas.width - max(us) - min(us)) / 2, canvas.top + highest / 2 + 5 - min(vs)
    places = {name: (left + u, top + v + rng.uniform(-3, 3)) for name, u, v in zip(boxes, us, vs, strict=True)}
    half = {name: (w / 2 + 3, h / 2 + 3) for name, (w, h) in sizes.items()}
    taken = {n: (x - half[n][0], y - half[n][1], x + half[n][0], y + half[n][1]) for n, (x, y) in places.items()}
    canvas.taken += taken.values()
    paths = {(a, b): _path(places[a], places[b], bend, (taken[a], taken[b])) for a, b, _ in edges}
    ends = [path[end] for path in paths.values() for end in (0, -1) if path]
    through = (overlap((*p, *p), taken[n]) for pair, path in paths.items() for n in taken if n not in pair for p in path[::3])
    if any(len(path) < 5 for path in paths.values()) or any(overlap(a, b) for a, b in combinations(taken.values(), 2)):
        raise NoRoom("boxes that touch")
    if any(through) or bend and any(math.dist(p, q) < 10 for p, q in combinations(ends, 2)):
        raise NoRoom("an arrow through a box, or two that meet and look like one")
    fills, lines = rng.sample(style.palette["fills"], 3), rng.sample(style.palette["lines"], 2) if bend else ["ink"]
    for name, box in boxes.items():
        _box(canvas, name, box, *places[name], *sizes[name], fills[("box", "round", "queue").index(box[1])])
    for number, (a, b, label) in enumerate(edges):
        path, others = paths[a, b], [p for key, other in paths.items() if key != (a, b) for p in other]
        canvas.line(path, lines[number % len(lines)], head=True)
        if label:
            canvas.label([path[len(path) * share // 100] for share in SHARES], label, lines[number % len(lines)], others)
    return canvas


def _path(a: tuple, b: tuple, bend: float, ends: tuple) -> list[tuple]:
    """Points of an arc from the border of one box to the border of another."""
    (x0, y0), (x1, y1) = a, b
    mx, my = (x0 + x1) / 2 + bend * (y1 - y0), (y0 + y1) / 2 - bend * (x1 - x0)
    weights = [((1 - t) ** 2, 2 * t * (1 - t), t * t) for t in (number / 100 for number in range(101))]
    arc = [(u * x0 + v * mx + w * x1, u * y0 + v * my + w * y1) for u, v, w in weights]
    return [point for point in arc if not any(overlap((*point, *point), end) for end in ends)]


def _size(name: str, box: tuple, style: Style) -> tuple[float, float]:
    wide = max([1.08 * width_of(name, style.px, style.font)] + [width_of(line, style.px - 1, style.font) for line in box[0]])
    return wide + 22 + 14 * (box[1] != "box"), (1 + len(box[0])) * style.px * 1.4 + 14


def _box(canvas: Canvas, name: str, box: tuple, x: float, y: float, w: float, h: float, fill: str) -> None:
    (lines, shape, *_), px = box, canvas.style.px
    canvas.box(x, y, w, h, fill, corner={"round": h / 2.4, "queue": 0}.get(shape))
    for bar in (w / 2 - 5, w / 2 - 10, 5 - w / 2, 10 - w / 2) if shape == "queue" else ():  # slots at both ends
        canvas.line([(x + bar, y - h / 2), (x + bar, y + h / 2)], width=1)
    for number, line in enumerate((name, *lines)):
        top = y + (number - len(lines) / 2) * px * 1.4
        canvas.text(x, top, line, px - bool(number), colour="text", bold=bool(lines) and not number)


LAYOUTS = {"timeline": _timeline, "sequence": _sequence} | dict.fromkeys(("queues", "fanout", "states", "architecture"), _graph)
FAMILIES = {name: (getattr(specs, name), getattr(specs, f"solve_{name}"), layout) for name, layout in LAYOUTS.items()}
recompute = partial(drawn.recompute, FAMILIES)
