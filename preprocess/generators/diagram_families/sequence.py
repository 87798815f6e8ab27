"""Messages between services: calls that are waited for, and one that is only handed over."""

from itertools import accumulate
from operator import itemgetter

from preprocess.generators.canvas import MARGIN, Canvas, Sheet
from preprocess.generators.drawn import Draw, Solution


def invent(draw: Draw) -> dict:
    """A client's call, what its API asks of two or three services one by one, what it hands to a
    worker, its reply.
    """
    api, *backs = draw.services(draw.rng.randint(3, 4))
    worker = draw.scenario["side"]
    client = draw.scenario["client"]
    calls = draw.rng.sample(draw.wording["calls"], 1 + len(backs))
    script = [(client, api, "call", calls.pop(), 0)]  # the last is the time since the one before
    for back in backs:
        script.append((api, back, "call", calls.pop(), draw.number(4, 30)))
        script.append((back, api, "reply", "reply", draw.number(20, 200, 5)))
    thing = draw.rng.choice(draw.wording["sends"])
    sent = (api, worker, "send", thing, draw.number(4, 30))
    script.insert(2 * draw.rng.randint(0, len(backs)) + 1, sent)
    script.append((api, client, "reply", "reply", draw.number(4, 30)))
    times = accumulate(message[-1] for message in script)
    messages = [
        {"from": source, "to": target, "style": style, "text": text, "at": at}
        for (source, target, style, text, _), at in zip(script, times, strict=True)
    ]
    back = draw.rng.choice(backs)
    return {
        "names": [client, api, *backs, worker],
        "messages": messages,
        "dead": draw.rng.choice([worker, back]),
    }


def solve(spec: dict) -> Solution:
    """How long the client waits, how long with all calls at once, whether it gets a reply with one
    service dead.
    """
    client, api, *backs, worker = spec["names"]
    messages = spec["messages"]
    total = next(message["at"] for message in messages if message["to"] == client)
    sent = next(message for message in messages if message["style"] == "send")
    legs = []
    for name in backs:
        pair = {api, name}
        asked, replied = (m["at"] for m in messages if {m["from"], m["to"]} == pair)
        legs.append({"name": name, "asked": asked, "replied": replied, "ms": replied - asked})
    waiting = sum(leg["ms"] for leg in legs)
    slow = max(legs, key=itemgetter("ms"))
    own = total - waiting
    lives = spec["dead"] == worker
    role = f"must reply before {api} can go on"
    if lives:
        role = f"only gets {sent['text']} handed over"
    values = {
        "wait": total,
        "parallel": own + slow["ms"],
        "survives": "yes" if lives else "no",
    }
    return values, {
        "client": client,
        "api": api,
        "worker": worker,
        "legs": legs,
        "slow": slow,
        "waiting": waiting,
        "total": total,
        "sent": sent,
        "own": own,
        "saved": waiting - slow["ms"],
        "role": role,
        "handed": lives,
        "awaited": not lives,
    }


def layout(spec: dict, sheet: Sheet) -> Canvas:
    """Lifelines side by side, one arrow a message in order, its time at the left; not to scale."""
    messages = spec["messages"]
    style = sheet.style
    px = style.px - 1
    boxes = [1.1 * style.width(name) + 20 for name in spec["names"]]
    texts = [style.width(message["text"], 1) + 30 for message in messages]
    pitch = max(max(boxes) + 14, *texts) * sheet.rng.uniform(1, 1.15)
    times = style.width("1000 ms", 1) + 12
    step = style.px * sheet.rng.uniform(2.3, 2.9)
    height = 2.6 * style.px + step * (len(messages) + 0.6)
    canvas = sheet.canvas(times + pitch * len(boxes), height)
    fill = sheet.rng.choice(style.palette["fills"])
    top = canvas.top + 2.2 * style.px
    lanes = {}
    for place, (name, wide) in enumerate(zip(spec["names"], boxes, strict=True)):
        x = lanes[name] = MARGIN + times + pitch * (place + 0.5)
        canvas.line([(x, top), (x, top + step * (len(messages) + 0.5))], "soft", 1)
        canvas.box(x, top - 1.1 * style.px, wide, 2.2 * style.px, fill)
        canvas.text(x, top - 1.1 * style.px, name, colour="text", bold=True)
    for number, message in enumerate(messages, 1):
        y = top + step * number
        start = lanes[message["from"]]
        stop = lanes[message["to"]]
        sent = message["style"] == "send"
        canvas.text(MARGIN, y, f"{message['at']} ms", px, "left")
        canvas.line(
            [(start, y), (stop, y)],
            "alarm" if sent else "ink",
            dashed=message["style"] == "reply",
            head=True,
            hollow=sent,
        )
        middle = start + (pitch if stop > start else -pitch) / 2
        canvas.plate(middle, y - px * 0.75, message["text"])
    return canvas
