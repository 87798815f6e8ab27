"""Services that send shares of their requests on; some replica set is the first to be full."""

from collections.abc import Sequence
from operator import itemgetter

from preprocess.generators.boxes import Box, tree
from preprocess.generators.canvas import Canvas, Sheet
from preprocess.generators.drawn import Draw, Solution, named


def invent(draw: Draw) -> dict:
    """Four to six services with their replicas, the share of requests each gets, and one that may
    fail.
    """
    rng = draw.rng
    names = draw.services(rng.randint(4, 6))
    parents = [None, names[0], names[1], names[1], names[1], names[2]]
    percent = {}  # of all requests, by service
    parts = []
    for name, parent in zip(names, parents, strict=False):
        share = 100
        percent[name] = 100.0
        if parent:
            shares: tuple[int, ...] = (50, 80, 100, 100)
            if name in names[2:]:
                shares = (10, 20, 25, 40, 50, 80, 100)
            share = rng.choice(shares)
            percent[name] = percent[parent] * share / 100
        count = rng.randint(1, 5)
        low = max(10, int(rng.uniform(400, 1600) * percent[name] / 100 / count) // 10 * 10)
        part = {"name": name, "from": parent, "share": share, "percent": percent[name]}
        parts.append({**part, "count": count, "each": draw.number(low, low + 80, 10)})
    shared = [name for name in names[2:] if percent[name] < 100]
    return {"names": names, "parts": parts, "of": rng.choice(shared or names[2:])}


def solve(spec: dict) -> Solution:
    """Which service is full first, at how many requests a second, what share fails with one
    service.
    """
    parts = []
    for part in spec["parts"]:
        power = part["count"] * part["each"]
        parts.append({**part, "power": power, "limit": power * 100 / part["percent"]})
    of = named(parts, spec["of"])
    slow = min(parts, key=itemgetter("limit"))
    clear = all(part is slow or part["limit"] > 1.05 * slow["limit"] for part in parts)
    values = {
        "bottleneck": slow["name"] if clear else None,
        "most": _whole(slow["limit"]) if clear else None,
        "lost": _whole(of["percent"]),
    }
    return values, {
        "parts": parts,
        "of": of,
        "slow": slow,
        "weakest": min(parts, key=itemgetter("power")),
        "entry": spec["names"][0],
        "alive": 100 - of["percent"],
    }


def _whole(number: float) -> int | None:
    """The number where it is a whole one."""
    return round(number) if abs(number - round(number)) < 1e-9 else None


def layout(spec: dict, sheet: Sheet) -> Canvas:
    """Entry, second service, what that one calls, and what the first of those calls below it."""
    boxes = []
    arrows = []
    for part in spec["parts"]:
        boxes.append(Box(part["name"], [f"{part['count']} x {part['each']} req/s"], "box"))
        if part["from"]:
            arrows.append((part["from"], part["name"], f"{part['share']} %"))
    rows: list[Sequence[Box | None]] = [boxes[:1], boxes[1:2], boxes[2:5]]
    if len(boxes) > 5:
        rows.append([boxes[5], None, None])
    return tree(rows, arrows, sheet)
