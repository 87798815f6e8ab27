"""What is asked for: the jobs that follow from a teacher's files, the same every time.

A job is one row to be written. The jobs of one seed are a chain: each is shown the questions that
were drafted before it.
"""

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from itertools import islice
from pathlib import Path

from common.pictures import picture_part
from common.rows import text_parts
from preprocess.source import MixError, load
from preprocess.sources import seeds
from preprocess.teacher import given
from preprocess.teacher.given import Given
from preprocess.teacher.settings import Prompt, Teaching

SHOWN = 8  # earlier questions that are shown as "not again"
SHOWN_CHARACTERS = 200  # of each


@dataclass(frozen=True)
class Job:
    """One row to be written.

    Args:
        group: The seed it varies: rows of one group stay on one side of the split.
        system: The system message; empty for none.
        ask: The user message.
        given: Turns whose user text stands already, with a reply where there is one.
        images: PNG files.
        target: The member of the Triad that the last answer must route to.
        check: The known answer; its `call` is the tool call that is wanted.
        replay: Whether the base model's own reply is collected.
    """

    id: str
    category: str
    group: str
    version: int
    system: str
    ask: str
    turns: int = 1
    given: tuple[seeds.SeedTurn, ...] = ()
    images: tuple[bytes, ...] = ()
    tags: tuple[str, ...] = ()
    target: str | None = None
    check: dict | None = None
    replay: bool = False

    def messages(self, told: list[str], failed: tuple[str, str] | None = None) -> list[dict]:
        """What is sent, as OpenAI writes it.

        Args:
            told: Earlier questions of the same seed.
            failed: The text that was rejected, and why.
        """
        text = self.ask
        if told:
            earlier = [" ".join(question.split())[:SHOWN_CHARACTERS] for question in told[-SHOWN:]]
            listed = "".join(f"\n- {question}" for question in earlier)
            text += f"\n\nNot again; these were written before:{listed}"
        sent: list[dict] = [{"role": "user", "content": self._with_pictures(text)}]
        if self.system:
            sent.insert(0, {"role": "system", "content": self.system})
        if failed:
            rejected, reason = failed
            again = "Write the whole JSON object again with that repaired."
            why = f"This row was not accepted: {reason}. {again}"
            sent.append({"role": "assistant", "content": rejected or "(nothing)"})
            sent.append({"role": "user", "content": why})
        return sent

    def _with_pictures(self, text: str) -> str | list[dict]:
        if not self.images:
            return text
        return [*map(picture_part, self.images), *text_parts(text)]


def size(prompt: Prompt, folder: Path, limit: int) -> int:
    """How many rows a prompt file asks for."""
    written = len(_seeds(prompt, folder)) * min(prompt.variations, limit)
    problems = sum(min(count, limit) for count in prompt.problems.values())
    return written + problems + min(len(prompt.calls), limit)


def chains(
    teaching: Teaching, category: str, limit: int, hub: Path | None
) -> Iterator[Iterator[Job]]:
    """The chains of a category, of at most `limit` variations of a seed and problems of a kind.

    Raises MixError, FileError or HubError.
    """
    prompt = teaching.prompts[category]
    seed = teaching.settings.seed
    first = Job(
        id="",
        category=category,
        group="",
        version=prompt.version,
        system=_system(teaching.folder, category, prompt),
        ask="",
        replay=prompt.replay,
    )
    for written in _seeds(prompt, teaching.folder):
        numbers = range(min(prompt.variations, limit))
        yield map(partial(_variation, first, prompt, written, seed), numbers)
    kinds = [
        given.problems(teaching.folder, kind, count, seed, hub)
        for kind, count in prompt.problems.items()
    ]
    for problems in [*kinds, given.calls(prompt.calls)]:
        for problem in islice(problems, limit):
            yield iter([_answer_to(first, prompt, problem, seed)])


def _seeds(prompt: Prompt, folder: Path) -> list[seeds.Seed]:
    """Those that a teacher varies: a picture cannot be another one in words."""
    written = load(folder / prompt.seeds, list[seeds.Seed]) if prompt.seeds else []
    return [seed for seed in written if not seed.pictured]


def _system(folder: Path, category: str, prompt: Prompt) -> str:
    """The system message: the voice, the prompt, and the examples whole; for a replay the prompt
    alone.
    """
    if prompt.replay:
        return prompt.prompt.strip()
    voice = (folder / "teacher" / "voice.md").read_text(encoding="utf-8")
    shown: dict[str, seeds.Seed] = {}
    for file in {folder / "seeds" / f"{name.rpartition('-')[0]}.yaml" for name in prompt.examples}:
        shown |= {seed.id: seed for seed in load(file, list[seeds.Seed])}
    missing = sorted(set(prompt.examples) - set(shown))
    if missing:
        raise MixError(f"{folder}/teacher/{category}.yaml: examples: no seed {missing[0]!r}")
    examples = [f"\n\nA row by hand ({name}):\n{_written(shown[name])}" for name in prompt.examples]
    return f"{voice.strip()}\n\n{prompt.prompt.strip()}{''.join(examples)}"


def _written(seed: seeds.Seed) -> str:
    """A seed as the JSON object that a teacher replies with."""
    turns = [turn.model_dump(exclude_none=True) for turn in seed.turns]
    return json.dumps({"turns": turns, "claim": seed.target or ""}, ensure_ascii=False)


def draw(axes: dict[str, list[str | int]], key: str, n: int) -> dict[str, str | int]:
    """The n-th draw: each axis runs through its values in an order of its own, anew each time it is
    through.
    """
    drawn = {}
    for axis, values in axes.items():
        rounds, place = divmod(n, len(values))
        drawn[axis] = values[_order(f"{key} {axis} {rounds}", len(values))[place]]
    return drawn


@lru_cache(maxsize=64)
def _order(key: str, size: int) -> list[int]:
    return random.Random(key).sample(range(size), size)


def _listed(drawn: dict[str, str | int]) -> str:
    return "".join(f"\n- {axis}: {value}" for axis, value in drawn.items())


def _variation(first: Job, prompt: Prompt, seed: seeds.Seed, number: int, n: int) -> Job:
    """The n-th variation of a seed; the 0th of a seed that has no reply yet answers the seed's own
    question.
    """
    unanswered = any(turn.answer is None or turn.reasoning is None for turn in seed.turns)
    own = unanswered and n == 0
    drawn = draw(prompt.axes, f"{number} {seed.id}", n)
    task = "Write one variation of it."
    if own:
        drawn["turns"] = len(seed.turns)
        drawn |= {"level": seed.level, "mood": seed.mood, "domain": seed.domain}
        task = "Answer the seed itself: its user turns stand; leave `user` empty."
    ask = f"The seed ({seed.domain}, {seed.level}, {seed.mood}):\n{_written(seed)}\n\n{task}"
    tags = [*seed.tags]
    tags += [f"{axis}:{drawn[axis]}" for axis in ("domain", "level", "mood") if axis in drawn]
    ask += _listed(drawn)
    if seed.target:
        ask += f"\n- routes to: {seed.target}"
        tags.append(f"target:{seed.target}")
    return replace(
        first,
        id=f"{seed.id}-v{n:02d}",
        group=seed.id,
        ask=ask,
        turns=int(drawn.get("turns", 1)),
        given=tuple(seed.turns) if own else (),
        tags=tuple(tags),
        target=seed.target,
    )


def _answer_to(first: Job, prompt: Prompt, problem: Given, seed: int) -> Job:
    """The job of answering a problem that stands already; its answer is known here and not sent."""
    ask = problem.user
    if not first.replay:
        wanted = _listed(draw(prompt.axes, f"{seed} {problem.name}", 0))
        stands = "The user's turn, which stands as it is; leave `user` empty"
        ask = f"{stands}:\n{problem.user}\n{wanted}".rstrip()
    return replace(
        first,
        id=f"{'replay' if first.replay else 'teacher'}-{problem.name}",
        group=problem.name,
        ask=ask,
        given=(seeds.SeedTurn(user=problem.user),),
        images=problem.images,
        tags=("replay",) if first.replay else (),
        check=problem.check,
    )
