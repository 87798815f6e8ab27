"""The replies of a model, kept as they come, and what stands in them."""

from collections.abc import Sequence
from pathlib import Path

from common import chat, tools
from common.asking import replies as stored
from common.asking.database import Database


class Replies:
    """The replies of one model, in a file."""

    def __init__(self, path: Path):
        path.parent.mkdir(parents=True, exist_ok=True)
        self._database = Database(path, stored.SCHEMA)
        self._store = stored.Replies(self._database)

    def reply(self, key: str) -> dict | None:
        """A kept reply, `text`, `stop` and `tokens`; None where there is none."""
        body = self._store.body(bytes.fromhex(key))
        return None if body is None else reply_of(body)

    def count(self) -> int:
        """How many are kept."""
        return self._database.read("SELECT count(*) FROM replies").fetchone()[0]

    async def keep(self, key: str, body: str) -> None:
        """Keep a reply; it is on disk when this returns."""
        self._store.keep(bytes.fromhex(key), 0, body)
        await self._database.written()

    def close(self) -> None:
        """Close the file."""
        self._database.close()


def reply_of(body: str) -> dict:
    """What stands in the body of a chat completion: `text`, `stop` and `tokens`.

    The text is the reply as the model wrote it: where a server took the reasoning or calls of
    tools out, they are put back.
    """
    found = stored.completion_of(body)
    usage = stored.usage_of(body)
    text = found.reasoning + found.text
    answered = found.text.strip() or found.calls
    if found.reasoning and answered and chat.BEGIN_FINAL not in found.text:
        end = f"\n{chat.END_FINAL}" if found.ended == "stop" else ""
        begin = f"{chat.REASONING}\n{found.reasoning.strip()}\n{chat.BEGIN_FINAL}"
        text = f"{begin}\n{found.text.strip()}{end}"
    text = _put_back(text, found.calls)
    return {
        "text": text,
        "stop": "max_tokens" if found.ended == stored.CUT_OFF else found.ended,
        "tokens": usage[1] if usage else None,
    }


def _put_back(text: str, calls: Sequence[tools.Call]) -> str:
    """A reply as the model wrote it, from the text and the calls that a server took out of it."""
    if not calls:
        return text
    head, begun, final = text.rpartition(chat.BEGIN_FINAL)
    if not begun:
        head, final = "", text
    if not head.strip():
        head = f"{chat.REASONING}\n"
    words = final.partition(chat.END_FINAL)[0].strip()
    written = f"{words}\n{tools.written(calls)}".strip()
    return f"{head}{chat.BEGIN_FINAL}\n{written}\n{chat.END_FINAL}"
