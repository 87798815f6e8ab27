"""Producers, queues and groups of workers one after another, one of which is too slow."""

from itertools import pairwise
from operator import itemgetter

from preprocess.generators.boxes import Box, tree
from preprocess.generators.canvas import Canvas, Sheet
from preprocess.generators.drawn import Draw, Solution


def invent(draw: Draw) -> dict:
    """One to three producers, one to three queues; the workers of one queue cannot keep up."""
    rng = draw.rng
    producers: list[dict] = []
    for name in draw.services(rng.randint(1, 3)):
        producers.append({"name": name, "rate": draw.number(60, 240, 10)})
    names = draw.pick("queues", rng.choice((1, 2, 2, 2, 3)))
    flow = sum(producer["rate"] for producer in producers)
    slow = rng.choice(names)
    stages = []
    for name in names:
        low = max(10, flow // 40 * 5)
        each = draw.number(low, 3 * low, 5)
        depth = draw.number(100, 2000, 50)
        if name not in (slow, names[-1]):
            depth = 0  # a backlog that runs off into the next queue would make that one grow too
        if name == slow:
            count = max(1, (flow - 1) // each - rng.randint(0, 2))
            room = (flow - count * each) * draw.number(20, 300, 10)
        else:
            count = flow // each + rng.randint(1, 2)
            room = draw.number(1000, 8000, 500)
        stage = {"name": name, "count": count, "each": each}
        stages.append({**stage, "depth": depth, "capacity": depth + room})
        flow = min(flow, count * each)
    return {"names": names, "producers": producers, "stages": stages}


def solve(spec: dict) -> Solution:
    """What comes out at the end, which queue grows, after how many seconds it is full."""
    arrives = sum(producer["rate"] for producer in spec["producers"])
    flow = arrives
    stages = []
    for stage in spec["stages"]:
        power = stage["count"] * stage["each"]
        growth = max(0, flow - power)
        room = stage["capacity"] - stage["depth"]
        stages.append({**stage, "in": flow, "out": power, "growth": growth, "room": room})
        flow = min(flow, power)
    slow = max(stages, key=itemgetter("growth"))
    fill = slow["room"] // slow["growth"]
    values = {
        "throughput": flow,
        "growing": slow["name"] if len(stages) > 1 else None,
        "fill": fill,
    }
    return values, {
        "arrives": arrives,
        "stages": stages,
        "slow": slow,
        "minutes": round(fill / 60, 1),
        "tight": min(stages, key=itemgetter("room")),
        "hasty": slow["room"] // slow["in"],  # forgets what the workers take out
    }


def layout(spec: dict, sheet: Sheet) -> Canvas:
    """Producers, then each queue and its workers, a row each."""
    rows = [[Box(p["name"], [f"sends {p['rate']}/s"], "box") for p in spec["producers"]]]
    for stage in spec["stages"]:
        held = f"holds {stage['depth']:,} of {stage['capacity']:,}"
        rows.append([Box(stage["name"], [held], "queue")])
        workers = [f"{stage['count']} running", f"{stage['each']}/s each"]
        rows.append([Box(f"{stage['name']}-worker", workers, "round")])
    arrows = []
    for upper, lower in pairwise(rows):
        arrows += [(source.name, target.name, "") for source in upper for target in lower]
    return tree(rows, arrows, sheet)
