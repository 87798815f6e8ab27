"""Intervals and comparisons: values computed by hand, coverage simulated."""

import math

import numpy as np
import pytest

from evaluation import gates, results, statistics


def test_intervals_of_shares_against_values_computed_by_hand():
    assert statistics.wilson(5, 10) == [0.2366, 0.7634]
    assert statistics.wilson(0, 10) == [0.0, 0.2775]
    assert statistics.mcnemar(5, 1) == round(2 * (1 + 6) / 64, 4)
    assert statistics.mcnemar(0, 0) == 1.0
    assert statistics.mcnemar(8, 0) == 0.0078
    found = statistics.paired_rates([False] * 8 + [True] * 2, [True] * 6 + [False] * 3 + [True])
    assert (found["base"]["hits"], found["tuned"]["hits"]) == (2, 7)
    assert (found["gained"], found["lost"]) == (6, 1)
    up, down = 7 / 12, 2 / 12
    half = 1.959964 * math.sqrt((up + down - (up - down) ** 2) / 12)
    assert found["interval"] == [round(up - down - half, 4), round(up - down + half, 4)]
    assert found["difference"] == 0.5


def test_the_interval_of_a_mean_is_student_s():
    values = [2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0, 1.0, 9.0]  # mean 5, sum of squares 64
    found = statistics.paired_means([0.0] * 10, values)
    spread = math.sqrt(64 / 9)
    half = 2.262157 * spread / math.sqrt(10)  # t of 9 degrees of freedom, from a table
    assert found["difference"] == 5.0
    assert found["interval"] == pytest.approx([5 - half, 5 + half], abs=1e-3)
    assert found["tuned"]["interval"] == found["interval"]
    assert found["effect"] == round(5 / spread, 4)
    assert found["base"]["interval"] == [0.0, 0.0]


@pytest.mark.parametrize("n", [1, 2, 5, statistics.FEWEST - 1])
def test_too_few_pairs_have_no_interval(n):
    found = statistics.paired_means([1.0] * n, [2.0] * n)
    assert found["n"] == n
    assert found["difference"] == 1.0
    assert found["interval"] is None
    assert found["effect"] is None


@pytest.mark.parametrize("compare", [statistics.paired_means, statistics.paired_rates])
@pytest.mark.parametrize(("base", "tuned"), [([1.0] * 3, [1.0] * 4), ([], [1.0]), ([1.0], [])])
def test_sides_of_other_lengths_are_an_error_that_says_so(compare, base, tuned):
    said = f"base has {len(base)} values and tuned has {len(tuned)}: give one of each"
    with pytest.raises(ValueError, match=said):
        compare(base, tuned)


def test_no_pairs_are_no_measurement():
    assert statistics.paired_means([], []) == {"kind": "mean", "n": 0}


@pytest.mark.parametrize("step", [0.1, 1.0, 1e6])
def test_constant_differences_have_no_effect_size(step):
    base = [0.1 * n for n in range(20)]
    found = statistics.paired_means(base, [value + step for value in base])
    assert found["effect"] is None
    assert found["difference"] == pytest.approx(step)
    low, high = found["interval"]
    assert high - low < 1e-3


def test_medians_against_values_computed_by_hand():
    base = [10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0, 100.0, 110.0]
    found = statistics.paired_medians(base, [value / 2 for value in base])
    assert (found["base"]["value"], found["tuned"]["value"]) == (60.0, 30.0)
    # Of 11, one or none below the median has a chance of 12/2048 = 0.6 %, two or fewer 3.3 %: the
    # second value from either end.
    assert found["base"]["interval"] == [20.0, 100.0]
    assert found["tuned"]["interval"] == [10.0, 50.0]
    assert found["difference"] == -30.0
    assert found["ratio"] == 0.5
    assert found["ratio_interval"] == [0.5, 0.5]
    low, high = found["interval"]
    assert -50 <= low < -30 < high <= -10
    assert statistics.paired_medians([], []) == {"kind": "median", "n": 0}
    few = statistics.paired_medians([1.0] * 9, [2.0] * 9)
    assert few["interval"] is few["ratio_interval"] is few["base"]["interval"] is None
    nothing = statistics.paired_medians([0.0] * 20, [2.0] * 20)
    assert nothing["ratio"] is nothing["ratio_interval"] is None
    assert nothing["interval"] == [2.0, 2.0]


DRAWS = {  # values of one model, the mean they are drawn around
    "normal": (lambda rng, n: rng.normal(3, 2, n), 3.0),
    "counts of words": (lambda rng, n: rng.poisson(60, n).astype(float), 60.0),
    "shares of five points": (lambda rng, n: rng.binomial(5, 0.7, n) / 5, 0.7),
    "lengths with a tail": (
        lambda rng, n: rng.lognormal(5, 0.8, n) - rng.lognormal(5.2, 0.8, n),
        math.exp(5.32) - math.exp(5.52),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("n", [10, 12, 40])
@pytest.mark.parametrize("name", DRAWS)
def test_the_interval_of_a_mean_covers_what_it_says(name, n):
    draw, true = DRAWS[name]
    rng = np.random.default_rng(n)
    runs = 1000
    intervals = [statistics.t_interval(draw(rng, n)) for _ in range(runs)]
    hits = sum(low <= true <= high for low, high in intervals)
    assert hits / runs > 0.93


@pytest.mark.slow
@pytest.mark.parametrize("n", [12, 40, 200])
def test_the_intervals_of_medians_and_their_ratio_cover_what_they_say(n):
    rng = np.random.default_rng(n)
    runs = 400
    hits = ratios = 0
    for _ in range(runs):
        base = rng.lognormal(6, 0.7, n)
        tuned = base**0.5 * rng.lognormal(2.5, 0.5, n)  # of the same questions
        found = statistics.paired_medians(list(base), list(tuned))
        low, high = found["base"]["interval"]
        hits += low <= math.exp(6) <= high
        low, high = found["ratio_interval"]
        ratios += low <= math.exp(5.5 - 6) <= high
    assert hits / runs > 0.93
    assert ratios / runs > 0.92


@pytest.mark.slow
@pytest.mark.parametrize("n", [10, 40])
@pytest.mark.parametrize(("base", "tuned"), [(0.5, 0.5), (0.9, 0.95), (0.2, 0.6)])
def test_the_intervals_of_shares_cover_what_they_say(base, tuned, n):
    rng = np.random.default_rng(n)
    runs = 1000
    hits = alone = 0
    for _ in range(runs):
        found = statistics.paired_rates(list(rng.random(n) < base), list(rng.random(n) < tuned))
        hits += found["interval"][0] <= tuned - base <= found["interval"][1]
        low, high = found["base"]["interval"]
        alone += low <= base <= high
    assert hits / runs > 0.93
    assert alone / runs > 0.9  # Wilson's at ten is 0.93 where the share is 0.9


def test_different_questions_on_the_two_sides_are_an_error():
    side = {"a": {"status": "complete", "well_formed": True, "correct": True}}
    other = {"b": side["a"]}
    with pytest.raises(results.ResultError, match="different questions: a and 1 more"):
        results.compare("number", side, other)
    with pytest.raises(results.ResultError, match="different questions: b and 0 more"):
        results.compare("number", side, side | other)


def test_a_gate_of_at_least_nothing_without_replies_has_no_data():
    wanted = [{"name": "a", "of": "replies/truncated", "at_most": 0.05, "least": 0}]
    (gate,) = gates.judge(wanted, {"suites": {}, "skipped": {}})
    assert gate["verdict"] == gates.NO_DATA


def test_a_gate_on_too_few_for_an_interval_has_no_data():
    about = statistics.paired_means([1.0] * 5, [2.0] * 5)
    cell = {"asked": 5, "replies": {}, "measurements": {"points": about}}
    result = {"suites": {"async_design": {"prompts": {"persona": cell}}}, "skipped": {}}
    wanted = [{"name": "a", "of": "async_design/persona/points", "more_by": 0.1, "least": 1}]
    (gate,) = gates.judge(wanted, result)
    assert gate["verdict"] == gates.NO_DATA


@pytest.mark.parametrize(
    ("base", "tuned", "verdict", "said"),
    [
        ([100.0] * 30, [61.0] * 30, gates.PASS, "median 100 to 61, ×0.61 [0.61, 0.61] of 30"),
        ([100.0] * 30, [59.0] * 30, gates.FAIL, "the lower end must be 0.6 or more"),
        ([100.0] * 30, [0.0] * 30, gates.FAIL, "median 100 to 0, ×0.00"),
        ([100.0] * 30, [900.0] * 30, gates.PASS, "×9.00"),
        ([100.0] * 19, [100.0] * 19, gates.NO_DATA, "19 pairs; fewer than 20 decide nothing"),
        ([0.0] * 30, [5.0] * 30, gates.NO_DATA, "a base of 0.0 has no ratio"),
        ([100.0, 90.0] * 15, [90.0, 50.0] * 15, gates.FAIL, "×0.74 [0.5"),
    ],
)
def test_a_gate_on_the_length_of_reasoning_reads_the_ratio_of_medians(base, tuned, verdict, said):
    about = statistics.paired_medians(base, tuned)
    cell = {"asked": len(base), "replies": {}, "measurements": {"reasoning_tokens": about}}
    result = {"suites": {"math": {"prompts": {"persona": cell}}}, "skipped": {}}
    wanted = {
        "name": "a",
        "of": "math/persona/reasoning_tokens",
        "ratio_at_least": 0.6,
        "least": 20,
    }
    (gate,) = gates.judge([wanted], result)
    assert gate["verdict"] == verdict
    assert said in gate["said"]


def test_questions_that_no_training_row_is_like_are_compared_apart():
    def side(right):
        common = {"status": "complete", "well_formed": True}
        return {f"q{n}": common | {"correct": n in right} for n in range(6)}

    unseen = {"q0": True, "q1": True, "q2": True, "q3": False, "q4": False, "q5": None}
    found = results.compare("answer", side({0, 3, 5}), side({1, 2, 3, 4}), unseen)["measurements"]
    counts = {
        name: (about["n"], about["base"]["hits"], about["tuned"]["hits"])
        for name, about in found.items()
    }
    assert counts == {
        "correct": (6, 3, 4),
        "correct_unseen": (3, 1, 2),
        "correct_shared": (2, 1, 2),
    }
    assert list(results.compare("answer", side({0}), side({1}))["measurements"]) == ["correct"]
