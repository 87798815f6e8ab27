"""Every command of the repository: `--help` explains it and does nothing, and what the text of a
recipe tells is told before anything heavy is imported or built."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LIGHT = [
    "common.answers.mathematics",
    "common.targets",
    "evaluation",
    "evaluation.index",
    "preprocess",
    "preprocess.mine",
    "preprocess.teacher",
    "preprocess.teacher.replay",
    "serving.card",
    "serving.convert",
    "serving.llama_cpp",
    "serving.quantise",
    "training.check",
    "training.compare",
    "training.merge",
    "training.pins",
    "training.run",
    "training.tracking",
]
# The environments of the others, which take long to import.
HEAVY = {
    "train": [
        "serving.export",
        "serving.serve",
        "serving.verify",
        "training.bench",
        "training.tiny_base",
        "training.verify_merge",
        "training.worker",
    ],
    "chat": ["serving.chat"],
    "triad": ["serving.triad"],
    "watch": ["serving.watch", "serving.watch.ask", "serving.watch.log", "serving.watch.opcua"],
}
COMMANDS = [(sys.executable, name) for name in LIGHT] + [
    pytest.param(ROOT / ".venvs" / room / "bin" / "python", name, marks=pytest.mark.slow)
    for room, names in HEAVY.items()
    for name in names
]


def said(python: str | Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
    command = [str(python), "-m", *words]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


def files() -> str:
    words = ["git", "status", "--porcelain", "--ignored", "--untracked-files=normal"]
    changed = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    data = ROOT / "outputs" / "data"
    return changed + str(sorted(data.iterdir()) if data.exists() else None)


def test_the_list_is_complete():
    words = ["git", "grep", "-l", '^if __name__ == "__main__"', "--", "*.py", ":!tests"]
    listed = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    names = [name[:-3].replace("/", ".").removesuffix(".__main__") for name in listed.split()]
    assert sorted(names) == sorted(LIGHT + sum(HEAVY.values(), []))


@pytest.mark.parametrize(("python", "name"), COMMANDS)
def test_help_says_usage_and_does_nothing(python, name):
    if not Path(python).exists():
        pytest.skip(f"{python} is not made here")
    before = files()
    done = said(python, name, "--help")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage: ")
    assert files() == before


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("evaluation nonsense", "no recipe 'nonsense'"),
        ("training.merge nonsense", "no recipe 'nonsense'"),
        ("training.check tiny --base nowhere", "base model nowhere: no such folder"),
        ("training.run tiny --base nowhere", "base model nowhere: no such folder"),
        ("training.tracking nowhere", "make data DATASET=nowhere first"),
    ],
)
def test_what_can_be_told_at_once_is_told_first(words, wanted):
    """The environment without torch: a heavy import would fail here."""
    before = files()
    done = said(sys.executable, *words.split())
    assert done.returncode in (1, 2)
    assert done.stderr.startswith("error: ")
    assert wanted in done.stderr
    assert files() == before


def test_make_eval_builds_nothing_before_the_recipe_is_found():
    words = ["make", "-n", "eval", "RECIPE=nonsense"]
    planned = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "heldout" not in planned
