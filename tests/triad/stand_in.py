"""Stand-ins of members: OpenAI-compatible servers, one a port, that say what they are told to say."""

import asyncio
import json
import threading
from dataclasses import dataclass, field

from aiohttp import web

from common import chat


@dataclass
class Says:
    """What a member answers.

    Args:
        form: parsed (reasoning in a field, as vLLM does) | marked (all in the text, as llama.cpp).
        breaks: Close the connection after so many pieces.
        silent: End the stream after the text, without saying why and that it ended.
        length: Of the pieces, in characters.
        last: Put the last text into the piece that ends the reply.
    """

    answer: str = "Done."
    reasoning: str = "Let me see."
    form: str = "parsed"
    finish: str = "stop"
    status: int = 200
    seconds: float = 0.0  # before anything
    pause: float = 0.0  # between two pieces
    breaks: int | None = None
    silent: bool = False
    length: int = 12
    last: bool = False
    error: str = "no"
    fields: dict = field(default_factory=dict)  # more of the message

    def texts(self) -> tuple[str, str]:
        """(reasoning, text) as this kind of server gives them."""
        if self.form == "marked":
            return "", chat.compose(self.reasoning, self.answer) + "\n"
        return self.reasoning, self.answer


class Member:
    """A server; `asked` holds the bodies of the requests it got."""

    def __init__(self, says: Says):
        self.says = says
        self.asked: list[dict] = []
        self.peers: list[tuple] = []  # the other end of each request's connection
        self.port = 0

    async def start(self):
        app = web.Application(client_max_size=64 * 2**20)
        app.router.add_post("/v1/chat/completions", self.answer)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, backlog=1024)
        await site.start()
        self.port = site._server.sockets[0].getsockname()[1]

    async def answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.asked.append(body)
        self.peers.append(request.transport.get_extra_info("peername"))
        says = self.says
        await asyncio.sleep(says.seconds)
        if says.status != 200:
            return web.json_response({"error": {"message": says.error}}, status=says.status)
        thought, text = says.texts()
        usage = {"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150}
        head = {"id": "chatcmpl-1", "created": 1, "model": body["model"]}
        if not body.get("stream"):
            message = {"role": "assistant", "content": text} | says.fields
            if thought:
                message["reasoning"] = thought
            choice = {"index": 0, "message": message, "finish_reason": says.finish}
            whole = head | {"object": "chat.completion", "choices": [choice], "usage": usage}
            return web.json_response(whole)
        reply = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await reply.prepare(request)
        pieces = [{"reasoning": part} for part in _cut(thought, says.length)]
        pieces += [{"content": part} for part in _cut(text, says.length)]
        ending = pieces.pop() if says.last else {}
        for number, delta in enumerate(pieces):
            if number == says.breaks:
                request.transport.abort()
                return reply
            choice = {"index": 0, "delta": {"role": "assistant"} | delta, "finish_reason": None}
            await self._send(reply, head | {"choices": [choice]})
            await asyncio.sleep(says.pause)
        if says.silent:
            return reply
        choice = {"index": 0, "delta": ending, "finish_reason": says.finish}
        await self._send(reply, head | {"choices": [choice]})
        if (body.get("stream_options") or {}).get("include_usage"):
            await self._send(reply, head | {"choices": [], "usage": usage})
        await reply.write(b"data: [DONE]\n\n")
        return reply

    async def _send(self, reply: web.StreamResponse, piece: dict):
        line = json.dumps(piece | {"object": "chat.completion.chunk"})
        await reply.write(f"data: {line}\n\n".encode())


def _cut(text: str, length: int) -> list[str]:
    return [text[at : at + length] for at in range(0, len(text), length)]


def start(members: dict[str, Member]):
    """Start servers in a thread of this process; their ports stand in them then."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    for member in members.values():
        asyncio.run_coroutine_threadsafe(member.start(), loop).result(10)
