"""A status board on which services go down, and sometimes the first comes back."""

from operator import itemgetter

from preprocess.generators.canvas import Canvas
from preprocess.generators.clip_families import moments
from preprocess.generators.drawn import Draw, Solution

NEVER = 99  # a frame that no clip has
COLUMNS = 3


def invent(draw: Draw) -> dict:
    """Seven to nine services; two to five of them go down, each in some frame after the first."""
    rng = draw.rng
    spec = moments(draw)
    names = [*draw.services(rng.randint(6, 8)), draw.scenario["side"]]
    fallen = rng.sample(names, rng.randint(2, 5))
    frames = rng.choices(range(1, spec["count"]), k=len(fallen))
    fails = dict(zip(fallen, sorted(frames), strict=True))
    later = range(fails[fallen[0]] + 1, spec["count"])
    back = {}
    if later and rng.random() < 0.5:
        back[fallen[0]] = rng.choice(later)
    return {**spec, "names": names, "fails": fails, "back": back}


def down(spec: dict, place: int) -> list[str]:
    """The services that are down in a frame."""
    names = []
    for name in spec["names"]:
        if spec["fails"].get(name, NEVER) <= place < spec["back"].get(name, NEVER):
            names.append(name)
    return names


def solve(spec: dict) -> Solution:
    """Which service goes down first, how many are down at the end, which one comes back."""
    red = [down(spec, place) for place in range(spec["count"])]
    failures = sorted(spec["fails"].items(), key=itemgetter(1))
    first, first_at = failures[0]
    values = {
        "first": first if failures[1][1] > first_at else None,
        "red": len(red[-1]),
        "back": next(iter(spec["back"]), None),
    }
    seen = []
    for place, names in enumerate(red):
        seen.append({"at": place * spec["every"], "red": ", ".join(names) or "none"})
    facts = {}
    for name, back in spec["back"].items():
        fell = spec["fails"][name]
        others = [other for other in red[back] if spec["fails"][other] < back]
        facts = {
            "fell_at": seen[fell]["at"],
            "back_at": seen[back]["at"],
            "down_for": seen[back]["at"] - seen[fell]["at"],
            "others_then": others,
            "fell_later": [other for other, at in failures if at > back],
            "alone": all(at >= back for other, at in failures if other != name),
        }
    return values, facts | {
        "late": failures[-1][0],
        "corner": red[-1][0],  # of the board, at the end
        "seen": seen,
        "red_names": red[-1],
        "first": first,
        "fallen": len(spec["fails"]),
        "end": seen[-1]["at"],
        "count_all": len(spec["names"]),
        "first_at": seen[first_at]["at"],
    }


def paint(canvas: Canvas, spec: dict, place: int, height: float) -> None:
    """The board in the frame of that place, counted from 0: a tile a service, red or green."""
    wide = (canvas.width - 24) / COLUMNS
    tall = height / -(-len(spec["names"]) // COLUMNS)
    red = down(spec, place)
    for number, name in enumerate(spec["names"]):
        x = 12 + wide * (number % COLUMNS + 0.5)
        y = canvas.top + tall * (number // COLUMNS + 0.5)
        colour, state = ("#c62828", "DOWN") if name in red else ("#2e7d32", "up")
        canvas.box(x, y, wide - 10, tall - 10, colour)
        canvas.text(x, y - tall * 0.15, name, colour="#ffffff")
        canvas.text(x, y + tall * 0.15, state, canvas.style.px - 1, colour="#ffffff")
