"""mix.yaml: which sources make a dataset, as data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError


class MixError(ValueError):
    """A mix.yaml, or a file it names, that cannot be used."""


class _Source(BaseModel):
    model_config = ConfigDict(extra="forbid")
    category: str
    system: str  # file with the system prompt, relative to the dataset's folder


class Seeds(_Source):
    kind: Literal["seeds"]
    path: str  # a YAML list of conversations, relative to the dataset's folder
    limit: int | None = Field(default=None, gt=0)  # only the first so many that have replies


class Pictures(_Source):
    kind: Literal["pictures"]
    count: int = Field(gt=0)


class Mix(BaseModel):
    model_config = ConfigDict(extra="forbid")
    seed: int
    val_share: float = Field(gt=0, lt=1)
    licence: str
    sources: list[Annotated[Seeds | Pictures, Field(discriminator="kind")]]


def load(path: Path) -> Mix:
    """The mix in a file. Raises MixError naming the file and the key."""
    try:
        return Mix.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except yaml.YAMLError as error:
        raise MixError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    except ValidationError as error:
        first = error.errors()[0]
        raise MixError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
