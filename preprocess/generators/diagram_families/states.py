"""A state machine: what happened, which events come, and a trap from which no event leads away."""

from functools import partial
from itertools import accumulate, pairwise

from preprocess.generators.boxes import Box
from preprocess.generators.canvas import Canvas, Sheet
from preprocess.generators.drawn import Draw, Solution


def invent(draw: Draw) -> dict:
    """Four to six states in a chain with shortcuts, a trap, a walk of events, an event that may
    never come.
    """
    rng = draw.rng
    pool = draw.scenario["states"]
    trap, failure = draw.scenario["trap"]
    middle = rng.sample(range(1, len(pool) - 1), rng.randint(2, 4))
    events = {}  # that lead into a state, by its name
    for place in (0, *sorted(middle), len(pool) - 1):
        name, *into = pool[place]
        events[name] = into
    names = list(events)
    pairs = list(pairwise(names))
    others = [(a, b) for a in names[:-1] for b in names if a != b and (a, b) not in pairs]
    pairs += rng.sample(others, rng.randint(2, 3))
    edges = [{"from": a, "event": rng.choice(events[b]), "to": b} for a, b in pairs]
    for source in rng.sample(names[:-1], rng.randint(1, 2)):
        edges.append({"from": source, "event": failure, "to": trap})
    here = names[0]
    walk = []
    for _ in range(rng.randint(4, 6)):
        ways = [edge["event"] for edge in edges if edge["from"] == here and edge["to"] != trap]
        # Now and then an event that the state has no arrow for.
        if not ways or rng.random() >= 0.75:
            ways = [edge["event"] for edge in edges]
        walk.append(rng.choice(ways))
        here = follow(edges, here, walk[-1])
    return {
        "names": [*names, trap],
        "final": names[-1],
        "edges": edges,
        "walk": walk,
        "never": rng.choice(edges)["event"],
    }


def follow(edges: list[dict], state: str, event: str) -> str:
    """Where an event leads; a state without an arrow for it stays what it is."""
    for edge in edges:
        if edge["from"] == state and edge["event"] == event:
            return edge["to"]
    return state


def solve(spec: dict) -> Solution:
    """Where the walk ends, which state nothing leaves, how many states need the event that never
    comes.
    """
    edges = spec["edges"]
    names = spec["names"]
    path = list(accumulate(spec["walk"], partial(follow, edges), initial=names[0]))
    trace = [
        {"event": event, "before": before, "after": after}
        for event, (before, after) in zip(spec["walk"], pairwise(path), strict=True)
    ]
    left = {edge["from"] for edge in edges}
    dead = [name for name in names if name != spec["final"] and name not in left]
    kept = [names[0]]
    for here in kept:  # which grows meanwhile
        for edge in edges:
            leads = edge["from"] == here and edge["event"] != spec["never"]
            if leads and edge["to"] not in kept:
                kept.append(edge["to"])
    lost = [name for name in names if name not in kept]
    values = {
        "walk": path[-1],
        "dead": dead[0] if len(dead) == 1 else None,
        "without": len(lost),
    }
    arrows = {edge["event"]: edge["to"] for edge in edges}
    return values, {
        "hasty": arrows[spec["walk"][-1]],  # where the last event leads from some other state
        "start": names[0],
        "trace": trace,
        "lost": lost,
        "kept": kept,
        "count": len(names),
        "traps": [edge["from"] for edge in edges if edge["to"] == names[-1]],
    }


def layout(spec: dict, sheet: Sheet) -> Canvas:
    """States in a row; arcs forward above it, backward below, the higher the further, so no label
    meets another arc.
    """
    style = sheet.style
    rng = sheet.rng
    *names, trap = spec["names"]
    names.insert(rng.randint(1, len(names)), trap)  # anywhere between the others
    marks = {spec["names"][0]: ["start"], spec["final"]: ["final"]}
    boxes = [Box(name, marks.get(name, []), "round") for name in names]
    sizes = [box.size(style) for box in boxes]
    widest = max(wide for wide, _ in sizes)
    widest_label = max(style.width(edge["event"]) for edge in spec["edges"])
    pitch = max(widest + 14, widest_label + 10) * rng.uniform(1, 1.1)
    high = max(high for _, high in sizes)
    places = {name: place for place, name in enumerate(names)}
    spans = [places[edge["to"]] - places[edge["from"]] for edge in spec["edges"]]
    above = style.px * (1.6 + 3 * max(0, *spans))
    below = style.px * (1.6 + 3 * max(0, *(-span for span in spans)))
    canvas = sheet.canvas(pitch * len(names), above + high + below)
    fill = rng.choice(style.palette["fills"])
    colours = rng.sample(style.palette["lines"], 2)
    centre = canvas.top + above + high / 2
    left = (canvas.width - pitch * (len(names) - 1)) / 2
    for number, (box, size) in enumerate(zip(boxes, sizes, strict=True)):
        box.draw(canvas, left + pitch * number, centre, size, fill)
    labels = []
    for number, (edge, span) in enumerate(zip(spec["edges"], spans, strict=True)):
        way = 1 if span > 0 else -1  # up, or down
        aside = way * pitch * (0.22 - 0.05 * abs(span))  # a longer arc begins outside
        start, end = places[edge["from"]], places[edge["to"]]
        points = _arc(
            (left + pitch * start + aside, centre - way * (sizes[start][1] / 2 + 4)),
            (left + pitch * end - aside, centre - way * (sizes[end][1] / 2 + 4)),
            way * style.px * (0.8 + 3 * abs(span)),
        )
        colour = colours[number % 2]
        canvas.line(points, colour, head=True)
        labels.append((*points[20], edge["event"], colour))
    for x, y, event, colour in labels:
        canvas.plate(x, y, event, colour)
    return canvas


def _arc(start: tuple, end: tuple, rise: float) -> list[tuple[float, float]]:
    """41 points from start to end, `rise` pixels above the straight line in the middle."""
    (x0, y0), (x1, y1) = start, end
    points = []
    for step in range(41):
        t = step / 40
        across = 3 * t**2 - 2 * t**3
        points.append((x0 + across * (x1 - x0), y0 + t * (y1 - y0) - rise * (4 * t * (1 - t))))
    return points
