"""What the members outside have cost today, in Redis: a restart forgets nothing."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime

import redis.asyncio

from common.triad import Member

KEPT_SECONDS = 3 * 86_400
BYTES_A_TOKEN = 2  # fewer than any text has: what is held back is never too little


class OverBudget(Exception):
    """A member's reply could cost more than is left of its day."""


def tokens_at_most(value: object) -> float:
    """More tokens than messages or a text can have."""
    return len(json.dumps(value, ensure_ascii=False).encode()) / BYTES_A_TOKEN


def dollars(member: Member, tokens_in: float, tokens_out: float) -> float:
    """What a reply costs."""
    return (tokens_in * member.dollars_in + tokens_out * member.dollars_out) / 1e6


class Budgets:
    """The purses of the members, one a day each (UTC).

    The most that a reply can cost is held back before it is asked for, and what it did not cost is
    given back: replies at the same moment cannot spend the same dollar, and a proxy that is killed
    in between has spent too much on paper, never too little.
    """

    def __init__(self, url: str):
        self.redis = redis.asyncio.from_url(url, socket_timeout=5, socket_connect_timeout=5)

    async def hold(self, id_: str, member: Member, most: float) -> str:
        """Hold back `most` dollars; the purse they come from. Raises OverBudget and RedisError."""
        day = member.dollars_a_day or 0
        if most > day:  # so large a number, added and taken away, would round what is spent to 0
            raise OverBudget
        purse = f"triad:dollars:{id_}:{datetime.now(UTC).date()}"
        spent = await self.redis.incrbyfloat(purse, most)
        await self.redis.expire(purse, KEPT_SECONDS)
        if spent > day:
            await self.give_back(purse, most)
            raise OverBudget
        return purse

    async def give_back(self, purse: str, rest: float) -> None:
        """Return what was held back and not spent; where Redis is gone, it stays spent."""
        with contextlib.suppress(redis.RedisError):
            await self.redis.incrbyfloat(purse, -rest)
