"""The questions of each suite, from files; suites.yaml says which. A suite whose data is absent is
skipped with a reason.

A question is the same for every model. Which ones a sample or a limit takes follows from their ids
and the seed alone, so that a larger limit asks the smaller one's questions again and finds them
answered.
"""

import hashlib
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from common import rows
from common.files import ROOT, load_yaml, shown
from evaluation import benchmarks, programs, scorers
from evaluation.question import Absent, Question, SuiteError


def questions(suite: dict, dataset: Path, hub_dir: Path | None) -> list[Question]:
    """The questions of a suite, or its sample of them, in an order that their ids decide.

    Args:
        suite: Its entry in suites.yaml.
        dataset: The recipe's built dataset.
        hub_dir: A folder in the place of the hub.

    Raises Absent or SuiteError.
    """
    if "questions" in suite:
        found = written(ROOT / suite["questions"])
    elif "programs" in suite:
        found = in_code(ROOT / suite["programs"])
    elif "rows" in suite:
        paths = [ROOT / name.replace("{recipe}", str(dataset)) for name in suite["rows"]]
        found = heldout(paths, suite["category"])
    else:
        found = benchmarks.public(suite["set"], hub_dir)
    repeated = [id_ for id_, count in Counter(q.id for q in found).items() if count > 1]
    if repeated:
        where = suite.get("questions") or suite.get("rows") or suite.get("set")
        raise SuiteError(f"{where}: {min(repeated)}: two questions have this id")
    found = ordered(found, scorers.settings()["seed"])
    return stratified(found, suite.get("sample", len(found)))


def ordered(found: Iterable[Question], seed: int) -> list[Question]:
    """The questions in an order that their ids and the seed decide."""

    def place(question: Question) -> bytes:
        return hashlib.sha256(f"{seed} {question.id}".encode()).digest()

    return sorted(found, key=place)


def stratified(found: list[Question], size: int) -> list[Question]:
    """`size` of the questions, each stratum's share of them in proportion (largest remainders
    first), in their order; all where there are no more.
    """
    if size >= len(found):
        return found
    strata = defaultdict(list)
    for question in found:
        strata[str(question.unseen), question.stratum].append(question)
    exact = {name: len(members) * size / len(found) for name, members in strata.items()}
    take = {name: int(share) for name, share in exact.items()}
    by_remainder = sorted(exact, key=lambda name: (take[name] - exact[name], name))
    for name in by_remainder[: size - sum(take.values())]:
        take[name] += 1
    chosen = {question.id for name, members in strata.items() for question in members[: take[name]]}
    return [question for question in found if question.id in chosen]


def written(path: Path) -> list[Question]:
    """The questions of a YAML list of {id, prompt or turns, ...}; what stands beside these is for
    the scorer.

    Raises Absent, FileError or SuiteError.
    """
    if not path.exists():
        raise Absent(f"{shown(path)} is not there")
    entries = load_yaml(path) or []
    return [_written(entry, number, path) for number, entry in enumerate(entries, 1)]


def _written(entry: dict, number: int, path: Path) -> Question:
    try:
        if "prompt" in entry:
            turns = [entry["prompt"]]
        else:
            turns = [turn["text"] for turn in entry["turns"]]
        id_ = str(entry["id"])
    except (TypeError, KeyError) as error:
        raise SuiteError(
            f"{path}: entry {number}: {error}; give an id, and a prompt or turns with a text each"
        ) from None
    texts = all(isinstance(turn, str) and turn.strip() for turn in turns)
    if len(turns) % 2 == 0 or not texts:
        raise SuiteError(
            f"{path}: {id_}: user and assistant must alternate, the user begin and end, "
            "each with a text"
        )
    rest = {key: value for key, value in entry.items() if key not in ("id", "prompt", "turns")}
    for key in ("must", "must_not"):
        for pattern in rest.get(key, []):
            try:
                re.compile(pattern)
            except re.error as error:
                raise SuiteError(f"{path}: {id_}: {key}: {pattern!r}: {error}") from None
    return Question(id_, tuple(turns), rest | {"prompt": turns[-1]})


def in_code(folder: Path) -> list[Question]:
    """The programming problems of a folder. Raises Absent or FileError."""
    if not folder.exists():
        raise Absent(f"{shown(folder)} is not there")
    return [
        Question(program.id, (program.prompt,), program.expect) for program in programs.load(folder)
    ]


def heldout(paths: list[Path], category: str) -> list[Question]:
    """The rows of a category in the first of the files that is there, without their replies. Raises
    Absent or RowError.
    """
    path = next((path for path in paths if path.exists()), None)
    if path is None:
        names = ", ".join(map(shown, paths))
        raise Absent(
            f"none of {names} is there; "
            "make data builds it, or python -m preprocess aether --heldout"
        )
    found = [
        _of_row(row, path.parent)
        for row in rows.read(path)
        if row["category"] == category and "answer" in row
    ]
    if not found:
        raise Absent(f"{shown(path)} holds no checkable row of category {category}")
    values = defaultdict(set)
    for question in found:
        values[question.stratum].add(question.expect["value"])
    if not any(question.unseen for question in found):  # of a category that does not tell them
        found = [replace(question, unseen=None) for question in found]
    for question in found:
        # A one-word text is told from the other answers to the same kind of question.
        if question.expect["kind"] == "text" and not re.search(r"\W", question.expect["value"]):
            question.expect["choices"] = sorted(values[question.stratum])
    return found


def _of_row(row: dict, folder: Path) -> Question:
    first = 1 if row["messages"][0]["role"] == "system" else 0
    *turns, last = row["messages"][first:-1]
    answer = row["answer"]
    expect = {key: answer[key] for key in ("kind", "value", "tolerance")}
    expect["unit"] = answer.get("unit", "")
    derivation = json.loads(answer.get("derivation") or "{}")
    expect |= {key: derivation.get(key) for key in ("choices", "says")}
    images = tuple(folder / part["path"] for part in last["content"] if part["type"] == "image")
    texts = tuple(rows.text_of(message) for message in (*turns, last))
    kind = next((tag for tag in row["tags"] if tag.startswith("asks:")), "")
    question = Question(row["id"], texts, expect, images, kind, unseen="unseen" in row["tags"])
    if "tools" not in row:
        return question
    if rows.images(row, folder):
        raise SuiteError(f"{row['id']}: pictures beside tools are not asked; leave one of them out")
    expect["tools"] = row["tools"]
    return replace(question, tools=tuple(row["tools"]), talk=(*turns, last))
