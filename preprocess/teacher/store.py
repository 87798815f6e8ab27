"""What was asked, paid for and decided: one SQLite file that survives a kill at any moment.

`calls` is the ledger: a call is charged its worst case before it is sent and its exact cost after it, so the sum is never less than
what was spent; a call that a killed process left open stays charged. `replies` holds every body as it came, before anything looks
at it. `verdicts` can be computed again from them. WAL with synchronous=NORMAL: a kill loses no committed reply; a power cut may
lose the last moments. Money is in picodollars, whole numbers.
"""

import asyncio
import hashlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from preprocess.gates import BAND, PERMUTATIONS
from preprocess.mix import MixError

DOLLAR = 10**12  # picodollars
_SCHEMA = """
CREATE TABLE IF NOT EXISTS calls (id INTEGER PRIMARY KEY, category TEXT, role TEXT, outcome TEXT,
    picodollars INTEGER, tokens INTEGER, tokens_out INTEGER, seconds REAL);
CREATE TABLE IF NOT EXISTS replies (key BLOB PRIMARY KEY, job TEXT, role TEXT, picodollars INTEGER, usage TEXT, body TEXT);
CREATE TABLE IF NOT EXISTS verdicts (id INTEGER PRIMARY KEY, key BLOB UNIQUE, job TEXT, category TEXT, reason TEXT,
    question TEXT, scores TEXT, row TEXT, signed BLOB);
CREATE TABLE IF NOT EXISTS bands (band INTEGER, verdict INTEGER, PRIMARY KEY (band, verdict)) WITHOUT ROWID;
"""


class CapReached(Exception):
    """The next request could pass the cap, and nothing in flight can still free any of it."""


class Store:
    def __init__(self, path: Path, cap_dollars: float, cap_tokens: int):
        """Open or create the store; raises MixError when another run has it open or it is no store."""
        self.path, self.cap, self.cap_tokens = path, round(cap_dollars * DOLLAR), cap_tokens
        self.open: dict[int, tuple[int, int]] = {}  # calls in flight: (picodollars, tokens) each is charged
        self.settled = asyncio.Event()
        try:
            self.db = sqlite3.connect(path, timeout=2, isolation_level=None)
            for pragma in (
                "locking_mode=EXCLUSIVE",
                "journal_mode=WAL",
                "synchronous=NORMAL",
                "cache_size=-32000",
                "wal_autocheckpoint=8000",
            ):
                self.db.execute(f"PRAGMA {pragma}")
            self.db.executescript(_SCHEMA)
            lost = self.db.execute("UPDATE calls SET outcome = 'lost in flight' WHERE outcome IS NULL").rowcount
        except sqlite3.DatabaseError as error:
            hint = "another run has it open; wait for it" if "locked" in str(error) else f"{error}; move it away to start anew"
            raise MixError(f"{path}: {hint}") from None
        self.lost = lost
        self.spent, self.tokens = self.db.execute(
            "SELECT coalesce(sum(picodollars), 0), coalesce(sum(tokens), 0) FROM calls"
        ).fetchone()

    async def reserve(self, category: str, role: str, picodollars: int, tokens: int) -> int:
        """Charge the worst case of a call, on disk, and give its number; waits while calls in flight may free enough.

        Raises CapReached.
        """
        while self.spent + picodollars > self.cap or self.tokens + tokens > self.cap_tokens:
            if not self.open:
                raise CapReached
            self.settled.clear()
            await self.settled.wait()
        call = self.db.execute(
            "INSERT INTO calls (category, role, picodollars, tokens) VALUES (?, ?, ?, ?)", (category, role, picodollars, tokens)
        ).lastrowid
        self.open[call] = picodollars, tokens
        self.spent += picodollars
        self.tokens += tokens
        return call

    def settle(self, call: int, outcome: str, seconds: float, charge: tuple[int, int, int] | None, reply: tuple = ()) -> None:
        """End a call and keep its reply, (key, job, role, usage, body), in one step.

        `charge`: exact (picodollars, tokens in, tokens out); None where nobody told, and the worst case stays charged.
        """
        worst, tokens = self.open[call]
        exact = charge or (worst, tokens, 0)
        with self.db:
            self.db.execute("BEGIN")
            self.db.execute(
                "UPDATE calls SET outcome = ?, seconds = ?, picodollars = ?, tokens = ?, tokens_out = ? WHERE id = ?",
                (outcome, seconds, exact[0], exact[1] + exact[2], exact[2], call),
            )
            if reply:
                self.db.execute("INSERT INTO replies VALUES (?, ?, ?, ?, ?, ?)", (*reply[:3], exact[0], *reply[3:]))
        del self.open[call]
        self.spent += exact[0] - worst
        self.tokens += exact[1] + exact[2] - tokens
        self.settled.set()

    def body(self, key: bytes) -> str | None:
        found = self.db.execute("SELECT body FROM replies WHERE key = ?", (key,)).fetchone()
        return found[0] if found else None

    def verdict(self, key: bytes) -> tuple[str | None, str] | None:
        """(reason or None for accepted, the first question of the draft) of a reply that was decided."""
        return self.db.execute("SELECT reason, question FROM verdicts WHERE key = ?", (key,)).fetchone()

    def decide(
        self, key: bytes, job: str, category: str, reason: str | None, question: str, scores: str, row: str, signed: bytes
    ):
        with self.db:
            self.db.execute("BEGIN")
            self.db.execute(
                "DELETE FROM bands WHERE verdict = (SELECT id FROM verdicts WHERE key = ?)", (key,)
            ) if signed else None
            number = self.db.execute(
                "INSERT OR REPLACE INTO verdicts (key, job, category, reason, question, scores, row, signed)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (key, job, category, reason, question, scores, row, signed),
            ).lastrowid
            if reason is None:
                self.db.executemany("INSERT INTO bands VALUES (?, ?)", [(band, number) for band in _bands(signed)])

    def twin(self, job: str, signed: bytes, threshold: float) -> str | None:
        """The accepted row of another job that one of the signatures (PERMUTATIONS uint32 each) is a near-duplicate of."""
        bands = _bands(signed)
        marks = ", ".join("?" * len(bands))
        found = self.db.execute(
            "SELECT job, signed FROM verdicts WHERE reason IS NULL AND id IN"
            f" (SELECT DISTINCT verdict FROM bands WHERE band IN ({marks}))",
            bands,
        )
        mine = np.frombuffer(signed, np.uint32).reshape(-1, PERMUTATIONS)
        for other, theirs in found:
            of = np.frombuffer(theirs, np.uint32).reshape(-1, PERMUTATIONS)
            both = min(len(mine), len(of))
            if other != job and (mine[-both:] == of[-both:]).mean(axis=1).max() >= threshold:
                return other
        return None

    def accepted(self, category: str) -> Iterator[str]:
        """The newest accepted row of each job, as it was kept, in the order of the jobs."""
        newest = "SELECT row, max(id) FROM verdicts WHERE category = ? AND reason IS NULL GROUP BY job ORDER BY job"
        for row, _ in self.db.execute(newest, (category,)):
            yield row

    def measured(self, category: str, role: str) -> tuple[float, float] | None:
        """Mean (tokens out, seconds) of the replies so far."""
        found = self.db.execute(
            "SELECT avg(tokens_out), avg(seconds) FROM calls WHERE category = ? AND role = ? AND outcome = 'reply'",
            (category, role),
        ).fetchone()
        return found if found[0] else None

    def outcomes(self) -> dict[str, int]:
        return dict(self.db.execute("SELECT outcome, count(*) FROM calls GROUP BY outcome ORDER BY outcome"))


def _bands(signed: bytes) -> list[int]:
    """64-bit names of a row's bands: rows that share none are not compared. The last signature is that of the reasoning."""
    halves = [signed[at : at + 4 * PERMUTATIONS] for at in range(0, len(signed), 4 * PERMUTATIONS)]
    names = []
    for half, text in enumerate(reversed(halves)):
        for at in range(0, len(text), 4 * BAND):
            named = f"{half} {at} ".encode() + text[at : at + 4 * BAND]
            names.append(int.from_bytes(hashlib.blake2b(named, digest_size=8).digest(), signed=True))
    return names
