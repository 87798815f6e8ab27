"""Which candidates make the dataset: no near-duplicates, within quotas and caps, as near to the
quality targets as can be."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from itertools import groupby
from typing import NamedTuple

import numpy as np

from preprocess.candidates import Candidate, draw
from preprocess.diversity import Distant, Fingerprint, alike_share, recurring_share
from preprocess.duplicates import PERMUTATIONS, SIZE, duplicates
from preprocess.mix import Mix, Target

HAND_WRITTEN = ("seed", "conversation")  # origins


def distinct(
    candidates: list[Candidate],
    heldout: list[Candidate],
    names: list[str],
    mix: Mix,
    skipped: Counter,
) -> list[Candidate]:
    """The candidates without near-duplicates: of user turns, reasonings, pictures. The earlier in
    the mix is kept.

    Pictures that are held out count as earlier ones. `names` are those of the tasks; what is left
    out is counted in `skipped`.
    """
    if not mix.gates:
        return candidates
    reasons: dict[int, str] = {}
    for part, what in enumerate(("user turn", "reasoning")):
        packed = b"".join(c.hashes[SIZE * part : SIZE * (part + 1)] for c in candidates)
        hashes = np.frombuffer(packed, np.uint32).reshape(-1, PERMUTATIONS)
        for number in duplicates(hashes, mix.gates.near_duplicate).nonzero()[0]:
            reasons.setdefault(number, f"near-duplicate of an earlier {what}")
    group_of_looks = {candidate.looks: "held out" for candidate in heldout}
    for number, candidate in enumerate(candidates):
        if not candidate.looks or number in reasons:
            continue
        if group_of_looks.setdefault(candidate.looks, candidate.group) != candidate.group:
            reasons[number] = "the pictures of an earlier or a held-out row"
    for number, reason in reasons.items():
        skipped[f"{names[candidates[number].task]}: {reason}"] += 1
    return [candidate for number, candidate in enumerate(candidates) if number not in reasons]


def apart(candidates: list[Candidate], mix: Mix, skipped: Counter) -> list[Candidate]:
    """The candidates whose replies stay apart within each category, whole conversations: those
    written by hand as they are, then a teacher's, then the generated ones, shuffled.

    What is left out is counted in `skipped`.
    """
    if not mix.diversity:
        return candidates
    conversations: dict[str, list[Candidate]] = defaultdict(list)
    for candidate in candidates:
        conversations[candidate.conversation].append(candidate)

    def rank(rows: list[Candidate]) -> tuple[str, int, float]:
        origin = rows[0].origin
        order = HAND_WRITTEN.index(origin) if origin in HAND_WRITTEN else 2 + (origin != "teacher")
        return rows[0].category, order, draw(mix.seed, f"apart {rows[0].conversation}")

    taken = set()
    ordered = sorted(conversations.values(), key=rank)
    for category, group in groupby(ordered, key=_category):
        chooser = Distant(mix.diversity.recurring)
        for rows in group:
            prints = [row.fingerprint for row in rows if row.fingerprint]
            if chooser.take(prints, always=rows[0].origin in HAND_WRITTEN):
                taken.add(rows[0].conversation)
            else:
                skipped[f"{category}: says what other rows say"] += len(rows)
    return [candidate for candidate in candidates if candidate.conversation in taken]


def _category(rows: list[Candidate]) -> str:
    return rows[0].category


def diversity(candidates: list[Candidate]) -> dict[str, dict[str, float]]:
    """Both measures of preprocess.diversity, by category."""
    categories: dict[str, list[Fingerprint]] = defaultdict(list)
    for candidate in candidates:
        if candidate.fingerprint:
            categories[candidate.category].append(candidate.fingerprint)
    return {
        name: {
            "recurring": round(recurring_share(prints), 4),
            "alike": round(alike_share(prints), 4),
        }
        for name, prints in sorted(categories.items())
    }


def reasoning_words(candidates: list[Candidate]) -> dict[str, list[int]]:
    """The quartiles of the words of a reply's reasoning, by category and of all."""
    words: dict[str, list[int]] = defaultdict(list)
    for candidate in candidates:
        for name in (candidate.category, "all"):
            words[name].append(candidate.reasoning_words)
    return {
        name: [round(value) for value in np.percentile(of, (25, 50, 75))]
        for name, of in sorted(words.items(), key=lambda entry: (entry[0] == "all", entry[0]))
    }


def shares(candidates: list[Candidate], targets: dict[str, Target]) -> dict[str, float]:
    """What each target measures: a share of rows, or of conversations for a target of turns."""
    measured = {}
    for name, target in targets.items():
        counted = [one for one in candidates if not target.of or one.category in target.of]
        if target.turns:
            counted = list({one.conversation: one for one in counted}.values())
        met = sum(name in candidate.met for candidate in counted)
        measured[name] = met / max(len(counted), 1)
    return measured


class Kind(NamedTuple):
    """Conversations that are the same to the selection. Sorted, what people wrote comes first."""

    generated: bool
    rows: int
    origin: str
    counts: tuple[int, ...]  # rows that count for each target; conversations for one of turns


@dataclass
class _Selection:
    """What was taken so far."""

    mix: Mix
    room: Counter  # rows left under the cap of each origin
    ids: set[str] = field(default_factory=set)
    rows: int = 0
    conversations: int = 0
    met: Counter = field(default_factory=Counter)

    def fits(self, kind: Kind, quota: int) -> bool:
        """Whether a conversation may still be taken. `quota`: rows left of its category."""
        capped = kind.origin in self.mix.caps and kind.rows > self.room[kind.origin]
        return kind.rows <= quota and not capped

    def take(self, kind: Kind, conversation: list[Candidate]) -> None:
        self.ids.update(candidate.id for candidate in conversation)
        self.rows += kind.rows
        self.conversations += 1
        self.room[kind.origin] -= kind.rows
        self.met.update(dict(zip(self.mix.targets, kind.counts, strict=True)))

    def miss(self, kind: Kind) -> float:
        """The squared distance of the shares from the middles of their targets if one of that kind
        were taken."""
        total = 0.0
        for (name, target), count in zip(self.mix.targets.items(), kind.counts, strict=True):
            if target.of:  # the quotas of its categories decide it
                continue
            low, high = target.share
            of = self.conversations + 1 if target.turns else self.rows + kind.rows
            share = (self.met[name] + count) / of
            distance = max(low - share, 0) if high >= 1 else share - (low + high) / 2
            total += distance**2
        return total


def select(candidates: list[Candidate], mix: Mix, skipped: Counter) -> list[Candidate]:
    """The candidates to write, in the mix's order, whole conversations: within a category those
    written by hand first, then those that bring the shares nearest to their targets. A category
    that falls short of its quota is taken before the others.

    What is left out is counted in `skipped`.
    """
    if not mix.quotas:
        return candidates
    categories: dict[str, dict[str, list[Candidate]]] = defaultdict(lambda: defaultdict(list))
    for candidate in candidates:
        categories[candidate.category][candidate.conversation].append(candidate)
    missing = {}
    for name, conversations in categories.items():
        missing[name] = mix.quotas[name] - sum(map(len, conversations.values()))
    selection = _Selection(mix, Counter(mix.caps))
    for name in sorted(categories, key=lambda name: (-missing[name], name)):
        kinds = _kinds(list(categories[name].values()), mix)
        quota = mix.quotas[name]
        while fitting := [kind for kind in kinds if selection.fits(kind, quota)]:
            kind = _best(fitting, selection, steer=missing[name] < 0)
            selection.take(kind, kinds[kind].pop())
            quota -= kind.rows
            if not kinds[kind]:
                del kinds[kind]
        for kind, rest in kinds.items():
            reason = f"the cap of origin {kind.origin} is reached"
            if kind.rows > quota:
                reason = "the quota is full"
            skipped[f"{name}: {reason}"] += kind.rows * len(rest)
    return [candidate for candidate in candidates if candidate.id in selection.ids]


def _kinds(conversations: list[list[Candidate]], mix: Mix) -> dict[Kind, list[list[Candidate]]]:
    """Conversations by their kind, shuffled: the next to take is each list's last."""
    kinds: dict[Kind, list[list[Candidate]]] = defaultdict(list)
    for conversation in sorted(
        conversations, key=lambda rows: draw(mix.seed, rows[0].conversation)
    ):
        met = Counter(name for candidate in conversation for name in candidate.met)
        counts = tuple(
            min(met[name], 1) if target.turns else met[name] for name, target in mix.targets.items()
        )
        origin = conversation[0].origin
        kind = Kind(origin not in HAND_WRITTEN, len(conversation), origin, counts)
        kinds[kind].append(conversation)
    return kinds


def _best(fitting: list[Kind], selection: _Selection, steer: bool) -> Kind:
    """The kind to take next; without `steer` all of the category are taken anyway, in a fixed
    order."""

    def rank(kind: Kind) -> tuple[bool, float, Kind]:
        return kind.generated, selection.miss(kind) if steer else 0.0, kind

    return min(fitting, key=rank)
