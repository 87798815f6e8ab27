"""A canvas in pixels for diagrams: boxes, arrows, labels, styles and a little wear. Matplotlib's object API, no global state."""

from __future__ import annotations

import io
import math
import random
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.patches import FancyBboxPatch, Polygon
from PIL import Image

LONGEST, SHORTEST = 1024, 448  # pixels of the longer edge: what the image processor leaves as it is, and what is still readable
MARGIN = 22
FONTS = ("DejaVu Sans", "DejaVu Sans", "DejaVu Serif", "DejaVu Sans Mono", "STIXGeneral")  # all come with matplotlib
_DPI = 72  # so that a point is a pixel
_RULER = RendererAgg(1, 1, _DPI)


class NoRoom(ValueError):
    """A layout in which something would be covered, cut off or too small to read."""


@dataclass(frozen=True)
class Style:
    palette: dict  # names of colours, and lists of them: fills, lines
    font: str
    px: int  # text size
    line: float
    corner: float
    sketch: bool
    wear: str

    @classmethod
    def drawn(cls, palettes: list[dict], rng: random.Random) -> Style:
        font, wear = rng.choice(FONTS), rng.choice(("", "", "", "jpeg", "speckle", "tilt"))
        px, line = rng.choice((13, 14, 15, 16, 18)) + 2 * (font == "STIXGeneral"), rng.choice((1.2, 1.6, 2.2))
        return cls(rng.choice(palettes), font, px, line, rng.choice((0, 3, 8, 12)), rng.random() < 0.12, wear)

    def smaller(self) -> Style:
        return replace(self, px=max(12, self.px - 1))


@lru_cache(maxsize=4096)
def width_of(text: str, px: float, font: str) -> float:
    """Pixels the text is wide."""
    return _RULER.get_text_width_height_descent(text, FontProperties(family=font, size=px), False)[0]


def overlap(a: tuple, b: tuple) -> bool:
    """Whether two (left, top, right, bottom) rectangles share a point."""
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


class Canvas:
    """Room for width x height pixels (y downwards) from `top` on, between a title and a note. Raises NoRoom when too large."""

    def __init__(self, style: Style, width: float, height: float, title: str, note: str):
        self.style, self.top, px = style, MARGIN + 2.2 * style.px * bool(title), style.px
        words = max(1.15 * width_of(title, px + 2, style.font), width_of(note, px - 1, style.font))
        self.width, self.height = max(width, words) + 2 * MARGIN, self.top + height + MARGIN + 1.8 * px * bool(note)
        if max(self.width, self.height) > LONGEST:
            raise NoRoom(f"{self.width:.0f}x{self.height:.0f} pixels")
        grow = max(1.0, SHORTEST / max(self.width, self.height))
        self._shift = (grow - 1) * self.width / 2, (grow - 1) * self.height / 2
        size = round(grow * self.width) / _DPI, round(grow * self.height) / _DPI
        self.figure = Figure(figsize=size, dpi=_DPI, facecolor=style.palette["ground"])
        FigureCanvasAgg(self.figure)
        self.taken: list[tuple] = []  # rectangles no label may cover
        self.text(self.width / 2, MARGIN + px * 0.6, title, px + 2, bold=True)
        self.text(self.width / 2, self.height - MARGIN * 0.8, note, px - 1, colour="soft")

    def _at(self, x: float, y: float) -> tuple[float, float]:
        return x + self._shift[0], self.figure.bbox.height - y - self._shift[1]

    def _colour(self, name: str) -> str:
        return self.style.palette.get(name, name)

    def text(self, x: float, y: float, words: str, px: float = 0, align: str = "center", colour: str = "ink", bold=False) -> None:
        font = {"family": self.style.font, "size": px or self.style.px, "weight": "bold" if bold else "normal"}
        look = {"ha": align, "va": "center_baseline", "color": self._colour(colour)}
        self.figure.text(*self._at(x, y), words, font, transform=None, **look)

    def line(self, points: list[tuple], colour: str = "ink", width: float = 0, dashed: bool = False) -> None:
        xs, ys = zip(*(self._at(*point) for point in points), strict=True)
        look = {"color": self._colour(colour), "lw": width or self.style.line, "linestyle": (0, (4, 3)) if dashed else "-"}
        self.figure.add_artist(Line2D(xs, ys, transform=None, **look))

    def arrow(self, points: list[tuple], colour: str = "ink", dashed: bool = False, hollow: bool = False) -> None:
        (x0, y0), (x1, y1) = points[-2:]
        size, length = 5 + 2 * self.style.line, math.hypot(x1 - x0, y1 - y0) or 1
        ux, uy = size * (x1 - x0) / length, size * (y1 - y0) / length
        back = (x1 - 1.5 * ux, y1 - 1.5 * uy)
        self.line([*points[:-1], back], colour, dashed=dashed)
        head = [self._at(*p) for p in ((x1, y1), (back[0] - uy / 2, back[1] + ux / 2), (back[0] + uy / 2, back[1] - ux / 2))]
        look = {"fc": self._colour("ground" if hollow else colour), "ec": self._colour(colour), "lw": self.style.line}
        self.figure.add_artist(Polygon(head, transform=None, zorder=3, **look))

    def box(self, x: float, y: float, w: float, h: float, fill: str, edge: str = "ink", corner: float | None = None) -> None:
        """A rectangle centred on x, y."""
        corner = min(self.style.corner if corner is None else corner, w / 2, h / 2)
        shape = f"round,pad=0,rounding_size={corner}" if corner else "square,pad=0"
        look = {"fc": self._colour(fill), "ec": self._colour(edge), "lw": self.style.line * (edge != fill)}
        patch = FancyBboxPatch(self._at(x - w / 2, y + h / 2), w, h, boxstyle=shape, transform=None, zorder=2, **look)
        if self.style.sketch and edge != fill:
            patch.set_sketch_params(0.9, 120, 8)
        self.figure.add_artist(patch)

    def spot(self, candidates: list[tuple], words: str, others: list[tuple]) -> tuple[float, float]:
        """The first candidate where a label covers nothing taken and no point of other lines; it is taken then. Raises NoRoom."""
        w, h = width_of(words, self.style.px - 1, self.style.font) / 2 + 4, self.style.px * 0.7
        covered = [*self.taken, *((*point, *point) for point in others)]
        for x, y in candidates:
            plate = (x - w, y - h, x + w, y + h)
            if plate[0] > 4 and plate[2] < self.width - 4 and not any(overlap(plate, other) for other in covered):
                self.taken.append(plate)
                return x, y
        raise NoRoom(words)

    def label(self, x: float, y: float, words: str, colour: str = "ink") -> None:
        """Words on a plate that hides the line under them."""
        px = self.style.px - 1
        self.box(x, y, width_of(words, px, self.style.font) + 6, 1.3 * px, "ground", "ground", 0)
        self.text(x, y, words, px, colour=colour)

    def png(self, rng: random.Random) -> bytes:
        """The picture as a PNG file without metadata, worn as its style says: compressed, speckled, or scanned askew."""
        self.figure.canvas.draw()
        pixels = np.array(self.figure.canvas.buffer_rgba())[..., :3]
        if self.style.wear == "speckle":
            noise = np.random.default_rng(rng.getrandbits(32))
            spots = noise.random(pixels.shape[:2]) < 0.004
            pixels[spots] = noise.integers(60, 200, (int(spots.sum()), 1))
        picture = Image.fromarray(np.ascontiguousarray(pixels))
        if self.style.wear == "tilt":
            picture = picture.rotate(rng.uniform(-0.8, 0.8), Image.Resampling.BICUBIC, fillcolor=self._colour("ground"))
        if self.style.wear == "jpeg":
            picture.save(file := io.BytesIO(), "JPEG", quality=rng.randint(45, 80))
            picture = Image.open(file).convert("RGB")
        return encoded(picture)


def encoded(picture: Image.Image) -> bytes:
    """A PNG file."""
    picture.save(file := io.BytesIO(), "PNG", compress_level=4)
    return file.getvalue()
