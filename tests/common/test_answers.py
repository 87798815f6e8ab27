"""What a reply states: numbers, options, choices, texts and mathematics, against readings made by
hand.
"""

import time
from fractions import Fraction

import pytest

from common.answers import (
    NotRead,
    is_value,
    near,
    stated_choice,
    stated_number,
    stated_option,
    states_text,
)
from common.answers.mathematics import same_mathematics
from common.files import ROOT, load_yaml

NUMBERS = [  # what is said, what it states
    ("Answer: −3/4", "-3/4"),
    ("-$5", "-5"),
    ("$-5", "-5"),
    ("**Answer: −$1,234.50**", "-1234.5"),
    ("Answer: - 5", "-5"),
    ("Answer: 42\nThe answer is correct because 6*7=42", "42"),
    ("Answer: 42. The answer is correct because 6*7=42", "42"),
    ("2 x 21 = 42", "42"),
    ("42 = 6*7", "42"),
    ("7/2 = 3", "3"),
    ("x = 5", "5"),
    ("42 because 6*7=42", "42"),
    ("5 500 000", "5500000"),
    ("5\u00a0500\u00a0000", "5500000"),
    ("5\u2009500\u2009000", "5500000"),
    ("5\u202f500", "5500"),
    ("5.500.000", "5500000"),
    ("5'500'000", "5500000"),
    ("5_500_000", "5500000"),
    ("1.234,56", "1234.56"),
    ("1,00,000", "100000"),
    ("1 234 567,89", "1234567.89"),
    ("0,5", "0.5"),
    ("1,23", "1.23"),
    ("1,234", "1234"),
    ("1.234", "1.234"),
    (".5", "0.5"),
    ("5.5 million", "5500000"),
    ("$5.5M", "5500000"),
    ("$5 bn", "5000000000"),
    ("5k/s", "5000"),
    ("5.5×10⁶", "5500000"),
    ("5.5*10^6", "5500000"),
    ("10^3", "1000"),
    ("10**3", "1000"),
    ("10^{-3}", "0.001"),
    ("1e-3", "0.001"),
    ("-5.5×10⁻³", "-0.0055"),
    ("1 3/4", "7/4"),
    (r"1\frac{3}{4}", "7/4"),
    ("½", "1/2"),
    ("2½", "5/2"),
    (r"\frac34", "3/4"),
    (r"Answer: -\frac{3}{4}", "-3/4"),
    (r"Answer: \boxed{-\dfrac{3}{4}}", "-3/4"),
    ("€ 5,50", "5.5"),
    ("minus 5", "-5"),
    ("Answer: approx. 42", "42"),
    ("≈ 42", "42"),
    ("about 35.9 claims/s", "35.9"),
    ("42 (6*7)", "42"),
    ("3/4 (0.75)", "3/4"),
    ("42%", "42"),
    ("12 m^2", "12"),
    ("12 m²", "12"),
    ("**$1,234**", "1234"),
    ("`42`", "42"),
    ("42!", "42"),
    ("42, not 43", "42"),
    ("USD 5", "5"),
    ("Answer: −5 °C", "-5"),
    ("The total is 42.", "42"),
    ("Answer: 1,234.5 ms", "1234.5"),
    ("**Answer:** -3", "-3"),
    ("The answer is 7/8.", "7/8"),
    ("Answer:\n\n12", "12"),
    (r"Answer: 3 \times 10^{5}", "300000"),
    ("Answer: 1{,}000", "1000"),
    (r"Answer: 12\,345", "12345"),
    ("**9 instances** of 300 s", "9"),
    ("**Step one**: 4.\nThen 5, so 20.", "20"),
    ("It waits **296 ms**: ready at 78, from 374.", "296"),
    ("$18", "18"),
    ("\\boxed{12} and Answer: 13", "12"),
    ("\\boxed{12} is near.\nAnswer: 13", "13"),
    ("Answer: 5\nAnswer: 6", "6"),
    ("It comes to 6 rooms.\n\nHow: 2 × 2 + 1 = 5, then 30 / 5 = 6.", "6"),
    ("５００", "500"),
    ("Final answer: **7**", "7"),
    ("-(3/4)", "-3/4"),
    ("Answer: －5", "-5"),
    ("7⁄4", "7/4"),
    ("1 3⁄4", "7/4"),
    ("10^(3)", "1000"),
    ("10^(-3)", "0.001"),
    (r"\frac {7} {4}", "7/4"),
    ("Answer: − (0.5)", "-0.5"),
]
NOT_READ = [
    "10-12",
    "Answer: 10–12",
    "12 or 13",
    "5±2",
    "between 10 and 12",
    "from 10 to 12",
    "12, 13",
    "(12, 5)",
    "(12,5)",
    "{12,5}",
    "at least 5",
    "> 5",
    "5+",
    "42?",
    "not 42",
    "42 (or 43)",
    "x=5, y=7",
    "6 x 7",
    "6 x 6",
    "5 - 5",
    "12:30",
    "10/12/2024",
    "1.5.2",
    "5 K",
    "5 M",
    "5 B",
    r"2\pi",
    r"2\sqrt{3}",
    "-USD 5",
    "($5)",
    "Answer: 4 of 9",
    "Answer: 1h 30min",
    "Answer: x2",
    "no number",
    "",
    "Answer: 12\nIn short: \\boxed{13}",
    "Answer: 42 is wrong",
    "9" * 1_000_000,
    "3/0",
    "1 5/4",
    "5 500/3",
]


@pytest.mark.parametrize(("text", "value"), NUMBERS)
def test_the_number_a_reply_states(text, value):
    assert stated_number(text) == Fraction(value)


@pytest.mark.parametrize("text", NOT_READ)
def test_what_has_more_than_one_reading_is_not_read(text):
    assert isinstance(stated_number(text), NotRead)


def test_tolerance_is_relative_and_exact():
    assert near(Fraction("796.9"), "796.8652985966608", 0.01)
    assert not near(Fraction(780), "796.87", 0.01)
    assert near(Fraction(-100), "-100.005", 1e-4)
    assert not near(Fraction(100), "-100", 1e-4)
    assert near(Fraction(0), "0", 0.0)
    assert not near(NotRead("no number"), "0", 1.0)


def test_a_value_counted_in_millions_is_said_with_the_word_or_without():
    answer = {"kind": "number", "value": 140.4, "tolerance": 0.01, "unit": "million calls a month"}
    assert is_value(answer, "Answer: 140.4 million")
    assert is_value(answer, "Answer: 140.4")
    assert not is_value(answer, "Answer: 140.4 thousand")
    assert not is_value(answer | {"unit": "calls"}, "Answer: 140.4 million")


OPTIONS = ["a circle", "a square", "a triangle"]


@pytest.mark.parametrize(
    "text",
    [
        "Answer: B",
        "b",
        "(b)",
        "[B]",
        "{B}",
        "B - a square",
        "Option B",
        "Answer: option b",
        "B!",
        "**Answer: (B)**",
        "b.",
        '"B"',
        "Answer: B. a square",
        r"So \boxed{\text{B}}",
        r"Answer: $\boxed{B}$",
        "It follows that\nB)",
        "Answer: a square",
        "Answer: A Square.",
        "Answer: B because it has four sides",
        "The answer is B.",
        "The answer is (b), a square",
        "Answer: **b)** a square",
        "Answer: B (a square)",
        "Answer: B → a square",
        "Answer: B\n\nA would need no corners.",
        "The correct option is B",
    ],
)
def test_an_option_is_read_in_the_ways_people_write_one(text):
    assert stated_option(text, OPTIONS) == "B"


@pytest.mark.parametrize(
    "text",
    [
        "B, C",
        "A: wrong. B: right",
        "Answer: B or C",
        "A/B",
        "Answer: AB",
        "Answer: not B",
        "Answer: B is wrong",
        "Answer: B – a circle",
        "Answer: D",
        "Answer: a hexagon",
        "Answer:",
        "",
        "B" * 1_000_000,
        "Answer: A square is what it is",
    ],
)
def test_what_is_no_option_or_more_than_one_is_not_read(text):
    assert isinstance(stated_option(text, OPTIONS), NotRead)


@pytest.mark.parametrize(
    ("text", "choice"),
    [
        ("Answer: queue-worker", "queue-worker"),
        ("Answer: queue worker", "queue-worker"),
        ("Answer: the `queue_worker`", "queue-worker"),
        ("It is the queue workers.", "queue-worker"),
        ("**Queue.** Not the db.", "queue"),
        ("It is not the queue but the db.", "db"),
        ("Answer: db, not the queue", "db"),
        ("queue or db", None),
        ("Answer: queue, db", None),
        ("Answer: none", None),
    ],
)
def test_a_choice_is_one_choice(text, choice):
    found = stated_choice(text, ["queue", "queue-worker", "db"])
    assert found == choice if choice else isinstance(found, NotRead)


@pytest.mark.parametrize(
    ("text", "choice"),
    [
        ("Yes, because no timeout exists", "yes"),
        ("Answer: No, there is no retry", "no"),
        ("Answer: **Yes**.", "yes"),
        ("There is no timeout, so yes.", "yes"),
        ("No. It waits.", "no"),
        ("The answer is **no**: what matters", "no"),
        ("Yes! No doubt.", "yes"),
        ("Answer: Yes — no message is lost.", "yes"),
        ("yes and no", None),
        ("no yes", None),
    ],
)
def test_yes_and_no(text, choice):
    found = stated_choice(text, ["yes", "no"])
    assert found == choice if choice else isinstance(found, NotRead)


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("Answer: a-1 → b, then c.d", True),
        ("In this order: **a-1, b, c.d**.", True),
        ("Answer: a-1 -> b -> c.d.", True),
        ("Answer: a-1, b and c.d!", True),
        ("The answer is a-1, b, c.d.", True),
        ("Answer: b, a-1, c.d", False),
        ("Answer: a-1, b", False),
    ],
)
def test_a_sequence_is_in_order(text, right):
    assert states_text(text, "a-1, b, c.d") is right


PAIRS = load_yaml(ROOT / "tests" / "common" / "mathematics.yaml")
SAME = [
    ("90°", "90"),
    (r"90^\circ", "90"),
    (r"\varnothing", r"\emptyset"),
    (r"0.\overline{3}", r"\frac13"),
    (r"0.1\overline{6}", r"\frac16"),
    ("x>3", r"(3,\infty)"),
    ("3<x", r"(3,\infty)"),
    (r"x \ge 3", r"[3,\infty)"),
    ("1<x<2", "(1,2)"),
    (r"3<x\le4", "(3,4]"),
    (r"x\in(3,\infty)", "x>3"),
    (r"(-\infty,3)\cup(5,\infty)", r"x<3 \text{ or } x>5"),
    ("10,000", "10000"),
    (r"10\,000", "10000"),
    (r"1,000\pi", r"1000\pi"),
    (r"240\text{ ways.}", "240"),
    (r"5 \text{ cm}", "5"),
    ("1 3/4", r"\frac74"),
    (r"50\%", "50"),
    (r"\text{east}", "East"),
    ("x^2+1", "1+x^2"),
    (r"2\sqrt{2}", r"\sqrt{8}"),
    (r"x = \frac{1}{2}", r"\frac{1}{2}"),
    (r"\{1,2\}", r"\{2,1\}"),
    (r"\log 8", r"3\log 2"),
    ("(1,2)", "(1, 2)"),
    ("x<3", "3>x"),
    ("y<3", r"(-\infty,3)"),
    ("x<3", r"\{x : x<3\}"),
    ("60", r"60\text{ rad}"),
    ("60°", "60 degrees"),
    ("3:4", "6:8"),
    ("3:4", r"3\text{ to }4"),
    ("1:2:3", "2:4:6"),
    (r"\sqrt2:1", r"\sqrt{2}:1"),
    ("5 or 7", "7 or 5"),
    ("5 or 7", "7, 5"),
    (r"5\text{ and }7", r"\{7,5\}"),
    ("x=5 or x=7", "7 or 5"),
    ("100 or 200", "200 or 100"),
    ("1,000 or 2,000", "2000 or 1000"),
    (r"\sqrt2 or 2", r"2 or \sqrt2"),
    ("x>3 and x<5", "3<x<5"),
    (r"2\pi", r"2\pi\text{ cm}"),
    (r"5\text{ cm}^2", "5 square centimeters"),
    (r"\$5", r"5\text{ dollars}"),
    ("21", r"\text{twenty-one}"),
]
DIFFERENT = [
    ("(100,200)", "100200"),
    ("1 2", "12"),
    (r"\log 2", r"\log_{10} 2"),
    (r"\ln 2", r"\log 2"),
    ("100,200", "100, 200"),
    ("(1,2)", "(2,1)"),
    ("[1,2]", "(1,2)"),
    ("0.333", "1/3"),
    ("5x", "5"),
    ("x^2+1", "1+x^3"),
    ("1011_2", "1011_3"),
    (r"\frac{\pi}{6}", r"30^\circ"),
    ("x<3", "y<3"),
    ("1<x<2", "1<y<2"),
    (r"x\in(1,2)", r"y\in(1,2)"),
    ("x<3 or x>5", "x<3 or y>5"),
    ("x>3 and x<5", "x>3 or x<5"),
    ("60°", "60 rad"),
    (r"60^\circ", r"60\text{ radians}"),
    (r"90^\circ", r"90\%"),
    (r"5\text{ hours}", r"5\text{ minutes}"),
    (r"\$5", r"5\text{ cents}"),
    ("3:4", "3/4"),
    ("3:4", "0.75"),
    ("3:4", "4:3"),
    ("1:2:3", "1:2"),
    ("12:30", "0.4"),
    ("5 or 7", "5"),
    ("5 or 7", "5 or 8"),
    ("100 or 200", "100200"),
    ("x=5 and y=7", "y=5 and x=7"),
    (r"\text{two thirds}", "2"),
]


@pytest.mark.parametrize(("one", "other"), [*SAME, *PAIRS["same"]])
def test_the_same_mathematics(one, other):
    pytest.importorskip("math_verify")
    assert same_mathematics(one, other)
    assert same_mathematics(other, one)


@pytest.mark.parametrize(("one", "other"), [*DIFFERENT, *PAIRS["different"]])
def test_other_mathematics(one, other):
    pytest.importorskip("math_verify")
    assert not same_mathematics(one, other)
    assert not same_mathematics(other, one)


@pytest.mark.slow
def test_a_result_that_never_ends_holds_up_nothing():
    pytest.importorskip("math_verify")
    started = time.monotonic()
    assert not same_mathematics("9", "9^{9^{9^9}}")
    assert time.monotonic() - started < 9
    assert same_mathematics("2\\sqrt{3}", "\\sqrt{12}")  # the next one is compared all the same
