"""The programming problems of the evaluation: well formed, solvable as stated, and with hidden tests that can fail."""

from __future__ import annotations

import ast
import builtins
import re
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from common import chat
from common.sandbox import run

ROOT = Path(__file__).resolve().parents[2]
PROBLEMS = yaml.safe_load((ROOT / "evaluation/questions/code.yaml").read_text())
SOLUTIONS = {(p["id"], "reference"): (p["reference"], p["tests"]) for p in PROBLEMS}
SOLUTIONS |= {
    (p["id"], f"wrong {n}"): (wrong, p["tests"])
    for p in PROBLEMS
    for n, wrong in enumerate(p["wrong"])
}


@pytest.fixture(scope="module")
def outcomes():
    """{(id, solution): (outcome, seconds)} of every stored solution against the tests of its problem."""

    def one(pair):
        began = time.monotonic()
        return run("\n\n".join(pair), seconds=10), time.monotonic() - began

    with ThreadPoolExecutor(2) as pool:
        return dict(zip(SOLUTIONS, pool.map(one, SOLUTIONS.values()), strict=True))


def test_there_are_enough_and_no_two_are_the_same():
    assert len(PROBLEMS) >= 44
    for key in ("id", "topic", "prompt", "tests", "reference"):
        assert len({problem[key] for problem in PROBLEMS}) == len(PROBLEMS), key
    assert [problem["id"] for problem in PROBLEMS] == [
        f"code-{n:03d}" for n in range(1, len(PROBLEMS) + 1)
    ]


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda problem: problem["id"])
def test_a_problem_is_well_formed(problem):
    assert list(problem) == ["id", "topic", "prompt", "tests", "reference", "wrong"]
    assert problem["wrong"] and all(isinstance(code, str) for code in problem["wrong"])
    assert chat.reserved_in(problem["prompt"]) is None
    assert "Python 3.11, standard library only" in problem["prompt"]
    for code in (problem["tests"], problem["reference"], *problem["wrong"]):
        ast.parse(code)


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda problem: problem["id"])
def test_the_prompt_names_everything_that_the_tests_use(problem):
    tests, reference = (
        ast.walk(ast.parse(problem["tests"])),
        list(ast.walk(ast.parse(problem["reference"]))),
    )
    named = set(re.findall(r"\w+", problem["prompt"]))
    used, own = set(), set(dir(builtins))
    for node in tests:
        if isinstance(node, ast.Name):
            (used if isinstance(node.ctx, ast.Load) else own).add(node.id)
        elif isinstance(node, ast.Attribute):
            used.add(node.attr)
        elif isinstance(node, ast.arg):
            own.add(node.arg)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            own.add(node.name)
    defined = {
        node.name
        for node in reference
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    }
    defined |= {
        node.attr
        for node in reference
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
    }
    assert used & defined - own <= named, used & defined - own - named


@pytest.mark.parametrize("key", SOLUTIONS, ids=" ".join)
def test_the_reference_passes_and_near_misses_do_not(key, outcomes):
    outcome, seconds = outcomes[key]
    if key[1] == "reference":
        assert outcome.ok, outcome
        assert seconds < 5, "the tests of a problem take tenths of a second on a quiet machine"
    else:
        assert not outcome.ok
        assert not re.search("SyntaxError|NameError|tried to|timed out|exited", outcome.reason), (
            outcome.reason
        )


def test_the_labels_to_measure_a_judge_by():
    labels = yaml.safe_load((ROOT / "evaluation/questions/judge_labels.yaml").read_text())
    assert [label["id"] for label in labels] == [f"label-{n:02d}" for n in range(1, 21)]
    assert all(list(label) == ["id", "question", "answer", "point", "label"] for label in labels)
    assert sorted(label["label"] for label in labels) == ["no"] * 10 + ["yes"] * 10
    assert len({label["answer"] for label in labels}) == 20
    assert all(
        chat.reserved_in(label["answer"]) is None and len(label["answer"].split()) > 30
        for label in labels
    )
