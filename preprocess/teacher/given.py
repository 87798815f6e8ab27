"""Problems that stand already and whose answer is known: public ones, those that programs make, and
tool calls.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from preprocess import build, candidates, gates, mix
from preprocess.generators import diagrams
from preprocess.generators import problems as problem_source
from preprocess.rows import Conversation
from preprocess.source import Context, MixError
from preprocess.sources import worked
from preprocess.teacher.settings import Call

PROGRAMS = {"problems": problem_source, "diagrams": diagrams}


@dataclass(frozen=True)
class Given:
    """A problem, its pictures as PNG files, and its known answer."""

    name: str
    user: str
    images: tuple[bytes, ...]
    check: dict | None


def problems(folder: Path, kind: str, count: int, seed: int, hub: Path | None) -> Iterator[Given]:
    """`count` problems of a kind, none of which stands in a benchmark.

    Raises MixError or HubError.
    """
    if kind in PROGRAMS:
        program = PROGRAMS[kind]
        config = program.Config(kind=kind, category=f"teacher-{kind}", system="", count=count)
        context = Context(seed, folder, hub, False, candidates.contaminated)
        made = program.conversations(config, context)
    else:
        candidates.benchmark = benchmark(folder, hub)
        read = worked.conversations(kind, 0, seed, hub, candidates.contaminated)
        whole = [talk for talk in read if isinstance(talk, Conversation)]
        made = sorted(whole, key=lambda talk: candidates.draw(seed, talk.id))[:count]
    for talk in made:
        turn = talk.turns[0]
        yield Given(talk.id, turn.user, turn.images, talk.answer or turn.check)


def calls(requests: list[Call]) -> Iterator[Given]:
    """Requests that one tool call answers."""
    for number, request in enumerate(requests):
        call = {"name": request.name, "arguments": request.arguments}
        check = {"kind": "text", "value": request.name, "call": call}
        yield Given(f"call-{number:03d}", f"{request.tools.strip()}\n\n{request.user}", (), check)


@cache
def benchmark(folder: Path, hub_dir: Path | None) -> gates.Benchmark:
    """What is kept for evaluation.

    Raises MixError where a dataset has held-out rows and they are not built yet.
    """
    built = [folder / name / "heldout.jsonl" for name in ("build", "heldout")]
    heldout = next((path for path in built if path.exists()), None)
    sources = mix.load(folder / "mix.yaml").sources
    if heldout is None and any(getattr(source, "heldout", 0) for source in sources):
        problem = "not there, so its problems could not be kept out of the rows"
        make = f"run python -m preprocess {folder.name} --heldout first"
        raise MixError(f"{built[1]}: {problem}; {make}")
    return gates.Benchmark(build.problems(heldout or built[0], hub_dir))
