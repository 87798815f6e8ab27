"""Tools in exports: what was offered, calls and results, and their way into the reply that they
belong to.

Known are OpenAI's form, old and new, LLaMA-Factory's and ShareGPT's, and Anthropic's.
"""

import json
from dataclasses import replace

from common import tools
from common.rows import text_parts
from preprocess.rows import Skip
from preprocess.sources.exports.talk import Message, taken_apart

UNDESCRIBED = "a call of a tool"  # which the export does not describe
_SCHEMAS = ("parameters", "input_schema")


def offered(raw: dict) -> tuple[dict, ...]:
    """The tools that a conversation describes, in OpenAI's form. Raises Skip."""
    listed = raw.get("tools") or raw.get("functions") or []
    try:
        listed = json.loads(listed) if isinstance(listed, str) else listed
        found = tuple(map(_tool, listed))
        if found:
            tools.parameters(list(found))
    except (ValueError, TypeError, KeyError, AttributeError, tools.ToolError):
        raise Skip("tools in a form that is not read") from None
    return found


def _tool(tool: dict) -> dict:
    if "function" in tool:
        return {"type": "function", "function": tool["function"]}
    function = {"name": tool["name"], "description": tool.get("description") or ""}
    schema = next((tool[key] for key in _SCHEMAS if tool.get(key)), None)
    function["parameters"] = schema or {"type": "object", "properties": {}}
    return {"type": "function", "function": function}


def of_text(text: str) -> tuple[str, tuple[tuple[str, tools.Call], ...]]:
    """(reasoning, calls) of a ShareGPT message that holds calls as JSON. Raises Skip."""
    reasoning, answer = taken_apart(text, "")
    try:
        entries = json.loads(answer)
        entries = entries if isinstance(entries, list) else [entries]
        return reasoning, tuple(("", tools.of_openai({"function": entry})) for entry in entries)
    except (ValueError, tools.ToolError):
        raise Skip("a call that is not read") from None


def of_entries(message: dict) -> tuple[tuple[str, tools.Call], ...]:
    """The calls of an OpenAI message, with their ids. Raises ToolError."""
    entries = message.get("tool_calls") or []
    if message.get("function_call"):
        entries = [{"function": message["function_call"]}]
    return tuple((str(entry.get("id") or ""), tools.of_openai(entry)) for entry in entries)


def of_parts(message: Message, parts: list[dict]) -> list[Message]:
    """The messages in the parts of one of Anthropic's: what is said and called, and each result as
    one of its own. `message` says what holds for all of them. Raises Skip."""
    made: list[Message] = []
    said = message
    for part in parts:
        if part["type"] == "text":
            said = replace(said, parts=(*said.parts, *filter(None, [part["text"]])))
        elif part["type"] == "thinking":
            thoughts = filter(None, (said.reasoning, part["thinking"]))
            said = replace(said, reasoning="\n\n".join(thoughts))
        elif part["type"] == "tool_use":
            call = tools.Call(part.get("name") or "", part.get("input") or {})
            said = replace(said, calls=(*said.calls, (part.get("id") or "", call)))
        elif part["type"] == "tool_result":
            if said != message:
                made.append(said)
                said = message
            id_ = part.get("tool_use_id") or ""
            made.append(Message("tool", (_result(part.get("content") or ""),), result_of=id_))
        else:
            raise Skip(f"a part of type {str(part['type'])[:40]} beside a call of a tool")
    if said != message or not made:
        made.append(said)
    return made


def _result(content: str | list[dict]) -> str:
    """The text of a result. Raises Skip."""
    listed = content if isinstance(content, list) else text_parts(content)
    if any(part.get("type") != "text" for part in listed):
        raise Skip("a result of a tool that is no text")
    return "\n\n".join(part["text"] for part in listed)


def folded(messages: list[Message], names: set[str]) -> list[Message]:
    """The messages with calls and their results put into the reply that follows them.

    `names` are those of the tools on offer.
    """
    made: list[Message] = []
    left = list(messages)
    while left:
        message = left.pop(0)
        if message.role == "tool":
            message = Message("assistant", (), flaw=UNDESCRIBED)
            if left and left[0].role == "assistant":
                left.pop(0)  # what it led to
        if not message.calls:
            made.append(message)
            continue
        steps = [(message, _results(left))]
        while left and left[0].calls:
            steps.append((left.pop(0), _results(left)))
        end = None
        if left and left[0].role == "assistant":
            end = left.pop(0)
        flaw = next(filter(None, (_flaw(*step, names) for step in steps)), "")
        if not flaw and bool(end) != bool(steps[-1][1]):
            flaw = "calls or results that no reply follows"
        reply = end or Message("assistant", ())
        matched = tuple((call, _matched(call, results)) for call, results in steps)
        made.append(replace(reply, flaw=flaw or reply.flaw, steps=() if flaw else matched))
    return made


def _results(left: list[Message]) -> list[Message]:
    """The results that come next, taken from `left`."""
    found = []
    while left and left[0].role == "tool":
        found.append(left.pop(0))
    return found


def _flaw(message: Message, results: list[Message], names: set[str]) -> str:
    called = [call.name for _, call in message.calls]
    if not names.issuperset(called):
        return "a call of a tool that is not offered" if names else UNDESCRIBED
    if results and len(_matched(message, results)) != len(called):
        return "a call without its result"
    return message.flaw


def _matched(message: Message, results: list[Message]) -> tuple[str, ...]:
    """The results in the order of the calls: by their ids, or as they come where they have none."""
    if any(result.result_of for result in results):
        by_id = {result.result_of: result.text for result in results}
        return tuple(by_id[id_] for id_, _ in message.calls if id_ in by_id)
    return tuple(result.text for result in results)
