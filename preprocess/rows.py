"""Making rows: the small pieces every source uses."""

import json
from collections.abc import Callable
from dataclasses import dataclass

from common import chat

_ANSWER = ("kind", "value", "unit", "tolerance")


class Skip(ValueError):
    """This item makes no row; the reason is counted in the manifest."""


@dataclass(frozen=True)
class Note:
    """Something a source found and the manifest counts, such as a masked key. Makes no row and drops none."""

    text: str
    count: int = 1


@dataclass(frozen=True)
class Turn:
    """One exchange. `images` are PNG files as bytes, shown before the user's text; `check` is what a program can check of it.

    A turn without reasoning is history: it is shown, and not trained on.
    """

    user: str
    reasoning: str
    answer: str
    images: tuple[bytes, ...] = ()
    check: dict | None = None


@dataclass(frozen=True)
class Conversation:
    """What a source yields. `group` names what must stay on one side of the train/val split; the id where it is empty.

    The build fills in `category` and `system` from the mix where they are empty. `answer` is the last turn's `check`.
    """

    id: str
    category: str
    origin: str
    system: str = ""
    turns: tuple[Turn, ...] = ()
    tags: tuple[str, ...] = ()
    answer: dict | None = None
    group: str = ""


def to_rows(conversation: Conversation, image_path: Callable[[bytes], str]) -> list[dict]:
    """One row a trained turn; earlier turns hold only their final answers, as a serving client sends them back.

    `image_path` stores a PNG file and gives its path in the dataset. Raises Skip.
    """
    about = {
        "category": conversation.category,
        "origin": conversation.origin,
        "tags": list(conversation.tags),
    }
    history, rows = [_said("system", conversation.system)], []
    for number, turn in enumerate(conversation.turns, 1):
        if marker := chat.reserved_in(f"{conversation.system}\n{turn.user}"):
            raise Skip(f"a turn contains {marker}")
        try:
            reply = chat.compose(turn.reasoning or "none", turn.answer)
        except ValueError as error:
            raise Skip(str(error)) from None
        images = [{"type": "image", "path": image_path(png)} for png in turn.images]
        history.append(_said("user", turn.user.strip(), *images))
        last = number == len(conversation.turns)
        name = conversation.id if last and number == 1 else f"{conversation.id}#{number}"
        row = about | {"id": name, "messages": [*history, _said("assistant", reply, weight=1)]}
        if check := turn.check or (conversation.answer if last else None):
            row["answer"] = stored(check)
        if turn.reasoning.strip():
            rows.append(row)
        history.append(_said("assistant", chat.final_only(reply), weight=0))
    return rows


def stored(check: dict) -> dict:
    """A checkable value as a row holds it: the same keys and types in every row, or a loader that infers columns would stop.

    `tolerance` is relative. What the value was derived from (a spec, parameters) is JSON text, in its own order.
    """
    rest = {key: value for key, value in check.items() if key not in _ANSWER}
    answer = {"kind": check["kind"], "value": str(check["value"]), "unit": check.get("unit", "")}
    answer["tolerance"] = float(check.get("tolerance", 0))
    return answer | {"derivation": json.dumps(rest, ensure_ascii=False) if rest else ""}


def restored(answer: dict) -> dict:
    """The checkable value a source gave, from the `answer` of a row."""
    check = {key: answer[key] for key in _ANSWER} | json.loads(answer["derivation"] or "{}")
    if check["kind"] == "number":
        number = float(check["value"])
        check["value"] = int(number) if number.is_integer() else number
    return check


def _said(role: str, text: str, *images: dict, **more: int) -> dict:
    return {"role": role, "content": [*images, {"type": "text", "text": text}], **more}
