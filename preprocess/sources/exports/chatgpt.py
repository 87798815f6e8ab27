"""A conversation of ChatGPT's export: a tree of messages, of which the branch that is shown
counts."""

from collections import Counter
from collections.abc import Iterator

from preprocess.rows import Skip
from preprocess.sources.exports.talk import Message, Picture

_WHOLE = (None, "finished_successfully")
_ENDED = (None, "stop")
# Messages that show a person nothing: a line such as "Thought for 8 s".
_RECAPS = ("reasoning_recap",)


def fits(raw: dict) -> bool:
    return "mapping" in raw


def read(raw: dict, left_out: Counter) -> list[Message]:
    """The messages of the branch that is shown. Raises Skip."""
    nodes = raw["mapping"]
    if not nodes:
        raise Skip("a conversation without messages")
    branch = _branch(nodes, raw.get("current_node") or list(nodes)[-1])
    others = sum(bool(_shown(node.get("message"))) for node in nodes.values()) - sum(
        bool(_shown(message)) for message in branch
    )
    if others:
        left_out["messages of other branches"] += others
    messages: list[Message] = []
    thoughts: list[str] = []
    for message in branch:
        content = message["content"]
        kind = content.get("content_type")
        if kind == "thoughts":
            thoughts += [
                thought.get("content") or thought.get("summary") or ""
                for thought in content.get("thoughts") or []
            ]
        elif kind not in _RECAPS:
            made = _message(message, "\n\n".join(thoughts))
            if made:
                messages.append(made)
                thoughts = []
    return messages


def _branch(nodes: dict, name: str | None) -> list[dict]:
    """The messages from the root to the node of that name. Raises Skip."""
    branch: list[dict] = []
    for _ in nodes:
        if name not in nodes:
            raise Skip("a branch whose beginning the export does not hold")
        message = nodes[name].get("message")
        if message and message.get("content"):
            branch.append(message)
        name = nodes[name].get("parent")
        if name is None:
            return branch[::-1]
    raise Skip("a branch without a beginning")


def _shown(message: dict | None) -> bool:
    """Whether a message is one of a user or an assistant that says something."""
    role = ((message or {}).get("author") or {}).get("role")
    content = (message or {}).get("content") or {}
    return role in ("user", "assistant") and bool("".join(map(str, content.get("parts") or [])))


def _message(message: dict, thoughts: str) -> Message | None:
    """A message, or None for one that says nothing."""
    role = (message.get("author") or {}).get("role")
    content = message["content"]
    kind = content.get("content_type")
    if kind in ("user_editable_context", "model_editable_context"):
        keys = ("user_profile", "user_instructions", "model_set_context")
        return Message("system", tuple(content[key] for key in keys if content.get(key)))
    if role not in ("user", "assistant", "system"):
        return Message("assistant", (), flaw="a tool's output")
    if message.get("recipient") not in (None, "all"):
        return Message("assistant", (), flaw="a call of a tool")
    if kind not in ("text", "multimodal_text"):
        return Message(role, (), flaw=f"a message of type {str(kind)[:40]}")
    parts = tuple(_parts(content.get("parts") or []))
    if not parts:
        return None
    return Message(
        role,
        parts,
        thoughts if role == "assistant" else "",
        trained=message.get("weight") != 0,
        flaw=_flaw(message, parts),
    )


def _parts(parts: list) -> Iterator[str | Picture]:
    for part in parts:
        if isinstance(part, str):
            if part.strip():
                yield part
        elif part.get("content_type") == "image_asset_pointer":
            yield Picture(part["asset_pointer"].rpartition("/")[2], is_prefix=True)
        else:
            raise Skip(f"a part of type {str(part.get('content_type'))[:40]}")


def _flaw(message: dict, parts: tuple[str | Picture, ...]) -> str:
    """What is wrong with a message; only what is known to be right passes."""
    about = message.get("metadata") or {}
    role = (message.get("author") or {}).get("role")
    if message.get("status") not in _WHOLE or about.get("is_complete") is False:
        return "a reply that does not end"
    if role == "assistant" and message.get("end_turn") is False:
        return "a reply that does not end"
    if (about.get("finish_details") or {}).get("type") not in _ENDED:
        return "a reply that does not end"
    pictures = [part.name for part in parts if isinstance(part, Picture)]
    if any(one.get("id") not in pictures for one in about.get("attachments") or []):
        return "an attachment that the export does not hold"
    if message.get("channel") not in (None, "final"):
        return "a message beside the conversation"
    if about.get("is_visually_hidden_from_conversation"):
        return "a message that the page hides"
    return ""
