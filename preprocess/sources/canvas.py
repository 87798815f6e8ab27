"""A canvas in pixels for diagrams: boxes, arrows, labels, styles and a little wear. Matplotlib's object API, no global state."""

from __future__ import annotations

import io
import random
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.path import Path
from PIL import Image

LONGEST, SHORTEST = (
    1024,
    448,
)  # pixels of the longer edge: what the image processor leaves as it is, and what is still readable
MARGIN = 22
FONTS = (
    "DejaVu Sans",
    "DejaVu Sans",
    "DejaVu Serif",
    "DejaVu Sans Mono",
    "STIXGeneral",
)  # all come with matplotlib
_DPI = 72  # so that a point is a pixel
_RULER = RendererAgg(1, 1, _DPI)


class NoRoom(ValueError):
    """A layout that is too large to be shown as it is."""


@dataclass(frozen=True)
class Style:
    palette: dict  # names of colours, and lists of them: fills, lines
    font: str
    px: int  # text size
    line: float
    corner: float
    wear: str

    @classmethod
    def drawn(cls, palettes: list[dict], rng: random.Random) -> Style:
        return cls(
            *map(
                rng.choice,
                (
                    palettes,
                    FONTS,
                    (14, 15, 16, 18),
                    (1.2, 1.6, 2.2),
                    (0, 3, 8, 12),
                    ("", "", "jpeg", "tilt"),
                ),
            )
        )


@lru_cache(maxsize=4096)
def width_of(text: str, px: float, font: str) -> float:
    """Pixels the text is wide."""
    return _RULER.get_text_width_height_descent(text, FontProperties(family=font, size=px), False)[
        0
    ]


class Canvas:
    """Room for width x height pixels (y downwards) from `top` on, between a title and a note. Raises NoRoom when too large."""

    def __init__(self, style: Style, width: float, height: float, title: str, note: str):
        self.style, self.colour, px = style, lambda name: style.palette.get(name, name), style.px
        self.top = MARGIN + 2.2 * px * bool(title)
        words = max(1.15 * width_of(title, px + 2, style.font), width_of(note, px - 1, style.font))
        wide, high = (
            max(width, words) + 2 * MARGIN,
            self.top + height + MARGIN + 1.8 * px * bool(note),
        )
        self.width, self.height = (
            2 * round(max(wide, SHORTEST) / 2),
            2 * round(high / 2),
        )  # even, as a video codec wants it
        if max(self.width, self.height) > LONGEST:
            raise NoRoom(f"{self.width}x{self.height} pixels")
        self.figure = Figure(
            (self.width / _DPI, self.height / _DPI), dpi=_DPI, facecolor=style.palette["ground"]
        )
        FigureCanvasAgg(self.figure)
        self.text(self.width / 2, MARGIN + px * 0.6, title, px + 2, bold=True)
        self.text(self.width / 2, self.height - MARGIN * 0.8, note, px - 1, colour="soft")

    def text(
        self,
        x: float,
        y: float,
        words: str,
        px: float = 0,
        align: str = "center",
        colour: str = "ink",
        bold=False,
    ) -> None:
        font = {
            "family": self.style.font,
            "size": px or self.style.px,
            "weight": "bold" if bold else "normal",
        }
        look = {"ha": align, "va": "center_baseline", "color": self.colour(colour)}
        self.figure.text(x, self.height - y, words, font, transform=None, **look)

    def line(
        self,
        points: list[tuple],
        colour="ink",
        width: float = 0,
        dashed=False,
        head=False,
        hollow=False,
    ) -> None:
        """A line, or an arrow: one with a head."""
        path, wide = Path([(x, self.height - y) for x, y in points]), width or self.style.line
        look = {
            "fc": self.colour("ground" if hollow else colour),
            "ec": self.colour(colour),
            "lw": wide,
            "zorder": 2,
        }
        look |= {
            "arrowstyle": "-|>" if head else "-",
            "mutation_scale": 10 + 4 * wide,
            "ls": (0, (4, 3)) if dashed else "-",
        }
        self.figure.add_artist(FancyArrowPatch(path=path, transform=None, **look))

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
        """A rectangle centred on x, y."""
        corner = min(self.style.corner if corner is None else corner, w / 2, h / 2)
        shape = f"round,pad=0,rounding_size={corner}" if corner else "square,pad=0"
        look = {
            "fc": self.colour(fill),
            "ec": self.colour(edge),
            "lw": self.style.line * (edge != fill),
            "zorder": 2,
        }
        self.figure.add_artist(
            FancyBboxPatch(
                (x - w / 2, self.height - y - h / 2), w, h, boxstyle=shape, transform=None, **look
            )
        )

    def plate(self, x: float, y: float, words: str, colour: str = "ink") -> None:
        """Words on an arrow, on a plate that hides the arrow behind them."""
        px = self.style.px - 1
        self.box(x, y, width_of(words, px, self.style.font) + 6, 1.3 * px, "ground", "ground", 0)
        self.text(x, y, words, px, colour=colour)

    def image(self) -> Image.Image:
        self.figure.canvas.draw()
        return Image.fromarray(
            np.ascontiguousarray(np.asarray(self.figure.canvas.buffer_rgba())[..., :3])
        )

    def png(self, rng: random.Random) -> bytes:
        """The picture as a PNG file without metadata, worn as its style says: compressed, or scanned askew."""
        picture = self.image()
        if self.style.wear == "tilt":
            picture = picture.rotate(
                rng.uniform(-0.8, 0.8), Image.Resampling.BICUBIC, fillcolor=self.colour("ground")
            )
        if self.style.wear == "jpeg":
            picture.save(file := io.BytesIO(), "JPEG", quality=rng.randint(45, 80))
            picture = Image.open(file).convert("RGB")
        return encoded(picture)


def encoded(picture: Image.Image) -> bytes:
    """A PNG file."""
    picture.save(file := io.BytesIO(), "PNG", compress_level=4)
    return file.getvalue()
