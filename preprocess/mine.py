"""Pairs from a model's own replies: python -m preprocess.mine RECIPE [--samples N] [--limit N]
                                                     [--endpoint URL --model ID]   (make pairs)

Serves the recipe's merged model and asks it the prompts of its dataset, several times each; kept
replies are not asked again. Where a program faults a reply (preprocess.faults), it is the rejected
one of a pair whose chosen reply is the row's own. Some pairs are of abilities: wrong answers, and
right replies to another picture, so that short questions are not all that is learnt. They are
written to datasets/<name>/kept/pairs-<recipe>.jsonl, which `make data` reads.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import hashlib
import json
import os
import signal
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inspect_ai.model import (
    ChatMessage,
    ChatMessageAssistant,
    ChatMessageSystem,
    ChatMessageUser,
    Content,
    ContentImage,
    ContentText,
    GenerateConfig,
)

from common import rows, servers
from common.asking.client import Address, Client
from common.asking.kept import Replies, reply_of
from common.asking.replies import body_of
from common.bases import model_hash
from common.errors import AetherError, command
from common.files import ROOT, load_yaml, shown, write_json, write_text
from common.recipes import Recipe, find
from preprocess.candidates import draw
from preprocess.faults import CUT_OFF, fault
from preprocess.pairs import unlike

TOKENS_A_WORD = 4  # of a reply's budget, for each word of the accepted one: a lecture ends in it
LEAST_TOKENS = 128
A_PROMPT = 2  # pairs of one prompt at most
ABILITIES = 0.2  # of the pairs at most
FEWEST_ABILITIES = 0.1
VOICE_ORIGINS = ("seed", "teacher", "conversation", "kept")  # written or accepted, not by a program
HOURS = 3


@dataclass(frozen=True)
class Asked:
    """What is asked: a row, and which time it is."""

    row: dict
    sample: int


def pairs_of(row: dict, replies: list[dict], rules: dict, left_out: Counter) -> list[dict]:
    """The pairs that a prompt's replies give, A_PROMPT at most; the rest is counted."""
    chosen = rows.text_of(row["messages"][-1])
    found: list[dict] = []
    for reply in replies:
        text = reply["text"].strip()
        why = fault(row, text, reply["stop"], rules["members"], rules["direct"])
        reason = None
        if why is None:
            reason = "cut off" if reply["stop"] == CUT_OFF else "no fault found"
        elif any(
            unlike(rows.text_of(pair["rejected"]), text) == "nearly the same" for pair in found
        ):
            reason = "nearly the same as another"
        else:
            reason = unlike(chosen, text)
        if reason is None and len(found) == A_PROMPT:
            reason = f"more than {A_PROMPT} of a prompt"
        if reason is None:
            found.append(_pair(row, text, str(why)))
        else:
            left_out[reason] += 1
    return found


def _pair(row: dict, text: str, why: str) -> dict:
    return row | {"rejected": {"content": [{"type": "text", "text": text}], "why": why}}


def exchanged(found: list[dict], rules: dict, seed: int) -> Iterator[dict]:
    """Pairs whose picture was changed: the reply to another row's picture, at the same question,
    which is wrong here.
    """
    alike = defaultdict(list)
    for row in found:
        texts = tuple(rows.text_of(message) for message in row["messages"][:-1])
        alike[texts].append(row)
    for same in alike.values():
        same.sort(key=lambda row: draw(seed, f"exchange {row['id']}"))
        for row, other in zip(same, same[1:] + same[:1], strict=True):
            text = rows.text_of(other["messages"][-1])
            why = fault(row, text, "stop", rules["members"], rules["direct"])
            if why and unlike(rows.text_of(row["messages"][-1]), text) is None:
                yield _pair(row, text, f"what another picture shows: {why}")


def standing(build: Path, mined: list[dict]) -> int:
    """How many pairs without a checkable answer the build holds beside those that are mined now."""
    now = {(pair["id"], rows.text_of(pair["rejected"])) for pair in mined}
    files = [build / rows.file_of(split, pairs=True) for split in ("train", "val")]
    found = [pair for path in files if path.exists() for pair in rows.read(path)]
    others = [pair for pair in found if (pair["id"], rows.text_of(pair["rejected"])) not in now]
    return sum("answer" not in pair for pair in others)


def balanced(
    voice: list[dict], wrong: list[dict], other: list[dict], seed: int, beside: int = 0
) -> list[dict]:
    """All the voice's pairs, and of abilities as many as make ABILITIES of all: half of them
    wrong answers, half changed pictures, where there are as many. `beside`: pairs of the voice
    that stand in the dataset besides.
    """
    room = round((len(voice) + beside) * ABILITIES / (1 - ABILITIES))

    def drawn(pairs: list[dict], count: int) -> list[dict]:
        return sorted(pairs, key=lambda pair: draw(seed, f"ability {pair['id']}"))[:count]

    taken = drawn(wrong, max(room - room // 2, room - len(other)))
    return [*voice, *taken, *drawn(other, room - len(taken))]


async def ask_all(
    asked: list[Asked],
    folder: Path,
    endpoint: servers.Endpoint,
    identity: str,
    sampling: dict[str, Any],
    replies: Replies,
) -> list[dict]:
    """The replies, from the store or newly asked, in order."""
    key = os.environ.get(endpoint.key_variable) or "none"
    address = Address(endpoint.url, endpoint.model, key)
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
                extra_body=_beside(what.row, endpoint, sampling),
            )
            async with gate:
                body = body_of(await client.ask(messages_of(what.row, folder), config))
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


def _beside(row: dict, endpoint: servers.Endpoint, sampling: dict) -> dict | None:
    """What a request holds beside its messages: the server's own, and the row's tools."""
    own = endpoint.extra(sampling) or {}
    if "tools" in row:
        own |= {"tools": row["tools"], "tool_choice": "none"}  # the calls stay in the text
    return own or None


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


def messages_of(row: dict, folder: Path) -> list[ChatMessage]:
    """A row's prompt as Inspect has it. `folder` is that of the build."""
    made: list[ChatMessage] = []
    for message in row["messages"][:-1]:
        if message["role"] == "system":
            made.append(ChatMessageSystem(content=rows.text_of(message)))
        elif message["role"] == "assistant":
            made.append(ChatMessageAssistant(content=rows.text_of(message)))
        else:
            parts: list[Content] = []
            for part in message["content"]:
                if part["type"] == "image":
                    png = base64.b64encode((folder / part["path"]).read_bytes()).decode()
                    parts.append(ContentImage(image=f"data:image/png;base64,{png}"))
                else:
                    parts.append(ContentText(text=part["text"]))
            made.append(ChatMessageUser(content=parts))
    return made


def prompts(
    build: Path, categories: list[str] | None, limit: int, seed: int
) -> tuple[list[dict], list[dict]]:
    """(the rows to ask, those with pictures and an answer that a program can check).

    Asked are `limit` of the voice at most, and half as many whose answer can be checked. Rows whose
    history holds calls of tools are passed over.
    """
    voice, abilities = [], []
    for split in ("train", "val"):
        for row in rows.read(build / f"{split}.jsonl"):
            called = any("tool_calls" in message for message in row["messages"])
            if called or (categories and row["category"] not in categories):
                continue
            if "answer" in row:
                abilities.append(row)
            elif row["origin"] in VOICE_ORIGINS:
                voice.append(row)

    def first(found: list[dict], count: int) -> list[dict]:
        return sorted(found, key=lambda row: draw(seed, f"ask {row['id']}"))[:count]

    pictured = [row for row in abilities if rows.images(row, build)]
    return [*first(voice, limit), *first(abilities, limit // 2)], pictured


def mine(options: argparse.Namespace) -> Path:
    """Ask, judge, write; the file of the pairs. Raises AetherError."""
    recipe = find(options.recipe)
    build = ROOT / recipe.data["rows"]["path"]
    if not (build / "manifest.json").exists():
        raise AetherError(f"{shown(build)}: not built; make data DATASET={build.parent.name}")
    settings = load_yaml(ROOT / "evaluation" / "suites.yaml")
    members = tuple(load_yaml(ROOT / settings["triad"])["members"])
    rules = {"members": members, "direct": settings["direct"]}
    seed = recipe.data["seed"]
    categories = recipe.data["rows"].get("categories")
    found, pictured = prompts(build, categories, options.limit, seed)
    asked = [Asked(row, sample) for row in found for sample in range(options.samples)]
    sampling = {"temperature": options.temperature}
    folder = recipe.output / "pairs"
    with contextlib.ExitStack() as stack:
        if options.endpoint:
            endpoint = servers.given(options.endpoint, options.model)
            identity = f"endpoint {options.model}"
        else:
            served = servers.merged_of(recipe)
            identity = model_hash(Path(served.where))
            log = folder / "server.log"
            endpoint = stack.enter_context(servers.serving(served, log))
        replies = stack.enter_context(contextlib.closing(Replies(folder / "replies.sqlite")))
        got = asyncio.run(ask_all(asked, build, endpoint, identity, sampling, replies))
    voice, wrong, left_out = judged(found, got, rules)
    other = list(exchanged(pictured, rules, seed))
    pairs = balanced(voice, wrong, other, seed, standing(build, voice))
    if not pairs:
        raise AetherError(f"{recipe.id}: no reply was at fault: {dict(left_out)}; raise SAMPLES=")
    return write(recipe, build, pairs, len(got), left_out)


def judged(found: list[dict], got: list[dict], rules: dict) -> tuple[list, list, Counter]:
    """(pairs of the voice, pairs of wrong answers, what was left out) of rows and their replies,
    which are as many for each row.
    """
    left_out: Counter[str] = Counter()
    voice: list[dict] = []
    wrong: list[dict] = []
    samples = len(got) // len(found)
    for number, row in enumerate(found):
        replies = got[number * samples : (number + 1) * samples]
        pairs = pairs_of(row, replies, rules, left_out)
        (wrong if "answer" in row else voice).extend(pairs)
    return voice, wrong, left_out


def write(recipe: Recipe, build: Path, pairs: list[dict], asked: int, left_out: Counter) -> Path:
    """Write pairs and report, and print it."""
    abilities = sum("answer" in pair for pair in pairs)
    why = Counter(pair["rejected"]["why"].partition(" where ")[0] for pair in pairs)
    about = {
        "asked": asked,
        "pairs": len(pairs),
        "abilities": abilities,
        "why": dict(why.most_common()),
        "left_out": dict(left_out.most_common()),
    }
    path = build.parent / "kept" / f"pairs-{recipe.id.replace('/', '-')}.jsonl"
    path.parent.mkdir(exist_ok=True)
    write_text(path, "".join(json.dumps(pair, ensure_ascii=False) + "\n" for pair in pairs))
    write_json(recipe.output / "pairs" / "report.json", about)
    print(json.dumps(about, indent=1, ensure_ascii=False))
    if abilities < FEWEST_ABILITIES * len(pairs):
        print(f"note: {abilities} of {len(pairs)} pairs are of abilities; 10 to 20 % are wanted")
    return path


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m preprocess.mine", description=__doc__.splitlines()[0]
    )
    parser.add_argument("recipe")
    parser.add_argument("--samples", type=int, default=4, help="replies a prompt")
    parser.add_argument("--limit", type=int, default=1000, help="the voice's prompts at most")
    parser.add_argument("--temperature", type=float, default=0.8)
    parser.add_argument("--endpoint", help="OpenAI-compatible server that already runs")
    parser.add_argument("--model", default="", help="the merged model's id there")
    signal.signal(signal.SIGTERM, _terminated)
    path = mine(parser.parse_args())
    print(f"written: {shown(path)}; make data DATASET={path.parents[1].name} takes them in")


def _terminated(number: int, _: object) -> None:
    sys.exit(128 + number)  # so that the server is taken down on the way out


if __name__ == "__main__":
    sys.exit(command(main))
