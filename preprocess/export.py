"""A built dataset as a folder that `datasets.load_dataset` reads: parquet files with the images inside, and the card."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from apriel import rows
from preprocess.mix import MixError

BATCH = 256  # rows in memory


def features():
    """The columns. Parts keep their order; an image part's bytes stand in `images`, in the same order."""
    from datasets import Features, Image, List, Value

    part = {"type": Value("string"), "text": Value("string"), "path": Value("string")}
    message = {"role": Value("string"), "weight": Value("int8"), "content": List(part)}
    text = {name: Value("string") for name in ("id", "category", "origin", "answer")}
    return Features({**text, "tags": List(Value("string")), "messages": List(message), "images": List(Image())})


def export(build: Path, target: Path) -> str:
    """Write the copy aside and rename; says in one line what was written. Raises MixError when `target` is there."""
    import pyarrow
    from pyarrow import parquet

    if target.exists():
        raise MixError(f"{target}: is there already; name a new folder")
    aside = target.with_name(f".{target.name}.part")
    shutil.rmtree(aside, ignore_errors=True)
    (aside / "data").mkdir(parents=True)
    schema, written = features().arrow_schema, {}
    for split, file in (("train", "train"), ("validation", "val"), ("heldout", "heldout")):
        source, batch = build / f"{file}.jsonl", []
        if not source.exists():
            continue
        written[split] = 0
        with parquet.ParquetWriter(aside / "data" / f"{split}-00000-of-00001.parquet", schema) as writer:
            for row in rows.read(source):
                batch.append(_record(row, build))
                written[split] += 1
                if len(batch) == BATCH:
                    writer.write_table(pyarrow.Table.from_pylist(batch, schema))
                    batch = []
            writer.write_table(pyarrow.Table.from_pylist(batch, schema))
    for name in ("README.md", "manifest.json"):
        if (build / name).exists():
            shutil.copy(build / name, aside / name)
    aside.rename(target)
    return f"{target}: " + ", ".join(f"{split} {count:,}" for split, count in written.items()) + " rows as parquet"


def _record(row: dict, build: Path) -> dict:
    images = [{"path": image.path.name, "bytes": image.path.read_bytes()} for image in rows.images(row, build)]
    answer = json.dumps(row["answer"], ensure_ascii=False, sort_keys=True) if "answer" in row else None
    return {**row, "answer": answer, "images": images}
