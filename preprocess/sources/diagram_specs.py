"""Specs of diagrams of time and flow, and what follows from them (see drawn). Times in ms, rates in messages a second."""

from __future__ import annotations

from preprocess.sources.drawn import Draw


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
    of = d.rng.choice([name for name in names[1:] if name != longest["name"]])
    return {"names": names, "tasks": tasks, "of": of, "limit": d.number(50, 250, 10)}


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
    moved, end, busy = named(freed, spec["of"])["start"], tasks[-1]["end"], sum(task["ms"] for task in tasks)
    holder = next((task for task in tasks if task["start"] < of["ready"] < task["end"]), None)
    late = [task["name"] for task in tasks if task["wait"] > spec["limit"]]
    values = {
        "wait": of["wait"] or None,
        "holder": holder and holder["name"],
        "longest": waiter and waiter["name"],
        "offload": moved if moved < of["start"] else None,
        "late": len(late) or None,
        "idle": end - busy or None,
    }
    facts = {"tasks": tasks, "of": of, "blocker": blocker, "waiter": waiter, "holder": holder, "freed": freed, "late": late}
    return values, facts | {"won": of["start"] - moved, "end": end, "busy": busy, "percent": round(100 * busy / end)}


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
    of = d.rng.choice(stages)
    dead = d.rng.randint(1, max(1, of["count"] - 1))
    return {"names": names, "producers": producers, "stages": stages, "of": of["name"], "dead": dead}


def solve_queues(spec: dict) -> tuple[dict, dict]:
    arrives = flow = sum(p["rate"] for p in spec["producers"])
    stages = []
    for stage in spec["stages"]:
        power, room = stage["count"] * stage["each"], stage["capacity"] - stage["depth"]
        stages.append({**stage, "in": flow, "out": power, "growth": max(0, flow - power), "room": room})
        flow = min(flow, power)
    slow, of = max(stages, key=lambda stage: stage["growth"]), named(stages, spec["of"])
    needed, left = -(-slow["in"] // slow["each"]), of["count"] - spec["dead"]
    grows = of["in"] - left * of["each"]
    values = {
        "throughput": flow,
        "growing": slow["name"] if len(stages) > 1 else None,
        "fill": slow["room"] // slow["growth"],
        "workers": needed - slow["count"],
        "dies": grows if grows > 0 and left else None,
    }
    facts = {"arrives": arrives, "stages": stages, "slow": slow, "of": of, "needed": needed, "new_out": needed * slow["each"]}
    return values, facts | {"left": left, "left_out": left * of["each"], "minutes": round(values["fill"] / 60, 1)}


def fanout(d: Draw) -> dict:
    count, chained = d.rng.randint(3, 5), d.rng.randint(1, 2)
    root, *names = d.services(1 + count + chained)
    legs = [{"name": name, "ms": d.number(30, 180, 3), "then": "", "then_ms": 0} for name in names[:count]]
    for leg, name in zip(d.rng.sample(legs, chained), names[count:], strict=True):
        leg["then"], leg["then_ms"] = name, d.number(15, 120, 3)
    slow = max(legs, key=lambda leg: leg["ms"] + leg["then_ms"])
    of = d.rng.choice([leg["name"] for leg in legs if leg is not slow])
    numbers = {"own": d.number(4, 40, 2), "target": d.number(5, slow["ms"] - 5, 2), "limit": d.number(60, 220, 10)}
    return {"names": names[:count], "root": root, "legs": legs, "of": of, **numbers}


def solve_fanout(spec: dict) -> tuple[dict, dict]:
    own, legs = spec["own"], [{**leg, "sum": leg["ms"] + leg["then_ms"]} for leg in spec["legs"]]
    for leg in legs:
        leg["working"] = f"{leg['ms']} + {leg['then_ms']} = {leg['sum']}" if leg["then"] else f"{leg['ms']}"
    slow, of, every = max(legs, key=lambda leg: leg["sum"]), named(legs, spec["of"]), sum(leg["sum"] for leg in legs)
    quicker = [{**leg, "sum": leg["sum"] - (leg["ms"] - spec["target"] if leg is slow else 0)} for leg in legs]
    new, cut = max(quicker, key=lambda leg: leg["sum"]), [leg["name"] for leg in legs if leg["sum"] > spec["limit"]]
    values = {
        "total": own + slow["sum"],
        "slowest": top(legs, "sum") and slow["name"],
        "saved": every - slow["sum"],
        "faster": top(legs, "sum") and own + new["sum"],
        "slack": slow["sum"] - of["sum"] or None,
        "cut": len(cut) or None,
    }
    facts = {"legs": legs, "slow": slow, "of": of, "new": new, "cut": cut, "every": every, "serial": own + every}
    facts |= {"total": own + slow["sum"], "gain": slow["sum"] - new["sum"], "kept": len(legs) - len(cut), "count": len(legs)}
    return values, facts | {"naive": own + slow["sum"] - slow["ms"] + spec["target"]}


def sequence(d: Draw) -> dict:
    (api, *backs), worker, client = d.services(d.rng.randint(3, 4)), d.scenario["side"], d.scenario["client"]
    texts, at, messages = iter(d.pick("jobs", 8)), 0, []

    def say(sender: str, receiver: str, style: str, wait: int) -> None:
        nonlocal at
        at += wait
        text = "reply" if style == "reply" else next(texts)
        messages.append({"at": at, "from": sender, "to": receiver, "style": style, "text": text})

    say(client, api, "call", 0)
    handover = d.rng.randint(0, len(backs))
    for place, back in enumerate([*backs, client]):
        if place == handover:
            say(api, worker, "send", d.number(4, 30))
        if back != client:
            say(api, back, "call", d.number(4, 30))
            say(back, api, "reply", d.number(20, 200, 5))
    say(api, client, "reply", d.number(4, 30))
    for back in d.rng.sample(backs, d.rng.randint(0, 2)):
        say(worker, back, "call", d.number(20, 80, 5))
        say(back, worker, "reply", d.number(20, 200, 5))
    if d.rng.random() < 0.4:
        say(worker, backs[-1], "send", d.number(20, 80, 5))
    return {"names": [client, api, *backs, worker], "messages": messages, "dead": d.rng.choice([worker, d.rng.choice(backs)])}


def solve_sequence(spec: dict) -> tuple[dict, dict]:
    (client, api, *backs, worker), messages = spec["names"], spec["messages"]
    total, legs = next(m["at"] for m in messages if m["to"] == client), []
    for name in backs:
        asked, replied = (m["at"] for m in messages if {m["from"], m["to"]} == {api, name})
        legs.append({"name": name, "asked": asked, "replied": replied, "ms": replied - asked})
    waiting, slow = sum(leg["ms"] for leg in legs), max(legs, key=lambda leg: leg["ms"])
    after, sent = [m for m in messages if m["at"] > total], next(m for m in messages if m["style"] == "send")
    values = {
        "wait": total,
        "longest": top(legs, "ms") and slow["name"],
        "own": total - waiting,
        "parallel": total - waiting + slow["ms"],
        "after": len(after),
        "survives": "yes" if spec["dead"] == worker else "no",
    }
    role = f"only gets {sent['text']} handed over" if spec["dead"] == worker else f"must reply before {api} can go on"
    facts = {"client": client, "api": api, "worker": worker, "legs": legs, "slow": slow, "waiting": waiting, "total": total}
    return values, facts | {"sent": sent, "after": after, "own": total - waiting, "saved": waiting - slow["ms"], "role": role}
