"""Accepted rows of a teacher as a source of the mix: one JSON object a line, written by `python -m
preprocess.teacher`.
"""

import base64
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from common import rows
from preprocess.mix import MixError
from preprocess.rows import Conversation, Note, Turn

NOTE = "written by "


def line(job, turns: tuple[Turn, ...], teacher: str) -> str:
    """A row of a plan.Job as it is kept."""
    images = [base64.b64encode(png).decode() for png in job.images]
    said = [
        {"user": turn.user, "reasoning": turn.reasoning, "answer": turn.answer} for turn in turns
    ]
    about = {
        "id": job.id,
        "group": job.group,
        "tags": job.tags,
        "teacher": teacher,
        "answer": job.check,
    }
    about["system"] = job.system if job.replay else ""  # that of the mix, where it is empty
    return json.dumps(about | {"images": images, "turns": said}, ensure_ascii=False)


def conversations(path: Path) -> Iterator[Conversation | Note]:
    """The accepted rows of a file that need not exist. Raises MixError naming the line."""
    teachers: Counter[str] = Counter()
    for number, _, text in rows.lines(path) if path.exists() else ():
        try:
            row = json.loads(text)
            images = tuple(base64.b64decode(image) for image in row["images"])
            turns = tuple(Turn(**said, images=images) for said in row["turns"])
            yield Conversation(
                row["id"],
                "",
                "teacher",
                row["system"],
                turns,
                tuple(row["tags"]),
                row["answer"],
                group=row["group"],
            )
            teachers[row["teacher"]] += 1
        except (ValueError, KeyError, TypeError) as error:
            problem = f"{type(error).__name__} {error}; run python -m preprocess.teacher again"
            raise MixError(f"{path}:{number}: {problem}") from None
    yield from (Note(f"{NOTE}{teacher}", count) for teacher, count in sorted(teachers.items()))
