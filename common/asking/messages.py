"""Messages as OpenAI and as rows write them, in the form in which Inspect sends them."""

from pathlib import Path

from inspect_ai.model import ChatMessage
from pydantic import TypeAdapter

from common import rows, tools
from common.pictures import picture_part

MESSAGE = TypeAdapter(ChatMessage)


def of_row(message: dict, folder: Path) -> ChatMessage:
    """A message of a row, whose pictures lie in `folder`."""
    parts = [
        picture_part((folder / part["path"]).read_bytes()) if part["type"] == "image" else part
        for part in message["content"]
    ]
    content = rows.text_of(message) if parts == message["content"] else parts
    return of_openai(message | {"content": content})


def of_openai(message: dict) -> ChatMessage:
    """A message of OpenAI's chat completions: its content a text, of a user's also parts."""
    content = message["content"]
    told = message | {"content": content if isinstance(content, str) else [*map(_part, content)]}
    if "tool_calls" in message:
        told["tool_calls"] = [*map(_call, message["tool_calls"])]
    return MESSAGE.validate_python(told)


def _part(part: dict) -> dict:
    seen = part.get("image_url")
    return {"type": "image", "image": seen["url"]} if seen else part


def _call(entry: dict) -> dict:
    call = tools.of_openai(entry)
    return {"id": entry["id"], "function": call.name, "arguments": call.arguments}
