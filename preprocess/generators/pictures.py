"""Small labelled pictures drawn by a program: coloured shapes, with questions whose answers follow
from how they were drawn.
"""

import random
from collections.abc import Iterator
from typing import Literal

from PIL import Image, ImageDraw

from common.pictures import png
from preprocess.rows import Conversation, Turn
from preprocess.source import Context, Generated

COLOURS = {
    "red": (214, 40, 40),
    "green": (40, 150, 70),
    "blue": (40, 80, 200),
    "yellow": (240, 200, 40),
    "black": (20, 20, 20),
}
SHAPES = ("circle", "square", "triangle")
SIDES = ((64, 64), (96, 64), (64, 96), (96, 96))  # pixels
NUMBERS = ("no", "one", "two", "three")
QUESTIONS = {
    "colour": (
        "What colour is it?",
        "Which colour do you see?",
        "What is the colour of the shape?",
    ),
    "shape": ("What shape is it?", "Which shape do you see?", "What is drawn here?"),
    "count": ("How many shapes are there?", "How many do you see?", "Count the shapes."),
}


class Config(Generated):
    """With openings, one of them begins each reasoning, in a voice."""

    kind: Literal["pictures"]
    openings: list[str] = []


def draw(shape: str, colour: str, count: int, size: tuple[int, int], rng: random.Random) -> bytes:
    """The picture as a PNG file: `count` equal shapes in a row, shifted a little, on a nearly white
    ground.
    """
    ground = tuple(rng.randint(235, 255) for _ in range(3))
    picture = Image.new("RGB", size, ground)
    pen = ImageDraw.Draw(picture)
    width, height = size
    cell = width / count
    radius = min(cell, height) * rng.uniform(0.3, 0.42)
    fill = COLOURS[colour]
    for number in range(count):
        x = cell * (number + 0.5) + rng.uniform(-1, 1)
        y = height / 2 + rng.uniform(-0.1, 0.1) * height
        if shape == "circle":
            pen.circle((x, y), radius, fill=fill)
        else:
            corners = 3 if shape == "triangle" else 4
            pen.regular_polygon((x, y, radius * 1.1), corners, fill=fill)
    return png(picture)


def conversations(config: Config, context: Context) -> Iterator[Conversation]:
    """Pictures with one question each, the same for the same arguments."""
    rng = random.Random(f"{config.category} {context.seed}")
    for number in range(config.wanted(context.heldout)):
        kind = ("colour", "shape", "count")[number % 3]
        count = rng.randint(1, 3) if kind == "count" else 1
        shape = rng.choice(SHAPES)
        colour = rng.choice(list(COLOURS))
        png = draw(shape, colour, count, rng.choice(SIDES), rng)
        value = {"colour": colour, "shape": shape, "count": NUMBERS[count]}[kind]
        there = "There is" if count == 1 else "There are"
        says = {"colour": "It is", "shape": "It is a", "count": there}[kind]
        plural = "s" if count > 1 else ""
        seen = f"The picture shows {NUMBERS[count]} {colour} {shape}{plural}."
        if config.openings:
            seen = f"{rng.choice(config.openings)} {seen}"
        question = rng.choice(QUESTIONS[kind])
        check = {"kind": "text", "value": value}
        yield Conversation(
            id=f"{config.category}-{number:04d}",
            turns=(Turn(question, seen, f"{says} {value}.", (png,), check),),
            tags=(f"asks:{kind}",),
        )
