"""The one client of teacher, judge and evaluation: a model behind an address, asked through
Inspect.

Inspect brings the providers and adapts how many requests are under way at once: fewer after a 429,
more after clean rounds. Its retries and its SDKs' are off (see retries.py), so that one attempt is
one HTTP request.
"""

import asyncio
import math
import os
import time
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Literal

import httpx2
import openai
from inspect_ai.model import (
    ChatMessage,
    ContentReasoning,
    GenerateConfig,
    ModelOutput,
    get_model,
)
from inspect_ai.util import AdaptiveConcurrency
from tenacity import RetryError

from common.asking.retries import BUSY, Failure, Retries, seconds_of
from common.errors import AetherError, one_line

Provider = Literal["openai-api", "openai", "anthropic"]  # their SDKs' own retries can be set off
PACKAGES: dict[Provider, str] = {
    "openai-api": "openai",
    "openai": "openai",
    "anthropic": "anthropic",
}
COMPATIBLE: Provider = "openai-api"  # Inspect's name of any server that speaks as OpenAI does
# Between the starts of two requests of a client. What starts together comes back together, and each
# reply then waits for the CPU time of all others: 64 at once were 14 % slower.
GAP_SECONDS = 0.005
NOT_SENT = (
    httpx2.ConnectError,
    httpx2.ConnectTimeout,
    httpx2.PoolTimeout,
    httpx2.ProxyError,
    httpx2.UnsupportedProtocol,
    httpx2.InvalidURL,
)
_responses: ContextVar[list[httpx2.Response]] = ContextVar("responses")  # to this task's request


class AskingError(AetherError):
    """An endpoint, or the file of its replies, that cannot be used."""


@dataclass(frozen=True)
class Address:
    """A model, and where it answers.

    Args:
        url: For OpenAI-compatible servers it ends in /v1; empty for a provider's own address.
        model: The model's id there.
        key: The API key; "none" where the server wants none.
        provider: Inspect's name of the provider.
    """

    url: str
    model: str
    key: str = "none"
    provider: Provider = COMPATIBLE

    def __repr__(self) -> str:
        return f"{self.model} at {self.url or self.provider}"  # never the key


def key_of(variable: str | None, needed_by: str) -> str:
    """The API key in an environment variable;

    "none" where no variable is named. Raises AskingError if it is not set.
    """
    if not variable:
        return "none"
    key = os.environ.get(variable)
    if not key:
        raise AskingError(f"{needed_by}: set the environment variable {variable} to its key")
    return key


@dataclass(frozen=True)
class Reply:
    """What came back.

    Args:
        status: The HTTP status; not 200 where Inspect makes a reply of a refusal, such as a prompt
            that is too long.
        body: The body as it came; empty where the provider's SDK does not show it.
        output: What Inspect read in it; None where it is no reply that can be read.
    """

    status: int
    body: str
    output: ModelOutput | None


class Client:
    """A model that can be asked.

    Args:
        address: The model.
        mend: What a person should look at when it cannot be asked, such as "url in teacher.yaml".
        concurrency: The most requests under way at once.
        timeout_seconds: Of one attempt, from the first byte sent to the last one read.
        backoff_seconds: The first wait after a failure; it doubles.

    Raises:
        AskingError: The provider's package is not installed.
    """

    def __init__(
        self,
        address: Address,
        mend: str,
        concurrency: int,
        timeout_seconds: float,
        backoff_seconds: float = 1.0,
    ):
        package = PACKAGES[address.provider]
        if find_spec(package) is None:
            missing = f"provider {address.provider}: Python's package {package} is not installed"
            raise AskingError(f"{missing}; install it, or give an OpenAI-compatible url")
        self.address = address
        self._next_start = 0.0  # monotonic seconds
        self.retries = Retries(address.url or address.provider, mend, backoff_seconds)
        connections = AdaptiveConcurrency(min=1, start=concurrency, max=concurrency)
        config = GenerateConfig(
            max_retries=0,
            attempt_timeout=math.ceil(timeout_seconds),
            adaptive_connections=connections,
        )
        name = address.model
        provider_options: dict = {"max_retries": 0}
        if address.provider == COMPATIBLE:
            name = f"served/{name}"
            provider_options["client_timeout"] = timeout_seconds
            provider_options["http_client"] = openai.DefaultAsyncHttpxClient(
                event_hooks={"response": [_remember]}
            )
        self.model = get_model(
            f"{address.provider}/{name}",
            base_url=address.url or None,
            api_key=address.key,
            config=config,
            memoize=False,
            **provider_options,
        )

    async def close(self) -> None:
        """Close the connections."""
        await self.model.api.aclose()

    async def ask(self, messages: list[ChatMessage], config: GenerateConfig) -> Reply:
        """A reply that can be read, after as many tries as help. Raises NoReply or Stop."""

        async def attempt() -> Reply:
            reply = await self.attempt(messages, config)
            if reply.output is None:
                raise Failure("no chat completion", reply.body[:200], reply.status)
            return reply

        return await self.retries.run(attempt)

    async def attempt(self, messages: list[ChatMessage], config: GenerateConfig) -> Reply:
        """One request and what came back, readable or not. Raises Failure.

        Call it from a task of its own: outside of an evaluation Inspect keeps a record of each call
        for as long as the calling task lives.
        """
        await self._in_turn()
        responses: list[httpx2.Response] = []
        _responses.set(responses)
        output = None
        try:
            output = await self.model.generate(messages, config=config)
        except Exception as error:
            if not responses or responses[-1].status_code != 200:
                failure = failure_of(error, self.address.key)
                if failure is None:
                    raise
                raise failure from error
        if not responses:
            return Reply(200, "", output)
        return Reply(responses[-1].status_code, responses[-1].text, output)

    async def _in_turn(self) -> None:
        """Return when the next request may start."""
        now = time.monotonic()
        start = max(now, self._next_start)
        self._next_start = start + GAP_SECONDS
        await asyncio.sleep(start - now)


def failure_of(error: Exception, key: str) -> Failure | None:
    """What an error of Inspect says of an attempt, the key left out;

    None where it is a fault of the program.
    """
    causes = list(_causes(error))
    for cause in causes:
        status = getattr(cause, "status_code", None)
        response = getattr(cause, "response", None)
        if isinstance(status, int) and response is not None:
            detail = one_line(response.text).replace(key, "[key]")
            refused = 400 <= status < 500 and status != 408
            wait = seconds_of(response.headers.get("retry-after"))
            return Failure(f"HTTP {status}", detail, status, status in BUSY or refused, wait)
    for cause in causes:
        if isinstance(cause, NOT_SENT):
            return Failure("no connection", f"Cannot connect: {cause}", free=True)
    if isinstance(error, RetryError):  # what Inspect would have tried again
        return Failure(type(causes[1]).__name__, str(causes[-1]))
    return None


async def _remember(response: httpx2.Response) -> None:
    """Read the body of a response to its end and keep it, before anything looks at it."""
    await response.aread()
    _responses.get().append(response)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def parts_of(output: ModelOutput) -> tuple[str, str]:
    """(reasoning, text) of a reply: the reasoning is empty where the server left it in the text."""
    if output.empty:
        return "", ""
    content = output.message.content
    reasoning = ""
    if isinstance(content, list):
        reasoning = "".join(
            part.reasoning for part in content if isinstance(part, ContentReasoning)
        )
    return reasoning, output.message.text
