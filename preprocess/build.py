"""Build a dataset: run its sources, gate their rows, choose to the mix, split by source, write aside, rename.

The same inputs give the same bytes. The manifest is written last; a folder with a manifest is a whole build. A build whose inputs
did not change since is left as it is. Nothing but row entries is held in memory: the rows wait on disk until they are chosen.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np

from apriel import rows
from preprocess import candidates, gates, report, selection
from preprocess import mix as mixes
from preprocess.candidates import Candidate, Result, Task
from preprocess.sources import hub as hubs

ROOT = Path(__file__).resolve().parents[1]
TRAINED = ("train.jsonl", "val.jsonl", "images/")  # what data_sha256 is over: the identity of the data, not of its report
EDGES = [0, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 1 << 31]  # tokens


class BuildError(ValueError):
    """A build that could not be finished; the one before it is untouched."""


def build(folder: Path, hub: Path | None = None) -> str:
    """Build the dataset of `folder` into its build/, and say in one line what was built. Raises MixError or BuildError.

    `hub`: a folder with the public data sets; None takes them from the hub.
    """
    mix = mixes.load(folder / "mix.yaml")
    final, aside = folder / "build", folder / f".build-{os.getpid()}"
    with (folder / "mix.yaml").open("rb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BuildError(f"{folder}: another build of it is running") from None
        old = folder / ".build-old"
        if old.exists() and not final.exists():  # a build that was killed between its two renames
            old.rename(final)
        inputs = inputs_sha256(folder, mix, hub)
        if (manifest := _intact(final)) and manifest.get("inputs_sha256") == inputs:
            return f"{_summary(final, manifest)}, unchanged"
        for stale in folder.glob(".build-*"):
            shutil.rmtree(stale)
        try:
            (aside / "images").mkdir(parents=True)
            manifest = _make(folder, aside, mix, hub) | {"inputs_sha256": inputs, "commit": commit(folder)}
            (aside / "manifest.json").write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n")
            if final.exists():
                final.rename(old)
            aside.rename(final)
        finally:
            for stale in folder.glob(".build-*"):
                if stale != old or final.exists():
                    shutil.rmtree(stale)
    return _summary(final, manifest)


def _make(folder: Path, aside: Path, mix: mixes.Mix, hub: Path | None) -> dict:
    """Write everything but the manifest into `aside`; returns what the manifest says of it."""
    public = {source.kind: hubs.provenance(source.kind, hub) for source in mix.sources if isinstance(source, mixes.Hub)}
    tasks = [Task(number, mix, source, folder, aside, hub) for number, source in enumerate(mix.sources)]
    drawn = [t for t in tasks if isinstance(t.source, mixes.Drawn) and t.source.heldout]
    heldout = _run([replace(task, heldout=True) for task in drawn], None) if drawn else []
    for_evaluation = [c for _, result in heldout for c in result.candidates]
    if heldout:
        _write(aside / "heldout.jsonl", heldout, for_evaluation)
    benchmark = gates.Benchmark(_problems(aside / "heldout.jsonl", hub)) if mix.gates and mix.gates.benchmarks else None
    results = _run(tasks, benchmark)
    skipped: Counter[str] = Counter()
    for task, result in results:
        skipped.update({f"{task.name}: {reason}": count for reason, count in result.skipped.items()})
    found = sum(len(result.candidates) for _, result in results)
    chosen = [c for _, result in results for c in result.candidates]
    if repeated := next((i for i, n in Counter(c.id for c in chosen).items() if n > 1), None):
        raise BuildError(f"{repeated}: two rows have this id")
    if mix.gates:
        chosen = selection.distinct(results, for_evaluation, mix.gates.near_duplicate, skipped)
    chosen = selection.select(chosen, mix, skipped)
    splits = {"train": [], "val": []}
    for candidate in chosen:
        splits["val" if candidates.draw(mix.seed, candidate.group) < mix.val_share else "train"].append(candidate)
    for name, part in splits.items():
        # Shuffled: a loader that infers columns from the first rows must see every kind of row among them.
        _write(aside / f"{name}.jsonl", results, sorted(part, key=lambda c: candidates.draw(mix.seed, f"order {c.id}")))
    shutil.rmtree(aside / "spool")
    used = {image for candidate in [*chosen, *for_evaluation] for image in candidate.images}
    for path in (aside / "images").iterdir():
        if f"images/{path.name}" not in used:
            path.unlink()
    about = _about(folder, mix, chosen, results, skipped) | {
        "rows": {name: len(part) for name, part in (splits | ({"heldout": for_evaluation} if heldout else {})).items()},
        "passed": found,
        "images": len(used),
        "sources": public,
    }
    report.write(aside, folder, mix, about, chosen)
    files = {str(p.relative_to(aside)): _sha256(p) for p in sorted(aside.rglob("*")) if p.is_file()}
    trained = {name: digest for name, digest in files.items() if name.startswith(TRAINED)}
    return about | {"files": files, "data_sha256": hashlib.sha256(json.dumps(trained, sort_keys=True).encode()).hexdigest()}


def _run(tasks: list[Task], benchmark: gates.Benchmark | None) -> list[tuple[Task, Result]]:
    """The tasks' results in the order of the tasks, from processes of their own; those that draw pictures start first."""
    started, done = time.monotonic(), {}
    slow = ("diagrams", "video", "problems", "math", "gsm8k")
    first = sorted(tasks, key=lambda t: slow.index(t.source.kind) if t.source.kind in slow else len(slow))
    gates.tokenizer()  # read once, here: the processes are forked and share it
    workers = min(os.cpu_count() or 1, 4, max(len(tasks), 1))
    with ProcessPoolExecutor(workers, multiprocessing.get_context("fork"), _begin, (benchmark,)) as pool:
        for task, result in zip(first, pool.map(candidates.run, first), strict=True):
            done[task.number] = (task, result)
            if result.seconds > 2:
                at = time.monotonic() - started
                print(
                    f"  {task.name}: {len(result.candidates):,} rows, {len(done)} of {len(tasks)} after {at:.0f} s",
                    file=sys.stderr,
                )
    return [done[task.number] for task in tasks]


def _begin(benchmark: gates.Benchmark | None) -> None:
    candidates.benchmark = benchmark


def _problems(heldout: Path, hub: Path | None):
    """(set, problem, whether its numbers are masked) of every problem that no row may hold."""
    for name, key in hubs.BENCHMARKS.items():
        for record in hubs.read(name, "test", hub):
            if not isinstance(record.get(key), str):
                raise mixes.MixError(f"{name} test: a record without {key!r}; its problems could not be kept out of the rows")
            yield f"{name} test", record[key], True
    for _, _, line in rows.lines(heldout) if heldout.exists() else ():
        row = json.loads(line)
        if all(part["type"] == "text" for part in row["messages"][-2]["content"]):
            yield "our own held-out set", rows.text_of(row["messages"][-2]), False


def _write(path: Path, results: list[tuple[Task, Result]], chosen: list[Candidate]) -> None:
    """The chosen candidates' lines, copied from where they wait."""
    spools = {task.number: task.spool.open("rb") for task, _ in results}
    with path.open("wb") as file:
        for candidate in chosen:
            spools[candidate.task].seek(candidate.offset)
            file.write(spools[candidate.task].read(candidate.size))
    for spool in spools.values():
        spool.close()


def _about(folder: Path, mix: mixes.Mix, chosen: list[Candidate], results: list[tuple[Task, Result]], skipped: Counter) -> dict:
    def count(what) -> dict[str, int]:
        return dict(sorted(Counter(what).items()))

    counts, _ = np.histogram([c.tokens for c in chosen], EDGES)
    measured = selection.shares(chosen, mix.targets)
    return {
        "dataset": folder.name,
        "read": sum(result.read for _, result in results),
        "kept": len(chosen),
        "skipped": dict(sorted(skipped.items())),
        "notes": count(text for _, result in results for text in result.notes.elements()),
        "categories": count(c.category for c in chosen),
        "origins": count(c.origin for c in chosen),
        "conversations": len({c.conversation for c in chosen}),
        "verified_answers": sum(c.verified for c in chosen),
        "quotas": mix.quotas,
        "targets": {name: {"measured": round(measured[name], 4), "wanted": list(t.share)} for name, t in mix.targets.items()},
        "tokens": {
            "total": sum(c.tokens for c in chosen),
            "under": dict(zip(map(str, EDGES[1:-1]), counts.tolist(), strict=False)),
        },
        "seed": mix.seed,
        "val_share": mix.val_share,
        "licence": mix.licence,
        "mix_sha256": _sha256(folder / "mix.yaml"),
    }


def inputs_sha256(folder: Path, mix: mixes.Mix, hub: Path | None) -> str:
    """A hash over everything a build depends on: code, pinned packages, the datasets' own files, the public sets."""
    paths = [*ROOT.glob("preprocess/**/*.py"), *ROOT.glob("apriel/*.py"), ROOT / "requirements.lock", ROOT / "hub.lock"]
    # Mixes name files of other datasets too, and the texts of the sources are there: all of them count.
    for dataset in {folder, *(path.parent for path in ROOT.glob("datasets/*/mix.yaml"))}:
        paths += [
            p
            for p in dataset.rglob("*")
            if p.relative_to(dataset).parts[0] not in ("build", "README.md") and ".build-" not in str(p)
        ]
    if hub:
        paths += hub.glob("*/*.jsonl")
    digest = hashlib.sha256(f"{folder.name} {hub}".encode())
    for path in sorted(path for path in paths if path.is_file()):
        digest.update(f"{path.name} {_sha256(path)}\n".encode())
    return digest.hexdigest()


def _intact(build: Path) -> dict | None:
    """The manifest of a whole build whose files are as it says, or None."""
    try:
        manifest = json.loads((build / "manifest.json").read_text())
        return manifest if all(_sha256(build / name) == digest for name, digest in manifest["files"].items()) else None
    except (OSError, ValueError, KeyError):
        return None


def _summary(final: Path, manifest: dict) -> str:
    splits = ", ".join(f"{name} {count:,}" for name, count in sorted(manifest["rows"].items()))
    skipped = sum(manifest["skipped"].values())
    return f"{final.relative_to(final.parents[2])}: {splits} rows, {manifest['images']:,} images, {skipped:,} skipped"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def commit(folder: Path) -> str | None:
    """The code's commit, with `-dirty` where the tree differs from it; None outside git."""
    git = ["git", "-C", str(folder)]
    head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True)
    if head.returncode:
        return None
    changed = subprocess.run([*git, "status", "--porcelain", "--untracked-files=no"], capture_output=True, text=True).stdout
    return head.stdout.strip() + ("-dirty" if changed.strip() else "")
