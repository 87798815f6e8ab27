"""What is shown of a build: report.md, have against want; the dataset card, both from templates; a copy for the hub's library."""

import json
import random
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from matplotlib.figure import Figure

from common import rows
from preprocess.candidates import Candidate
from preprocess.mix import Mix, MixError
from preprocess.teacher.accepted import NOTE

TEMPLATE = Path(__file__).with_name("report.template.md")
SAMPLES = 3  # rows of each category
BATCH = 256  # rows in memory
SIZES = {
    "n<1K": 1_000,
    "1K<n<10K": 10_000,
    "10K<n<100K": 100_000,
    "100K<n<1M": 10**6,
}  # the hub's words


def write(aside: Path, folder: Path, mix: Mix, about: dict, chosen: list[Candidate]) -> None:
    """report.md and its picture into `aside`, and README.md, the card, where the dataset has a template for it."""
    if not mix.quotas:
        return
    _picture(aside / "report.png", about, chosen)
    slots = _slots(mix, about) | {"samples": "\n\n".join(_samples(aside, mix.seed, chosen))}
    for template, name in ((TEMPLATE, "report.md"), (folder / "card.template.md", "README.md")):
        if template.exists():
            text = template.read_text(encoding="utf-8")
            for slot, filled in slots.items():
                text = text.replace(f"{{{slot}}}", filled)
            (aside / name).write_text(text, encoding="utf-8")


def _slots(mix: Mix, about: dict) -> dict[str, str]:
    have = about["categories"]
    lines = [
        [name, have.get(name, 0), want, max(want - have.get(name, 0), 0)]
        for name, want in mix.quotas.items()
    ]
    lines.append(["all", about["kept"], mix.total, sum(line[3] for line in lines)])
    targets = []
    for name, target in mix.targets.items():
        measured, (low, high) = about["targets"][name]["measured"], target.share
        share = f"{measured:.1%} of {'conversations' if target.turns else 'replies'}"
        wanted = f"{low:.0%} or more" if high >= 1 else f"{low:.0%} to {high:.0%}"
        verdict = "below" if measured < low else "above" if measured > high else "met"
        targets.append([name.replace("_", " "), share, wanted, verdict, target.what])
    counts = {
        name: sorted(about[name].items(), key=lambda line: (-line[1], line[0]))
        for name in ("origins", "skipped", "notes")
    }
    public = [
        [s["repository"], s["licence"], s.get("revision") or "a local folder"]
        for s in about["sources"].values()
    ]
    numbers = {
        name: about[name] for name in ("kept", "read", "images", "tokens", "verified_answers")
    }
    numbers |= {"total": mix.total, "missing": lines[-1][3]}
    return {name: f"{number:,}" for name, number in numbers.items()} | {
        "dataset": about["dataset"],
        "rows": ", ".join(f"{count:,} {name}" for name, count in about["rows"].items()),
        "size": next(name for name, most in SIZES.items() if about["kept"] < most),
        "have_want": _table(["category", "have", "want", "missing"], lines),
        "targets": _table(["target", "measured", "wanted", "", "a reply counts when"], targets),
        "origins": _table(["origin", "rows"], counts["origins"]),
        "teachers": ", ".join(
            note.removeprefix(NOTE) for note in about["notes"] if note.startswith(NOTE)
        )
        or "none so far",
        "dropped": _table(["source and reason", "rows"], counts["skipped"]),
        "noted": _table(["what", "rows"], counts["notes"]) if counts["notes"] else "Nothing.",
        "sources": _table(["public set", "licence", "revision"], public),
    }


def _table(head: list[str], lines: list) -> str:
    def cell(value: object) -> str:
        return (
            f"{value:,}"
            if isinstance(value, int)
            else str(value).replace("|", "\\|").replace("\n", " ")
        )

    return "\n".join(
        f"| {' | '.join(map(cell, line))} |" for line in [head, ["---"] * len(head), *lines]
    )


def _picture(path: Path, about: dict, chosen: list[Candidate]) -> None:
    figure = Figure(figsize=(15, 4), dpi=100, layout="tight")
    bars, tokens, words = figure.subplots(1, 3)
    have = [about["categories"].get(name, 0) for name in about["quotas"]]
    bars.barh(list(about["quotas"]), list(about["quotas"].values()), color="#d8dde2", label="want")
    bars.barh(list(about["quotas"]), have, 0.5, color="#44607a", label="have")
    bars.invert_yaxis()
    bars.legend()
    tokens.hist([c.tokens for c in chosen], bins=60, color="#44607a")
    words.hist([c.reasoning_words for c in chosen], bins=60, color="#44607a")
    for axes, what in zip(
        (bars, tokens, words),
        ("rows", "tokens of a row", "words of a reply's reasoning"),
        strict=True,
    ):
        axes.set(xlabel=what)
    figure.savefig(path, metadata={"Software": None})  # no version in the file


def _samples(aside: Path, seed: int, chosen: list[Candidate]) -> Iterator[str]:
    """SAMPLES rows of each category as text, with their images."""
    wanted: set[str] = set()
    for category in {c.category for c in chosen}:
        there = sorted(c.id for c in chosen if c.category == category)
        wanted.update(
            random.Random(f"samples {seed} {category}").sample(there, min(SAMPLES, len(there)))
        )
    shown = [
        row
        for name in ("train", "val")
        for row in rows.read(aside / f"{name}.jsonl")
        if row["id"] in wanted
    ]
    for row in sorted(shown, key=lambda row: (row["category"], row["id"])):
        yield f"### {row['category']}: {row['id']}"
        for message in row["messages"][1:]:
            images = "".join(
                f"![]({part['path']})\n" for part in message["content"] if part["type"] == "image"
            )
            yield f"**{message['role']}**\n\n{images}\n~~~~~text\n{rows.text_of(message)}\n~~~~~"
        if answer := row.get("answer"):
            yield f"checked by a program: {answer['kind']} `{answer['value']}` {answer['unit']}"


def export(build: Path, target: Path) -> str:
    """Write a folder that `datasets.load_dataset` reads, parquet with the images inside; says in one line what was written.

    It is written aside and renamed. Raises MixError when `target` is there.
    """
    from datasets import Dataset, Features, Image, List, Value, disable_progress_bars

    disable_progress_bars()
    if target.exists():
        raise MixError(f"{target}: is there already; name a new folder")
    aside, written = target.with_name(f".{target.name}.part"), []
    shutil.rmtree(aside, ignore_errors=True)
    (aside / "data").mkdir(parents=True)
    part = {"type": Value("string"), "text": Value("string"), "path": Value("string")}
    message = {"role": Value("string"), "weight": Value("int8"), "content": List(part)}
    columns = {name: Value("string") for name in ("id", "category", "origin", "answer")}
    columns |= {"tags": List(Value("string")), "messages": List(message), "images": List(Image())}
    for split, source in (
        ("train", "train.jsonl"),
        ("validation", "val.jsonl"),
        ("heldout", "heldout.jsonl"),
    ):
        if (build / source).exists():
            with tempfile.TemporaryDirectory(dir=aside) as cache:
                of = {"gen_kwargs": {"path": build / source}, "writer_batch_size": BATCH}
                made = Dataset.from_generator(_records, Features(columns), cache, **of)
                made.to_parquet(aside / "data" / f"{split}-00000-of-00001.parquet", BATCH)
            written.append(f"{split} {made.num_rows:,}")
    for path in (
        path for name in ("README.md", "manifest.json") if (path := build / name).exists()
    ):
        shutil.copy(path, aside)
    aside.rename(target)
    return f"{target}: {', '.join(written)} rows as parquet"


def _records(path: Path) -> Iterator[dict]:
    """The rows of a file as columns: parts keep their order; an image part's bytes stand in `images`, in the same order."""
    for row in rows.read(path):
        images = [
            {"path": image.path.name, "bytes": image.path.read_bytes()}
            for image in rows.images(row, path.parent)
        ]
        answer = (
            json.dumps(row["answer"], ensure_ascii=False, sort_keys=True)
            if "answer" in row
            else None
        )
        yield row | {"answer": answer, "images": images}
