"""One source of the mix, run in a process of its own: its conversations become rows, pass the gates, and wait in a file.

What the build needs to choose among them fits in about two kilobytes a row; the rows themselves stay on disk.
"""

import hashlib
import json
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

from common import behaviour, chat, rows
from preprocess import gates
from preprocess.generators import diagrams, pictures, problems, video
from preprocess.mix import Hub, Mix, MixError, Target, Written
from preprocess.rows import Conversation, Note, Skip, restored, to_rows
from preprocess.source import Context, Generated
from preprocess.sources import exports, seeds, worked
from preprocess.teacher import accepted

WRITTEN = {"seeds": seeds, "conversations": exports, "teacher": accepted}
PROGRAMS = {"problems": problems, "diagrams": diagrams, "video": video, "pictures": pictures}
benchmark: gates.Benchmark | None = None  # set before the processes are forked


@dataclass(slots=True)
class Candidate:
    """A row that passed the gates. Its line stands in the spool file of its task."""

    id: str
    conversation: str
    group: str
    category: str
    origin: str
    tokens: int
    reasoning_words: int
    met: tuple[str, ...]  # names of the targets it counts for
    looks: bytes  # of its pictures, in order
    images: tuple[str, ...]
    verified: bool
    signed: bytes = b""  # the signatures of the user's turn and of the reasoning
    task: int = 0
    offset: int = 0  # bytes
    size: int = 0


@dataclass(frozen=True)
class Task:
    number: int
    mix: Mix
    source: Written | Generated | Hub
    folder: Path  # of the dataset
    aside: Path  # where it is built; the spool files stand beside it
    hub: Path | None
    heldout: bool = False

    @property
    def name(self) -> str:
        return (
            f"{self.source.category} from {self.source.kind}{', held out' if self.heldout else ''}"
        )


@dataclass
class Result:
    name: str
    candidates: list[Candidate] = field(default_factory=list)
    read: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)


def conversations(task: Task) -> Iterable[Conversation | Skip | Note]:
    """What the task's source yields. Raises MixError."""
    seed = task.mix.seed
    match task.source:
        case Written(kind=kind, path=path, limit=limit):
            return islice(WRITTEN[kind].conversations(task.folder / path), limit)
        case Hub(kind=kind, sessions=sessions):
            return worked.conversations(kind, sessions, seed, task.hub, contaminated)
        case Generated(kind=kind) as config:
            return PROGRAMS[kind].conversations(config, _context(task))


def _context(task: Task) -> Context:
    return Context(task.mix.seed, task.folder, task.hub, task.heldout, contaminated)


def contaminated(texts: Iterable[str]) -> Note | None:
    """A note where a good part of a benchmark's problem stands in one of the texts. Raises Skip where nearly all of it does."""
    share, of = (
        max((benchmark.covered(text) for text in texts), default=(0.0, ""))
        if benchmark
        else (0.0, "")
    )
    if share >= gates.DROP:
        raise Skip(f"holds a problem of {of}")
    return (
        Note(f"kept, though {gates.REPORT:.0%} or more of a problem of {of} stands in it")
        if share >= gates.REPORT
        else None
    )


def draw(seed: int, what: str) -> float:
    """A number in [0, 1) that depends on nothing else in the mix."""
    return int.from_bytes(hashlib.sha256(f"{seed} {what}".encode()).digest()[:8]) / 2**64


def run(task: Task) -> Result:
    """Run one source: its rows into its spool file, what there is to say of them into the result. Raises MixError."""
    started, result, named = time.monotonic(), Result(task.name), task.source.system
    try:
        paths = [task.folder / name for name in ([named] if isinstance(named, str) else named)]
        prompts = [path.read_text(encoding="utf-8").strip() for path in paths]
    except FileNotFoundError as error:
        raise MixError(f"{error.filename}: no such system prompt") from None
    with task.aside.with_name(f"spool-{task.number}").open("wb") as spool:
        for item in conversations(task):
            if isinstance(item, Note):
                result.notes[item.text] += item.count
                continue
            result.read += 1
            for made in _rows(item, task, prompts):
                try:
                    if isinstance(made, Skip):
                        raise made
                    candidate = _candidate(*made, item, task, result.notes)
                except Skip as skip:
                    result.skipped[str(skip)] += 1
                    continue
                line = (json.dumps(made[0], ensure_ascii=False, sort_keys=True) + "\n").encode()
                candidate.task, candidate.offset, candidate.size = (
                    task.number,
                    spool.tell(),
                    spool.write(line),
                )
                result.candidates.append(candidate)
    print(
        f"  {task.name}: {len(result.candidates):,} rows after {time.monotonic() - started:.0f} s",
        file=sys.stderr,
    )
    return result


def _rows(
    item: Conversation | Skip, task: Task, prompts: list[str]
) -> Iterator[tuple[dict, dict[str, bytes]] | Skip]:
    """The rows of a conversation, each with how its pictures look, by path; the pictures are stored under their hashes."""
    looks: dict[str, bytes] = {}

    def store(png: bytes) -> str:
        name = f"images/{hashlib.sha256(png).hexdigest()}.png"
        looks[name] = gates.look(png) if task.mix.gates else b""
        if not (task.aside / name).exists():
            part = task.aside / f"{name}.{os.getpid()}"
            part.write_bytes(png)
            part.replace(task.aside / name)
        return name

    if isinstance(item, Skip):
        yield item
        return
    prompt = prompts[int(draw(task.mix.seed, f"system {item.id}") * len(prompts))]
    try:
        made = to_rows(
            replace(
                item, system=item.system or prompt, category=item.category or task.source.category
            ),
            store,
        )
        yield from ((row, looks) for row in made)
    except Skip as skip:
        yield skip


def _candidate(
    row: dict, looks: dict[str, bytes], item: Conversation, task: Task, notes: Counter
) -> Candidate:
    """The row's entry, without its place in the spool. Raises Skip when a gate stops it."""
    try:
        rows.check(row)
        images, mix = rows.images(row, task.aside), task.mix
    except rows.RowError as error:
        raise Skip(f"breaks the row contract: {error}") from None
    names = tuple(f"images/{image.path.name}" for image in images)
    looked, length = b"".join(looks[name] for name in names), gates.tokens(row, images)
    reply, user, signed = (
        chat.split(rows.text_of(row["messages"][-1])),
        rows.text_of(row["messages"][-2]),
        b"",
    )
    if mix.gates:
        gates.check(row, length, mix.gates)
        program, answer = (
            getattr(PROGRAMS.get(task.source.kind), "recompute", None),
            restored(row["answer"]) if "answer" in row else None,
        )
        if (
            program and answer and program(answer, task.source, _context(task)) != answer["value"]
        ):  # worked solutions were computed as read
            raise Skip("the stored answer is not what it computes to")
        # Public problems were compared before they were joined into sessions.
        if not isinstance(task.source, Hub) and (
            note := contaminated(map(rows.text_of, row["messages"][1:]))
        ):
            notes[note.text] += 1
        # A question is the same only about the same pictures; a short later turn ("and then?") means what stands before it.
        salt = looked.hex() or (
            row["id"] if len(row["messages"]) > 3 and len(user.split()) < 20 else ""
        )
        signed = gates.signature(user, salt) + gates.signature(reply.reasoning)
    met = tuple(name for name, target in mix.targets.items() if meets(row, len(item.turns), target))
    identity = (row["id"], item.id, item.group or item.id, row["category"], row["origin"])
    return Candidate(
        *identity, length, len(reply.reasoning.split()), met, looked, names, "answer" in row, signed
    )


def meets(row: dict, turns: int, target: Target) -> bool:
    """Whether a row counts for a target: every condition that is given holds."""
    text = rows.text_of(row["messages"][-1])
    reply = chat.split(text)
    where = reply.reasoning if target.phrases_in == "reasoning" else text
    return (
        len(reply.reasoning.split()) >= target.reasoning_words
        and (not target.phrases or any(re.search(phrase, where) for phrase in target.phrases))
        and (not target.labels or not {row["category"], *row["tags"]}.isdisjoint(target.labels))
        and (not target.nudges or behaviour.not_a_nudge(reply.answer or "") is None)
        and (target.turns is None or target.turns[0] <= turns <= target.turns[1])
    )
