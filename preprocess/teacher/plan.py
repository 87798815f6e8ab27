"""What is asked for: teacher.yaml, the prompt file of each category, and the jobs that follow from them, the same every time.

A job is one row to be written. The jobs of one seed are a chain: each is shown the questions that were drafted before it.
"""

import base64
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache, lru_cache, partial
from itertools import islice
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from preprocess import build, candidates, gates, mix
from preprocess.generators import diagrams, problems
from preprocess.rows import Conversation
from preprocess.source import Context
from preprocess.sources import seeds, worked

SHOWN, CLIPPED = 8, 200  # earlier questions that are shown as "not again"; characters of each
PROGRAMS = {"problems": problems, "diagrams": diagrams}


class Endpoint(mix.Part):
    """One model behind an OpenAI-compatible address. Prices are dollars a million tokens."""

    name: str  # who answers, as the dataset's card will say it
    url: str
    model: str
    key_env: str | None = None  # the environment variable that holds the key
    dollars_in: float = Field(ge=0)
    dollars_out: float = Field(ge=0)
    max_tokens: int = Field(gt=0)
    structured: Literal["json_schema", "json_object", "none"] = (
        "json_schema"  # the reply format the endpoint can be held to
    )
    parameters: dict = {}  # sent as they are: temperature, reasoning_effort, ...


class Settings(mix.Part):
    """teacher.yaml. The caps hold over the life of the store, all runs together."""

    cap_dollars: float = Field(gt=0)
    cap_tokens: int = Field(gt=0)
    concurrency: int = Field(gt=0)
    timeout_seconds: float = Field(gt=0)
    backoff_seconds: float = Field(gt=0)  # the first wait after a failure; it doubles
    bar: int = Field(ge=1, le=5)  # the least of a row's three scores
    seed: int
    categories: list[str] = Field(min_length=1)
    teacher: Endpoint
    judge: Endpoint | None = None
    base: Endpoint | None = None  # whose own replies are collected as replay


class Call(mix.Part):
    """A request that one tool call answers."""

    tools: str
    user: str
    name: str
    arguments: dict[str, str | int]


class Prompt(mix.Part):
    """<category>.yaml, and judge.yaml."""

    version: int
    prompt: str
    reply_tokens: int = Field(gt=0)  # of a reply, as --dry-run expects them
    seeds: str = ""  # a file of the dataset's folder
    variations: int = 0  # of each seed
    examples: list[str] = []  # ids of seeds, shown whole
    axes: dict[str, list[str | int]] = {}  # one value of each is drawn for a row
    problems: dict[Literal["gsm8k", "math", "problems", "diagrams"], int] = {}
    calls: list[Call] = []
    replay: bool = False  # the base model's own replies, unprompted


class Exchange(BaseModel):
    model_config = ConfigDict(extra="forbid")
    user: str
    reasoning: str
    answer: str


class Draft(BaseModel):
    """What a teacher replies with."""

    model_config = ConfigDict(extra="forbid")
    turns: list[Exchange]
    claim: str  # the final value, where the row has one


class Scores(BaseModel):
    """What a judge replies with, 1-5 each."""

    model_config = ConfigDict(extra="forbid")
    why: str
    voice: int = Field(ge=1, le=5)
    correctness: int = Field(ge=1, le=5)
    helpfulness: int = Field(ge=1, le=5)


@dataclass(frozen=True)
class Job:
    """One row to be written. `given` are turns whose user text stands already, with a reply where there is one."""

    id: str
    category: str
    group: str  # the seed it varies: they stay on one side of the split
    version: int
    system: str
    ask: str
    turns: int = 1
    given: tuple[seeds.SeedTurn, ...] = ()
    images: tuple[bytes, ...] = ()  # PNG files
    tags: tuple[str, ...] = ()
    target: str | None = None  # routing
    check: dict | None = None  # the known answer; its `call` is the tool call that is wanted
    replay: bool = False

    def messages(self, told: list[str], failed: tuple[str, str] | None = None) -> list[dict]:
        """What is sent. `told`: earlier questions of the same seed; `failed`: the text that was rejected, and why."""
        earlier = "".join(f"\n- {' '.join(text.split())[:CLIPPED]}" for text in told[-SHOWN:])
        text = self.ask + (f"\n\nNot again; these were written before:{earlier}" if earlier else "")
        urls = [f"data:image/png;base64,{base64.b64encode(png).decode()}" for png in self.images]
        pictures = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
        user = [*pictures, {"type": "text", "text": text}] if pictures else text
        sent = [{"role": "system", "content": self.system}, {"role": "user", "content": user}]
        if failed:
            why = f"This row was not accepted: {failed[1]}. Write the whole JSON object again with that repaired."
            sent += [
                {"role": "assistant", "content": failed[0] or "(nothing)"},
                {"role": "user", "content": why},
            ]
        return sent


def load(folder: Path) -> tuple[Settings, dict[str, Prompt]]:
    """teacher.yaml of a dataset's folder, and the prompts of its categories and of the judge. Raises MixError."""
    settings: Settings = mix.load(folder / "teacher" / "teacher.yaml", Settings)
    prompts = {
        name: mix.load(folder / "teacher" / f"{name}.yaml", Prompt)
        for name in [*settings.categories, "judge"]
    }
    for name, prompt in prompts.items():
        if prompt.replay and not settings.base:
            raise mix.MixError(
                f"{folder}/teacher/teacher.yaml: base: {name} collects the base's replies; say where it runs"
            )
    return settings, prompts


def size(prompt: Prompt, folder: Path, limit: int) -> int:
    """How many rows a prompt file asks for."""
    written = len(mix.load(folder / prompt.seeds, list[seeds.Seed])) if prompt.seeds else 0
    given = [*prompt.problems.values(), len(prompt.calls)]
    return written * min(prompt.variations, limit) + sum(min(count, limit) for count in given)


def chains(
    category: str,
    prompt: Prompt,
    folder: Path,
    settings: Settings,
    limit: int,
    hub_dir: Path | None,
) -> Iterator[Iterator[Job]]:
    """The chains of a category, of at most `limit` variations of a seed and problems of a kind. Raises MixError."""
    voice = (folder / "teacher" / "voice.md").read_text(encoding="utf-8")
    written = mix.load(folder / prompt.seeds, list[seeds.Seed]) if prompt.seeds else []
    files = {folder / "seeds" / f"{name.rpartition('-')[0]}.yaml" for name in prompt.examples}
    shown = {seed.id: seed for file in files for seed in mix.load(file, list[seeds.Seed])}
    if missing := sorted(set(prompt.examples) - set(shown)):
        raise mix.MixError(f"{folder}/teacher/{category}.yaml: examples: no seed {missing[0]!r}")
    examples = "".join(
        f"\n\nA row by hand ({name}):\n{_told(shown[name])}" for name in prompt.examples
    )
    system = (
        prompt.prompt.strip()
        if prompt.replay
        else f"{voice.strip()}\n\n{prompt.prompt.strip()}{examples}"
    )
    first = Job("", category, "", prompt.version, system, "", replay=prompt.replay)
    for seed in written:
        yield map(
            partial(_variation, first, prompt, seed, settings.seed),
            range(min(prompt.variations, limit)),
        )
    kinds = [
        _problems(kind, count, settings.seed, folder, hub_dir)
        for kind, count in prompt.problems.items()
    ]
    for kind in [*kinds, _calls(prompt.calls)]:
        yield from (
            iter([_given(first, prompt, problem, settings.seed)]) for problem in islice(kind, limit)
        )


def _told(seed: seeds.Seed) -> str:
    """A seed as the JSON object a teacher replies with."""
    turns = [turn.model_dump(exclude_none=True) for turn in seed.turns]
    return json.dumps({"turns": turns, "claim": seed.target or ""}, ensure_ascii=False)


def draw(axes: dict[str, list], key: str, n: int) -> dict[str, str | int]:
    """The n-th draw: each axis runs through its values in an order of its own, anew each time it is through."""
    return {
        a: values[_order(f"{key} {a} {n // len(values)}", len(values))[n % len(values)]]
        for a, values in axes.items()
    }


@lru_cache(maxsize=64)
def _order(key: str, size: int) -> list[int]:
    return random.Random(key).sample(range(size), size)


def _variation(first: Job, prompt: Prompt, seed: seeds.Seed, number: int, n: int) -> Job:
    """The n-th variation of a seed; the 0th of a seed that has no reply yet answers the seed's own question."""
    unanswered = any(turn.answer is None or turn.reasoning is None for turn in seed.turns)
    drawn = draw(prompt.axes, f"{number} {seed.id}", n)
    own = unanswered and n == 0
    if own:
        drawn |= {
            "turns": len(seed.turns),
            "level": seed.level,
            "mood": seed.mood,
            "domain": seed.domain,
        }
    task = (
        "Answer the seed itself: its user turns stand; leave `user` empty."
        if own
        else "Write one variation of it."
    )
    wanted = "".join(f"\n- {name}: {value}" for name, value in drawn.items())
    routes = f"\n- routes to: {seed.target}" if seed.target else ""
    tags = [
        *seed.tags,
        *(f"{axis}:{drawn[axis]}" for axis in ("domain", "level", "mood") if axis in drawn),
    ]
    return replace(
        first,
        id=f"{seed.id}-v{n:02d}",
        group=seed.id,
        ask=f"The seed ({seed.domain}, {seed.level}, {seed.mood}):\n{_told(seed)}\n\n{task}{wanted}{routes}",
        turns=int(drawn.get("turns", 1)),
        given=tuple(seed.turns) if own else (),
        tags=(*tags, f"target:{seed.target}") if seed.target else tuple(tags),
        target=seed.target,
    )


def _given(first: Job, prompt: Prompt, problem: tuple[str, str, tuple, dict], number: int) -> Job:
    """The job of answering a problem that stands already; its answer is known here and not sent."""
    name, user, images, check = problem
    drawn = draw(prompt.axes, f"{number} {name}", 0)
    wanted = "".join(f"\n- {axis}: {value}" for axis, value in drawn.items())
    ask = (
        user
        if first.replay
        else f"The user's turn, which stands as it is; leave `user` empty:\n{user}\n{wanted}".rstrip()
    )
    tags = ("replay",) if first.replay else ()
    given = (seeds.SeedTurn(user=user),)
    made = f"{'replay' if first.replay else 'teacher'}-{name}"
    return replace(
        first, id=made, group=name, ask=ask, given=given, images=images, check=check, tags=tags
    )


def _problems(
    kind: str, count: int, seed: int, folder: Path, hub_dir: Path | None
) -> Iterator[tuple]:
    """(name, question, pictures, known answer) of `count` problems; none that stands in a benchmark."""
    if kind in PROGRAMS:
        config = PROGRAMS[kind].Config(
            kind=kind, category=f"teacher-{kind}", system="", count=count
        )
        context = Context(seed, folder, hub_dir, False, candidates.contaminated)
        made = PROGRAMS[kind].conversations(config, context)
    else:
        candidates.benchmark = benchmark(folder, hub_dir)
        read = worked.conversations(kind, 0, seed, hub_dir, candidates.contaminated)
        whole = [talk for talk in read if isinstance(talk, Conversation)]
        made = sorted(whole, key=lambda talk: candidates.draw(seed, talk.id))[:count]
    for talk in made:
        yield talk.id, talk.turns[0].user, talk.turns[0].images, talk.answer or talk.turns[0].check


def _calls(calls: list[Call]) -> Iterator[tuple]:
    """Requests that a tool call answers, as problems."""
    for number, call in enumerate(calls):
        check = {
            "kind": "text",
            "value": call.name,
            "call": {"name": call.name, "arguments": call.arguments},
        }
        yield f"call-{number:03d}", f"{call.tools.strip()}\n\n{call.user}", (), check


@cache
def benchmark(folder: Path, hub_dir: Path | None) -> gates.Benchmark:
    """What is kept for evaluation. Raises MixError where a dataset has held-out rows and they are not built yet."""
    built = [folder / name / "heldout.jsonl" for name in ("build", "heldout")]
    heldout = next((path for path in built if path.exists()), None)
    if not heldout and any(
        getattr(source, "heldout", 0) for source in mix.load(folder / "mix.yaml").sources
    ):
        make = f"python -m preprocess {folder.name} --heldout"
        raise mix.MixError(
            f"{built[1]}: not there, so its problems could not be kept out of the rows; run {make} first"
        )
    return gates.Benchmark(build._problems(heldout or built[0], hub_dir))
