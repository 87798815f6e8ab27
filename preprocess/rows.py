"""From conversations, which sources yield, to rows: the small pieces that every source uses."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from common import behaviour, chat, rows, tools

# What an answer holds besides what its value was derived from.
_ANSWER = ("kind", "value", "unit", "tolerance")


TARGET = "target:"  # begins the tag of the member that the last reply hands over to


class Skip(ValueError):
    """This item makes no row; the reason is counted in the manifest. `id` names it, where a source
    yields it.
    """

    def __init__(self, reason: str, id_: str = ""):
        super().__init__(reason)
        self.id = id_


@dataclass(frozen=True)
class Note:
    """Something a source found and the manifest counts, such as a masked key. Makes no row and
    drops none."""

    text: str
    count: int = 1


@dataclass(frozen=True)
class Step:
    """Calls of tools that a reply makes before it answers, and what each of them gave back: nothing
    yet where the conversation ends with them. `words` stand before the calls."""

    reasoning: str
    calls: tuple[tools.Call, ...]
    results: tuple[str, ...]
    words: str = ""
    check: dict | None = None


@dataclass(frozen=True)
class Turn:
    """One exchange. `images` are PNG files as bytes, shown before the user's text; `check` is what
    a program can check of it.

    A turn without reasoning is history: it is shown, and not trained on. Where pictures stand
    between texts, `parts` holds both in their order. Where it has `steps`, the answer follows them,
    or is empty where the last of them has no results.
    """

    user: str
    reasoning: str
    answer: str
    images: tuple[bytes, ...] = ()
    check: dict | None = None
    parts: tuple[str | bytes, ...] = ()
    steps: tuple[Step, ...] = ()


@dataclass(frozen=True)
class Conversation:
    """What a source yields. `group` names what must stay on one side of the train/val split; the id
    where it is empty.

    The build fills in `category` and `system` from the mix where they are empty; the mix may want
    no system prompt. `answer` is the
    last turn's `check`. A tag `target:<member>` says whom the last reply hands over to. `offered`
    are the tools, in OpenAI's form.
    """

    id: str
    category: str = ""
    origin: str = "procedural"
    system: str = ""
    turns: tuple[Turn, ...] = ()
    tags: tuple[str, ...] = ()
    answer: dict | None = None
    group: str = ""
    offered: tuple[dict, ...] = ()


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
    """One row a trained reply; earlier turns hold only their final answers and their calls, as a
    serving client sends them back.

    `image_path` stores a PNG file and gives its path in the dataset. Raises Skip.
    """
    system = conversation.system
    made = _Rows(conversation, [_message("system", system)] if system.strip() else [])
    turns = _handed_over(conversation)
    for turn in turns:
        _check_text(conversation.system, turn.user)
        made.history.append({"role": "user", "content": _user_content(turn, image_path)})
        for step in turn.steps:
            made.calls(step)
        if turn.answer or not turn.steps:
            made.answer(turn, turn.check or (conversation.answer if turn is turns[-1] else None))
    return made.finished()


@dataclass
class _Rows:
    """The rows of a conversation as its messages are read."""

    conversation: Conversation
    history: list[dict]
    rows: list[dict] = field(default_factory=list)
    replies: int = 0
    called: int = 0

    def answer(self, turn: Turn, check: dict | None) -> None:
        """A reply that ends a turn."""
        reply = self._reply(turn.reasoning, turn.answer, check)
        self.history.append(_message("assistant", chat.final_only(reply)) | {"weight": 0})

    def calls(self, step: Step) -> None:
        """A reply that calls tools, and the results."""
        _check_text(*step.results)
        self._reply(step.reasoning, f"{step.words}\n{tools.written(step.calls)}", step.check)
        entries = []
        for call in step.calls:
            self.called += 1
            entries.append(call.as_openai(f"call_{self.called}"))
        message = _message("assistant", step.words.strip())
        self.history.append(message | {"weight": 0, "tool_calls": entries})
        for entry, result in zip(entries, step.results, strict=False):
            self.history.append(_message("tool", result) | {"tool_call_id": entry["id"]})

    def _reply(self, reasoning: str, answer: str, check: dict | None) -> str:
        """The reply in full; its row is kept where it has reasoning. Raises Skip."""
        _check_text(answer, reasoning, markers=False)
        try:
            reply = chat.compose(reasoning or "none", answer)
        except ValueError as error:
            raise Skip(str(error)) from None
        self.replies += 1
        row: dict = {
            "id": f"{self.conversation.id}#{self.replies}",
            "category": self.conversation.category,
            "origin": self.conversation.origin,
            "tags": list(self.conversation.tags),
            "messages": [*self.history, _message("assistant", reply) | {"weight": 1}],
        }
        if self.conversation.offered:
            row["tools"] = list(self.conversation.offered)
        if check:
            row["answer"] = stored(check)
        if reasoning.strip():
            self.rows.append(row)
        return reply

    def finished(self) -> list[dict]:
        """The rows; the only one of a conversation has its id."""
        if self.replies == 1 and self.rows:
            self.rows[0]["id"] = self.conversation.id
        return self.rows


def _message(role: str, text: str) -> dict:
    return {"role": role, "content": rows.text_parts(text)}


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


def _check_text(*texts: str, markers: bool = True) -> None:
    """Raise Skip for texts that hold half a character or, with `markers`, a reserved marker."""
    text = "\n".join(texts)
    marker = chat.reserved_in(text) if markers else None
    if marker:
        raise Skip(f"a turn contains {marker}")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise Skip("half a character (a lone surrogate)") from None


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
