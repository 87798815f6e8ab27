"""The values that hidden tests expect never lie where the code under test could find them."""

import ast

import pytest

from common.files import ROOT
from evaluation import programs
from evaluation.hidden import Halves, Wanted, objection

SECRET, INPUT = 271828182845, 314159265358
SPY = """
def guess(_):
    import gc, sys
    found = set()
    texts = []

    def look(value, depth=0):
        if depth > 6 or id(value) in seen:
            return
        seen.add(id(value))
        keep.append(value)
        texts.append(repr(value)[:100_000] if isinstance(value, (str, bytes, int)) else "")
        if isinstance(value, dict):
            for one in [*value, *value.values()]:
                look(one, depth + 1)
        elif isinstance(value, (list, tuple, set, frozenset)):
            for one in [*value]:
                look(one, depth + 1)
        elif type(value).__name__ == "code":
            look(value.co_consts, depth + 1)
            look(value.co_names, depth + 1)
        elif type(value).__name__ == "function":
            look(value.__code__, depth + 1)

    seen, keep = set(), []
    frame = sys._getframe()
    while frame:
        look(frame.f_globals)
        look(dict(frame.f_locals))
        look(frame.f_code)
        frame = frame.f_back
    for module in [*sys.modules.values()]:
        look(vars(module), 3)
    for one in gc.get_objects():
        look(one, 4)
    for path in ("cmdline", "environ", "maps", "fd/0", "fd/3", "fd/4"):
        try:
            texts.append(open(f"/proc/self/{path}", "rb").read(1 << 20).decode("latin-1"))
        except (OSError, ValueError):
            pass
    try:
        with open("/proc/self/maps") as maps, open("/proc/self/mem", "rb", 0) as memory:
            for line in maps:
                start, end = (int(edge, 16) for edge in line.split()[0].split("-"))
                memory.seek(start)
                texts.append(memory.read(end - start).decode("latin-1"))
    except (OSError, ValueError, OverflowError):
        pass
    told = "".join(texts)
    secret, given = ("".join(parts) for parts in (("27182818", "2845"), ("314159265", "358")))
    print("FOUND", secret in told, given in told)
    return 0
"""
TESTS = f"""from harness import run_virtual
from solution import guess


async def _main():
    told = guess({INPUT})
    assert told == {SECRET}
    assert (told, [told]) == ({SECRET}, [{SECRET}]) and guess(1) is None


run_virtual(_main)
"""
HARNESS = (ROOT / "tests" / "programs" / "harness.py").read_text(encoding="utf-8")


@pytest.fixture
def spied(tmp_path):
    folder = tmp_path / "code_001_spied"
    folder.mkdir()
    (tmp_path / "harness.py").write_text(HARNESS)
    for name, text in (
        ("hidden.py", TESTS),
        ("prompt.md", "Guess."),
        ("meta.yaml", "{topic: spied, entry: guess}"),
        ("reference.py", SPY),
    ):
        (folder / name).write_text(text)
    (problem,) = programs.load(tmp_path)
    return problem


def test_a_solution_that_searches_its_own_process_finds_no_expected_value(spied, monkeypatch):
    """It looks through frames, code, modules, everything the collector knows, /proc/self: it finds
    what it is asked with, and not what is wanted.
    """
    outputs = []
    run = programs.sandbox.run

    def kept(*given):
        outcome = run(*given)
        outputs.append(outcome.output)
        return outcome

    monkeypatch.setattr(programs.sandbox, "run", kept)
    outcome = programs.run(spied.reference, spied.tests, spied.needs, spied.wanted)
    assert outcome.reason == "told is 0"
    assert "FOUND False True" in outputs[0]  # the search does find what is there
    assert str(SECRET) not in spied.tests
    told = f"def guess(given):\n    return {SECRET} if given == {INPUT} else None\n"
    assert programs.run(told, spied.tests, spied.needs, spied.wanted).ok


@pytest.mark.parametrize(
    "forged",
    [
        "def guess(given):\n    raise SystemExit(0)",
        "import os\ndef guess(given):\n    os._exit(0)",
        "def hand_out(*_): pass\nasync def run_virtual(_): pass\ndef guess(given): return 0",
        "class Any:\n    def __eq__(self, other): return True\n    def __repr__(self):"
        f"\n        return '{SECRET}'\nguess = lambda given: Any()",
        "import sys\ndef guess(given):\n    while True: pass",
        "import builtins\nbuiltins.print = lambda *_, **__: None\ndef guess(given): return 0",
        "import sys\ndef guess(given):\n    frame = sys._getframe()\n    while frame:"
        "\n        mark = frame.f_globals.get('MARK', '')\n        if mark: print(mark + '(0, 1)')"
        "\n        frame = frame.f_back\n    return 0",
        "import sys\ndef guess(given):\n    frame = sys._getframe()\n    while frame:"
        "\n        mark = frame.f_globals.get('MARK', '')\n        if mark: print(mark + '[' * 9999)"
        "\n        frame = frame.f_back\n    return 0",
    ],
)  # fmt: skip
def test_a_verdict_cannot_be_forged_without_the_values(spied, forged, monkeypatch):
    monkeypatch.setattr(programs, "SECONDS", 2)
    assert not programs.run(forged, spied.tests, spied.needs, spied.wanted).ok


def halves(text):
    taken = Halves()
    beside = ast.unparse(ast.fix_missing_locations(taken.visit(ast.parse(text))))
    return beside, taken.wanted


@pytest.mark.parametrize(
    ("text", "beside", "wanted"),
    [
        ("assert f(1) == 2", "hand_out(0, f(1))", [Wanted("f(1)", "2", False, True)]),
        ("assert f() is None", "hand_out(0, f())", [Wanted("f()", "None", True, True)]),
        (
            "assert f() == list('ab') + [2 ** 3], 'why'",
            "hand_out(0, f())",
            [Wanted("f()", "['a', 'b', 8]", False, True)],
        ),
        (
            "if x:\n    assert f() == 1",
            "if x:\n    hand_out(0, f())",
            [Wanted("f()", "1", False, False)],
        ),
        (
            "assert f() == 1 and g(), 'why'",
            "hand_out(0, f())\nassert g(), 'why'",
            [Wanted("f()", "1", False, True)],
        ),
        ("assert f() == own", "assert f() == own", []),
        ("assert f() <= 3", "assert f() <= 3", []),
        ("assert 1 < f() == 3", "assert 1 < f() == 3", []),
        ("assert f() or g() == 1", "assert f() or g() == 1", []),
        ("assert f() == print", "assert f() == print", []),
    ],
)
def test_what_stays_beside_a_solution_and_what_does_not(text, beside, wanted):
    assert halves(text) == (beside, wanted)


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ("#(0, 2)\n#(1, None)", ""),
        ("noise#(0, 2)\nnoise\n#(1, None)\n", ""),
        ("#(0, 2.0)\n#(1, None)", ""),
        ("#(0, 3)\n#(1, None)", "f() is 3"),
        ("#(0, 2)\n#(0, 3)\n#(1, None)", "f() is 3"),
        ("#(0, 2)\n#(1, False)", "g() is False"),
        ("#(0, 2)", "g() was never reached"),
        ("#(0, Ellipsis)", "handed out what is no value"),
        ("#(9, 2)", "handed out what is no value"),
        ("#(0, f())", "handed out what is no value"),
        ("#" + "(" * 100_000, "handed out what is no value"),
        ("", "f() was never reached"),
    ],
)
def test_what_is_handed_out_is_compared_here(output, said):
    wanted = [Wanted("f()", "2", False, True), Wanted("g()", "None", True, True)]
    assert objection(wanted, output, "#", ended=True) == said


def test_a_solution_that_did_not_end_is_not_blamed_for_what_is_missing():
    wanted = [Wanted("f()", "2", False, True)]
    assert objection(wanted, "", "#", ended=False) == ""


def test_a_value_is_handed_out_as_equality_sees_it():
    names = {"MARK": "#"}
    exec(HARNESS, names)
    point = type("Point", (tuple,), {"__repr__": lambda self: "Point()"})
    for value, plain in (
        (point((1, 2)), (1, 2)),
        ({"a": [point((1,))]}, {"a": [(1,)]}),
        (frozenset({1}), {1}),
        (bytearray(b"x"), b"x"),
        (True, True),
        (None, None),
        (object(), ...),
    ):
        assert names["plain"](value) == plain


def test_how_many_values_are_handed_out_is_as_the_page_says():
    problems = programs.load(ROOT / "tests" / "programs")
    assert all(problem.wanted for problem in problems)
    left = {problem.id: problem.tests.count("assert ") - 1 for problem in problems}  # the clock's
    page = " ".join((ROOT / "docs" / "sandbox.md").read_text(encoding="utf-8").split())
    compared = sum(len(problem.wanted) for problem in problems)
    assert f"for {compared} of the {compared + sum(left.values())} comparisons" in page
    whole = [id_.removeprefix("code-") for id_, count in left.items() if count == 0]
    assert f"in nine (code-{', '.join(whole)})" in page
    assert len(whole) == 9
