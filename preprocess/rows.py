"""From conversations, which sources yield, to rows: the small pieces that every source uses."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace

from common import behaviour, chat

# What an answer holds besides what its value was derived from.
_ANSWER = ("kind", "value", "unit", "tolerance")


TARGET = "target:"  # begins the tag of the member that the last reply hands over to


class Skip(ValueError):
    """This item makes no row; the reason is counted in the manifest."""


@dataclass(frozen=True)
class Note:
    """Something a source found and the manifest counts, such as a masked key. Makes no row and
    drops none."""

    text: str
    count: int = 1


@dataclass(frozen=True)
class Turn:
    """One exchange. `images` are PNG files as bytes, shown before the user's text; `check` is what
    a program can check of it.

    A turn without reasoning is history: it is shown, and not trained on. Where pictures stand
    between texts, `parts` holds both in their order.
    """

    user: str
    reasoning: str
    answer: str
    images: tuple[bytes, ...] = ()
    check: dict | None = None
    parts: tuple[str | bytes, ...] = ()


@dataclass(frozen=True)
class Conversation:
    """What a source yields. `group` names what must stay on one side of the train/val split; the id
    where it is empty.

    The build fills in `category` and `system` from the mix where they are empty. `answer` is the
    last turn's `check`. A tag `target:<member>` says whom the last reply hands over to.
    """

    id: str
    category: str
    origin: str
    system: str = ""
    turns: tuple[Turn, ...] = ()
    tags: tuple[str, ...] = ()
    answer: dict | None = None
    group: str = ""


def _handed_over(conversation: Conversation) -> tuple[Turn, ...]:
    """The turns, with the line `Route: <member>` at the end of a last reply that hands over."""
    turns = list(conversation.turns)
    for tag in conversation.tags:
        member = tag.removeprefix(TARGET)
        if turns and member not in (tag, behaviour.SELF):
            answer = f"{turns[-1].answer.rstrip()}\n\nRoute: {member}"
            turns[-1] = replace(turns[-1], answer=answer)
    return tuple(turns)


def to_rows(conversation: Conversation, image_path: Callable[[bytes], str]) -> list[dict]:
    """One row a trained turn; earlier turns hold only their final answers, as a serving client
    sends them back.

    `image_path` stores a PNG file and gives its path in the dataset. Raises Skip.
    """
    history = [_message("system", conversation.system)]
    rows: list[dict] = []
    for number, turn in enumerate(_handed_over(conversation), 1):
        reply = _reply(conversation.system, turn)
        history.append({"role": "user", "content": _user_content(turn, image_path)})
        last = number == len(conversation.turns)
        only = last and number == 1
        row: dict = {
            "id": conversation.id if only else f"{conversation.id}#{number}",
            "category": conversation.category,
            "origin": conversation.origin,
            "tags": list(conversation.tags),
            "messages": [*history, _message("assistant", reply) | {"weight": 1}],
        }
        check = turn.check or (conversation.answer if last else None)
        if check:
            row["answer"] = stored(check)
        if turn.reasoning.strip():
            rows.append(row)
        history.append(_message("assistant", chat.final_only(reply)) | {"weight": 0})
    return rows


def _message(role: str, text: str) -> dict:
    return {"role": role, "content": [{"type": "text", "text": text}]}


def _user_content(turn: Turn, image_path: Callable[[bytes], str]) -> list[dict]:
    """The parts of a user's message; its text has no blanks at its ends."""
    content: list[dict] = []
    for part in turn.parts or (*turn.images, turn.user):
        if isinstance(part, bytes):
            content.append({"type": "image", "path": image_path(part)})
        else:
            content.append({"type": "text", "text": part})
    if content[0]["type"] == "text":
        content[0]["text"] = content[0]["text"].lstrip()
    if content[-1]["type"] == "text":
        content[-1]["text"] = content[-1]["text"].rstrip()
    return content


def _reply(system: str, turn: Turn) -> str:
    """The reply in full. Raises Skip for a turn that holds a reserved marker or has a blank
    part."""
    marker = chat.reserved_in(f"{system}\n{turn.user}")
    if marker:
        raise Skip(f"a turn contains {marker}")
    try:
        f"{system}\n{turn.user}\n{turn.reasoning}\n{turn.answer}".encode()
    except UnicodeEncodeError:
        raise Skip("half a character (a lone surrogate)") from None
    try:
        return chat.compose(turn.reasoning or "none", turn.answer)
    except ValueError as error:
        raise Skip(str(error)) from None


def stored(check: dict) -> dict:
    """A checkable value as a row holds it: the same keys and types in every row, or a loader that
    infers columns would stop.

    `tolerance` is relative. What the value was derived from (a spec, parameters) is JSON text, in
    its own order.
    """
    rest = {key: value for key, value in check.items() if key not in _ANSWER}
    return {
        "kind": check["kind"],
        "value": str(check["value"]),
        "unit": check.get("unit", ""),
        "tolerance": float(check.get("tolerance", 0)),
        "derivation": json.dumps(rest, ensure_ascii=False) if rest else "",
    }


def restored(answer: dict) -> dict:
    """The checkable value that a source gave, from the `answer` of a row."""
    check = {key: answer[key] for key in _ANSWER} | json.loads(answer["derivation"] or "{}")
    if check["kind"] == "number":
        number = float(check["value"])
        check["value"] = int(number) if number.is_integer() else number
    return check
