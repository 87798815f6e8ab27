"""From the messages of any shape to the exchanges of a conversation.

What may not be used is named by a flaw. The exchanges before the first flaw are kept, since they do
not depend on it; from there on all are left out and counted.
"""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from common import chat
from common.pictures import PictureError, decode, png
from common.tools import Call, written
from preprocess.rows import Skip, Step, Turn
from preprocess.sources.masking import PLACEHOLDER, mask

# References of a page to what a search found. They say nothing without the page; other marks of it
# stand for words, so that a text is not whole without them.
_CITATION = re.compile(
    "[ \t]?(?:\ue200(?:file)?cite\ue202[^\ue201]{0,2000}\ue201|【\\d[^】]{0,80}†[^】]{0,200}】"
    "|\\bcite(?:turn\\d{1,3}[a-z]{1,9}\\d{1,3}){1,20})"
)
_PAGE = re.compile("[\ue200-\ue2ff]|</?ant[A-Z]|This block is not supported on your current device")
_OPENED = re.compile(r"\s*<think(?:ing)?>", re.IGNORECASE)
_CLOSED = re.compile(r"</think(?:ing)?>", re.IGNORECASE)
_TAG = re.compile(r"</?think(?:ing)?>", re.IGNORECASE)


MASKED = "a reply in which something was masked"


class Picture(NamedTuple):
    """A picture of a message: its file's name, the beginning of it, or what it holds."""

    name: str
    is_prefix: bool = False
    data: bytes | None = None


@dataclass(frozen=True)
class Message:
    """One message of an export."""

    role: str  # system, user, assistant or tool
    parts: tuple[str | Picture, ...]  # in the order in which they are shown
    reasoning: str = ""
    trained: bool = True
    flaw: str = ""  # why neither it nor what follows may be used
    calls: tuple[tuple[str, Call], ...] = ()  # each with its id, or an empty one
    result_of: str = ""  # the id of the call whose result it is
    steps: tuple[tuple["Message", tuple[str, ...]], ...] = ()  # calls before it, and their results

    @property
    def text(self) -> str:
        return "\n\n".join(part for part in self.parts if isinstance(part, str)).strip()


@dataclass
class Cleaner:
    """Makes turns of messages. What it masks and leaves out on the way is counted."""

    read_picture: Callable[[Picture], bytes]  # raises Skip
    masked: Counter
    left_out: Counter

    def turns(self, messages: list[Message]) -> tuple[str, tuple[Turn, ...]]:
        """The conversation's own system prompt, or an empty text, and its usable exchanges.

        Raises Skip where there is none.
        """
        first = next((n for n, one in enumerate(messages) if one.role != "system"), len(messages))
        system = self._mask("\n\n".join(message.text for message in messages[:first]))
        exchanged = messages[first:]
        if not exchanged:
            raise Skip("a conversation without messages")
        turns = []
        for number in range(0, len(exchanged) - 1, 2):
            try:
                turns.append(self._turn(*exchanged[number : number + 3]))
            except Skip as skip:
                if not turns:
                    raise
                rest = (len(exchanged) - number + 1) // 2
                self.left_out[f"exchanges from one on with {skip}"] += rest
                return system, tuple(turns)
        if not turns:
            raise Skip("a question without a reply")
        if len(exchanged) % 2:
            self.left_out["last questions without a reply"] += 1
        return system, tuple(turns)

    def _turn(self, user: Message, assistant: Message, after: Message | None = None) -> Turn:
        """One exchange, and the message after it. Raises Skip, saying what is wrong with it."""
        flaw = user.flaw or assistant.flaw
        if flaw:
            raise Skip(flaw)
        roles = (user.role, assistant.role, after.role if after else "user")
        if roles != ("user", "assistant", "user"):
            raise Skip("messages of user and assistant that do not alternate")
        if any(isinstance(part, Picture) for part in assistant.parts):
            raise Skip("a picture in a reply")
        reasoning, answer = taken_apart(assistant.text, assistant.reasoning.strip())
        reasoning = self._cleaned(reasoning)
        answer = self._cleaned(answer)
        if PLACEHOLDER.search(f"{reasoning}\n{answer}"):
            raise Skip(MASKED)
        steps = tuple(self._step(*step) for step in assistant.steps)
        parts = _joined([self._part(part) for part in user.parts])
        text = "".join(part for part in parts if isinstance(part, str))
        pictures = tuple(part for part in parts if isinstance(part, bytes))
        if not text.strip():
            raise Skip("a question without words")
        if not answer and (not steps or steps[-1].results):
            raise Skip("an empty reply")
        reasoning = reasoning if assistant.trained else ""
        shown = parts if pictures else ()
        return Turn(text, reasoning, answer, pictures, parts=shown, steps=steps)

    def _step(self, message: Message, results: tuple[str, ...]) -> Step:
        """Calls of tools and what they gave back. Raises Skip."""
        reasoning, words = map(self._cleaned, taken_apart(message.text, message.reasoning.strip()))
        calls = tuple(call for _, call in message.calls)
        if PLACEHOLDER.search(f"{reasoning}\n{words}\n{self._mask(written(calls))}"):
            raise Skip(MASKED)
        reasoning = reasoning if message.trained else ""
        return Step(reasoning, calls, tuple(map(self._mask, results)), words)

    def _cleaned(self, text: str) -> str:
        """A text of the assistant, without references and masked. Raises Skip."""
        text, cited = _CITATION.subn("", text)
        if cited:
            self.left_out["marks of citations"] += cited
        if _PAGE.search(text):
            raise Skip("a mark that only the page can show")
        return self._mask(text)

    def _part(self, part: str | Picture) -> str | bytes:
        """A text, masked, or a PNG file. Raises Skip."""
        if isinstance(part, str):
            return self._mask(part)
        try:
            return png(decode(self.read_picture(part)))
        except PictureError as error:
            raise Skip(f"a picture that cannot be used: {error}") from None

    def _mask(self, text: str) -> str:
        masked, found = mask(text)
        self.masked.update(found)
        return masked


def _joined(parts: list[str | bytes]) -> tuple[str | bytes, ...]:
    """The parts with texts that follow each other made one."""
    joined: list[str | bytes] = []
    for part in parts:
        before = joined[-1] if joined else b""
        if isinstance(part, str) and isinstance(before, str):
            joined[-1] = f"{before}\n\n{part}"
        else:
            joined.append(part)
    return tuple(joined)


def taken_apart(text: str, reasoning: str) -> tuple[str, str]:
    """Reasoning and answer of a reply whose reasoning stands beside it, in tags, or before the
    markers.

    Raises Skip where the reply is not whole.
    """
    inside, answer = "", text.strip()
    if chat.BEGIN_FINAL in text:
        reply = chat.split(text)
        if reply.status != chat.COMPLETE:
            raise Skip("a reply that does not end")
        inside, answer = reply.reasoning, reply.answer or ""
    else:
        opened = _OPENED.match(text)
        closed = _CLOSED.search(text)
        if opened and not closed:
            raise Skip("reasoning that does not end")
        begins = opened.end() if opened else 0
        if closed and (opened or "<think" not in text[: closed.start()].lower()):
            inside = text[begins : closed.start()].strip()
            answer = text[closed.end() :].strip()
            if _TAG.search(answer):
                raise Skip("tags of reasoning in an answer")
    if inside and reasoning and inside.split() != reasoning.split():
        raise Skip("two reasonings that differ")
    return inside or reasoning, answer
