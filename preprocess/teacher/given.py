"""Problems that stand already and whose answer is known: public ones, those that programs make, and
tool calls.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from preprocess import benchmarks, mix, sources
from preprocess.benchmarks import Benchmark
from preprocess.candidates import draw
from preprocess.rows import Conversation
from preprocess.source import Context, Generated, MixError, Source
from preprocess.teacher.settings import Call


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
    known = sources.kinds()
    if kind not in known:
        raise MixError(f"problems: {kind!r} is no source; one of {', '.join(sorted(known))}")
    kind_of = known[kind]
    settings: dict = {"kind": kind, "category": f"teacher-{kind}", "system": ""}
    made: Iterable[Conversation]
    if issubclass(kind_of, Generated):
        config: Source = kind_of(**settings, count=count)
        context = Context(seed, folder, hub, False, Benchmark().contaminated)
        made = sources.modules()[kind_of].conversations(config, context)
    else:
        config = kind_of(**settings)
        context = Context(seed, folder, hub, False, benchmark(folder, hub).contaminated)
        read = sources.modules()[kind_of].conversations(config, context)
        whole = [talk for talk in read if isinstance(talk, Conversation)]
        made = sorted(whole, key=lambda talk: draw(seed, talk.id))[:count]
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
def benchmark(folder: Path, hub_dir: Path | None) -> Benchmark:
    """What is kept for evaluation.

    Raises MixError where a dataset has held-out rows and they are not built yet.
    """
    built = [folder / name / "heldout.jsonl" for name in ("build", "heldout")]
    heldout = next((path for path in built if path.exists()), None)
    plan = mix.read(folder)
    if heldout is None and any(getattr(source, "heldout", 0) for source in plan.sources):
        problem = "not there, so its problems could not be kept out of the rows"
        make = f"run python -m preprocess {folder.name} --heldout first"
        raise MixError(f"{built[1]}: {problem}; {make}")
    if not plan.gates:
        return Benchmark()
    context = Context(plan.seed, folder, hub_dir, False, Benchmark().contaminated)
    return Benchmark(benchmarks.problems(plan.gates, context, heldout or built[0]))
