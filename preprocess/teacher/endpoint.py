"""One OpenAI-compatible endpoint: how a request is paid for, when it is sent again, and how many are under way.

Retries are ours (the SDK's are off), because what failed decides what it may have cost: a request that was turned away (429, 503,
no connection) costs nothing; one that may have been worked on (500, timeout, a connection lost half-way) stays charged its worst
case. The worst case of a prompt is its bytes, which no byte-level tokenizer exceeds, and `max_tokens` of reply.
"""

import asyncio
import hashlib
import json
import os
import random
import time
from contextlib import suppress
from email.utils import parsedate_to_datetime
from functools import cache

import openai
from httpx2 import Response
from pydantic import BaseModel

from preprocess.mix import MixError
from preprocess.teacher import plan
from preprocess.teacher.store import Store

TRIES, TURNED_AWAY = 6, 40  # of one request: after failures; after 429 and 503
IN_A_ROW = 5  # requests given up one after the other before a run stops
BUSY = (429, 503, 529)
LONGEST_WAIT = 600  # seconds
OVERHEAD, IMAGE = 1_000, 5_000  # tokens a template may add to a prompt; most tokens of one image


class GaveUp(Exception):
    """This request got no reply; the next run asks again."""


class Unpaid(Exception):
    """The reply is not in the store, and nothing is to be paid for."""


class Stop(Exception):
    """The run cannot go on; what is stored stays."""


class Limiter:
    """How many requests may be under way: one more after each full round of replies, half as many after a 429."""

    def __init__(self, most: int):
        self.most, self.limit, self.active, self.until = most, float(most), 0, 0.0
        self.room = asyncio.Event()

    async def __aenter__(self):
        while (wait := self.until - time.monotonic()) > 0 or self.active >= int(self.limit):
            if wait > 0:
                await asyncio.sleep(wait)
            else:
                self.room.clear()
                await self.room.wait()
        self.active += 1

    async def __aexit__(self, *_):
        self.active -= 1
        self.room.set()

    def replied(self) -> None:
        self.limit = min(self.most, self.limit + 1 / self.limit)

    def turned_away(self, seconds: float) -> None:
        now = time.monotonic()
        if now >= self.until:  # the others of the same storm say nothing new
            self.limit = max(1.0, self.limit / 2)
        self.until = max(self.until, now + seconds)


class Endpoint:
    def __init__(self, of: plan.Endpoint, role: str, settings: plan.Settings, offline: bool):
        """Raises MixError where the environment lacks the key."""
        self.of, self.role, self.settings, self.offline = of, role, settings, offline
        self.store: Store  # set once everything else is known to be in order
        key = os.environ.get(of.key_env) if of.key_env else "none"
        if not key and not offline:
            raise MixError(f"teacher.yaml: {role}: set the environment variable {of.key_env} to the key of {of.name}")
        self.key, self.limiter, self.failures = key or "none", Limiter(settings.concurrency), 0
        self.asking: dict[bytes, asyncio.Event] = {}
        about = {"base_url": of.url, "api_key": self.key, "max_retries": 0, "timeout": settings.timeout_seconds}
        # A connection pool looks at each of its idle connections for every request: several small pools cost less.
        self.clients = [openai.AsyncOpenAI(**about) for _ in range(1 + settings.concurrency // 8)]
        self.picodollars = round(of.dollars_in * 10**6), round(of.dollars_out * 10**6)  # a token

    def body(self, messages: list[dict], schema: type[BaseModel] | None, longer: bool = False) -> dict:
        body = {"model": self.of.model, "messages": messages, "max_tokens": self.of.max_tokens * (1 + longer)}
        if schema and self.of.structured == "json_object":
            body["response_format"] = {"type": "json_object"}
        elif schema and self.of.structured == "json_schema":
            body["response_format"] = {"type": "json_schema", "json_schema": _schema(schema)}
        return body | self.of.parameters

    def worst(self, body: dict) -> tuple[int, int]:
        """(picodollars, tokens) that a request can cost at most."""
        pictures = [p for m in body["messages"] if isinstance(m["content"], list) for p in m["content"] if "image_url" in p]
        size = len(json.dumps(body)) - sum(len(picture["image_url"]["url"]) for picture in pictures)
        tokens, replies = size + OVERHEAD + IMAGE * len(pictures), body["max_tokens"] * body.get("n", 1)
        return self.price(tokens, replies), tokens + replies

    def price(self, tokens_in: int, tokens_out: int) -> int:
        return tokens_in * self.picodollars[0] + tokens_out * self.picodollars[1]

    async def ask(self, body: dict, version: int, category: str, job: str) -> tuple[bytes, str]:
        """(key, body of the reply as it came), from the store or paid for.

        Raises GaveUp, Stop, CapReached, or Unpaid.
        """
        key = hashlib.sha256(f"{version}\n{json.dumps(body, sort_keys=True)}".encode()).digest()
        while key in self.asking:  # two rows alike may be judged at once
            await self.asking[key].wait()
        if (stored := self.store.body(key)) is not None:
            return key, stored
        if self.offline:
            raise Unpaid
        self.asking[key] = asyncio.Event()
        try:
            return key, await self._pay(key, body, category, job)
        finally:
            self.asking.pop(key).set()

    async def _pay(self, key: bytes, body: dict, category: str, job: str) -> str:
        """Send until a reply is in the store, and give it. Raises what `ask` raises."""
        failed = away = 0
        while True:
            async with self.limiter:
                problem, free, wait, text = await self._send(key, body, category, job)
            if problem is None:
                self.failures = 0
                return text
            busy = free and problem.startswith("HTTP")
            failed, away = failed + (not busy), away + busy
            if failed >= TRIES or away >= TURNED_AWAY:
                self._gave_up(problem)
            backoff = self.settings.backoff_seconds * 2 ** min(failed + away - 1, 6)
            wait = min(backoff * random.uniform(0.5, 1.5), LONGEST_WAIT) if wait is None else wait
            if busy:
                self.limiter.turned_away(wait)
            await asyncio.sleep(wait)

    async def _send(self, key: bytes, body: dict, category: str, job: str) -> tuple[str | None, bool, float | None, str]:
        """One call: (what went wrong or None, whether it cost nothing, seconds the endpoint asks to wait, the reply)."""
        call, started, wait = await self.store.reserve(category, self.role, *self.worst(body)), time.monotonic(), None
        try:
            response = await random.choice(self.clients).post("/chat/completions", body=body, cast_to=Response)
        except openai.APIStatusError as error:
            status, wait = error.status_code, _retry_after(error.response.headers.get("retry-after"))
            problem, text = f"HTTP {status}", " ".join(error.response.text.split())[:200].replace(self.key, "[key]")
            free = status in BUSY or 400 <= status < 500 and status != 408
        except openai.APIConnectionError as error:  # timeouts among them
            status, problem, text = 0, type(error.__cause__ or error).__name__, ""
            free = problem in ("ConnectError", "ConnectTimeout", "PoolTimeout")
        else:
            usage = _usage(response.text)  # None: nobody told what it cost
            charge, seconds = usage and (self.price(*usage), *usage), time.monotonic() - started
            self.store.settle(call, "reply", seconds, charge, (key, job, self.role, json.dumps(usage), response.text))
            self.limiter.replied()
            return None, False, None, response.text
        self.store.settle(call, problem, time.monotonic() - started, (0, 0, 0) if free else None)
        if status in (401, 402, 403, 404):
            raise Stop(f"{self.of.url}: {problem}: {text}; look at url, model and {self.of.key_env} in teacher.yaml")
        if free and status and status not in BUSY:
            self._gave_up(f"{problem}: {text}")
        return problem, free, wait, ""

    def _gave_up(self, problem: str) -> None:
        self.failures += 1
        if self.failures >= IN_A_ROW:
            raise Stop(f"{self.of.url}: {self.failures} requests in a row failed, the last with: {problem}")
        raise GaveUp(problem.partition(":")[0])


@cache
def _schema(of: type[BaseModel]) -> dict:
    return {"name": of.__name__, "strict": True, "schema": of.model_json_schema()}


def _usage(body: str) -> tuple[int, int] | None:
    """(tokens in, tokens out) of a reply; some endpoints leave reasoning out of `completion_tokens`, not of the total."""
    with suppress(ValueError, KeyError, TypeError):
        usage = json.loads(body)["usage"]
        tokens_in, out = int(usage["prompt_tokens"]), int(usage["completion_tokens"])
        return tokens_in, max(out, int(usage.get("total_tokens") or 0) - tokens_in)
    return None


def _retry_after(value: str | None) -> float | None:
    """Seconds, from seconds or from a date."""
    for read in (float, lambda text: parsedate_to_datetime(text).timestamp() - time.time()):
        with suppress(ValueError, TypeError):
            return min(max(read(value), 0.0), LONGEST_WAIT)
    return None
