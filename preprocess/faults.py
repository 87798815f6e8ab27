"""What a program finds wrong with a reply to a row's prompt, beside the reply that the row has."""

from collections.abc import Collection

from common import answers, behaviour, chat, rows

CUT_OFF = "max_tokens"  # why a server stopped: a budget's fault, not the model's


def fault(row: dict, text: str, stop: str, members: Collection[str], openings: dict) -> str | None:
    """Why a reply is worse than the row's own, or None where no rule tells.

    Args:
        row: With the accepted reply as its last message.
        text: The reply, with its reasoning and markers.
        stop: Why the server stopped.
        members: Whom a reply may hand over to.
        openings: The rules of common.behaviour.opening_fault.
    """
    reply = chat.split(text)
    if reply.status != chat.COMPLETE or not reply.answer:
        return "an unfinished reply" if stop != CUT_OFF else None
    answer = reply.answer
    chosen = chat.split(rows.text_of(row["messages"][-1])).answer or ""
    if "answer" in row:
        return _wrong(row["answer"], answer)
    if behaviour.not_a_nudge(chosen) is None and row["category"] == "nudge":
        rule = behaviour.not_a_nudge(answer)
        return f"no nudge: {rule}" if rule else None
    route = behaviour.route_of(answer, members)
    wanted = behaviour.route_of(chosen, members)
    if route != wanted:
        return f"the wrong route: {route or 'nobody known'}, not {wanted}"
    opening = behaviour.opening_fault(answer, openings)
    if opening and not behaviour.opening_fault(chosen, openings):
        return f"opens with {opening}"
    if behaviour.lectures(answer) and not behaviour.lectures(chosen):
        return "a lecture"
    return None


def _wrong(expect: dict, answer: str) -> str | None:
    """A wrong answer, or other calls of tools, with the value. `expect` is a row's `answer`."""
    if answers.is_value(expect, answer):
        return None
    stated = ""
    if expect["kind"] == "number":
        found = answers.stated_number(answer)
        stated = "" if isinstance(found, answers.NotRead) else f", {float(found):g},"
    return f"a wrong answer{stated} where {expect['value']} is right"
