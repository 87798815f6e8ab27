"""Drawing a spec that has a time axis: the Gantt chart of one event loop, and the sequence diagram."""

from __future__ import annotations

import random

from preprocess.sources.canvas import LONGEST, MARGIN, Canvas, Style, width_of
from preprocess.sources.diagram_specs import run


def timeline(spec: dict, title: str, style: Style, rng: random.Random) -> Canvas:
    """One line a task: a dot when it is ready, dashes while it waits, a bar while it runs; the loop itself on top."""
    tasks, px = run(spec["tasks"]), style.px - 1
    shown, end = rng.sample(tasks, len(tasks)) if rng.random() < 0.3 else tasks, tasks[-1]["end"]
    names = max(1.1 * width_of(text, style.px, style.font) for text in ("event loop", "ready at 100", *spec["names"])) + 14
    plot, height = rng.uniform(400, min(860, LONGEST - 3 * MARGIN - names)), style.px * rng.uniform(2.5, 3.3)
    note = "dot: ready;  dashes: waits;  bar: runs;  first ready, first served"
    canvas = Canvas(style, names + plot, height * (len(tasks) + 1) + 2 * px, title, note)
    left, loop, bottom, scale = MARGIN + names, canvas.top + height / 2, canvas.top + height * (len(tasks) + 1), (plot - 60) / end
    step = next(s for s in (20, 50, 100, 200, 500) if s * scale > 2 * width_of("1000", px, style.font))
    for tick in range(0, end + 1, step):
        canvas.line([(left + tick * scale, canvas.top), (left + tick * scale, bottom)], "soft", 0.6)
        canvas.text(left + tick * scale, bottom + px, f"{tick}" if tick else "0 ms", px)
    fills = rng.sample(style.palette["fills"], len(style.palette["fills"]))
    canvas.text(left - 12, loop, "event loop", align="right", bold=True)
    for number, t in enumerate(shown):
        y, middle = loop + height * (number + 1), left + (t["start"] + t["end"]) / 2 * scale
        canvas.text(left - 12, y - px * 0.6, t["name"], align="right")
        canvas.text(left - 12, y + px * 0.7, f"ready at {t['ready']}", px, "right", "soft")
        for lane in (loop, y):
            canvas.box(middle, lane, t["ms"] * scale, height * 0.56, fills[number % len(fills)], corner=0)
        canvas.line([(left + t["ready"] * scale, y), (left + t["start"] * scale, y)], dashed=True)
        canvas.box(left + t["ready"] * scale, y, 8, 8, "alarm", corner=4)
        words = f"{t['ms']} ms"
        inside = width_of(words, px, style.font) + 14 < t["ms"] * scale
        if inside:
            canvas.text(middle, y, words, px, colour="text")
        else:
            canvas.text(left + t["end"] * scale + 5, y, words, px, "left")
    return canvas


def sequence(spec: dict, title: str, style: Style, rng: random.Random) -> Canvas:
    """Lifelines side by side, one arrow a message in order, its time at the left; not to scale."""
    names, messages, px = spec["names"], spec["messages"], style.px - 1
    boxes = [1.1 * width_of(name, style.px, style.font) + 20 for name in names]
    pitch = max(max(boxes) + 14, *(width_of(m["text"], px, style.font) + 30 for m in messages)) * rng.uniform(1, 1.15)
    times, step = width_of("1000 ms", px, style.font) + 12, style.px * rng.uniform(2.3, 2.9)
    note = "filled arrow: call, the sender waits;  dashed: reply;  hollow: handed over, nobody waits"
    canvas = Canvas(style, times + pitch * len(names), 2.6 * style.px + step * (len(messages) + 0.6), title, note)
    lanes = {name: MARGIN + times + pitch * (place + 0.5) for place, name in enumerate(names)}
    fills, top = rng.sample(style.palette["fills"], len(style.palette["fills"])), canvas.top + 2.2 * style.px
    for number, (name, x) in enumerate(lanes.items()):
        canvas.line([(x, top), (x, top + step * (len(messages) + 0.5))], "soft", 1)
        canvas.box(x, top - 1.1 * style.px, boxes[number], 2.2 * style.px, fills[number % len(fills)])
        canvas.text(x, top - 1.1 * style.px, name, colour="text", bold=True)
    for number, m in enumerate(messages, 1):
        y, start, stop = top + step * number, lanes[m["from"]], lanes[m["to"]]
        canvas.text(MARGIN, y, f"{m['at']} ms", px, "left")
        sent = m["style"] == "send"
        canvas.arrow([(start, y), (stop, y)], "alarm" if sent else "ink", m["style"] == "reply", sent)
        canvas.label(start + (pitch if stop > start else -pitch) / 2, y - px * 0.75, m["text"])
    return canvas
