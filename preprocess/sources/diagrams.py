"""Diagrams drawn from a spec, with questions whose answers are computed from it: six families, several kinds of question each.

The answer of a conversation holds the spec and the kind of question; `recompute` gives the value again. With `heldout` scenarios
and numbers come from parts of their ranges that training never sees.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from preprocess.rows import Conversation
from preprocess.sources import diagram_graphs as graphs
from preprocess.sources import diagram_specs as specs
from preprocess.sources import drawn
from preprocess.sources.canvas import Style
from preprocess.sources.diagram_pictures import draw

FAMILIES = {
    "timeline": (specs.timeline, specs.solve_timeline),
    "queues": (specs.queues, specs.solve_queues),
    "fanout": (specs.fanout, specs.solve_fanout),
    "sequence": (specs.sequence, specs.solve_sequence),
    "states": (graphs.states, graphs.solve_states),
    "architecture": (graphs.architecture, graphs.solve_architecture),
}


def recompute(answer: dict) -> int | str:
    return drawn.recompute(answer, FAMILIES)


def picture(spec: dict, rng: random.Random) -> tuple[bytes, ...]:
    """The diagram of a spec as one PNG file, in a style drawn for it. Raises NoRoom."""
    title = spec["title"] if rng.random() < 0.6 else ""
    return (draw(spec, title, Style.drawn(drawn.read("styles"), rng), rng),)


def conversations(count: int, category: str, system: str, seed: int, heldout: bool = False) -> Iterator[Conversation]:
    """`count` pictures with one question each, the same for the same arguments."""
    return drawn.conversations(FAMILIES, picture, count, ("diagram", category, system), seed, heldout)
