"""A copy of a built dataset that `datasets.load_dataset` reads: parquet with the images inside, and
the card."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from common import rows
from common.errors import AetherError
from common.files import shown, written_aside

if TYPE_CHECKING:
    from datasets import Features

BATCH = 256  # rows in memory
# The hub's name of a split, and our file of it.
SPLITS = {"train": "train.jsonl", "validation": "val.jsonl", "heldout": "heldout.jsonl"}


class ExportError(AetherError):
    """A copy that cannot be written there."""


def export(build: Path, target: Path) -> str:
    """Write the folder `target` from a built dataset; says in one line what was written.

    It is written aside and renamed. Raises ExportError when `target` is there.
    """
    from datasets import Dataset, disable_progress_bars

    disable_progress_bars()
    if target.exists():
        raise ExportError(f"{shown(target)}: is there already; name a new folder")
    written = []
    with written_aside(target) as aside:
        (aside / "data").mkdir()
        for split, name in SPLITS.items():
            if not (build / name).exists():
                continue
            with tempfile.TemporaryDirectory(dir=aside) as cache:
                made = Dataset.from_generator(
                    _records,
                    _features(),
                    cache,
                    gen_kwargs={"path": build / name},
                    writer_batch_size=BATCH,
                )
                made.to_parquet(aside / "data" / f"{split}-00000-of-00001.parquet", BATCH)
            written.append(f"{split} {made.num_rows:,}")
        for name in ("README.md", "manifest.json"):
            if (build / name).exists():
                shutil.copy(build / name, aside)
    return f"{shown(target)}: {', '.join(written)} rows as parquet"


def _features() -> Features:
    from datasets import Features, Image, List, Value

    text = Value("string")
    part = {"type": text, "text": text, "path": text}
    message = {
        "role": text,
        "weight": Value("int8"),
        "content": List(part),
        "tool_calls": text,
        "tool_call_id": text,
    }
    return Features(
        {
            "id": text,
            "category": text,
            "origin": text,
            "answer": text,
            "tags": List(text),
            "tools": text,
            "messages": List(message),
            "images": List(Image()),
        }
    )


def _records(path: Path) -> Iterator[dict]:
    """The rows of a file as columns: parts keep their order; an image part's bytes stand in
    `images`, in the same order. Tools and calls, which have no columns in common, are JSON."""
    for row in rows.read(path):
        images = [
            {"path": image.path.name, "bytes": image.path.read_bytes()}
            for image in rows.images(row, path.parent)
        ]
        messages = [message | _as_json(message, "tool_calls") for message in row["messages"]]
        about = _as_json(row, "answer") | _as_json(row, "tools")
        yield row | about | {"messages": messages, "images": images}


def _as_json(value: dict, key: str) -> dict:
    """The value of a key as JSON text; None where there is none."""
    text = json.dumps(value[key], ensure_ascii=False) if key in value else None
    return {key: text}
