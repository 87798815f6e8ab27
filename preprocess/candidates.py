"""One source of the mix, run in a process of its own: its conversations become rows, pass the gates, and wait in a file.

What the build needs to choose among them fits in a few hundred bytes a row; the rows themselves stay on disk.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from math import isclose
from pathlib import Path

import numpy as np

from apriel import chat, rows
from preprocess import gates
from preprocess.mix import Drawn, Hub, Mix, MixError, Seeds, Target
from preprocess.rows import Conversation, Note, Skip, restored, to_rows
from preprocess.sources import diagrams, exports, pictures, problems, seeds, video, worked

benchmark: gates.Benchmark | None = None  # set in each process before it runs a source


@dataclass(slots=True)
class Candidate:
    """A row that passed the gates. Its line stands in the spool file of its task."""

    task: int
    offset: int  # bytes
    size: int
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


@dataclass(frozen=True)
class Task:
    number: int
    mix: Mix
    source: Seeds | Drawn | Hub
    folder: Path  # of the dataset
    aside: Path  # where it is built
    hub: Path | None
    heldout: bool = False

    @property
    def name(self) -> str:
        return f"{self.source.category} from {self.source.kind}{', held out' if self.heldout else ''}"

    @property
    def spool(self) -> Path:
        return self.aside / "spool" / f"{self.number}{'-heldout' if self.heldout else ''}"


@dataclass
class Result:
    candidates: list[Candidate]
    read: int
    skipped: Counter[str]
    notes: Counter[str]
    seconds: float


def conversations(task: Task) -> Iterator[Conversation | Skip | Note]:
    """What the task's source yields. Raises MixError, or BuildError for a file of a person's own."""
    source, category, seed = task.source, task.source.category, task.mix.seed
    count = source.heldout if task.heldout else getattr(source, "count", 0)
    match source.kind:
        case "seeds":
            return seeds.conversations(task.folder / source.path, category)
        case "pictures":
            return pictures.conversations(count, category, seed)
        case "problems" | "diagrams":
            made = problems if source.kind == "problems" else diagrams
            return made.conversations(count, category, "", seed, task.heldout)
        case "video":
            own = task.folder / source.path if source.path else None
            return video.conversations(count, category, "", seed, task.heldout, own)
        case "conversations":
            return exports.conversations(task.folder / source.path)
        case kind:
            return worked.conversations(kind, source.sessions, seed, task.hub, contaminated)


def contaminated(texts: Iterable[str]) -> Note | None:
    """A note where a good part of a benchmark's problem stands in one of the texts. Raises Skip where nearly all of it does."""
    share, of = max((benchmark.covered(text) for text in texts), default=(0.0, "")) if benchmark else (0.0, "")
    if share >= gates.DROP:
        raise Skip(f"holds a problem of {of}")
    return Note(f"kept, though {gates.REPORT:.0%} or more of a problem of {of} stands in it") if share >= gates.REPORT else None


def systems(task: Task) -> list[str]:
    """The system prompts the source's conversations draw from. Raises MixError."""
    paths = [task.folder / name for name in task.source.systems]
    if missing := next((path for path in paths if not path.is_file()), None):
        raise MixError(f"{missing}: no such system prompt")
    return [path.read_text(encoding="utf-8").strip() for path in paths]


def draw(seed: int, what: str) -> float:
    """A number in [0, 1) that depends on nothing else in the mix."""
    return int.from_bytes(hashlib.sha256(f"{seed} {what}".encode()).digest()[:8]) / 2**64


def run(task: Task) -> Result:
    """Run one source: rows into `task.spool`, their signatures beside it. Raises MixError or BuildError."""
    started, prompts = time.monotonic(), systems(task)
    result = Result([], 0, Counter(), Counter(), 0)
    task.spool.parent.mkdir(parents=True, exist_ok=True)
    with task.spool.open("wb") as spool, task.spool.with_suffix(".signatures").open("wb") as signatures:
        for item in conversations(task):
            if isinstance(item, Note):
                result.notes[item.text] += item.count
                continue
            result.read += 1
            if isinstance(item, Skip):
                result.skipped[str(item)] += 1
                continue
            prompt = prompts[int(draw(task.mix.seed, f"system {item.id}") * len(prompts))]
            item = replace(item, system=item.system or prompt, category=item.category or task.source.category)
            for row, pngs in _rows(item, task, result):
                try:
                    candidate, signed = _candidate(row, pngs, item, task, result.notes)
                except Skip as skip:
                    result.skipped[str(skip)] += 1
                    continue
                line = (json.dumps(row, ensure_ascii=False, sort_keys=True) + "\n").encode()
                candidate.offset, candidate.size = spool.tell(), len(line)
                spool.write(line)
                signatures.write(signed)
                result.candidates.append(candidate)
    result.seconds = time.monotonic() - started
    return result


def _rows(item: Conversation, task: Task, result: Result) -> Iterator[tuple[dict, list[bytes]]]:
    """The rows of a conversation, each with the pictures of its turns so far. A conversation that makes none is counted."""
    stored: dict[str, bytes] = {}

    def store(png: bytes) -> str:
        name = f"images/{hashlib.sha256(png).hexdigest()}.png"
        stored[name] = png
        path = task.aside / name
        if not path.exists():
            part = path.with_suffix(f".{os.getpid()}")
            part.write_bytes(png)
            part.replace(path)
        return name

    try:
        made = to_rows(item, store)
        for row in made:
            rows.check(row)
    except Skip as skip:
        result.skipped[str(skip)] += 1
        return
    except rows.RowError as error:
        result.skipped[f"breaks the row contract: {error}"] += 1
        return
    for row in made:
        parts = [part for message in row["messages"] for part in message["content"] if part["type"] == "image"]
        yield row, [stored[part["path"]] for part in parts]


def _candidate(row: dict, pngs: list[bytes], item: Conversation, task: Task, notes: Counter) -> tuple[Candidate, bytes]:
    """The row's entry and its signatures, of the user's last turn and of the reasoning. Raises Skip."""
    images = rows.images(row, task.aside)
    length = gates.tokens(row, images)
    reply = chat.split(rows.text_of(row["messages"][-1]))
    looks = b"".join(gates.look(png) for png in pngs) if task.mix.gates else b""
    if task.mix.gates:
        gates.check(row, length, task.mix.gates)
        if "answer" in row and not recomputed(task.source.kind, row["answer"]):
            raise Skip("the stored answer is not what it computes to")
        looked = task.heldout or isinstance(task.source, Hub)  # the latter before they joined problems into sessions
        if not looked and (note := contaminated(map(rows.text_of, row["messages"][1:]))):
            notes[note.text] += 1
    user = rows.text_of(row["messages"][-2])
    # A question is the same only about the same pictures; a short later turn ("and then?") means what stands before it.
    salt = looks.hex() or (row["id"] if len(row["messages"]) > 3 and len(user.split()) < 20 else "")
    signed = gates.signature(user, salt) + gates.signature(reply.reasoning) if task.mix.gates else b""
    candidate = Candidate(
        task=task.number,
        offset=0,
        size=0,
        id=row["id"],
        conversation=item.id,
        group=item.group or item.id,
        category=row["category"],
        origin=row["origin"],
        tokens=length,
        reasoning_words=len(reply.reasoning.split()),
        met=tuple(name for name, target in task.mix.targets.items() if meets(row, len(item.turns), target)),
        looks=looks,
        images=tuple(str(image.path.relative_to(task.aside)) for image in images),
        verified="answer" in row,
    )
    return candidate, signed


def recomputed(kind: str, answer: dict) -> bool:
    """Whether a stored answer is what its source computes from what is stored with it. Worked solutions were computed as read."""
    check = restored(answer)
    match kind:
        case "problems":
            return isclose(check["value"], problems.recompute(check["family"], check["parameters"]), rel_tol=1e-9)
        case "diagrams":
            return check["value"] == diagrams.recompute(check)
        case "video":
            return check["value"] == video.recompute(check)
    return True


def meets(row: dict, turns: int, target: Target) -> bool:
    """Whether a row counts for a target: every condition that is given holds."""
    text = rows.text_of(row["messages"][-1])
    reply = chat.split(text)
    answer = reply.answer or ""
    where = reply.reasoning if target.phrases_in == "reasoning" else text
    return (
        (target.reasoning_words is None or len(reply.reasoning.split()) >= target.reasoning_words)
        and (target.answer_words is None or len(answer.split()) <= target.answer_words)
        and (target.answer_questions is None or target.answer_questions[0] <= answer.count("?") <= target.answer_questions[1])
        and (not target.phrases or any(re.search(phrase, where) for phrase in target.phrases))
        and (not target.labels or bool({row["category"], *row["tags"]} & set(target.labels)))
        and (target.turns is None or target.turns[0] <= turns <= target.turns[1])
    )


def signatures(results: list[tuple[Task, Result]], which: int) -> np.ndarray:
    """uint32 (candidates, PERMUTATIONS) of the user's turns (0) or of the reasonings (1), in the order of `results`."""
    width = gates.PERMUTATIONS
    parts = [np.fromfile(task.spool.with_suffix(".signatures"), np.uint32).reshape(-1, 2, width)[:, which] for task, _ in results]
    return np.concatenate(parts)
