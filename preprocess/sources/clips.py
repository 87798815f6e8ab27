"""Screens that change: a queue gauge, a status board, a scrolling log. Specs (see drawn) and how a moment looks.

A spec has `count` frames, `every` seconds apart, the first at 0; `paint_<family>(screen, spec, seconds)` draws any moment of it.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise

from matplotlib.font_manager import FontProperties, findfont
from PIL import Image, ImageDraw, ImageFont

from preprocess.sources.diagram_specs import top
from preprocess.sources.drawn import Draw


class Screen:
    """One moment of a clip, in pixels. PIL draws it: matplotlib takes ten times as long."""

    def __init__(self, look: dict, title: str, seconds: float):
        self.look, (self.width, self.height) = look, look["size"]
        self.image = Image.new("RGB", look["size"], look["palette"]["ground"])
        self.pen = ImageDraw.Draw(self.image)
        self.text(14, 20, title, 18)
        self.text(self.width - 14, 20, f"t = {seconds:.1f} s", 18, "rm")

    def text(self, x: float, y: float, words: str, px: int = 16, anchor: str = "lm", colour: str = "ink") -> None:
        self.pen.text((x, y), words, self.look["palette"].get(colour, colour), _font(self.look["font"], px), anchor)

    def box(self, x: float, y: float, w: float, h: float, fill: str) -> None:
        palette = self.look["palette"]
        self.pen.rectangle((x, y, x + max(w, 1), y + h), palette.get(fill, fill), palette["ink"], 2)


@lru_cache(maxsize=64)
def _font(family: str, px: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(findfont(FontProperties(family=family)), px, layout_engine=ImageFont.Layout.BASIC)


def _moments(d: Draw) -> dict:
    return {"count": d.rng.randint(4, 6), "every": d.rng.choice((1.5, 2.5) if d.heldout else (1, 2))}


def depth(d: Draw) -> dict:
    m, queue = _moments(d), d.pick("queues", 1)
    rates, turn, left = [d.number(20, 180, 4), -d.number(20, 240, 4)], d.rng.randint(1, m["count"] - 2), d.number(5, 60)
    if d.rng.random() < 0.5:
        rates = [-rates[0], -rates[1]]
    levels = [0]
    for place in range(m["count"] - 1):
        levels.append(levels[-1] + round(rates[place >= turn] * m["every"]))
    floor = d.number(20, 400, 10) - min(levels) if rates[1] > 0 else -rates[1] * left - levels[-1]
    levels = [level + floor for level in levels]
    limit = levels[-1] + rates[1] * left if rates[1] > 0 else max(levels) + d.number(50, 900, 50)
    return {**m, "names": queue, "levels": levels, "limit": max(limit, *levels)}


def solve_depth(spec: dict) -> tuple[dict, dict]:
    levels, every = spec["levels"], spec["every"]
    steps = [after - before for before, after in pairwise(levels)]
    turn = next(n for n in range(1, len(steps)) if (steps[n] > 0) != (steps[n - 1] > 0))
    rises, rate = steps[-1] > 0, round(abs(steps[-1]) / every)
    way = spec["limit"] - levels[-1] if rises else levels[-1]
    values = {
        "turn": turn * every,
        "rate": rate,
        "left": way // rate if way and way % rate == 0 else None,
        "net": abs(levels[-1] - levels[0]) or None,
    }
    frames = [{"at": n * every, "level": level} for n, level in enumerate(levels)]
    facts = {"frames": frames, "first": frames[0], "before": frames[-2], "last": frames[-1]}
    moves, goal, other = ("rises", "full", "fell") if rises else ("falls", "empty", "rose")
    facts |= {"way": way, "step": abs(steps[-1]), "moves": moves, "goal": goal, "other": other}
    facts |= {"queue": spec["names"][0], "peak": max(levels), "per_s": rate}
    return values if min(levels) >= 0 else dict.fromkeys(values), facts


def paint_depth(screen: Screen, spec: dict, seconds: float) -> None:
    place = min(int(seconds / spec["every"]), spec["count"] - 2)
    share = seconds / spec["every"] - place
    level = round(spec["levels"][place] * (1 - share) + spec["levels"][place + 1] * share)
    left, wide, y, tall = 24, screen.width - 48, screen.height * 0.5, screen.height * 0.24
    screen.text(left, y - 34, f"{spec['names'][0]}: {level:,} messages", 24)
    screen.box(left, y, wide, tall, "ground")
    screen.box(left, y, wide * level / spec["limit"], tall, screen.look["fill"])
    screen.text(left, y + tall + 20, "0")
    screen.text(left + wide, y + tall + 20, f"limit {spec['limit']:,}", anchor="rm")


def board(d: Draw) -> dict:
    m, names = _moments(d), [*d.services(d.rng.randint(6, 8)), d.scenario["side"]]
    down = d.rng.sample(names, d.rng.randint(2, 5))
    fails = dict(zip(down, sorted(d.rng.choices(range(1, m["count"]), k=len(down))), strict=True))
    first, later = down[0], fails[down[0]] + 1
    back = {first: d.rng.randint(later, m["count"] - 1)} if later < m["count"] and d.rng.random() < 0.5 else {}
    return {**m, "names": names, "fails": fails, "back": back}


def down(spec: dict, name: str, place: float) -> bool:
    """Whether a service is down at a moment, counted in frames; it changes half a frame before that shows."""
    return spec["fails"].get(name, 99) - 0.5 <= place < spec["back"].get(name, 99) - 0.5


def solve_board(spec: dict) -> tuple[dict, dict]:
    every, places = spec["every"], sorted(spec["fails"].values())
    red = [[name for name in spec["names"] if down(spec, name, place)] for place in range(spec["count"])]
    order = sorted(spec["fails"], key=spec["fails"].get)
    values = {
        "first": order[0] if places[0] < places[1] else None,
        "red": len(red[-1]),
        "order": ", ".join(order) if len(set(places)) == len(places) else None,
        "spread": (places[-1] - places[0]) * every or None,
        "back": next(iter(spec["back"]), None),
    }
    seen = [{"at": place * every, "red": ", ".join(names) or "none"} for place, names in enumerate(red)]
    facts = {"seen": seen, "red_names": red[-1], "first": order[0], "latest": order[-1], "fallen": len(order)}
    facts |= {"first_at": places[0] * every, "last_at": places[-1] * every, "end": seen[-1]["at"]}
    return values, facts | {"count_all": len(spec["names"])}


def paint_board(screen: Screen, spec: dict, seconds: float) -> None:
    columns = screen.look["columns"]
    wide, tall = (screen.width - 24) / columns, (screen.height - 56) / -(-len(spec["names"]) // columns)
    for place, name in enumerate(spec["names"]):
        x, y, red = 12 + wide * (place % columns), 44 + tall * (place // columns), down(spec, name, seconds / spec["every"])
        screen.box(x + 5, y + 5, wide - 10, tall - 10, "#c62828" if red else "#2e7d32")
        screen.text(x + wide / 2, y + tall / 2 - 11, name, 17, "mm", "#ffffff")
        screen.text(x + wide / 2, y + tall / 2 + 11, "DOWN" if red else "up", 16, "mm", "#ffffff")


def log(d: Draw) -> dict:
    m, names, jobs, lines = _moments(d), d.services(4), d.pick("jobs", 4), []
    trouble = d.rng.randint(1, m["count"] - 2)  # the frame from which errors show
    for place in range(m["count"]):
        levels = ("INFO",) if place < trouble - 1 else ("INFO", "WARN") if place < trouble else ("INFO", "WARN", "ERROR", "ERROR")
        for part in sorted(d.rng.sample(range(1, 6), d.rng.randint(2, 3))) if place else [5]:  # no two lines share a time
            at = round((place - 1 + part / 5) * m["every"], 1)
            lines.append({"at": at, "level": d.rng.choice(levels), "name": d.rng.choice(names), "text": d.rng.choice(jobs)})
    return {**m, "names": names, "lines": lines}


def solve_log(spec: dict) -> tuple[dict, dict]:
    errors, warns = ([line for line in spec["lines"] if line["level"] == level] for level in ("ERROR", "WARN"))
    error, warn = (errors or [None])[0], (warns or [None])[0]
    counts = [{"name": name, "errors": sum(line["name"] == name for line in errors)} for name in spec["names"]]
    loudest = top(counts, "errors")
    values = {
        "errors": len(errors) or None,
        "first": error and error["name"],
        "gap": round(error["at"] - warn["at"], 1) if error and warn and warn["at"] < error["at"] else None,
        "loudest": loudest and loudest["name"],
    }
    facts = {"errors": errors, "error": error, "warn": warn, "counts": counts, "loudest": loudest}
    return values, facts | {"all": len(spec["lines"])}


def paint_log(screen: Screen, spec: dict, seconds: float) -> None:
    shown = [line for line in spec["lines"] if line["at"] <= seconds]
    for place, line in enumerate(shown[-int((screen.height - 50) / 26) :]):
        words = f"{line['at']:5.1f}  {line['level']:<5}  {line['name']}: {line['text']}"
        screen.text(14, 56 + 26 * place, words, 15, "lm", {"ERROR": "alarm", "WARN": "ink", "INFO": "soft"}[line["level"]])
