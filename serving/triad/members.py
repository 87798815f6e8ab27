"""Asking the member that goes on: what it is shown, how long it may take, what it costs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import openai
from litellm import Router

from common.triad import Member, Triad
from serving.triad.budget import Budgets, dollars, tokens_at_most
from serving.triad.config import PATIENCE, deployment

BRIEF = "AetherAI hands this over to you, for the reason it gives. Go on and answer the person."
UNSEEN = "(what stands here you are not shown)"
MOST_TOKENS = 4096  # of a reply from outside where the request sets no limit
SLOW = (TimeoutError, openai.APITimeoutError)  # a member may ask to be paid all the same


@dataclass
class Turn:
    """What a member's part of a reply took; all 0 where none was asked.

    Args:
        finish: Why it ended, in OpenAI's word.
        tokens_in, tokens_out: As the member counts them.
    """

    finish: str = ""
    tokens_in: int = 0
    tokens_out: int = 0
    dollars: float = 0.0
    seconds: float = 0.0


class Members:
    """Those who are there, behind a router that asks each once and leaves alone who fails often.

    Make it inside of the event loop.
    """

    def __init__(self, triad: Triad, budgets: Budgets):
        self.present = {id_: member for id_, member in triad.members.items() if not member.unset}
        models = [deployment(id_, member) for id_, member in self.present.items()]
        self.router = Router(model_list=models, num_retries=0, **PATIENCE)
        self.budgets = budgets

    async def asked(
        self, id_: str, request: dict, brief: str, pictures: bool, turn: Turn
    ) -> AsyncGenerator[str]:
        """The pieces of a member's reply; `turn` is filled in.

        Args:
            request: The client's, to AetherAI.
            brief: What AetherAI answered.
            pictures: Whether a member outside may see them.

        Raises:
            OverBudget: Nothing was asked.
            Exception: Whatever keeps the member from answering, TimeoutError among it.
        """
        member = self.present[id_]
        messages = shown(member, request["messages"], brief, pictures)
        limit = max(request.get("max_completion_tokens") or request.get("max_tokens") or 0, 0)
        if member.outside:
            limit = limit or MOST_TOKENS
        prompt = min(tokens_at_most(messages), member.context)
        held = dollars(member, prompt, limit)
        purse = await self.budgets.hold(id_, member, held) if member.outside else ""
        written = 0.0
        turn.dollars = dollars(member, prompt, 0)
        try:
            streamed = bool(request.get("stream"))
            how: dict[str, Any] = {"max_tokens": limit} if limit else {}
            if streamed:
                how |= {"stream": True, "stream_options": {"include_usage": True}}
            async with aclosing(self._pieces(id_, messages, how)) as pieces:
                async for piece in pieces:
                    for choice in piece.choices:
                        turn.finish = choice.finish_reason or turn.finish
                        said = choice.delta if streamed else choice.message
                        if said.content:
                            written += tokens_at_most(said.content)
                            turn.dollars = dollars(member, prompt, written)
                            yield said.content
                    usage = getattr(piece, "usage", None)
                    if usage is not None:
                        turn.tokens_in = usage.prompt_tokens
                        turn.tokens_out = usage.completion_tokens
                        turn.dollars = dollars(member, turn.tokens_in, turn.tokens_out)
        except Exception as error:
            if not written and not isinstance(error, SLOW):
                turn.dollars = 0.0  # refused, or never reached
            raise
        finally:
            if purse:  # also where the client has gone
                await asyncio.shield(self.budgets.give_back(purse, held - turn.dollars))

    async def _pieces(self, id_: str, messages: list[dict], how: dict) -> AsyncGenerator[Any]:
        """The pieces of a member's reply, or the whole of it, all in time. Raises TimeoutError."""
        deadline = asyncio.get_running_loop().time() + self.present[id_].seconds
        async with asyncio.timeout_at(deadline):
            stream = await self.router.acompletion(model=id_, messages=messages, **how)
        if "stream" not in how:
            yield stream
            return
        async with aclosing(stream):
            while True:
                async with asyncio.timeout_at(deadline):
                    piece = await anext(stream, None)
                if piece is None:
                    return
                yield piece


def shown(member: Member, messages: list[dict], brief: str, pictures: bool) -> list[dict]:
    """What a member gets to read: inside the conversation, outside its last turn, then the brief.

    Pictures go to members that see, and outside where `pictures` says so; nothing but texts and
    pictures goes to anybody.
    """
    if member.outside:
        messages = [message for message in messages if message["role"] == "user"][-1:]
        messages = [{"role": "user", "content": message["content"]} for message in messages]
    seen = member.sees and (pictures or not member.outside)
    messages = [message | {"content": _parts(message.get("content"), seen)} for message in messages]
    said = {"role": "assistant", "content": brief}
    return [*messages, said, {"role": "user", "content": BRIEF}]


def _parts(content: Any, pictures: bool) -> Any:
    """A message's content with pictures or without, and with nothing else but texts."""
    if not isinstance(content, list):
        return content
    kinds = ("text", "image_url") if pictures else ("text",)
    unseen = {"type": "text", "text": UNSEEN}
    parts = [part if part["type"] in kinds else unseen for part in content]
    return parts if pictures else "\n".join(part["text"] for part in parts)
