"""Diagrams drawn from a spec, with questions whose answers are computed from it: six families,
several kinds of question each.

Their size follows from the text in them. Rows for evaluation have scenarios and numbers that
training never sees.
"""

import random
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

from common.errors import did_you_mean
from preprocess.generators import drawn
from preprocess.generators.canvas import NoRoom, Sheet, Style
from preprocess.generators.diagram_families import (
    architecture,
    fanout,
    queues,
    sequence,
    states,
    timeline,
)
from preprocess.rows import Conversation
from preprocess.source import Context, MixError

SMALLEST = 12  # pixels of text that is still readable
FAMILIES = {
    "timeline": timeline,
    "sequence": sequence,
    "states": states,
    "queues": queues,
    "fanout": fanout,
    "architecture": architecture,
}


class Config(drawn.Drawing):
    """The folder with the families' words, relative to the dataset's."""

    kind: Literal["diagrams"]
    path: str = "diagrams"


def conversations(config: Config, context: Context) -> Iterator[Conversation]:
    """Pictures with one question each, the same for the same arguments."""
    folder = context.path(config.path)
    series = drawn.Series("diagram", FAMILIES, partial(_pictures, folder), folder)
    return series.conversations(config, context)


def recompute(answer: dict, config: Config, context: Context) -> int | float | str:
    """The value of an answer, computed again from the spec it holds."""
    return drawn.recompute(FAMILIES, answer)


def _pictures(folder: Path, spec: dict, rng: random.Random) -> tuple[bytes]:
    return (_titled(folder, spec, spec["title"] if rng.random() < 0.6 else "", rng),)


def _titled(folder: Path, spec: dict, title: str, rng: random.Random) -> bytes:
    note = drawn.wording(folder, spec["family"]).get("note", "")
    style = Style.drawn(drawn.wording(folder, "styles"), rng)
    return draw(spec, Sheet(style, title, note, rng))


def by_hand(folder: Path, spec: dict, look: int) -> bytes:
    """The picture of a spec that a person wrote, as a PNG file; `look` draws its style.

    `folder`: the families' words. Raises MixError for a spec that its family cannot draw.
    """
    rng = random.Random(f"look {look}")
    family = str(spec.get("family"))
    if family not in FAMILIES:
        hint = did_you_mean(family, FAMILIES) or "."
        raise MixError(f"no family {family!r}{hint} The families are {', '.join(FAMILIES)}")
    try:
        return _titled(folder, spec, spec.get("title", ""), rng)
    except (LookupError, TypeError, ValueError, ArithmeticError, StopIteration) as error:
        problem = f"{type(error).__name__} {error}"
        raise MixError(f"cannot be drawn ({problem}); compare with a row of {family}") from None


def draw(spec: dict, sheet: Sheet) -> bytes:
    """The picture of a spec as a PNG file, its text as large as still fits.

    Raises NoRoom when no layout is readable.
    """
    layout = FAMILIES[spec["family"]].layout
    for px in range(sheet.style.px, SMALLEST - 1, -1):
        smaller = replace(sheet, style=replace(sheet.style, px=px))
        with suppress(NoRoom):
            return layout(spec, smaller).png(sheet.rng)
    raise NoRoom(f"{spec['family']} {sheet.title}: no readable layout")
