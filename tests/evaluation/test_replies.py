"""The scorers against a table of replies whose scores were decided by hand."""

import pytest
from canned import final

from common.files import ROOT, load_yaml
from evaluation import scorers

GROUPS = load_yaml(ROOT / "tests" / "evaluation" / "replies.yaml")
SCORES = ("right", "wrong", "not read")
STATUSES = ("complete", "truncated", "unanswered")
NAMES = {"nudge": "nudges", "direct": "direct"}
TABLE = [
    pytest.param(group["kind"], group.get("expect", {}), score, reply, id=f"{group['kind']}-{at}-{score}-{number}")
    for at, group in enumerate(GROUPS)
    for score in (*SCORES, *STATUSES)
    for number, reply in enumerate(group.get(score, []))
]  # fmt: skip


def test_the_table_is_long_and_every_kind_that_a_program_scores_is_in_it():
    assert len(TABLE) >= 300
    kinds = {group["kind"] for group in GROUPS}
    assert kinds >= {"number", "answer", "exam", "boxed", "nudge", "routing", "code"}
    assert all(set(group) <= {"kind", "expect", *SCORES, *STATUSES} for group in GROUPS)
    for group in GROUPS:
        expect = group.get("expect", {})
        assert all(isinstance(value, str) for value in expect.get("choices", [])), expect  # "yes"
        assert isinstance(expect.get("value", ""), str), expect
    told = [(str(group.get("expect")), group["kind"], reply) for group in GROUPS
            for score in (*SCORES, *STATUSES) for reply in group.get(score, [])]  # fmt: skip
    assert len(set(told)) == len(told)


@pytest.mark.parametrize(("kind", "expect", "score", "reply"), TABLE)
def test_a_reply_is_worth_what_a_person_says(kind, expect, score, reply):
    if kind == "boxed":
        pytest.importorskip("math_verify")
    if kind == "status":
        assert scorers.status(reply, "stop")[0] == score
        return
    if kind == "direct":
        assert scorers.direct(reply) is (score == "right")
        return
    found = scorers.measure(kind, final(reply or " "), "stop", expect)
    assert found.get(NAMES.get(kind, "correct"), False) is (score == "right"), found
    if score == "not read":
        assert found.get("read", False) is False, found
    elif kind in ("number", "exam", "boxed"):
        assert found["read"] is True, found


def test_a_heading_of_a_table_is_a_word_whatever_yaml_makes_of_it(tmp_path):
    path = tmp_path / "table.yaml"
    path.write_text("yes: [a]\nno: [b]\ntrue: [c]\non: {off: [d]}\n'yes ': true\n")
    assert load_yaml(path) == {
        "yes": ["a"],
        "no": ["b"],
        "true": ["c"],
        "on": {"off": ["d"]},
        "yes ": True,
    }
