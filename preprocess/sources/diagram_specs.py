"""Specs of diagrams and what follows from them (see drawn). Times in ms, rates in messages or requests a second, shares in %."""

from __future__ import annotations

from functools import partial
from itertools import accumulate, pairwise

from preprocess.sources.drawn import Draw, read


def named(items: list[dict], name: str) -> dict:
    return next(item for item in items if item["name"] == name)


def timeline(d: Draw) -> dict:
    tasks, ready = [], 0
    for name in d.pick("jobs", d.rng.randint(4, 6)):
        tasks.append({"name": name, "ready": ready, "ms": d.number(8, 90, 2)})
        ready += d.number(8, 90, 2)
    longest = d.rng.choice(tasks[:-2])
    longest["ms"] = d.number(160, 400, 10)
    names = [task["name"] for task in tasks]
    return {
        "names": names,
        "tasks": tasks,
        "of": d.rng.choice([name for name in names[1:] if name != longest["name"]]),
    }


def run(tasks: list[dict]) -> list[dict]:
    """The tasks with their start, end and wait on one loop: first come, first served, nothing is interrupted."""
    done, free = [], 0
    for task in tasks:
        start = max(free, task["ready"])
        free = start + task["ms"]
        done.append({**task, "start": start, "end": free, "wait": start - task["ready"]})
    return done


def solve_timeline(spec: dict) -> tuple[dict, dict]:
    tasks = run(spec["tasks"])
    of, blocker = named(tasks, spec["of"]), max(tasks, key=lambda task: task["ms"])
    holder = next((task for task in tasks if task["start"] < of["ready"] < task["end"]), None)
    freed = run([task for task in spec["tasks"] if task["name"] != blocker["name"]])
    moved = named(freed, spec["of"])["start"]
    values = {
        "wait": of["wait"] or None,
        "holder": holder and holder["name"],
        "offload": moved if moved < of["start"] else None,
    }
    facts = {
        "tasks": tasks,
        "of": of,
        "blocker": blocker,
        "holder": holder,
        "freed": freed,
        "won": of["start"] - moved,
    }
    return values, facts


def queues(d: Draw) -> dict:
    producers = [
        {"name": name, "rate": d.number(60, 240, 10)} for name in d.services(d.rng.randint(1, 3))
    ]
    names, flow, stages = (
        d.pick("queues", d.rng.choice((1, 2, 2, 2, 3))),
        sum(p["rate"] for p in producers),
        [],
    )
    slow = d.rng.choice(names)
    for name in names:
        low = max(10, flow // 40 * 5)
        each, depth = d.number(low, 3 * low, 5), d.number(100, 2000, 50)
        count = (
            max(1, (flow - 1) // each - d.rng.randint(0, 2))
            if name == slow
            else flow // each + d.rng.randint(1, 2)
        )
        room = (
            (flow - count * each) * d.number(20, 300, 10)
            if name == slow
            else d.number(1000, 8000, 500)
        )
        stages.append(
            {"name": name, "count": count, "each": each, "depth": depth, "capacity": depth + room}
        )
        flow = min(flow, count * each)
    return {"names": names, "producers": producers, "stages": stages}


def solve_queues(spec: dict) -> tuple[dict, dict]:
    arrives = flow = sum(p["rate"] for p in spec["producers"])
    stages = []
    for stage in spec["stages"]:
        power, room = stage["count"] * stage["each"], stage["capacity"] - stage["depth"]
        stages.append(
            {**stage, "in": flow, "out": power, "growth": max(0, flow - power), "room": room}
        )
        flow = min(flow, power)
    slow = max(stages, key=lambda stage: stage["growth"])
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
    }


def fanout(d: Draw) -> dict:
    count, chained = d.rng.randint(3, 5), d.rng.randint(1, 2)
    root, *names = d.services(1 + count + chained)
    legs = [
        {"name": name, "ms": d.number(30, 180, 3), "then": "", "then_ms": 0}
        for name in names[:count]
    ]
    for leg, name in zip(d.rng.sample(legs, chained), names[count:], strict=True):
        leg["then"], leg["then_ms"] = name, d.number(15, 120, 3)
    slow = max(legs, key=lambda leg: leg["ms"] + leg["then_ms"])
    of = d.rng.choice([leg["name"] for leg in legs if leg is not slow])
    return {"names": names[:count], "root": root, "legs": legs, "of": of, "own": d.number(4, 40, 2)}


def solve_fanout(spec: dict) -> tuple[dict, dict]:
    own, legs = spec["own"], [{**leg, "sum": leg["ms"] + leg["then_ms"]} for leg in spec["legs"]]
    for leg in legs:
        leg["working"] = (
            f"{leg['ms']} + {leg['then_ms']} = {leg['sum']}" if leg["then"] else f"{leg['ms']}"
        )
    slow, of, every = (
        max(legs, key=lambda leg: leg["sum"]),
        named(legs, spec["of"]),
        sum(leg["sum"] for leg in legs),
    )
    alone = sum(leg["sum"] == slow["sum"] for leg in legs) == 1
    total, slack = own + slow["sum"], slow["sum"] - of["sum"]
    values = {"total": total, "slowest": slow["name"] if alone else None, "slack": slack or None}
    return values, {
        "legs": legs,
        "slow": slow,
        "of": of,
        "every": every,
        "serial": own + every,
        "total": total,
        "count": len(legs),
    }


def sequence(d: Draw) -> dict:
    (api, *backs), worker, client = (
        d.services(d.rng.randint(3, 4)),
        d.scenario["side"],
        d.scenario["client"],
    )
    calls = d.rng.sample(read("sequence")["calls"], 1 + len(backs))
    script = [
        (client, api, "call", calls.pop(), 0)
    ]  # from, to, kind, text, how long after the message before
    for back in backs:
        script += [
            (api, back, "call", calls.pop(), d.number(4, 30)),
            (back, api, "reply", "reply", d.number(20, 200, 5)),
        ]
    sent = (api, worker, "send", d.rng.choice(read("sequence")["sends"]), d.number(4, 30))
    script.insert(2 * d.rng.randint(0, len(backs)) + 1, sent)
    script.append((api, client, "reply", "reply", d.number(4, 30)))
    times = accumulate(message[-1] for message in script)
    keys = ("from", "to", "style", "text", "at")
    messages = [
        dict(zip(keys, (*message[:-1], at), strict=True))
        for message, at in zip(script, times, strict=True)
    ]
    return {
        "names": [client, api, *backs, worker],
        "messages": messages,
        "dead": d.rng.choice([worker, d.rng.choice(backs)]),
    }


def solve_sequence(spec: dict) -> tuple[dict, dict]:
    (client, api, *backs, worker), messages, legs = spec["names"], spec["messages"], []
    total = next(m["at"] for m in messages if m["to"] == client)
    for name in backs:
        asked, replied = (m["at"] for m in messages if {m["from"], m["to"]} == {api, name})
        legs.append({"name": name, "asked": asked, "replied": replied, "ms": replied - asked})
    waiting, slow = sum(leg["ms"] for leg in legs), max(legs, key=lambda leg: leg["ms"])
    own, sent, lives = (
        total - waiting,
        next(m for m in messages if m["style"] == "send"),
        spec["dead"] == worker,
    )
    role = (
        f"only gets {sent['text']} handed over" if lives else f"must reply before {api} can go on"
    )
    facts = {
        "client": client,
        "api": api,
        "worker": worker,
        "legs": legs,
        "slow": slow,
        "waiting": waiting,
        "total": total,
    }
    facts |= {"sent": sent, "own": own, "saved": waiting - slow["ms"], "role": role}
    return {
        "wait": total,
        "parallel": own + slow["ms"],
        "survives": "yes" if lives else "no",
    }, facts


def states(d: Draw) -> dict:
    pool, (trap, failure) = d.scenario["states"], d.scenario["trap"]
    middle = sorted(d.rng.sample(range(1, len(pool) - 1), d.rng.randint(2, 4)))
    events = {name: into for name, *into in (pool[place] for place in (0, *middle, len(pool) - 1))}
    names = list(events)
    pairs = list(pairwise(names))
    pairs += d.rng.sample(
        [(a, b) for a in names[:-1] for b in names if a != b and (a, b) not in pairs],
        d.rng.randint(2, 3),
    )
    edges = [{"from": a, "event": d.rng.choice(events[b]), "to": b} for a, b in pairs]
    edges += [
        {"from": a, "event": failure, "to": trap}
        for a in d.rng.sample(names[:-1], d.rng.randint(1, 2))
    ]
    here, walk = names[0], []
    for _ in range(d.rng.randint(4, 6)):
        ways = [edge["event"] for edge in edges if edge["from"] == here and edge["to"] != trap]
        walk.append(
            d.rng.choice(
                ways if ways and d.rng.random() < 0.75 else [edge["event"] for edge in edges]
            )
        )
        here = step(edges, here, walk[-1])
    return {
        "names": [*names, trap],
        "final": names[-1],
        "edges": edges,
        "walk": walk,
        "never": d.rng.choice(edges)["event"],
    }


def step(edges: list[dict], state: str, event: str) -> str:
    """Where an event leads; a state without an arrow for it stays what it is."""
    return next(
        (edge["to"] for edge in edges if (edge["from"], edge["event"]) == (state, event)), state
    )


def solve_states(spec: dict) -> tuple[dict, dict]:
    edges, names, start = spec["edges"], spec["names"], spec["names"][0]
    path = list(accumulate(spec["walk"], partial(step, edges), initial=start))
    trace = [
        {"event": event, "before": a, "after": b}
        for event, (a, b) in zip(spec["walk"], pairwise(path), strict=True)
    ]
    dead = [
        name
        for name in names
        if name != spec["final"] and all(edge["from"] != name for edge in edges)
    ]
    kept = [start]
    for here in kept:  # which grows meanwhile
        kept += {
            e["to"]: 0
            for e in edges
            if e["from"] == here and e["event"] != spec["never"] and e["to"] not in kept
        }
    lost = [name for name in names if name not in kept]
    values = {"walk": path[-1], "dead": dead[0] if len(dead) == 1 else None, "without": len(lost)}
    traps = [edge["from"] for edge in edges if edge["to"] == names[-1]]
    return values, {
        "start": start,
        "trace": trace,
        "lost": lost,
        "kept": kept,
        "count": len(names),
        "traps": traps,
    }


def architecture(d: Draw) -> dict:
    names = d.services(d.rng.randint(4, 6))
    parents, parts, percent = (
        [None, names[0], names[1], names[1], names[1], names[2]],
        [],
        {None: 100.0},
    )
    for name, parent in zip(names, parents, strict=False):
        share = (
            d.rng.choice((10, 20, 25, 40, 50, 80, 100) if name in names[2:] else (50, 80, 100, 100))
            if parent
            else 100
        )
        percent[name], count = percent[parent] * share / 100, d.rng.randint(1, 5)
        low = max(10, int(d.rng.uniform(400, 1600) * percent[name] / 100 / count) // 10 * 10)
        part = {"name": name, "from": parent, "share": share, "percent": percent[name]}
        parts.append({**part, "count": count, "each": d.number(low, low + 80, 10)})
    return {
        "names": names,
        "parts": parts,
        "of": d.rng.choice([name for name in names[2:] if percent[name] < 100] or names[2:]),
    }


def solve_architecture(spec: dict) -> tuple[dict, dict]:
    parts = [{**part, "power": part["count"] * part["each"]} for part in spec["parts"]]
    for part in parts:
        part["limit"] = part["power"] * 100 / part["percent"]
    of, slow, weakest = (
        named(parts, spec["of"]),
        min(parts, key=lambda p: p["limit"]),
        min(parts, key=lambda p: p["power"]),
    )
    clear = all(part is slow or part["limit"] > 1.05 * slow["limit"] for part in parts)
    values = {
        "bottleneck": slow["name"] if clear else None,
        "most": whole(slow["limit"]) if clear else None,
    }
    values["lost"] = whole(of["percent"])
    return values, {
        "parts": parts,
        "of": of,
        "slow": slow,
        "weakest": weakest,
        "entry": spec["names"][0],
        "alive": 100 - of["percent"],
    }


def whole(number: float) -> int | None:
    return round(number) if abs(number - round(number)) < 1e-9 else None
