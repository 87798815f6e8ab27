"""The programming problems of the evaluation: well formed, solvable as stated, with hidden tests that can fail."""

from __future__ import annotations

import ast
import builtins
import re
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from common import chat
from common.files import ROOT, load_yaml
from evaluation import programs
from preprocess.benchmarks import question_files
from preprocess.mix import read

FOLDER = ROOT / "tests" / "programs"
PROBLEMS = programs.load(FOLDER)
SOLUTIONS = {(p.id, "reference"): (p.reference, p) for p in PROBLEMS}
SOLUTIONS |= {
    (p.id, f"wrong {number}"): (wrong, p)
    for p in PROBLEMS
    for number, wrong in enumerate(p.wrong, 1)
}


@pytest.fixture(scope="module")
def outcomes():
    """{(id, solution): (outcome, seconds)} of every stored solution against the tests of its problem."""

    def one(pair):
        solution, problem = pair
        began = time.monotonic()
        outcome = programs.run(solution, problem.tests, problem.needs, problem.wanted)
        return outcome, time.monotonic() - began

    with ThreadPoolExecutor(2) as pool:
        return dict(zip(SOLUTIONS, pool.map(one, SOLUTIONS.values()), strict=True))


def test_there_are_enough_and_no_two_are_the_same():
    assert len(PROBLEMS) == 57
    for key in ("id", "topic", "prompt", "tests", "reference"):
        assert len({getattr(problem, key) for problem in PROBLEMS}) == len(PROBLEMS), key
    assert [problem.id for problem in PROBLEMS] == [
        f"code-{number:03d}" for number in range(1, len(PROBLEMS) + 1)
    ]


@pytest.mark.parametrize("folder", sorted(FOLDER.glob("code_*")), ids=lambda folder: folder.name)
def test_a_folder_holds_what_it_should(folder):
    wrong = {f"wrong_{number}.py" for number in range(1, len([*folder.glob("wrong_*")]) + 1)}
    assert wrong
    names = {"prompt.md", "hidden.py", "reference.py", "meta.yaml"} | wrong
    assert {path.name for path in folder.iterdir() if path.name != "__pycache__"} == names
    assert set(load_yaml(folder / "meta.yaml")) == {"topic", "entry"}


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda problem: problem.id)
def test_a_problem_is_well_formed(problem):
    assert chat.reserved_in(problem.prompt) is None
    assert "Python 3.11, standard library only" in problem.prompt
    assert re.search(rf"\b{problem.entry}\b", problem.prompt)
    for code in (problem.reference, *problem.wrong):
        assert programs.code_block(f"```python\n{code}```", problem.entry) == code.rstrip("\n")
        defined = {node.name for node in ast.parse(code).body if hasattr(node, "name")}
        assert problem.entry in defined
        assert set(problem.needs) <= defined


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda problem: problem.id)
def test_the_prompt_names_everything_that_the_tests_use(problem):
    tests = ast.walk(ast.parse(problem.tests))
    reference = list(ast.walk(ast.parse(problem.reference)))
    named = set(re.findall(r"\w+", problem.prompt))
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


@pytest.mark.slow
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


def test_a_solution_may_use_the_names_of_the_tests_helpers():
    """Names that the harness and the hidden tests also have mean the solution's own inside the solution."""
    problem = PROBLEMS[0]
    helpers = "\n\ndef raises(*_):\n    return 1\n\n\ndef _failure():\n    return raises()\n\n\n"
    checks = "assert _failure() == 1\n"
    solution = problem.reference + helpers + checks
    assert programs.run(solution, problem.tests, problem.needs, problem.wanted).ok


def test_the_labels_to_measure_a_judge_by():
    labels = load_yaml(ROOT / "evaluation/questions/judge_labels.yaml")
    assert [label["id"] for label in labels] == [f"label-{n:02d}" for n in range(1, 21)]
    assert all(list(label) == ["id", "question", "answer", "point", "label"] for label in labels)
    assert sorted(label["label"] for label in labels) == ["no"] * 10 + ["yes"] * 10
    assert len({label["answer"] for label in labels}) == 20
    assert all(
        chat.reserved_in(label["answer"]) is None and len(label["answer"].split()) > 30
        for label in labels
    )


def test_no_training_row_may_hold_a_prompt():
    """The gates of the dataset name the prompts among what is kept out of it."""
    folder = ROOT / "datasets" / "aether"
    named = question_files(read(folder).gates, folder)
    kept_out = {path.resolve() for path in named}
    assert {path / "prompt.md" for path in FOLDER.glob("code_*")} <= kept_out
