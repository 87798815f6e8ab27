"""Intervals and paired comparisons, all at 95 %. `base` and `tuned` are aligned: the same questions in the same order."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

Z = 1.959963984540054  # the normal distribution's 97.5 % point
DRAWS = 10_000


def wilson(hits: int, n: int) -> list[float]:
    """The Wilson score interval of a share of `hits` in `n`."""
    if not n:
        return [0.0, 1.0]
    share, square = hits / n, Z * Z / n
    half = Z * math.sqrt(share * (1 - share) / n + square / (4 * n))
    return [
        _r(max(0.0, (share + square / 2 - half) / (1 + square))),
        _r(min(1.0, (share + square / 2 + half) / (1 + square))),
    ]


def mcnemar(gained: int, lost: int) -> float:
    """The exact two-sided p of McNemar's test: of the pairs that differ, how one-sided they are."""
    n = gained + lost
    return _r(min(1.0, 2 * sum(math.comb(n, k) for k in range(min(gained, lost) + 1)) / 2**n))


def paired_rates(base: Sequence[bool], tuned: Sequence[bool]) -> dict:
    """Shares of both, tuned - base with the interval of Bonett and Price (2012), exact McNemar, Cohen's h as the size of the effect.

    The interval adds one to both counts of pairs that differ, so that few pairs that all agree do not make a certainty.
    """
    n, hits = len(base), (sum(base), sum(tuned))
    gained = sum(t and not b for b, t in zip(base, tuned, strict=True))
    lost = sum(b and not t for b, t in zip(base, tuned, strict=True))
    up, down = (gained + 1) / (n + 2), (lost + 1) / (n + 2)
    half = Z * math.sqrt((up + down - (up - down) ** 2) / (n + 2))
    shares = [count / n if n else 0.0 for count in hits]
    return {
        "kind": "rate",
        "n": n,
        "base": {"hits": hits[0], "value": _r(shares[0]), "interval": wilson(hits[0], n)},
        "tuned": {"hits": hits[1], "value": _r(shares[1]), "interval": wilson(hits[1], n)},
        "difference": _r(shares[1] - shares[0]),
        "interval": [_r(max(-1.0, up - down - half)), _r(min(1.0, up - down + half))],
        "gained": gained,
        "lost": lost,
        "p": mcnemar(gained, lost),
        "effect": _r(2 * math.asin(math.sqrt(shares[1])) - 2 * math.asin(math.sqrt(shares[0]))),
    }


def paired_means(base: Sequence[float], tuned: Sequence[float], seed: int) -> dict:
    """Means of both, tuned - base with a seeded paired bootstrap (percentiles), d_z as the size of the effect."""
    pairs = np.array([base, tuned], float)
    n = pairs.shape[1]
    if n < 2:  # nothing can be said from one pair
        return {"kind": "mean", "n": 0}
    drawn = np.random.default_rng(seed).integers(0, n, (DRAWS, n), dtype=np.int32)
    means = np.stack([row[drawn].mean(axis=1) for row in pairs])
    difference = pairs[1] - pairs[0]
    spread = difference.std(ddof=1)

    def about(row: np.ndarray, draws: np.ndarray) -> dict:
        return {"value": _r(row.mean()), "interval": _interval(draws)}

    return {
        "kind": "mean",
        "n": n,
        "base": about(pairs[0], means[0]),
        "tuned": about(pairs[1], means[1]),
        "difference": _r(difference.mean()),
        "interval": _interval(means[1] - means[0]),
        "p": None,
        "effect": _r(difference.mean() / spread) if spread else None,
    }


def _interval(draws: np.ndarray) -> list[float]:
    return [_r(edge) for edge in np.percentile(draws, [2.5, 97.5])]


def _r(value: float) -> float:
    """Rounded to what is shown, so that another order of additions gives the same bytes."""
    return round(float(value), 4) + 0.0
