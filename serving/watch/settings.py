"""What is watched: cameras.yaml, and the addresses that the environment holds."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Self

import numpy as np
from pydantic import Field, model_validator

from common import schema
from common.errors import AetherError
from common.files import shown
from common.schema import Part
from common.servers import Endpoint

CAMERAS = Path(__file__).with_name("cameras.yaml")
SMALL = (64, 36)  # width and height, in pixels, at which two frames are compared


class WatchError(AetherError):
    """A camera, a Redis or a setting that cannot be used."""


def address_in(variable: str, needed_by: str) -> str:
    """What an environment variable holds. Raises WatchError where it is not set."""
    found = os.environ.get(variable, "")
    if not found:
        raise WatchError(f"{needed_by}: set the environment variable {variable} to its address")
    return found


class Model(Part):
    """Who describes the frames; `url`, `model` and `key` are environment variables."""

    url: str
    model: str
    key: str
    max_tokens: int = Field(gt=0)
    timeout_s: float = Field(gt=0)
    at_once: int = Field(gt=0)

    def endpoint(self) -> Endpoint:
        """Where it answers. Raises WatchError."""
        url = address_in(self.url, "the model of cameras.yaml").rstrip("/").removesuffix("/v1")
        if "@" in url:
            raise WatchError(f"{self.url}: no password in it; set {self.key} to the key")
        name = address_in(self.model, "the model of cameras.yaml")
        return Endpoint(f"{url}/v1", name, "given", self.at_once, self.key)


class Camera(Part):
    """One camera; cameras.yaml says what each key is."""

    url: str
    prompt: str = Field(min_length=1)
    fps: float = Field(gt=0, le=30)
    change: float = Field(ge=0, le=100)
    heartbeat_s: float = Field(gt=0)
    mask: list[tuple[float, float, float, float]] = []
    stale_s: float = Field(gt=0)
    frames: int = Field(gt=0)
    pictures_s: int = Field(gt=0)

    @model_validator(mode="after")
    def _sees(self) -> Self:
        if not self.counted().any():
            raise ValueError("mask: nothing of the picture is left")
        return self

    def counted(self) -> np.ndarray:
        """Which cells of the small picture count, (height, width) of bool. Raises ValueError."""
        width, height = SMALL
        found = np.ones((height, width), bool)
        for left, top, right, bottom in self.mask:
            if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
                raise ValueError("mask: [left, top, right, bottom], shares of the picture")
            rows = slice(round(top * height), round(bottom * height))
            found[rows, round(left * width) : round(right * width)] = False
        return found


class Settings(Part):
    """A cameras.yaml."""

    model: Model
    keep_days: float = Field(gt=0)
    cameras: dict[str, Camera]

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        for name, camera in self.cameras.items():
            if not name.replace("-", "").isalnum():
                raise ValueError(f"cameras.{name}: letters, digits and - alone")
            if camera.frames <= self.model.at_once:
                raise ValueError(f"cameras.{name}.frames: more than model.at_once")
        return self


def read() -> Settings:
    """The settings. Raises FileError or WatchError."""
    return schema.load(_path(), Settings, WatchError)


def chosen(settings: Settings, names: list[str]) -> dict[str, Camera]:
    """The cameras of these names, all where none is given. Raises WatchError."""
    for name in names:
        if name not in settings.cameras:
            known = ", ".join(settings.cameras)
            raise WatchError(f"{shown(_path())}: no camera {name!r}; there are {known}")
    return {name: settings.cameras[name] for name in names or settings.cameras}


def _path() -> Path:
    return Path(os.environ.get("CAMERAS") or CAMERAS)
