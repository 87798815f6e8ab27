"""Replies that were paid for, as they came, and what stands in them.

A reply is kept as the body of an OpenAI chat completion. Where a provider's SDK does not show its
body, Inspect's reading of it is written in that form.
"""

import json
from contextlib import suppress
from dataclasses import dataclass

from inspect_ai.model import ModelOutput

from common import tools
from common.asking.client import Reply, parts_of
from common.asking.database import Database

SCHEMA = "CREATE TABLE IF NOT EXISTS replies (key BLOB PRIMARY KEY, call INTEGER, body TEXT);"
CUT_OFF = "length"
REFUSED = "content_filter"
_ENDINGS = {"max_tokens": CUT_OFF, "model_length": CUT_OFF}  # Inspect's names of what OpenAI calls


class Replies:
    """The replies in a database that was opened with SCHEMA, each under the key of its request."""

    def __init__(self, database: Database):
        self.database = database

    def body(self, key: bytes) -> str | None:
        """The body of a reply, as it came; None where there is none."""
        row = self.database.read("SELECT body FROM replies WHERE key = ?", (key,)).fetchone()
        return row[0] if row else None

    def keep(self, key: bytes, call: int, body: str) -> None:
        """Write a reply in the transaction that is being filled; of two alike the first stays.

        Where it is paid for, follow it with Ledger.settle before any await.
        """
        sql = "INSERT OR IGNORE INTO replies VALUES (?, ?, ?)"
        self.database.write(sql, (key, call, body))


class NoCompletion(ValueError):
    """A body that is no chat completion."""


@dataclass(frozen=True)
class Completion:
    """What stands in a reply:

    `reasoning` and `calls` of tools where the server took them out of the text; `ended` is OpenAI's
    finish_reason.
    """

    model: str
    text: str
    reasoning: str
    ended: str
    calls: tuple[tools.Call, ...] = ()


def completion_of(body: str) -> Completion:
    """The completion in a body; a refusal ends as REFUSED. Raises NoCompletion."""
    try:
        reply = json.loads(body)
        choice = reply["choices"][0]
        message = choice["message"]
        text = message.get("content") or ""
        reasoning = message.get("reasoning_content") or message.get("reasoning") or ""
        (text + reasoning).encode()  # they are text, and text that a file can hold
        ended = REFUSED if message.get("refusal") else choice.get("finish_reason")
        calls = tuple(map(tools.of_openai, message.get("tool_calls") or ()))
        return Completion(reply.get("model") or "", text, reasoning, ended or "", calls)
    except (tools.ToolError, ValueError, KeyError, TypeError, IndexError, AttributeError):
        raise NoCompletion("the body is not a chat completion") from None


def usage_of(body: str) -> tuple[int, int] | None:
    """(prompt tokens, reply tokens) that a body bills; None where it does not say.

    Some endpoints leave the reasoning out of `completion_tokens`, but not out of the total.
    """
    with suppress(ValueError, KeyError, TypeError):
        usage = json.loads(body)["usage"]
        prompt = int(usage["prompt_tokens"])
        completion = int(usage["completion_tokens"])
        return prompt, max(completion, int(usage.get("total_tokens") or 0) - prompt)
    return None


def body_of(reply: Reply) -> str:
    """The body as it came, or Inspect's reading of it as an OpenAI chat completion."""
    if reply.output is None or (reply.body and reply.status == 200):
        return reply.body
    output = reply.output
    reasoning, text = parts_of(output)
    ended = _ENDINGS.get(output.stop_reason, output.stop_reason)
    message = {"role": "assistant", "content": text, "reasoning_content": reasoning}
    choices = [{"index": 0, "message": message, "finish_reason": ended}]
    body = {"model": output.model, "choices": choices, "usage": _usage(output)}
    return json.dumps(body)


def _usage(output: ModelOutput) -> dict | None:
    """OpenAI's usage: Inspect leaves what a cache served out of the input tokens."""
    usage = output.usage
    if usage is None:
        return None
    cached = (usage.input_tokens_cache_read or 0) + (usage.input_tokens_cache_write or 0)
    prompt = usage.input_tokens + cached
    return {
        "prompt_tokens": prompt,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.total_tokens,
    }
