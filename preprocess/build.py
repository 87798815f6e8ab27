"""Build a dataset: run its sources, gate their rows, choose to the mix, split by source, write aside, rename.

The same inputs give the same bytes. The manifest is written last; a folder with a manifest is a whole build. A build whose inputs
did not change since is left as it is. Nothing but row entries is held in memory: the rows wait on disk until they are chosen.
"""

import fcntl
import hashlib
import json
import multiprocessing
import os
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from apriel import rows
from preprocess import candidates, gates, report, selection
from preprocess import mix as mixes
from preprocess.candidates import Candidate, Result, Task, draw
from preprocess.sources import hub as hubs

ROOT = Path(__file__).resolve().parents[1]
TRAINED = ("train.jsonl", "val.jsonl", "images/")  # what data_sha256 is over: the identity of the data, not of its report
SLOW = ("video", "diagrams", "problems", "math", "gsm8k")  # kinds of source, started first


class BuildError(ValueError):
    """A build that could not be finished; the one before it is untouched."""


def build(folder: Path, hub: Path | None = None) -> str:
    """Build the dataset of `folder` into its build/, and say in one line what was built. Raises MixError or BuildError.

    `hub`: a folder with the public data sets; None takes them from the hub.
    """
    mix, final = mixes.load(folder / "mix.yaml"), (folder / "build").resolve()
    place = final.parent  # in the image build is a link to the volume: what is renamed must lie beside its target
    old = place / ".build-old"
    place.mkdir(parents=True, exist_ok=True)
    with (folder / "mix.yaml").open("rb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BuildError(f"{folder}: another build of it is running") from None
        if old.exists() and not final.exists():  # a build that was killed between its two renames
            old.rename(final)
        for stale in place.glob(".build-*"):
            shutil.rmtree(stale)
        manifest, inputs = _intact(final), inputs_sha256(folder, hub)
        if manifest.get("inputs_sha256") == inputs:
            return f"{_summary(final, manifest)}, unchanged"
        with tempfile.TemporaryDirectory(prefix=".build-", dir=place) as work:
            (aside := Path(work, "build")).mkdir()
            (aside / "images").mkdir()
            manifest = _make(folder, aside, mix, hub) | {"inputs_sha256": inputs, "commit": commit(folder)}
            (aside / "manifest.json").write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n")
            if final.exists():
                final.rename(old)
            aside.rename(final)
        shutil.rmtree(old, ignore_errors=True)
    return _summary(final, manifest)


def _make(folder: Path, aside: Path, mix: mixes.Mix, hub: Path | None) -> dict:
    """Write everything but the manifest into `aside`; returns what the manifest says of it."""
    tasks = [Task(number, mix, source, folder, aside, hub) for number, source in enumerate(mix.sources)]
    drawn = [replace(t, number=t.number + len(tasks), heldout=True) for t in tasks if getattr(t.source, "heldout", 0)]
    candidates.benchmark = None
    splits = {"heldout": [c for result in _run(drawn) for c in result.candidates]} if drawn else {}
    _write(aside, splits)
    if mix.gates and mix.gates.benchmarks:
        candidates.benchmark = gates.Benchmark(_problems(aside / "heldout.jsonl", hub))
    results = _run(tasks)
    found = [candidate for result in results for candidate in result.candidates]
    if repeated := next((i for i, n in Counter(c.id for c in found).items() if n > 1), None):
        raise BuildError(f"{repeated}: two rows have this id")
    names, skipped = [task.name for task in tasks], Counter()
    for name, result in zip(names, results, strict=True):
        skipped.update({f"{name}: {why}": count for why, count in result.skipped.items()})
    distinct = selection.distinct(found, splits.get("heldout", []), names, mix, skipped)
    chosen = selection.select(distinct, mix, skipped)
    # Shuffled: a loader that infers columns from the first rows must see every kind of row among them.
    shuffled = sorted(chosen, key=lambda c: draw(mix.seed, f"order {c.id}"))
    splits["train"] = [c for c in shuffled if draw(mix.seed, c.group) >= mix.val_share]
    splits["val"] = [c for c in shuffled if draw(mix.seed, c.group) < mix.val_share]
    _write(aside, splits)
    used = {image for part in splits.values() for candidate in part for image in candidate.images}
    for path in (aside / "images").iterdir():
        if f"images/{path.name}" not in used:
            path.unlink()
    measured = selection.shares(chosen, mix.targets)
    about = mix.model_dump(include={"quotas", "seed", "val_share", "licence"}) | {
        "dataset": folder.name,
        "read": sum(result.read for result in results),
        "kept": len(chosen),
        "skipped": dict(sorted(skipped.items())),
        "notes": dict(sum((result.notes for result in results), Counter())),
        "rows": {name: len(part) for name, part in splits.items()},
        "images": len(used),
        "categories": dict(Counter(c.category for c in chosen)),
        "origins": dict(Counter(c.origin for c in chosen)),
        "conversations": len({c.conversation for c in chosen}),
        "verified_answers": sum(c.verified for c in chosen),
        "tokens": sum(c.tokens for c in chosen),
        "rows_by_tokens": {f"<{2**bits}": n for bits, n in sorted(Counter(c.tokens.bit_length() for c in chosen).items())},
        "targets": {name: {"measured": round(measured[name], 4), "wanted": t.share} for name, t in mix.targets.items()},
        "sources": {s.kind: hubs.provenance(s.kind, hub) for s in mix.sources if isinstance(s, mixes.Hub)},
    }
    report.write(aside, folder, mix, about, chosen)
    files = {str(p.relative_to(aside)): _sha256(p) for p in sorted(aside.rglob("*")) if p.is_file()}
    trained = {name: digest for name, digest in files.items() if name.startswith(TRAINED)}
    return about | {"files": files, "data_sha256": hashlib.sha256(json.dumps(trained, sort_keys=True).encode()).hexdigest()}


def _run(tasks: list[Task]) -> list[Result]:
    """The tasks' results, in their order, from processes of their own."""
    gates.tokenizer()  # read once, here: the processes are forked and share it
    with ProcessPoolExecutor(min(os.cpu_count() or 1, 4), multiprocessing.get_context("fork")) as pool:
        started = sorted(tasks, key=lambda t: SLOW.index(t.source.kind) if t.source.kind in SLOW else len(SLOW))
        done = dict(zip((task.number for task in started), pool.map(candidates.run, started), strict=True))
        return [done[task.number] for task in tasks]


def _problems(heldout: Path, hub: Path | None) -> Iterator[tuple[str, str, bool]]:
    """(set, problem, whether its numbers are masked) of every problem that no row may hold."""
    for name, key in hubs.BENCHMARKS.items():
        for record in hubs.read(name, "test", hub):
            if not isinstance(record.get(key), str):
                raise mixes.MixError(f"{name} test: a record without {key!r}; its problems could not be kept out of the rows")
            yield f"{name} test", record[key], True
    for row in rows.read(heldout) if heldout.exists() else ():
        if all(part["type"] == "text" for part in row["messages"][-2]["content"]):
            yield "our own held-out set", rows.text_of(row["messages"][-2]), False


def _write(aside: Path, splits: dict[str, list[Candidate]]) -> None:
    """Each split's lines, copied from where they wait."""
    with ExitStack() as stack:
        spools = {path.name: stack.enter_context(path.open("rb")) for path in aside.parent.glob("spool-*")}
        for name, part in splits.items():
            with (aside / f"{name}.jsonl").open("wb") as file:
                for candidate in part:
                    spool = spools[f"spool-{candidate.task}"]
                    spool.seek(candidate.offset)
                    file.write(spool.read(candidate.size))


def inputs_sha256(folder: Path, hub: Path | None) -> str:
    """A hash over everything a build depends on: code, pinned packages, the datasets' own files, the public sets."""
    paths = [*ROOT.glob("preprocess/**/*.*"), *ROOT.glob("apriel/*.py"), ROOT / "requirements.lock", ROOT / "hub.lock"]
    # Mixes name files of other datasets too, and the texts of the sources are there: all of them count.
    for dataset in {folder, *(path.parent for path in ROOT.glob("datasets/*/mix.yaml"))}:
        made = ("build", ".build-", "README.md")
        paths += [path for path in dataset.rglob("*") if not path.relative_to(dataset).parts[0].startswith(made)]
    paths += hub.glob("*/*.jsonl") if hub else []
    digest = hashlib.sha256(f"{folder.name} {hub}".encode())
    for path in sorted(path for path in paths if path.is_file() and path.suffix != ".pyc"):
        digest.update(f"{path.name} {_sha256(path)}\n".encode())
    return digest.hexdigest()


def _intact(build: Path) -> dict:
    """The manifest of a whole build whose files are as it says; empty where there is none."""
    try:
        manifest = json.loads((build / "manifest.json").read_text())
        return manifest if all(_sha256(build / name) == digest for name, digest in manifest["files"].items()) else {}
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
    describe = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    return subprocess.run(describe, capture_output=True, text=True).stdout.strip() or os.environ.get("AETHER_COMMIT") or None
