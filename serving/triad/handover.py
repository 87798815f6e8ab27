"""Where AetherAI's complete reply ends in `Route: <member>`, that member goes on in the same reply.

The members are asked through a router of their own, which the proxy's clients cannot name. What
happened stands in the field `triad` of the reply, and as one line of JSON on stdout.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from litellm.integrations.custom_logger import CustomLogger
from litellm.llms.custom_httpx.http_handler import AsyncHTTPHandler

from common.behaviour import SELF, route_of
from common.triad import Triad
from serving.talk import Reply
from serving.triad.config import HOUSE, TRIAD
from serving.triad.members import Members, Turn
from serving.triad.pieces import gather

LEFT = "left"
STANDS = "what AetherAI said stands."


@dataclass
class Decision:
    """What became of a reply.

    Args:
        route: The member that the reply names; "self" where it names none, "" where it cannot.
        outcome: stayed | unfinished | unknown | absent | closed (outside, and not allowed) |
            answered | failed: <why> | left (the client, before the member had ended).
    """

    route: str = ""
    outcome: str = "unfinished"


class Handover(CustomLogger):
    """The hook of LiteLLM's proxy for whole and streamed replies of the model `triad`.

    Make it inside of the event loop.
    """

    def __init__(self, triad: Triad, members: Members):
        super().__init__()
        self.triad = triad
        self.members = members
        self.http = AsyncHTTPHandler(event_hooks={"response": [gather]})

    async def async_pre_call_deployment_hook(self, kwargs: dict, call_type: object) -> dict:
        """Read the streams of the house's members in larger pieces."""
        inside = str(kwargs.get("model")).startswith(HOUSE)
        return kwargs | {"client": self.http} if inside else kwargs

    async def async_post_call_success_hook(
        self, data: dict, user_api_key_dict: object, response: Any
    ) -> Any:
        """Let the member go on in a whole reply."""
        if not _is_ours(data):
            return response
        choice = response.choices[0]
        message = choice.message
        thought = getattr(message, "reasoning_content", None) or ""
        reply = Reply(message.content or "", thought, finish=choice.finish_reason)
        turn = Turn()
        decision = self.decide(reply, data, _answered_by(response))
        async for text in self.go_on(decision, turn, reply, data):
            message.content += text
        _sign(response, decision, turn)
        return response

    async def async_post_call_streaming_iterator_hook(
        self, user_api_key_dict: object, response: Any, request_data: dict
    ) -> AsyncGenerator[Any]:
        """Pass a stream on; what ends it is held until the member has gone on."""
        texts = []
        thoughts = []
        ending: list[Any] = []
        async for piece in response:
            choice = piece.choices[0] if piece.choices else None
            if choice is not None:
                texts.append(choice.delta.content or "")
                thoughts.append(getattr(choice.delta, "reasoning_content", None) or "")
            if _is_ours(request_data) and (ending or choice and choice.finish_reason):
                ending.append(piece)
            else:
                yield piece
        if not ending:
            return
        finish = ending[0].choices[0].finish_reason
        reply = Reply("".join(texts), "".join(thoughts), finish=finish)
        turn = Turn()
        decision = self.decide(reply, request_data, _answered_by(ending[0]))
        async with aclosing(self.go_on(decision, turn, reply, request_data)) as more:
            async for text in more:
                piece = ending[0].model_copy(deep=True)
                piece.choices[0].finish_reason = None
                piece.choices[0].delta.content = text
                yield piece
        for piece in ending:
            _sign(piece, decision, turn)
            yield piece

    def decide(self, reply: Reply, request: dict, answered_by: str) -> Decision:
        """Whom a reply hands over to; LEFT is the outcome where somebody is to go on."""
        if answered_by != TRIAD or not reply.whole:
            return Decision()
        route = route_of(reply.answer, self.triad.members)
        if route is None:
            return Decision(outcome="unknown")
        if route == SELF:
            return Decision(route, "stayed")
        if route not in self.members.present:
            return Decision(route, "absent")
        if self.triad.members[route].outside and not _allows(request, "outside"):
            return Decision(route, "closed")
        return Decision(route, LEFT)

    async def go_on(
        self, decision: Decision, turn: Turn, reply: Reply, request: dict
    ) -> AsyncGenerator[str]:
        """What the member adds, its name first; a line in its place where it does not answer."""
        id_ = decision.route
        brief = reply.answer.rpartition("\n")[0].strip()
        pictures = _allows(request, "pictures")
        started = time.monotonic()
        heard = False
        try:
            if decision.outcome == LEFT:
                asked = self.members.asked(id_, request, brief, pictures, turn)
                async with aclosing(asked) as texts:
                    async for text in texts:
                        yield text if heard else f"\n\n[{id_}]\n{text}"
                        heard = True
                if not heard:
                    raise ValueError("an empty reply")
                decision.outcome = "answered"
        except Exception as error:  # whatever fails there must not cost the finished answer
            decision.outcome = f"failed: {type(error).__name__}"
            yield f"\n\n[{id_} did not answer{' to its end' if heard else ''}; {STANDS}]"
        finally:
            turn.seconds = time.monotonic() - started
            _log(decision, turn, request)


def _is_ours(request: dict) -> bool:
    return request.get("model") == TRIAD and request.get("n") in (None, 1)


def _answered_by(response: Any) -> str:
    """The id of the deployment: another than TRIAD where a fallback answered."""
    return response._hidden_params.get("model_id") or ""


def _allows(request: dict, what: str) -> bool:
    """Whether the client's own metadata, before LiteLLM adds to it, says <what>: true."""
    return request["metadata"].get("requester_metadata", {}).get(what) is True


def _sign(response: Any, decision: Decision, turn: Turn) -> None:
    """Say in a reply, or in the last pieces of one, who answered and what both took."""
    response.triad = asdict(decision)
    response.provider_specific_fields = {}  # else LiteLLM writes pieces without unknown fields
    for choice in response.choices:
        choice.finish_reason = turn.finish or choice.finish_reason
    usage = getattr(response, "usage", None)
    if usage is not None:
        usage.prompt_tokens += turn.tokens_in
        usage.completion_tokens += turn.tokens_out
        usage.total_tokens += turn.tokens_in + turn.tokens_out


def _log(decision: Decision, turn: Turn, request: dict) -> None:
    started = request["litellm_logging_obj"].start_time.timestamp()
    line = asdict(decision) | {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "seconds": round(time.time() - started, 3),
        "member_seconds": round(turn.seconds, 3),
        "tokens_in": turn.tokens_in,
        "tokens_out": turn.tokens_out,
        "dollars": turn.dollars,
    }
    print(json.dumps(line), flush=True)
