"""Boxes with a name and further lines in them, and a layout of rows of such boxes with arrows from
row to row.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from preprocess.generators.canvas import Canvas, Sheet, Style


@dataclass(frozen=True)
class Box:
    """A box of a diagram. Shapes: box; round; queue, which has slots at both ends."""

    name: str
    lines: list[str]
    shape: str

    def size(self, style: Style) -> tuple[float, float]:
        """Width and height in pixels."""
        widths = [1.08 * style.width(self.name)]
        widths += [style.width(line, 1) for line in self.lines]
        round_sides = 0 if self.shape == "box" else 14
        return max(widths) + 22 + round_sides, (1 + len(self.lines)) * style.px * 1.4 + 14

    def draw(self, canvas: Canvas, x: float, y: float, size: tuple, fill: str) -> None:
        """Draw it centred on x, y."""
        px = canvas.style.px
        wide, high = size
        corner = {"round": high / 2.4, "queue": 0}.get(self.shape)
        canvas.box(x, y, wide, high, fill, corner=corner)
        if self.shape == "queue":
            for bar in (wide / 2 - 5, wide / 2 - 10, 5 - wide / 2, 10 - wide / 2):
                canvas.line([(x + bar, y - high / 2), (x + bar, y + high / 2)], width=1)
        top = y - len(self.lines) / 2 * px * 1.4
        canvas.text(x, top, self.name, px, colour="text", bold=bool(self.lines))
        for number, line in enumerate(self.lines, 1):
            top = y + (number - len(self.lines) / 2) * px * 1.4
            canvas.text(x, top, line, px - 1, colour="text")


Arrow = tuple[str, str, str]  # from, to, label or nothing


def tree(rows: Sequence[Sequence[Box | None]], arrows: list[Arrow], sheet: Sheet) -> Canvas:
    """Rows of boxes from top to bottom or from left to right; None keeps a place of a row empty.

    An arrow goes from one row to the next, so it meets no third box.
    """
    style = sheet.style
    rightwards = sheet.rng.random() < 0.5
    slack = sheet.rng.uniform(1, 1.3)
    sizes = {box.name: box.size(style) for row in rows for box in row if box}
    wide = max(size[0] for size in sizes.values())
    high = max(size[1] for size in sizes.values())
    label = max(style.width(arrow[2]) for arrow in arrows)
    # Pixels between the middles of neighbours in a row, and between rows.
    if rightwards:
        beside = high + 24 * slack
        along = wide + slack * (46 + label)
    else:
        beside = max(wide + 20, 2 * label + 16) * slack
        along = high + slack * (3.4 * style.px + (14 if label else 0))
    breadth = beside * (max(map(len, rows)) - 1)
    depth = along * (len(rows) - 1)
    if rightwards:
        canvas = sheet.canvas(depth + wide, breadth + high)
        middle = canvas.top + (breadth + high) / 2
        first = (canvas.width - depth) / 2
    else:
        canvas = sheet.canvas(breadth + wide, depth + high)
        middle = canvas.width / 2
        first = canvas.top + high / 2
    colours = sheet.rng.sample(style.palette["fills"], 3)
    fills = dict(zip(("box", "round", "queue"), colours, strict=True))
    places = {}
    for number, row in enumerate(rows):
        down = first + number * along
        for place, box in enumerate(row):
            if box is None:
                continue
            aside = middle + (place - (len(row) - 1) / 2) * beside
            x, y = places[box.name] = (down, aside) if rightwards else (aside, down)
            box.draw(canvas, x, y, sizes[box.name], fills[box.shape])
    axis = 0 if rightwards else 1
    for source, target, words in arrows:
        start = list(places[source])
        end = list(places[target])
        start[axis] += sizes[source][axis] / 2 + 3
        end[axis] -= sizes[target][axis] / 2 + 4
        canvas.line([(start[0], start[1]), (end[0], end[1])], head=True)
        if words:
            canvas.plate((start[0] + end[0]) / 2, (start[1] + end[1]) / 2, words)
    return canvas
