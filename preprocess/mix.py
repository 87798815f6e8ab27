"""mix.yaml: which sources make a dataset, how many rows of what are wanted, and what every row must pass. All of it is data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from apriel.rows import ORIGINS


class MixError(ValueError):
    """A mix.yaml, or a file it names, that cannot be used."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Source(_Part):
    category: str
    system: (
        str | list[str]
    )  # files with the system prompt, relative to the dataset's folder; of several, each conversation draws one

    @property
    def systems(self) -> list[str]:
        return [self.system] if isinstance(self.system, str) else self.system


class Seeds(_Source):
    kind: Literal["seeds"]
    path: str  # a YAML list of conversations, relative to the dataset's folder


class Drawn(_Source):
    """Made by a program: the module of that name in preprocess/sources."""

    kind: Literal["pictures", "problems", "diagrams", "video"]
    count: int = Field(gt=0)
    heldout: int = Field(default=0, ge=0)  # rows for evaluation alone, into heldout.jsonl
    path: str = ""  # video: a folder with clips of one's own


class Hub(_Source):
    """The train split of a public data set, from the hub at its pinned revision or from a local folder."""

    kind: Literal["gsm8k", "math"]
    sessions: float = Field(default=0, ge=0, lt=1)  # share of conversations that hold 4-6 problems instead of one


class Own(_Source):
    """A person's own conversations: every .json and .jsonl of a folder, which need not exist."""

    kind: Literal["conversations"]
    path: str


class Gates(_Part):
    max_tokens: int = Field(gt=0)  # of a whole row, in Pixtral's vocabulary, images included
    english: float  # least share of common English words among the words, code and formulas left out
    repetition: float  # largest share of a reply's six-word runs that stood in it before, code and formulas left out
    near_duplicate: float  # estimated Jaccard similarity of five-word runs from which a later row is dropped
    benchmarks: bool  # drop what covers 0.8 of a problem of GSM8K test, GSM-Hard, MATH test or our own held-out ones


class Target(_Part):
    """A quality share. A row counts when it meets every condition that is given; of the phrases, regular expressions, any one."""

    share: tuple[float, float]
    what: str  # the definition in words, for the report
    reasoning_words: int | None = None  # at least
    answer_words: int | None = None  # at most
    answer_questions: tuple[int, int] | None = None  # question marks in the answer, from and to
    phrases: list[str] = []
    phrases_in: Literal["reply", "reasoning"] = "reply"
    labels: list[str] = []  # category or tag, any
    turns: tuple[int, int] | None = None  # user turns of the whole conversation; the share is then one of conversations


class Mix(_Part):
    seed: int
    val_share: float = Field(gt=0, lt=1)
    licence: str
    gates: Gates | None = None
    total: int | None = None
    quotas: dict[str, int] = {}  # rows wanted of each category; without them every row is taken
    caps: dict[str, int] = {}  # most rows of an origin
    targets: dict[str, Target] = {}
    sources: list[Annotated[Seeds | Drawn | Hub | Own, Field(discriminator="kind")]]

    @field_validator("caps")
    @classmethod
    def _origins(cls, caps: dict) -> dict:
        if unknown := sorted(set(caps) - set(ORIGINS)):
            raise ValueError(f"{unknown[0]!r} is no origin; one of {', '.join(ORIGINS)}")
        return caps

    @model_validator(mode="after")
    def _sum(self) -> Mix:
        if self.quotas and sum(self.quotas.values()) != self.total:
            raise ValueError(f"the quotas sum to {sum(self.quotas.values()):,}, total says {self.total}")
        if self.quotas and (missing := {source.category for source in self.sources} - set(self.quotas)):
            raise ValueError(f"no quota for category {sorted(missing)[0]!r}")
        return self


def load(path: Path) -> Mix:
    """The mix in a file. Raises MixError naming the file and the key."""
    try:
        return Mix.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except yaml.YAMLError as error:
        raise MixError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    except ValidationError as error:
        first = error.errors()[0]
        raise MixError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
