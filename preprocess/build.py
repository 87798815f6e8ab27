"""Build a dataset: run its sources, gate their rows, choose to the mix, split by source, write
aside, rename.

The same inputs give the same bytes. The manifest is written last; a folder with a manifest is a
whole build. A build whose inputs did not change since is left as it is. Nothing but row entries is
held in memory: the rows wait on disk until they are chosen.
"""

import json
import shutil
from collections import Counter
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from common import hub as hubs
from common.datasets import own_sha256
from common.errors import AetherError
from common.files import held, shown, write_text, written_aside
from preprocess import inputs, mix, pairs, report, selection, workers, written
from preprocess.benchmarks import Benchmark, problems
from preprocess.candidates import Candidate, Result, Task, draw


class BuildError(AetherError):
    """A build that could not be finished; the one before it is untouched."""


def build(folder: Path, hub: Path | None = None, heldout: bool = False) -> str:
    """Build the dataset of `folder` into its build/, and say in one line what was built. Raises
    AetherError.

    `hub`: a folder with the public data sets; None takes them from the hub. `heldout`: only the
    rows kept for evaluation, into heldout/; they need no public set, and are those of
    build/heldout.jsonl.
    """
    plan = mix.read(folder)
    if heldout and not any(_holds_out(source) for source in plan.sources):
        problem = "no source has `heldout: <rows>`, so there is nothing to keep for evaluation"
        raise BuildError(f"{shown(folder / 'mix.yaml')}: {problem}")
    # In the image build is a link to a volume: what is renamed must lie beside its target.
    final = (folder / ("heldout" if heldout else "build")).resolve()
    hub = None if heldout else hub
    with held(folder / "mix.yaml", "being built"):
        digest = inputs.sha256(folder, hub)
        before = inputs.intact_manifest(final)
        if before.get("inputs_sha256") == digest:
            return _summary(final, before, ", unchanged")
        own = own_sha256(folder)
        with written_aside(final) as aside:
            tasks = [
                Task(number, plan, source, folder, aside, hub)
                for number, source in enumerate(plan.sources)
            ]
            (aside / "images").mkdir()
            tasks[0].spool.parent.mkdir()
            about = _make_heldout(tasks) if heldout else _make(tasks)
            about |= {"inputs_sha256": digest, "own_sha256": own, "commit": inputs.commit()}
            text = json.dumps(about, indent=1, sort_keys=True)
            write_text(aside / "manifest.json", f"{text}\n")
    return _summary(final, about)


def _holds_out(source: mix.Source) -> bool:
    return bool(getattr(source, "heldout", 0))


def _make_heldout(tasks: list[Task]) -> dict:
    """Write the rows kept for evaluation alone; returns what the manifest says of them."""
    kept, results = _held_out_rows(tasks)
    about = {
        "rows": {"heldout": len(kept)},
        "images": _remove_unused_images(tasks[0].aside, kept),
        "skipped": _counted(results),
    }
    return about | _finished(tasks[0].aside)


def _held_out_rows(tasks: list[Task]) -> tuple[list[Candidate], list[Result]]:
    """Write heldout.jsonl with what the tasks draw for evaluation alone; its rows' entries and the
    tasks' results."""
    drawn = [
        replace(task, number=task.number + len(tasks), heldout=True)
        for task in tasks
        if _holds_out(task.source)
    ]
    results = workers.run_all(drawn, Benchmark())
    kept = [candidate for result in results for candidate in result.candidates]
    if drawn:
        _write(drawn, {"heldout": kept})
    return kept, results


def _make(tasks: list[Task]) -> dict:
    """Write everything but the manifest into the tasks' folder; returns what the manifest says of
    it."""
    first = tasks[0]
    plan = first.mix
    names = [task.source.public_set for task in tasks if task.source.public_set]
    public = {name: hubs.provenance(name, first.hub) for name in names}  # raises before any work
    heldout, _ = _held_out_rows(tasks)
    benchmark = Benchmark()
    if plan.gates:
        heldout_file = first.aside / "heldout.jsonl"
        benchmark = Benchmark(problems(plan.gates, first.context(benchmark), heldout_file))
    results = workers.run_all(tasks, benchmark)
    candidates = [candidate for result in results for candidate in result.candidates]
    skipped = _counted(results)
    candidates = _with_own_ids(candidates, tasks, skipped)
    distinct = selection.distinct(candidates, heldout, [task.name for task in tasks], plan, skipped)
    different = selection.apart(distinct, plan, skipped)
    chosen = selection.select(different, plan, skipped)
    splits = _split(chosen, plan)
    _write(tasks, splits)
    if heldout:
        splits = {"heldout": heldout} | splits
    about = _measured(plan, chosen) | {
        "dataset": first.folder.name,
        "read": sum(result.read for result in results),
        "conversations_read": _read(results),
        "skipped": dict(sorted(skipped.items())),
        "notes": dict(sum((result.notes for result in results), Counter())),
        "rows": {name: len(part) for name, part in splits.items()},
        "images": _remove_unused_images(first.aside, heldout + chosen),
        "sources": public,
        "written": written.measure(plan, chosen, list(written.read(first.aside))),
    }
    groups = {candidate.id: candidate.group for candidate in chosen}
    about |= pairs.write(first.aside, first.folder, plan, groups)
    report.write(first.aside, first.folder, plan, about, chosen)
    return about | _finished(first.aside)


def _with_own_ids(
    candidates: list[Candidate], tasks: list[Task], skipped: Counter
) -> list[Candidate]:
    """The candidates without those of a conversation that an earlier source holds too.

    Raises BuildError where two rows that are not the same have one id.
    """
    first: dict[str, Candidate] = {}
    for candidate in candidates:
        other = first.setdefault(candidate.id, candidate)
        if other is candidate:
            continue
        name = tasks[candidate.task].name
        # An id of these is made of what the conversation says.
        if candidate.origin != "conversation" or other.task == candidate.task:
            problem = f"two rows have this id, of {tasks[other.task].name} and {name}"
            raise BuildError(f"{candidate.id}: {problem}; rename one")
        skipped[f"{name}: the same conversation as one of an earlier source"] += 1
    return list(first.values())


def _counted(results: list[Result]) -> Counter:
    """What was left out, by source and reason."""
    skipped: Counter = Counter()
    for result in results:
        for reason, count in result.skipped.items():
            skipped[f"{result.name}: {reason}"] += count
    return skipped


def _read(results: list[Result]) -> dict[str, dict]:
    """How many conversations each source gave, and why those did not give a row that did not."""
    read: dict[str, dict] = {}
    for result in results:
        about = read.setdefault(result.name, {"read": 0, "gave_rows": 0, "without_rows": Counter()})
        about["read"] += result.read
        about["gave_rows"] += result.read - sum(result.without_rows.values())
        about["without_rows"] += result.without_rows
    return read


def _split(chosen: list[Candidate], plan: mix.Mix) -> dict[str, list[Candidate]]:
    """Train and validation rows; what belongs to one group stays on one side.

    Shuffled: a loader that infers columns from the first rows must see every kind of row among
    them.
    """
    splits: dict[str, list[Candidate]] = {"train": [], "val": []}
    for candidate in sorted(chosen, key=lambda c: draw(plan.seed, f"order {c.id}")):
        in_val = draw(plan.seed, candidate.group) < plan.val_share
        splits["val" if in_val else "train"].append(candidate)
    return splits


def _measured(plan: mix.Mix, chosen: list[Candidate]) -> dict:
    """What the manifest says of the rows that were chosen."""
    measured = selection.shares(chosen, plan.targets)
    trained: dict[str, Counter] = {"categories": Counter(), "origins": Counter()}
    for candidate in chosen:
        trained["categories"][candidate.category] += candidate.trained
        trained["origins"][candidate.origin] += candidate.trained
    bits = Counter(candidate.tokens.bit_length() for candidate in chosen)
    return plan.model_dump(include={"quotas", "seed", "val_share", "licence"}) | {
        "kept": len(chosen),
        "categories": dict(Counter(candidate.category for candidate in chosen)),
        "origins": dict(Counter(candidate.origin for candidate in chosen)),
        "conversations": len({candidate.conversation for candidate in chosen}),
        "verified_answers": sum(candidate.verified for candidate in chosen),
        "tokens": sum(candidate.tokens for candidate in chosen),
        "trained_tokens": {name: dict(counted) for name, counted in trained.items()},
        "rows_by_tokens": {f"<{2**size}": count for size, count in sorted(bits.items())},
        "diversity": selection.diversity(chosen),
        "reasoning_words": selection.reasoning_words(chosen),
        "targets": {
            name: {"measured": round(measured[name], 4), "wanted": target.share}
            for name, target in plan.targets.items()
        },
    }


def _remove_unused_images(aside: Path, kept: list[Candidate]) -> int:
    """Remove the pictures of rows that were dropped; returns how many are left."""
    used = {image for candidate in kept for image in candidate.images}
    for path in (aside / "images").iterdir():
        if f"images/{path.name}" not in used:
            path.unlink()
    return len(used)


def _write(tasks: list[Task], splits: dict[str, list[Candidate]]) -> None:
    """Each split's lines, copied from where they wait."""
    with ExitStack() as stack:
        spools = {task.number: stack.enter_context(task.spool.open("rb")) for task in tasks}
        for name, candidates in splits.items():
            file = stack.enter_context((tasks[0].aside / f"{name}.jsonl").open("wb"))
            for candidate in candidates:
                spool = spools[candidate.task]
                spool.seek(candidate.offset)
                file.write(spool.read(candidate.size))


def _finished(aside: Path) -> dict:
    """Remove what was only needed to build; returns the hashes of the files that are left."""
    shutil.rmtree(aside / "spool")
    return inputs.hashes(aside)


def _summary(final: Path, manifest: dict, unchanged: str = "") -> str:
    """What was built in a line, and a line for each source that was read and gave no row."""
    splits = ", ".join(f"{name} {count:,}" for name, count in sorted(manifest["rows"].items()))
    if "pairs" in manifest:
        splits += f" and {sum(manifest['pairs']['rows'].values()):,} pairs"
    skipped = sum(manifest["skipped"].values())
    name = final.relative_to(final.parents[2])
    images = f"{manifest['images']:,} images"
    lines = [f"{name}: {splits} rows, {images}, {skipped:,} skipped{unchanged}"]
    for source, about in manifest.get("conversations_read", {}).items():
        if about["read"] and not about["gave_rows"]:
            reason = max(about["without_rows"], key=about["without_rows"].get)
            count = f"{about['read']:,} of {about['read']:,} conversations"
            lines.append(f"{source}: {count} gave no row: {reason}")
    return "\n".join(lines)
