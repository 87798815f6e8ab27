"""Asking a served model the prompts of rows, each reply kept so that it is asked once."""

import asyncio
import hashlib
import json
import sys
from dataclasses import dataclass
from pathlib import Path

from inspect_ai.model import GenerateConfig

from common import rows, servers
from common.asking.client import Address, Client
from common.asking.kept import Replies, reply_of
from common.asking.messages import of_row
from common.asking.replies import body_of

TOKENS_A_WORD = 4  # of a reply's budget, for each word of the accepted one: a lecture ends in it
LEAST_TOKENS = 128
HOURS = 3


@dataclass(frozen=True)
class Asked:
    """What is asked: a row, and which time it is."""

    row: dict
    sample: int


async def ask_all(
    asked: list[Asked],
    folder: Path,
    endpoint: servers.Endpoint,
    identity: str,
    sampling: dict,
    replies: Replies,
) -> list[dict]:
    """The replies, from the store or newly asked, in order."""
    address = Address(endpoint.url, endpoint.model, endpoint.key)
    client = Client(address, "its log", endpoint.concurrency, HOURS * 3600)
    gate = asyncio.Semaphore(endpoint.concurrency)
    done = 0

    async def one(what: Asked) -> dict:
        nonlocal done
        budget = budget_of(what.row)
        key = key_of(what, identity, sampling, budget)
        kept = replies.reply(key)
        if kept is None:
            config = GenerateConfig(
                temperature=sampling["temperature"],
                seed=int(key[:7], 16),
                max_tokens=budget,
                extra_body=endpoint.extra(sampling, what.row.get("tools", ())),
            )
            async with gate:
                prompt = [of_row(message, folder) for message in what.row["messages"][:-1]]
                body = body_of(await client.ask(prompt, config))
            await replies.keep(key, body)
            kept = reply_of(body)
        done += 1
        if done % 20 == 0:
            print(f"  {done:,} of {len(asked):,} replies", file=sys.stderr, flush=True)
        return kept

    try:
        return await asyncio.gather(*(asyncio.create_task(one(what)) for what in asked))
    finally:
        await client.close()


def budget_of(row: dict) -> int:
    """Tokens that a reply may have."""
    words = len(rows.text_of(row["messages"][-1]).split())
    return max(LEAST_TOKENS, TOKENS_A_WORD * words)


def key_of(what: Asked, identity: str, sampling: dict, budget: int) -> str:
    """The key of a reply, in hex: a hash over everything that could change it. A picture's path is
    its hash.
    """
    asked = [identity, sampling, budget, what.sample, what.row["messages"][:-1]]
    asked.append(what.row.get("tools"))
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:32]
