"""Small labelled pictures drawn by a program: coloured shapes, with questions whose answers follow from how they were drawn."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator
from dataclasses import dataclass

from PIL import Image, ImageDraw

from preprocess.rows import Conversation, Turn

COLOURS = {"red": (214, 40, 40), "green": (40, 150, 70), "blue": (40, 80, 200), "yellow": (240, 200, 40), "black": (20, 20, 20)}
SHAPES = ("circle", "square", "triangle")
SIDES = ((64, 64), (96, 64), (64, 96), (96, 96))  # pixels
NUMBERS = ("no", "one", "two", "three")


@dataclass(frozen=True)
class Drawn:
    shape: str
    colour: str
    count: int

    @property
    def words(self) -> str:
        return f"{NUMBERS[self.count]} {self.colour} {self.shape}{'s' if self.count > 1 else ''}"


def draw(what: Drawn, size: tuple[int, int], rng: random.Random) -> bytes:
    """The picture as a PNG file: `count` equal shapes in a row, shifted a little, on a nearly white ground."""
    ground = tuple(rng.randint(235, 255) for _ in range(3))
    picture = Image.new("RGB", size, ground)
    pen = ImageDraw.Draw(picture)
    cell = size[0] / what.count
    radius = min(cell, size[1]) * rng.uniform(0.3, 0.42)
    for number in range(what.count):
        x = cell * (number + 0.5) + rng.uniform(-1, 1)
        y = size[1] / 2 + rng.uniform(-0.1, 0.1) * size[1]
        box = (x - radius, y - radius, x + radius, y + radius)
        if what.shape == "circle":
            pen.ellipse(box, fill=COLOURS[what.colour])
        elif what.shape == "square":
            pen.rectangle(box, fill=COLOURS[what.colour])
        else:
            pen.polygon([(x, y - radius), (x - radius, y + radius), (x + radius, y + radius)], fill=COLOURS[what.colour])
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def _question(kind: str, what: Drawn, rng: random.Random) -> tuple[str, str, str]:
    """(question, answer, the value a program can check)."""
    if kind == "colour":
        asked = rng.choice(["What colour is it?", "Which colour do you see?", "What is the colour of the shape?"])
        return asked, f"It is {what.colour}.", what.colour
    if kind == "shape":
        asked = rng.choice(["What shape is it?", "Which shape do you see?", "What is drawn here?"])
        return asked, f"It is a {what.shape}.", what.shape
    asked = rng.choice(["How many shapes are there?", "How many do you see?", "Count the shapes."])
    return asked, f"There {'is' if what.count == 1 else 'are'} {NUMBERS[what.count]}.", NUMBERS[what.count]


def conversations(count: int, category: str, seed: int) -> Iterator[Conversation]:
    """`count` pictures with one question each, the same for the same seed."""
    rng = random.Random(f"pictures {seed}")
    for number in range(count):
        kind = ("colour", "shape", "count")[number % 3]
        how_many = rng.randint(1, 3) if kind == "count" else 1
        what = Drawn(rng.choice(SHAPES), rng.choice(list(COLOURS)), how_many)
        png = draw(what, rng.choice(SIDES), rng)
        question, answer, value = _question(kind, what, rng)
        yield Conversation(
            id=f"pictures-{number:04d}",
            category=category,
            origin="procedural",
            turns=(Turn(question, f"The picture shows {what.words}.", answer, (png,)),),
            tags=(f"asks:{kind}",),
            answer={"kind": "text", "value": value},
        )
