"""When a request is sent again, and when nobody should go on.

Retries are ours and not Inspect's or an SDK's, because what failed decides what it may have cost: a
request that was turned away (429, 503, no connection) costs nothing; one that may have been worked
on (500, a timeout, a connection lost half-way) may have to be paid.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TypeVar

Result = TypeVar("Result")

TRIES = 6  # of one request, where it fails
TRIES_TURNED_AWAY = 40  # of one request, where the endpoint is too busy for it
GIVEN_UP_IN_A_ROW = 5  # requests, before nothing more is asked
BUSY = (429, 503, 529)
WRONG_ADDRESS = (
    401,
    402,
    403,
    404,
)  # key, credit, rights, path: no request of this endpoint can succeed
LONGEST_WAIT = 600.0  # seconds
DOUBLINGS = 6  # of the wait between two tries


class NoReply(Exception):
    """There is no reply to this request; it may be asked again later."""


class Stop(Exception):
    """Nothing more can be asked, for the reason in the text; what is stored stays."""


class Failure(Exception):
    """One attempt that brought no reply.

    Args:
        problem: Its short name, such as "HTTP 429".
        detail: What the endpoint or the network said.
        status: The HTTP status, where one came.
        free: Whether it is certain that the attempt cost nothing.
        wait: Seconds that the endpoint asks to wait.
    """

    def __init__(
        self,
        problem: str,
        detail: str = "",
        status: int | None = None,
        free: bool = False,
        wait: float | None = None,
    ):
        super().__init__(problem)
        self.problem = problem
        self.detail = detail
        self.status = status
        self.free = free
        self.wait = wait


@dataclass
class Retries:
    """The retries of all requests to one endpoint.

    Args:
        url: The endpoint, for messages.
        mend: What a person should look at when the endpoint cannot be used.
        backoff_seconds: The first wait after a failure; it doubles.
    """

    url: str
    mend: str
    backoff_seconds: float
    heard: bool = False  # whether the endpoint ever said anything
    given_up: int = 0  # requests in a row
    pause_until: float = 0.0  # monotonic seconds; the endpoint wants nothing before

    async def run(self, attempt: Callable[[], Awaitable[Result]]) -> Result:
        """What `attempt` returns, called again after each Failure that may pass.

        Raises NoReply or Stop.
        """
        failed = 0
        turned_away = 0
        while True:
            await self._pause()
            try:
                result = await attempt()
            except Failure as failure:
                self._refuse_the_hopeless(failure)
                busy = failure.status in BUSY
                if busy:
                    turned_away += 1
                else:
                    failed += 1
                if failed >= TRIES or turned_away >= TRIES_TURNED_AWAY:
                    self._give_up(failure)
                wait = self._wait(failure, failed + turned_away)
                if busy:
                    self.pause_until = max(self.pause_until, time.monotonic() + wait)
                await asyncio.sleep(wait)
            else:
                self.heard = True
                self.given_up = 0
                return result

    async def _pause(self) -> None:
        while (left := self.pause_until - time.monotonic()) > 0:
            await asyncio.sleep(left)

    def _refuse_the_hopeless(self, failure: Failure) -> None:
        """Raise Stop or NoReply where another try cannot help."""
        if failure.status in WRONG_ADDRESS:
            raise Stop(f"{self.url}: {failure.problem}: {failure.detail}; look at {self.mend}")
        if failure.free and failure.status is None and not self.heard:
            raise Stop(f"{self.url}: {failure.detail}; start it, or look at {self.mend}")
        self.heard = True
        if failure.free and failure.status is not None and failure.status not in BUSY:
            self._give_up(failure)

    def _give_up(self, failure: Failure) -> None:
        self.given_up += 1
        if self.given_up >= GIVEN_UP_IN_A_ROW:
            raise Stop(
                f"{self.url}: {self.given_up} requests in a row failed, the last with: "
                f"{failure.problem}: {failure.detail}"
            )
        raise NoReply(failure.problem)

    def _wait(self, failure: Failure, tries: int) -> float:
        """Seconds until the next try."""
        if failure.wait is not None:
            return failure.wait
        backoff = self.backoff_seconds * 2 ** min(tries - 1, DOUBLINGS)
        return min(backoff * random.uniform(0.5, 1.5), LONGEST_WAIT)


def seconds_of(retry_after: str | None) -> float | None:
    """Seconds that a Retry-After header asks to wait, given in seconds or as a date;

    None where it says nothing.
    """
    if retry_after is None:
        return None
    seconds = None
    with suppress(ValueError):
        seconds = float(retry_after)
    if seconds is None:
        with suppress(ValueError, TypeError):
            seconds = parsedate_to_datetime(retry_after).timestamp() - time.time()
    return None if seconds is None else min(max(seconds, 0.0), LONGEST_WAIT)
