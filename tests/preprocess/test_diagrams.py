"""Diagrams and clips: answers computed a second way, pictures readable and the same every time,
held-out apart from training.
"""

from __future__ import annotations

import io
import itertools
import json
import random
import re
import struct
from collections import Counter
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

from common import chat
from common.files import ROOT
from preprocess.generators import diagrams, drawn, video
from preprocess.generators.canvas import NoRoom, Sheet, Style
from preprocess.generators.clips import sampled
from preprocess.generators.diagram_families.timeline import schedule
from preprocess.rows import Skip, restored, to_rows
from preprocess.source import Context

ALL = diagrams.FAMILIES | video.FAMILIES
DATASET = ROOT / "datasets" / "aether"
WORDS = DATASET / "diagrams"


def context(seed: int = 3, heldout: bool = False) -> Context:
    return Context(seed, DATASET, None, heldout, lambda texts: None)


def config(module, count: int, **more):
    kind = module.__name__.rpartition(".")[2]
    more = {"count": count, "heldout": count} | more
    return module.Config(kind=kind, category="vision", system="s.md", **more)


def made(module, count: int, seed: int = 3, heldout: bool = False, **more) -> list:
    return list(module.conversations(config(module, count, **more), context(seed, heldout)))


def specs(family: str, count: int, heldout: bool = False) -> list[dict]:
    found = []
    for number in range(count):
        rng = random.Random(f"{family} {number}")
        scenarios = drawn.wording(WORDS, "scenarios")
        scenario = rng.choice([s for s in scenarios if s.get("heldout", False) == heldout])
        draw = drawn.Draw(rng, scenario, heldout, drawn.wording(WORDS, family))
        found.append({"family": family, "title": scenario["title"], **ALL[family].invent(draw)})
    return found


# The answers once more, by other means: stepping through time, trying every path, counting.


def loop(spec: dict, without: str = "") -> tuple[list[str | None], dict[str, int]]:
    """The event loop millisecond by millisecond: who runs in each, and when each task begins."""
    left = {t["name"]: t["ms"] for t in spec["tasks"] if t["name"] != without}
    ready = {t["name"]: t["ready"] for t in spec["tasks"]}
    begun, ran, running = {}, [], None
    while any(left.values()):
        if running is None or not left[running]:
            waiting = [name for name in left if left[name] and ready[name] <= len(ran)]
            running = min(waiting, key=ready.get) if waiting else None
            if running:
                begun[running] = len(ran)
        if running:
            left[running] -= 1
        ran.append(running)
    return ran, begun


def timeline(spec: dict) -> dict:
    ran, begun = loop(spec)
    ready = {t["name"]: t["ready"] for t in spec["tasks"]}
    waits = {name: begun[name] - ready[name] for name in begun}
    longest = max(spec["tasks"], key=lambda t: t["ms"])["name"]
    return {
        "wait": waits[spec["of"]],
        "holder": ran[ready[spec["of"]]],
        "offload": loop(spec, longest)[1][spec["of"]],
    }


def queues(spec: dict) -> dict:
    """Second by second from the levels drawn; a backlog goes as fast as its workers can."""
    level = {s["name"]: s["depth"] for s in spec["stages"]}
    fill, growing, passed = 0, set(), 0
    for second in range(1, 1000):
        passed = sum(p["rate"] for p in spec["producers"])
        for stage in spec["stages"]:
            name, there = stage["name"], level[stage["name"]] + passed
            passed = min(stage["count"] * stage["each"], there)
            if there - passed > level[name]:
                growing.add(name)
            level[name] = there - passed
            if level[name] >= stage["capacity"] and not fill:
                fill = second
    assert len(growing) == 1
    return {"throughput": passed, "growing": growing.pop(), "fill": fill}


def fanout(spec: dict) -> dict:
    def total(change: dict[str, int]) -> int:
        return spec["own"] + max(
            change.get(g["name"], g["ms"]) + g["then_ms"] for g in spec["legs"]
        )

    own = {g["name"]: g["ms"] for g in spec["legs"]}
    base = total({})
    critical = [name for name, ms in own.items() if total({name: ms + 1}) > base]
    slack = next(
        extra
        for extra in itertools.count()
        if total({spec["of"]: own[spec["of"]] + extra + 1}) > base
    )
    return {
        "total": base,
        "slowest": critical[0],
        "slack": slack,
    }


def sequence(spec: dict) -> dict:
    messages, client, api = spec["messages"], spec["names"][0], spec["names"][1]
    open_calls, waits = {}, {}
    for m in messages:
        if m["style"] == "call":
            open_calls[m["from"], m["to"]] = m["at"]
        if m["style"] == "reply":
            asked = open_calls.pop((m["to"], m["from"]))
            if m["to"] == api:
                waits[m["from"]] = m["at"] - asked
            if m["to"] == client:
                end = m["at"]
    assert not open_calls
    own = end - sum(waits.values())
    return {
        "wait": end,
        "parallel": own + max(waits.values()),
        "survives": "no" if spec["dead"] in waits else "yes",
    }


def states(spec: dict) -> dict:
    table, start = {(e["from"], e["event"]): e["to"] for e in spec["edges"]}, spec["names"][0]
    assert len(table) == len(spec["edges"])  # deterministic

    def reachable(edges: dict, here: str) -> set[str]:
        seen = {here}
        for _ in spec["names"]:
            seen |= {to for (a, _), to in edges.items() if a in seen}
        return seen

    state = start
    for event in spec["walk"]:
        state = table.get((state, event), state)
    kept = reachable({key: to for key, to in table.items() if key[1] != spec["never"]}, start)
    return {
        "walk": state,
        "dead": (set(spec["names"]) - {a for a, _ in table} - {spec["final"]}).pop(),
        "without": len(spec["names"]) - len(kept),
    }


def architecture(spec: dict) -> dict:
    parts = {p["name"]: p for p in spec["parts"]}

    def load(name: str, entry: float) -> float:
        part = parts[name]
        return load(part["from"], entry) * part["share"] / 100 if part["from"] else entry

    def full(entry: float) -> list[str]:
        return [n for n, p in parts.items() if load(n, entry) > p["count"] * p["each"] + 1e-6]

    most = next(rate for rate in itertools.count(1) if full(rate + 1))
    slow = full(most + 1)[0]
    return {
        "bottleneck": slow,
        "most": most,
        "lost": load(spec["of"], 100),
    }


def clip_depth(spec: dict) -> dict:
    levels, every = spec["levels"], spec["every"]
    extreme = max(levels[1:-1]) if levels[-1] < levels[-2] else min(levels[1:-1])
    pace, level, seconds = (levels[-1] - levels[-2]) / every, levels[-1], 0
    while 0 < level < spec["limit"]:
        level, seconds = level + pace, seconds + 1
    return {"turn": levels.index(extreme, 1) * every, "rate": abs(pace), "left": seconds}


def clip_board(spec: dict) -> dict:
    fell, count = spec["fails"], spec["count"]
    shown = [
        {n for n, at in fell.items() if at <= place and not spec["back"].get(n, 99) <= place}
        for place in range(count)
    ]
    news = [(place, name) for place in range(count) for name in fell if fell[name] == place]
    healed = [name for name in fell if name not in shown[-1]]
    return {
        "first": news[0][1],
        "red": len(shown[-1]),
        "back": healed[0] if healed else None,
    }


CHECKERS = (timeline, queues, fanout, sequence, states, architecture, clip_depth, clip_board)
AGAIN = {checker.__name__: checker for checker in CHECKERS}


@pytest.mark.parametrize("family", ALL)
def test_every_answer_is_found_again_by_other_means(family):
    assert set(AGAIN) == set(ALL)
    asked = Counter()
    for spec in specs(family, 120) + specs(family, 40, heldout=True):
        values, again = ALL[family].solve(spec)[0], AGAIN[family](spec)
        assert set(values) == set(again) == set(drawn.wording(WORDS, family)["kinds"])
        for kind, value in values.items():
            if value is not None:
                asked[kind] += 1
                assert (
                    value == pytest.approx(again[kind])
                    if not isinstance(value, str)
                    else value == again[kind]
                ), (kind, spec)
    assert all(asked[kind] >= 10 for kind in drawn.wording(WORDS, family)["kinds"]), asked


@pytest.mark.parametrize("module", [diagrams, video])
def test_rows_hold_and_can_be_recomputed(module):
    told = made(module, 18)
    kinds = {tag for conversation in told for tag in conversation.tags}
    assert {f"family:{family}" for family in module.FAMILIES} <= kinds
    for conversation in told:
        row = to_rows(conversation, lambda png: f"images/{'0' * 64}.png")[0]
        answer = restored(json.loads(json.dumps(row["answer"], sort_keys=True)))
        assert module.recompute(answer, config(module, 18), context()) == answer["value"]
        assert answer["kind"] != "choice" or answer["value"] in answer["choices"]
        said = str(answer["value"]).lower()
        assert (
            said in conversation.turns[0].answer.lower().replace(",", "").replace("**", "")
            or "," in said
        )
    assert (
        len({conversation.id for conversation in told})
        == len({conversation.group for conversation in told})
        == 18
    )


@pytest.mark.parametrize("module", [diagrams, video])
def test_a_talk_asks_everything_of_one_picture_and_the_first_again(module):
    talks = made(module, 8, talks=1)
    for talk in talks:
        assert len(talk.turns) == 4 and talk.turns[0].images
        assert not any(turn.images for turn in talk.turns[1:])
        asked = [turn.check["asks"] for turn in talk.turns]
        assert len(set(asked)) == 3 and asked[0] == asked[3]
        assert len({json.dumps(turn.check["spec"], sort_keys=True) for turn in talk.turns}) == 1
        paragraphs = [text for turn in talk.turns for text in turn.reasoning.split("\n\n")]
        assert len(set(paragraphs)) == len(paragraphs), paragraphs
        for turn in talk.turns:
            assert str(turn.check["value"]) in turn.reasoning, turn
        again = talk.turns[3]
        assert again.user.startswith(tuple(drawn.wording(WORDS, "common")["again"]))
        for row in to_rows(talk, lambda png: f"images/{'0' * 64}.png"):
            answer = restored(row["answer"])
            assert module.recompute(answer, config(module, 1), context()) == answer["value"]
    assert not any(len(one.turns) > 1 for one in made(module, 6, heldout=True, talks=1))


@pytest.mark.parametrize("module", [diagrams, video])
def test_same_seed_same_bytes(module):
    first, again, other = (made(module, 6, seed) for seed in (5, 5, 6))
    assert first == again
    assert not {c.turns[0].images for c in first} & {c.turns[0].images for c in other}


def test_heldout_specs_never_reach_training():
    for low, high, step in ((8, 90, 2), (4, 30, 1), (160, 400, 10), (5, 25, 2)):
        draws = [drawn.Draw(random.Random(0), {}, heldout, {}) for heldout in (False, True)]
        trained, kept = ({draw.number(low, high, step) for _ in range(2000)} for draw in draws)
        assert kept and not trained & kept and trained | kept == set(range(low, high + 1, step))
    for family in ALL:
        trained, kept = specs(family, 150), specs(family, 150, heldout=True)
        assert not {s["title"] for s in trained} & {s["title"] for s in kept}
        shown = [
            {json.dumps({**s, "title": ""}, sort_keys=True) for s in part}
            for part in (trained, kept)
        ]
        assert not shown[0] & shown[1]


@pytest.mark.parametrize("family", ALL)
def test_every_template_fills_in(family):
    wording = drawn.wording(WORDS, family)
    common = drawn.wording(WORDS, "common")
    phrases = (
        "What are we actually trying to",
        "The fundamental constraint",
        "Why we gotta do it like that",
    )
    for kind, templates in wording["kinds"].items():
        asked = [spec for spec in specs(family, 200) if solved(spec)[0][kind] is not None]
        assert len(templates["asks"]) >= 5 and len(templates["answer"]) >= 5 and templates["slip"]
        assert len(templates["work"]) >= 4 and len(templates["mistake"]["why"]) >= 2
        for field in ("asks", "work", "so", "slip", "answer"):
            for text in templates[field]:
                assert not any(phrase in str(text) for phrase in phrases), text
        for number in range(200):
            spec = asked[number % len(asked)]
            values, facts = solved(spec)
            rng = random.Random(f"{kind} {number}")
            facts = spec | facts | {"value": values[kind]}
            for part in drawn.told(wording, common, kind, facts, rng, set()):
                assert part and not chat.reserved_in(part), part
                assert "{" not in part and "None" not in part, part
    assert all(sum(phrase in text for phrase in phrases) == 1 for text in wording["signature"])


def solved(spec: dict) -> tuple[dict, dict]:
    return ALL[spec["family"]].solve(spec)


def without_pictures(module, count: int, seed: int = 7) -> list:
    """The conversations as they are, with nothing drawn."""
    name = "diagram" if module is diagrams else "video"
    series = drawn.Series(name, module.FAMILIES, lambda spec, rng: (b"",), WORDS)
    return list(series.conversations(config(module, count), context(seed)))


@pytest.fixture(scope="module")
def unseen():
    """Conversations of all families, with nothing drawn."""
    return without_pictures(diagrams, 720) + without_pictures(video, 900)


def test_what_the_user_asks_of_the_reply_is_done(unseen):
    tails = drawn.wording(WORDS, "common")["tails"]
    seen = Counter()
    for conversation in unseen:
        turn, answer = conversation.turns[0], conversation.answer
        templates = drawn.wording(WORDS, answer["spec"]["family"])["kinds"][answer["asks"]]
        if turn.user.endswith(tuple(tails["short"])):
            seen["short"] += 1
            assert re.fullmatch(r"\*\*\S+( \S+)?\*\*", turn.answer), turn.answer
        if turn.user.endswith(tuple(tails["steps"])):
            seen["steps"] += 1
            answer_alone, *steps = turn.answer.split("\n\n")
            assert steps and len(turn.answer.split()) > len(answer_alone.split()) + 5
            assert not set(steps) & set(turn.reasoning.split("\n\n"))
        for start, _, end in (tail.partition("{wrong}") for tail in tails["colleague"]):
            found = re.search(f"{re.escape(start)}(.+){re.escape(end)}$", turn.user)
            if found and len(templates["mistake"]["why"]) and (start or end not in (".", "")):
                seen["colleague"] += 1
                wrong = found[1].strip()
                assert wrong.split()[0] != str(answer["value"])
                assert len(turn.answer.split("\n\n")) == 2, turn.answer
                break
    assert min(seen[wish] for wish in ("short", "steps", "colleague")) >= 150, seen


@pytest.mark.parametrize(
    ("number", "value", "seconds"),
    [(323, "plug-api", 2), (503, "setpoint", 6), (395, "results", 2), (149, "cdn-push", 6)],
)
def test_a_service_comes_back_in_the_frame_of_its_recovery(unseen, number, value, seconds):
    """Four replies once named the last frame of the clip instead."""
    conversation = next(c for c in unseen if c.id == f"video-7-{number:05d}")
    turn, spec = conversation.turns[0], conversation.answer["spec"]
    assert conversation.answer["value"] == value
    assert re.search(
        rf"(?:back in|again at|again in|up at)(?: the frame at)? {seconds} s", turn.reasoning
    )
    end = (spec["count"] - 1) * spec["every"]
    assert not re.search(rf"(?:up|back|again) at {end} s", turn.reasoning + turn.answer)


def test_what_is_said_of_the_others_when_one_comes_back_is_true(unseen):
    told = Counter()
    for conversation in unseen:
        if conversation.answer["asks"] != "back":
            continue
        spec, said = conversation.answer["spec"], conversation.turns[0]
        text = f"{said.reasoning} {said.answer}"
        (name, back), *_ = spec["back"].items()
        fell = spec["fails"]
        others = [other for other, at in fell.items() if other != name]
        times = re.findall(r"(?:back at|green again at|up again in the frame at) (\d+) s", text)
        assert set(times) <= {str(back * spec["every"])}, text
        told["times"] += bool(times)
        if "stayed down" in text:
            told["others"] += 1
            assert any(fell[other] < back for other in others), text
        if "was the only one down" in text:
            told["alone"] += 1
            assert all(fell[other] >= back for other in others), text
        if "went down. I would ask" in text:
            told["later"] += 1
            assert any(fell[other] > back for other in others), text
    assert min(told[what] for what in ("times", "others", "alone", "later")) >= 1, told


@pytest.mark.parametrize("family", diagrams.FAMILIES)
def test_nothing_in_a_picture_is_cut_off_or_covered(family, monkeypatch):
    """Every text lies inside its picture, no two overlap, and none is under 11 pixels at the size
    the model sees.
    """
    for number, spec in enumerate(specs(family, 60)):
        rng = random.Random(f"look {number}")
        canvases = []

        def kept(canvas, rng, canvases=canvases):
            canvases.append(canvas)
            return b""

        monkeypatch.setattr("preprocess.generators.canvas.Canvas.png", kept)
        try:
            style = Style.drawn(drawn.wording(WORDS, "styles"), rng)
            note = drawn.wording(WORDS, family).get("note", "")
            diagrams.draw(spec, Sheet(style, spec["title"], note, rng))
        except NoRoom:
            continue
        figure = canvases[-1].figure
        renderer, (width, height) = figure.canvas.get_renderer(), figure.bbox.size
        assert max(width, height) >= 447 and max(width, height) <= 1024
        boxes = [
            (text.get_text(), text.get_window_extent(renderer))
            for text in figure.texts
            if text.get_text()
        ]
        for text in figure.texts:
            assert text.get_fontsize() >= 11, text
        for words, box in boxes:
            assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height, (
                words,
                spec,
            )
        for (one, a), (two, b) in itertools.combinations(boxes, 2):
            over = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
            assert over[0] <= 1 or over[1] <= 2, (one, two, number)


def test_pictures_are_plain_png_files_without_metadata():
    for conversation in [*made(diagrams, 12, 4), *made(video, 3, 4)]:
        assert len(conversation.turns[0].images) in (
            (1,) if "diagram" in conversation.id else (4, 5, 6)
        )
        for png in conversation.turns[0].images:
            at, chunks = 8, set()
            while at < len(png):
                length, chunk = struct.unpack(">I4s", png[at : at + 8])
                chunks.add(chunk)
                at += 12 + length
            assert chunks == {b"IHDR", b"IDAT", b"IEND"}
            assert 448 <= max(Image.open(io.BytesIO(png)).size) <= 1024


def test_the_chart_shows_the_schedule_it_is_asked_about():
    """The bars stand where the answers say: the drawing and the solution share one schedule."""
    spec = specs("timeline", 1)[0]
    assert schedule(spec["tasks"])[-1]["end"] == len(loop(spec)[0])


# A person's own clips.


RED, GREEN, BLUE, GREY = (220, 20, 20), (20, 200, 20), (20, 20, 220), (128, 128, 128)


def clip(path, begins: list[tuple], rotation: int = 0) -> None:
    """An mp4 of 64x48 pixels with one frame a (seconds, colour), at no constant rate; the right
    half is grey.
    """
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"preset": "ultrafast", "g": "3"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        if rotation:
            stream.set_display_rotation(rotation)
        for seconds, colour in begins:
            picture = Image.new("RGB", (64, 48), colour)
            picture.paste(GREY, (32, 0, 64, 48))
            frame = av.VideoFrame.from_image(picture)
            frame.pts, frame.time_base = round(seconds * 1000), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def near(pixel: tuple, colour: tuple) -> bool:
    return bool(np.abs(np.subtract(pixel, colour)).max() < 40)


def test_frames_are_taken_by_time_and_not_by_number(tmp_path):
    """Three frames in the first tenth of a second, the next after nine seconds: by number the
    answers would be others.
    """
    path = tmp_path / "uneven.mp4"
    clip(path, [(0, RED), (0.04, GREEN), (0.1, BLUE), (9, RED), (9.5, GREEN), (10, GREEN)])
    shown = [
        picture.getpixel((8, 8)) for picture in sampled(str(path), [0, 0.05, 0.5, 8.9, 9.0, 9.7])
    ]
    assert [next(c for c in (RED, GREEN, BLUE) if near(pixel, c)) for pixel in shown] == [
        RED,
        GREEN,
        BLUE,
        BLUE,
        RED,
        GREEN,
    ]


def test_a_clip_filmed_upright_comes_out_upright(tmp_path):
    path = tmp_path / "turned.mp4"
    clip(path, [(0, RED), (1, RED)], rotation=90)
    picture = sampled(str(path), [0.5])[0]
    assert picture.size == (48, 64)  # counter-clockwise: what was on the right is now on top
    assert near(picture.getpixel((24, 8)), GREY) and near(picture.getpixel((24, 56)), RED)


SIDECAR = (
    "question: What changes?\nreasoning: |-\n  Red, then blue.\nanswer: It turns blue.\nframes: 4\n"
)


def test_a_clip_of_ones_own_becomes_a_conversation(tmp_path):
    clip(tmp_path / "pump.mp4", [(0, RED), (2, RED), (4, BLUE), (6, BLUE), (8, BLUE)])
    (tmp_path / "pump.yaml").write_text(SIDECAR)
    first, *rest = made(video, 3, clips=str(tmp_path))
    assert (first.id, first.origin, len(rest)) == ("clip-pump", "conversation", 3)
    turn = first.turns[0]
    assert (turn.user, turn.reasoning, turn.answer) == (
        "What changes?",
        "Red, then blue.",
        "It turns blue.",
    )
    pixels = [Image.open(io.BytesIO(png)).getpixel((8, 8)) for png in turn.images]
    assert [near(pixel, RED) for pixel in pixels] == [True, True, False, False]
    assert all(c.origin == "procedural" for c in made(video, 1, heldout=True, clips=str(tmp_path)))


@pytest.mark.parametrize(
    ("break_it", "says"),
    [
        (lambda folder: (folder / "pump.yaml").unlink(), "pump.yaml: no such file"),
        (lambda folder: (folder / "pump.yaml").write_text("question: [\n"), "pump.yaml:2: "),
        (
            lambda folder: (folder / "pump.yaml").write_text("question: Why?\n"),
            "reasoning: missing",
        ),
        (lambda folder: (folder / "pump.yaml").write_text(SIDECAR + "colour: red\n"), "colour"),
        (
            lambda folder: (folder / "pump.yaml").write_text(SIDECAR + "start: 99\n"),
            "nothing between 99 s",
        ),
        (lambda folder: (folder / "pump.mp4").write_bytes(b"\x00" * 4096), "pump.mp4: "),
        (
            lambda folder: (folder / "pump.mp4").write_bytes(
                (folder / "pump.mp4").read_bytes()[:300]
            ),
            "pump.mp4: ",
        ),
        (
            lambda folder: (folder / "pump.mp4").write_text("#EXTM3U\n#EXTINF:1,\n/etc/hostname\n"),
            "pump.mp4: ",
        ),
        (
            lambda folder: (
                (folder / "pump.mp4").rename(folder / "x")
                and (folder / "pump.mp4").symlink_to(folder / "x")
            ),
            "a link",
        ),
    ],
)
def test_a_bad_clip_is_one_line_and_nothing_else(tmp_path, break_it, says):
    clip(tmp_path / "pump.mp4", [(0, RED), (2, BLUE)])
    (tmp_path / "pump.yaml").write_text(SIDECAR)
    break_it(tmp_path)
    first, *rest = made(video, 1, clips=str(tmp_path))
    assert (
        isinstance(first, Skip)
        and says in str(first)
        and str(first).startswith("pump.mp4: ")
        and "\n" not in str(first)
    )
    assert len(rest) == 1
