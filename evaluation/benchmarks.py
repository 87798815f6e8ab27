"""The test splits of public sets as questions, from a folder with <name>/test.jsonl or from the hub
at a pinned revision.
"""

import ast
import hashlib
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from common import hub
from common.answers import NotRead, boxed, read_number
from common.files import ROOT
from common.pictures import PictureError, decode, plain, png
from evaluation.question import Absent, Question, SuiteError

PICTURES = ROOT / "outputs" / "hub"  # of the sets, as the model is shown them
MOST_PICTURES = 7  # of a question of MMMU
Picture = Callable[[Any], Path]


def public(name: str, hub_dir: Path | None, pictures: Path = PICTURES) -> list[Question]:
    """The questions of a public set.

    Args:
        name: gsm_hard | math | mmmu | mathvista.
        hub_dir: A folder in the place of the hub.
        pictures: Where pictures are kept as the model is shown them.

    Raises Absent where the set is not there, SuiteError where it is and cannot be read.
    """

    def picture(value: Any) -> Path:
        shown = _local_picture(hub_dir / name, value) if hub_dir else plain(value)
        return _kept(pictures / name, png(shown))

    found: list[Question] = []
    try:
        for number, record in enumerate(hub.records(name, "test", hub_dir)):
            found += READERS[name](f"{name}-{number:04d}", record, picture)
    except hub.HubError as error:
        there = hub_dir and (hub_dir / name / "test.jsonl").exists()
        kind = SuiteError if there else Absent  # there and wrong is not the same as not there
        raise kind(str(error)) from None
    except (KeyError, TypeError, AttributeError) as error:
        raise SuiteError(
            f"{name}: record {len(found)}: {type(error).__name__} {error}: not a record of that set"
        ) from None
    return found


def _local_picture(folder: Path, value: str) -> Image.Image:
    """A picture that a record names by its path inside the set's folder. Raises SuiteError."""
    path = (folder / value).resolve()
    if not path.is_relative_to(folder.resolve()) or not path.is_file():
        raise SuiteError(f"{folder / 'test.jsonl'}: {value}: no such file in {folder}")
    try:
        return decode(path, None)
    except PictureError as error:
        raise SuiteError(f"{path}: {error}") from None


def _kept(folder: Path, data: bytes) -> Path:
    """A picture as the model is shown it, in a file named by its hash."""
    path = folder / f"{hashlib.sha256(data).hexdigest()}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def _gsm_hard(id_: str, record: dict, _: Picture) -> list[Question]:
    return [Question(id_, (record["input"],), {"value": str(record["target"]), "tolerance": 1e-4})]


def _math(id_: str, record: dict, _: Picture) -> list[Question]:
    gold = boxed(record["solution"])
    if not gold:
        return []
    stratum = f"{record['type']}, {record['level']}"
    return [Question(id_, (record["problem"],), {"value": gold}, stratum=stratum)]


def _mmmu(id_: str, record: dict, picture: Picture) -> list[Question]:
    """A record of MMMU: pictures named <image 1> and so on where they belong; options A to I, or an
    open answer.
    """
    options = record["options"]
    if isinstance(options, str):
        options = ast.literal_eval(options)
    values = [record.get(f"image_{number}") for number in range(1, MOST_PICTURES + 1)]
    images = tuple(picture(value) for value in values if value is not None)
    value = record["answer"]
    if value.startswith("["):
        value = ast.literal_eval(value)[0]
    stratum = record.get("subfield", "")
    if options:
        return [_with_options(id_, record["question"], options, value, images, stratum)]
    return [_open(id_, record["question"], value, 1e-3, images, stratum)]


def _mathvista(id_: str, record: dict, picture: Picture) -> list[Question]:
    """A record of MathVista: one picture; one of several choices, or a number rounded to
    `precision` places, or a text.
    """
    options = record.get("choices") or []
    value = str(record["answer"])
    kind = record["answer_type"]
    text = record["question"] + (f" (in {record['unit']})" if record.get("unit") else "")
    images = (picture(record.get("decoded_image") or record["image"]),)
    if options:
        letter = chr(ord("A") + options.index(value))
        return [_with_options(id_, text, options, letter, images, kind)]
    tolerance = 0.5 * 10.0 ** -(record.get("precision") or 0)  # half of the last place
    if kind in ("float", "integer") and float(value):
        tolerance /= abs(float(value))
    return [_open(id_, text, value, tolerance, images, kind)]


def _with_options(
    id_: str, text: str, options: Sequence[str], letter: str, images: tuple[Path, ...], stratum: str
) -> Question:
    lines = [f"{chr(ord('A') + at)}. {option}" for at, option in enumerate(options)]
    asked = text + "\n\n" + "\n".join(lines)
    return Question(id_, (asked,), {"value": letter, "options": options}, images, stratum)


def _open(
    id_: str, text: str, value: str, tolerance: float, images: tuple[Path, ...], stratum: str
) -> Question:
    expect: dict = {"kind": "text", "value": value, "tolerance": tolerance}
    number = read_number(value)
    if re.fullmatch(r"[-+\d.,eE]+", value) and not isinstance(number, NotRead):
        expect |= {"kind": "number", "value": str(number)}
    return Question(id_, (text,), expect, images, stratum)


READERS = {"gsm_hard": _gsm_hard, "math": _math, "mmmu": _mmmu, "mathvista": _mathvista}
