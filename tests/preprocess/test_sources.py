"""The sources: worked solutions of public sets, a person's own exports, and what is masked in
them."""

from __future__ import annotations

import io
import json
import random
import re
import shutil
from pathlib import Path

import pytest
import yaml
from PIL import Image

from common import hub
from common.answers import is_value
from common.files import FileError
from common.triad import TriadError
from preprocess import source
from preprocess.benchmarks import Benchmark, Problem
from preprocess.rows import Conversation, Skip
from preprocess.source import Context, MixError
from preprocess.sources import seeds, worked
from preprocess.sources.worked import solutions
from preprocess.sources.worked.replies import reply

AETHER = Path(__file__).resolve().parents[2] / "datasets" / "aether"
SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
GSM = {
    "question": "Mr. Ito buys 12 boxes at $4 each. He pays with a $100 bill. How much change does he get?",
    "answer": "The boxes cost 12*4 = $<<12*4=48>>48.\nHe gets 100-48= $<<100-48=52>>52 of change.\n#### 52",
}
MATH = {
    "problem": "Let $x$ satisfy $2x = 3.$ Find $x.$",
    "solution": "Divide both sides by 2. This gives $x = \\boxed{\\frac{3}{2}}.$",
    "type": "Algebra",
}


def test_gsm8k_is_recomputed():
    solved = solutions.gsm8k(GSM)
    assert solved.steps == ("The boxes cost 12 × 4 = $48.", "He gets 100-48 = $52 of change.")
    assert solved.shown == "$52 of change"
    assert solved.check == {"kind": "number", "value": 52, "tolerance": 1e-6}
    assert solved.chain == ((0, "12*4", "48"), (1, "100-48", "52"))


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("12*4=48", "12*4=49", "does not hold exactly"),
        ("12*4=48", "12*=48", "does not hold exactly"),
        ("#### 52", "#### 53", "does not end at its answer"),
        ("<<100-48=52>>", "", "does not end at its answer"),
    ],
)
def test_gsm8k_refuses_what_does_not_hold(old, new, reason):
    with pytest.raises(Skip, match=reason):
        solutions.gsm8k(GSM | {"answer": GSM["answer"].replace(old, new)})


def test_math_takes_its_box():
    solved = solutions.math(MATH)
    assert solved.check == {"kind": "latex", "value": "\\frac{3}{2}"}
    assert solved.steps == ("Divide both sides by 2.", "This gives $x = \\frac{3}{2}.$")
    assert solved.shown == "$\\boxed{\\frac{3}{2}}$"
    assert solutions.math(MATH | {"solution": "It is $\\boxed{1{,}200}$."}).check["value"] == 1200
    listed = solutions.math(MATH | {"solution": "They are $\\boxed{0,1,2}$."})
    assert listed.check == {"kind": "latex", "value": "0,1,2"}


@pytest.mark.parametrize(
    "solution",
    [
        "No box here.",
        "$\\boxed{1}$ or $\\boxed{2}$",
        "$\\boxed{1",
        "See [asy]draw();[/asy] $\\boxed{1}$",
    ],
)
def test_math_refuses(solution):
    with pytest.raises(Skip):
        solutions.math(MATH | {"solution": solution})


def test_sentences_do_not_cut_formulas_or_titles():
    assert solutions.sentences("Dr. No left at 5 p.m. Monday. She had 6. Why?") == [
        "Dr. No left at 5 p.m. Monday.",
        "She had 6.",
        "Why?",
    ]
    tex = "Let $f(x) = 2. If x$ be. Then \\[x = 2. \\] Find $y.$ It costs \\$5. So?"
    assert solutions.sentences(tex) == [
        "Let $f(x) = 2. If x$ be.",
        "Then \\[x = 2. \\] Find $y.$",
        "It costs \\$5.",
        "So?",
    ]


@pytest.mark.parametrize(
    ("last", "shown"),
    [
        ("He gets 100-48= $<<100-48=52>>52 back.", "$52 back"),
        ("So 100-48 = $<<100-48=52>>52 is left of it.", "$52"),
        ("Then 100-48 = <<100-48=52>>52", "52"),
        ("He gets <<100-48=52>>52 dollars.", "52"),
    ],
)
def test_the_final_value_is_shown_with_what_it_counts(last, shown):
    assert (
        solutions.gsm8k(GSM | {"answer": f"It is 12*4 = <<12*4=48>>48.\n{last}\n#### 52"}).shown
        == shown
    )


@pytest.mark.parametrize(
    ("asked", "last", "shown"),
    [
        ("What is the average time in minutes that he spends?", "So 100-48={}.", "52 minutes"),
        ("How many apples are left?", "So 100-48={}.", "52 apples"),
        ("How many more boxes does he need?", "So 100-48={}.", "52 boxes"),
        ("How much money is left of the $100?", "So 100-48={}.", "$52"),
        ("How long does it take?", "It takes 52 minutes because 100-48={}.", "52 minutes"),
        ("What does he pay?", "He pays $52 because 100-48={}.", "$52"),
        # Nobody says for sure what is counted.
        ("How many miles per hour is that?", "So 100-48={}.", "52"),
        ("How many does he have?", "So 100-48={}.", "52"),
        ("How many dogs' bowls are there?", "So 100-48={}.", "52"),
        ("How many cats, and how many dogs?", "So 100-48={}.", "52"),
        ("How much money is left?", "So 100-48={}.", "52"),
    ],
)
def test_a_value_is_said_with_what_the_question_asks_for(asked, last, shown):
    record = {
        "question": f"There is a story. {asked}",
        "answer": f"It is 12*4 = <<12*4=48>>48.\n{last.format('<<100-48=52>>52')}\n#### 52",
    }
    solved = solutions.gsm8k(record)
    assert solved.shown == shown
    texts = source.load(AETHER / "framings" / "worked.yaml", dict)
    answers = {reply(solved, texts, random.Random(n))[1].split("\n")[0] for n in range(40)}
    plain = {text.replace("{value}", "52") for text in texts["bare"]}
    assert answers == plain if shown == "52" else len(answers) > 3


@pytest.mark.parametrize(("said", "shown"), [("$16,320", "$16,320"), ("16320", "16,320")])
def test_five_digits_are_grouped(said, shown):
    step = "Therefore the annual salary is 12 * $1360 ="
    record = {
        "question": "Determine her annual salary.",
        "answer": f"{step} <<12*1360=16320>>{said}.\n#### 16320",
    }
    assert solutions.gsm8k(record).shown == shown


def test_every_reply_says_its_value():
    texts = source.load(AETHER / "framings" / "worked.yaml", dict)
    for n in range(200):
        for solved in (solutions.gsm8k(GSM), solutions.math(MATH)):
            reasoning, answer = reply(solved, texts, random.Random(n))
            assert is_value(solved.check, answer), answer
            # The reasoning is the solution: nothing repeats the question, nothing steps back.
            steps = [re.sub(r"^\d+\. ", "", line) for line in reasoning.splitlines() if line]
            assert tuple(steps) == solved.steps
            assert not re.search(r"\{(value|chain)\}|<<", answer)


@pytest.mark.parametrize(
    ("line", "steps"),
    [
        ("It is 12*4 = <<12*4=48>>48 boxes,", ("It is 12 × 4 = 48 boxes.",)),
        ("It is 12*4 = <<12*4=48>>48 boxes..", ("It is 12 × 4 = 48 boxes.",)),
        ('It is 12*4 = <<12*4=48>>48.  "', ("It is 12 × 4 = 48.",)),
        ("It is 12*4 = <<12*4=48>>48 .", ("It is 12 × 4 = 48.",)),
        ("It is 12*4 = <<12*4=48>>48 boxes per\nhour.", ("It is 12 × 4 = 48 boxes per hour.",)),
        ("It is 12*4 = <<12*4=48>>48 and\nL = 5", ("It is 12 × 4 = 48 and L = 5.",)),
        ("It is 12*4 = <<12*4=48>>48\nx = 5", ("It is 12 × 4 = 48.", "X = 5.")),
        ('A 5" pipe: 12*4 = <<12*4=48>>48', ('A 5" pipe: 12 × 4 = 48.',)),
    ],
)
def test_a_line_of_gsm8k_becomes_a_whole_sentence(line, steps):
    solved = solutions.gsm8k(GSM | {"answer": f"{line}\nSo 100-48 = <<100-48=52>>52.\n#### 52"})
    assert solved.steps[:-1] == steps


def test_texts_that_are_broken_are_left_out_or_mended():
    with pytest.raises(Skip, match="a bracket"):
        solutions.gsm8k(GSM | {"answer": "So 1(52 = <<52*1=52>>52.\n#### 52"})
    blank = solutions.math(MATH | {"solution": "It is $\\boxed {17}.$- OR -\n\nWe note $17$."})
    assert blank.steps == ("It is $17.$",) and blank.check["value"] == 17


# What was broken in rows that were built before, by the beginning of the problem.
BROKEN = {
    "A question and answer forum has 200": "9 answers per hour.",
    "Belle eats 4 dog biscuits": "7 dollars.",
    "Uki owns a bakery": "5 × $70 = $350.",
    "Reynald is the head of the varsity": "30 volleyballs.",
    "At the family reunion, everyone ate": "2 + 10 = 12 pounds.",
    "Find the distance between the points (0,15)": "= \\sqrt{64 + 225} = 17.$$",
}
LEFT_OUT = (
    "The length of a rectangle is four times its width. If the area is 100 m2",
    "Tom plays 9 rounds of golf",
    "Bella bought stamps at the post office. Some",
)


@pytest.mark.skipif(not SHARED.exists(), reason="the public sets are not beside the repository")
def test_the_broken_texts_are_whole_and_the_disputable_problems_left_out():
    kept = {}
    for kind, key in (("gsm8k", "question"), ("math", "problem")):
        tests = [record[key] for record in hub.records(kind, "test", SHARED)]
        benchmark = Benchmark(Problem(f"{kind} test", text, True) for text in tests)
        config = worked.Config(kind=kind, category="c", system="s")
        context = Context(7, AETHER, SHARED, False, benchmark.contaminated)
        for made in worked.conversations(config, context):
            if isinstance(made, Conversation):
                kept[made.turns[0].user] = made.turns[0].reasoning
    for begins, sentence in BROKEN.items():
        found = [reasoning for user, reasoning in kept.items() if begins in user]
        assert len(found) == 1 and sentence in found[0], begins
        assert not re.search(r"[,;.\"]\.(?:\n|$)|\\boxed|\bOR\b", found[0])
    for begins in LEFT_OUT:
        assert not any(begins in user for user in kept), begins


def test_a_problem_with_other_numbers_is_told_from_another_problem():
    asked = "Evaluate: $102^2 - 98^2$"
    benchmark = Benchmark([Problem("math test", asked, True)])
    with pytest.raises(Skip, match="public test set with other numbers"):
        benchmark.contaminated(["Evaluate: $64^2-36^2$"], whole=True)
    assert benchmark.contaminated(["Evaluate: $64^2-36^2$"]) is None  # part of a row's text
    assert benchmark.contaminated(["Find $x$ if $2x = 3.$"], whole=True) is None
    assert Benchmark().contaminated([asked], whole=True) is None
    ours = Benchmark([Problem("our own", asked, False)])
    assert ours.contaminated(["Evaluate: $64^2-36^2$"], whole=True) is None  # its numbers count


@pytest.fixture
def hub_folder(tmp_path: Path) -> Path:
    for name, records in (
        ("gsm8k", [GSM | {"question": f"{n} years ago. " + GSM["question"]} for n in range(40)]),
        ("math", [MATH, MATH]),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "train.jsonl").write_text(
            "".join(json.dumps(record) + "\n" for record in records)
        )
    return tmp_path


def solved(kind: str, folder: Path, sessions: float = 0) -> list:
    """What the source of a public set yields."""
    config = worked.Config(kind=kind, category="c", system="s", sessions=sessions)
    context = Context(7, AETHER, folder, False, Benchmark().contaminated)
    return list(worked.conversations(config, context))


def test_sessions_hold_four_to_six_problems(hub_folder):
    made = solved("gsm8k", hub_folder, 0.5)
    assert sum(len(c.turns) for c in made) == 40
    assert {len(c.turns) for c in made} >= {1, 4}
    assert made == solved("gsm8k", hub_folder, 0.5)
    assert [str(x) for x in solved("math", hub_folder)][1] == "the same problem twice"


def test_hub_errors_are_one_line(hub_folder, monkeypatch):
    (hub_folder / "gsm8k" / "train.jsonl").write_text('{"question": 1}\n{broken\n')
    with pytest.raises(hub.HubError, match=r"train.jsonl:2: not a JSON object"):
        solved("gsm8k", hub_folder)
    with pytest.raises(
        hub.HubError, match=r"math/test.jsonl: .*No such file.*HUB_DIR is a folder with"
    ):
        list(hub.records("math", "test", hub_folder))
    monkeypatch.setattr(hub, "LOCK", hub_folder / "hub.lock")
    with pytest.raises(hub.HubError, match="run make pin, or give HUB_DIR="):
        list(hub.records("gsm8k", "train", None))


@pytest.mark.skipif(not SHARED.exists(), reason="the public sets are not beside the repository")
def test_the_public_sets_are_recomputed_and_mostly_kept():
    for kind, least in (("gsm8k", 6800), ("math", 6000)):
        made = [c for c in solved(kind, SHARED) if isinstance(c, Conversation)]
        assert len(made) > least
        # "The answer is 1 million." under a check of 1: the gate drops such a row, and counts it.
        unread = [c for c in made[::10] if not is_value(c.turns[0].check, c.turns[0].answer)]
        assert len(unread) <= len(made) / 5000, unread


def seed(name: str, **about: object) -> dict:
    turn = {"user": f"What is {name}?", "reasoning": "Ask what waits.", "answer": "It waits."}
    start = {"id": name, "domain": "games", "level": "expert", "mood": "neutral", "turns": [turn]}
    return start | about


def written(folder: Path, pattern: str) -> list:
    config = seeds.Config(kind="seeds", path=pattern, category="c", system="s")
    context = Context(7, folder, None, False, Benchmark().contaminated)
    return list(seeds.conversations(config, context))


def test_seeds_may_lie_in_several_files(tmp_path):
    (tmp_path / "seeds").mkdir()
    for name in ("async", "async-01", "async-02", "nudge"):
        (tmp_path / "seeds" / f"{name}.yaml").write_text(yaml.safe_dump([seed(f"{name}-x")]))
    ids = [conversation.id for conversation in written(tmp_path, "seeds/async*.yaml")]
    assert sorted(ids) == ["async-01-x", "async-02-x", "async-x"]
    assert [one.id for one in written(tmp_path, "seeds/nudge.yaml")] == ["nudge-x"]
    absolute = str(tmp_path / "seeds" / "nudge.yaml")
    assert [one.id for one in written(tmp_path, absolute)] == ["nudge-x"]
    with pytest.raises(MixError, match=r"seeds/x\*\.yaml: no such file"):
        written(tmp_path, "seeds/x*.yaml")


def test_a_seed_of_the_same_id_names_both_files(tmp_path):
    for name in ("a", "b"):
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump([seed("same")]))
    with pytest.raises(MixError, match=r"b\.yaml: same: stands in .*a\.yaml too"):
        written(tmp_path, "*.yaml")
    (tmp_path / "b.yaml").write_text(yaml.safe_dump([seed("twice"), seed("twice")]))
    with pytest.raises(MixError, match=r"b\.yaml: twice: stands in .*b\.yaml too"):
        written(tmp_path, "b.yaml")


def test_a_forgotten_dash_is_refused_and_not_half_a_seed(tmp_path):
    text = yaml.safe_dump([seed("a"), seed("b")], sort_keys=False)
    first, second = text.index("- id: a"), text.index("- id: b")
    broken = text[:second] + "  " + text[second + 2 :]
    assert first == 0
    (tmp_path / "s.yaml").write_text(broken)
    with pytest.raises(FileError, match=r"s\.yaml:\d+: id: given twice"):
        written(tmp_path, "s.yaml")
    turns = [{"user": f"u{n}", "reasoning": "r", "answer": "a"} for n in range(2)]
    two = yaml.safe_dump([seed("a", turns=turns)], sort_keys=False)
    last = two.rindex("  - user")
    (tmp_path / "s.yaml").write_text(two[:last] + "    " + two[last + 4 :])
    with pytest.raises(FileError, match=r"s\.yaml:\d+: user: given twice"):
        written(tmp_path, "s.yaml")


@pytest.mark.parametrize(
    ("about", "says"),
    [
        ({"target": "grok-5"}, "'grok-5' is no member"),
        ({"mood": "angry"}, "mood: 'angry'; must be"),
        ({"moood": "curious"}, r"moood: no such key; did you mean mood\?"),
        ({"turns": [{"user": "u", "answer": True}]}, "answer: True is no text .* put it in quotes"),
        ({"turns": []}, "turns: .*List should have at least 1 item"),
    ],
)
def test_a_wrong_seed_is_named(tmp_path, about, says):
    shutil.copy(AETHER / "triad.yaml", tmp_path)
    (tmp_path / "s.yaml").write_text(yaml.safe_dump([seed("fine"), seed("wrong", **about)]))
    with pytest.raises(MixError, match=rf"s\.yaml(:\d+)?: wrong\..*{says}"):
        written(tmp_path, "s.yaml")


def test_a_wrong_list_of_members_is_named(tmp_path):
    (tmp_path / "triad.yaml").write_text("membrs: {edge: {}}\n")
    (tmp_path / "s.yaml").write_text(yaml.safe_dump([seed("a", target="edge")]))
    with pytest.raises(TriadError, match=r"triad\.yaml.*membrs"):
        written(tmp_path, "s.yaml")


def shown_turn(**pictures: object) -> dict:
    return {"user": "What is it?", "reasoning": "Look.", "answer": "A queue."} | pictures


TIMELINE = {
    "family": "timeline",
    "names": ["read", "write", "flush", "close"],
    "tasks": [
        {"name": name, "ready": 10 * n, "ms": 100 if n == 1 else 20}
        for n, name in enumerate(("read", "write", "flush", "close"))
    ],
}


def test_a_seed_shows_pictures_that_pass_the_decoder_of_the_house(tmp_path):
    half = Image.new("RGBA", (40, 30), (255, 0, 0, 128))
    half.save(tmp_path / "half.png")
    (tmp_path / "diagrams").symlink_to(AETHER / "diagrams")
    turns = [
        shown_turn(image="half.png"),
        shown_turn(images=["half.png", {"draw": TIMELINE, "look": 1}]),
        shown_turn(),
    ]
    (tmp_path / "s.yaml").write_text(yaml.safe_dump([seed("a", turns=turns, licence="CC0-1.0")]))
    note, made = written(tmp_path, "s.yaml")
    assert "CC0-1.0" in note.text
    assert [len(turn.images) for turn in made.turns] == [1, 2, 0]
    with Image.open(io.BytesIO(made.turns[0].images[0])) as picture:
        assert picture.mode == "RGB" and picture.getpixel((0, 0))[1] > 100  # laid on white
    drawn = made.turns[1].images
    assert drawn[0] == made.turns[0].images[0] and drawn[1].startswith(b"\x89PNG")
    assert written(tmp_path, "s.yaml")[1] == made


@pytest.mark.parametrize(
    ("shows", "says"),
    [
        ({"image": "missing.png"}, "no file in the dataset's folder"),
        ({"image": ""}, "no file in the dataset's folder"),
        ({"image": "../outside.png"}, "no file in the dataset's folder"),
        ({"image": "/etc/hostname"}, "no file in the dataset's folder"),
        ({"image": "link.png"}, "no file in the dataset's folder"),
        ({"image": "text.png"}, "no picture that is known"),
        ({"image": "large.png"}, "scale it down"),
        ({"image": "https://example.org/a.png"}, "no file in the dataset's folder"),
        ({"image": {"draw": {"family": "tmeline"}}}, "no family 'tmeline'; did you mean timeline"),
        ({"image": {"draw": {"family": "timeline", "names": []}}}, "cannot be drawn"),
        ({"image": {"draw": {}}}, "no family 'None'"),
        ({"image": "a.png", "images": ["b.png"]}, "not both"),
    ],
)
def test_a_picture_that_cannot_be_used_is_named_with_its_seed(tmp_path, shows, says):
    folder = tmp_path / "inner"
    folder.mkdir()
    for path in (tmp_path / "outside.png", folder / "fine.png"):
        Image.new("RGB", (8, 8)).save(path)
    (folder / "link.png").symlink_to(folder / "fine.png")
    (folder / "text.png").write_text("no picture")
    (folder / "large.png").write_bytes(bytes(seeds.LARGEST + 1))
    (folder / "diagrams").symlink_to(AETHER / "diagrams")
    (folder / "s.yaml").write_text(yaml.safe_dump([seed("odd", turns=[shown_turn(**shows)])]))
    with pytest.raises(MixError, match=f"odd.*{says}"):
        written(folder, "s.yaml")
