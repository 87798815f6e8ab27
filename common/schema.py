"""YAML files written by hand, read against the shape that they should have."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from common.errors import AetherError
from common.files import load_yaml, shown


class SchemaError(AetherError):
    """A file that has not the shape it should have."""


class Part(BaseModel):
    """What stands in a YAML file written by hand: a misspelt key is an error."""

    model_config = ConfigDict(extra="forbid")


def load(path: Path, kind: Any, error: type[AetherError] = SchemaError) -> Any:
    """What a YAML file holds, validated as `kind`. Raises FileError or `error`, naming the file,
    the entry by its id, and the key."""
    raw = load_yaml(path)
    try:
        return TypeAdapter(kind).validate_python(raw)
    except ValidationError as invalid:
        raise error(f"{shown(path)}: {_first_error(raw, invalid)}") from None


def _first_error(raw: object, error: ValidationError) -> str:
    """One error in words: of several a misspelt key before the key that is missing for it."""
    errors = error.errors()
    misspelt = [one for one in errors if one["type"] == "extra_forbidden"]
    first = (misspelt or errors)[0]
    place = list(first["loc"])
    if place and isinstance(raw, list) and isinstance(place[0], int):
        entry = raw[place[0]]
        if isinstance(entry, dict):
            place[0] = entry.get("id", place[0])
    return f"{'.'.join(map(str, place))}: {first['msg']}"
