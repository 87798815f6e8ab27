"""The questions of each suite, from files; suites.yaml says which. A suite whose data is absent is skipped with a reason.

A question is the same for every model. Which ones a sample or a limit takes follows from their ids and the seed alone, so that a
larger limit asks the smaller one's questions again and finds them answered.
"""

from __future__ import annotations

import ast
import hashlib
import io
import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from common import hub, rows
from common.answers import NotRead, boxed, read_number
from common.files import ROOT

PICTURES = ROOT / "outputs" / "hub"  # those of the hub's sets, as files


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


def questions(
    suite: dict, dataset: Path, hub_dir: Path | None, seed: int, limit: int | None
) -> list[Question]:
    """The questions of a suite, sampled and limited. `dataset`: the recipe's built dataset. Raises Absent or SuiteError."""
    if "questions" in suite:
        found = written(ROOT / suite["questions"])
    elif "rows" in suite:
        found = heldout(
            [ROOT / name.replace("{recipe}", str(dataset)) for name in suite["rows"]],
            suite["category"],
        )
    else:
        found = public(suite["set"], hub_dir)
    if len(ids := {question.id for question in found}) != len(found):
        repeated = sorted(
            q.id for q in found if q.id in ids and sum(other.id == q.id for other in found) > 1
        )
        raise SuiteError(
            f"{suite.get('questions') or suite.get('rows')}: {repeated[0]}: two questions have this id"
        )
    found = ordered(found, seed)
    if suite.get("sample"):
        found = stratified(found, suite["sample"])
    return found[:limit]


def ordered(found: Iterable[Question], seed: int) -> list[Question]:
    return sorted(
        found, key=lambda question: hashlib.sha256(f"{seed} {question.id}".encode()).digest()
    )


def stratified(found: list[Question], size: int) -> list[Question]:
    """`size` of the questions, each stratum's share of them in proportion (largest remainders first), in their order."""
    strata = defaultdict(list)
    for question in found:
        strata[question.stratum].append(question)
    exact = {name: len(members) * size / len(found) for name, members in strata.items()}
    take = {name: int(share) for name, share in exact.items()}
    for name in sorted(exact, key=lambda name: (take[name] - exact[name], name))[
        : min(size, len(found)) - sum(take.values())
    ]:
        take[name] += 1
    chosen = {question.id for name, members in strata.items() for question in members[: take[name]]}
    return [question for question in found if question.id in chosen]


def written(path: Path) -> list[Question]:
    """The questions of a YAML list of {id, prompt or turns, ...}; what stands beside these is for the scorer."""
    if not path.exists():
        raise Absent(f"{path.relative_to(ROOT)} is not there")
    found = []
    for number, entry in enumerate(load(path) or [], 1):
        try:
            turns = (
                [entry["prompt"]]
                if "prompt" in entry
                else [turn["text"] for turn in entry["turns"]]
            )
            id_ = str(entry["id"])
        except (TypeError, KeyError) as error:
            raise SuiteError(
                f"{path}: entry {number}: {error}; give an id, and a prompt or turns with a text each"
            ) from None
        if len(turns) % 2 == 0 or not all(isinstance(turn, str) and turn.strip() for turn in turns):
            raise SuiteError(
                f"{path}: {id_}: user and assistant must alternate, the user begin and end, each with a text"
            )
        rest = {key: value for key, value in entry.items() if key not in ("id", "prompt", "turns")}
        for key in ("must", "must_not"):
            for pattern in rest.get(key, []):
                try:
                    re.compile(pattern)
                except re.error as error:
                    raise SuiteError(f"{path}: {id_}: {key}: {pattern!r}: {error}") from None
        found.append(Question(id_, tuple(turns), rest | {"prompt": turns[-1]}))
    return found


def heldout(paths: list[Path], category: str) -> list[Question]:
    """The rows of a category in the first of the files that is there, without their replies."""
    path = next((path for path in paths if path.exists()), None)
    if path is None:
        raise Absent(
            f"none of {', '.join(str(path.relative_to(ROOT)) for path in paths)} is there; make data builds it, or python -m preprocess aether --heldout"
        )
    found, values = [], defaultdict(set)
    for row in rows.read(path):
        if row["category"] != category or "answer" not in row:
            continue
        *turns, last = row["messages"][row["messages"][0]["role"] == "system" : -1]
        answer, rest = row["answer"], json.loads(row["answer"].get("derivation") or "{}")
        kind = next((tag for tag in row["tags"] if tag.startswith("asks:")), "")
        values[kind].add(answer["value"])
        expect = {key: answer[key] for key in ("kind", "value", "tolerance", "unit")} | {
            "choices": rest.get("choices")
        }
        images = tuple(
            path.parent / part["path"] for part in last["content"] if part["type"] == "image"
        )
        texts = tuple(rows.text_of(message) for message in (*turns, last))
        found.append(Question(row["id"], texts, expect, images, kind))
    if not found:
        raise Absent(f"{path.relative_to(ROOT)} holds no checkable row of category {category}")
    for (
        question
    ) in found:  # a one-word text is told from the other answers to the same kind of question
        if question.expect["kind"] == "text" and not re.search(r"\W", question.expect["value"]):
            question.expect["choices"] = sorted(values[question.stratum])
    return found


def public(name: str, hub_dir: Path | None) -> list[Question]:
    """The test split of a public set, from a folder with <name>/test.jsonl or from the hub at its pinned revision. Raises Absent."""

    def load(*args, **kwargs):
        import datasets  # slow to import, and not needed with a local folder

        return datasets.load_dataset(*args, **kwargs)

    def picture(value) -> Path:
        """A file for the picture of a record: a path inside the local folder, or what the hub's library decoded."""
        if hub_dir:
            path = (hub_dir / name / value).resolve()
            if not path.is_relative_to((hub_dir / name).resolve()) or not path.is_file():
                raise SuiteError(
                    f"{hub_dir / name / 'test.jsonl'}: {value}: no such file in {hub_dir / name}"
                )
            return path
        data = io.BytesIO()
        value.convert("RGB").save(data, "PNG")
        path = PICTURES / name / f"{hashlib.sha256(data.getvalue()).hexdigest()}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.getvalue())
        return path

    found = []
    try:
        for number, record in enumerate(hub.records(name, "test", hub_dir, load)):
            found += READERS[name](f"{name}-{number:04d}", record, picture)
    except hub.HubError as error:
        there = (
            hub_dir and (hub_dir / name / "test.jsonl").exists()
        )  # there and wrong is not the same as not there
        raise (SuiteError if there else Absent)(str(error)) from None
    except (KeyError, TypeError, AttributeError) as error:
        raise SuiteError(
            f"{name}: record {len(found)}: {type(error).__name__} {error}: not a record of that set"
        ) from None
    return found


def _gsm_hard(id_: str, record: dict, _) -> list[Question]:
    return [Question(id_, (record["input"],), {"value": str(record["target"]), "tolerance": 1e-4})]


def _math(id_: str, record: dict, _) -> list[Question]:
    gold = boxed(record["solution"])
    return (
        [
            Question(
                id_,
                (record["problem"],),
                {"value": gold},
                stratum=f"{record['type']}, {record['level']}",
            )
        ]
        if gold
        else []
    )


def _mmmu(id_: str, record: dict, picture: Callable) -> list[Question]:
    """A record of MMMU: up to seven pictures, named <image 1> and so on where they belong; options A to I, or an open answer."""
    options = (
        ast.literal_eval(record["options"])
        if isinstance(record["options"], str)
        else record["options"]
    )
    images = tuple(
        picture(value) for n in range(1, 8) if (value := record.get(f"image_{n}")) is not None
    )
    value = (
        ast.literal_eval(record["answer"])[0]
        if record["answer"].startswith("[")
        else record["answer"]
    )
    letter = value if options else None
    return [
        _with_options(
            id_,
            record["question"],
            options,
            letter,
            value,
            1e-3,
            images,
            record.get("subfield", ""),
        )
    ]


def _mathvista(id_: str, record: dict, picture: Callable) -> list[Question]:
    """A record of MathVista: one picture; one of several choices, or a number rounded to `precision` places, or a text."""
    options, value = record.get("choices") or [], str(record["answer"])
    letter = chr(65 + options.index(value)) if options else None
    half = 0.5 * 10.0 ** -(record.get("precision") or 0)  # of the last place
    tolerance = (
        half / abs(float(value))
        if record["answer_type"] in ("float", "integer") and float(value)
        else half
    )
    text = record["question"] + (f" (in {record['unit']})" if record.get("unit") else "")
    image = picture(record["decoded_image"] if "decoded_image" in record else record["image"])
    return [
        _with_options(id_, text, options, letter, value, tolerance, (image,), record["answer_type"])
    ]


def _with_options(id_, text, options, letter, value, tolerance, images, stratum) -> Question:
    if options:
        text += "\n\n" + "\n".join(f"{chr(65 + at)}. {option}" for at, option in enumerate(options))
        return Question(id_, (text,), {"value": letter, "options": options}, images, stratum)
    number = read_number(value) if re.fullmatch(r"[-+\d.,eE]+", value) else NotRead("words")
    expect = {"kind": "number", "value": str(number), "tolerance": tolerance}
    if isinstance(number, NotRead):
        expect = {"kind": "text", "value": value, "tolerance": tolerance}
    return Question(id_, (text,), expect, images, stratum)


READERS = {"gsm_hard": _gsm_hard, "math": _math, "mmmu": _mmmu, "mathvista": _mathvista}
