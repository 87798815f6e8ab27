"""A service that asks several others at the same time; some of those ask one more."""

from operator import itemgetter

from preprocess.generators.boxes import Box, tree
from preprocess.generators.canvas import Canvas, Sheet
from preprocess.generators.drawn import Draw, Solution, named


def invent(draw: Draw) -> dict:
    """Three to five legs, one or two of them with a second service behind the first."""
    count = draw.rng.randint(3, 5)
    chained = draw.rng.randint(1, 2)
    root, *names = draw.services(1 + count + chained)
    legs = []
    for name in names[:count]:
        legs.append({"name": name, "ms": draw.number(30, 180, 3), "then": "", "then_ms": 0})
    for leg, name in zip(draw.rng.sample(legs, chained), names[count:], strict=True):
        leg["then"] = name
        leg["then_ms"] = draw.number(15, 120, 3)
    slow = max(legs, key=_sum)
    of = draw.rng.choice([leg["name"] for leg in legs if leg is not slow])
    own = draw.number(4, 40, 2)
    return {"names": names[:count], "root": root, "legs": legs, "of": of, "own": own}


def _sum(leg: dict) -> int:
    return leg["ms"] + leg["then_ms"]


def solve(spec: dict) -> Solution:
    """The time of the whole, the leg that decides it, by how much another leg may get slower."""
    own = spec["own"]
    legs = []
    for leg in spec["legs"]:
        working = f"{leg['ms']}"
        if leg["then"]:
            working = f"{leg['ms']} + {leg['then_ms']} = {_sum(leg)}"
        legs.append({**leg, "sum": _sum(leg), "working": working})
    slow = max(legs, key=itemgetter("sum"))
    of = named(legs, spec["of"])
    every = sum(leg["sum"] for leg in legs)
    alone = [leg["sum"] for leg in legs].count(slow["sum"]) == 1
    total = own + slow["sum"]
    values = {
        "total": total,
        "slowest": slow["name"] if alone else None,
        "slack": slow["sum"] - of["sum"] or None,
    }
    return values, {
        "legs": legs,
        "slow": slow,
        "of": of,
        "every": every,
        "serial": own + every,
        "total": total,
        "count": len(legs),
        "biggest": max(legs, key=itemgetter("ms")),  # a box, not a leg
        "hasty": total - of["sum"],  # forgets the root's own work
    }


def layout(spec: dict, sheet: Sheet) -> Canvas:
    """The root, a row of what it asks, a row of what those ask."""
    root = Box(spec["root"], [f"own work {spec['own']} ms"], "round")
    first = []
    second = []
    arrows = []
    chained = []
    for leg in spec["legs"]:
        first.append(Box(leg["name"], [f"{leg['ms']} ms"], "box"))
        arrows.append((spec["root"], leg["name"], ""))
        behind = None
        if leg["then"]:
            behind = Box(leg["then"], [f"{leg['then_ms']} ms"], "box")
            chained.append((leg["name"], leg["then"], "then"))
        second.append(behind)
    return tree([[root], first, second], arrows + chained, sheet)
