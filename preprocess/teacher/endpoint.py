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
from urllib.request import getproxies, proxy_bypass

import aiohttp
import httpx2
import openai
from pydantic import BaseModel

from preprocess.mix import MixError
from preprocess.teacher import plan
from preprocess.teacher.store import Stop, Store

TRIES, TURNED_AWAY = 6, 40  # of one request: after failures; after 429 and 503
IN_A_ROW = 5  # requests given up one after the other before a run stops
BUSY = (429, 503, 529)
LONGEST_WAIT = 600  # seconds
OVERHEAD, IMAGE = 1_000, 5_000  # tokens a template may add to a prompt; most tokens of one image


class NoReply(Exception):
    """There is no reply to this request; the next run asks again."""


class _Wire(httpx2.AsyncBaseTransport):
    """aiohttp under the SDK: less than half of what a request costs in CPU time, and one timeout over all of it."""

    def __init__(self, seconds: float):
        self.seconds, self.session = seconds, None

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        if (
            self.session is None
        ):  # which wants a running loop; to let it look for a proxy costs two threads a request
            proxy = None if proxy_bypass(request.url.host) else getproxies().get(request.url.scheme)
            connector = aiohttp.TCPConnector(limit=0, ssl=httpx2.create_ssl_context())
            self.session = aiohttp.ClientSession(
                connector=connector, timeout=aiohttp.ClientTimeout(total=self.seconds), proxy=proxy
            )
        headers = {
            name: request.headers[name] for name in ("authorization", "content-type", "user-agent")
        }
        async with self.session.post(
            str(request.url), data=request.content, headers=headers
        ) as reply:
            told = {
                name: reply.headers[name]
                for name in ("content-type", "retry-after")
                if name in reply.headers
            }
            return httpx2.Response(
                reply.status, headers=told, content=await reply.read(), request=request
            )

    async def aclose(self) -> None:
        if self.session:
            await self.session.close()


class Endpoint:
    def __init__(self, of: plan.Endpoint, role: str, settings: plan.Settings, offline: bool):
        """Raises MixError where the environment lacks the key."""
        self.of, self.role, self.settings, self.offline = of, role, settings, offline
        self.store: Store  # set once everything else is known to be in order
        self.key = (os.environ.get(of.key_env) if of.key_env else "") or "no-key"
        if of.key_env and self.key == "no-key" and not offline:
            raise MixError(
                f"teacher.yaml: {role}: set the environment variable {of.key_env} to the key of {of.name}"
            )
        wire = httpx2.AsyncClient(transport=_Wire(settings.timeout_seconds))
        self.client = openai.AsyncOpenAI(
            base_url=of.url, api_key=self.key, max_retries=0, http_client=wire
        )
        self.asking: dict[bytes, asyncio.Task] = {}
        self.heard = False  # of the endpoint, in this run
        self.picodollars = round(of.dollars_in * 10**6), round(of.dollars_out * 10**6)  # a token
        # How many may be under way: one more after each full round of replies, half as many after a 429.
        self.active, self.limit, self.until, self.failures = 0, float(settings.concurrency), 0.0, 0

    def body(
        self, messages: list[dict], schema: type[BaseModel] | None, longer: bool = False
    ) -> dict:
        body = {
            "model": self.of.model,
            "messages": messages,
            "max_tokens": self.of.max_tokens * (1 + longer),
        }
        if schema and (kind := self.of.structured) != "none":
            body["response_format"] = {"type": kind} | (
                {"json_schema": _schema(schema)} if kind == "json_schema" else {}
            )
        return body | self.of.parameters

    def price(self, tokens_in: float, tokens_out: float) -> float:
        """Picodollars."""
        return tokens_in * self.picodollars[0] + tokens_out * self.picodollars[1]

    async def ask(self, body: dict, version: int, category: str) -> tuple[bytes, str]:
        """(key, body of the reply as it came), from the store or paid for. Raises NoReply or Stop."""
        sent = json.dumps(body, sort_keys=True)
        key = hashlib.sha256(f"{version}\n{sent}".encode()).digest()
        if key not in self.asking:  # two rows alike may be judged at once
            if (stored := self.store.body(key)) is not None:
                return key, stored
            if self.offline:
                raise NoReply("not asked yet")
            self.asking[key] = asyncio.create_task(
                self._pay(key, sent, self._worst(body, len(sent)), category)
            )
            self.asking[key].add_done_callback(lambda _: self.asking.pop(key))
        return key, await asyncio.shield(self.asking[key])

    def _worst(self, body: dict, size: int) -> tuple[int, int]:
        """(picodollars, tokens) that a request of so many bytes can cost at most."""
        pictures = [
            p
            for m in body["messages"]
            if isinstance(m["content"], list)
            for p in m["content"]
            if "image_url" in p
        ]
        tokens = (
            size
            - sum(len(p["image_url"]["url"]) for p in pictures)
            + OVERHEAD
            + IMAGE * len(pictures)
        )
        replies = body["max_tokens"] * body.get("n", 1)
        return self.price(tokens, replies), tokens + replies

    async def _pay(self, key: bytes, sent: str, worst: tuple[int, int], category: str) -> str:
        """Send until a reply is in the store, and give it. Raises what `ask` raises."""
        failed = away = 0
        while True:
            while self.active >= int(self.limit) or time.monotonic() < self.until:
                await asyncio.sleep(max(self.until - time.monotonic(), 0.01))
            self.active += 1
            try:
                problem, free, wait, text = await self._send(key, sent, worst, category)
            finally:
                self.active -= 1
            if problem is None:
                self.failures, self.limit = (
                    0,
                    min(self.settings.concurrency, self.limit + 1 / self.limit),
                )
                return text
            busy = free and problem.startswith("HTTP")
            failed, away = failed + (not busy), away + busy
            if failed >= TRIES or away >= TURNED_AWAY:
                self._gave_up(problem)
            backoff = self.settings.backoff_seconds * 2 ** min(failed + away - 1, 6)
            wait = min(backoff * random.uniform(0.5, 1.5), LONGEST_WAIT) if wait is None else wait
            if busy:
                if time.monotonic() >= self.until:  # the others of the same storm say nothing new
                    self.limit = max(1.0, self.limit / 2)
                self.until = max(self.until, time.monotonic() + wait)
            await asyncio.sleep(wait)

    async def _send(
        self, key: bytes, sent: str, worst: tuple, category: str
    ) -> tuple[str | None, bool, float | None, str]:
        """One call: (what went wrong or None, whether it cost nothing, seconds the endpoint asks to wait, the reply)."""
        call, wait, status = await self.store.reserve(category, self.role, *worst), None, 0
        options = {"headers": {"Content-Type": "application/json"}, "idempotency_key": key.hex()}
        try:
            response = await self.client.post(
                "/chat/completions", content=sent.encode(), cast_to=httpx2.Response, options=options
            )
        except openai.APIStatusError as error:
            status, wait = (
                error.status_code,
                _retry_after(error.response.headers.get("retry-after")),
            )
            problem, text = (
                f"HTTP {status}",
                " ".join(error.response.text.split())[:200].replace(self.key, "[key]"),
            )
            free = status in BUSY or 400 <= status < 500 and status != 408
        except (aiohttp.ClientError, TimeoutError) as error:
            problem, text, free = (
                type(error).__name__,
                str(error),
                isinstance(error, aiohttp.ClientConnectorError),
            )
        else:
            usage = _usage(response.text)  # None: nobody told what it cost
            await self.store.settle(
                call, "reply", usage and (self.price(*usage), *usage), (key, response.text)
            )
            self.heard = True
            return None, False, None, response.text
        await self.store.settle(call, problem, (0, 0, 0) if free else None)
        if status in (401, 402, 403, 404):
            raise Stop(
                f"{self.of.url}: {problem}: {text}; look at url, model and key_env of {self.role} in teacher.yaml"
            )
        if free and not status and not self.heard:
            raise Stop(
                f"{self.of.url}: {text}; start it, or look at url of {self.role} in teacher.yaml"
            )
        self.heard = True
        if free and status and status not in BUSY:
            self._gave_up(f"{problem}: {text}")
        return problem, free, wait, ""

    def _gave_up(self, problem: str) -> None:
        self.failures += 1
        if self.failures >= IN_A_ROW:
            raise Stop(
                f"{self.of.url}: {self.failures} requests in a row failed, the last with: {problem}"
            )
        raise NoReply(problem.partition(":")[0])


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
