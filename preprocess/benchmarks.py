"""What no row may hold: the problems of public test sets, our own held-out problems, and the
questions of our evaluation."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from common import hub, rows
from common.files import read_text
from preprocess.mix import Gates
from preprocess.rows import Note, Skip
from preprocess.siblings import SIBLING, Siblings
from preprocess.source import Context, MixError, load, matching

# Share of a problem that stands in a row: from which the row is dropped, and from which the
# manifest notes it.
DROP = 0.8
REPORT = 0.5
# Words of a run; a problem is compared by its runs.
GRAM = 8
_WORD = re.compile(r"\w+")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")


class Problem(NamedTuple):
    """A problem that no row may hold."""

    of: str  # the set it belongs to, in words
    text: str
    # Compare with every number masked: some public sets are others with other numbers. Our own
    # held-out problems share their framings with what is trained and differ in their numbers, so
    # there the numbers count.
    masked: bool


class Benchmark:
    """Problems to compare rows with. A problem stands in a text when 0.8 of its eight-word runs do.

    A problem of fewer than eight words must match whole.
    """

    def __init__(self, problems: Iterable[Problem] = ()):
        self._sizes: list[tuple[str, int]] = []
        self._holders: dict[str, list[int]] = defaultdict(list)
        public = []
        for problem in problems:
            if problem.masked:
                public.append(problem.text)
            runs = _runs(problem.text, problem.masked)
            for run in runs:
                self._holders[run].append(len(self._sizes))
            self._sizes.append((problem.of, len(runs)))
        self._siblings = Siblings(public)

    def covered(self, text: str) -> tuple[float, str]:
        """The largest share of a problem that stands in `text`, and the set that the problem is
        of."""
        hits: Counter = Counter()
        for run in _runs(text, True) | _runs(text, False):
            hits.update(self._holders.get(run, ()))
        largest = (0.0, "")
        for number, count in hits.items():
            of, size = self._sizes[number]
            largest = max(largest, (count / size, of))
        return largest

    def contaminated(self, texts: Iterable[str], whole: bool = False) -> Note | None:
        """A note where half of a problem stands in one of the texts. Raises Skip where nearly all
        of it does, and where a text, a `whole` problem, is one of a public set with other numbers.
        """
        if not self._sizes:
            return None
        texts = list(texts)
        share, of = max(map(self.covered, texts), default=(0.0, ""))
        if share >= DROP:
            raise Skip(f"holds a problem of {of}")
        if whole and max(map(self._siblings.nearest, texts)) >= SIBLING:
            raise Skip("is a problem of a public test set with other numbers")
        if share >= REPORT:
            return Note(f"kept, though {REPORT:.0%} or more of a problem of {of} stands in it")
        return None


def _runs(text: str, masked: bool) -> set[str]:
    """The eight-word runs of a text, or the whole text where it is shorter."""
    words = _WORD.findall(text.lower())
    if len(words) < GRAM:
        return {"whole: " + " ".join(words)}
    if masked:
        words = _WORD.findall(_NUMBER.sub("0", text.lower()))
    starts = range(len(words) - GRAM + 1)
    return {f"{masked:d} " + " ".join(words[start : start + GRAM]) for start in starts}


def problems(gates: Gates, context: Context, heldout: Path) -> Iterator[Problem]:
    """Every problem that no row of a dataset may hold. Raises HubError, RowError, FileError or
    MixError.

    `heldout`: the dataset's own heldout.jsonl, which need not exist.
    """
    for name, key in gates.benchmarks.items():
        for record in hub.records(name, "test", context.hub):
            if not isinstance(record.get(key), str):
                problem = f"{name} test: a record without {key!r}"
                raise MixError(f"{problem}; its problems could not be kept out of the rows")
            yield Problem(f"{name} test", record[key], True)
    if heldout.exists():
        for row in rows.read(heldout):
            question = rows.last_user(row)
            if all(part["type"] == "text" for part in question["content"]):
                yield Problem("our own held-out set", rows.text_of(question), False)
    for path in question_files(gates, context.folder):
        if path.suffix == ".md":  # a question in prose of its own
            yield Problem("our own questions", read_text(path), False)
            continue
        for entry in load(path, list[dict]):
            for text in _asked(entry):
                yield Problem("our own questions", text, False)


def question_files(gates: Gates, folder: Path) -> list[Path]:
    """The files of the evaluation's questions that the gates of a dataset name. Raises MixError
    where a name finds nothing: its questions would be trained in silence.
    """
    return sorted(path for pattern in gates.questions for path in matching(folder, pattern))


def _asked(entry: dict) -> Iterator[str]:
    """The texts that a question of the evaluation shows to a model."""
    for shown in (entry.get("prompt"), entry.get("question"), *entry.get("turns", [])):
        if isinstance(shown, dict):
            shown = shown.get("text") if shown.get("role") == "user" else None
        if isinstance(shown, str):
            yield shown
