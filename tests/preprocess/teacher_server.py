"""python tests/preprocess/teacher_server.py PORT LOG [--calm SECONDS] [--answers FILE]: a teacher
and judge on loopback that misbehaves on a schedule.

LOG holds a line for every request, {"key", "did", "in", "out", "whole"}, with the tokens it bills,
and a second one that bills nothing with `whole` when the reply went out to its last byte.
"""

import argparse
import asyncio
import hashlib
import json
import random
import re
from itertools import count
from pathlib import Path

from aiohttp import web

WORDS = [
    "queue",
    "disk",
    "socket",
    "worker",
    "ledger",
    "timer",
    "broker",
    "shard",
    "cursor",
    "lease",
    "buffer",
    "probe",
    "meter",
    "replica",
    "batch",
    "thread",
    "cache",
    "token",
    "stream",
    "packet",
    "router",
    "index",
    "schema",
    "column",
    "backup",
    "sensor",
    "valve",
    "ticket",
    "parcel",
    "invoice",
    "driver",
    "nurse",
    "teacher",
    "baker",
    "pilot",
    "farmer",
    "clerk",
]
MEMBERS = {
    "grok-4-fast": "Grok 4 Fast takes it",
    "claude-sonnet-4.5": "Claude Sonnet 4.5 takes it",
    "long-context": "This is for the long-context member",
    "edge": "This is for the edge member",
    "self": "This stays here",
}
numbers, total = (
    {True: count(1), False: count(1)},
    count(1),
)  # of requests to a judge and to a teacher, and of all


def prose(rng: random.Random, words: int) -> str:
    said = []
    while len(said) < words:
        named = f"the {rng.choice(WORDS)} and the {rng.choice(WORDS)} of {rng.randint(2, 9999)}"
        said += f"{named} have to be there for it".split()
    return " ".join(said[:words]).capitalize() + "."


def row(body: dict, rng: random.Random, answers: dict) -> dict:
    """A row that passes its proofs."""
    system, ask = body["messages"][0]["content"], body["messages"][1]["content"]
    turns = int((re.search(r"^- turns: (\d+)", ask, re.M) or [0, 1])[1])
    target = (re.search(r"^- routes to: (\S+)", ask, re.M) or [0, ""])[1]
    known = next((value for problem, value in answers.items() if problem in ask), None)
    said = []
    for _ in range(turns):
        answer = f"Look at the {rng.choice(WORDS)} number {rng.randint(1, 9999)} first."
        if "This category: nudge" in system:
            answer += f" What does the {rng.choice(WORDS)} show?"
        said.append({"user": prose(rng, 30), "reasoning": prose(rng, 80), "answer": answer})
    if target:
        said[-1]["answer"] = f"{MEMBERS[target]}. {said[-1]['answer']}"
    if known is not None:
        said[-1]["answer"] = f"It is {known}."
    return {"turns": said, "claim": str(known if known is not None else target)}


def spoilt(did: str, made: dict, last: list[dict]) -> str:
    """The text of a reply with what the schedule wants to be wrong with it."""
    if did == "wrong answer":
        made = made | {"claim": "-77777", "turns": [*made["turns"], made["turns"][0]]}
    if did == "duplicate" and last:
        made = last[0] | {"turns": (last[0]["turns"] * 6)[: len(made["turns"])]}
    text = json.dumps(made)
    return text[: len(text) // 2] if did == "broken JSON" else text


SCHEDULE = {  # every so manieth request
    13: "broken JSON", 17: "wrong answer", 19: "duplicate", 23: "500", 29: "cut off",
    31: "half reply", 37: "half body", 41: "refusal", 67: "503", 83: "hang",
}  # fmt: skip


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("log", type=Path)
    parser.add_argument("--calm", type=float, help="answer everything well, after so many seconds")
    parser.add_argument("--answers", type=Path)
    args = parser.parse_args()
    answers = json.loads(args.answers.read_text()) if args.answers else {}
    log, last = args.log.open("a"), []

    async def reply(request: web.Request) -> web.StreamResponse:
        body = json.loads(await request.read())
        key = hashlib.sha256(f"1\n{json.dumps(body, sort_keys=True)}".encode())
        judging = "last reader" in body["messages"][0]["content"]
        number, rng, storm = (
            next(numbers[judging]),
            random.Random(key.digest()),
            next(total) % 200 < 12,
        )
        did = (
            "good"
            if args.calm
            else next((what for every, what in SCHEDULE.items() if number % every == 0), "good")
        )
        if not args.calm and storm:
            did = "429"
        if judging and did in ("wrong answer", "duplicate", "cut off", "refusal", "broken JSON"):
            did = "good"

        def wrote(tokens_in: int = 0, tokens_out: int = 0, whole: bool = False) -> None:
            log.write(
                json.dumps(
                    {
                        "key": key.hexdigest(),
                        "did": did,
                        "in": tokens_in,
                        "out": tokens_out,
                        "whole": whole,
                    }
                )
                + "\n"
            )
            log.flush()

        if did in ("429", "503"):
            wrote()
            return web.Response(
                status=int(did), headers={"Retry-After": "0.2"} if did == "429" else {}, text="busy"
            )
        tokens_in = sum(len(message["content"]) for message in body["messages"]) // 4
        tokens_out = (
            body["max_tokens"]
            if did in ("cut off", "hang", "500")
            else rng.randint(50, body["max_tokens"])
        )
        await asyncio.sleep(args.calm or rng.uniform(0.01, 0.06))
        if did == "500":  # it worked on it before it failed, and bills it
            wrote(tokens_in, tokens_out)
            return web.Response(status=500, text="boom")
        if did == "hang":
            wrote(tokens_in, tokens_out)
            await asyncio.sleep(30)
        made = (
            row(body, rng, answers)
            if not judging
            else {"why": "-", "voice": 5, "correctness": 4 + number % 2, "helpfulness": 5}
        )
        if judging and not args.calm and number % 29 == 0:
            made["voice"] = 2
        text = json.dumps(made) if judging else spoilt(did, made, last)
        last[:] = [made] if not judging and did == "good" else last
        message = {"role": "assistant", "content": text} | (
            {"refusal": "no", "content": None} if did == "refusal" else {}
        )
        usage = {
            "prompt_tokens": tokens_in,
            "completion_tokens": tokens_out,
            "total_tokens": tokens_in + tokens_out,
        }
        ended = "length" if did == "cut off" else "stop"
        sent = {
            "model": "server-1",
            "choices": [{"index": 0, "message": message, "finish_reason": ended}],
            "usage": usage,
        }
        data = json.dumps(sent).encode()
        if did == "half body":
            data = data[: len(data) // 2]
        wrote(tokens_in, tokens_out)  # billed, whether or not anybody is still there to read it
        response = web.StreamResponse(
            headers={"Content-Type": "application/json", "Content-Length": str(len(data))}
        )
        await response.prepare(request)
        await response.write(data[: len(data) // 2] if did == "half reply" else data)
        if did == "half reply":
            request.transport.close()
        else:
            await response.write_eof()
            wrote(whole=True)
        return response

    app = web.Application(client_max_size=2**26)
    app.router.add_post("/v1/chat/completions", reply)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", args.port).start()
    print("ready", flush=True)
    await asyncio.Event().wait()


asyncio.run(main())
