"""Small labelled pictures drawn by a program: coloured shapes, with questions whose answers follow from how they were drawn."""

import random
from collections.abc import Iterator, Sequence

from PIL import Image, ImageDraw

from preprocess.rows import Conversation, Turn
from preprocess.sources.canvas import encoded

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


def draw(shape: str, colour: str, count: int, size: tuple[int, int], rng: random.Random) -> bytes:
    """The picture as a PNG file: `count` equal shapes in a row, shifted a little, on a nearly white ground."""
    picture = Image.new("RGB", size, tuple(rng.randint(235, 255) for _ in range(3)))
    pen, cell = ImageDraw.Draw(picture), size[0] / count
    radius = min(cell, size[1]) * rng.uniform(0.3, 0.42)
    for number in range(count):
        centre = (
            cell * (number + 0.5) + rng.uniform(-1, 1),
            size[1] / 2 + rng.uniform(-0.1, 0.1) * size[1],
        )
        if shape == "circle":
            pen.circle(centre, radius, fill=COLOURS[colour])
        else:
            pen.regular_polygon(
                (*centre, radius * 1.1), 3 if shape == "triangle" else 4, fill=COLOURS[colour]
            )
    return encoded(picture)


def conversations(
    count: int, seed: int, category: str, openings: Sequence[str]
) -> Iterator[Conversation]:
    """`count` pictures with one question each, the same for the same seed. With openings, one begins each reasoning, in a voice."""
    rng = random.Random(f"{category} {seed}")
    for number in range(count):
        kind = ("colour", "shape", "count")[number % 3]
        shapes = rng.randint(1, 3) if kind == "count" else 1
        shape, colour = rng.choice(SHAPES), rng.choice(list(COLOURS))
        png = draw(shape, colour, shapes, rng.choice(SIDES), rng)
        value = {"colour": colour, "shape": shape, "count": NUMBERS[shapes]}[kind]
        says = {
            "colour": "It is",
            "shape": "It is a",
            "count": "There is" if shapes == 1 else "There are",
        }[kind]
        seen = f"The picture shows {NUMBERS[shapes]} {colour} {shape}{'s' if shapes > 1 else ''}."
        if openings:
            seen = f"{rng.choice(openings)} {seen}"
        turn = Turn(
            rng.choice(QUESTIONS[kind]),
            seen,
            f"{says} {value}.",
            (png,),
            {"kind": "text", "value": value},
        )
        yield Conversation(
            f"{category}-{number:04d}", "", "procedural", turns=(turn,), tags=(f"asks:{kind}",)
        )
