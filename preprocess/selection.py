"""Which candidates make the dataset: no near-duplicates, within quotas and caps, as near to the quality targets as can be."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from preprocess.candidates import Candidate, Result, Task, draw, signatures
from preprocess.gates import duplicates
from preprocess.mix import Mix, Target


def distinct(
    results: list[tuple[Task, Result]], for_evaluation: list[Candidate], threshold: float, skipped: Counter
) -> list[Candidate]:
    """The candidates without near-duplicates: of user turns, reasonings, pictures. The earlier in the mix is kept.

    Pictures `for_evaluation` count as earlier ones.
    """
    candidates = [candidate for _, result in results for candidate in result.candidates]
    names = {task.number: task.name for task, _ in results}
    kept = [True] * len(candidates)
    for which, what in enumerate(("user turn", "reasoning")):
        for at in duplicates(signatures(results, which), threshold).nonzero()[0]:
            if kept[at]:
                skipped[f"{names[candidates[at].task]}: near-duplicate of an earlier {what}"] += 1
            kept[at] = False
    first = {candidate.looks: "held out" for candidate in for_evaluation}
    for at, candidate in enumerate(candidates):
        if candidate.looks and kept[at] and first.setdefault(candidate.looks, candidate.group) != candidate.group:
            skipped[f"{names[candidate.task]}: the pictures of an earlier or a held-out row"] += 1
            kept[at] = False
    return [candidate for candidate, keep in zip(candidates, kept, strict=True) if keep]


def shares(candidates: list[Candidate], targets: dict[str, Target]) -> dict[str, float]:
    """What each target measures: a share of rows, or of conversations for a target of turns."""
    whole = {candidate.conversation: candidate for candidate in candidates}.values()
    measured = {}
    for name, target in targets.items():
        of = candidates if target.turns is None else whole
        measured[name] = sum(name in candidate.met for candidate in of) / max(len(of), 1)
    return measured


def select(candidates: list[Candidate], mix: Mix, skipped: Counter) -> list[Candidate]:
    """The candidates to write, in the mix's order. A category that falls short of its quota is taken whole, before the others."""
    if not mix.quotas:
        return candidates
    by_category: dict[str, dict[str, list[Candidate]]] = defaultdict(lambda: defaultdict(list))
    for candidate in candidates:
        by_category[candidate.category][candidate.conversation].append(candidate)
    surplus = {name: sum(map(len, rows.values())) - mix.quotas[name] for name, rows in by_category.items()}
    taken: Counter[str] = Counter()
    room, chosen = dict(mix.caps), set()
    for category in sorted(surplus, key=lambda name: (surplus[name], name)):
        kinds = _kinds(by_category[category].values(), mix)
        left = mix.quotas[category]
        while fitting := [k for k in kinds if k.rows <= left and k.rows <= room.get(k.origin, left)]:
            kind = min(fitting, key=lambda k: (not k.by_hand, _miss(k, taken, mix.targets) if surplus[category] > 0 else 0, k))
            conversation = kinds[kind].pop()
            if not kinds[kind]:
                del kinds[kind]
            left -= kind.rows
            if kind.origin in mix.caps:
                room[kind.origin] -= kind.rows
            taken.update({"rows": kind.rows, "conversations": 1, **dict(zip(mix.targets, kind.counts, strict=True))})
            chosen.update(candidate.id for candidate in conversation)
        for kind, rest in kinds.items():
            why = "the quota is full" if kind.rows > left else f"the cap of origin {kind.origin} is reached"
            skipped[f"{category}: {why}"] += kind.rows * len(rest)
    return [candidate for candidate in candidates if candidate.id in chosen]


class _Kind(NamedTuple):
    """Conversations that are the same to the selection. `counts` is what they add to each target, in the targets' order."""

    by_hand: bool
    origin: str
    rows: int
    counts: tuple[int, ...]


def _kinds(conversations: Iterable[list[Candidate]], mix: Mix) -> dict[_Kind, list[list[Candidate]]]:
    """Conversations by kind, shuffled: the next to take is each list's last."""
    kinds = defaultdict(list)
    for conversation in sorted(conversations, key=lambda c: draw(mix.seed, c[0].conversation)):
        met = {name: [name in candidate.met for candidate in conversation] for name in mix.targets}
        counts = tuple(any(met[name]) if target.turns else sum(met[name]) for name, target in mix.targets.items())
        origin = conversation[0].origin
        kinds[_Kind(origin in ("seed", "conversation"), origin, len(conversation), counts)].append(conversation)
    return kinds


def _miss(kind: _Kind, taken: Counter, targets: dict[str, Target]) -> float:
    """The squared distance of the shares from the middles of their targets if a conversation of this kind were taken."""
    miss = 0.0
    for (name, target), count in zip(targets.items(), kind.counts, strict=True):
        low, high = target.share
        of = taken["conversations"] + 1 if target.turns else taken["rows"] + kind.rows
        share = (taken[name] + count) / of
        miss += max(low - share, 0) ** 2 if high >= 1 else (share - (low + high) / 2) ** 2
    return miss
