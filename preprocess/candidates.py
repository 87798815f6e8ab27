"""One source of the mix, run in a process of its own: its conversations become rows, pass the
gates, and wait in a file.

What the build needs to choose among them fits in about two kilobytes a row; the rows themselves
stay on disk.
"""

import hashlib
import json
import os
import re
import sys
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from common import behaviour, chat, rows, triad
from common.vocabulary import text_tokens
from preprocess import gates, sources
from preprocess.benchmarks import Benchmark
from preprocess.diversity import Fingerprint, fingerprint
from preprocess.duplicates import look, minhash
from preprocess.mix import Mix, Target
from preprocess.rows import Conversation, Note, Skip, restored, to_rows
from preprocess.source import Context, Source

# Words under which a later user turn means what stands before it ("and then?").
SHORT_TURN = 20


@dataclass(slots=True)
class Candidate:
    """A row that passed the gates. Its line stands in the spool file of its task."""

    id: str
    conversation: str
    group: str
    category: str
    origin: str
    tokens: int  # of the whole row
    trained: int  # of them in the reply that is trained
    reasoning_words: int
    met: tuple[str, ...]  # names of the targets it counts for
    looks: bytes  # of its pictures, in order
    images: tuple[str, ...]
    verified: bool
    fingerprint: Fingerprint | None = None  # of the reply, where the mix measures diversity
    hashes: bytes = b""  # the MinHashes of the user's turn and of the reasoning
    task: int = 0
    offset: int = 0  # bytes
    size: int = 0


@dataclass(frozen=True)
class Task:
    """One source to run."""

    number: int
    mix: Mix
    source: Source
    folder: Path  # of the dataset
    aside: Path  # where it is built
    hub: Path | None
    heldout: bool = False

    @property
    def name(self) -> str:
        held_out = ", held out" if self.heldout else ""
        return f"{self.source.category} from {self.source.kind}{held_out}"

    @property
    def spool(self) -> Path:
        """The file in which the task's rows wait."""
        return self.aside / "spool" / str(self.number)

    def context(self, benchmark: Benchmark) -> Context:
        return Context(self.mix.seed, self.folder, self.hub, self.heldout, benchmark.contaminated)


@dataclass
class Result:
    """What a source gave: its rows' entries, and how many conversations were read and left out, by
    reason."""

    name: str
    candidates: list[Candidate] = field(default_factory=list)
    read: int = 0
    skipped: Counter = field(default_factory=Counter)
    # Conversations of which no row is left, by the first reason. The others gave rows.
    without_rows: Counter = field(default_factory=Counter)
    notes: Counter = field(default_factory=Counter)


def line(row: dict) -> str:
    """A row as it is written: keys sorted, but those of tools in the order in which a client would
    send them."""
    ordered = json.loads(json.dumps(row, sort_keys=True))
    if "tools" in row:
        ordered["tools"] = row["tools"]
    return json.dumps(ordered, ensure_ascii=False) + "\n"


def draw(seed: int, what: str) -> float:
    """A number in [0, 1) that depends on nothing else in the mix."""
    return int.from_bytes(hashlib.sha256(f"{seed} {what}".encode()).digest()[:8]) / 2**64


def run(task: Task, benchmark: Benchmark) -> Result:
    """Run one source: its rows into its spool file, what there is to say of them into the result.
    Raises AetherError."""
    started = time.monotonic()
    result = Result(task.name)
    with task.spool.open("wb") as spool:
        _Run(task, task.context(benchmark), result, spool).all()
    seconds = time.monotonic() - started
    print(f"  {task.name}: {len(result.candidates):,} rows after {seconds:.0f} s", file=sys.stderr)
    return result


@dataclass(frozen=True)
class _Run:
    """The run of one source."""

    task: Task
    context: Context
    result: Result
    spool: BinaryIO

    def all(self) -> None:
        """Every conversation of the source."""
        source = self.task.source
        module = sources.modules()[type(source)]
        prompts = self._system_prompts()
        for item in islice(module.conversations(source, self.context), source.limit):
            if isinstance(item, Note):
                self.result.notes[item.text] += item.count
                continue
            self.result.read += 1
            before = len(self.result.candidates)
            if isinstance(item, Skip):
                reasons = [str(item)]
            else:
                reasons = self._conversation(self._completed(item, prompts))
            if reasons and source.names_left_out:
                print(f"  {item.id}: no row: {reasons[0]}", file=sys.stderr)
            self.result.skipped.update(reasons)
            if len(self.result.candidates) == before:
                self.result.without_rows[reasons[0]] += 1

    def _system_prompts(self) -> list[str]:
        named = self.task.source.system
        files = named if isinstance(named, list) else [named]
        return [triad.persona(self.context.path(name)) if name else "" for name in files]

    def _completed(self, conversation: Conversation, prompts: list[str]) -> Conversation:
        """The conversation with a system prompt and a category, from the mix where it has none."""
        drawn = draw(self.context.seed, f"system {conversation.id}")
        prompt = prompts[int(drawn * len(prompts))]
        return replace(
            conversation,
            system=conversation.system or prompt,
            category=conversation.category or self.task.source.category,
        )

    def _conversation(self, conversation: Conversation) -> list[str]:
        """Keep or skip each row of a conversation; returns why rows were skipped."""
        looks: dict[str, bytes] = {}

        def store(png: bytes) -> str:
            name = self._stored(png)
            looks[name] = look(png) if self.task.mix.gates else b""
            return name

        reasons = []
        try:
            made = to_rows(conversation, store)
        except Skip as skip:
            return [str(skip)]
        for row in made:
            try:
                self._keep(row, self._candidate(row, looks, conversation))
            except Skip as skip:
                reasons.append(str(skip))
        return reasons if made else ["no reply with reasoning to train on"]

    def _keep(self, row: dict, candidate: Candidate) -> None:
        """Write a row into the spool file."""
        candidate.task = self.task.number
        candidate.offset = self.spool.tell()
        candidate.size = self.spool.write(line(row).encode())
        self.result.candidates.append(candidate)

    def _stored(self, png: bytes) -> str:
        """Where a picture lies in the dataset's folder: under its hash, written once."""
        name = f"images/{hashlib.sha256(png).hexdigest()}.png"
        path = self.task.aside / name
        if not path.exists():
            part = path.with_name(f"{path.name}.{os.getpid()}")
            part.write_bytes(png)
            part.replace(path)
        return name

    def _candidate(
        self, row: dict, looks: dict[str, bytes], conversation: Conversation
    ) -> Candidate:
        """The row's entry, without its place in the spool. Raises Skip when a gate stops it."""
        try:
            rows.check(row)
            images = rows.images(row, self.task.aside)
        except rows.RowError as error:
            raise Skip(f"breaks the row contract: {error}") from None
        names = tuple(f"images/{image.path.name}" for image in images)
        text = rows.text_of(row["messages"][-1])
        reply = chat.split(text)
        turns = len(conversation.turns)
        targets = self.task.mix.targets.items()
        candidate = Candidate(
            id=row["id"],
            conversation=conversation.id,
            group=conversation.group or conversation.id,
            category=row["category"],
            origin=row["origin"],
            tokens=gates.tokens(row, images),
            trained=text_tokens(text),
            reasoning_words=len(reply.reasoning.split()),
            met=tuple(name for name, target in targets if meets(row, turns, target)),
            looks=b"".join(looks[name] for name in names),
            images=names,
            verified="answer" in row,
        )
        if self.task.mix.diversity:
            candidate.fingerprint = fingerprint(f"{reply.reasoning}\n{reply.answer}")
        if self.task.mix.gates:
            gates.check(row, candidate.tokens, self.task.mix.gates)
            self._check_answer(row)
            self._check_contamination(row)
            candidate.hashes = _hashes(row, candidate.looks, reply.reasoning)
        return candidate

    def _check_answer(self, row: dict) -> None:
        """Raises Skip where the source can compute the row's answer again and it comes out
        otherwise."""
        recompute = getattr(sources.modules()[type(self.task.source)], "recompute", None)
        if recompute and "answer" in row:
            answer = restored(row["answer"])
            if recompute(answer, self.task.source, self.context) != answer["value"]:
                raise Skip("the stored answer is not what it computes to")

    def _check_contamination(self, row: dict) -> None:
        if self.task.source.compares_itself:
            return
        note = self.context.contaminated(map(rows.text_of, rows.turns(row)))
        if note:
            self.result.notes[note.text] += 1


def _hashes(row: dict, looks: bytes, reasoning: str) -> bytes:
    """The MinHashes of the user's turn and of the reasoning.

    A question is the same only about the same pictures, and a short later turn, as one after a
    tool's result, means what stands before it.
    """
    user = rows.text_of(rows.last_user(row))
    salt = looks.hex()
    later = len(row["messages"]) > 3 and len(user.split()) < SHORT_TURN
    if row["messages"][-2]["role"] == "tool" or not salt and later:
        salt = row["id"]
    return minhash(user, salt) + minhash(reasoning)


def meets(row: dict, turns: int, target: Target) -> bool:
    """Whether a row counts for a target: every condition that is given holds."""
    text = rows.text_of(row["messages"][-1])
    reply = chat.split(text)
    searched = reply.reasoning if target.phrases_in == "reasoning" else text
    if len(reply.reasoning.split()) < target.reasoning_words:
        return False
    if target.phrases and not any(re.search(phrase, searched) for phrase in target.phrases):
        return False
    if target.labels and {row["category"], *row["tags"]}.isdisjoint(target.labels):
        return False
    if target.nudges and behaviour.not_a_nudge(reply.answer or "") is not None:
        return False
    return target.turns is None or target.turns[0] <= turns <= target.turns[1]
