"""Every hostile program, as root and as an ordinary user, with bubblewrap and without: none
escapes, none leaves anything.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hostile import KINDS, SEEN_WITHOUT_NAMESPACES, granted

from common import sandbox

ROOT = Path(__file__).resolve().parents[2]
ORDINARY = 1000  # uid
PROGRAMS = {f"{kind}: {name}": code for kind, of in KINDS.items() for name, code in of.items()}
RUNNER = """
import json, os, sys
sys.path.insert(0, sys.argv[1])
from common import sandbox
from common.sandbox import cage
found = {"mode": cage.mode()}
for name, code in json.load(sys.stdin).items():
    outcome = sandbox.run(code, seconds=1.5, megabytes=256)
    found[name] = [outcome.ok, outcome.reason, outcome.output]
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def library():
    """A copy of the sandbox that any user may read."""
    folder = Path(tempfile.mkdtemp(prefix="hostile-"))
    for name in ("__init__.py", "errors.py"):
        (folder / "common").mkdir(exist_ok=True)
        shutil.copy(ROOT / "common" / name, folder / "common" / name)
    shutil.copytree(
        ROOT / "common" / "sandbox",
        folder / "common" / "sandbox",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    (folder / "without-bwrap").mkdir()
    for tool in ("rm", "chmod"):
        (folder / "without-bwrap" / tool).symlink_to(shutil.which(tool))
    subprocess.run(["chmod", "-R", "a+rX", folder], check=True)
    yield folder
    shutil.rmtree(folder)


def run_all(library: Path, uid: int | None, path: str, python: str) -> tuple[dict, list[str]]:
    """(outcomes by name, what went wrong outside while the programs ran)."""
    canary = library / f"canary-{uid}"
    canary.write_text("alive")
    canary.chmod(0o666)
    before = canary.stat()
    temporary = Path(tempfile.mkdtemp(prefix="hostile-tmp-"))
    temporary.chmod(0o777)
    names = {"CANARY": str(canary), "PARENT": os.getpid()}
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.05)
        names["PORT"] = server.getsockname()[1]
        given = "\n".join(f"{name} = {value!r}" for name, value in names.items())
        programs = {name: f"{given}\n{code}" for name, code in PROGRAMS.items()}
        done = subprocess.run(
            [python, "-c", RUNNER, str(library)],
            input=json.dumps(programs),
            capture_output=True,
            text=True,
            user=uid,
            group=uid,
            extra_groups=[] if uid is not None else None,
            cwd="/",
            env={"PATH": path or str(library / "without-bwrap"), "TMPDIR": str(temporary)},
        )
        wrong = []
        try:
            server.accept()
            wrong.append("a connection came in")
        except TimeoutError:
            pass
    after = canary.stat()
    if (canary.read_text(), after.st_mode, after.st_mtime_ns, after.st_uid) != (
        "alive",
        before.st_mode,
        before.st_mtime_ns,
        before.st_uid,
    ):
        wrong.append("the canary has changed")
    if list(temporary.iterdir()):
        wrong.append(f"left behind: {[path.name for path in temporary.iterdir()]}")
    shutil.rmtree(temporary, ignore_errors=True)
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            uids = next(line for line in status.read_text().splitlines() if line[:4] == "Uid:")
        except (OSError, StopIteration):
            continue
        if int(uids.split()[1]) >= 1 << 20:
            wrong.append(f"{status.parent.name} still runs")
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout), wrong


def ways() -> dict[str, tuple[int | None, str, str]]:
    """Who runs it: (uid or None for the caller's, PATH or "" for one without bubblewrap, Python)."""
    found: dict[str, tuple[int | None, str, str]] = {
        "caller": (None, os.environ["PATH"], sys.executable)
    }
    python = shutil.which("python3.11", path="/usr/bin") or ""
    if os.geteuid() == 0 and python:
        found["ordinary user"] = (ORDINARY, os.environ["PATH"], python)
        found["root without bubblewrap"] = (None, "", python)
    return found


def test_the_raw_calls_of_these_programs_work_where_they_are_allowed():
    if why := sandbox.missing():
        pytest.skip(why)
    assert "ESCAPED" in sandbox.run(granted("raw(39)")).output  # getpid


@pytest.mark.slow
@pytest.mark.parametrize("who", ways())
def test_no_hostile_program_escapes(library, who):
    if why := sandbox.missing():
        pytest.skip(why)
    outcomes, wrong = run_all(library, *ways()[who])
    mode = outcomes.pop("mode")
    assert set(outcomes) == set(PROGRAMS) and len(PROGRAMS) >= 60
    assert not wrong
    for name, (ok, reason, output) in outcomes.items():
        seen = mode == "uid" and name.partition(": ")[2] in SEEN_WITHOUT_NAMESPACES
        assert seen or "ESCAPED" not in output, f"{who} ({mode}): {name}: {output}"
        if name.startswith("fake verdicts"):
            assert not ok, name
        assert not set(reason + output) & set(map(chr, [0, 7, 27])), name


def test_without_any_sandbox_nothing_is_run(library):
    """An ordinary user without bubblewrap: refused in one line, and run only where the user says
    so.
    """
    python = shutil.which("python3.11", path="/usr/bin")
    if os.geteuid() != 0 or not python:
        pytest.skip("only root can become an ordinary user")
    words = [python, "-c", RUNNER, str(library)]
    for allowed, code in (("", 1), ("1", 0)):
        done = subprocess.run(
            words,
            input='{"nothing": ""}',
            capture_output=True,
            text=True,
            user=ORDINARY,
            group=ORDINARY,
            extra_groups=[],
            cwd="/",
            env={"PATH": str(library / "without-bwrap"), "ALLOW_UNSANDBOXED": allowed},
        )
        assert done.returncode == code, done.stderr
        if code:
            assert "no sandbox on this machine: install bubblewrap" in done.stderr
        else:
            assert json.loads(done.stdout)["mode"] == "none"
