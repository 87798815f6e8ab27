"""Specs of diagrams of structure, and what follows from them (see drawn). Rates in requests a second, shares in percent."""

from __future__ import annotations

from collections import deque

from preprocess.sources.diagram_specs import named
from preprocess.sources.drawn import Draw


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
    asked = {"walk": walk, "of": d.rng.choice(names[1:-1]), "never": d.rng.choice(edges)["event"]}
    return {"names": [*names, trap], "final": names[-1], "edges": edges, **asked}


def step(edges: list[dict], state: str, event: str) -> str:
    """Where an event leads; a state without an arrow for it stays what it is."""
    return next((edge["to"] for edge in edges if (edge["from"], edge["event"]) == (state, event)), state)


def reach(edges: list[dict], start: str) -> dict[str, list[str]]:
    """The shortest list of events from `start` to each state that can be reached."""
    found, todo = {start: []}, deque([start])
    while todo:
        here = todo.popleft()
        for edge in edges:
            if edge["from"] == here and edge["to"] not in found:
                found[edge["to"]] = [*found[here], edge["event"]]
                todo.append(edge["to"])
    return found


def solve_states(spec: dict) -> tuple[dict, dict]:
    edges, names, of = spec["edges"], spec["names"], spec["of"]
    start, here, trace = names[0], names[0], []
    for event in spec["walk"]:
        there = step(edges, here, event)
        trace.append({"event": event, "what": f"no arrow, stays {here}" if there == here else f"{here} to {there}"})
        here = there
    dead = [name for name in names if name != spec["final"] and all(edge["from"] != name for edge in edges)]
    kept, ways = reach([edge for edge in edges if edge["event"] != spec["never"]], start), reach(edges, of)
    lost, shortest = [name for name in names if name not in kept], reach(edges, start)[spec["final"]]
    values = {
        "walk": here,
        "fewest": len(shortest) if len(shortest) > 1 else None,
        "dead": dead[0] if len(dead) == 1 else None,
        "without": len(lost),
        "back": "yes" if start in ways else "no",
    }
    way = f"{', '.join(ways[start])} leads there" if start in ways else f"all it can become is {', '.join(list(ways)[1:])}"
    facts = {"start": start, "trace": trace, "shortest": shortest, "lost": lost, "kept": list(kept), "way": way}
    facts |= {"count": len(names), "trap": names[-1]}
    return values, facts | {"traps": [edge["from"] for edge in edges if edge["to"] == names[-1]]}


def architecture(d: Draw) -> dict:
    names = d.services(d.rng.randint(4, 6))
    parents = [None, names[0], names[1], names[1], names[1], names[2]]
    parts, percent = [], {None: 100.0}
    for name, parent in zip(names, parents, strict=False):
        share = d.rng.choice((10, 20, 25, 40, 50, 80, 100)) if name in names[2:] else d.rng.choice((50, 80, 100, 100))
        share = share if parent else 100
        percent[name], count = percent[parent] * share / 100, d.rng.randint(1, 5)
        low = max(10, int(d.rng.uniform(400, 1600) * percent[name] / 100 / count) // 10 * 10)
        parts.append({"name": name, "count": count, "each": d.number(low, low + 80, 10), "from": parent, "share": share})
    of = d.rng.choice([name for name in names[2:] if percent[name] < 100] or names[2:])
    return {"names": names, "parts": parts, "of": of, "load": d.number(60, 600, 20), "goal": d.number(1000, 3000, 100)}


def solve_architecture(spec: dict) -> tuple[dict, dict]:
    parts, percent = [], {None: 100.0}
    for part in spec["parts"]:
        share = percent[part["name"]] = percent[part["from"]] * part["share"] / 100
        power = part["count"] * part["each"]
        parts.append({**part, "percent": share, "power": power, "limit": power * 100 / share})
    of, slow, weakest = named(parts, spec["of"]), min(parts, key=lambda p: p["limit"]), min(parts, key=lambda p: p["power"])
    clear = all(p is slow or p["limit"] > 1.05 * slow["limit"] for p in parts)
    new_limit, new_slow = min((2 * p["limit"] if p is slow else p["limit"], p["name"]) for p in parts)
    arrives, comes = spec["load"] * of["percent"] / 100, spec["goal"] * of["percent"] / 100
    needed = int(-(-comes // of["each"]))
    values = {
        "bottleneck": slow["name"] if clear else None,
        "most": whole(slow["limit"]) if clear else None,
        "next": whole(new_limit) if clear and new_slow != slow["name"] else None,
        "busy": whole(100 * arrives / of["power"]) if arrives <= of["power"] else None,
        "need": needed - of["count"] if needed > of["count"] else None,
        "lost": whole(of["percent"]),
    }
    facts = {"parts": parts, "of": of, "slow": slow, "weakest": weakest, "new_slow": new_slow, "new_limit": new_limit}
    facts |= {"arrives": arrives, "comes": comes, "needed": needed}
    return values, facts | {"entry": spec["names"][0], "alive": 100 - of["percent"]}


def whole(number: float) -> int | None:
    return round(number) if abs(number - round(number)) < 1e-9 else None
