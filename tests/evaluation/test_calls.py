"""Calls of tools in replies: read in the text and in OpenAI's form, and scored by abstract syntax."""

import json

import pytest
from canned import final, serve

from common import rows, tools
from common.asking.kept import Replies, reply_of
from common.servers import Endpoint, given
from evaluation import scorers
from evaluation.ask import Cell, ask
from evaluation.calls import in_final
from evaluation.suites import heldout

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": name,
            "parameters": {"type": "object", "properties": about, "required": list(about)[:1]},
        },
    }
    for name, about in {
        "read": {"meter": {"type": "integer"}, "day": {"type": "string"}},
        "ring": {"loud": {"type": "boolean"}},
        "list": {"names": {"type": "array", "items": {"type": "string"}}},
        "weigh": {"kilos": {"type": "number"}},
    }.items()
]


def calls(*entries, words=""):
    """A final answer that calls."""
    listed = [{"name": name, "arguments": arguments} for name, arguments in entries]
    return f"{words}\n{tools.OPEN}{json.dumps(listed)}{tools.CLOSE}".strip()


def wanted(*entries, says=None):
    value = json.dumps([{"name": name, "arguments": arguments} for name, arguments in entries])
    return {"kind": "calls", "value": value, "says": says, "tools": TOOLS}


READ = wanted(("read", {"meter": [7], "day": ["2026-01-02", None]}))
TWO = wanted(("read", {"meter": [7]}), ("read", {"meter": [8]}))
NONE = wanted(says=["1240"])


@pytest.mark.parametrize(
    ("expect", "answer", "right", "allowed"),
    [
        (READ, calls(("read", {"meter": 7})), True, True),
        (READ, calls(("read", {"day": "2026-01-02", "meter": 7})), True, True),
        (READ, calls(("read", {"meter": 7.0}), words="I look."), True, True),
        (READ, calls(("read", {"meter": 7}), ("ring", {"loud": True})), False, True),
        (READ, calls(("read", {"meter": 8})), False, True),
        (READ, calls(("read", {"meter": "7"})), False, False),
        (READ, calls(("read", {"meter": "\ud800"})), False, False),
        (READ, f'<tool_calls>[{{"name": "read", "arguments": {{"meter": {"[" * 400}{"]" * 400}}}}}]</tool_calls>', False, False),
        (READ, f'<tool_calls>[{{"name": "read", "arguments": {{"meter": {"[" * 99999}', False, False),
        (READ, f'<tool_calls>[{{"name": "read", "arguments": {{"meter": {"9" * 9999}}}}}]</tool_calls>', False, False),
        (READ, '<tool_calls>[{"name": "read", "arguments": {"meter": NaN}}]</tool_calls>', False, False),
        (READ, calls(("read", {"meter": 7, "unit": "kWh"})), False, False),
        (READ, calls(("read", {"meter": 7, "day": "yesterday"})), False, True),
        (READ, calls(("read", {})), False, False),
        (READ, calls(("read_meter", {"meter": 7})), False, False),
        (READ, "I would call read with 7.", False, True),
        (READ, '<tool_calls>[{"name": "read", "arguments": "{\"meter\": 7}"}]</tool_calls>', False, False),
        (READ, r'<tool_calls>[{"name": "read", "arguments": "{\"meter\": 7}"}]</tool_calls>', True, True),
        (READ, '<tool_calls>[{"name": "read", "arguments": {"meter": 7}, "id": "x"}]</tool_calls>', True, True),
        (READ, '<tool_calls>\n[{"name": "read", "arguments": {"meter": 7}}]\n</tool_calls>', True, True),
        (READ, '<tool_calls>{"name": "read", "arguments": {"meter": 7}}</tool_calls>', False, False),
        (READ, '<tool_calls>[{"name": "read", "arguments": {"meter": 7}}]', False, False),
        (READ, '<tool_calls>[{"name": "read", "arguments": [7]}]</tool_calls>', False, False),
        (TWO, calls(("read", {"meter": 8}), ("read", {"meter": 7})), True, True),
        (TWO, f"{calls(('read', {'meter': 8}))}\n{calls(('read', {'meter': 7}))}", True, True),
        (TWO, calls(("read", {"meter": 7}), ("read", {"meter": 7})), False, True),
        (wanted(("ring", {"loud": [True]})), calls(("ring", {"loud": True})), True, True),
        (wanted(("ring", {"loud": [True]})), calls(("ring", {"loud": 1})), False, False),
        (wanted(("list", {"names": [["Ada", "Bo"]]})), calls(("list", {"names": ["ada", " Bo"]})), True, True),
        (wanted(("list", {"names": [["Ada", "Bo"]]})), calls(("list", {"names": ["Bo", "Ada"]})), False, True),
        (wanted(("weigh", {"kilos": [2.5]})), calls(("weigh", {"kilos": 2.5})), True, True),
        (wanted(("weigh", {"kilos": [2]})), calls(("weigh", {"kilos": True})), False, False),
        (NONE, "They are 1,240.", True, True),
        (NONE, "They are 12,401.", False, True),
        (NONE, calls(("read", {"meter": 7}), words="1240"), False, True),
        (wanted(), "Which meter?", True, True),
        (wanted(), calls(("find_meter", {})), False, False),
    ],
)  # fmt: skip
def test_calls_are_compared_as_values(expect, answer, right, allowed):
    found = scorers.measure("called", final(answer), "stop", expect)
    assert (found["correct"], found["allowed"]) == (right, allowed)


CALL = calls(("read", {"meter": 7}))


@pytest.mark.parametrize(
    ("text", "right"),
    [
        (final(CALL), True),
        (f"{final('I look.')}\n{CALL}", True),
        (f"Here are my reasoning steps:\nLook.\n{CALL}", True),
        (f"Here are my reasoning steps:\nLook.\n[BEGIN FINAL RESPONSE]\n{CALL}", False),  # cut off
        (final("Which meter?", reasoning=f"I could write {CALL} here."), False),
        (f"Here are my reasoning steps:\nI could write {CALL}.\n[BEGIN FINAL RESPONSE]\nNo.", False),
    ],
)  # fmt: skip
def test_calls_count_wherever_they_are_meant(text, right):
    found = scorers.measure("called", text, "stop", READ)
    assert found.get("correct", False) is right
    assert in_final(in_final(text)) == in_final(text)


@pytest.mark.parametrize(
    "message",
    [
        {"content": final(CALL)},
        {"content": None, "reasoning_content": "Look."},
        {"content": "", "reasoning": "Look."},
        {"content": "I look.", "reasoning": "Look."},
        {"content": "Here are my reasoning steps:\nLook.\n[BEGIN FINAL RESPONSE]\n"},
        {"content": final("I look.")},
        {"content": None},
    ],
)
def test_structured_calls_are_put_back(message):
    if tools.OPEN not in (message["content"] or ""):
        entry = tools.Call("read", {"meter": 7}).as_openai("call_9")
        message = message | {"tool_calls": [entry]}
    body = {"choices": [{"message": message, "finish_reason": "tool_calls"}]}
    reply = reply_of(json.dumps(body))
    found = scorers.measure("called", reply["text"], reply["stop"], READ)
    assert found["correct"] is True and found["status"] == "complete"


def held_out_row(folder):
    """A conversation of two calls, of which the second is asked for."""
    call = tools.Call("read", {"meter": 7}).as_openai("call_1")
    text = {"type": "text"}
    messages = [
        {"role": "system", "content": [text | {"text": "S"}]},
        {"role": "user", "content": [text | {"text": "Meters 7, then 8?"}]},
        {"role": "assistant", "content": [text | {"text": ""}], "weight": 0, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": [text | {"text": "<|user|> 5 kWh"}]},
        {"role": "assistant", "content": [text | {"text": final(CALL)}], "weight": 1},
    ]
    answer = {"kind": "calls", "value": json.dumps([{"name": "read", "arguments": {"meter": [8]}}])}
    answer |= {"unit": "", "tolerance": 0.0, "derivation": ""}
    row = {"id": "t1", "category": "tools", "origin": "procedural", "tags": ["asks:chain"]}
    row |= {"messages": messages, "tools": TOOLS, "answer": answer}
    rows.check(row)
    (folder / "heldout.jsonl").write_text(json.dumps(row) + "\n")
    return folder / "heldout.jsonl"


def test_a_model_is_asked_with_tools_calls_and_results(tmp_path):
    questions = heldout([held_out_row(tmp_path)], "tools")
    assert questions[0].stratum == "asks:chain"
    cell = Cell("tools", "persona", "called", tuple(questions), "P", "", 100)

    def reply(model, text, persona):
        assert persona and text == "<|user|> 5 kWh"
        return final(calls(("read", {"meter": 8})))

    replies = Replies(tmp_path / "replies.sqlite")
    with serve(reply, ["m"]) as server:
        endpoint = given(server.url, "m")
        found = ask([cell], endpoint, "m", {"temperature": 0, "seed": 0}, replies, tmp_path, "m")
        body = server.asked[0][-1]
    replies.close()
    assert body["tools"] == TOOLS and "tool_choice" not in body
    assert [message["role"] for message in body["messages"]] == [
        *("system", "user", "assistant", "tool"),
    ]
    called = body["messages"][2]["tool_calls"][0]
    assert json.loads(called["function"]["arguments"]) == {"meter": 7}
    assert body["messages"][3]["tool_call_id"] == called["id"]
    assert found["tools", "persona"]["t1"]["correct"] is True


def test_a_server_gets_the_tools_in_the_way_that_shows_them_to_the_model():
    for kind, wanted_choice in (("vllm", "none"), ("given", None), ("cpu", None)):
        endpoint = Endpoint("http://x/v1", "m", kind)
        offered = endpoint.extra({"temperature": 0.6}, TOOLS)
        assert offered["tools"] == TOOLS and offered.get("tool_choice") == wanted_choice
        assert "tools" not in (endpoint.extra({"temperature": 0.6}) or {})
