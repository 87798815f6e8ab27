"""mix.yaml: which sources make a dataset, how many rows of what are wanted, and what every row must pass. All of it is data."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import Field, TypeAdapter, ValidationError, model_validator

from common.rows import ORIGINS
from preprocess.generators import diagrams, pictures, problems, video
from preprocess.source import MixError, Part


class _Source(Part):
    category: str
    system: (
        str | list[str]
    )  # files, relative to the dataset's folder; of several prompts each conversation draws one


class Written(_Source):
    """A YAML file of seeds; the folder of a person's own conversations, or a file of a teacher's accepted rows, which need not exist."""

    kind: Literal["seeds", "conversations", "teacher"]
    path: str
    limit: int | None = Field(default=None, gt=0)  # only the first so many conversations


Drawn = problems.Config | diagrams.Config | video.Config | pictures.Config


class Hub(_Source):
    """The train split of a public data set, from the hub at its pinned revision or from a local folder."""

    kind: Literal["gsm8k", "math"]
    sessions: float = Field(
        default=0, ge=0, lt=1
    )  # share of conversations that hold 4-6 problems instead of one


class Gates(Part):
    max_tokens: int = Field(gt=0)  # of a whole row, in Pixtral's vocabulary, images included
    english: (
        float  # least share of common English words among the words, code and formulas left out
    )
    repetition: float  # largest share of a reply's six-word runs that stood in it before, code and formulas left out
    near_duplicate: (
        float  # estimated Jaccard similarity of five-word runs from which a later row is dropped
    )
    benchmarks: bool  # drop what covers 0.8 of a problem of GSM8K test, GSM-Hard, MATH test or our own held-out ones


class Target(Part):
    """A quality share. A row counts when it meets every condition that is given; of the phrases, regular expressions, any one."""

    share: tuple[float, float]
    what: str  # the definition in words, for the report
    reasoning_words: int = 0  # at least
    nudges: bool = False  # the answer is a nudge by common.behaviour's definition
    phrases: list[str] = []
    phrases_in: Literal["reply", "reasoning"] = "reply"
    labels: list[str] = []  # category or tag, any
    turns: tuple[int, int] | None = (
        None  # user turns of the whole conversation; the share is then one of conversations
    )


class Mix(Part):
    seed: int
    val_share: float = Field(gt=0, lt=1)
    licence: str
    gates: Gates | None = None
    total: int | None = None
    quotas: dict[str, int] = {}  # rows wanted of each category; without them every row is taken
    caps: dict[str, int] = {}  # most rows of an origin
    targets: dict[str, Target] = {}
    sources: list[Annotated[Written | Drawn | Hub, Field(discriminator="kind")]]

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if unknown := sorted(set(self.caps) - set(ORIGINS)):
            raise ValueError(f"caps: {unknown[0]!r} is no origin; one of {', '.join(ORIGINS)}")
        if self.quotas and sum(self.quotas.values()) != self.total:
            raise ValueError(
                f"the quotas sum to {sum(self.quotas.values()):,}, total says {self.total}"
            )
        if self.quotas and (
            missing := {source.category for source in self.sources} - set(self.quotas)
        ):
            raise ValueError(f"no quota for category {sorted(missing)[0]!r}")
        return self


def load(path: Path, kind: Any = Mix) -> Any:
    """What a YAML file holds, a `kind`. Raises MixError naming the file, the entry of a list by its id, and the key."""
    raw = None
    try:
        raw = yaml.load(path.read_text(encoding="utf-8"), yaml.CSafeLoader)
        return TypeAdapter(kind).validate_python(raw)
    except FileNotFoundError:
        raise MixError(f"{path}: no such file") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise MixError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    except ValidationError as error:
        first = min(
            error.errors(), key=lambda one: one["type"] != "extra_forbidden"
        )  # a misspelt key before the one it misses
        place = list(first["loc"])
        if isinstance(raw, list) and place and isinstance(raw[place[0]], dict):
            place[0] = raw[place[0]].get("id", place[0])
        raise MixError(f"{path}: {'.'.join(map(str, place))}: {first['msg']}") from None
