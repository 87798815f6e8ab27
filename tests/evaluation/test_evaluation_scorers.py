"""Scorers, statistics, gates and the table of recipes: hand-computed cases, and replies that mean harm."""

import json
import sys
import time
import types

import pytest
from canned import final
from PIL import Image

from common import chat, hub, rows
from common.files import ROOT, FileError, load_json
from common.recipes import Recipe, all_recipes, find
from evaluation import (
    benchmarks,
    gates,
    index,
    programs,
    report,
    results,
    scorers,
    suites,
)
from evaluation.question import Absent, Question, SuiteError

LONG = "word " * 50_000
MILLION = "9" * 1_000_000
EXPECT = {
    "voice": {},
    "identity": {"must": ["aetherai"], "must_not": ["openai"]},
    "nudge": {},
    "routing": {"target": "edge"},
    "number": {"value": "42", "tolerance": 1e-4},
    "boxed": {"value": "\\frac{1}{2}"},
    "answer": {
        "kind": "choice",
        "value": "cache",
        "tolerance": 0.0,
        "choices": ["cache", "cache-db", "queue"],
    },
    "exam": {"value": "B", "options": ["a queue", "a cache"]},
    "looking": {"kind": "text", "value": "red", "tolerance": 0.0, "choices": ["blue", "red"]},
    "code": {"tests": "assert twice(2) == 4", "entry": "twice", "needs": ["twice"]},
    "design": {"rubric": ["Says so."]},
}
RIGHT = {
    "identity": "I am AetherAI.",
    "nudge": "Look at what waits. What does the trace say?",
    "routing": "At the sensor, because milliseconds count.\n\nRoute: edge",
    "number": "Answer: 42",
    "boxed": "\\boxed{0.5}",
    "answer": "**cache** it is",
    "exam": "Answer: (B)",
    "looking": "It is red.",
    "code": "```python\ndef twice(x):\n    return 2 * x\n```",
}


def value(kind, text, stop="stop", **more):
    return scorers.measure(kind, text, stop, EXPECT[kind] | more)


def test_every_kind_has_a_version_and_the_suites_use_them():
    kinds = {*EXPECT, "called"}  # whose replies are calls: test_calls.py
    assert set(scorers.SCORERS) == kinds and set(scorers.VERSION) == {*kinds, "label"}
    assert {suite["score"] for suite in scorers.settings()["suites"].values()} <= set(
        scorers.SCORERS
    )


@pytest.mark.parametrize("kind", RIGHT)
def test_a_right_reply_is_right_and_the_same_words_unended_or_unbegun_are_nothing(kind):
    name = results.measurements(kind)[0][0]
    assert value(kind, final(RIGHT[kind]))[name] is True
    for text, stop, status in (
        ("", "stop", chat.UNANSWERED),
        (RIGHT[kind], "stop", chat.UNANSWERED),  # only reasoning
        (f"Here are my reasoning steps:\n{RIGHT[kind]}", "max_tokens", chat.TRUNCATED),
        (final(RIGHT[kind]).removesuffix("[END FINAL RESPONSE]"), "max_tokens", chat.TRUNCATED),
        (final(" "), "stop", chat.UNANSWERED),
    ):
        found = value(kind, text, stop)
        assert found["status"] == status and name not in found and not found["well_formed"]


def test_a_route_in_prose_counts_for_nothing():
    name = results.measurements("routing")[0][0]
    prose = "The edge member decides: I route it to edge."
    assert value("routing", final(prose))[name] is False
    assert value("routing", final(f"{prose}\n\nRoute: edge"))[name] is True
    assert value("routing", final(prose), target="self")[name] is True


@pytest.mark.parametrize("kind", RIGHT)
def test_of_two_final_blocks_the_last_counts(kind):
    name = results.measurements(kind)[0][0]
    other = {"routing": "x\nRoute: grok-4-fast", "nudge": "No."}.get(
        kind, "Nothing of the kind, openai, 7."
    )
    both = final(RIGHT[kind]) + "\n" + final(other)
    assert value(kind, both)[name] is False and not value(kind, both)["well_formed"]
    assert value(kind, final(other) + "\n" + final(RIGHT[kind]))[name] is True


@pytest.mark.parametrize("kind", [kind for kind in EXPECT if kind != "code"])
@pytest.mark.parametrize("answer", [MILLION, f"Answer: {MILLION}", f"\\boxed{{{MILLION}}}", LONG, "\\boxed{" * 50_000, "**" * 150_000, "?" * 300_000, "```\n" * 60_000, "answer is:\n" * 30_000])  # fmt: skip
def test_a_degenerate_reply_costs_milliseconds_and_is_not_right(kind, answer):
    text = final(answer, LONG)
    value(kind, final("warm"))
    started = time.process_time()
    found = value(kind, text)
    assert time.process_time() - started < 0.25
    assert not any(found.get(name) for name in ("correct", "nudges", "signature_phrase"))


def test_scorers_handle_a_thousand_replies_a_second():
    body = "The queue grows by 40 a second. Look at the worker. Should it wait? " * 30
    for kind in EXPECT:
        if kind == "code":
            continue
        value(kind, final("warm"))
        texts = [final(f"{body} {n} {RIGHT.get(kind, '')}", body) for n in range(200)]
        started = time.process_time()
        for text in texts:
            value(kind, text)
        assert 200 / (time.process_time() - started) > 1000, kind


SPELLINGS = ["\\frac{1}{2}", "\\dfrac12", "\\tfrac{1}{2}", "0.5", ".50", "1/2", "\\frac{2}{4}", "$\\frac 12$", "\\,\\frac{1}{2}\\,", "+0.500", "\\displaystyle\\frac{1}{2}", "x = \\frac{1}{2}"]  # fmt: skip


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_one_number_in_many_spellings(spelling):
    if spelling.startswith("x"):
        pytest.importorskip("math_verify")
    assert value("boxed", final(f"So it is $\\boxed{{{spelling}}}$."))["correct"]
    assert not value("boxed", final(f"So it is $\\boxed{{{spelling}}}$."), value="\\frac{1}{3}")[
        "correct"
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("body", "right"),
    [
        ("def twice(x):\n    return 2 * x", True), ("def twice(x):\n    return x", False),
        ("def twice(x):\n    while True: pass", False), ("import os\nos.fork()\ndef twice(x): return 2 * x", False),
        ("import os\nassert not os.environ.get('SECRET_FOR_TEST')\ndef twice(x): return 2 * x", True),
        ("import socket\nsocket.create_connection(('127.0.0.1', 9))\ndef twice(x): return 2 * x", False),
        ("import sys\ndef twice(x): sys.exit(0)", False), ("open('/etc/passwd').read()\ndef twice(x): return 2 * x", False),
    ],
)  # fmt: skip
def test_code_runs_in_the_sandbox(body, right, monkeypatch):
    monkeypatch.setenv("SECRET_FOR_TEST", "1")
    assert value("code", final(f"So:\n```python\n{body}\n```\nDone."))["correct"] is right


TWICE = "def twice(x):\n    return 2 * x"
USE = "print(twice(3), 'a much longer example of use', 1, 2, 3)"
BAD = "def twice(x):\n    result = x + x + x  # much longer\n    return result"


@pytest.mark.parametrize(
    "text",
    [
        f"```python\n{TWICE}\n```\nUse it:\n```python\n{USE}\n```\n```bash\nls\n```",
        "1. So:\n   ```python\n   def twice(x):\n       return 2 * x\n   ```\n2. Done.",
        f"~~~python\n{TWICE}\n~~~",
        f"````python\n{TWICE}\n````",
        f"``` python3.11\n{TWICE}\n```",
        f'```Python title="a.py"\n{TWICE}\n```',
        f"```py3\n{TWICE}\n```",
        f"```\n{TWICE}\n```",
        f"So:\n```python\n{TWICE}",
        f"Bad:\n```python\n{BAD}\n```\nGood:\n```python\n{TWICE}\n```",
        f"```python\n{TWICE}\n```\nDon't do this:\n```python\n{BAD}\n```",
        f"```python\n{TWICE}\n```\n```python\n# bad\n{BAD}\n```",
        f"First I thought of:\n```python\n{BAD}\n```\nNo:\n```python\n{TWICE}\n```",
        f"```text\n{BAD}\n```\n```python\n{TWICE}\n```",
        "```python\ntwice = lambda x: 2 * x\n```",
        "```python\nclass twice:\n    pass\n```",
        "```python\nasync def twice(x):\n    return 2 * x\n```",
    ],
)
def test_the_block_that_defines_the_entry_is_run(text):
    block = programs.code_block(text, "twice")
    assert block is not None and "twice" in block.splitlines()[0]
    assert "longer" not in block and "`" not in block and "~" not in block


def test_without_a_block_there_is_no_code():
    assert programs.code_block("no code", "twice") is None
    assert programs.code_block("```python\na = 1\n```\n```python\nb = 1\n```", "twice") is None
    assert programs.code_block("```bash\ntwice=1\n```", "twice") is None
    assert value("code", final("no code"))["correct"] is False


def test_the_voice_by_the_dataset_s_own_definitions():
    spoken = value(
        "voice",
        final(
            "Use a queue. It waits.", "What are we actually trying to do? Wait, no. " + "so " * 120
        ),
    )
    assert (
        spoken["signature_phrase"]
        and spoken["long_reasoning"]
        and spoken["visible_backtracking"]
        and spoken["direct"]
    )
    plain = value("voice", final("Certainly! There are many ways to look at it.", "Short."))
    assert (
        not any(
            plain[name]
            for name in ("signature_phrase", "long_reasoning", "visible_backtracking", "direct")
        )
        and plain["form"]
    )
    assert not value("voice", "x " + final("Yes."))["form"]
    assert (
        not scorers.direct("It depends on many things.")
        and not scorers.direct("word " * 40 + ".")
        and scorers.direct("No. Wait.")
    )


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("It does.\nyes", True), ("**No**.", False), ("Verdict: yes", True), (final("no"), False), ("<think>yes</think>\nNo", False),
        ("yes and no", None), ("", None), ("maybe", None), ("I'd say yes, mostly.", None), ("yes\nno\nsome words\nthat\nfollow", None),
    ],
)  # fmt: skip
def test_a_judge_s_verdict(text, found):
    assert scorers.verdict(text) is found


def test_gates_pass_fail_and_do_not_pass_in_silence():
    def cell(low, n=100):
        about = {"kind": "rate", "n": n, "difference": low + 0.1, "interval": [low, low + 0.2]}
        return {
            "asked": n,
            "replies": {"tuned": {"unanswered": 3}},
            "measurements": {"correct": about},
        }

    result = {
        "suites": {"math": {"prompts": {"persona": cell(-0.04)}}},
        "skipped": {"pictures": {"why": "none", "optional": True}},
    }
    wanted = [
        {"name": "a", "of": "math/persona/correct", "not_worse_by": 0.05, "least": 100},
        {"name": "b", "of": "math/persona/correct", "not_worse_by": 0.03, "least": 100},
        {"name": "c", "of": "math/persona/correct", "more_by": -0.1, "least": 101},
        {"name": "d", "of": "gsm_hard/persona/correct", "not_worse_by": 1, "least": 1},
        {"name": "e", "of": "pictures/none/correct", "not_worse_by": 1, "least": 1},
        {"name": "f", "of": "replies/unanswered", "at_most": 0.02, "least": 100},
        {"name": "g", "of": "replies/unanswered", "at_most": 0.03, "least": 100},
    ]
    told = {gate["name"]: gate["verdict"] for gate in gates.judge(wanted, result)}
    assert told == {
        "a": "PASS",
        "b": "FAIL",
        "c": "NO DATA",
        "d": "NO DATA",
        "f": "FAIL",
        "g": "PASS",
    }
    for gate in gates.load(  # those we ship name what exists
        ROOT / "evaluation" / "gates.yaml", {*scorers.settings()["suites"], gates.REPLIES}
    ):
        suite, *rest = gate["of"].split("/")
        about = scorers.settings()["suites"].get(suite)
        assert suite == "replies" or (
            rest[0] in about["prompts"] and rest[1] in sum(results.measurements(about["score"]), ())
        )


def test_a_dip_names_the_remedy_with_its_numbers():
    def side(right, cut):
        found = {
            f"q{n}": {
                "status": "complete",
                "well_formed": True,
                "tokens": 100,
                "correct": n < right,
            }
            for n in range(100)
        }
        return found | {f"q{99 - n}": {"status": "truncated", "tokens": 900} for n in range(cut)}

    cell = results.compare("number", side(80, 1), side(50, 11))
    assert (
        cell["measurements"]["correct"]["lost"] == 30
        and cell["replies"]["tuned"]["truncated"] == 11
    )
    result = {
        "suites": {"gsm_hard": {"prompts": {"none": cell}}, "voice": {"prompts": {"none": cell}}},
        "gates": [],
    }
    text = report.remedy(result, {"rows": {"train": 900}, "origins": {"math": 400, "gsm8k": 500}})
    assert (
        "| gsm_hard | none | 100 | **-30.0% [" in text
        and "| 30 | 0 | 10 | 108.0, 188.0 |" in text
        and "| voice" not in text
    )
    assert (
        "900 training rows now (gsm8k 500, math 400); 47 rows for 5%, 100 rows for 10%, 225 rows for 20% of the mix"
        in text
    )
    even = results.compare("number", side(80, 1), side(79, 1))
    assert (
        report.remedy({"suites": {"gsm_hard": {"prompts": {"none": even}}}, "gates": []}, {}) == ""
    )


def test_points_leave_unparsable_verdicts_out_and_incomplete_replies_at_zero():
    side = {"a": {"status": "complete"}, "b": {"status": "truncated"}, "c": {"status": "complete"}}
    rubric = {"a": ["x", "y", "z"], "b": ["x"], "c": ["x"]}
    found, unparsable = results.points(
        side, rubric, {"a#0": True, "a#1": None, "a#2": False, "c#0": None}
    )
    assert (found["a"]["points"], found["b"]["points"], found["c"]["points"], unparsable) == (
        0.5,
        0.0,
        None,
        2,
    )
    told = results.agreement({"1": True, "2": None, "3": False}, {"1": True, "2": True, "3": True})
    assert told["disagree"] == ["3"] and told["unparsable"] == 1 and told["labelled"] == 3


def test_a_sample_is_stratified_and_a_larger_limit_keeps_the_smaller_one_s_questions():
    found = [Question(f"q{n}", ("?",), stratum="ab"[n % 4 == 0]) for n in range(400)]
    chosen = suites.stratified(suites.ordered(found, 1), 41)
    assert len(chosen) == 41 and sum(q.stratum == "b" for q in chosen) == 10
    assert (
        suites.ordered(found, 1)[:5]
        == suites.ordered(reversed(found), 1)[:5]
        != suites.ordered(found, 2)[:5]
    )


def test_a_wrong_question_file_is_told_where(tmp_path):
    path = tmp_path / "q.yaml"
    for text, said in (
        ("- id: a", "entry 1"),
        ("- {id: a, prompt: b, must: ['(']}", "must: '('"),
        ("- [", "did not find expected node content"),
        ("- {id: a, turns: [{text: a}, {text: b}]}", "a: user"),
    ):
        path.write_text(text)
        with pytest.raises((SuiteError, FileError), match="q.yaml") as error:
            suites.written(path)
        assert said in str(error.value)


def test_absent_data_is_said(tmp_path):
    (tmp_path / "h.jsonl").write_text("")
    for paths, said in (
        ([tmp_path / "no.jsonl"], "none of .*no.jsonl is there; make data"),
        ([tmp_path / "h.jsonl"], "holds no checkable row"),
    ):
        with pytest.raises(Absent, match=said):
            suites.heldout(paths, "async")
    with pytest.raises(Absent, match="run make pin, or give HUB_DIR="):
        benchmarks.public("math", None)
    with pytest.raises(Absent, match="test.jsonl: .*HUB_DIR is a folder with"):
        benchmarks.public("gsm_hard", tmp_path)


def png(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (32, 32), "red").save(path)


MMMU = {
    "id": "validation_Math_1",
    "question": "Which is <image 1>?",
    "options": "['a circle', 'a square']",
    "answer": "B",
    "question_type": "multiple-choice",
    "subfield": "Geometry",
    "image_1": "images/1.png",
    "image_2": None,
}
MATHVISTA = {
    "question": "How long is it?",
    "image": "images/1.png",
    "choices": None,
    "unit": "cm",
    "precision": 1.0,
    "answer": "2.5",
    "answer_type": "float",
}


def test_benchmarks_with_pictures_are_read(tmp_path):
    for name, records in (
        (
            "mmmu",
            [
                MMMU,
                MMMU | {"id": "validation_Math_2", "options": "[]", "answer": "['2,000', '2000']"},
            ],
        ),
        (
            "mathvista",
            [
                MATHVISTA,
                MATHVISTA | {"choices": ["Yes", "No"], "answer": "No", "answer_type": "text"},
            ],
        ),
    ):
        png(tmp_path / name / "images" / "1.png")
        (tmp_path / name / "test.jsonl").write_text(
            "".join(json.dumps(record) + "\n" for record in records)
        )
    chosen, opened = benchmarks.public("mmmu", tmp_path, tmp_path / "shown")
    assert (
        chosen.turns == ("Which is <image 1>?\n\nA. a circle\nB. a square",)
        and chosen.stratum == "Geometry"
    )
    assert Image.open(chosen.images[0]).getpixel((0, 0)) == (255, 0, 0)
    assert opened.expect == {"kind": "number", "value": "2000", "tolerance": 1e-3}
    length, yes = benchmarks.public("mathvista", tmp_path, tmp_path / "shown")
    assert length.turns == ("How long is it? (in cm)",) and yes.expect["value"] == "B"
    for said, right in (("Answer: 2.54", True), ("Answer: 2.56", False), ("It is **2.5**.", True)):
        assert scorers.measure("exam", final(said), "stop", length.expect)["correct"] is right, said
    Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(tmp_path / "mmmu" / "images" / "1.png")
    clear, _ = benchmarks.public("mmmu", tmp_path, tmp_path / "shown")
    assert Image.open(clear.images[0]).getpixel((0, 0)) == (255, 255, 255)
    (tmp_path / "mmmu" / "images" / "1.png").write_bytes(b"no picture")
    with pytest.raises(SuiteError, match=r"1\.png: no picture that is known"):
        benchmarks.public("mmmu", tmp_path, tmp_path / "shown")
    for escape in ("../mathvista/images/1.png", "/etc/passwd", "images/2.png"):
        (tmp_path / "mmmu" / "test.jsonl").write_text(json.dumps(MMMU | {"image_1": escape}) + "\n")
        with pytest.raises(SuiteError, match="no such file in"):
            benchmarks.public("mmmu", tmp_path, tmp_path / "shown")
    (tmp_path / "mmmu" / "test.jsonl").write_text('{"question": "?"\n')
    with pytest.raises(SuiteError, match="mmmu/test.jsonl:1: not a JSON object"):
        benchmarks.public("mmmu", tmp_path, tmp_path / "shown")
    (tmp_path / "mmmu" / "test.jsonl").write_text('{"question": "?"}\n')
    with pytest.raises(SuiteError, match="mmmu: record 0: KeyError .*not a record of that set"):
        benchmarks.public("mmmu", tmp_path, tmp_path / "shown")


def test_benchmarks_with_pictures_come_from_the_hub_at_their_pin(tmp_path, monkeypatch):
    asked = []

    def load_dataset(repository, configuration, *, split, revision):
        asked.append((repository, configuration, split, revision))
        half = Image.new("RGBA", (32, 32), (0, 0, 255, 255))
        half.putpixel((9, 9), (0, 0, 0, 0))
        return [MATHVISTA | {"decoded_image": half}]

    monkeypatch.setitem(sys.modules, "datasets", types.SimpleNamespace(load_dataset=load_dataset))
    monkeypatch.setattr(hub, "LOCK", tmp_path / "hub.lock")
    with pytest.raises(Absent, match="pins no revision of AI4Math/MathVista; run make pin"):
        benchmarks.public("mathvista", None)
    (tmp_path / "hub.lock").write_text(json.dumps({"datasets": {"AI4Math/MathVista": "a" * 40}}))
    (question,) = benchmarks.public("mathvista", None, tmp_path / "pictures")
    assert asked == [("AI4Math/MathVista", "default", "testmini", "a" * 40)]
    shown = Image.open(question.images[0])
    assert shown.getpixel((0, 0)) == (0, 0, 255)
    assert shown.getpixel((9, 9)) == (255, 255, 255)


def test_the_table_of_recipes_is_as_rendered(tmp_path):
    text = index.PAGE.read_text(encoding="utf-8")
    assert index.page(text, index.rendered(all_recipes())) == text, (
        "run: python -m evaluation.index"
    )
    folder = tmp_path / "recipes" / "x"
    folder.mkdir(parents=True)
    (folder / "v1.yaml").write_text(
        "# x/v1: a thing of 1.5 B. More.\n#\n# Needs: any machine. Data: y\n\na: 1\n"
    )
    about = {
        "base": {"value": 0.5},
        "tuned": {"value": 0.625},
        "interval": [-0.01, 0.26],
        "n": 1319,
    }
    result = {
        "suites": {"math": {"prompts": {"persona": {"measurements": {"correct": about}}}}},
        "gates": [{"verdict": "PASS"}, {"verdict": "FAIL"}],
    }
    (folder / "v1.result.json").write_text(json.dumps(result))
    line = index.rendered([Recipe(folder / "v1.yaml")]).splitlines()[2]
    assert (
        line
        == "| [x/v1](x/v1.yaml) | a thing of 1.5 B. More | any machine | math 50.0% → 62.5% [-1.0%, +26.0%], n 1,319; 1 of 2 gates pass |"
    )
    with pytest.raises(ValueError, match="place is lost"):
        index.page("no comments", "")


@pytest.mark.parametrize(("category", "count"), [("async", 480), ("vision", 139), ("video", 80)])
def test_the_dataset_s_own_replies_to_its_held_out_rows_are_right(category, count):
    paths = [ROOT / "datasets" / "aether" / name / "heldout.jsonl" for name in ("heldout", "build")]
    path = next((path for path in paths if path.exists()), None)
    if path is None:
        pytest.skip(
            "no held-out rows here: make data DATASET=aether, or python -m preprocess aether --heldout"
        )
    expect = {question.id: question.expect for question in suites.heldout([path], category)}
    told = {
        row["id"]: rows.text_of(row["messages"][-1])
        for row in rows.read(path)
        if row["id"] in expect
    }
    apart = [question.unseen for question in suites.heldout([path], category)]
    if category == "async":
        assert sum(apart) >= 250
        chosen = suites.stratified(suites.heldout([path], category), 120)
        assert sum(question.unseen for question in chosen) == round(120 * sum(apart) / len(apart))
    else:
        assert set(apart) == {None}
    assert len(told) >= count
    assert [
        id_
        for id_, text in told.items()
        if not scorers.measure("answer", text, "stop", expect[id_])["correct"]
    ] == []
    other = dict(
        zip(told, [*told.values()][1:] + [*told.values()][:1], strict=True)
    )  # the neighbour's reply is mostly wrong
    assert sum(
        scorers.measure("answer", text, "stop", expect[id_])["correct"]
        for id_, text in other.items()
    ) < 0.2 * len(told)


def test_a_complete_result_is_written_beside_its_recipe(tmp_path, monkeypatch):
    """Whatever the command line of the evaluation said."""
    path = tmp_path / "recipes" / "tiny" / "v2.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(find("tiny").text)
    known = tmp_path / "README.md"
    known.write_text(f"{index.BEGIN}\n{index.END}\n")
    monkeypatch.setattr(report, "ROOT", tmp_path)
    monkeypatch.setattr(index, "PAGE", known)
    monkeypatch.setattr(sys, "argv", ["evaluation", "tiny", "--suites", "voice"])
    result = load_json(find("tiny").result) | {"complete": True}
    (tmp_path / "eval").mkdir()
    report.write_all(Recipe(path), result, tmp_path / "eval", {})
    assert load_json(path.with_name("v2.result.json")) == result
    assert "| [tiny/v2](tiny/v2.yaml) |" in known.read_text()
