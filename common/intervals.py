"""The interval of a share that was counted, at 95 %."""

import math
from statistics import NormalDist

Z = NormalDist().inv_cdf(0.975)


def rounded(value: float) -> float:
    """Rounded to what is shown, so that another order of additions gives the same bytes."""
    return round(float(value), 4) + 0.0


def wilson(hits: float, n: int) -> list[float]:
    """The Wilson score interval of a share of `hits` in `n`."""
    if not n:
        return [0.0, 1.0]
    share = hits / n
    square = Z * Z / n
    half = Z * math.sqrt(share * (1 - share) / n + square / (4 * n))
    low = (share + square / 2 - half) / (1 + square)
    high = (share + square / 2 + half) / (1 + square)
    return [rounded(max(0.0, low)), rounded(min(1.0, high))]
