"""How much the replies of a category repeat each other, and the choice that keeps them apart.

Numbers are masked first: a sentence that says the same of other numbers is the same sentence.
"""

from __future__ import annotations

import re
import zlib
from array import array
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

OFTEN = 5  # times from which a sentence recurs
RUN = 8  # words
ALIKE = 0.5  # share of a row's runs that stand in one other row
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_WORD = re.compile(r"\w+")
_SENTENCE_END = re.compile(r"(?<=[.?!])\s+|\n+")


@dataclass(frozen=True)
class Fingerprint:
    """What the measures need of one reply, as hashes in about a kilobyte."""

    sentences: array[int]  # in order
    lengths: array[int]  # words of each sentence
    runs: array[int]  # each once

    @property
    def words(self) -> int:
        """Words of the whole reply."""
        return sum(self.lengths)


def fingerprint(text: str) -> Fingerprint:
    """The fingerprint of a reply's text, reasoning and answer."""
    masked = _NUMBER.sub("0", text.lower())
    sentences = []
    for sentence in _SENTENCE_END.split(masked):
        words = _WORD.findall(sentence)
        if words:
            sentences.append(words)
    return Fingerprint(
        sentences=array("I", map(_hash, sentences)),
        lengths=array("I", map(len, sentences)),
        runs=array("I", sorted(set(run_hashes(text)))),
    )


def run_hashes(text: str) -> list[int]:
    """The hash of each RUN-word run of a text, in order; of a shorter text, one of all of it."""
    words = _WORD.findall(_NUMBER.sub("0", text.lower()))
    return [_hash(words[at : at + RUN]) for at in range(max(1, len(words) - RUN + 1))]


def _hash(words: Sequence[str]) -> int:
    return zlib.crc32(" ".join(words).encode())


def recurring_share(rows: Sequence[Fingerprint]) -> float:
    """The share of words that stand in sentences which occur OFTEN times or more in the rows."""
    times = _times(rows)
    recurring = 0
    for row in rows:
        for sentence, words in zip(row.sentences, row.lengths, strict=True):
            if times[sentence] >= OFTEN:
                recurring += words
    return recurring / max(1, sum(row.words for row in rows))


def _times(rows: Sequence[Fingerprint]) -> Counter:
    """How often each sentence stands in the rows."""
    return Counter(sentence for row in rows for sentence in row.sentences)


def alike_share(rows: Sequence[Fingerprint]) -> float:
    """The share of rows of which ALIKE of the RUN-word runs, or more, stand in one other row."""
    holders = defaultdict(list)
    for at, row in enumerate(rows):
        for run in row.runs:
            holders[run].append(at)
    alike = 0
    for at, row in enumerate(rows):
        shared = Counter(holder for run in row.runs for holder in holders[run])
        del shared[at]
        alike += max(shared.values(), default=0) >= ALIKE * len(row.runs)
    return alike / max(1, len(rows))


class Distant:
    """Chooses rows of one category one by one so that they stay apart.

    No row is taken that is alike to one taken before, and none that would bring the share of
    recurring words over `recurring`.
    """

    def __init__(self, recurring: float):
        self._limit = recurring
        self._times: Counter = Counter()
        # The rows taken that have a run. Most have one: its rows share a tuple, to be small.
        self._holders: dict[int, tuple[int, ...]] = {}
        self._sizes: list[int] = []  # how many runs each row taken has
        self._words = 0
        self._recurring = 0

    def take(self, rows: Sequence[Fingerprint], always: bool = False) -> bool:
        """Take the rows of one conversation, all or none; `always` takes them as they are."""
        times = _times(rows)
        lengths: dict[int, int] = {}
        for row in rows:
            lengths |= zip(row.sentences, row.lengths, strict=True)
        words = self._words + sum(row.words for row in rows)
        recurring = self._recurring
        for sentence, more in times.items():
            before = self._times[sentence]
            if before + more >= OFTEN:
                # Those before it count from the moment that they become OFTEN.
                recurring += lengths[sentence] * (more if before >= OFTEN else before + more)
        if not always and (recurring > self._limit * words or any(map(self._alike, rows))):
            return False
        self._times.update(times)
        self._words = words
        self._recurring = recurring
        for row in rows:
            this = (len(self._sizes),)
            for run in row.runs:
                earlier = self._holders.get(run)
                self._holders[run] = earlier + this if earlier else this
            self._sizes.append(len(row.runs))
        return True

    def _alike(self, row: Fingerprint) -> bool:
        """Whether half of its runs stand in a row taken, or half of that one's in it."""
        shared = Counter(at for run in row.runs for at in self._holders.get(run, ()))
        for at, count in shared.items():
            if count >= ALIKE * min(len(row.runs), self._sizes[at]):
                return True
        return False
