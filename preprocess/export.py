"""A built dataset as a folder that `datasets.load_dataset` reads: parquet files with the images inside, and the card."""

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from apriel import rows
from preprocess.mix import MixError

BATCH = 256  # rows in memory


def export(build: Path, target: Path) -> str:
    """Write the copy aside and rename; says in one line what was written. Raises MixError when `target` is there."""
    from datasets import Dataset, Features, Image, List, Value

    if target.exists():
        raise MixError(f"{target}: is there already; name a new folder")
    aside, written = target.with_name(f".{target.name}.part"), []
    shutil.rmtree(aside, ignore_errors=True)
    (aside / "data").mkdir(parents=True)
    part = {"type": Value("string"), "text": Value("string"), "path": Value("string")}
    message = {"role": Value("string"), "weight": Value("int8"), "content": List(part)}
    columns = {name: Value("string") for name in ("id", "category", "origin", "answer")}
    columns |= {"tags": List(Value("string")), "messages": List(message), "images": List(Image())}
    for split, name in (("train", "train"), ("validation", "val"), ("heldout", "heldout")):
        if (source := build / f"{name}.jsonl").exists():
            with tempfile.TemporaryDirectory(dir=aside) as cache:
                made = Dataset.from_generator(
                    _records, Features(columns), cache, gen_kwargs={"path": source}, writer_batch_size=BATCH
                )
                made.to_parquet(aside / "data" / f"{split}-00000-of-00001.parquet", BATCH)
            written.append(f"{split} {made.num_rows:,}")
    for name in ("README.md", "manifest.json"):
        if (build / name).exists():
            shutil.copy(build / name, aside / name)
    aside.rename(target)
    return f"{target}: {', '.join(written)} rows as parquet"


def _records(path: Path) -> Iterator[dict]:
    """The rows of a file as columns: parts keep their order; an image part's bytes stand in `images`, in the same order."""
    for row in rows.read(path):
        images = [{"path": image.path.name, "bytes": image.path.read_bytes()} for image in rows.images(row, path.parent)]
        answer = json.dumps(row["answer"], ensure_ascii=False, sort_keys=True) if "answer" in row else None
        yield row | {"answer": answer, "images": images}
