"""A canvas in pixels for diagrams: boxes, arrows, labels, styles and a little wear.

It uses Matplotlib's object API, so it has no global state and the same calls give the same bytes.
"""

import io
import random
from dataclasses import dataclass
from functools import lru_cache
from typing import Self

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Patch
from matplotlib.path import Path
from PIL import Image

from common.pictures import png

LONGEST = 1024  # pixels of the longer edge: what the image processor leaves as it is
SHORTEST = 448  # pixels of the shorter edge at least, so that it stays readable
MARGIN = 22
# All of them come with matplotlib; the first stands twice because it is drawn twice as often.
FONTS = ("DejaVu Sans", "DejaVu Sans", "DejaVu Serif", "DejaVu Sans Mono", "STIXGeneral")
_DPI = 72  # so that a point is a pixel
_RULER = RendererAgg(1, 1, _DPI)


class NoRoom(ValueError):
    """A layout that is too large to be shown as it is."""


@dataclass(frozen=True)
class Style:
    """How one picture looks."""

    palette: dict  # colours by name, and the lists of them `fills` and `lines`
    font: str
    px: int  # text size
    line: float  # width of lines, in pixels
    corner: float  # radius of boxes' corners, in pixels
    wear: str  # "jpeg": compressed once; "tilt": scanned askew; "": as drawn

    @classmethod
    def drawn(cls, palettes: list[dict], rng: random.Random) -> Self:
        """A style at random, with one of the palettes."""
        return cls(
            palette=rng.choice(palettes),
            font=rng.choice(FONTS),
            px=rng.choice((14, 15, 16, 18)),
            line=rng.choice((1.2, 1.6, 2.2)),
            corner=rng.choice((0, 3, 8, 12)),
            wear=rng.choice(("", "", "jpeg", "tilt")),
        )

    def width(self, text: str, smaller: int = 0) -> float:
        """How wide a text is in pixels, at the style's size or some pixels `smaller`."""
        return width_of(text, self.px - smaller, self.font)


@lru_cache(maxsize=4096)
def width_of(text: str, px: float, font: str) -> float:
    """How wide a text of that size and font is, in pixels."""
    properties = FontProperties(family=font, size=px)
    return _RULER.get_text_width_height_descent(text, properties, False)[0]


class Canvas:
    """Room for `width` x `height` pixels (y downwards) from `top` on, between a title and a note.

    Raises NoRoom when that is larger than a picture may be.
    """

    def __init__(self, style: Style, width: float, height: float, title: str, note: str):
        px = style.px
        self.style = style
        self.top: float = MARGIN
        if title:
            self.top = MARGIN + 2.2 * px
        below = 1.8 * px if note else 0
        words = max(1.15 * style.width(title, -2), style.width(note, 1))
        # Even numbers, as a video codec wants them.
        self.width = 2 * round(max(max(width, words) + 2 * MARGIN, SHORTEST) / 2)
        self.height = 2 * round((self.top + height + MARGIN + below) / 2)
        if max(self.width, self.height) > LONGEST:
            raise NoRoom(f"{self.width}x{self.height} pixels")
        inches = (self.width / _DPI, self.height / _DPI)
        self.figure = Figure(inches, dpi=_DPI, facecolor=style.palette["ground"])
        FigureCanvasAgg(self.figure)
        self.text(self.width / 2, MARGIN + px * 0.6, title, px + 2, bold=True)
        self.text(self.width / 2, self.height - MARGIN * 0.8, note, px - 1, colour="soft")

    def colour(self, name: str) -> str:
        """The palette's colour of that name, or the name itself where it is a colour."""
        return self.style.palette.get(name, name)

    def text(
        self,
        x: float,
        y: float,
        words: str,
        px: float = 0,
        align: str = "center",
        colour: str = "ink",
        bold: bool = False,
    ) -> None:
        """Words at x, y, in the style's size unless `px` says another."""
        weight = "bold" if bold else "normal"
        font = {"family": self.style.font, "size": px or self.style.px, "weight": weight}
        look = {"ha": align, "va": "center_baseline", "color": self.colour(colour)}
        self.figure.text(x, self.height - y, words, font, transform=None, **look)

    def line(
        self,
        points: list[tuple[float, float]],
        colour: str = "ink",
        width: float = 0,
        dashed: bool = False,
        head: bool = False,
        hollow: bool = False,
    ) -> None:
        """A line through the points, or an arrow: one with a head."""
        wide = width or self.style.line
        arrow = FancyArrowPatch(
            path=Path([(x, self.height - y) for x, y in points]),
            arrowstyle="-|>" if head else "-",
            mutation_scale=10 + 4 * wide,
            linestyle=(0, (4, 3)) if dashed else "-",
            transform=None,
        )
        self._add(arrow, "ground" if hollow else colour, colour, wide)

    def box(
        self,
        x: float,
        y: float,
        w: float,
        h: float,
        fill: str,
        edge: str = "ink",
        corner: float | None = None,
    ) -> None:
        """A rectangle centred on x, y, with the style's corners unless `corner` says another."""
        corner = min(self.style.corner if corner is None else corner, w / 2, h / 2)
        shape = f"round,pad=0,rounding_size={corner}" if corner else "square,pad=0"
        place = (x - w / 2, self.height - y - h / 2)
        patch = FancyBboxPatch(place, w, h, boxstyle=shape, transform=None)
        self._add(patch, fill, edge, self.style.line if edge != fill else 0)

    def _add(self, patch: Patch, fill: str, edge: str, width: float) -> None:
        look = {"fc": self.colour(fill), "ec": self.colour(edge), "lw": width, "zorder": 2}
        patch.set(**look)
        self.figure.add_artist(patch)

    def plate(self, x: float, y: float, words: str, colour: str = "ink") -> None:
        """Words on an arrow, on a plate that hides the arrow behind them."""
        px = self.style.px - 1
        self.box(x, y, self.style.width(words, 1) + 6, 1.3 * px, "ground", "ground", 0)
        self.text(x, y, words, px, colour=colour)

    def image(self) -> Image.Image:
        """The picture, without the wear of its style."""
        self.figure.canvas.draw()
        pixels = np.asarray(self.figure.canvas.buffer_rgba())
        return Image.fromarray(np.ascontiguousarray(pixels[..., :3]))

    def png(self, rng: random.Random) -> bytes:
        """The picture as a PNG file without metadata, worn as its style says."""
        picture = self.image()
        if self.style.wear == "tilt":
            angle = rng.uniform(-0.8, 0.8)
            ground = self.colour("ground")
            picture = picture.rotate(angle, Image.Resampling.BICUBIC, fillcolor=ground)
        if self.style.wear == "jpeg":
            file = io.BytesIO()
            picture.save(file, "JPEG", quality=rng.randint(45, 80))
            picture = Image.open(file).convert("RGB")
        return png(picture)


@dataclass(frozen=True)
class Sheet:
    """What a layout begins with: the look, the words around the picture, and where its chance comes
    from.
    """

    style: Style
    title: str
    note: str
    rng: random.Random

    def canvas(self, width: float, height: float) -> Canvas:
        """A canvas of that room, in pixels. Raises NoRoom."""
        return Canvas(self.style, width, height, self.title, self.note)
