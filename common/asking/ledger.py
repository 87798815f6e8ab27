"""What was asked and what it cost: a call is charged its worst case before it is sent and its exact
cost after it.

So the sum is never less than what was spent, and a call that a killed process left open stays
charged. Money is in picodollars, whole numbers: a dollar a million tokens is a million picodollars
a token.
"""

import asyncio
from dataclasses import dataclass

from common.asking.database import Database
from common.asking.retries import Stop

PICODOLLARS = 10**12  # in a dollar
SCHEMA = """
CREATE TABLE IF NOT EXISTS calls (id INTEGER PRIMARY KEY, category TEXT, role TEXT,
    picodollars INTEGER, tokens INTEGER, outcome TEXT);
UPDATE calls SET outcome = 'lost in flight' WHERE outcome IS NULL;
"""


@dataclass(frozen=True)
class Charge:
    """What a call costs, or may cost at most."""

    picodollars: int
    tokens: int  # of prompt and reply


NOTHING = Charge(0, 0)


class Ledger:
    """The bill of all runs on one store, and its caps.

    Args:
        database: Opened with SCHEMA.
        cap_dollars: The most that may be spent over the life of the store.
        cap_tokens: The most tokens, likewise.
        caps_stand_in: Where a person finds the caps, for messages.
    """

    def __init__(self, database: Database, cap_dollars: float, cap_tokens: int, caps_stand_in: str):
        self.database = database
        self.cap = round(cap_dollars * PICODOLLARS)
        self.cap_tokens = cap_tokens
        self.caps_stand_in = caps_stand_in
        self._open: dict[int, Charge] = {}  # calls in flight, and the worst case each is charged
        self._settled = asyncio.Event()
        sums = "SELECT coalesce(sum(picodollars), 0), coalesce(sum(tokens), 0) FROM calls"
        self.spent, self.tokens = database.read(sums).fetchone()

    @property
    def dollars(self) -> float:
        """Spent until now, calls in flight at their worst case."""
        return self.spent / PICODOLLARS

    async def reserve(self, category: str, role: str, worst: Charge) -> int:
        """Charge the worst case of a call, on disk, and return its number.

        Waits while calls in flight may free enough of the cap. Raises Stop where they cannot.
        """
        while not self._has_room(worst):
            if not self._open:
                raise Stop(
                    f"the cap of ${self.cap / PICODOLLARS:g} or {self.cap_tokens:,} tokens in "
                    f"{self.caps_stand_in} is reached: the next request could pass it"
                )
            self._settled.clear()
            await self._settled.wait()
        call = self.database.write(
            "INSERT INTO calls (category, role, picodollars, tokens) VALUES (?, ?, ?, ?)",
            (category, role, worst.picodollars, worst.tokens),
        )
        self._open[call] = worst
        self.spent += worst.picodollars
        self.tokens += worst.tokens
        await self.database.written()
        return call

    async def settle(self, call: int, outcome: str, exact: Charge | None) -> None:
        """End a call at its exact cost; None where nobody told it, and the worst case stays
        charged.

        What was written to the database just before, such as the reply, is on disk together with it
        or not at all.
        """
        worst = self._open[call]
        charged = worst if exact is None else exact
        self.database.write(
            "UPDATE calls SET outcome = ?, picodollars = ?, tokens = ? WHERE id = ?",
            (outcome, charged.picodollars, charged.tokens, call),
        )
        await self.database.written()
        del self._open[call]
        self.spent += charged.picodollars - worst.picodollars
        self.tokens += charged.tokens - worst.tokens
        self._settled.set()

    def outcomes(self) -> dict[str, int]:
        """How many calls ended how, over the life of the store."""
        counts = "SELECT coalesce(outcome, 'in flight'), count(*) FROM calls GROUP BY outcome"
        return dict(self.database.read(counts))

    def _has_room(self, worst: Charge) -> bool:
        dollars_fit = self.spent + worst.picodollars <= self.cap
        tokens_fit = self.tokens + worst.tokens <= self.cap_tokens
        return dollars_fit and tokens_fit
