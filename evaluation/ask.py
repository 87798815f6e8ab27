"""Asking a model: every reply is kept as it comes, so that a killed run asks nothing twice.

A reply lies in a `replies/*.sqlite` (common.asking), found again by a hash over everything that
could change it: the model's weights, the sampling, the messages, the images. Transcripts are
Inspect's own logs.
"""

import asyncio
import hashlib
import json
import os
import shutil
from dataclasses import dataclass
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
    ContentText,
    GenerateConfig,
    ModelOutput,
)
from inspect_ai.scorer import Score, Scorer, mean, scorer
from inspect_ai.solver import Generate, Solver, TaskState, solver

from common import chat
from common.asking.client import Address, Client
from common.asking.kept import Replies, reply_of
from common.asking.messages import of_row
from common.asking.replies import body_of
from common.errors import AetherError
from common.files import ROOT
from common.servers import Endpoint
from evaluation import scorers
from evaluation.progress import Progress
from evaluation.question import Question

REPLY_HOURS = 3  # a reply of 32,768 tokens among 63 others may take one
INSPECT_OPTIONS: dict = {
    "model": "none/none",  # our client asks
    "display": "none",
    "max_tasks": 8,
    "log_realtime": False,
    "log_buffer": 1000,
    "log_images": False,
    "score_display": False,
    "fail_on_error": True,
    "retry_on_error": 0,
    "ctl_server": False,
}
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
        if question.tools:
            return [*messages, *(of_row(message, ROOT) for message in question.talk)]
        for number, text in enumerate(earlier):
            kind = ChatMessageAssistant if number % 2 else ChatMessageUser
            messages.append(kind(content=text))
        images = [ContentImage(image=str(path)) for path in question.images]
        content = [*images, ContentText(text=last + self.suffix)]
        return [*messages, ChatMessageUser(content=content)]


def key_of(cell: Cell, question: Question, identity: str, sampling: dict) -> str:
    """The key of a reply, in hex: a hash over everything that could change it."""
    pictures = [hashlib.sha256(path.read_bytes()).hexdigest() for path in question.images]
    asked: list[object] = [
        identity,
        sampling,
        cell.system,
        cell.suffix,
        cell.max_tokens,
        question.turns,
        pictures,
    ]
    if question.tools:
        asked += [question.tools, question.talk]
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
    asking = _Asking(endpoint, identity, sampling, replies, progress)
    tasks = [asking.task(cell, found[cell.suite, cell.prompt]) for cell in cells if cell.questions]
    shutil.rmtree(logs, ignore_errors=True)
    if not tasks:
        return found
    done = inspect_eval(
        tasks, log_dir=str(logs), max_samples=endpoint.concurrency * 2, **INSPECT_OPTIONS
    )
    progress.end()
    for log in done:
        if log.status != "success":
            message = log.error.message if log.error else log.status
            raise AskError(
                f"{endpoint.url}: {note}: {' '.join(str(message).split())[:300]}; "
                f"{replies.count()} replies are kept, run again to go on"
            )
    return found


@dataclass
class _Asking:
    """What all suites that are asked of one model share."""

    endpoint: Endpoint
    identity: str
    sampling: dict
    replies: Replies
    progress: Progress

    def __post_init__(self) -> None:
        self.client = Client(
            Address(self.endpoint.url, self.endpoint.model, self.endpoint.key),
            "its log, or ENDPOINT= and MODEL=",
            concurrency=self.endpoint.concurrency,
            timeout_seconds=REPLY_HOURS * 3600,
            backoff_seconds=scorers.settings()["backoff_seconds"],
        )

    def task(self, cell: Cell, found: Measured) -> Task:
        """Inspect's task of a cell; what is measured goes into `found`."""
        samples = []
        for question in cell.questions:
            key = key_of(cell, question, self.identity, self.sampling)
            metadata = {"key": key, "score": cell.score, "expect": question.expect}
            metadata["tools"] = question.tools
            messages = cell.messages(question)
            samples.append(Sample(id=question.id, input=messages, metadata=metadata))
        return Task(
            MemoryDataset(samples),
            solver=_reply(self, cell.max_tokens),
            scorer=_measured(found),
            name=f"{cell.suite}-{cell.prompt}",
            version=scorers.VERSION[cell.score],
        )

    async def ask(self, state: TaskState, max_tokens: int) -> dict:
        """The kept reply of a question, or a new one, which is then kept."""
        key = state.metadata["key"]
        kept = self.replies.reply(key)
        if kept is None:
            config = GenerateConfig(
                temperature=self.sampling["temperature"],
                seed=_seed_of(str(state.sample_id)) + self.sampling["seed"],
                max_tokens=max_tokens,
                extra_body=self.endpoint.extra(self.sampling, state.metadata["tools"]),
            )
            reply = await self.client.ask(state.messages, config)
            body = body_of(reply)
            await self.replies.keep(key, body)
            self.progress.tick(asked=True)
            return reply_of(body)
        self.progress.tick(asked=False)
        return kept


@solver
def _reply(asking: _Asking, max_tokens: int) -> Solver:
    async def solve(state: TaskState, generate: Generate) -> TaskState:
        reply = await asking.ask(state, max_tokens)
        state.output = ModelOutput.from_content("served", reply["text"])
        state.messages.append(state.output.message)
        state.metadata["reply"] = reply
        return state

    return solve


def _seed_of(id_: str) -> int:
    """The same seed for both models, another for each question."""
    return int(hashlib.sha256(id_.encode()).hexdigest()[:7], 16)


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
