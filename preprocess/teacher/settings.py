"""What a person writes for a teacher: teacher.yaml, and a prompt file for each category and for the
judge.
"""

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Self

from inspect_ai.model import GenerateConfig
from pydantic import Field, ValidationError, model_validator

from common.asking.client import COMPATIBLE, Provider
from common.asking.paid import PricedModel
from common.servers import Endpoint as Served
from preprocess.source import MixError, Part, load

JUDGE = "judge"


class Endpoint(PricedModel):
    """A model that can be asked, and where."""

    name: str  # who answers, as the dataset's card will say it
    url: str = ""  # ends in /v1; left out for a provider's own address
    provider: Provider = COMPATIBLE
    key_env: str | None = None  # the environment variable that holds the key

    @model_validator(mode="after")
    def _can_be_asked(self) -> Self:
        if self.provider == COMPATIBLE:
            if not self.url:
                raise ValueError(
                    "url: missing; only a provider with an address of its own needs none"
                )
            return self
        try:
            GenerateConfig(**self.parameters)
        except ValidationError as error:
            raise ValueError(f"parameters: {error.errors()[0]['msg']}") from None
        return self


class Settings(Part):
    """teacher.yaml. The caps hold over the life of the store, all runs together."""

    cap_dollars: float = Field(gt=0)
    cap_tokens: int = Field(gt=0)
    concurrency: int = Field(gt=0)
    timeout_seconds: float = Field(gt=0)
    backoff_seconds: float = Field(gt=0)  # the first wait after a failure; it doubles
    bar: int = Field(ge=1, le=5)  # the least of a row's three scores
    seed: int
    categories: list[str] = Field(min_length=1)
    teacher: Endpoint
    judge: Endpoint | None = None
    base: Endpoint | None = None  # whose own replies are collected as replay


class Call(Part):
    """A request that one tool call answers."""

    tools: str
    user: str
    name: str
    arguments: dict[str, str | int]


class Prompt(Part):
    """<category>.yaml, and judge.yaml."""

    version: int
    prompt: str
    reply_tokens: int = Field(gt=0)  # of a reply, as --dry-run expects them
    seeds: str = ""  # a file of the dataset's folder
    variations: int = 0  # of each seed
    examples: list[str] = []  # ids of seeds, shown whole
    axes: dict[str, list[str | int]] = {}  # one value of each is drawn for a row
    problems: dict[Literal["gsm8k", "math", "problems", "diagrams"], int] = {}
    calls: list[Call] = []
    replay: bool = False  # the base model's own replies, unprompted

    @property
    def role(self) -> str:
        """Which endpoint of teacher.yaml writes its rows."""
        return "base" if self.replay else "teacher"


@dataclass(frozen=True)
class Teaching:
    """Everything of a dataset's teacher folder.

    Args:
        folder: The dataset's.
        prompts: By category.
    """

    folder: Path
    settings: Settings
    prompts: dict[str, Prompt]
    judge: Prompt

    @property
    def endpoints(self) -> dict[str, Endpoint]:
        """The endpoints that its prompts use, by their role in teacher.yaml."""
        roles = {prompt.role for prompt in self.prompts.values()}
        named = {role: getattr(self.settings, role) for role in sorted({*roles, JUDGE})}
        return {role: endpoint for role, endpoint in named.items() if endpoint is not None}

    def asking(self, server: Served) -> Self:
        """The same, its base where `server` is, and no judge: a replay needs none."""
        if self.settings.base is None:
            raise ValueError("no base to ask")
        parameters = self.settings.base.parameters
        where = {
            "url": server.url,
            "model": server.model,
            "key_env": server.key_variable if server.key_variable in os.environ else None,
            "parameters": parameters | (server.extra(parameters) or {}),
        }
        base = self.settings.base.model_copy(update=where)
        return replace(self, settings=self.settings.model_copy(update={"base": base, JUDGE: None}))


def read(folder: Path, categories: list[str] | None = None) -> Teaching:
    """The teacher's files in a dataset's folder, of the categories that teacher.yaml names or of
    some others. Raises MixError or FileError."""
    files = folder / "teacher"
    settings: Settings = load(files / "teacher.yaml", Settings)
    prompts: dict[str, Prompt] = {}
    for category in categories or settings.categories:
        prompts[category] = load(files / f"{category}.yaml", Prompt)
        if prompts[category].replay and settings.base is None:
            missing = f"base: {category} collects the base's replies; say where it runs"
            raise MixError(f"{files / 'teacher.yaml'}: {missing}")
    return Teaching(folder, settings, prompts, load(files / f"{JUDGE}.yaml", Prompt))
