"""The Triad behind one address: who goes on, what they see, what never leaves, what it may cost."""

import json
import re
import shlex
import signal
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import httpx
import openai
import pytest
import redis
import yaml
from house import KEY, OUTSIDE, command
from stand_in import Says

from common.files import ROOT

PICTURE = "data:image/png;base64,iVBORw0KGgo="
ASKED = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "My name is Ada."},
    {"role": "assistant", "content": "Hello Ada."},
    {
        "role": "user",
        "content": [
            {"type": "text", "text": "What is it?"},
            {"type": "image_url", "image_url": {"url": PICTURE}},
        ],
    },
]
TO_EDGE = "It must be decided there.\n\nRoute: edge"
TO_GROK = "It is fresh.\n\nRoute: grok-4-fast"


def ask(house, stream=False, model="triad", messages=ASKED, **more):
    """(text, finish, the field `triad`, tokens) of a reply, whole or streamed."""
    extra = {name: more.pop(name, None) for name in ("metadata", "litellm_metadata")}
    extra = {name: value for name, value in extra.items() if value is not None}
    made = house.client.chat.completions.create(
        model=model, messages=messages, stream=stream, extra_body=extra, **more
    )
    if not stream:
        choice = made.choices[0]
        told = (made.model_extra or {}).get("triad")
        return choice.message.content, choice.finish_reason, told, made.usage.total_tokens
    text, finish, told, tokens, ids = "", None, None, None, set()
    for piece in made:
        ids.add(piece.id)
        told = (piece.model_extra or {}).get("triad") or told
        tokens = piece.usage.total_tokens if piece.usage else tokens
        for choice in piece.choices:
            text += choice.delta.content or ""
            finish = choice.finish_reason or finish
    assert len(ids) == 1
    return text, finish, told, tokens


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("form", "last"), [("parsed", False), ("marked", False), ("parsed", True)])
def test_the_member_named_goes_on_in_the_same_reply(house, form, last, stream):
    house.members["aether"].says = Says(TO_EDGE, form=form, last=last)
    house.members["edge"].says = Says("Stop the belt.", finish="length")
    more = {"stream_options": {"include_usage": True}} if stream else {}
    text, finish, told, tokens = ask(house, stream, **more)
    assert text == f"{house.members['aether'].says.texts()[1]}\n\n[edge]\nStop the belt."
    assert (finish, told) == ("length", {"route": "edge", "outcome": "answered"})
    assert tokens == 300  # of both
    (body,) = house.asked("edge")
    assert body["model"] == "model-of-edge"
    assert body["messages"][:-2] == ASKED  # inside the house the conversation goes along, whole
    brief = {"role": "assistant", "content": "It must be decided there."}
    assert body["messages"][-2] == brief and "hands this over" in body["messages"][-1]["content"]
    decision = house.decisions()[-1]
    assert decision["outcome"] == "answered" and decision["dollars"] == 0
    assert decision["seconds"] >= decision["member_seconds"] > 0


def test_no_idle_connection_is_used_again(house):
    """A server closes it after seconds; what is sent into it at that moment is lost."""
    house.members["aether"].says = Says(TO_EDGE)
    for stream in (False, True, False, True):
        assert ask(house, stream)[2]["outcome"] == "answered"
    for id_ in ("aether", "edge"):
        peers = house.members[id_].peers
        assert len(peers) == 4 and len(set(peers)) == 4


def test_a_member_that_does_not_see_gets_no_picture(house):
    house.members["aether"].says = Says("It is long.\n\nRoute: long-context")
    assert ask(house)[2]["outcome"] == "answered"
    (body,) = house.asked("long-context")
    assert "image_url" not in json.dumps(body) and "What is it?" in json.dumps(body)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("pictures", [False, True])
def test_outside_goes_the_last_turn_and_the_brief_and_no_picture_unless_allowed(
    house, pictures, stream
):
    house.members["aether"].says = Says("Look.\n\nRoute: claude-sonnet-4.5")
    house.members["claude-sonnet-4.5"].says = Says("I looked.")
    text, _, told, _ = ask(house, stream, metadata={"outside": True, "pictures": pictures})
    assert text.endswith("\n\n[claude-sonnet-4.5]\nI looked.") and told["outcome"] == "answered"
    (body,) = house.asked("claude-sonnet-4.5")
    assert [message["role"] for message in body["messages"]] == ["user", "assistant", "user"]
    sent = json.dumps(body)
    assert "What is it?" in sent and "Look." in sent
    assert (PICTURE in sent) is pictures
    assert not any(word in sent for word in ("Ada", "Be brief", "Let me see", "Route:", "outside"))
    cost = house.decisions()[-1]["dollars"]
    assert cost == pytest.approx((100 * 3 + 50 * 15) / 1e6)


STAY = {  # name: (what AetherAI says, more of the request, outcome)
    "no line": (Says("I do it."), {}, "stayed"),
    "negation": (Says("I would not route it to grok-4-fast: it is private."), {}, "stayed"),
    "negated line": (Says("Here.\n\nRoute: grok-4-fast is no option."), {}, "stayed"),
    "not the last line": (Says("Route: grok-4-fast\n\nOr rather not."), {}, "stayed"),
    "in a fence": (Says("Write\n```\nRoute: grok-4-fast\n```"), {}, "stayed"),
    "two members": (Says("Here.\n\nRoute: grok-4-fast, edge"), {}, "stayed"),
    "itself": (Says("Mine.\n\nRoute: self"), {}, "stayed"),
    "in the reasoning": (Says("I do it.", "Hm.\n\nRoute: grok-4-fast"), {}, "stayed"),
    "in the reasoning, marked": (
        Says("I do it.", "Hm.\n\nRoute: grok-4-fast", form="marked"), {}, "stayed",
    ),
    "unknown": (Says("Here.\n\nRoute: gpt-9"), {}, "unknown"),
    "cut": (Says(TO_GROK, finish="length"), {}, "unfinished"),
    "cut, marked": (Says(TO_GROK, form="marked", finish="length"), {}, "unfinished"),
    "never answered": (Says("", f"{TO_GROK}"), {}, "unfinished"),
    "no form at all": (Says(TO_GROK, ""), {}, "unfinished"),
    "calls a tool": (
        Says(TO_GROK, finish="tool_calls", fields={"tool_calls": [
            {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]}),
        {}, "unfinished",
    ),
    "several replies": (Says(TO_GROK), {"n": 2}, None),
    "AetherAI alone": (Says(TO_GROK), {"model": "aether"}, None),
    "not allowed": (Says(TO_GROK), {"metadata": {}}, "closed"),
    "forbidden": (Says(TO_GROK), {"metadata": {"outside": False}}, "closed"),
    "a word for true": (Says(TO_GROK), {"metadata": {"outside": "true"}}, "closed"),
    "metadata of LiteLLM": (
        Says(TO_GROK), {"metadata": {}, "litellm_metadata": {"outside": True}}, "closed",
    ),
    "forged": (
        Says(TO_GROK),
        {"metadata": None, "litellm_metadata": {"requester_metadata": {"outside": True}}},
        "closed",
    ),
    "no object": (Says(TO_GROK), {"metadata": [{"outside": True}]}, "closed"),
    "said in the text": (
        Says(TO_GROK),
        {"metadata": None, "messages": [{"role": "user", "content": '"metadata": {"outside": true}'}]},
        "closed",
    ),
    "another answers in its place": (Says(status=500), {}, "unfinished"),
}  # fmt: skip


@pytest.mark.parametrize("name", STAY)
def test_all_else_stays_with_aether_and_nobody_outside_is_asked(house, name):
    says, more, outcome = STAY[name]
    assert len(STAY) >= 20
    house.members["aether"].says = says
    house.members["long-context"].says = Says(TO_GROK)
    stream = "tool" not in name and "several" not in name
    text, _, told, _ = ask(house, stream, **{"metadata": {"outside": True}} | more)
    assert text == (TO_GROK if says.status == 500 else says.texts()[1])
    assert (told or {}).get("outcome") == outcome
    assert not any(house.asked(id_) for id_ in (*OUTSIDE, "edge"))


@pytest.mark.parametrize(
    "body",
    [
        {"model": "grok-4-fast"},
        {"model": "openai/model-of-grok-4-fast"},
        {"model": "xai/grok-4"},
        {"model": "triad", "fallbacks": ["grok-4-fast"]},
        {"model": "triad", "fallbacks": ["xai/grok-4"]},
        {"model": "triad", "fallbacks": [{"model": "aether", "api_base": "grok"}]},
        {
            "model": "triad",
            "user_config": {
                "model_list": [
                    {
                        "model_name": "triad",
                        "litellm_params": {"model": "openai/x", "api_key": "k", "api_base": "grok"},
                    }
                ]
            },
        },
        {"model": "triad", "api_base": "grok"},
    ],
    ids=str,
)
def test_no_request_can_name_who_is_outside(house, body):
    house.members["aether"].says = Says(status=400)
    body = json.loads(
        json.dumps(body).replace('"grok"', f'"{house.environment["AETHER_GROK_URL"]}"')
    )
    model = body.pop("model") if "fallbacks" not in body else "triad"
    with pytest.raises(openai.APIStatusError):
        house.client.chat.completions.create(model=model, messages=ASKED, extra_body=body)
    assert not any(house.asked(id_) for id_ in OUTSIDE)


def test_only_the_routes_of_a_client_are_there_and_only_with_the_key(house):
    known = {model.id for model in house.client.models.list()}
    assert known == {"triad", "aether", "edge", "long-context"}
    for path in ("/anthropic/v1/messages", "/v1/messages", "/health", "/ui", "/key/generate", "/"):
        with pytest.raises(openai.NotFoundError):
            house.client.post(f"http://127.0.0.1:{house.port}{path}", cast_to=object, body={})
    stranger = openai.OpenAI(base_url=house.client.base_url, api_key="sk-other", max_retries=0)
    with pytest.raises(openai.AuthenticationError, match="TRIAD_KEY"):
        stranger.models.list()


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("says", "why"),
    [(Says(status=500), "InternalServerError"), (Says(seconds=30), "TimeoutError|Timeout")],
    ids=["down", "slow"],
)
def test_the_finished_answer_outlives_a_member_that_is_down_or_slow(house, says, why, stream):
    house.members["aether"].says = Says(TO_EDGE)
    house.members["edge"].says = says
    text, finish, told, _ = ask(house, stream)
    assert text == f"{TO_EDGE}\n\n[edge did not answer; what AetherAI said stands.]"
    assert finish == "stop" and told["outcome"].removeprefix("failed: ") in why.split("|") + [
        "RouterRateLimitError"
    ]


def test_a_client_that_leaves_pays_for_what_was_written(house):
    claude = "claude-sonnet-4.5"
    house.members["aether"].says = Says(f"Look.\n\nRoute: {claude}")
    house.members[claude].says = Says("word " * 400, pause=0.1)
    known = len(house.decisions())
    made = house.client.chat.completions.create(
        model="triad", messages=ASKED, stream=True, extra_body={"metadata": {"outside": True}}
    )
    text = ""
    for piece in made:
        text += piece.choices[0].delta.content or ""
        if "word" in text:
            break
    made.close()
    deadline = time.monotonic() + 30
    while len(house.decisions()) == known and time.monotonic() < deadline:
        time.sleep(0.1)
    assert house.decisions()[-1]["outcome"] == "left"
    paid = sum(line["dollars"] for line in house.decisions() if line["route"] == claude)
    server = redis.Redis.from_url(house.environment["REDIS_URL"])
    (purse,) = server.keys(f"triad:dollars:{claude}:*")
    assert float(server.get(purse)) == pytest.approx(paid) and paid > 0


def test_a_member_that_failed_often_is_left_alone(house):
    house.members["aether"].says = Says("Look.\n\nRoute: claude-sonnet-4.5")
    house.members["claude-sonnet-4.5"].says = Says(status=500)
    for _ in range(8):
        assert ask(house, metadata={"outside": True})[2]["outcome"].startswith("failed: ")
    assert 3 <= len(house.asked("claude-sonnet-4.5")) < 8
    assert sum(line["dollars"] for line in house.decisions()[-8:]) == 0


@pytest.mark.parametrize("how", [{"breaks": 2}, {"silent": True}])
def test_what_a_member_said_before_it_broke_stands(house, how):
    house.members["aether"].says = Says("It is long.\n\nRoute: long-context")
    house.members["long-context"].says = Says("One two three four five six.", **how)
    text, finish, told, _ = ask(house, stream=True)
    assert "[long-context]\nOne two" in text and "did not answer to its end" in text
    assert finish == "stop" and told["outcome"].startswith("failed: ")


def test_a_reply_that_never_says_that_it_ended_hands_over_to_nobody(house):
    house.members["aether"].says = Says("It is long.\n\nRoute: long-context", silent=True)
    house.members["long-context"].says = Says("Forty-two.")
    with pytest.raises(openai.APIError, match="ended before the reply"):
        ask(house, stream=True)
    assert not house.asked("long-context")


def test_fallbacks_stay_inside_the_house(house):
    house.members["long-context"].says = Says("I read it all.")
    house.members["aether"].says = Says(
        status=400, error="This model's maximum context length is 8192 tokens, you asked for 9000."
    )
    for stream in (False, True):
        assert ask(house, stream)[0] == "I read it all."
    house.members["edge"].says = Says(status=400, error="no")
    house.members["aether"].says = Says("I am here.")
    assert ask(house, model="edge")[0] == "I am here."
    assert not any(house.asked(id_) for id_ in OUTSIDE)


def test_a_budget_holds_also_at_once_and_across_a_kill(house):
    house.members["aether"].says = Says(TO_GROK)
    house.members["grok-4-fast"].says = Says("Fresh.")
    known = len(house.decisions())
    allowed = {"outside": True}
    # A reply costs 0.0015 of the day's 0.02; what is held back for it is up to 0.005.
    outcomes = [ask(house, metadata=allowed, max_tokens=300)[2]["outcome"] for _ in range(14)]
    answered = outcomes.count("answered")
    assert outcomes == ["answered"] * answered + ["failed: OverBudget"] * (14 - answered)
    assert 10 <= answered <= 13 and len(house.asked("grok-4-fast")) == answered
    spent = sum(line["dollars"] for line in house.decisions()[known:])
    assert spent == pytest.approx(0.0015 * answered) and spent <= 0.02
    house.stop(signal.SIGKILL)
    house.start()
    text, finish, told, _ = ask(house, metadata=allowed, max_tokens=300)
    assert text.startswith(TO_GROK) and finish == "stop"
    assert told == {"route": "grok-4-fast", "outcome": "failed: OverBudget"}
    assert len(house.asked("grok-4-fast")) == answered


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_proxy_though_a_stream_would_run_for_minutes(house, number):
    house.members["aether"].says = Says("word " * 1000, pause=1)
    made = house.client.chat.completions.create(model="triad", messages=ASKED, stream=True)
    next(iter(made))
    try:
        house.stop(number)
        with pytest.raises(httpx.RemoteProtocolError):
            list(made)
    finally:
        house.proxy.kill()
        house.start()


@pytest.mark.parametrize("most", [10**25, 1e300])
def test_a_limit_beyond_all_reason_does_not_empty_the_purse(house, most):
    purse = f"triad:dollars:grok-4-fast:{datetime.now(UTC).date()}"
    server = redis.Redis.from_url(house.environment["REDIS_URL"])
    server.set(purse, 0.0199)
    house.members["aether"].says = Says(TO_GROK)
    for limit in (most, 300):
        told = ask(house, metadata={"outside": True}, max_tokens=limit)[2]
        assert told["outcome"] == "failed: OverBudget"
    assert float(server.get(purse)) == pytest.approx(0.0199)
    assert not house.asked("grok-4-fast")


def test_a_limit_below_nothing_is_none(house):
    house.members["aether"].says = Says("Look.\n\nRoute: claude-sonnet-4.5")
    assert ask(house, metadata={"outside": True}, max_tokens=-1)[2]["outcome"] == "answered"
    (body,) = house.asked("claude-sonnet-4.5")
    assert body["max_tokens"] == 4096


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_stands_though_redis_dies_while_it_is_written(house, stream):
    house.members["aether"].says = Says("Look.\n\nRoute: claude-sonnet-4.5")
    house.members["claude-sonnet-4.5"].says = Says("I looked.", seconds=2)
    with ThreadPoolExecutor(1) as pool:
        reply = pool.submit(ask, house, stream, metadata={"outside": True})
        deadline = time.monotonic() + 20
        while not house.asked("claude-sonnet-4.5") and time.monotonic() < deadline:
            time.sleep(0.05)
        house.stop_redis()
        try:
            text, _, told, _ = reply.result()
        finally:
            house.start_redis()
    assert told["outcome"] == "answered" and text.endswith("[claude-sonnet-4.5]\nI looked.")


@pytest.mark.parametrize("killed", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_fifty_at_once_cannot_pass_a_budget_that_holds_ten(house, killed):
    purse = f"triad:dollars:grok-4-fast:{datetime.now(UTC).date()}"
    server = redis.Redis.from_url(house.environment["REDIS_URL"])
    server.set(purse, 0.005)  # of 0.02, and a reply costs 0.0015
    house.members["aether"].says = Says(TO_GROK)
    house.members["grok-4-fast"].says = Says("Fresh.", seconds=30 if killed else 1)
    asked = house.asked("grok-4-fast")
    known = len(house.decisions())

    def one(_):
        try:
            question = [{"role": "user", "content": "?"}]
            return ask(house, messages=question, metadata={"outside": True}, max_tokens=50)[2]
        except openai.APIConnectionError:
            return {"outcome": "killed"}

    with ThreadPoolExecutor(50) as pool:
        replies = pool.map(one, range(50))
        if killed:
            deadline = time.monotonic() + 20
            while len(house.decisions()) - known + len(asked) < 50 and time.monotonic() < deadline:
                time.sleep(0.1)
            house.stop(signal.SIGKILL)
        outcomes = Counter(reply["outcome"] for reply in replies)
    print(outcomes, float(server.get(purse)))
    went = outcomes["killed" if killed else "answered"]
    assert 0 < len(asked) <= 10 and sum(outcomes.values()) == 50
    assert float(server.get(purse)) <= 0.02
    if killed:
        house.start()
        assert float(server.get(purse)) >= 0.005 + 0.0015 * len(asked)  # none was given back
    else:
        assert went == len(asked) and outcomes["failed: OverBudget"] == 50 - went
        assert float(server.get(purse)) == pytest.approx(0.005 + 0.0015 * went)


def test_the_commands_of_the_page_do_what_they_say(house):
    page = (ROOT / "docs" / "triad.md").read_text()
    blocks = re.findall(r"^```(bash|python)\n(.*?)^```", page, re.M | re.S)
    assert [kind for kind, _ in blocks] == ["bash", "python"]
    for kind, text in blocks:
        words = ["bash", "-c"] if kind == "bash" else [sys.executable, "-c"]
        done = subprocess.run(
            [*words, text.replace(":4000", f":{house.port}")],
            env=house.environment, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0 and "Done." in done.stdout and "stayed" in done.stdout
    start = page.partition("```\n")[2].partition("```")[0]
    known = (ROOT / "datasets" / "aether" / "triad.yaml").read_text()
    for name in re.findall(r"([A-Z]+_[A-Z_]+)=", start):
        assert name == "TRIAD_KEY" or f": {name}\n" in known, name
    targets = (ROOT / "Makefile").read_text()
    for target in re.findall(r"make (\w+)", page):
        assert f"\n{target}: " in targets
    typed = [
        "make",
        "--no-print-directory",
        "-n",
        "-o",
        ".venvs/triad/.ready",
        "triad",
        "PORT=4001",
    ]
    printed = subprocess.run(typed, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    _, *words = command("aether", "--port", "4001")
    assert shlex.split(printed)[1:] == words  # what house.py starts


def test_no_key_is_written_down(house):
    written = (ROOT / "outputs" / "triad" / "config.yaml").read_text()
    for key in (KEY, "key-of-claude", "key-of-grok", "What is it?"):
        assert key not in written + house.log.read_text()
    assert "model-of-edge" in written and "model-of-grok" not in written


@pytest.mark.parametrize(
    ("unset", "problem"),
    [
        (["TRIAD_KEY"], "set TRIAD_KEY"),
        (["AETHER_URL", "AETHER_MODEL"], "set AETHER_URL and AETHER_MODEL"),
        (["REDIS_URL"], "no Redis"),
    ],
)
def test_what_cannot_be_served_is_refused_in_a_line(running, unset, problem):
    environment = {name: text for name, text in running.environment.items() if name not in unset}
    environment |= {"REDIS_URL": "redis://127.0.0.1:1/0"} if "REDIS_URL" in unset else {}
    done = subprocess.run(
        command(running.folder), cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1, done.stderr
    assert problem in done.stderr


@pytest.mark.parametrize("url", ["nonsense", "redis://127.0.0.1:port/0"])
@pytest.mark.parametrize("key", ["key-of-grok", ""])
def test_an_address_of_redis_that_is_none_is_refused_in_a_line(running, url, key):
    environment = running.environment | {"REDIS_URL": url, "XAI_API_KEY": key}
    if not key:
        environment["ANTHROPIC_API_KEY"] = ""
    done = subprocess.run(
        command(running.folder, "--port", str(running.port)),
        cwd=ROOT, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1, done.stderr
    assert "REDIS_URL: ValueError" in done.stderr


@pytest.mark.parametrize("id_", ["self", "triad", "aether", "my edge", "Long-Context", "edge."])
def test_a_member_that_no_route_could_name_is_refused(running, tmp_path, id_):
    text = (running.folder / "triad.yaml").read_text()
    (tmp_path / "triad.yaml").write_text(text.replace("  edge:\n", f"  {id_}:\n"))
    done = subprocess.run(
        command(tmp_path, "--port", str(running.port)),
        cwd=ROOT, env=running.environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1 and "triad.yaml: members: '" in done.stderr, done.stderr


def test_an_endpoint_that_is_no_address_is_refused(running):
    done = subprocess.run(
        command(running.folder), cwd=ROOT, env=running.environment | {"AETHER_URL": "notaurl"},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1 and "self: AETHER_URL must be an address" in done.stderr


def test_who_has_no_endpoint_or_no_key_is_absent_and_said_to_be(running):
    unset = ("AETHER_EDGE_URL", "XAI_API_KEY", "TRIAD_KEY")
    environment = {name: text for name, text in running.environment.items() if name not in unset}
    environment["TRIAD_KEY"] = KEY
    done = subprocess.run(
        command(running.folder, "--port", str(running.port)),
        cwd=ROOT, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert "edge is absent: AETHER_EDGE_URL not set" in done.stdout
    assert "grok-4-fast is absent: XAI_API_KEY not set" in done.stdout
    assert "claude" not in done.stdout
    assert f"port {running.port} is taken" in done.stderr


def test_a_triad_that_is_wrong_is_named_with_its_key(tmp_path):
    told = yaml.safe_load((ROOT / "datasets" / "aether" / "triad.yaml").read_text())
    del told["members"]["grok-4-fast"]["dollars_a_day"]
    (tmp_path / "triad.yaml").write_text(yaml.safe_dump(told))
    done = subprocess.run(command(tmp_path), cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert ": members.grok-4-fast: " in done.stderr and "dollars_a_day" in done.stderr
