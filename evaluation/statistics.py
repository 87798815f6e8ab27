"""Intervals and paired comparisons, all at 95 %. `base` and `tuned` are aligned: the same questions
in the same order.
"""

import math
from collections.abc import Sequence

import numpy as np
from scipy import stats

from common.intervals import Z, rounded, wilson

RESAMPLES = 2000
FEWEST = 10  # pairs under which a mean gets no interval: too few to know its spread


def mcnemar(gained: int, lost: int) -> float:
    """The exact two-sided p of McNemar's test: of the pairs that differ, how one-sided they are."""
    n = gained + lost
    tail = sum(math.comb(n, k) for k in range(min(gained, lost) + 1))
    return rounded(min(1.0, 2 * tail / 2**n))


def _pairs(base: Sequence[float], tuned: Sequence[float]) -> int:
    """How many pairs there are. Raises ValueError where one side has more."""
    if len(base) != len(tuned):
        raise ValueError(
            f"base has {len(base)} values and tuned has {len(tuned)}: "
            "give one of each for every question"
        )
    return len(base)


def paired_rates(base: Sequence[bool], tuned: Sequence[bool]) -> dict:
    """Shares of both and tuned - base.

    The difference has the interval of Bonett and Price (2012), which adds one to both counts of
    pairs that differ, so that few pairs that all agree do not make a certainty; `p` is exact
    McNemar's, `effect` Cohen's h. Raises ValueError where they are not as many.
    """
    n = _pairs(base, tuned)
    pairs = list(zip(base, tuned, strict=True))
    gained = sum(after and not before for before, after in pairs)
    lost = sum(before and not after for before, after in pairs)
    up = (gained + 1) / (n + 2)
    down = (lost + 1) / (n + 2)
    half = Z * math.sqrt((up + down - (up - down) ** 2) / (n + 2))
    sides = {"base": _share(sum(base), n), "tuned": _share(sum(tuned), n)}
    shares = [sum(side) / n if n else 0.0 for side in (base, tuned)]
    angles = [2 * math.asin(math.sqrt(share)) for share in shares]
    return {
        "kind": "rate",
        "n": n,
        **sides,
        "difference": rounded(shares[1] - shares[0]),
        "interval": [
            rounded(max(-1.0, up - down - half)),
            rounded(min(1.0, up - down + half)),
        ],
        "gained": gained,
        "lost": lost,
        "p": mcnemar(gained, lost),
        "effect": rounded(angles[1] - angles[0]),
    }


def _share(hits: int, n: int) -> dict:
    value = rounded(hits / n) if n else 0.0
    return {"hits": hits, "value": value, "interval": wilson(hits, n)}


def paired_means(base: Sequence[float], tuned: Sequence[float]) -> dict:
    """Means of both and tuned - base, each with Student's t interval; `effect` is d_z.

    Under FEWEST pairs the intervals are None: too few to know a spread. Where all differences are
    the same, but for what floating point leaves, there is no spread to measure an effect by, and
    `effect` is None. Raises ValueError where they are not as many.
    """
    n = _pairs(base, tuned)
    pairs = np.array([base, tuned], float)
    if n == 0:
        return {"kind": "mean", "n": 0}
    differences = pairs[1] - pairs[0]
    return {
        "kind": "mean",
        "n": n,
        "base": {"value": rounded(pairs[0].mean()), "interval": t_interval(pairs[0])},
        "tuned": {"value": rounded(pairs[1].mean()), "interval": t_interval(pairs[1])},
        "difference": rounded(differences.mean()),
        "interval": t_interval(differences),
        "p": None,
        "effect": _effect(differences, float(np.abs(pairs).max())),
    }


def paired_medians(base: Sequence[float], tuned: Sequence[float]) -> dict:
    """Medians of both, tuned - base, and `ratio`, tuned / base, with its interval.

    Medians have the interval of the binomial distribution of ranks; their difference and ratio the
    percentile bootstrap's, over the pairs. Under FEWEST pairs the intervals are None, and so is a
    ratio to a base of 0. Raises ValueError where they are not as many.
    """
    n = _pairs(base, tuned)
    if n == 0:
        return {"kind": "median", "n": 0}
    pairs = np.array([base, tuned], float)
    medians = np.median(pairs, axis=1)
    draws = np.random.default_rng(0).integers(n, size=(RESAMPLES, n))
    drawn = np.median(pairs[:, draws], axis=2)
    about = {
        "kind": "median",
        "n": n,
        "base": {"value": rounded(medians[0]), "interval": rank_interval(pairs[0])},
        "tuned": {"value": rounded(medians[1]), "interval": rank_interval(pairs[1])},
        "difference": rounded(medians[1] - medians[0]),
        "interval": _percentiles(drawn[1] - drawn[0], n),
        "ratio": None,
        "ratio_interval": None,
        "p": None,
        "effect": None,
    }
    if medians[0] > 0 and drawn[0].min() > 0:
        about["ratio"] = rounded(medians[1] / medians[0])
        about["ratio_interval"] = _percentiles(drawn[1] / drawn[0], n)
    return about


def rank_interval(values: np.ndarray) -> list[float] | None:
    """The interval of the median of values, float (n,), between two of them: how many lie below it
    is binomial. None under FEWEST of them.
    """
    n = len(values)
    if n < FEWEST:
        return None
    below = int(stats.binom.ppf(0.025, n, 0.5))  # at most 2.5 % that fewer lie below the median
    ordered = np.sort(values)
    return [rounded(ordered[max(below - 1, 0)]), rounded(ordered[min(n - below, n - 1)])]


def _percentiles(drawn: np.ndarray, n: int) -> list[float] | None:
    if n < FEWEST:
        return None
    low, high = np.quantile(drawn, (0.025, 0.975))
    return [rounded(low), rounded(high)]


def t_interval(values: np.ndarray) -> list[float] | None:
    """Student's t interval of the mean of values, float (n,); None under FEWEST of them."""
    n = len(values)
    if n < FEWEST:
        return None
    half = float(stats.t.ppf(0.975, n - 1)) * values.std(ddof=1) / math.sqrt(n)
    return [rounded(values.mean() - half), rounded(values.mean() + half)]


def _effect(differences: np.ndarray, largest: float) -> float | None:
    """The mean difference in standard deviations. `largest`: of the values, against which rounding
    errors are small.
    """
    if len(differences) < FEWEST:
        return None
    spread = differences.std(ddof=1)
    if spread <= 1e-9 * max(largest, 1e-300):
        return None
    return rounded(differences.mean() / spread)
