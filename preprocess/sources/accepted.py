"""Rows of a teacher that were accepted: one JSON object a line, written by `python -m
preprocess.teacher`."""

import base64
import json
from collections import Counter
from collections.abc import Iterator
from typing import Literal

from common import rows
from common.files import shown
from preprocess.rows import Conversation, Note, Turn
from preprocess.source import Context, MixError, Source

# A note says so how many rows a teacher wrote.
WRITTEN_BY = "written by "


class Config(Source):
    """A file that need not exist."""

    kind: Literal["teacher"]
    path: str

    origins = ("teacher", "replay")
    written = True


def line(job, turns: tuple[Turn, ...], teacher: str) -> str:
    """An accepted reply as it is kept: its turns, what its job (preprocess.teacher.jobs.Job) knows
    of them, who wrote them."""
    about = {
        "id": job.id,
        "group": job.group,
        "tags": job.tags,
        "teacher": teacher,
        "answer": job.check,
        "system": job.system if job.replay else "",  # that of the mix, where it is empty
        "images": [base64.b64encode(png).decode() for png in job.images],
        "turns": [
            {"user": turn.user, "reasoning": turn.reasoning, "answer": turn.answer}
            for turn in turns
        ],
    }
    return json.dumps(about, ensure_ascii=False)


def conversations(config: Config, context: Context) -> Iterator[Conversation | Note]:
    """The accepted rows of a file. Raises MixError naming the line."""
    path = context.path(config.path)
    teachers: Counter = Counter()
    for number, _, text in rows.lines(path) if path.exists() else ():
        try:
            row = json.loads(text)
            conversation = _conversation(row)
            teacher = row["teacher"]
        except (ValueError, KeyError, TypeError) as error:
            problem = f"{type(error).__name__} {error}; run python -m preprocess.teacher again"
            raise MixError(f"{shown(path)}:{number}: {problem}") from None
        yield conversation
        teachers[teacher] += 1
    for teacher, count in sorted(teachers.items()):
        yield Note(f"{WRITTEN_BY}{teacher}", count)


def _conversation(row: dict) -> Conversation:
    images = tuple(base64.b64decode(image) for image in row["images"])
    return Conversation(
        id=row["id"],
        category="",
        origin="replay" if "replay" in row["tags"] else "teacher",
        system=row["system"],
        turns=tuple(Turn(**turn, images=images) for turn in row["turns"]),
        tags=tuple(row["tags"]),
        answer=row["answer"],
        group=row["group"],
    )
