"""Asking a model through Inspect AI: every reply is kept as it comes, so that a killed run asks
nothing twice.

A reply is one line of a `replies/*.jsonl`, found again by a hash over everything that could change
it: the model's weights, the sampling, the messages, the images. Transcripts are Inspect's own logs.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

os.environ.setdefault("INSPECT_EVAL_LOG_LEVEL", "error")

from inspect_ai import Task
from inspect_ai import eval as inspect_eval
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import (
    ChatMessage,
    ChatMessageAssistant,
    ChatMessageSystem,
    ChatMessageUser,
    ContentImage,
    ContentReasoning,
    ContentText,
    GenerateConfig,
    Model,
    ModelOutput,
    get_model,
)
from inspect_ai.scorer import Score, Scorer, mean, scorer
from inspect_ai.solver import Generate, Solver, TaskState, solver

from common import chat
from common.errors import AetherError
from common.servers import Endpoint
from evaluation import scorers
from evaluation.question import Question

REPLY_HOURS = 3  # a reply of 32,768 tokens among 63 others may take one
TASKS = 8  # suites at once
SLOW = ("code", "boxed")  # kinds whose scorer may run for seconds
Measured = dict[str, dict]  # question id: measurements, with the final answer and the tokens


class AskError(AetherError):
    """A model that could not be asked to the end; what it answered until then is kept."""


@dataclass(frozen=True)
class Cell:
    """Questions of one suite under one system prompt.

    Args:
        prompt: The name of the system prompt: persona | none.
        score: The kind of suite, which names its scorer.
        suffix: Put after the last turn of each question.
        max_tokens: Of a reply.
    """

    suite: str
    prompt: str
    score: str
    questions: tuple[Question, ...]
    system: str | None
    suffix: str
    max_tokens: int

    def messages(self, question: Question) -> list[ChatMessage]:
        """Inspect's messages; the suffix and the images belong to the last turn."""
        *earlier, last = question.turns
        messages: list[ChatMessage] = []
        if self.system:
            messages.append(ChatMessageSystem(content=self.system))
        for number, text in enumerate(earlier):
            kind = ChatMessageAssistant if number % 2 else ChatMessageUser
            messages.append(kind(content=text))
        images = [ContentImage(image=str(path)) for path in question.images]
        content = [*images, ContentText(text=last + self.suffix)]
        return [*messages, ChatMessageUser(content=content)]


@dataclass
class Replies:
    """The replies of one model, in a file. `found` holds them by key."""

    path: Path
    found: dict[str, dict] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self.path.exists():
            self._read()
        self.file = self.path.open("a", encoding="utf-8")

    def _read(self) -> None:
        """Read what is whole, and leave only that in the file: a kill or a full disk may have cut a
        line.
        """
        whole = b""
        for line in self.path.read_bytes().splitlines(keepends=True):
            try:
                record = json.loads(line)
            except ValueError:
                continue
            if line.endswith(b"\n"):
                self.found[record["key"]] = record
                whole += line
        self.path.write_bytes(whole)

    def add(self, record: dict) -> None:
        """Keep a reply, at once."""
        self.file.write(json.dumps(record, ensure_ascii=False, sort_keys=True) + "\n")
        self.file.flush()
        self.found[record["key"]] = record


def key_of(cell: Cell, question: Question, identity: str, sampling: dict) -> str:
    """The key of a reply: a hash over everything that could change it."""
    pictures = [hashlib.sha256(path.read_bytes()).hexdigest() for path in question.images]
    asked = [
        identity,
        sampling,
        cell.system,
        cell.suffix,
        cell.max_tokens,
        question.turns,
        pictures,
    ]
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:32]


def ask(
    cells: list[Cell],
    endpoint: Endpoint,
    identity: str,
    sampling: dict,
    replies: Replies,
    logs: Path,
    note: str,
) -> dict[tuple[str, str], Measured]:
    """Ask every question of every cell whose reply is not kept, and score all of them.

    Args:
        cells: What to ask.
        endpoint: Who answers.
        identity: Names the weights behind the endpoint.
        sampling: temperature and seed.
        replies: What is kept already; new replies are added.
        logs: The folder of the transcripts, which is emptied first.
        note: Begins each line of progress.

    Returns:
        Measurements by (suite, prompt) and question id. Raises AskError.
    """
    progress = Progress(note, sum(len(cell.questions) for cell in cells))
    found: dict[tuple[str, str], Measured] = {(cell.suite, cell.prompt): {} for cell in cells}
    tasks = [
        _task(cell, identity, sampling, replies, progress, found[cell.suite, cell.prompt])
        for cell in cells
        if cell.questions
    ]
    shutil.rmtree(logs, ignore_errors=True)
    if not tasks:
        return found
    done = inspect_eval(
        tasks,
        model=_model(endpoint, sampling),
        log_dir=str(logs),
        display="none",
        max_tasks=TASKS,
        max_samples=endpoint.concurrency * 2,
        log_realtime=False,
        log_buffer=1000,
        log_images=False,
        score_display=False,
        fail_on_error=True,
        retry_on_error=0,
        ctl_server=False,
    )
    progress.end()
    for log in done:
        if log.status != "success":
            message = log.error.message if log.error else log.status
            raise AskError(
                f"{endpoint.url}: {note}: {' '.join(str(message).split())[:300]}; "
                f"{len(replies.found)} replies are kept, run again to go on"
            )
    return found


def _model(endpoint: Endpoint, sampling: dict) -> Model:
    extra = endpoint.extra(sampling)
    config = GenerateConfig(
        **sampling,
        extra_body=extra,
        max_connections=endpoint.concurrency,
        max_retries=scorers.settings()["retries"],
    )
    return get_model(
        f"openai-api/served/{endpoint.model}",
        base_url=endpoint.url,
        api_key=os.environ.get(endpoint.key_variable) or "none",
        config=config,
        client_timeout=REPLY_HOURS * 3600,
    )


def _task(
    cell: Cell,
    identity: str,
    sampling: dict,
    replies: Replies,
    progress: Progress,
    found: Measured,
) -> Task:
    samples = []
    for question in cell.questions:
        key = key_of(cell, question, identity, sampling)
        metadata = {"key": key, "score": cell.score, "expect": question.expect}
        samples.append(Sample(id=question.id, input=cell.messages(question), metadata=metadata))
    return Task(
        MemoryDataset(samples),
        solver=_reply(replies, progress, sampling["seed"]),
        scorer=_measured(found),
        config=GenerateConfig(max_tokens=cell.max_tokens),
        name=f"{cell.suite}-{cell.prompt}",
        version=scorers.VERSION[cell.score],
    )


@solver
def _reply(replies: Replies, progress: Progress, seed: int) -> Solver:
    """The kept reply of a question, or a new one, which is then kept."""

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        record = replies.found.get(state.metadata["key"])
        progress.tick(asked=record is None)
        if record is None:
            state = await generate(state, seed=_seed_of(str(state.sample_id)) + seed)
            record = _record(state)
            replies.add(record)
        else:
            name = str(state.model)
            state.output = ModelOutput.from_content(name, record["text"], record["stop"])
            state.messages.append(state.output.message)
        state.metadata["reply"] = {key: record[key] for key in ("text", "stop", "tokens")}
        return state

    return solve


def _seed_of(id_: str) -> int:
    """The same seed for both models, another for each question."""
    return int(hashlib.sha256(id_.encode()).hexdigest()[:7], 16)


def _record(state: TaskState) -> dict:
    usage = state.output.usage
    return {
        "key": state.metadata["key"],
        "id": str(state.sample_id),
        "stop": state.output.stop_reason,
        "text": text_of(state.output),
        "tokens": usage.output_tokens if usage else None,
    }


def text_of(output: ModelOutput) -> str:
    """The reply as the model wrote it: where a server took the reasoning out, it is put back."""
    if output.empty:
        return ""
    content = output.message.content
    reasoning = ""
    if isinstance(content, list):
        reasoning = "".join(
            part.reasoning for part in content if isinstance(part, ContentReasoning)
        )
    text = output.message.text
    if reasoning and text.strip() and chat.BEGIN_FINAL not in text:
        end = f"\n{chat.END_FINAL}" if output.stop_reason == "stop" else ""
        return f"{chat.REASONING}\n{reasoning.strip()}\n{chat.BEGIN_FINAL}\n{text.strip()}{end}"
    return reasoning + text


@scorer(metrics=[mean()])
def _measured(found: Measured) -> Scorer:
    """scorers.measure behind Inspect's interface; what it measures goes into `found`, and beside
    the transcript.
    """

    async def score(state: TaskState, target: object) -> Score:
        reply = state.metadata["reply"]
        kind = state.metadata["score"]
        arguments = (kind, reply["text"], reply["stop"], state.metadata["expect"])
        if kind in SLOW:  # it must not hold up the replies of the others
            about = await asyncio.to_thread(scorers.measure, *arguments)
        else:
            about = scorers.measure(*arguments)
        about["final"] = chat.split(reply["text"]).answer
        about["tokens"] = reply["tokens"]
        found[str(state.sample_id)] = about
        shares = [value for value in about.values() if isinstance(value, bool)]
        shown = about.get("correct", shares[0] if shares else False)
        return Score(value=float(shown), answer=about["final"], metadata=about)

    return score


class Progress:
    """One line that is rewritten on a terminal, or a line every half minute elsewhere: how many,
    and when it ends.
    """

    def __init__(self, note: str, total: int):
        self.note = note
        self.total = total
        self.done = 0
        self.asked = 0
        self.started = time.monotonic()
        self.printed = self.started

    def tick(self, asked: bool) -> None:
        """One more reply, asked now or kept."""
        now = time.monotonic()
        self.done += 1
        self.asked += asked
        terminal = sys.stderr.isatty()
        if now - self.printed < (1 if terminal else 30):
            return
        self.printed = now
        left = 0.0
        if self.asked:
            left = (self.total - self.done) * (now - self.started) / self.asked
        print(
            f"{self.note}: {self.done} of {self.total} replies, {left / 60:.1f} min left  ",
            end="\r" if terminal else "\n",
            file=sys.stderr,
            flush=True,
        )

    def end(self) -> None:
        """One line at the end."""
        seconds = time.monotonic() - self.started
        print(
            f"{self.note}: {self.done} replies, {self.asked} of them asked now, {seconds:.0f} s",
            file=sys.stderr,
            flush=True,
        )
