"""Tasks on one event loop: each is ready at some time, runs without a break, and makes the others
wait.
"""

from operator import itemgetter

from preprocess.generators.canvas import LONGEST, MARGIN, Canvas, Sheet
from preprocess.generators.drawn import Draw, Solution, named


def invent(draw: Draw) -> dict:
    """Four to six tasks, one of them much longer than the rest, and one that is asked about."""
    tasks = []
    ready = 0
    for name in draw.pick("jobs", draw.rng.randint(4, 6)):
        tasks.append({"name": name, "ready": ready, "ms": draw.number(8, 90, 2)})
        ready += draw.number(8, 90, 2)
    longest = draw.rng.choice(tasks[:-2])
    longest["ms"] = draw.number(160, 400, 10)
    names = [task["name"] for task in tasks]
    others = [name for name in names[1:] if name != longest["name"]]
    return {"names": names, "tasks": tasks, "of": draw.rng.choice(others)}


def schedule(tasks: list[dict]) -> list[dict]:
    """The tasks with start, end and wait: first come, first served, nothing is interrupted."""
    done = []
    free = 0
    for task in tasks:
        start = max(free, task["ready"])
        free = start + task["ms"]
        done.append({**task, "start": start, "end": free, "wait": start - task["ready"]})
    return done


def solve(spec: dict) -> Solution:
    """How long a task waits, who makes it wait, when it would start without the longest task."""
    tasks = schedule(spec["tasks"])
    of = named(tasks, spec["of"])
    blocker = max(tasks, key=itemgetter("ms"))
    running = [task for task in tasks if task["start"] < of["ready"] < task["end"]]
    holder = running[0] if running else None
    freed = schedule([task for task in spec["tasks"] if task["name"] != blocker["name"]])
    moved = named(freed, spec["of"])["start"]
    values = {
        "wait": of["wait"] or None,
        "holder": holder["name"] if holder else None,
        "offload": moved if moved < of["start"] else None,
    }
    return values, {
        "tasks": tasks,
        "of": of,
        "blocker": blocker,
        "holder": holder,
        "freed": freed,
        "won": of["start"] - moved,
    }


def layout(spec: dict, sheet: Sheet) -> Canvas:
    """One line a task: a dot when it is ready, dashes while it waits, a bar while it runs; the loop
    itself on top.
    """
    tasks = schedule(spec["tasks"])
    style = sheet.style
    px = style.px - 1
    fills = style.palette["fills"]
    labels = ("event loop", "ready at 100", *spec["names"])
    names = max(1.1 * style.width(label) for label in labels) + 14
    plot = sheet.rng.uniform(400, min(860, LONGEST - 3 * MARGIN - names))
    height = style.px * sheet.rng.uniform(2.5, 3.3)
    canvas = sheet.canvas(names + plot, height * (len(tasks) + 1) + 2 * px)
    left = MARGIN + names
    loop = canvas.top + height / 2
    bottom = loop + height * (len(tasks) + 0.5)
    scale = (plot - 60) / tasks[-1]["end"]
    for tick in range(0, tasks[-1]["end"] + 1, 50 if scale > 1.5 else 200):
        x = left + tick * scale
        canvas.line([(x, canvas.top), (x, bottom)], "soft", 0.6)
        canvas.text(x, bottom + px, f"{tick} ms", px)
    canvas.text(left - 12, loop, "event loop", align="right", bold=True)
    for number, task in enumerate(tasks, 1):
        y = loop + height * number
        ready, start, end = (left + task[key] * scale for key in ("ready", "start", "end"))
        canvas.text(left - 12, y - px * 0.6, task["name"], align="right")
        canvas.text(left - 12, y + px * 0.7, f"ready at {task['ready']}", px, "right", "soft")
        fill = fills[number % len(fills)]
        for lane in (loop, y):
            canvas.box((start + end) / 2, lane, end - start, height * 0.56, fill, corner=0)
        canvas.line([(ready, y), (start, y)], dashed=True)
        canvas.box(ready, y, 8, 8, "alarm", corner=4)
        canvas.text(end + 5, y, f"{task['ms']} ms", px, "left")
    return canvas
