"""What docs/watch.md and the README tell people to type reaches Redis; rig.py starts the servers by its lines."""

import importlib
import os
import re
import shlex
import subprocess
import sys

import pytest
from conftest import ROOT
from rig import DOCS

from common.errors import command

WORDS = r"(?: [A-Z]+=(?:\"[^\"]*\"|[^\s`]+))"
README = (ROOT / "README.md").read_text().partition("## The Triad")[2].partition("\n## ")[0]
TYPED = re.compile(rf"make watch{WORDS}*|make (?:ask|events){WORDS}+")
COMMANDS = sorted(set(TYPED.findall(DOCS + README)))
ENVIRONMENT = {
    "REDIS_URL": "redis://127.0.0.1:1",
    "CAMERA_DOCK_URL": "/dev/null",
    "CAMERA_GATE_URL": "/dev/null",
    "AETHER_EDGE_URL": "http://127.0.0.1:1/v1",
    "AETHER_EDGE_MODEL": "seer",
    "PRESS3_OPCUA_URL": "opc.tcp://127.0.0.1:1",
}


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("--log bad.csv --site press3", "bad.csv"),
        ("--log alarms.csv", "give one SITE="),
        ("--into nope", "DATASET=nope: no such dataset"),
        ("--into tiny --since yesterday", "'yesterday' is no time"),
    ],
)
def test_what_is_wrong_is_told_before_redis_is_asked(words, wanted, monkeypatch, capsys):
    monkeypatch.setattr(os, "environ", os.environ | ENVIRONMENT)
    monkeypatch.setattr(sys, "argv", ["log", *words.split()])
    assert command(importlib.import_module("serving.watch.log").main) == 1
    assert wanted in capsys.readouterr().err


def test_the_docs_name_the_commands():
    assert len(COMMANDS) >= 8 and len(README.splitlines()) <= 25
    lines = [line for line in README.splitlines() if line.startswith("make ")]
    assert lines.pop(0).startswith("make triad ")  # tests/triad starts it
    assert len(lines) == 4 and all(TYPED.match(line) for line in lines)
    assert {words.split()[1] for words in COMMANDS} == {"watch", "ask", "events"}


@pytest.mark.parametrize("words", COMMANDS)
def test_a_command_of_the_docs_is_understood(words, monkeypatch, capsys, tmp_path):
    shipped = (ROOT / "serving" / "watch" / "cameras.yaml").read_text()
    gate = shipped[shipped.index("  dock:") :].replace("dock:", "gate:").replace("DOCK", "GATE")
    (tmp_path / "cameras.yaml").write_text(shipped + gate)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "alarms.csv").write_text("time,tag,state\n2026-11-01T06:00:00Z,TT204,active\n")
    typed = ["make", "-n", *shlex.split(words)[1:]]
    printed = subprocess.run(typed, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    line = next(line for line in printed.splitlines() if "-m serving.watch" in line)
    for name, _, value in (word.partition("=") for word in typed[3:]):
        line = line.replace(f'"${name}"', shlex.quote(value))
    monkeypatch.setattr(
        os, "environ", os.environ | ENVIRONMENT | {"CAMERAS": str(tmp_path / "cameras.yaml")}
    )
    _, _, module, *arguments = shlex.split(line)
    monkeypatch.setattr(sys, "argv", [module, *arguments])
    module = "serving.watch.__main__" if module == "serving.watch" else module
    assert command(importlib.import_module(module).main) == 1
    assert (
        capsys.readouterr().err
        == "error: the Redis of REDIS_URL: ConnectionError; start it, see docs/watch.md\n"
    )
