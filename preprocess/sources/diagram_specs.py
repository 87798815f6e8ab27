"""Specs of diagrams and what follows from them (see drawn). Times in ms, rates in messages or requests a second, shares in %."""

from __future__ import annotations

from functools import partial
from itertools import accumulate, pairwise

from preprocess.sources.drawn import Draw, read


def top(items: list[dict], key: str) -> dict | None:
    """The item with the largest `key`; None when two share it."""
    first, second = sorted(items, key=lambda item: -item[key])[:2]
    return first if first[key] > second[key] else None


def named(items: list[dict], name: str) -> dict:
    return next(item for item in items if item["name"] == name)


def timeline(d: Draw) -> dict:
    names, tasks, ready = d.pick("jobs", d.rng.randint(4, 6)), [], 0
    for name in names:
        tasks.append({"name": name, "ready": ready, "ms": d.number(8, 90, 2)})
        ready += d.number(8, 90, 2)
    longest = d.rng.choice(tasks[:-2])
    longest["ms"] = d.number(160, 400, 10)
    return {"names": names, "tasks": tasks, "of": d.rng.choice([name for name in names[1:] if name != longest["name"]])}


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
    of, blocker, waiter = named(tasks, spec["of"]), top(tasks, "ms"), top(tasks, "wait")
    freed = run([task for task in spec["tasks"] if task["name"] != blocker["name"]])
    holder = next((task for task in tasks if task["start"] < of["ready"] < task["end"]), None)
    moved = named(freed, spec["of"])["start"]
    values = {"wait": of["wait"] or None, "offload": moved if moved < of["start"] else None}
    values |= {"holder": holder and holder["name"], "longest": waiter and waiter["name"]}
    facts = {"tasks": tasks, "of": of, "blocker": blocker, "waiter": waiter, "holder": holder, "freed": freed}
    return values, facts | {"won": of["start"] - moved, "end": tasks[-1]["end"]}


def queues(d: Draw) -> dict:
    producers = [{"name": name, "rate": d.number(60, 240, 10)} for name in d.services(d.rng.randint(1, 3))]
    names, flow, stages = d.pick("queues", d.rng.choice((1, 2, 2, 2, 3))), sum(p["rate"] for p in producers), []
    slow = d.rng.choice(names)
    for name in names:
        low = max(10, flow // 40 * 5)
        each, depth = d.number(low, 3 * low, 5), d.number(100, 2000, 50)
        count = max(1, (flow - 1) // each - d.rng.randint(0, 2)) if name == slow else flow // each + d.rng.randint(1, 2)
        room = (flow - count * each) * d.number(20, 300, 10) if name == slow else d.number(1000, 8000, 500)
        stages.append({"name": name, "count": count, "each": each, "depth": depth, "capacity": depth + room})
        flow = min(flow, count * each)
    return {"names": names, "producers": producers, "stages": stages}


def solve_queues(spec: dict) -> tuple[dict, dict]:
    arrives = flow = sum(p["rate"] for p in spec["producers"])
    stages = []
    for stage in spec["stages"]:
        power, room = stage["count"] * stage["each"], stage["capacity"] - stage["depth"]
        stages.append({**stage, "in": flow, "out": power, "growth": max(0, flow - power), "room": room})
        flow = min(flow, power)
    slow = max(stages, key=lambda stage: stage["growth"])
    needed, fill = -(-slow["in"] // slow["each"]), slow["room"] // slow["growth"]
    values = {"throughput": flow, "growing": slow["name"] if len(stages) > 1 else None, "fill": fill}
    values["workers"] = needed - slow["count"]
    facts = {"arrives": arrives, "stages": stages, "slow": slow, "needed": needed, "new_out": needed * slow["each"]}
    return values, facts | {"minutes": round(fill / 60, 1)}


def fanout(d: Draw) -> dict:
    count, chained = d.rng.randint(3, 5), d.rng.randint(1, 2)
    root, *names = d.services(1 + count + chained)
    legs = [{"name": name, "ms": d.number(30, 180, 3), "then": "", "then_ms": 0} for name in names[:count]]
    for leg, name in zip(d.rng.sample(legs, chained), names[count:], strict=True):
        leg["then"], leg["then_ms"] = name, d.number(15, 120, 3)
    slow = max(legs, key=lambda leg: leg["ms"] + leg["then_ms"])
    of = d.rng.choice([leg["name"] for leg in legs if leg is not slow])
    numbers = {"own": d.number(4, 40, 2), "target": d.number(5, slow["ms"] - 5, 2)}
    return {"names": names[:count], "root": root, "legs": legs, "of": of, **numbers}


def solve_fanout(spec: dict) -> tuple[dict, dict]:
    own, legs = spec["own"], [{**leg, "sum": leg["ms"] + leg["then_ms"]} for leg in spec["legs"]]
    for leg in legs:
        leg["working"] = f"{leg['ms']} + {leg['then_ms']} = {leg['sum']}" if leg["then"] else f"{leg['ms']}"
    slow, of, every = max(legs, key=lambda leg: leg["sum"]), named(legs, spec["of"]), sum(leg["sum"] for leg in legs)
    new = max(({**leg, "sum": leg["sum"] - (leg["ms"] - spec["target"]) * (leg is slow)} for leg in legs), key=lambda g: g["sum"])
    total, faster = own + slow["sum"], own + new["sum"]
    values = {"total": total, "slack": slow["sum"] - of["sum"] or None, "slowest": top(legs, "sum") and slow["name"]}
    values["faster"] = faster if values["slack"] and faster < total else None
    facts = {"legs": legs, "slow": slow, "of": of, "new": new, "every": every, "serial": own + every, "total": total}
    return values, facts | {"gain": total - faster, "count": len(legs), "naive": total - slow["ms"] + spec["target"]}


def sequence(d: Draw) -> dict:
    (api, *backs), worker, client = d.services(d.rng.randint(3, 4)), d.scenario["side"], d.scenario["client"]
    script = [(client, api, "call", 0)]  # who sends what to whom, how long after the message before
    for back in backs:
        script += [(api, back, "call", d.number(4, 30)), (back, api, "reply", d.number(20, 200, 5))]
    script.insert(2 * d.rng.randint(0, len(backs)) + 1, (api, worker, "send", d.number(4, 30)))
    script.append((api, client, "reply", d.number(4, 30)))
    times, texts = accumulate(wait for *_, wait in script), d.rng.sample(read("sequence")["calls"], 6)
    messages = [{"at": at, "from": a, "to": b, "style": style} for at, (a, b, style, _) in zip(times, script, strict=True)]
    for message in messages:
        message["text"] = "reply" if message["style"] == "reply" else texts.pop()
    messages[[m["style"] for m in messages].index("send")]["text"] = d.rng.choice(read("sequence")["sends"])
    return {"names": [client, api, *backs, worker], "messages": messages, "dead": d.rng.choice([worker, d.rng.choice(backs)])}


def solve_sequence(spec: dict) -> tuple[dict, dict]:
    (client, api, *backs, worker), messages = spec["names"], spec["messages"]
    total, legs = next(m["at"] for m in messages if m["to"] == client), []
    for name in backs:
        asked, replied = (m["at"] for m in messages if {m["from"], m["to"]} == {api, name})
        legs.append({"name": name, "asked": asked, "replied": replied, "ms": replied - asked})
    waiting, slow = sum(leg["ms"] for leg in legs), max(legs, key=lambda leg: leg["ms"])
    own, sent = total - waiting, next(m for m in messages if m["style"] == "send")
    values = {"wait": total, "longest": top(legs, "ms") and slow["name"], "parallel": own + slow["ms"]}
    values["survives"] = "yes" if spec["dead"] == worker else "no"
    role = f"only gets {sent['text']} handed over" if spec["dead"] == worker else f"must reply before {api} can go on"
    facts = {"client": client, "api": api, "worker": worker, "legs": legs, "slow": slow, "waiting": waiting, "total": total}
    return values, facts | {"sent": sent, "own": own, "saved": waiting - slow["ms"], "role": role}


def states(d: Draw) -> dict:
    pool, (trap, failure) = d.scenario["states"], d.scenario["trap"]
    middle = sorted(d.rng.sample(range(1, len(pool) - 1), d.rng.randint(2, 4)))
    events = {name: into for name, *into in (pool[place] for place in (0, *middle, len(pool) - 1))}
    names = list(events)
    pairs = list(zip(names, names[1:], strict=False))
    pairs += d.rng.sample([(a, b) for a in names[:-1] for b in names if a != b and (a, b) not in pairs], d.rng.randint(2, 3))
    edges = [{"from": a, "event": d.rng.choice(events[b]), "to": b} for a, b in pairs]
    edges += [{"from": a, "event": failure, "to": trap} for a in d.rng.sample(names[:-1], d.rng.randint(1, 2))]
    here, walk = names[0], []
    for _ in range(d.rng.randint(4, 6)):
        ways = [edge["event"] for edge in edges if edge["from"] == here and edge["to"] != trap]
        walk.append(d.rng.choice(ways if ways and d.rng.random() < 0.75 else [edge["event"] for edge in edges]))
        here = step(edges, here, walk[-1])
    return {"names": [*names, trap], "final": names[-1], "edges": edges, "walk": walk, "never": d.rng.choice(edges)["event"]}


def step(edges: list[dict], state: str, event: str) -> str:
    """Where an event leads; a state without an arrow for it stays what it is."""
    return next((edge["to"] for edge in edges if (edge["from"], edge["event"]) == (state, event)), state)


def reach(edges: list[dict], start: str) -> dict[str, list[str]]:
    """The shortest list of events from `start` to each state that can be reached."""
    found, todo = {start: []}, [start]
    for here in todo:  # which grows meanwhile
        for edge in edges:
            if edge["from"] == here and edge["to"] not in found:
                found[edge["to"]] = [*found[here], edge["event"]]
                todo.append(edge["to"])
    return found


def solve_states(spec: dict) -> tuple[dict, dict]:
    edges, names, start = spec["edges"], spec["names"], spec["names"][0]
    path = list(accumulate(spec["walk"], partial(step, edges), initial=start))
    trace = [{"event": event, "before": a, "after": b} for event, (a, b) in zip(spec["walk"], pairwise(path), strict=True)]
    dead = [name for name in names if name != spec["final"] and all(edge["from"] != name for edge in edges)]
    kept = list(reach([edge for edge in edges if edge["event"] != spec["never"]], start))
    lost, shortest = [name for name in names if name not in kept], reach(edges, start)[spec["final"]]
    values = {"walk": path[-1], "fewest": len(shortest) if len(shortest) > 1 else None, "without": len(lost)}
    values["dead"] = dead[0] if len(dead) == 1 else None
    facts = {"start": start, "trace": trace, "shortest": shortest, "lost": lost, "kept": kept, "count": len(names)}
    return values, facts | {"trap": names[-1], "traps": [edge["from"] for edge in edges if edge["to"] == names[-1]]}


def architecture(d: Draw) -> dict:
    names = d.services(d.rng.randint(4, 6))
    parents = [None, names[0], names[1], names[1], names[1], names[2]]
    parts, percent = [], {None: 100.0}
    for name, parent in zip(names, parents, strict=False):
        share = d.rng.choice((10, 20, 25, 40, 50, 80, 100) if name in names[2:] else (50, 80, 100, 100)) if parent else 100
        percent[name], count = percent[parent] * share / 100, d.rng.randint(1, 5)
        low = max(10, int(d.rng.uniform(400, 1600) * percent[name] / 100 / count) // 10 * 10)
        part = {"name": name, "from": parent, "share": share, "percent": percent[name]}
        parts.append({**part, "count": count, "each": d.number(low, low + 80, 10)})
    return {"names": names, "parts": parts, "of": d.rng.choice([name for name in names[2:] if percent[name] < 100] or names[2:])}


def solve_architecture(spec: dict) -> tuple[dict, dict]:
    parts = [{**part, "power": part["count"] * part["each"]} for part in spec["parts"]]
    for part in parts:
        part["limit"] = part["power"] * 100 / part["percent"]
    of, slow, weakest = named(parts, spec["of"]), min(parts, key=lambda p: p["limit"]), min(parts, key=lambda p: p["power"])
    clear = all(p is slow or p["limit"] > 1.05 * slow["limit"] for p in parts)
    new_limit, new_slow = min((2 * p["limit"] if p is slow else p["limit"], p["name"]) for p in parts)
    values = {"bottleneck": slow["name"] if clear else None, "most": whole(slow["limit"]) if clear else None}
    values |= {"next": whole(new_limit) if clear and new_slow != slow["name"] else None, "lost": whole(of["percent"])}
    facts = {"parts": parts, "of": of, "slow": slow, "weakest": weakest, "new_slow": new_slow, "new_limit": new_limit}
    return values, facts | {"entry": spec["names"][0], "alive": 100 - of["percent"]}


def whole(number: float) -> int | None:
    return round(number) if abs(number - round(number)) < 1e-9 else None
