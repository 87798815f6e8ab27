"""Asking a model through Inspect AI: every reply is kept as it comes, so that a killed run asks nothing twice.

A reply is one line of a `replies/*.jsonl`, found again by a hash over everything that could change it: the model's weights, the
sampling, the messages, the images. Transcripts are Inspect's own logs.
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
    ChatMessageAssistant,
    ChatMessageSystem,
    ChatMessageUser,
    ContentImage,
    ContentReasoning,
    ContentText,
    GenerateConfig,
    ModelOutput,
    get_model,
)
from inspect_ai.scorer import Score, mean, scorer
from inspect_ai.solver import Generate, TaskState, solver

from common import chat
from evaluation import scorers
from evaluation.serve import Endpoint
from evaluation.suites import Question

REPLY_HOURS = 3  # a reply of 32,768 tokens among 63 others may take one
RETRIES = 4  # of a request, backing off; a server that died does not come back


class AskError(RuntimeError):
    """A model that could not be asked to the end; what it answered until then is kept."""


@dataclass(frozen=True)
class Cell:
    """Questions of one suite under one system prompt."""

    suite: str
    prompt: str
    score: str
    questions: tuple[Question, ...]
    system: str | None
    suffix: str
    max_tokens: int

    def messages(self, question: Question) -> list:
        """Inspect's messages; the suffix and the images belong to the last turn."""
        *earlier, last = question.turns
        said = [ChatMessageSystem(content=self.system)] if self.system else []
        for number, text in enumerate(earlier):
            said.append(
                ChatMessageAssistant(content=text) if number % 2 else ChatMessageUser(content=text)
            )
        pictures = [ContentImage(image=str(path)) for path in question.images]
        return [*said, ChatMessageUser(content=[*pictures, ContentText(text=last + self.suffix)])]


@dataclass
class Replies:
    """The replies of one model, in a file; `get` by key, `add` appends a line and flushes it."""

    path: Path
    found: dict[str, dict] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        whole = b""
        for line in self.path.read_bytes().splitlines(keepends=True) if self.path.exists() else []:
            try:
                record = json.loads(line) if line.endswith(b"\n") else None
            except ValueError:
                record = None
            if record is None:  # cut by a kill or a full disk, here or in the middle
                continue
            self.found[record["key"]], whole = record, whole + line
        self.path.write_bytes(whole) if self.path.exists() else None
        self.file = self.path.open("a", encoding="utf-8")

    def add(self, record: dict) -> None:
        self.file.write(json.dumps(record, ensure_ascii=False, sort_keys=True) + "\n")
        self.file.flush()
        self.found[record["key"]] = record


def key_of(cell: Cell, question: Question, identity: str, sampling: dict) -> str:
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
) -> dict[tuple[str, str], dict[str, dict]]:
    """{(suite, prompt): {question id: measurements with the final answer}} of every question of every cell.

    `identity` names the weights behind the endpoint, `sampling` holds temperature and seed. Raises AskError.
    """
    progress = Progress(note, sum(len(cell.questions) for cell in cells))
    body = {"extra_body": endpoint.extra(sampling)} if endpoint.extra(sampling) else {}
    config = GenerateConfig(
        **sampling, **body, max_connections=endpoint.concurrency, max_retries=RETRIES
    )
    key = os.environ.get(endpoint.key_variable) or "none"
    model = get_model(
        f"openai-api/served/{endpoint.model}",
        base_url=endpoint.url,
        api_key=key,
        config=config,
        client_timeout=REPLY_HOURS * 3600,
    )
    found = {(cell.suite, cell.prompt): {} for cell in cells}
    about = (identity, sampling, replies, progress)
    tasks = [
        _task(cell, *about, found[cell.suite, cell.prompt]) for cell in cells if cell.questions
    ]
    shutil.rmtree(logs, ignore_errors=True)
    done = inspect_eval(
        tasks, model=model, log_dir=str(logs), display="none", max_tasks=8, max_samples=endpoint.concurrency * 2, log_realtime=False,
        log_buffer=1000, log_images=False, score_display=False, fail_on_error=True, retry_on_error=0, ctl_server=False,
    ) if tasks else []  # fmt: skip
    progress.end()
    for log in done:
        if log.status != "success":
            said = " ".join(str(log.error.message if log.error else log.status).split())[:300]
            raise AskError(
                f"{endpoint.url}: {note}: {said}; {len(replies.found)} replies are kept, run again to go on"
            )
    return found


def _task(
    cell: Cell, identity: str, sampling: dict, replies: Replies, progress: Progress, found: dict
) -> Task:
    samples = [
        Sample(
            id=question.id, input=cell.messages(question),
            metadata={"key": key_of(cell, question, identity, sampling), "score": cell.score, "expect": question.expect},
        )
        for question in cell.questions
    ]  # fmt: skip
    return Task(
        MemoryDataset(samples), solver=_reply(replies, progress, sampling["seed"]), scorer=measured(found),
        config=GenerateConfig(max_tokens=cell.max_tokens), name=f"{cell.suite}-{cell.prompt}", version=scorers.VERSION[cell.score],
    )  # fmt: skip


@solver
def _reply(replies: Replies, progress: Progress, seed: int):
    """The kept reply of a question, or a new one, which is then kept."""

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        record = replies.found.get(state.metadata["key"])
        if record is None:
            # The same seed for both models, another for each question.
            state = await generate(
                state,
                seed=int(hashlib.sha256(str(state.sample_id).encode()).hexdigest()[:7], 16) + seed,
            )
            about = {
                "key": state.metadata["key"],
                "id": str(state.sample_id),
                "stop": state.output.stop_reason,
            }
            usage = state.output.usage
            record = about | {
                "text": text_of(state.output),
                "tokens": usage.output_tokens if usage else None,
            }
            replies.add(record)
            progress.tick(asked=True)
        else:
            state.output = ModelOutput.from_content(
                str(state.model), record["text"], record["stop"]
            )
            state.messages.append(state.output.message)
            progress.tick(asked=False)
        state.metadata["reply"] = {
            "text": record["text"],
            "stop": record["stop"],
            "tokens": record["tokens"],
        }
        return state

    return solve


def text_of(output: ModelOutput) -> str:
    """The reply as the model wrote it: where a server took the reasoning out, it is put back."""
    if output.empty:
        return ""
    content = output.message.content
    reasoning = (
        "".join(part.reasoning for part in content if isinstance(part, ContentReasoning))
        if isinstance(content, list)
        else ""
    )
    text = output.message.text
    if reasoning and text.strip() and chat.BEGIN_FINAL not in text:
        end = f"\n{chat.END_FINAL}" if output.stop_reason == "stop" else ""
        return f"{chat.REASONING}\n{reasoning.strip()}\n{chat.BEGIN_FINAL}\n{text.strip()}{end}"
    return reasoning + text


@scorer(metrics=[mean()])
def measured(found: dict[str, dict]):
    """scorers.measure behind Inspect's interface; what it measures goes into `found`, and beside the transcript."""

    async def score(state: TaskState, target) -> Score:
        reply, kind = state.metadata["reply"], state.metadata["score"]
        words = (kind, reply["text"], reply["stop"], state.metadata["expect"])
        # What runs for seconds must not hold up the replies of the others.
        about = (
            await asyncio.to_thread(scorers.measure, *words)
            if kind in ("code", "boxed")
            else scorers.measure(*words)
        )
        about |= {"final": chat.split(reply["text"]).answer, "tokens": reply["tokens"]}
        found[str(state.sample_id)] = about
        shown = next((value for value in about.values() if isinstance(value, bool)), False)
        return Score(
            value=float(about.get("correct", shown)), answer=about["final"], metadata=about
        )

    return score


class Progress:
    """One line that is rewritten on a terminal, or a line every half minute elsewhere: how many, and when it ends."""

    def __init__(self, note: str, total: int):
        self.note, self.total, self.done, self.asked = note, total, 0, 0
        self.started = self.said = time.monotonic()

    def tick(self, asked: bool) -> None:
        self.done, self.asked, now = self.done + 1, self.asked + asked, time.monotonic()
        if now - self.said < (1 if sys.stderr.isatty() else 30):
            return
        self.said = now
        left = (self.total - self.done) * (now - self.started) / self.asked if self.asked else 0
        end = "\r" if sys.stderr.isatty() else "\n"
        print(
            f"{self.note}: {self.done} of {self.total} replies, {left / 60:.1f} min left  ",
            end=end,
            file=sys.stderr,
            flush=True,
        )

    def end(self) -> None:
        seconds = time.monotonic() - self.started
        print(
            f"{self.note}: {self.done} replies, {self.asked} of them asked now, {seconds:.0f} s",
            file=sys.stderr,
            flush=True,
        )
