"""Asking: what each failure may cost, what is asked again, what an older store still gives."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

pytest.importorskip("inspect_ai")
from aiohttp import web
from inspect_ai.model import ChatMessageUser, GenerateConfig, ModelOutput, ModelUsage
from pydantic import BaseModel

from common.asking import ledger, replies, retries
from common.asking.client import Address, AskingError, Client, Reply, key_of
from common.asking.database import Database, StoreError
from common.asking.ledger import Charge, Ledger
from common.asking.messages import of_row
from common.asking.paid import PaidClient, PricedModel, Request
from common.asking.replies import Replies, body_of, completion_of, usage_of
from common.asking.retries import NoReply, Stop, seconds_of

KEY = "sk-a-key-of-nobody"
GOOD = {
    "model": "server-1",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "Measure it."},
            "finish_reason": "stop",
        }
    ],
    "usage": {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 150},
}
PRICED = PricedModel(
    model="m", dollars_in=0.4, dollars_out=1.7, max_tokens=500, parameters={"temperature": 0.5}
)
EXACT = Charge(100 * 400_000 + 50 * 1_700_000, 150)  # the total has 30 tokens of reasoning more


class Line(BaseModel):
    """What is replied with."""

    said: str


REQUEST = Request([{"role": "user", "content": "Why?"}], 1, "async", Line)


@asynccontextmanager
async def server(*answers: object):
    """A server on loopback that gives its answers in turn, the last one for ever; yields (url,
    bodies asked).
    """
    asked: list[dict] = []

    async def reply(request: web.Request) -> web.StreamResponse:
        asked.append(await request.json())
        answer = answers[min(len(asked), len(answers)) - 1]
        if answer == "hang":
            await asyncio.sleep(30)
        if answer == "lost":
            request.transport.close()
        if isinstance(answer, tuple):
            return web.json_response(answer[1], status=answer[0])
        if isinstance(answer, int):
            return web.Response(status=answer, text=f"no, {KEY}", headers={"Retry-After": "0.01"})
        text = json.dumps(answer) if isinstance(answer, dict) else str(answer)
        return web.Response(text=text, content_type="application/json")

    app = web.Application(client_max_size=2**26)
    app.router.add_post("/v1/chat/completions", reply)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1", asked
    finally:
        await runner.cleanup()


def client(url: str) -> Client:
    return Client(Address(url, "m", KEY), "url in here.yaml", 8, 3.0, backoff_seconds=0.001)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with closing(Database(tmp_path / "store", ledger.SCHEMA + replies.SCHEMA)) as opened:
        yield opened


def paid(database: Database, url: str | None, cap: float = 1.0) -> PaidClient:
    bill = Ledger(database, cap, 10**9, "here.yaml")
    asked = client(url) if url else None
    return PaidClient(asked, PRICED, "teacher", Replies(database), bill)


def asked_of(database: Database, *answers: object) -> tuple[str | Exception, PaidClient, list]:
    """(what asking brought, the client, the bodies that the server saw)."""

    async def run():
        async with server(*answers) as (url, bodies):
            asking = paid(database, url)
            try:
                _, brought = await asking.ask(REQUEST)
            except (NoReply, Stop) as error:
                brought = error
            await asking.close()
            return brought, asking, bodies

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("answer", "outcome", "free"),
    [
        (429, "HTTP 429", True),
        (503, "HTTP 503", True),
        (529, "HTTP 529", True),
        (500, "HTTP 500", False),
        (502, "HTTP 502", False),
        (408, "HTTP 408", False),
        ("hang", "AttemptTimeoutError", False),
        ("lost", "APIConnectionError", False),
    ],
)
def test_what_may_pass_is_asked_again_and_what_may_have_been_worked_on_stays_charged(
    database, answer, outcome, free
):
    brought, asking, bodies = asked_of(database, answer, GOOD)
    assert json.loads(brought) == GOOD and len(bodies) == 2
    assert asking.ledger.outcomes() == {outcome: 1, "reply": 1}
    failed = database.read("SELECT picodollars FROM calls WHERE outcome != 'reply'").fetchone()[0]
    assert (failed == 0) == free
    assert asking.ledger.spent == failed + EXACT.picodollars


@pytest.mark.parametrize("answer", [400, 413, 422])
def test_a_request_that_is_refused_is_not_asked_again_and_costs_nothing(database, answer):
    brought, asking, bodies = asked_of(database, answer)
    assert isinstance(brought, NoReply) and str(brought) == f"HTTP {answer}"
    assert len(bodies) == 1 and asking.ledger.spent == 0


@pytest.mark.parametrize("answer", [401, 402, 403, 404])
def test_a_wrong_address_or_key_stops_everything_in_one_line_without_the_key(database, answer):
    brought, asking, bodies = asked_of(database, answer)
    assert isinstance(brought, Stop) and f"HTTP {answer}: no, [key]" in str(brought)
    assert "look at url in here.yaml" in str(brought) and KEY not in str(brought)
    assert len(bodies) == 1 and asking.ledger.spent == 0


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/v1", "ftp://x/v1", "127.0.0.1:9/v1"])
def test_no_server_stops_everything_and_costs_nothing(database, url):
    async def run():
        asking = paid(database, url)
        with pytest.raises(Stop, match="Cannot connect: .*; start it, or look at url in here.yaml"):
            await asking.ask(REQUEST)
        await asking.close()
        return asking.ledger.spent

    assert asyncio.run(run()) == 0


@pytest.mark.parametrize(
    "answer", ['{"choices": [{"ind', "hello", "[1]", '{"choices": null}', '{"choices": []}', ""]
)
def test_a_whole_body_that_is_no_completion_is_paid_for_kept_and_not_asked_again(database, answer):
    brought, asking, bodies = asked_of(database, answer)
    assert brought == answer and len(bodies) == 1
    assert asking.ledger.outcomes() == {"reply": 1}
    assert asking.ledger.spent > 0, "nobody told what it cost: the worst case stays"
    again, asking, bodies = asked_of(database, GOOD)
    assert again == answer and bodies == []
    with pytest.raises(replies.NoCompletion):
        completion_of(answer)


def test_five_requests_given_up_in_a_row_stop_the_run(database):
    async def run():
        async with server(400) as (url, _):
            asking = paid(database, url)
            for number in range(retries.GIVEN_UP_IN_A_ROW):
                request = Request([{"role": "user", "content": f"{number}"}], 1, "async")
                expected = Stop if number == retries.GIVEN_UP_IN_A_ROW - 1 else NoReply
                with pytest.raises(expected, match="HTTP 400"):
                    await asking.ask(request)
            await asking.close()

    asyncio.run(run())


def test_requests_alike_under_way_at_once_are_asked_once(database):
    async def run():
        async with server(GOOD) as (url, bodies):
            asking = paid(database, url)
            brought = await asyncio.gather(*(asking.ask(REQUEST) for _ in range(5)))
            await asking.close()
            return brought, bodies

    brought, bodies = asyncio.run(run())
    assert len(set(brought)) == 1 and len(bodies) == 1


def test_the_wire_says_to_the_letter_what_the_key_is_made_of(database):
    _, _, bodies = asked_of(database, GOOD)
    schema = {"name": "Line", "strict": True, "schema": Line.model_json_schema()}
    assert bodies == [
        {
            "model": "m",
            "messages": [{"role": "user", "content": "Why?"}],
            "max_tokens": 500,
            "response_format": {"type": "json_schema", "json_schema": schema},
            "temperature": 0.5,
        }
    ]
    keys = [key.hex() for (key,) in database.read("SELECT key FROM replies")]
    # Another key would pay for every stored reply again.
    assert keys == ["3bed4d8b463d571106e0650c3258d07c38cc753df219864a3fcf72925175db38"]


def test_pictures_are_sent_as_data_urls_and_charged_by_number_not_by_bytes(database):
    url = "data:image/png;base64," + "A" * 100_000
    picture = {"type": "image_url", "image_url": {"url": url}}
    content = [picture, {"type": "text", "text": "What is it?"}]

    async def run():
        async with server(GOOD) as (address, bodies):
            asking = paid(database, address)
            await asking.ask(Request([{"role": "user", "content": content}], 1, "async"))
            await asking.close()
            return bodies[0]["messages"][0]["content"]

    sent = asyncio.run(run())
    assert sent[0]["image_url"]["url"] == url and sent[1] == content[1]


def test_the_evaluation_gets_what_inspect_reads_and_tries_again_what_is_no_reply():
    async def run(*answers):
        async with server(*answers) as (url, bodies):
            asking = client(url)
            reply = await asking.ask([ChatMessageUser(content="Why?")], GenerateConfig(seed=3))
            await asking.close()
            return reply, bodies

    reply, bodies = asyncio.run(run(429, "half", GOOD))
    assert reply.output.completion == "Measure it." and reply.status == 200
    assert [body["seed"] for body in bodies] == [3, 3, 3]


def test_a_body_that_no_sdk_shows_is_written_as_a_completion():
    output = ModelOutput.from_content("claude", "It waits.", stop_reason="max_tokens")
    output.usage = ModelUsage(
        input_tokens=10, output_tokens=5, total_tokens=25, input_tokens_cache_read=8
    )
    body = body_of(Reply(200, "", output))
    assert completion_of(body).text == "It waits." and completion_of(body).ended == "length"
    assert usage_of(body) == (18, 7), (
        "what a cache served is billed, and so is what the total has more"
    )


def test_a_prompt_that_is_too_long_is_a_reply_that_was_cut_off_for_who_does_not_pay():
    async def run():
        async with server((400, {"error": {"code": "context_length_exceeded"}})) as (url, _):
            asking = client(url)
            reply = await asking.ask([ChatMessageUser(content="Why?")], GenerateConfig())
            await asking.close()
            return reply

    reply = asyncio.run(run())
    assert reply.status == 400 and completion_of(body_of(reply)).ended == "length"


def test_of_two_replies_to_one_request_the_first_stays(database):
    kept = Replies(database)

    async def run():
        kept.keep(b"key", 1, "first")
        kept.keep(b"key", 2, "second")
        await database.written()

    asyncio.run(run())
    assert kept.body(b"key") == "first"


OLD_STORE = """
CREATE TABLE calls (id INTEGER PRIMARY KEY, category TEXT, role TEXT, picodollars INTEGER, tokens INTEGER,
    outcome TEXT);
CREATE TABLE replies (key BLOB PRIMARY KEY, call INTEGER, body TEXT);
INSERT INTO calls VALUES (1, 'async', 'teacher', 700, 7, 'reply'), (2, 'async', 'teacher', 50, 5, NULL);
"""


def test_a_store_of_an_older_version_is_read_and_what_it_left_open_stays_charged(tmp_path):
    path = tmp_path / "store"
    probe = Database(tmp_path / "probe", ledger.SCHEMA + replies.SCHEMA)
    _, _, _ = asked_of(probe, GOOD)
    key = probe.read("SELECT key FROM replies").fetchone()[0]
    probe.close()
    with closing(sqlite3.connect(path)) as old:
        old.executescript(OLD_STORE)
        old.execute("INSERT INTO replies VALUES (?, 1, ?)", (key, json.dumps(GOOD)))
        old.commit()
    with closing(Database(path, ledger.SCHEMA + replies.SCHEMA)) as database:
        brought, asking, bodies = asked_of(database, 500)
        assert json.loads(brought) == GOOD and bodies == []
        assert asking.ledger.spent == 750 and asking.ledger.tokens == 12
        assert asking.ledger.outcomes() == {"lost in flight": 1, "reply": 1}


def test_a_call_waits_for_room_under_the_cap_and_stops_where_none_can_come(database):
    async def run():
        bill = Ledger(database, 100 / ledger.PICODOLLARS, 10**9, "here.yaml")
        first = await bill.reserve("async", "teacher", Charge(80, 1))
        second = asyncio.create_task(bill.reserve("async", "teacher", Charge(80, 1)))
        await asyncio.sleep(0.05)
        assert not second.done(), "the cap would have been passed"
        await bill.settle(first, "reply", Charge(20, 1))
        await second
        with pytest.raises(Stop, match="in here.yaml is reached"):
            await bill.settle(await second, "reply", None)
            await bill.reserve("async", "teacher", Charge(1, 1))
        return bill.spent

    assert asyncio.run(run()) == 100


def test_a_full_disk_and_a_second_run_are_one_line(database, tmp_path):
    with pytest.raises(StoreError, match="another run has it open; wait for it"):
        Database(database.path, ledger.SCHEMA)
    (tmp_path / "none").write_bytes(b"no database, " * 1000)
    with pytest.raises(StoreError, match="move it away to start anew"):
        Database(tmp_path / "none", ledger.SCHEMA)


def test_a_key_comes_from_the_environment_and_is_shown_nowhere(monkeypatch):
    monkeypatch.setenv("A_KEY", KEY)
    assert key_of("A_KEY", "judge") == KEY and key_of(None, "judge") == "none"
    monkeypatch.delenv("A_KEY")
    with pytest.raises(AskingError, match="judge: set the environment variable A_KEY"):
        key_of("A_KEY", "judge")
    assert KEY not in repr(Address("http://x/v1", "m", KEY))


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("0.2", 0.2),
        ("-3", 0.0),
        ("soon", None),
        ("999999", 600.0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
    ],
)
def test_a_wait_that_is_asked_for_is_read_from_seconds_and_dates(header, seconds):
    assert seconds_of(header) == seconds


def test_a_native_provider_is_asked_without_retries_of_its_sdk():
    asking = Client(
        Address("http://127.0.0.1:9/v1", "gpt-4o", KEY, "openai"), "here", 2, 5.0, 0.001
    )

    async def run():
        with pytest.raises(Stop, match="Cannot connect"):
            await asking.ask([ChatMessageUser(content="Why?")], GenerateConfig(max_tokens=5))
        await asking.close()

    asyncio.run(run())
    assert asking.model.api.client.max_retries == 0


def test_a_provider_whose_package_is_missing_is_named_in_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "anthropic", None)
    with pytest.raises(AskingError, match="provider anthropic: .* is not installed; "):
        Client(Address("", "claude", KEY, "anthropic"), "here", 2, 5.0)


def test_a_rows_message_is_sent_with_its_pictures_and_calls(tmp_path):
    (tmp_path / "a.png").write_bytes(b"pixels")
    picture = {"type": "image", "path": "a.png"}
    text = {"type": "text", "text": "What is this?"}
    seen = of_row({"role": "user", "content": [picture, text]}, tmp_path)
    assert [part.type for part in seen.content] == ["image", "text"]
    assert seen.content[0].image == "data:image/png;base64,cGl4ZWxz"
    assert of_row({"role": "user", "content": [text]}, tmp_path).content == "What is this?"
    assert of_row({"role": "system", "content": [text]}, tmp_path).role == "system"
    call = {"id": "1", "function": {"name": "look", "arguments": '{"at": "door"}'}}
    calling = {"role": "assistant", "content": [], "tool_calls": [call | {"type": "function"}]}
    asked = of_row(calling, tmp_path)
    assert (asked.tool_calls[0].function, asked.tool_calls[0].arguments) == ("look", {"at": "door"})
    told = of_row({"role": "tool", "content": [text], "tool_call_id": "1"}, tmp_path)
    assert (told.role, told.tool_call_id, told.text) == ("tool", "1", "What is this?")
