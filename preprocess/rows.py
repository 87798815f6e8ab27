"""Making rows: the small pieces every source uses."""

from __future__ import annotations

from dataclasses import dataclass, field

from apriel import chat


class Skip(ValueError):
    """This item makes no row; the reason is counted in the manifest."""


@dataclass(frozen=True)
class Turn:
    """One exchange. `images` are PNG files as bytes, shown before the user's text."""

    user: str
    reasoning: str
    answer: str
    images: tuple[bytes, ...] = ()


@dataclass(frozen=True)
class Conversation:
    """What a source yields. `group` names what must stay on one side of the train/val split; the id where it is empty."""

    id: str
    category: str
    origin: str
    system: str
    turns: tuple[Turn, ...]
    tags: tuple[str, ...] = ()
    answer: dict | None = None
    group: str = field(default="")


def to_rows(conversation: Conversation, image_path) -> list[dict]:
    """One row a trained turn; earlier turns hold only their final answers, as a serving client sends them back.

    `image_path(png) -> str` stores an image and gives its path in the dataset. Raises Skip.
    """
    history: list[dict] = [{"role": "system", "content": [_text(conversation.system)]}]
    rows = []
    for number, turn in enumerate(conversation.turns, 1):
        if marker := chat.reserved_in(turn.user):
            raise Skip(f"user text contains {marker}")
        try:
            reply = chat.compose(turn.reasoning, turn.answer)
        except ValueError as error:
            raise Skip(str(error)) from None
        parts = [{"type": "image", "path": image_path(png)} for png in turn.images]
        history.append({"role": "user", "content": [*parts, _text(turn.user.strip())]})
        several = len(conversation.turns) > 1
        row = {
            "id": f"{conversation.id}#{number}" if several else conversation.id,
            "category": conversation.category,
            "origin": conversation.origin,
            "messages": [*history, {"role": "assistant", "content": [_text(reply)], "weight": 1}],
            "tags": list(conversation.tags),
        }
        if conversation.answer is not None and number == len(conversation.turns):
            row["answer"] = conversation.answer
        rows.append(row)
        history.append({"role": "assistant", "content": [_text(chat.final_only(reply))], "weight": 0})
    return rows


def _text(text: str) -> dict:
    return {"type": "text", "text": text}
