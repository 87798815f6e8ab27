"""Pieces that come together are joined before LiteLLM sees them, and nothing but texts is."""

import asyncio
import contextlib
import json
import threading
import time

import httpx
from house import KEY
from stand_in import Says

from common.servers import Endpoint
from serving import talk
from serving.triad.pieces import Gathered, gather, joined


def event(delta, **more):
    choice = {"index": 0, "delta": delta, "finish_reason": None} | more.pop("choice", {})
    return b"data: " + json.dumps({"id": "c", "choices": [choice]} | more).encode()


def told(lines):
    """What a reader gets of lines: (name, text) of each delta, or the line."""
    found = []
    for line in lines:
        if b"choices" in line:
            [choice] = json.loads(line.removeprefix(b"data:"))["choices"]
            found.append({name: text for name, text in choice["delta"].items() if name != "role"})
        else:
            found.append(line)
    return found


def test_texts_of_one_kind_that_follow_each_other_are_one_event():
    lines = [
        event({"role": "assistant", "content": None}),
        event({"reasoning": "Let "}),
        b"",
        event({"role": "assistant", "reasoning": "me\n"}),
        b"\r",
        event({"content": "It "}),
        event({"content": "is\u2028"}),
        event({"content": "42"}, choice={"index": 1}),
        b"data: [DONE]",
    ]
    assert told(joined(lines)) == [
        {"content": None},
        {"reasoning": "Let me\n"},
        {"content": "It is\u2028"},
        {"content": "42"},
        b"data: [DONE]",
    ]


def test_what_is_more_than_a_text_stays_as_it_came():
    text = event({"content": "a"})
    others = [
        event({"content": "b"}, choice={"finish_reason": "stop"}),
        event({"content": "b"}, choice={"logprobs": {"content": []}}),
        event({"content": "b"}, usage={"prompt_tokens": 1}),
        event({"content": "b", "tool_calls": [{"index": 0}]}),
        event({"refusal": "b"}),
        event({}),
        b'data: {"choices": []}',
        b'data: {"error": {"message": "full"}}',
        b"data: {broken",
        b"data: 7",
        b": ping",
        b"event: error",
    ]
    for other in others:
        assert list(joined([text, other, text]))[1] == other


def test_a_stream_is_whole_wherever_it_is_cut(monkeypatch):
    monkeypatch.setattr("serving.triad.pieces.PAUSE_SECONDS", 0)
    texts = ["Ein ", "Zug \u00e4", "\u2014 ", "f\u00e4hrt", "."]
    sent = b"".join(event({"content": text}) + b"\n\n" for text in texts) + b"data: [DONE]\n\n"
    sent += b'data: {"choices": []}'  # and no end of line

    async def read(size):
        async def blocks():
            for at in range(0, len(sent), size):
                yield sent[at : at + size]

        response = httpx.Response(200, headers={"content-type": "text/event-stream; x=y"})
        response.stream = blocks()
        await gather(response)
        assert isinstance(response.stream, Gathered)
        return b"".join([block async for block in response.stream])

    for size in (1, 7, 100, 10_000):
        lines = [line for line in asyncio.run(read(size)).split(b"\n") if line]
        assert lines[-2:] == [b"data: [DONE]", b'data: {"choices": []}']
        heard = [piece["content"] for piece in told(lines[:-2])]
        assert "".join(heard) == "".join(texts)
    assert heard == ["".join(texts)]


def test_a_stream_with_much_to_read_is_not_held_up(house):
    """Pieces with probabilities, say: a token of them is thousands of bytes."""
    house.members["aether"].says = Says("a" * 1_500_000, "Hm.", length=500_000)
    started = time.monotonic()
    made = house.client.chat.completions.create(
        model="aether", messages=[{"role": "user", "content": "?"}], stream=True
    )
    text = "".join(piece.choices[0].delta.content or "" for piece in made if piece.choices)
    assert len(text) == 1_500_000 and time.monotonic() - started < 5


def test_only_streams_that_can_be_read_are_gathered():
    for headers in (
        {"content-type": "application/json"},
        {"content-type": "text/event-stream", "content-encoding": "gzip"},
    ):
        response = httpx.Response(200, headers=headers)
        before = response.stream
        asyncio.run(gather(response))
        assert response.stream is before


def test_a_client_hears_fewer_pieces_and_every_word(house):
    house.members["aether"].says = Says("It is done. " * 40, "Let me see. " * 40)
    made = house.client.chat.completions.create(
        model="aether", messages=[{"role": "user", "content": "?"}], stream=True
    )
    deltas = [piece.choices[0].delta for piece in made if piece.choices]
    assert "".join(delta.content or "" for delta in deltas) == "It is done. " * 40
    thought = "".join(getattr(delta, "reasoning_content", None) or "" for delta in deltas)
    assert thought == "Let me see. " * 40
    assert len(deltas) < 40  # of 80 that were sent


def test_a_reply_with_ends_of_line_of_all_kinds_is_read_whole(house, monkeypatch):
    text = "One\u2028two\u2029three\u0085four"
    house.members["aether"].says = Says(text)
    monkeypatch.setenv("TRIAD_KEY", KEY)
    endpoint = Endpoint(f"http://127.0.0.1:{house.port}/v1", "triad", "given", 1, "TRIAD_KEY")
    messages = [{"role": "user", "content": "?"}]
    *_, reply = talk.ask(endpoint, messages, 100, threading.Event())
    assert not reply.problem and reply.text == text and reply.finish == "stop"


def test_a_last_line_without_an_end_is_read(monkeypatch):
    ending = {"index": 0, "delta": {"content": "42."}, "finish_reason": "stop"}
    sent = httpx.Response(200, content=b"data: " + json.dumps({"choices": [ending]}).encode())
    monkeypatch.setattr(httpx, "stream", lambda *_, **__: contextlib.nullcontext(sent))
    endpoint = Endpoint("http://127.0.0.1:9/v1", "triad", "given", 1)
    *_, reply = talk.ask(endpoint, [], 100, threading.Event())
    assert reply.text == "42." and reply.finish == "stop"
