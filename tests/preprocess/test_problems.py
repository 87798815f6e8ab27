"""Problems with provable answers: the formulas against sums done by hand, the displayed arithmetic,
what is held out, variety.
"""

import math
import random
import re
import statistics
from collections import Counter, defaultdict
from fractions import Fraction

import pytest

from common import chat
from common.files import ROOT
from preprocess.generators import problems
from preprocess.generators.exact import TextError, evaluate
from preprocess.generators.problem_families import families
from preprocess.generators.slots import Renderer, figure
from preprocess.source import Context, MixError, load

DATASET = ROOT / "datasets" / "aether"
FOLDER = DATASET / "problems"

TRAINING, EVALUATION_ONLY = 24, 6
LENGTHS = ((40, 60), (70, 100), (115, 150))  # words of reasoning, about the three quartiles
SIGNATURES = (
    "What are we actually trying to achieve",
    "The fundamental constraint here",
    "Why we gotta do it like that",
)
LEFT_OVER = re.compile(
    r"[{}]|\[\[|\]\]|a\(n\)|(?:about|≈) \*{0,2}(?:about|≈)|\$[1-9]\d*\.\d{3,}|\$\d+\.\d\b|  "
)
STEP_BACK = re.compile(
    r"\b[Ww]ait\b[,.:!]|\bActually, no\b|[Tt]hat assumption is wrong|\b[Ss]cratch that\b"
)

# Worked out on paper, one a family.
BY_HAND = {
    "littles_law": ((100, 190, 10), 20),  # 100/s × 0.2 s
    "pool_per_pod": ((400, 20, 80, 2), 5),  # 8 busy, 10 with headroom, 5 each
    "fanout_tail": ((2, 10), 19),  # 1 − 0.9²
    "retry_layers": ((100, 2, 3, 4), 2400),  # 24 calls each
    "retry_load": ((100, 50, 2), 175),  # 1 + ½ + ¼
    "backlog_drain": ((100, 150, 10), 20),  # 60,000 over 50/s
    "buffer_fill": ((100, 10, 1000, 600), 25),  # 10,000 slots over 400/s
    "token_bucket": ((100, 10, 50, 10), 300),  # 500 sent, 200 tokens
    "timeout_budget": ((1000, 100, 100, 3), 200),  # pauses 100 + 200; 600 for three
    "smallest_batch": ((100, 50, 5), 10),  # 10 / (50 + 50 ms) is 100/s
    "cache_break_even": ((1000, 0.25, 50), 20),  # 50 of 250 dollars
    "cache_miss_load": ((1000, 99, 1), 2),  # 1 % to 2 %
    "event_loop_ceiling": ((5, 100, 5), 100),  # 5 + 5 ms
    "semaphore_waves": ((10, 4, 500), 1.5),  # 3 waves
    "partition_count": ((1000, 50, 10, 4), 16),  # 15 lanes, 4 each
    "consumer_lag": ((600_000, 10, 5, 300, 500), 10),  # 1,500 − 500 a second
    "availability_chain": ((2, 90, 50), 25_704),  # 1 − 0.5 × 0.81 of 43,200
    "redundant_shared": ((2, 90, 99), 859.68),  # 1 − 0.99 × 0.99
    "queue_response": ((50, 10), 20),  # half busy: twice the service time
    "cost_per_million": ((3.6, 100, 50), 20),  # 180,000 an hour
    "polling_waste": ((86_400, 60, 440), 1000),  # 1,440 − 440 a day
    "pipeline_bottleneck": ((100, 10, 50, 2, 10, 1), 40),  # 100, 40 and 100 a second
    "await_graph": ((10, 20, 30, 40, 5), 65),  # 10 + 50 + 5
    "error_budget": ((99.9, 50, 10), 216),  # 21.6 minutes at a tenth
    "hedged_fanout": ((2, 10), 1.99),  # 1 − 0.99²
    "pooled_queue": ((100, 10), 40 / 3),  # 10 / (1 − ¼)
    "hot_key": ((4, 1000, 20), 2500),  # 0.2 + 0.2 of everything
    "bandwidth_delay": ((80, 100, 64), 16),  # 1,000 kB, 15.6 chunks
    "serverless_break_even": ((100, 0.2, 1000, 1, 0.0000098), 10),  # 9.80 + 0.20 a million
    "autoscale_headroom": ((600, 60, 100), 6),  # 600/s more after a minute
}


def config(count: int, folder=FOLDER) -> problems.Config:
    more = {"count": count, "heldout": count, "path": str(folder)}
    more["wishes"] = "framings/wishes.yaml"
    return problems.Config(kind="problems", category="async", system="s.md", **more)


def context(seed: int = 7, heldout: bool = False) -> Context:
    return Context(seed, DATASET, None, heldout, lambda texts: None)


def made(count: int, seed: int = 7, heldout: bool = False, folder=FOLDER) -> list:
    return list(problems.conversations(config(count, folder), context(seed, heldout)))


def recomputed(answer: dict):
    return problems.recompute(answer, config(1), context())


@pytest.fixture(scope="module")
def trained():
    return made(2400)


@pytest.fixture(scope="module")
def held_out():
    return made(600, heldout=True)


def by_name():
    return families(FOLDER)


def test_there_are_as_many_families_as_planned_and_all_have_six_framings():
    names = {name: family.evaluation_only for name, family in by_name().items()}
    assert Counter(names.values()) == {False: TRAINING, True: EVALUATION_ONLY}
    assert set(BY_HAND) == set(names)
    for family in by_name().values():
        assert len({framing.id for framing in family.framings}) == len(family.framings) >= 6, (
            family.name
        )
        assert len({framing.domain for framing in family.framings}) >= 6, family.name


@pytest.mark.parametrize("name", BY_HAND)
def test_formula_by_hand(name):
    arguments, expected = BY_HAND[name]
    family = by_name()[name]
    parameters = dict(zip(family.draw, arguments, strict=True))
    assert recomputed({"family": name, "parameters": parameters}) == pytest.approx(
        expected, rel=1e-12
    )
    # The worked solution of the YAML is a second derivation and ends at the same number.
    values = family.values({key: Fraction(str(value)) for key, value in parameters.items()})
    assert float(values[family.answer.of]) == pytest.approx(expected, rel=1e-12)


def test_every_stored_answer_is_recomputed(trained, held_out):
    for conversation in trained + held_out:
        assert recomputed(conversation.answer) == conversation.answer["value"]


def test_held_out_ranges_and_families_never_reach_training(trained, held_out):
    known = by_name()
    for family in known.values():
        assert len(family.held_out) == (0 if family.evaluation_only else 1), family.name
        for framing in family.framings:
            for name in family.held_out:
                kept, out = (family.grids(framing, heldout)[name] for heldout in (False, True))
                assert kept and not set(kept) & set(out), (family.name, framing.id)
    for rows, heldout in ((trained, False), (held_out, True)):
        for conversation in rows:
            family = known[conversation.answer["family"]]
            assert ("held-out" in conversation.tags) == heldout
            if family.evaluation_only:
                assert heldout, conversation.id
            for name, (low, high) in family.held_out.items():
                assert (low <= conversation.answer["parameters"][name] <= high) == heldout, (
                    conversation.id
                )
    assert {row.answer["family"] for row in held_out} == set(known)
    assert {row.answer["family"] for row in trained} == {
        name for name in known if not known[name].evaluation_only
    }


def test_held_out_framings_never_reach_training_and_are_half_of_the_evaluation(trained):
    families = by_name()
    told = {row.group for row in trained}
    for family in families.values():
        kept = [framing for framing in family.framings if framing.held_out]
        assert len(kept) == (0 if family.evaluation_only else 1), family.name
        assert not {f"{family.name} {framing.id}" for framing in kept} & told
    rows = made(480, heldout=True)  # as many as the aether mix holds out
    unseen = [row for row in rows if row.group not in told]
    assert len(unseen) >= 250
    assert unseen == [row for row in rows if "unseen" in row.tags]


def test_same_seed_same_conversations_and_families_evenly_spread(trained):
    assert trained[:200] == made(200)
    assert trained[:50] != made(50, seed=8)
    counts = Counter(row.answer["family"] for row in trained)
    assert max(counts.values()) - min(counts.values()) <= 1
    told = defaultdict(Counter)
    for row in trained:
        told[row.answer["family"]][row.group] += 1
        assert row.origin == "procedural" and row.group == " ".join(
            tag.split(":")[1] for tag in row.tags[:2]
        )
    assert all(max(groups.values()) - min(groups.values()) <= 1 for groups in told.values())
    assert (
        len({row.id for row in trained})
        == len({row.turns[0].user for row in trained})
        == len(trained)
    )


NUMBER = r"(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?"
TERM = rf"(?:(?:max|min)\({NUMBER}(?:, {NUMBER})+\)|[(⌈√]*{NUMBER}[)⌉]*)"
EQUATION = re.compile(rf"(?<![\w.,])({TERM}(?:(?: [×/+−] |\^){TERM})+) ([=≈]) \$?({NUMBER})( %)?")


def displayed(expression: str):
    """The value of displayed arithmetic, from its digits alone."""
    while expression.count("(") > expression.count(")"):
        expression = expression.replace("(", "", 1)
    for shown, python in (
        ("×", "*"),
        ("−", "-"),
        ("^", "**"),
        ("⌈", "math.ceil("),
        ("⌉", ")"),
        ("√", "math.sqrt"),
    ):
        expression = expression.replace(shown, python)
    code = re.sub(NUMBER, lambda number: f"Fraction('{number[0].replace(',', '')}')", expression)
    return eval(code, {"Fraction": Fraction, "math": math, "max": max, "min": min})


def test_displayed_arithmetic_is_exact_or_says_that_it_is_rounded(trained, held_out):
    seen = Counter()
    for conversation in trained + held_out:
        turn = conversation.turns[0]
        for expression, sign, result, percent in EQUATION.findall(
            f"{turn.reasoning}\n{turn.answer}"
        ):
            value, said = displayed(expression), Fraction(result.replace(",", ""))
            where = f"{conversation.id}: {expression} {sign} {result}{percent}"
            said = (
                said / 100 if percent and value < said / 50 else said
            )  # a share, else percentage points
            assert (
                value == said
                if sign == "="
                else float(value) == pytest.approx(float(said), rel=0.006)
            ), where
            seen[sign] += 1
    assert seen["="] > 5000 and seen["≈"] > 2000


def test_final_text_says_the_value(trained, held_out):
    for conversation in trained + held_out:
        value, near = conversation.answer["value"], conversation.answer["tolerance"]
        bold = re.findall(r"\*\*(.+?)\*\*", conversation.turns[0].answer)
        said = [
            float(number.replace(",", "")) for text in bold for number in re.findall(NUMBER, text)
        ]
        assert any(math.isclose(number, value, rel_tol=near) for number in said), (
            f"{conversation.id}: {value} {bold}"
        )


@pytest.mark.parametrize("name", BY_HAND)
def test_every_text_renders_in_every_framing(name):
    family = by_name()[name]
    shared = [
        *sum(family.steps, []),
        *family.brief,
        *family.wrong.texts,
        *family.checks,
        *family.advice,
    ]
    shared += family.signature["reasoning"] + family.signature["answer"]
    for framing in family.framings:
        grids = family.grids(framing, family.evaluation_only)
        rng = random.Random(framing.id)
        for _ in range(3):
            values = family.values(family.parameters(framing, grids, rng))
            render = Renderer(values, family.let, framing.words, family.digits, rng)
            for text in [*shared, framing.user, *framing.opening, *framing.answer]:
                written = render(text)
                assert chat.reserved_in(written) is None
                if text is not framing.user:  # which may hold code and tables
                    assert not LEFT_OVER.search(written), written


def test_reasoning_has_the_planned_shares(trained):
    def share(of):
        return sum(map(of, trained)) / len(trained)

    turns = {row.id: row.turns[0] for row in trained}
    lengths = [len(turn.reasoning.split()) for turn in turns.values()]
    quartiles = statistics.quantiles(lengths)
    assert min(lengths) >= 20
    assert all(low <= words <= high for words, (low, high) in zip(quartiles, LENGTHS, strict=True))
    assert 0.07 <= share(lambda row: bool(STEP_BACK.search(turns[row.id].reasoning))) <= 0.13
    assert all(
        ("backtracks" in row.tags) == bool(STEP_BACK.search(turns[row.id].reasoning))
        for row in trained
    )
    signed = [
        sum((turn.reasoning + turn.answer).count(phrase) for phrase in SIGNATURES)
        for turn in turns.values()
    ]
    assert max(signed) == 1 and 0.18 <= sum(signed) / len(signed) <= 0.28


def test_what_the_user_asks_of_the_reply_is_done(trained):
    wishes = load(DATASET / "framings" / "wishes.yaml", dict[str, list[str]])
    seen = Counter()
    for row in trained:
        (turn,) = row.turns
        steps = re.findall(r"(?m)^\d+\. ", turn.answer)
        if turn.user.endswith(tuple(wishes["short"])):
            seen["short"] += 1
            assert re.fullmatch(r"\*\*[^*]+\*\*", turn.answer), turn.answer
            assert len(turn.answer.split()) <= 7, turn.answer
        elif turn.user.endswith(tuple(wishes["steps"])):
            seen["steps"] += 1
            family = by_name()[row.answer["family"]]
            assert len(steps) >= len(family.steps), turn.answer
            assert not set(turn.answer.split("\n\n")[1:]) & set(turn.reasoning.split("\n\n"))
    assert all(300 <= seen[wish] <= 500 for wish in wishes), seen


@pytest.mark.parametrize(
    ("value", "style", "text"),
    [
        (Fraction(1234567), "", "1,234,567"),
        (Fraction(1234567), "n", "1234567"),
        (Fraction("56.32"), "", "56.32"),
        (Fraction(2, 3), "", "0.6667"),
        (Fraction(100000, 7), "", "14,286"),
        (Fraction("0.0000167"), "", "0.0000167"),
        (Fraction("0.925"), "%", "92.5 %"),
        (Fraction("862.5"), "$", "$862.50"),
        (Fraction("0.125"), "$", "$0.125"),
        (Fraction("8.625"), "$", "$8.62"),
        (Fraction(0), "", "0"),
    ],
)
def test_figure(value, style, text):
    assert figure(value, style)[0] == text


def test_worked_arithmetic_is_equal_only_where_nothing_is_rounded():
    shares = {"seconds": Fraction(1, 8), "third": Fraction(1, 3)}
    values = {"rate": Fraction(240), "busy": Fraction(30), "part": Fraction(80), **shares}
    render = Renderer(
        values,
        {"busy": "rate * seconds", "part": "rate * third"},
        {"item": "order"},
        {},
        random.Random(1),
    )
    assert render("{=busy}") == "240 × 0.125 = 30"
    assert render("{=part}") == "240 × 0.3333 ≈ 80"
    assert render("a(n) {item}. {Item}s: {busy}") == "an order. Orders: 30"
    with pytest.raises(TextError, match="'nothing'"):
        render("{nothing}")
    for hostile in (
        "rate * __import__('os')",
        "rate.numerator",
        "rate*(",
        "open(rate)",
        "().__class__",
        "rate if 1 else 2; x",
    ):
        with pytest.raises(TextError):
            evaluate(hostile, values)
    assert evaluate("1 / 3 + .5", {}) == Fraction(5, 6)


def test_a_broken_file_is_named(tmp_path):
    with pytest.raises(MixError, match="no family of problems in it"):
        families(tmp_path)
    (tmp_path / "littles_law.yaml").write_text("draw: {rate: [1, 2]}\n")
    with pytest.raises(MixError, match=r"littles_law\.yaml:\d+: draw\.rate"):
        families(tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (
            "rate * stay_s",
            "rate * staying_s",
            "littles_law.yaml: [a-z-]+: .*name 'staying_s' is not defined",
        ),
        (
            "rate * stay_s",
            "rate * (stay_s",
            r"littles_law.yaml: [a-z-]+: 'rate \* \(stay_s' is no expression",
        ),
        (
            "in_flight: rate * stay_s",
            "in_flight: 1 + rate * stay_s",
            "littles_law.yaml: [a-z-]+: .*the worked solution gives .*, the formula ",
        ),
        ("in_flight > 5", "in_flight > 5000", "littles_law.yaml: [a-z-]+: no draw meets"),
    ],
)
def test_a_wrong_worked_solution_is_named(tmp_path, old, new, reason):
    text = (FOLDER / "littles_law.yaml").read_text()
    assert old in text
    (tmp_path / "littles_law.yaml").write_text(text.replace(old, new))
    with pytest.raises(MixError, match=reason):
        made(30, folder=tmp_path)
