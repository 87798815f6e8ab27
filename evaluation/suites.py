"""The questions of each suite, from files; suites.yaml says which. A suite whose data is absent is skipped with a reason.

A question is the same for every model. Which ones a sample or a limit takes follows from their ids and the seed alone, so that a
larger limit asks the smaller one's questions again and finds them answered.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from apriel import rows
from apriel.recipes import ROOT
from evaluation.extract import boxed

SETS = {  # repository on the hub, its configurations, the name of its test split
    "gsm_hard": ("reasoning-machines/gsm-hard", ("default",), "train"),
    "math": (
        "EleutherAI/hendrycks_math",
        ("algebra", "counting_and_probability", "geometry", "intermediate_algebra", "number_theory", "prealgebra", "precalculus"),
        "test",
    ),
}


class Absent(Exception):
    """The data of a suite is not there; the text says what is missing and how to get it."""


class SuiteError(ValueError):
    """A question file that is there and wrong."""


@dataclass(frozen=True)
class Question:
    """What is asked. `turns` alternate user and assistant and end with the user's; `images` are shown before the last one."""

    id: str
    turns: tuple[str, ...]
    expect: dict = field(default_factory=dict)  # what its scorer needs
    images: tuple[Path, ...] = ()
    stratum: str = ""


def load(path: Path) -> dict | list:
    """What a YAML file holds. Raises SuiteError."""
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SuiteError(f"{path}: not YAML: {' '.join(str(error).split())}") from None


def questions(suite: dict, dataset: Path, hub_dir: Path | None, seed: int, limit: int | None) -> list[Question]:
    """The questions of a suite, sampled and limited. `dataset`: the recipe's built dataset. Raises Absent or SuiteError."""
    if "questions" in suite:
        found = written(ROOT / suite["questions"])
    elif "rows" in suite:
        found = heldout([ROOT / name.replace("{recipe}", str(dataset)) for name in suite["rows"]], suite["category"])
    else:
        found = public(suite["set"], hub_dir)
    if len(ids := {question.id for question in found}) != len(found):
        repeated = sorted(q.id for q in found if q.id in ids and sum(other.id == q.id for other in found) > 1)
        raise SuiteError(f"{suite.get('questions') or suite.get('rows')}: {repeated[0]}: two questions have this id")
    found = ordered(found, seed)
    if suite.get("sample"):
        found = stratified(found, suite["sample"])
    return found[:limit]


def ordered(found: Iterable[Question], seed: int) -> list[Question]:
    return sorted(found, key=lambda question: hashlib.sha256(f"{seed} {question.id}".encode()).digest())


def stratified(found: list[Question], size: int) -> list[Question]:
    """`size` of the questions, each stratum's share of them in proportion (largest remainders first), in their order."""
    strata = defaultdict(list)
    for question in found:
        strata[question.stratum].append(question)
    exact = {name: len(members) * size / len(found) for name, members in strata.items()}
    take = {name: int(share) for name, share in exact.items()}
    for name in sorted(exact, key=lambda name: (take[name] - exact[name], name))[: min(size, len(found)) - sum(take.values())]:
        take[name] += 1
    chosen = {question.id for name, members in strata.items() for question in members[: take[name]]}
    return [question for question in found if question.id in chosen]


def written(path: Path) -> list[Question]:
    """The questions of a YAML list of {id, prompt or turns, ...}; what stands beside these is for the scorer."""
    if not path.exists():
        raise Absent(f"{path.relative_to(ROOT)} is not there")
    found = []
    for number, entry in enumerate(load(path) or [], 1):
        turns = [entry["prompt"]] if isinstance(entry, dict) and "prompt" in entry else isinstance(entry, dict) and entry.get("turns")
        if not turns or not entry.get("id") or len(turns) % 2 == 0 or not all(isinstance(turn, str) for turn in turns):
            raise SuiteError(f"{path}: entry {number}: give an id, and a prompt or turns that end with the user's, as text")
        rest = {key: value for key, value in entry.items() if key not in ("id", "prompt", "turns")}
        for key in ("must", "must_not"):
            for pattern in rest.get(key, []):
                try:
                    re.compile(pattern)
                except re.error as error:
                    raise SuiteError(f"{path}: {entry['id']}: {key}: {pattern!r}: {error}") from None
        found.append(Question(str(entry["id"]), tuple(turns), rest | {"prompt": turns[-1]}))
    return found


def heldout(paths: list[Path], category: str) -> list[Question]:
    """The rows of a category in the first of the files that is there, without their replies."""
    path = next((path for path in paths if path.exists()), None)
    if path is None:
        raise Absent(f"none of {', '.join(str(path.relative_to(ROOT)) for path in paths)} is there")
    found, values = [], defaultdict(set)
    for row in rows.read(path):
        if row["category"] != category or "answer" not in row:
            continue
        *turns, last = row["messages"][row["messages"][0]["role"] == "system" : -1]
        answer, rest = row["answer"], json.loads(row["answer"].get("derivation") or "{}")
        kind = next((tag for tag in row["tags"] if tag.startswith("asks:")), "")
        values[kind].add(answer["value"])
        expect = {key: answer[key] for key in ("kind", "value", "tolerance")} | {"choices": rest.get("choices")}
        images = tuple(path.parent / part["path"] for part in last["content"] if part["type"] == "image")
        texts = tuple(rows.text_of(message) for message in (*turns, last))
        found.append(Question(row["id"], texts, expect, images, kind))
    if not found:
        raise Absent(f"{path.relative_to(ROOT)} holds no checkable row of category {category}")
    for question in found:  # a one-word text is told from the other answers to the same kind of question
        if question.expect["kind"] == "text" and not re.search(r"\W", question.expect["value"]):
            question.expect["choices"] = sorted(values[question.stratum])
    return found


def public(name: str, hub_dir: Path | None) -> list[Question]:
    """The test split of a public set, from a folder with <name>/test.jsonl or from the hub at its pinned revision."""
    found = []
    for number, record in enumerate(_records(name, hub_dir)):
        if name == "math":
            gold = boxed(record["solution"])
            if gold is None:
                continue
            stratum = f"{record['type']}, {record['level']}"
            found.append(Question(f"math-{number:04d}", (record["problem"],), {"value": gold}, stratum=stratum))
        else:
            expect = {"value": str(record["target"]), "tolerance": 1e-4}
            found.append(Question(f"{name}-{number:04d}", (record["input"],), expect))
    return found


def _records(name: str, hub_dir: Path | None) -> Iterable[dict]:
    repository, configurations, split = SETS[name]
    if hub_dir:
        path = hub_dir / name / "test.jsonl"
        if not path.exists():
            raise Absent(f"{path} is not there")
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    lock = ROOT / "hub.lock"
    pinned = lock.exists() and json.loads(lock.read_text()).get("datasets", {}).get(repository)
    if not pinned:
        raise Absent(f"hub.lock pins no revision of {repository}; run make pin, or give HUB_DIR=, a folder with {name}/test.jsonl")
    import datasets  # slow to import, and not needed with a local folder

    try:
        parts = [datasets.load_dataset(repository, part, split=split, revision=pinned) for part in configurations]
    except (OSError, ValueError) as error:
        raise Absent(f"{repository}: {' '.join(str(error).split())[:200]}; without a hub give HUB_DIR=") from None
    return [record for part in parts for record in part]
