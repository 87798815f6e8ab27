"""Build a dataset: run its sources, gate their rows, choose to the mix, split by source, write aside, rename.

The same inputs give the same bytes. The manifest is written last; a folder with a manifest is a whole build. A build whose inputs
did not change since is left as it is. Nothing but row entries is held in memory: the rows wait on disk until they are chosen.
"""

import ctypes
import fcntl
import hashlib
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

from common import hub as hubs
from common import rows
from preprocess import candidates, gates, report, selection
from preprocess import mix as mixes
from preprocess.candidates import Candidate, Result, Task, draw
from preprocess.sources import worked

ROOT = Path(__file__).resolve().parents[1]
BENCHMARKS = {
    "gsm8k": "question",
    "gsm_hard": "input",
    "math": "problem",
}  # the key of the problem; their test splits
QUESTIONS = (
    ROOT / "evaluation" / "questions"
)  # hand-written ones of our own benchmark: files that are only read


class BuildError(ValueError):
    """A build that could not be finished; the one before it is untouched."""


def build(folder: Path, hub: Path | None = None, heldout: bool = False) -> str:
    """Build the dataset of `folder` into its build/, and say in one line what was built. Raises MixError, HubError or BuildError.

    `hub`: a folder with the public data sets; None takes them from the hub. `heldout`: only the rows kept for evaluation, into
    heldout/; they need no public set, and are those of build/heldout.jsonl.
    """
    mix, final = (
        mixes.load(folder / "mix.yaml"),
        (folder / ("heldout" if heldout else "build")).resolve(),
    )
    place = (
        final.parent
    )  # in the image build is a link to the volume: what is renamed must lie beside its target
    place.mkdir(parents=True, exist_ok=True)
    old, hub = place / f".build-old-{final.name}", None if heldout else hub
    if heldout and not any(getattr(source, "heldout", 0) for source in mix.sources):
        raise BuildError(
            f"{folder / 'mix.yaml'}: no source has `heldout: <rows>`, so there is nothing to keep for evaluation"
        )
    with (folder / "mix.yaml").open("rb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BuildError(f"{folder}: another build of it is running") from None
        if old.exists() and not final.exists():  # a build that was killed between its two renames
            old.rename(final)
        for stale in [*place.glob(".build-work-*"), old]:
            shutil.rmtree(stale, ignore_errors=True)
        manifest, inputs = _intact(final), inputs_sha256(folder, hub)
        if manifest.get("inputs_sha256") == inputs:
            return f"{_summary(final, manifest)}, unchanged"
        with tempfile.TemporaryDirectory(prefix=".build-work-", dir=place) as work:
            (aside := Path(work, final.name)).mkdir()
            (aside / "images").mkdir()
            tasks = [
                Task(number, mix, source, folder, aside, hub)
                for number, source in enumerate(mix.sources)
            ]
            about = _heldout(tasks)[1] if heldout else _make(tasks)
            manifest = about | {"inputs_sha256": inputs, "commit": commit(folder)}
            (aside / "manifest.json").write_text(
                json.dumps(manifest, indent=1, sort_keys=True) + "\n"
            )
            if final.exists():
                final.rename(old)
            aside.rename(final)
        shutil.rmtree(old, ignore_errors=True)
    return _summary(final, manifest)


def _heldout(tasks: list[Task]) -> tuple[list[Candidate], dict]:
    """Write heldout.jsonl with what the tasks draw for evaluation alone; returns its rows' entries, and the manifest of it."""
    aside = tasks[0].aside
    candidates.benchmark = None
    drawn = [
        replace(t, number=t.number + len(tasks), heldout=True)
        for t in tasks
        if getattr(t.source, "heldout", 0)
    ]
    results = _run(drawn)
    kept = [candidate for result in results for candidate in result.candidates]
    if drawn:
        _write(aside, {"heldout": kept})
    return kept, {
        "rows": {"heldout": len(kept)},
        "images": _prune(aside, kept),
        "skipped": _skipped(results),
    } | _files(aside)


def _make(tasks: list[Task]) -> dict:
    """Write everything but the manifest into the tasks' folder; returns what the manifest says of it."""
    folder, aside, hub, mix = tasks[0].folder, tasks[0].aside, tasks[0].hub, tasks[0].mix
    public = {
        s.kind: hubs.provenance(s.kind, hub) for s in mix.sources if isinstance(s, mixes.Hub)
    }  # raises before any work
    kept, _ = _heldout(tasks)
    splits = {"heldout": kept} if kept else {}
    if mix.gates and mix.gates.benchmarks:
        candidates.benchmark = gates.Benchmark(problems(aside / "heldout.jsonl", hub))
    results = _run(tasks)
    found = [candidate for result in results for candidate in result.candidates]
    if repeated := next((i for i, n in Counter(c.id for c in found).items() if n > 1), None):
        raise BuildError(f"{repeated}: two rows have this id")
    skipped = _skipped(results)
    distinct = selection.distinct(found, kept, [task.name for task in tasks], mix, skipped)
    chosen = selection.select(distinct, mix, skipped)
    # Shuffled: a loader that infers columns from the first rows must see every kind of row among them.
    shuffled = sorted(chosen, key=lambda c: draw(mix.seed, f"order {c.id}"))
    splits["train"] = [c for c in shuffled if draw(mix.seed, c.group) >= mix.val_share]
    splits["val"] = [c for c in shuffled if draw(mix.seed, c.group) < mix.val_share]
    _write(aside, splits)
    images = _prune(aside, kept + chosen)
    measured = selection.shares(chosen, mix.targets)
    about = mix.model_dump(include={"quotas", "seed", "val_share", "licence"}) | {
        "dataset": folder.name,
        "read": sum(result.read for result in results),
        "kept": len(chosen),
        "skipped": dict(sorted(skipped.items())),
        "notes": dict(sum((result.notes for result in results), Counter())),
        "rows": {name: len(part) for name, part in splits.items()},
        "images": images,
        "categories": dict(Counter(c.category for c in chosen)),
        "origins": dict(Counter(c.origin for c in chosen)),
        "conversations": len({c.conversation for c in chosen}),
        "verified_answers": sum(c.verified for c in chosen),
        "tokens": sum(c.tokens for c in chosen),
        "rows_by_tokens": {
            f"<{2**bits}": n
            for bits, n in sorted(Counter(c.tokens.bit_length() for c in chosen).items())
        },
        "targets": {
            name: {"measured": round(measured[name], 4), "wanted": t.share}
            for name, t in mix.targets.items()
        },
        "sources": public,
    }
    report.write(aside, folder, mix, about, chosen)
    return about | _files(aside)


def _prune(aside: Path, kept: list[Candidate]) -> int:
    """Remove the pictures of rows that were dropped; returns how many are left."""
    used = {image for candidate in kept for image in candidate.images}
    for path in (aside / "images").iterdir():
        if f"images/{path.name}" not in used:
            path.unlink()
    return len(used)


def _files(aside: Path) -> dict:
    """The hash of every file, and data_sha256 over those that are trained on: the identity of the data, not of its report."""
    files = {str(p.relative_to(aside)): _sha256(p) for p in sorted(aside.rglob("*")) if p.is_file()}
    trained = {
        name: digest
        for name, digest in files.items()
        if name.startswith(("train.jsonl", "val.jsonl", "images/"))
    }
    return {
        "files": files,
        "data_sha256": hashlib.sha256(json.dumps(trained, sort_keys=True).encode()).hexdigest(),
    }


def _skipped(results: list[Result]) -> Counter[str]:
    return Counter(
        {
            f"{result.name}: {why}": count
            for result in results
            for why, count in result.skipped.items()
        }
    )


def _run(tasks: list[Task]) -> list[Result]:
    """The tasks' results, in their order, from processes of their own."""
    gates.tokenizer()  # read once, here: the processes are forked and share it
    end_with_parent = partial(
        ctypes.CDLL(None).prctl, 1, signal.SIGKILL
    )  # PR_SET_PDEATHSIG: no orphan of a killed build works on
    with ProcessPoolExecutor(
        min(os.cpu_count() or 1, 4), multiprocessing.get_context("fork"), end_with_parent
    ) as pool:
        done = {}
        # What people wrote first, so that a mistake in it shows in seconds; the slow sources stand last in a mix and go before.
        for written in (True, False):
            part = [
                task
                for task in reversed(tasks)
                if isinstance(task.source, mixes.Written) == written
            ]
            done |= zip((task.number for task in part), pool.map(candidates.run, part), strict=True)
        return [done[task.number] for task in tasks]


def problems(heldout: Path, hub: Path | None) -> Iterator[tuple[str, str, bool]]:
    """(set, problem, whether its numbers are masked) of every problem that no row may hold."""
    for name, key in BENCHMARKS.items():
        for record in worked.public(name, "test", hub):
            if not isinstance(record.get(key), str):
                raise mixes.MixError(
                    f"{name} test: a record without {key!r}; its problems could not be kept out of the rows"
                )
            yield f"{name} test", record[key], True
    for row in rows.read(heldout) if heldout.exists() else ():
        if all(part["type"] == "text" for part in row["messages"][-2]["content"]):
            yield "our own held-out set", rows.text_of(row["messages"][-2]), False
    for path in sorted(QUESTIONS.glob("*.yaml")):
        for entry in mixes.load(path, list[dict]):
            said = [entry.get("prompt"), entry.get("question"), *entry.get("turns", [])]
            said = [
                turn.get("text") if isinstance(turn, dict) and turn.get("role") == "user" else turn
                for turn in said
            ]
            yield from (
                ("our own questions", text, False) for text in said if isinstance(text, str)
            )


def _write(aside: Path, splits: dict[str, list[Candidate]]) -> None:
    """Each split's lines, copied from where they wait."""
    with ExitStack() as stack:
        spools = {
            path.name: stack.enter_context(path.open("rb")) for path in aside.parent.glob("spool-*")
        }
        for name, part in splits.items():
            with (aside / f"{name}.jsonl").open("wb") as file:
                for candidate in part:
                    spool = spools[f"spool-{candidate.task}"]
                    spool.seek(candidate.offset)
                    file.write(spool.read(candidate.size))


def inputs_sha256(folder: Path, hub: Path | None) -> str:
    """A hash over everything a build depends on: code, pinned packages, the datasets' own files, the public sets."""
    paths = [
        *ROOT.glob("preprocess/**/*.*"),
        *ROOT.glob("common/**/*.*"),
        ROOT / "locks" / "light.lock",
        ROOT / "hub.lock",
    ]
    paths += QUESTIONS.glob("*.yaml")
    # Mixes name files of other datasets too, and the texts of the sources are there: all of them count.
    for dataset in {folder, *(path.parent for path in ROOT.glob("datasets/*/mix.yaml"))}:
        made = ("build", "heldout", ".build-", ".teacher", "README.md")
        paths += [
            path
            for path in dataset.rglob("*")
            if not path.relative_to(dataset).parts[0].startswith(made)
        ]
    paths += hub.glob("*/*.jsonl") if hub else []
    digest = hashlib.sha256(f"{folder.name} {hub}".encode())
    for path in sorted(path for path in paths if path.is_file() and path.suffix != ".pyc"):
        digest.update(f"{path.name} {_sha256(path)}\n".encode())
    return digest.hexdigest()


def _intact(build: Path) -> dict:
    """The manifest of a whole build whose files are as it says; empty where there is none."""
    try:
        manifest = json.loads((build / "manifest.json").read_text())
        return (
            manifest
            if all(_sha256(build / name) == digest for name, digest in manifest["files"].items())
            else {}
        )
    except (OSError, ValueError, KeyError):
        return {}


def _summary(final: Path, manifest: dict) -> str:
    splits = ", ".join(f"{name} {count:,}" for name, count in sorted(manifest["rows"].items()))
    skipped = sum(manifest["skipped"].values())
    return f"{final.relative_to(final.parents[2])}: {splits} rows, {manifest['images']:,} images, {skipped:,} skipped"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def commit(folder: Path) -> str | None:
    """The code's commit, with `-dirty` where the tree differs from it; None outside git and the image."""
    describe = [
        "git",
        "-C",
        str(folder),
        "describe",
        "--always",
        "--dirty",
        "--abbrev=40",
        "--exclude=*",
    ]
    return (
        subprocess.run(describe, capture_output=True, text=True).stdout.strip()
        or os.environ.get("AETHER_COMMIT")
        or None
    )
