"""YAML files written by hand, read against the shape that they should have."""

import datetime
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from common.errors import AetherError, did_you_mean
from common.files import load_yaml, read_text, shown

# What a file must hold at a place where it holds something else, by pydantic's name of the error.
WANTED = {
    "list_type": "a list is wanted, each entry behind a dash",
    "dict_type": "keys are wanted, as `key: value`",
    "model_type": "keys are wanted, as `key: value`",
    "missing": "missing; add it",
}
UNQUOTED = (bool, int, float, datetime.date)


class SchemaError(AetherError):
    """A file that has not the shape it should have."""


class Part(BaseModel):
    """What stands in a YAML file written by hand: a misspelt key is an error."""

    model_config = ConfigDict(extra="forbid")


def load(path: Path, kind: Any, error: type[AetherError] = SchemaError) -> Any:
    """What a YAML file holds, validated as `kind`. Raises FileError or `error`, naming the file,
    the line, the entry by its id, and the key."""
    raw = load_yaml(path)
    adapter = TypeAdapter(kind)
    try:
        return adapter.validate_python(raw)
    except ValidationError as invalid:
        if raw is None:
            raise error(f"{shown(path)}: an empty file; fill it, or take it away") from None
        schema = adapter.json_schema()
        parts = [schema, *schema.get("$defs", {}).values()]
        keys = [key for part in parts for key in part.get("properties", {})]
        first = _chosen(invalid)
        where = f"{shown(path)}:{_line(path, first['loc'])}"
        raise error(f"{where}: {_in_words(raw, first, keys)}") from None


def sentence(details: Any, keys: Iterable[str]) -> str:
    """One of pydantic's errors in our words. `keys`: those that are known."""
    kind = details["type"]
    value = details["input"]
    about = details.get("ctx", {})
    if kind == "extra_forbidden":
        hint = did_you_mean(str(details["loc"][-1]), keys, 0.75)
        return f"no such key{hint or '; remove it'}"
    if kind in WANTED:
        return WANTED[kind]
    if kind == "literal_error":
        return f"{value!r}; must be {about['expected']}"
    if kind == "union_tag_invalid":
        hint = did_you_mean(about["tag"], re.findall(r"[\w.-]+", about["expected_tags"]))
        return f"no {about['discriminator']} {about['tag']!r}{hint} One of {about['expected_tags']}"
    if kind == "value_error":
        return str(about["error"])
    if kind == "string_type" and isinstance(value, UNQUOTED):
        return f"{value!r} is no text to YAML; put it in quotes"
    if isinstance(value, str) and re.fullmatch(r"[-+\d.eE_]+", value):
        return f"{value!r} is text to YAML, not a number; write it without quotes, as 64 or 0.0001"
    return f"{repr(value)[:80]}: {details['msg'].replace('Input should', 'it should')}"


def _chosen(error: ValidationError) -> Any:
    """The error to tell: of several a misspelt key before the key that is missing for it."""
    errors = error.errors()
    misspelt = [one for one in errors if one["type"] == "extra_forbidden"]
    return (misspelt or errors)[0]


def _in_words(raw: object, details: Any, keys: list[str]) -> str:
    """One of pydantic's errors in words, with the entry by its id."""
    place = list(details["loc"])
    if place and isinstance(raw, list) and isinstance(place[0], int):
        entry = raw[place[0]]
        if isinstance(entry, dict):
            place[0] = entry.get("id", place[0])
    where = f"{'.'.join(map(str, place))}: " if place else ""
    return f"{where}{sentence(details, keys)}"


def _line(path: Path, place: Iterable[int | str]) -> int:
    """The line on which a place of a file stands, or what should hold it."""
    node = yaml.compose(read_text(path), yaml.CSafeLoader)
    line = 1
    for part in place:
        if isinstance(node, yaml.SequenceNode):
            if not isinstance(part, int) or part >= len(node.value):
                break  # what is missing at the end of a list has no line of its own
            node = node.value[part]
            line = node.start_mark.line + 1
        elif isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if key.value == str(part):
                    line = key.start_mark.line + 1
                    node = value
                    break
    return line
