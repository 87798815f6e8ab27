"""One worker a rank: how many, what a signal does, and how it ends when one of them dies."""

import json
import os
import signal
import subprocess
import sys

import pytest
from conftest import ROOT

from common.errors import AetherError
from common.recipes import find
from training import ranks, run


def launched(code: str, folder, when=None) -> tuple[int, str]:
    """(exit code, standard error) of a launch of two ranks that run this code; `when` is called
    with the parent once both have begun.
    """
    begun = "import os, signal, sys, time; from pathlib import Path\n"
    begun += f"rank = os.environ['RANK']; Path({str(folder)!r}, 'begun-' + rank).touch()\n"
    (folder / "run.json").write_text('{"identity": {"recipe": "x/v1"}, "status": "running"}')
    parent = (
        "import sys; from pathlib import Path; from training import ranks; "
        f"sys.exit(ranks.launch(['-c', {begun + code!r}], 2, Path({str(folder)!r})))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", parent], cwd=ROOT, stderr=subprocess.PIPE, text=True
    ) as child:
        while when and len(list(folder.glob("begun-*"))) < 2 and child.poll() is None:
            pass
        if when:
            when(child)
        _, said = child.communicate(timeout=300)
    return child.returncode, said


def ended_by(folder) -> str:
    return json.loads((folder / "run.json").read_text())["ended_by"]


def test_a_rank_that_is_killed_takes_the_others_down(tmp_path):
    code = "os.kill(os.getpid(), signal.SIGKILL) if rank == '1' else time.sleep(600)"
    returned, said = launched(code, tmp_path)
    assert returned == 137
    assert said.splitlines()[-1].startswith("error: rank 1: killed by SIGKILL")
    assert ended_by(tmp_path) in said


def test_the_last_line_of_the_rank_that_failed_is_shown(tmp_path):
    """Not that of a rank which only missed it, though it said so first."""
    code = """
from training import ranks
missed = Path(FOLDER, "missed")
if rank == "1":
    while not missed.exists():
        time.sleep(0.01)
    ranks.report("cuda: out of memory")
    missed.unlink()
    os._exit(1)
ranks.report("RuntimeError: Connection closed by peer")
missed.touch()
while missed.exists():
    time.sleep(0.01)
os._exit(1)
""".replace("FOLDER", repr(str(tmp_path)))
    returned, said = launched(code, tmp_path)
    assert returned == 1
    assert said.splitlines()[-1] == "error: rank 1: cuda: out of memory"


def test_a_signal_goes_on_to_every_rank(tmp_path):
    code = """
def stop(number, frame):
    Path(FOLDER, "told-" + rank).touch()
    sys.exit(128 + number)
signal.signal(signal.SIGTERM, stop)
Path(FOLDER, "ready-" + rank).touch()
time.sleep(600)
""".replace("FOLDER", repr(str(tmp_path)))

    def tell(parent) -> None:
        while len(list(tmp_path.glob("ready-*"))) < 2:
            pass
        parent.terminate()

    returned, said = launched(code, tmp_path, tell)
    assert returned == 143 and "error" not in said
    assert len(list(tmp_path.glob("told-*"))) == 2


def test_a_rank_ends_whose_launcher_was_killed_while_it_imported():
    code = "import os; from training import ranks; ranks.end_with_launcher(); print('trains on')"
    launcher = os.environ | {ranks.LAUNCHER: "1"}
    words = [sys.executable, "-c", code]
    done = subprocess.run(words, cwd=ROOT, env=launcher, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL and not done.stdout


@pytest.mark.parametrize(
    ("recipe", "asked", "cards", "wanted"),
    [
        ("tiny", None, 0, 1),
        ("tiny", 2, 0, 2),
        ("tiny", None, 8, 1),
        ("tiny", 4, 8, 4),
        ("tiny", 4, 2, "GPUS=4: this machine has 2"),
        ("tiny", 0, 0, "GPUS=0: at least one"),
        ("tiny", -1, 2, "GPUS=-1: at least one"),
        ("tiny_full", None, 0, 2),
        ("tiny_full", None, 4, 4),
        ("tiny_full", 3, 0, 3),
        ("full_8xl40s", None, 8, 8),
        ("full_8xl40s", None, 4, "made for 8 GPUs and more, 4 would train"),
        ("tiny_base", 2, 2, "tiny_base/v2 trains the whole model"),
    ],
)
def test_how_many_ranks(monkeypatch, recipe, asked, cards, wanted):
    monkeypatch.setattr(ranks, "gpus", lambda: [("L40S", 44.9)] * cards)
    if isinstance(wanted, int):
        assert ranks.count(find(recipe), asked) == wanted
    else:
        with pytest.raises(AetherError, match=wanted):
            ranks.count(find(recipe), asked)


def test_another_number_of_ranks_does_not_go_on():
    record = {"identity": {"recipe": "tiny/v2"}, "ranks": 2}
    run.require_ranks(record, 2)
    with pytest.raises(AetherError, match="tiny/v2 began on 2 ranks, 1 would go on"):
        run.require_ranks(record, 1)
