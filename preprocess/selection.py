"""Which candidates make the dataset: no near-duplicates, within quotas and caps, as near to the quality targets as can be."""

from collections import Counter, defaultdict

import numpy as np

from preprocess.candidates import Candidate, draw
from preprocess.gates import PERMUTATIONS, duplicates
from preprocess.mix import Mix, Target


def distinct(
    candidates: list[Candidate],
    heldout: list[Candidate],
    names: list[str],
    mix: Mix,
    skipped: Counter,
) -> list[Candidate]:
    """The candidates without near-duplicates: of user turns, reasonings, pictures. The earlier in the mix is kept.

    Pictures that are held out count as earlier ones. `names` are those of the tasks.
    """
    if not mix.gates:
        return candidates
    why: dict[int, str] = {}
    for which, what in enumerate(("user turn", "reasoning")):
        half = slice(4 * PERMUTATIONS * which, 4 * PERMUTATIONS * (which + 1))  # bytes
        signatures = np.frombuffer(b"".join(c.signed[half] for c in candidates), np.uint32).reshape(
            -1, PERMUTATIONS
        )
        for at in duplicates(signatures, mix.gates.near_duplicate).nonzero()[0]:
            why.setdefault(at, f"near-duplicate of an earlier {what}")
    first = {candidate.looks: "held out" for candidate in heldout}
    for at, candidate in enumerate(candidates):
        if (
            candidate.looks
            and at not in why
            and first.setdefault(candidate.looks, candidate.group) != candidate.group
        ):
            why[at] = "the pictures of an earlier or a held-out row"
    skipped.update(f"{names[candidates[at].task]}: {reason}" for at, reason in why.items())
    return [candidate for at, candidate in enumerate(candidates) if at not in why]


def shares(candidates: list[Candidate], targets: dict[str, Target]) -> dict[str, float]:
    """What each target measures: a share of rows, or of conversations for a target of turns."""
    whole = {candidate.conversation: candidate for candidate in candidates}.values()
    of = {name: whole if target.turns else candidates for name, target in targets.items()}
    return {
        name: sum(name in candidate.met for candidate in of[name]) / max(len(of[name]), 1)
        for name in targets
    }


def select(candidates: list[Candidate], mix: Mix, skipped: Counter) -> list[Candidate]:
    """The candidates to write, in the mix's order, whole conversations: within a category those written by hand first, then
    those that bring the shares nearest to their targets. A category that falls short of its quota is taken before the others.
    """
    if not mix.quotas:
        return candidates
    groups: dict[str, dict[str, list[Candidate]]] = defaultdict(lambda: defaultdict(list))
    for candidate in candidates:
        groups[candidate.category][candidate.conversation].append(candidate)
    left = {
        name: mix.quotas[name] - sum(map(len, talks.values())) for name, talks in groups.items()
    }
    taken, room, chosen = Counter(), Counter(mix.caps), set()
    for category in sorted(groups, key=lambda name: (-left[name], name)):
        # Conversations that are the same to the selection, shuffled: the next to take is each list's last.
        kinds: dict[tuple, list[list[Candidate]]] = defaultdict(list)
        for talk in sorted(
            groups[category].values(), key=lambda talk: draw(mix.seed, talk[0].conversation)
        ):
            met = Counter(name for candidate in talk for name in candidate.met)
            counts = tuple(
                min(met[name], 1) if target.turns else met[name]
                for name, target in mix.targets.items()
            )
            kinds[
                talk[0].origin not in ("seed", "conversation"), len(talk), talk[0].origin, counts
            ].append(talk)
        quota = mix.quotas[category]
        while fitting := [
            k for k in kinds if k[1] <= quota and (k[2] not in mix.caps or k[1] <= room[k[2]])
        ]:
            kind = min(
                fitting,
                key=lambda k: (
                    k[0],
                    _miss(k[1], k[3], taken, mix.targets) if left[category] < 0 else 0,
                    k,
                ),
            )
            chosen.update(candidate.id for candidate in kinds[kind].pop())
            if not kinds[kind]:
                del kinds[kind]
            _, rows, origin, counts = kind
            quota, room[origin] = quota - rows, room[origin] - rows
            taken.update(
                {"rows": rows, "conversations": 1, **dict(zip(mix.targets, counts, strict=True))}
            )
        for (_, rows, origin, _), rest in kinds.items():
            why = "the quota is full" if rows > quota else f"the cap of origin {origin} is reached"
            skipped[f"{category}: {why}"] += rows * len(rest)
    return [candidate for candidate in candidates if candidate.id in chosen]


def _miss(rows: int, counts: tuple[int, ...], taken: Counter, targets: dict[str, Target]) -> float:
    """The squared distance of the shares from the middles of their targets if a conversation of that kind were taken."""
    miss = 0.0
    for (name, target), count in zip(targets.items(), counts, strict=True):
        low, high = target.share
        of = taken["conversations"] + 1 if target.turns else taken["rows"] + rows
        share = (taken[name] + count) / of
        miss += max(low - share, 0) ** 2 if high >= 1 else (share - (low + high) / 2) ** 2
    return miss
