"""A conversation of Claude's export: messages that name the one before them, so that a prompt which
was edited and a reply which was asked for again are branches.
"""

from collections import Counter
from collections.abc import Iterator

from common.rows import text_parts
from preprocess.rows import Skip
from preprocess.sources.exports.calling import of_parts
from preprocess.sources.exports.talk import Message

_ROLES = {"human": "user", "assistant": "assistant"}
_ENDED = (None, "end_turn", "stop_sequence", "stop")


def fits(raw: dict) -> bool:
    return "chat_messages" in raw


def read(raw: dict, left_out: Counter) -> list[Message]:
    """The messages of the branch that was spoken last. Raises Skip."""
    messages = raw["chat_messages"]
    if not messages:
        raise Skip("a conversation without messages")
    branch = _branch(messages, raw.get("current_leaf_message_uuid"))
    if len(branch) < len(messages):
        left_out["messages of other branches"] += len(messages) - len(branch)
    return [made for message in branch for made in _messages(message)]


def _branch(messages: list[dict], leaf: str | None) -> list[dict]:
    """The messages from the first to `leaf`, or to the newest. Raises Skip."""
    if not any(message.get("parent_message_uuid") for message in messages):
        return messages
    by_name = {message["uuid"]: message for message in messages}
    roots = {None, messages[0].get("parent_message_uuid")} - set(by_name)
    newest = max(
        enumerate(messages), key=lambda one: (str(one[1].get("created_at") or ""), one[0])
    )[1]
    message = by_name.get(leaf or "", newest)
    branch = []
    for _ in messages:
        branch.append(message)
        parent = message.get("parent_message_uuid")
        if parent in roots:
            return branch[::-1]
        if parent not in by_name:
            raise Skip("a branch whose beginning the export does not hold")
        message = by_name[parent]
    raise Skip("a branch without a beginning")


def _messages(message: dict) -> Iterator[Message]:
    role = _ROLES.get(message.get("sender") or message.get("role") or "")
    if role is None:
        raise Skip("a message without a role")
    parts = message.get("content") or text_parts(message.get("text") or "")
    flaw = next(_flaws(message, parts), "")
    yield from of_parts(Message(role, (), flaw=flaw), [] if flaw else parts)


def _flaws(message: dict, parts: list[dict]) -> Iterator[str]:
    """What is wrong with a message; only what is known to be right passes."""
    for part in parts:
        if part["type"] not in ("text", "thinking", "tool_use", "tool_result"):
            yield f"a part of type {str(part['type'])[:40]}"
        if part.get("cut_off"):
            yield "reasoning that does not end"
    if any(message.get(key) for key in ("attachments", "files", "files_v2")):
        yield "an attachment that the export does not hold"
    if message.get("truncated") or message.get("stop_reason") not in _ENDED:
        yield "a reply that does not end"
