"""What was asked, paid for and decided: one SQLite file that survives a kill at any moment.

`calls` is the ledger: a call is charged its worst case before it is sent and its exact cost after it, so the sum is never less than
what was spent; a call that a killed process left open stays charged. `replies` holds every body as it came, before anything looks
at it. WAL with synchronous=NORMAL: a kill loses nothing that was committed; a power cut may lose the last moments. Money is in
picodollars, whole numbers.

A commit costs the same for one row as for fifty: what is written within a few milliseconds is committed together, and each writer
goes on only after its commit.
"""

import asyncio
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from preprocess.gates import PERMUTATIONS
from preprocess.mix import MixError

DOLLAR = 10**12  # picodollars
GATHER = 0.005  # seconds of writes in one commit
_SCHEMA = """
PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA cache_size = -32000;
PRAGMA wal_autocheckpoint = 8000;
CREATE TABLE IF NOT EXISTS calls (id INTEGER PRIMARY KEY, category TEXT, role TEXT, picodollars INTEGER, tokens INTEGER,
    outcome TEXT);
CREATE TABLE IF NOT EXISTS replies (key BLOB PRIMARY KEY, call INTEGER, body TEXT);
CREATE TABLE IF NOT EXISTS verdicts (id INTEGER PRIMARY KEY, key BLOB UNIQUE, job TEXT, category TEXT, reason TEXT,
    question TEXT, text TEXT, scores TEXT, row TEXT, signed BLOB);
CREATE TABLE IF NOT EXISTS bands (band INTEGER, verdict INTEGER, PRIMARY KEY (band, verdict)) WITHOUT ROWID;
UPDATE calls SET outcome = 'lost in flight' WHERE outcome IS NULL;
"""


class Stop(Exception):
    """The run cannot go on; what is stored stays."""


class Store:
    def __init__(self, path: Path, cap_dollars: float, cap_tokens: int):
        """Open or create the store; raises MixError when another run has it open or it is no store."""
        self.path, self.cap, self.cap_tokens = path, round(cap_dollars * DOLLAR), cap_tokens
        self.open: dict[
            int, tuple[int, int]
        ] = {}  # calls in flight: (picodollars, tokens) each is charged
        self.settled = asyncio.Event()
        self.committed: asyncio.Future | None = None  # of the transaction that is being filled
        try:
            self.db = sqlite3.connect(path, timeout=2, isolation_level=None)
            self.db.executescript(_SCHEMA)
        except sqlite3.DatabaseError as error:
            hint = (
                "another run has it open; wait for it"
                if "locked" in str(error)
                else f"{error}; move it away to start anew"
            )
            hint = f"{error}; make room" if "full" in str(error) else hint
            raise MixError(f"{path}: {hint}") from None
        sums = "SELECT coalesce(sum(picodollars), 0), coalesce(sum(tokens), 0) FROM calls"
        self.spent, self.tokens = self.db.execute(sums).fetchone()

    def _begin(self) -> asyncio.Future:
        """Done when what is written from here to the caller's next await is on disk. Raises sqlite3.Error, then or now."""
        if self.committed is None:
            self.db.execute("BEGIN")
            self.committed = asyncio.get_running_loop().create_future()
            asyncio.get_running_loop().call_later(GATHER, self._commit)
        return asyncio.shield(self.committed)  # one of many waiters may be cancelled

    def _commit(self) -> None:
        committed, self.committed = self.committed, None
        try:
            self.db.execute("COMMIT")
        except sqlite3.Error as error:
            if self.db.in_transaction:
                self.db.execute("ROLLBACK")
            committed.set_exception(error)
        else:
            committed.set_result(None)

    async def reserve(self, category: str, role: str, picodollars: int, tokens: int) -> int:
        """Charge the worst case of a call, on disk, and give its number; waits while calls in flight may free enough.

        Raises Stop.
        """
        while self.spent + picodollars > self.cap or self.tokens + tokens > self.cap_tokens:
            if not self.open:
                cap = f"${self.cap / DOLLAR:g} or {self.cap_tokens:,} tokens"
                raise Stop(
                    f"the cap of {cap} in teacher.yaml is reached: the next request could pass it"
                )
            self.settled.clear()
            await self.settled.wait()
        done, row = self._begin(), (category, role, picodollars, tokens)
        call = self.db.execute(
            "INSERT INTO calls (category, role, picodollars, tokens) VALUES (?, ?, ?, ?)", row
        ).lastrowid
        self.open[call] = picodollars, tokens
        self.spent, self.tokens = self.spent + picodollars, self.tokens + tokens
        await done
        return call

    async def settle(
        self, call: int, outcome: str, charge: tuple | None, reply: tuple | None = None
    ) -> None:
        """End a call and keep its reply, (key, body), in one step.

        `charge`: exact (picodollars, tokens in, tokens out); None where nobody told, and the worst case stays charged.
        """
        worst, tokens = self.open[call]
        exact, into, out = charge or (worst, tokens, 0)
        done, row = self._begin(), (outcome, exact, into + out, call)
        self.db.execute(
            "UPDATE calls SET outcome = ?, picodollars = ?, tokens = ? WHERE id = ?", row
        )
        if reply:
            self.db.execute("INSERT INTO replies VALUES (?, ?, ?)", (reply[0], call, reply[1]))
        await done
        del self.open[call]
        self.spent, self.tokens = self.spent + exact - worst, self.tokens + into + out - tokens
        self.settled.set()

    def body(self, key: bytes) -> str | None:
        found = self.db.execute("SELECT body FROM replies WHERE key = ?", (key,)).fetchone()
        return found[0] if found else None

    def verdict(self, key: bytes) -> tuple[str | None, str, str] | None:
        """(reason or None for accepted, the first question of the draft, its text) of a reply that was decided."""
        return self.db.execute(
            "SELECT reason, question, text FROM verdicts WHERE key = ?", (key,)
        ).fetchone()

    async def decide(self, key: bytes, job: str, category: str, verdict, scores: str) -> None:
        """Keep what was decided on a reply: a proof.Verdict, and the scores a judge gave."""
        of, accepted = verdict, verdict.reason is None
        row = (
            key,
            job,
            category,
            of.reason,
            of.question,
            *(("", scores, of.row) if accepted else (of.text, scores, "")),
            of.signed,
        )
        done = self._begin()
        number = self.db.execute(
            "INSERT OR REPLACE INTO verdicts (key, job, category, reason, question, text, scores, row, signed)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            row,
        ).lastrowid
        if accepted:
            self.db.executemany(
                "INSERT INTO bands VALUES (?, ?)", [(band, number) for band in of.bands]
            )
        await done

    def twin(self, job: str, signed: bytes, bands: tuple[int, ...], threshold: float) -> str | None:
        """The accepted row of another job that one of the signatures (PERMUTATIONS uint32 each) is a near-duplicate of."""
        found = self.db.execute(
            "SELECT job, signed FROM verdicts WHERE id IN"
            f" (SELECT verdict FROM bands WHERE band IN ({', '.join('?' * len(bands))}))",
            bands,
        )
        mine = np.frombuffer(signed, np.uint32).reshape(-1, PERMUTATIONS)
        for other, theirs in found:
            of = np.frombuffer(theirs, np.uint32).reshape(-1, PERMUTATIONS)
            both = min(len(mine), len(of))  # the last is that of the reasoning
            if other != job and (mine[-both:] == of[-both:]).mean(axis=1).max() >= threshold:
                return other
        return None

    def accepted(self, category: str) -> Iterator[str]:
        """The newest accepted row of each job, as it was kept, in the order of the jobs."""
        newest = "SELECT row, max(id) FROM verdicts WHERE category = ? AND reason IS NULL GROUP BY job ORDER BY job"
        return (row for row, _ in self.db.execute(newest, (category,)))

    def outcomes(self) -> dict[str, int]:
        return dict(
            self.db.execute(
                "SELECT coalesce(outcome, 'in flight'), count(*) FROM calls GROUP BY outcome ORDER BY outcome"
            )
        )
