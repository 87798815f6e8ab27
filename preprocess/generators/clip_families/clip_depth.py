"""The gauge of a queue that turns once."""

from preprocess.generators.canvas import Canvas
from preprocess.generators.clip_families import moments
from preprocess.generators.drawn import Draw, Solution


def invent(draw: Draw) -> dict:
    """Levels that rise and then fall, or the reverse; at the last pace full or empty after a whole
    number of seconds.
    """
    spec = moments(draw)
    way = draw.rng.choice((1, -1))  # of the level at the end
    left = draw.number(5, 60)  # seconds until it is full or empty
    turn = draw.rng.randint(1, spec["count"] - 2)  # frame
    pace = way * draw.number(20, 240, 4)
    rates = [-way * draw.number(20, 180, 4)] * turn
    rates += [pace] * (spec["count"] - 1 - turn)
    last = draw.number(200, 2000, 10) if way > 0 else -pace * left
    steps = [round(rate * spec["every"]) for rate in rates]
    levels = [last - sum(steps[place:]) for place in range(spec["count"])]
    limit = last + pace * left
    if way < 0:
        limit = max(levels) + draw.number(50, 900, 50)
    return {
        **spec,
        "names": draw.pick("queues", 1),
        "turn": turn,
        "levels": levels,
        "limit": max(limit, *levels),
    }


def solve(spec: dict) -> Solution:
    """When the level turns, how fast it moves at the end, how long until it is full or empty."""
    levels = spec["levels"]
    every = spec["every"]
    step = levels[-1] - levels[-2]
    rate = round(abs(step) / every)
    if step > 0:
        way = spec["limit"] - levels[-1]
        moves, goal, other = "rises", "full", "fell"
    else:
        way = levels[-1]
        moves, goal, other = "falls", "empty", "rose"
    values = {
        "turn": spec["turn"] * every,
        "rate": rate,
        "left": way // rate if way and way % rate == 0 else None,
    }
    if min(levels) < 0:
        values = dict.fromkeys(values)
    end = (len(levels) - 1) * every
    readings = [{"at": place * every, "level": level} for place, level in enumerate(levels)]
    return values, {
        "frames": readings,
        "before": readings[-2],
        "last": readings[-1],
        "queue": spec["names"][0],
        "way": way,
        "moves": moves,
        "goal": goal,
        "other": other,
        "step": abs(step),
        "per_s": rate,
        "hasty": end + way // rate,  # on the clip's clock
    }


def paint(canvas: Canvas, spec: dict, place: int, height: float) -> None:
    """The gauge in the frame of that place, counted from 0."""
    level = spec["levels"][place]
    left = 30
    wide = canvas.width - 2 * left
    y = canvas.top + height * 0.55
    title = f"{spec['names'][0]}: {level:,} messages"
    canvas.text(left, y - height * 0.35, title, 22, "left")
    canvas.box(left + wide / 2, y, wide, height * 0.3, "ground", corner=0)
    full = max(2, wide * level / spec["limit"])
    colour = canvas.style.palette["lines"][0]
    canvas.box(left + full / 2, y, full, height * 0.3, colour, corner=0)
    canvas.text(left, y + height * 0.28, "0", align="left")
    canvas.text(left + wide, y + height * 0.28, f"limit {spec['limit']:,}", align="right")
