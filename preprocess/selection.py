"""Which candidates make the dataset: no near-duplicates, within quotas and caps, as near to the quality targets as can be."""

from collections import Counter, defaultdict
from typing import NamedTuple

import numpy as np

from preprocess.candidates import Candidate, draw
from preprocess.gates import PERMUTATIONS, duplicates
from preprocess.mix import Mix, Target


def distinct(
    candidates: list[Candidate], heldout: list[Candidate], names: list[str], mix: Mix, skipped: Counter
) -> list[Candidate]:
    """The candidates without near-duplicates: of user turns, reasonings, pictures. The earlier in the mix is kept.

    Pictures that are held out count as earlier ones. `names` are those of the tasks.
    """
    if not mix.gates:
        return candidates
    why: dict[int, str] = {}
    for which, what in enumerate(("user turn", "reasoning")):
        half = slice(4 * PERMUTATIONS * which, 4 * PERMUTATIONS * (which + 1))  # bytes
        signatures = np.frombuffer(b"".join(c.signed[half] for c in candidates), np.uint32).reshape(-1, PERMUTATIONS)
        for at in duplicates(signatures, mix.gates.near_duplicate).nonzero()[0]:
            why.setdefault(at, f"near-duplicate of an earlier {what}")
    first = {candidate.looks: "held out" for candidate in heldout}
    for at, candidate in enumerate(candidates):
        if candidate.looks and at not in why and first.setdefault(candidate.looks, candidate.group) != candidate.group:
            why[at] = "the pictures of an earlier or a held-out row"
    skipped.update(f"{names[candidates[at].task]}: {reason}" for at, reason in why.items())
    return [candidate for at, candidate in enumerate(candidates) if at not in why]


def shares(candidates: list[Candidate], targets: dict[str, Target]) -> dict[str, float]:
    """What each target measures: a share of rows, or of conversations for a target of turns."""
    whole = {candidate.conversation: candidate for candidate in candidates}.values()
    measured = {}
    for name, target in targets.items():
        of = whole if target.turns else candidates
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
    room, chosen = Counter(mix.caps), set()
    for category in sorted(surplus, key=lambda name: (surplus[name], name)):
        kinds: dict[_Kind, list[list[Candidate]]] = defaultdict(list)  # shuffled: the next to take is each list's last
        for conversation in sorted(by_category[category].values(), key=lambda c: draw(mix.seed, c[0].conversation)):
            kinds[_kind(conversation, mix)].append(conversation)
        left = mix.quotas[category]
        while fitting := [k for k in kinds if k.rows <= left and (k.origin not in mix.caps or k.rows <= room[k.origin])]:
            kind = min(fitting, key=lambda k: (not k.by_hand, _miss(k, taken, mix.targets) if surplus[category] > 0 else 0, k))
            chosen.update(candidate.id for candidate in kinds[kind].pop())
            if not kinds[kind]:
                del kinds[kind]
            left -= kind.rows
            room[kind.origin] -= kind.rows
            taken.update({"rows": kind.rows, "conversations": 1, **dict(zip(mix.targets, kind.counts, strict=True))})
        for kind, rest in kinds.items():
            why = "the quota is full" if kind.rows > left else f"the cap of origin {kind.origin} is reached"
            skipped[f"{category}: {why}"] += kind.rows * len(rest)
    return [candidate for candidate in candidates if candidate.id in chosen]


class _Kind(NamedTuple):
    """Conversations that are the same to the selection."""

    by_hand: bool
    origin: str
    rows: int
    counts: tuple[int, ...]  # what one adds to each target, in the targets' order


def _kind(conversation: list[Candidate], mix: Mix) -> _Kind:
    met = Counter(name for candidate in conversation for name in candidate.met)
    counts = tuple(min(met[name], 1) if target.turns else met[name] for name, target in mix.targets.items())
    origin = conversation[0].origin
    return _Kind(origin in ("seed", "conversation"), origin, len(conversation), counts)


def _miss(kind: _Kind, taken: Counter, targets: dict[str, Target]) -> float:
    """The squared distance of the shares from the middles of their targets if a conversation of this kind were taken."""
    miss = 0.0
    for (name, target), count in zip(targets.items(), kind.counts, strict=True):
        low, high = target.share
        of = taken["conversations"] + 1 if target.turns else taken["rows"] + kind.rows
        share = (taken[name] + count) / of
        miss += max(low - share, 0) ** 2 if high >= 1 else (share - (low + high) / 2) ** 2
    return miss
