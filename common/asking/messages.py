"""Messages of a row, and the form in which Inspect sends them."""

from __future__ import annotations

from pathlib import Path

from inspect_ai.model import (
    ChatMessage,
    ChatMessageAssistant,
    ChatMessageSystem,
    ChatMessageTool,
    ChatMessageUser,
    Content,
    ContentImage,
    ContentText,
)
from inspect_ai.tool import ToolCall

from common import rows, tools
from common.files import ROOT
from common.pictures import data_url


def of_row(message: dict, folder: Path = ROOT) -> ChatMessage:
    """A message of a row, whose pictures lie in `folder`."""
    text = rows.text_of(message)
    parts = message["content"]
    pictured = any(part["type"] == "image" for part in parts)
    match message["role"]:
        case "system":
            return ChatMessageSystem(content=text)
        case "tool":
            return ChatMessageTool(content=text, tool_call_id=message["tool_call_id"])
        case "user":
            content = [_part(part, folder) for part in parts] if pictured else text
            return ChatMessageUser(content=content)
    calls = []
    for entry in message.get("tool_calls", ()):
        call = tools.of_openai(entry)
        calls.append(ToolCall(id=entry["id"], function=call.name, arguments=call.arguments))
    return ChatMessageAssistant(content=text, tool_calls=calls or None)


def _part(part: dict, folder: Path) -> Content:
    if part["type"] == "image":
        return ContentImage(image=data_url((folder / part["path"]).read_bytes()))
    return ContentText(text=part["text"])
