"""The Python that hand-written replies show runs: each fence, in the sandbox, unless it says `no-run`."""

from __future__ import annotations

import re
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from common import sandbox
from common.files import load_yaml

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted(ROOT.glob("datasets/*/seeds/*.yaml"))
FENCE = re.compile(r"^ *```(?:python|py)\b([^\n]*)\n(.*?)^ *```", re.DOTALL | re.MULTILINE)


def programs(path: Path) -> list[tuple[str, str]]:
    """(id of the seed, code) of each fence of a file that is to be run."""
    found = []
    for seed in load_yaml(path):
        for turn in seed["turns"]:
            for label, code in FENCE.findall(turn.get("answer") or ""):
                if "no-run" not in label:
                    found.append((seed["id"], textwrap.dedent(code)))
    return found


def test_there_are_files_with_programs():
    assert len(FILES) >= 5 and sum(len(programs(path)) for path in FILES) >= 20


@pytest.mark.slow
@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parts[-3]}-{path.stem}")
def test_the_programs_of_seeds_run(path):
    if why := sandbox.missing():
        pytest.skip(why)
    given = programs(path)
    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(lambda pair: sandbox.run(pair[1], seconds=20), given))
    failed = [f"{id_}: {o.reason}" for (id_, _), o in zip(given, outcomes, strict=True) if not o.ok]
    assert not failed
