"""A preference recipe is shown beside the fine-tune that it stands on and that one's own base."""

from evaluation import gates, report, results, scorers
from evaluation.ask import Cell
from evaluation.question import Question

NUDGE = "Look at the queue, it shrinks. What do all of them share?"


def measured(answers):
    return {
        str(number): scorers.measure(
            "nudge",
            f"Here are my reasoning steps:\nx\n[BEGIN FINAL RESPONSE]\n{answer}\n[END FINAL RESPONSE]",
            "stop",
            {},
        )
        | {"tokens": 9}
        for number, answer in enumerate(answers)
    }


def test_the_first_base_stands_beside_the_two():
    cell = Cell(
        "nudge", "persona", "nudge", tuple(Question(str(n), ("x",)) for n in range(40)), None, "", 9
    )
    steps = "1. Do this.\n2. Do that.\n3. Then the rest."
    sides = {
        "base": [NUDGE] * 10 + [steps] * 30, "tuned": [NUDGE] * 40, results.FIRST: [steps] * 40,
    }  # fmt: skip
    found = {which: {("nudge", "persona"): measured(answers)} for which, answers in sides.items()}
    suites = results.assemble([cell], found, scorers.settings())
    about = suites["nudge"]["prompts"]["persona"]["measurements"]
    values = {which: about["nudges"][which]["value"] for which in ("first", "base", "tuned")}
    assert values == {"first": 0.0, "base": 0.25, "tuned": 1.0}
    assert about["no_lecture"]["first"]["hits"] == 0 and about["no_lecture"]["tuned"]["hits"] == 40
    wanted = gates.load(report.ROOT / "evaluation" / "gates_preference.yaml", {"nudge"})
    judged = gates.judge(wanted, {"suites": suites, "skipped": {}})
    assert {gate["name"]: gate["verdict"] for gate in judged} == {
        "nudge": "PASS",
        "no lecture": "PASS",
    }
    del found[results.FIRST]
    alone = results.assemble([cell], found, scorers.settings())
    assert "first" not in alone["nudge"]["prompts"]["persona"]["measurements"]["nudges"]


def test_the_gates_of_both_stages_ask_for_what_is_measured():
    for name in ("gates.yaml", "gates_preference.yaml"):
        suites = {*scorers.settings()["suites"], gates.REPLIES}
        for gate in gates.load(report.ROOT / "evaluation" / name, suites):
            suite, *rest = gate["of"].split("/")
            if suite != gates.REPLIES:
                kind = scorers.settings()["suites"][suite]["score"]
                assert rest[1] in sum(results.measurements(kind), ())
