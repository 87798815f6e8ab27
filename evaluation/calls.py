"""Calls of tools in replies: brought into the final response, wherever a model or its server puts
them, and compared with what is wanted by abstract syntax.
"""

from common import answers, chat, tools


def in_final(text: str) -> str:
    """A reply whose calls stand behind its final response, or without one, with the calls in it.

    What stands in the reasoning before a final response is thought, and stays there.
    """
    at = text.rfind(tools.OPEN)
    end = text.find(tools.CLOSE, at)
    if at < 0 or end < 0 or chat.BEGIN_FINAL in text[at:]:
        return text
    head, ended, _ = text[:at].partition(chat.END_FINAL)
    if chat.BEGIN_FINAL not in head:
        head = f"{head.rstrip()}\n{chat.BEGIN_FINAL}\n"
    elif not ended:
        return text
    block = text[at : end + len(tools.CLOSE)]
    return f"{head.rstrip()}\n{block}\n{chat.END_FINAL}"


def called(reply: chat.Reply, expect: dict) -> dict:
    """Whether a reply makes exactly the calls that are wanted, and says what the results give;
    `allowed`: it calls no tool that is not offered, with no argument that the tool does not take.
    """
    text = reply.answer or ""
    schemas = tools.parameters(expect["tools"])
    try:
        allowed = not any(tools.fault(call, schemas) for call in tools.read(text))
    except (tools.ToolError, RecursionError):
        return {"correct": False, "allowed": False, "read": False}
    return {"correct": answers.is_value(expect, text), "allowed": allowed, "read": True}
