"""What was decided on each reply, and the accepted rows, found again by what they are
near-duplicates of.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from common.asking.database import Database
from preprocess.duplicates import PERMUTATIONS
from preprocess.teacher.proof import Verdict

SCHEMA = """
CREATE TABLE IF NOT EXISTS verdicts (id INTEGER PRIMARY KEY, key BLOB UNIQUE, job TEXT,
    category TEXT, reason TEXT, question TEXT, text TEXT, scores TEXT, row TEXT, signed BLOB);
CREATE TABLE IF NOT EXISTS bands (band INTEGER, verdict INTEGER, PRIMARY KEY (band, verdict))
    WITHOUT ROWID;
"""


@dataclass(frozen=True)
class Decided:
    """What a stored verdict says.

    Args:
        reason: Why the reply was rejected; None where it was accepted.
        question: The first user turn of the draft.
        text: What the reply said, where it was rejected.
    """

    reason: str | None
    question: str
    text: str


class Verdicts:
    """The verdicts in a database that was opened with SCHEMA."""

    def __init__(self, database: Database):
        self.database = database

    def find(self, key: bytes) -> Decided | None:
        """What was decided on the reply of a key; None where nothing was yet."""
        found = "SELECT reason, question, text FROM verdicts WHERE key = ?"
        row = self.database.read(found, (key,)).fetchone()
        return Decided(*row) if row else None

    async def keep(
        self, key: bytes, job: str, category: str, verdict: Verdict, scores: str
    ) -> Decided:
        """Keep a verdict, and the scores that a judge gave.

        A reply that is decided again has its new verdict alone.
        """
        accepted = verdict.reason is None
        decided = Decided(verdict.reason, verdict.question, "" if accepted else verdict.text)
        row = verdict.row if accepted else ""
        values = (key, job, category, decided.reason, decided.question, decided.text, scores, row)
        number = self.database.write(
            "INSERT OR REPLACE INTO verdicts"
            " (key, job, category, reason, question, text, scores, row, signed)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (*values, verdict.signatures),
        )
        if accepted:
            for band in verdict.bands:
                self.database.write("INSERT INTO bands VALUES (?, ?)", (band, number))
        await self.database.written()
        return decided

    def twin(self, job: str, verdict: Verdict, threshold: float) -> str | None:
        """The accepted row of another job that the verdict's row is a near-duplicate of."""
        places = ", ".join("?" * len(verdict.bands))
        shares_a_band = f"SELECT verdict FROM bands WHERE band IN ({places})"
        sql = f"SELECT job, signed FROM verdicts WHERE id IN ({shares_a_band})"
        mine = _signatures(verdict.signatures)
        for other, signed in self.database.read(sql, verdict.bands):
            theirs = _signatures(signed)
            both = min(len(mine), len(theirs))  # the last is that of the reasoning
            alike = (mine[-both:] == theirs[-both:]).mean(axis=1)
            if other != job and alike.max() >= threshold:
                return other
        return None

    def accepted(self, category: str) -> Iterator[str]:
        """The newest accepted row of each job, as it was kept, in the order of the jobs."""
        newest = (
            "SELECT row, max(id) FROM verdicts WHERE category = ? AND reason IS NULL"
            " GROUP BY job ORDER BY job"
        )
        for row, _ in self.database.read(newest, (category,)):
            yield row


def _signatures(signed: bytes) -> np.ndarray:
    """uint32 (signatures, PERMUTATIONS)."""
    return np.frombuffer(signed, np.uint32).reshape(-1, PERMUTATIONS)
