"""The report's pictures, from the result alone: the same result gives the same bytes."""

import itertools
from pathlib import Path
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from common.results import measurements
from evaluation import scorers

COLOURS = {"base": "#9aa5b1", "tuned": "#c8553d"}
ABOVE = "#2f7d4f"
BELOW = "#b3261e"
EITHER = "#7b8794"
WANTED = "#f3e3a3"
INK = "#1f2933"


class Bar(NamedTuple):
    """One share that was measured."""

    suite: str
    prompt: str
    name: str
    about: dict

    @property
    def label(self) -> str:
        return f"{self.suite}, {self.name.replace('_', ' ')} ({self.prompt})"


def draw(folder: Path, result: dict) -> None:
    """Write differences.png and behaviours.png."""
    bars = [
        bar for bar in itertools.starmap(Bar, measurements(result)) if bar.about["kind"] == "rate"
    ]
    _differences(folder / "differences.png", bars)
    _behaviours(folder / "behaviours.png", bars)


def _axes(bars: list[Bar], height: float) -> tuple[Figure, Axes]:
    size = (10, 1.4 + height * len(bars))
    figure = Figure(figsize=size, dpi=110, layout="constrained")
    return figure, figure.subplots()


def _differences(path: Path, bars: list[Bar]) -> None:
    """Every share: tuned - base with its interval, in points."""
    figure, axes = _axes(bars, 0.3)
    for at, bar in enumerate(bars):
        low, high = (100 * edge for edge in bar.about["interval"])
        colour = ABOVE if low > 0 else BELOW if high < 0 else EITHER
        axes.plot([low, high], [at, at], color=colour, linewidth=2, solid_capstyle="butt")
        axes.plot(100 * bar.about["difference"], at, "o", color=colour, markersize=5)
    axes.axvline(0, color=INK, linewidth=0.8)
    labels = [f"{bar.label}  n={bar.about['n']}" for bar in bars]
    axes.set_yticks(range(len(bars)), labels, fontsize=8)
    axes.set(
        xlabel="tuned - base, points, 95 % interval (green: above zero, red: below, grey: either)",
        ylim=(len(bars) - 0.4, -0.6),
    )
    axes.grid(axis="x", color="#e4e7eb")
    figure.savefig(path, metadata={"Software": None})


def _behaviours(path: Path, bars: list[Bar]) -> None:
    """The shares of both models with their intervals; a band where the dataset's plan wants a
    behaviour of the voice.
    """
    figure, axes = _axes(bars, 0.42)
    wanted = scorers.settings()["behaviours"]
    for at, bar in enumerate(bars):
        if bar.suite == "voice" and bar.name in wanted:
            low, high = wanted[bar.name]["share"]
            label = "wanted" if at == 0 else None
            axes.barh(at, 100 * (high - low), 0.9, 100 * low, color=WANTED, label=label)
        for offset, which in ((-0.2, "base"), (0.2, "tuned")):
            value = bar.about[which]["value"]
            low, high = bar.about[which]["interval"]
            label = which if at == 0 else None
            axes.barh(at + offset, 100 * value, 0.34, color=COLOURS[which], label=label)
            axes.plot([100 * low, 100 * high], [at + offset] * 2, color=INK, linewidth=0.9)
    axes.set_yticks(range(len(bars)), [bar.label for bar in bars], fontsize=8)
    axes.set(
        xlabel="per cent of the questions, 95 % interval",
        xlim=(0, 100),
        ylim=(len(bars) - 0.4, -0.6),
    )
    if bars:
        figure.legend(loc="outside upper right", ncols=3, fontsize=8, frameon=False)
    figure.savefig(path, metadata={"Software": None})
