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
from typing import TextIO

from aiohttp import web

THINGS = """
queue disk socket worker ledger timer broker shard cursor lease buffer probe meter replica
batch thread cache token stream packet router index schema column backup sensor valve ticket
parcel invoice driver nurse teacher baker pilot farmer clerk
"""
WORDS = THINGS.split()
MEMBERS = {
    "grok-4-fast": "Grok 4 Fast takes it",
    "claude-sonnet-4.5": "Claude Sonnet 4.5 takes it",
    "long-context": "This is for the long-context member",
    "edge": "This is for the edge member",
    "self": "This stays here",
}


def prose(rng: random.Random, words: int) -> str:
    said = []
    while len(said) < words:
        named = f"the {rng.choice(WORDS)} and the {rng.choice(WORDS)} of {rng.randint(2, 9999)}"
        said += f"{named} have to be there for it".split()
    return " ".join(said[:words]).capitalize() + "."


def row(body: dict, rng: random.Random, answers: dict) -> dict:
    """A row that passes its proofs."""
    system = body["messages"][0]["content"]
    ask = body["messages"][1]["content"]
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


ONLY_A_TEACHER = ("wrong answer", "duplicate", "cut off", "refusal", "broken JSON")


class Server:
    """The teacher and the judge.

    Args:
        log: Where every request is written down.
        answers: The known answer of each problem, by its text.
        calm: Seconds after which everything is answered well; None to misbehave.
    """

    def __init__(self, log: TextIO, answers: dict, calm: float | None):
        self.log = log
        self.answers = answers
        self.calm = calm
        self.last: list[dict] = []  # the last good row
        self.requests = count(1)
        self.of_judge = count(1)
        self.of_teacher = count(1)

    async def reply(self, request: web.Request) -> web.StreamResponse:
        """Answer a chat completion as the schedule says."""
        body = json.loads(await request.read())
        key = hashlib.sha256(f"1\n{json.dumps(body, sort_keys=True)}".encode())
        rng = random.Random(key.digest())
        judging = "last reader" in body["messages"][0]["content"]
        number = next(self.of_judge if judging else self.of_teacher)
        did = self.scheduled(number, judging)
        tokens_in = sum(len(message["content"]) for message in body["messages"]) // 4
        tokens_out = rng.randint(50, body["max_tokens"])
        if did in ("cut off", "hang", "500"):
            tokens_out = body["max_tokens"]

        def wrote(bills: bool, whole: bool = False) -> None:
            billed = {"in": tokens_in if bills else 0, "out": tokens_out if bills else 0}
            line = {"key": key.hexdigest(), "did": did, **billed, "whole": whole}
            self.log.write(json.dumps(line) + "\n")
            self.log.flush()

        if did == "429":
            wrote(bills=False)
            return web.Response(status=429, headers={"Retry-After": "0.2"}, text="busy")
        if did == "503":
            wrote(bills=False)
            return web.Response(status=503, text="busy")
        await asyncio.sleep(self.calm or rng.uniform(0.01, 0.06))
        wrote(bills=True)  # billed, whether or not anybody is still there to read it
        if did == "500":  # it worked on it before it failed
            return web.Response(status=500, text="boom")
        if did == "hang":
            await asyncio.sleep(30)
            return web.Response(status=500, text="too late")
        text = self.judged(number) if judging else self.written(did, body, rng)
        data = completion(did, text, tokens_in, tokens_out)
        half = data[: len(data) // 2]
        if did == "half body":
            data = half
        length = {"Content-Type": "application/json", "Content-Length": str(len(data))}
        response = web.StreamResponse(headers=length)
        await response.prepare(request)
        if did == "half reply":
            await response.write(half)
            request.transport.close()
        else:
            await response.write(data)
            await response.write_eof()
            wrote(bills=False, whole=True)
        return response

    def scheduled(self, number: int, judging: bool) -> str:
        """What the server does with its so manieth request: a storm of 429 now and then."""
        storm = next(self.requests) % 200 < 12
        if self.calm:
            return "good"
        if storm:
            return "429"
        did = next((what for every, what in SCHEDULE.items() if number % every == 0), "good")
        return "good" if judging and did in ONLY_A_TEACHER else did

    def judged(self, number: int) -> str:
        """A judge's scores; now and then below the bar."""
        scores = {"why": "-", "voice": 5, "correctness": 4 + number % 2, "helpfulness": 5}
        if not self.calm and number % 29 == 0:
            scores["voice"] = 2
        return json.dumps(scores)

    def written(self, did: str, body: dict, rng: random.Random) -> str:
        """A teacher's row, with what the schedule wants to be wrong with it."""
        made = row(body, rng, self.answers)
        text = spoilt(did, made, self.last)
        if did == "good":
            self.last = [made]
        return text


def completion(did: str, text: str, tokens_in: int, tokens_out: int) -> bytes:
    """A chat completion's body."""
    message: dict = {"role": "assistant", "content": text}
    if did == "refusal":
        message |= {"refusal": "no", "content": None}
    ended = "length" if did == "cut off" else "stop"
    body = {
        "model": "server-1",
        "choices": [{"index": 0, "message": message, "finish_reason": ended}],
        "usage": {
            "prompt_tokens": tokens_in,
            "completion_tokens": tokens_out,
            "total_tokens": tokens_in + tokens_out,
        },
    }
    return json.dumps(body).encode()


async def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("log", type=Path)
    parser.add_argument("--calm", type=float, help="answer everything well, after so many seconds")
    parser.add_argument("--answers", type=Path)
    args = parser.parse_args()
    answers = json.loads(args.answers.read_text()) if args.answers else {}
    server = Server(args.log.open("a"), answers, args.calm)
    app = web.Application(client_max_size=2**26)
    app.router.add_post("/v1/chat/completions", server.reply)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", args.port).start()
    print("ready", flush=True)
    await asyncio.Event().wait()


asyncio.run(main())
