"""A client whose replies are paid for: none is paid for twice, and none may take the bill over its
cap.

A request is written as OpenAI writes a chat completion's body; its hash is the reply's key in the
store. The worst case of a prompt is its bytes, which no byte-level tokenizer exceeds, and
`max_tokens` of reply.
"""

import asyncio
import hashlib
import json
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

from inspect_ai.model import GenerateConfig, ResponseSchema
from inspect_ai.util import json_schema
from pydantic import BaseModel, Field

from common.asking.client import COMPATIBLE, Client
from common.asking.ledger import NOTHING, Charge, Ledger
from common.asking.messages import of_openai
from common.asking.replies import Replies, body_of, usage_of
from common.asking.retries import Failure, NoReply
from common.errors import one_line
from common.schema import Part

TEMPLATE_TOKENS = 1_000  # at most, that a chat template adds to a prompt
IMAGE_TOKENS = 5_000  # at most, of one image


class PricedModel(Part):
    """A model, what it costs in dollars a million tokens, and the form of its replies."""

    model: str  # its id at the endpoint
    dollars_in: float = Field(ge=0)
    dollars_out: float = Field(ge=0)
    max_tokens: int = Field(gt=0)  # of a reply
    # The reply format that the endpoint can be held to.
    structured: Literal["json_schema", "json_object", "none"] = "json_schema"
    parameters: dict = {}  # sent as they are: temperature, reasoning_effort, ...

    def price(self, tokens_in: float, tokens_out: float) -> float:
        """Picodollars, at whole picodollars a token."""
        prompt = tokens_in * round(self.dollars_in * 10**6)
        return prompt + tokens_out * round(self.dollars_out * 10**6)


@dataclass(frozen=True)
class Request:
    """Something to ask.

    Args:
        messages: As OpenAI writes them.
        version: Another version is another request, so that a changed prompt file asks again.
        category: What the bill names it.
        schema: The form of the reply, where it has one.
        longer: Whether the reply may be twice as long, after one that was cut off.
    """

    messages: list[dict]
    version: int
    category: str
    schema: type[BaseModel] | None = None
    longer: bool = False


@dataclass
class PaidClient:
    """A client with its prices, its store and its bill.

    Args:
        client: None where nothing may be asked: then what is not in the store raises NoReply.
        priced: The model that the client asks, and what it costs.
        role: What the bill calls it.
    """

    client: Client | None
    priced: PricedModel
    role: str
    replies: Replies
    ledger: Ledger
    _asking: dict[bytes, asyncio.Task[str]] = field(default_factory=dict)

    async def ask(self, request: Request) -> tuple[bytes, str]:
        """(key, body) of the reply, from the store or paid for.

        Raises NoReply, Stop or sqlite3.Error.
        """
        body = self._body(request)
        sent = json.dumps(body, sort_keys=True)
        key = hashlib.sha256(f"{request.version}\n{sent}".encode()).digest()
        if key not in self._asking:  # two requests alike may be under way at once
            stored = self.replies.body(key)
            if stored is not None:
                return key, stored
            if self.client is None:
                raise NoReply("not asked yet")
            task = asyncio.create_task(self._pay(self.client, request, key, body, len(sent)))
            self._asking[key] = task
            task.add_done_callback(lambda _: self._asking.pop(key))
        return key, await asyncio.shield(self._asking[key])

    async def close(self) -> None:
        """Close the connections."""
        if self.client is not None:
            await self.client.close()

    def _body(self, request: Request) -> dict:
        """The request as OpenAI writes it.

        Its bytes are the reply's key: another form would pay for everything again.
        """
        body: dict = {
            "model": self.priced.model,
            "messages": request.messages,
            "max_tokens": self.priced.max_tokens * (2 if request.longer else 1),
        }
        if request.schema and self.priced.structured != "none":
            body["response_format"] = {"type": self.priced.structured}
            if self.priced.structured == "json_schema":
                body["response_format"]["json_schema"] = _openai_schema(request.schema)
        return body | self.priced.parameters

    def _worst(self, body: dict, size: int) -> Charge:
        """What a request of so many bytes can cost at most."""
        urls = [
            part["image_url"]["url"]
            for message in body["messages"]
            if isinstance(message["content"], list)
            for part in message["content"]
            if "image_url" in part
        ]
        prompt = size - sum(map(len, urls)) + TEMPLATE_TOKENS + IMAGE_TOKENS * len(urls)
        reply = body["max_tokens"] * body.get("n", 1)
        return Charge(round(self.priced.price(prompt, reply)), prompt + reply)

    async def _pay(
        self, client: Client, request: Request, key: bytes, body: dict, size: int
    ) -> str:
        """Send until a reply is in the store, and return its body."""
        messages = [of_openai(message) for message in request.messages]
        config = self._config(client, request, body, key)
        worst = self._worst(body, size)

        async def attempt() -> str:
            call = await self.ledger.reserve(request.category, self.role, worst)
            try:
                reply = await client.attempt(messages, config)
                if reply.status != 200:
                    detail = one_line(reply.body)
                    raise Failure(f"HTTP {reply.status}", detail, reply.status, free=True)
            except Failure as failure:
                await self.ledger.settle(call, failure.problem, NOTHING if failure.free else None)
                raise
            text = body_of(reply)
            usage = usage_of(text)
            exact = None
            if usage is not None:
                exact = Charge(round(self.priced.price(*usage)), sum(usage))
            self.replies.keep(key, call, text)
            await self.ledger.settle(call, "reply", exact)
            return text

        return await client.retries.run(attempt)

    def _config(self, client: Client, request: Request, body: dict, key: bytes) -> GenerateConfig:
        """The request beside its messages, as Inspect takes it.

        Raises ValueError for a parameter Inspect does not know.
        """
        config = partial(
            GenerateConfig,
            max_tokens=body["max_tokens"],
            extra_headers={"Idempotency-Key": key.hex()},
        )
        if client.address.provider == COMPATIBLE:  # to the letter what the key is made of
            own = ("model", "messages", "max_tokens")
            rest = {name: value for name, value in body.items() if name not in own}
            return config(extra_body=rest or None)
        schema = None
        if request.schema and self.priced.structured == "json_schema":
            schema = ResponseSchema(
                name=request.schema.__name__, json_schema=json_schema(request.schema), strict=True
            )
        return config(response_schema=schema, **self.priced.parameters)


def _openai_schema(schema: type[BaseModel]) -> dict:
    return {"name": schema.__name__, "strict": True, "schema": schema.model_json_schema()}
