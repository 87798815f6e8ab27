"""The folder that a server reads: links to a model's files, with two of them changed.

- tokenizer_config.json gets a `response_template`, which tells vLLM (`--reasoning-parser hf`) and
  transformers serve where reasoning and answer stand in a reply;
- the chat template begins a conversation that has no system message with one of ours, where one is
  given.

The model's own folder is never written to.
"""

import json
import re
from datetime import datetime
from pathlib import Path

from jinja2 import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from common.bases import files_of
from common.chat import ASSISTANT, BEGIN_FINAL, END_FINAL, END_OF_TURN, REASONING
from common.errors import AetherError
from common.files import load_json, read_text, shown, write_json, write_text, written_aside
from common.rows import text_parts

TEMPLATE = "chat_template.jinja"
TOKENIZER = "tokenizer_config.json"
_END = rf"\s*(?:{re.escape(END_FINAL)}|{re.escape(END_OF_TURN)})[\s\S]*"
# All that stands before the final response is thinking: a reply that is cut there has no answer.
RESPONSE_TEMPLATE: dict = {
    "version": 1,
    "start_anchor": f"{ASSISTANT}\n",
    "defaults": {"role": "assistant"},
    "fields": {
        "thinking": {"close_pattern": rf"(?<![\s\S])\s*{re.escape(REASONING)}\s*|{_END}"},
        "content": {"open_pattern": rf"\s*{re.escape(BEGIN_FINAL)}\s*", "close_pattern": _END},
    },
}
ASKED: dict = {"role": "user", "content": text_parts("Why?")}


class CopyError(AetherError):
    """A model that cannot be served with a system prompt of ours."""


def served_copy(model: Path, target: Path, persona: str = "") -> Path:
    """Write the copy of a model's folder to `target`, in whose place an earlier one goes.

    `persona` is the system message of conversations that bring none, "" for none. Raises CopyError
    and FileError.
    """
    settings = load_json(model / TOKENIZER)
    template = _template_of(model, settings)
    with written_aside(target) as aside:
        for path in files_of(model):
            (aside / path.name).symlink_to(path.resolve())
        for name in (TOKENIZER, TEMPLATE):
            (aside / name).unlink(missing_ok=True)
        settings.pop("chat_template", None)
        write_json(aside / TOKENIZER, settings | {"response_template": RESPONSE_TEMPLATE})
        write_text(aside / TEMPLATE, with_persona(template, persona, model))
    return target


def _template_of(model: Path, settings: dict) -> str:
    """The chat template, from the file or from the tokenizer's settings. Raises CopyError."""
    if (model / TEMPLATE).is_file():
        return read_text(model / TEMPLATE)
    template = settings.get("chat_template")
    if not isinstance(template, str):
        raise CopyError(f"{shown(model)}: no chat template; a chat model has {TEMPLATE}")
    return template


def with_persona(template: str, persona: str, model: Path) -> str:
    """The template with a default system message, proven by rendering: a conversation without one
    reads as if it had brought it, and one with its own reads as before. Raises CopyError.
    """
    if not persona:
        return template
    for content in (persona, text_parts(persona)):
        message: dict = {"role": "system", "content": content}
        own = [message | {"content": _other(content)}, ASKED]
        changed = _beginning(message) + template
        try:
            wanted = rendered(template, [message, ASKED])
            kept = rendered(changed, own) == rendered(template, own)
        except TemplateError:
            continue
        if kept and wanted.count(persona.strip()) == 1 and rendered(changed, [ASKED]) == wanted:
            return changed
    raise CopyError(
        f"{shown(model)}: its chat template takes no default system message; give PERSONA=0"
    )


def _other(content: str | list[dict[str, str]]) -> str | list[dict[str, str]]:
    own = "Be brief."
    return own if isinstance(content, str) else text_parts(own)


def _beginning(message: dict) -> str:
    """Jinja that puts `message` first where no system message stands there."""
    return (
        "{%- if not messages or messages[0]['role'] != 'system' %}"
        f"{{%- set messages = [{_literal(message)}] + (messages or []) %}}"
        "{%- endif %}"
    )


def _literal(value: object) -> str:
    """A JSON value as Jinja reads it, in ASCII: \\u00e9 is one escape in both, and what JSON writes
    as two (an emoji) is one here.
    """
    if isinstance(value, dict):
        return f"{{{', '.join(f'{_literal(k)}: {_literal(v)}' for k, v in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_literal, value))}]"
    text = str(value).encode("unicode_escape").decode("ascii")
    return json.dumps(text).replace("\\\\", "\\")


def rendered(template: str, messages: list[dict]) -> str:
    """What a chat template makes of a conversation that waits for a reply, as servers render it."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.globals |= {"raise_exception": _refuse, "strftime_now": datetime.now().strftime}
    tokens = {"bos_token": "<s>", "eos_token": "</s>"}
    return environment.from_string(template).render(
        messages=messages, add_generation_prompt=True, **tokens
    )


def _refuse(problem: str) -> None:
    raise TemplateError(problem)
