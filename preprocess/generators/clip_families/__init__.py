"""One module a family of rendered clips: how its spec is invented, what follows from it, how a
frame is painted.

A spec has `count` frames, `every` seconds apart, the first at 0. See drawn for the functions of a
family.
"""

from preprocess.generators.drawn import Draw


def moments(draw: Draw) -> dict:
    """How many frames a clip has and how many seconds lie between two of them."""
    count = draw.rng.randint(4, 6)
    every = draw.rng.choice((1.5, 2.5) if draw.heldout else (1, 2))
    return {"count": count, "every": every}
