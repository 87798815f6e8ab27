"""Diversity: both measures on rows counted by hand, and a choice that keeps within them."""

from __future__ import annotations

from collections import Counter

import pytest

from common.files import ROOT, load_json
from preprocess import selection
from preprocess.candidates import Candidate
from preprocess.diversity import Distant, alike_share, fingerprint, recurring_share
from preprocess.mix import Mix
from preprocess.mix import read as read_mix

SAME = "The queue has 12 places left today."  # seven words


def test_words_of_sentences_that_stand_five_times_count():
    apart = [fingerprint(f"{SAME} Only {word} says so.") for word in "abcde"]
    assert recurring_share(apart) == pytest.approx(7 / 11)
    assert recurring_share(apart[:4]) == 0
    assert recurring_share([]) == 0


def test_numbers_are_masked_in_sentences():
    rows = [fingerprint(f"It takes {n:,}.5 s, not {n}.") for n in (1, 20, 3000, 4, 5)]
    assert recurring_share(rows) == 1


def test_a_row_is_alike_when_half_of_its_runs_stand_in_one_other():
    long = "one two three four five six seven eight nine ten eleven twelve"  # five runs
    half = fingerprint("one two three four five six seven eight nine ten other words here now")
    whole = fingerprint(long)
    assert len(whole.runs) == 5 and len(half.runs) == 7
    assert alike_share([whole, half]) == 0.5  # three of five, and three of seven
    assert alike_share([whole, fingerprint("quite another thing is said in this row")]) == 0
    assert alike_share([whole]) == 0


def test_two_halves_of_two_rows_are_no_half_of_one():
    first = "a b c d e f g h i j k l"
    second = "m n o p q r s t u v w x"
    both = fingerprint(f"{first} {second}")
    assert alike_share([both, fingerprint(first), fingerprint(second)]) == pytest.approx(2 / 3)


def test_distant_rows_are_within_both_measures():
    chooser = Distant(0.25)
    words = ("red", "blue", "green", "grey", "pink", "gold", "teal", "navy")
    taken = []
    for word in words:
        for other in words:
            text = (
                f"{SAME} The {word} one is so {word} that no {other} one of them fits {other} it."
            )
            row = fingerprint(text)
            if chooser.take([row]):
                taken.append(row)
    assert len(taken) >= 4
    assert recurring_share(taken) <= 0.25 and alike_share(taken) == 0


def test_what_people_wrote_is_taken_as_it_is_and_counts():
    chooser = Distant(0.25)
    row = fingerprint(SAME)
    assert all(chooser.take([row], always=True) for _ in range(6))
    assert not chooser.take([row])


def test_a_conversation_is_taken_whole_or_not_at_all():
    chooser = Distant(0.0)
    fresh = fingerprint("A sentence of nine words that nobody said before.")
    assert not chooser.take([fresh, *[fingerprint(SAME)] * 5])
    assert chooser.take([fresh])


def candidate(number: int, text: str, origin: str = "procedural", talk: str = "") -> Candidate:
    name = f"row-{number}"
    return Candidate(
        id=name,
        conversation=talk or name,
        group=name,
        category="async",
        origin=origin,
        tokens=10,
        trained=8,
        reasoning_words=5,
        met=(),
        looks=b"",
        images=(),
        verified=False,
        fingerprint=fingerprint(text),
    )


def plan(**more) -> Mix:
    return Mix(
        seed=1,
        val_share=0.1,
        licence="MIT",
        sources=[{"kind": "seeds", "path": "s", "category": "c", "system": "s"}],
        **more,
    )


def test_the_selection_leaves_out_what_other_rows_say_and_counts_it():
    alike = (
        "The number of orders in the gateway grows with the time that each of them waits for it."
    )
    own = "Nobody expects that a printer remembers which of the drawers held the yellow paper last."
    written = [candidate(n, alike, "seed") for n in range(3)]
    made = [candidate(3, alike), candidate(4, own), candidate(5, own, talk="t")]
    made.append(
        candidate(6, "A third thing is said by nobody but this one row of the set.", talk="t")
    )
    skipped: Counter[str] = Counter()
    limits = {"recurring": 0.25, "alike": 0.1}
    kept = selection.apart(made + written, plan(diversity=limits), skipped)
    names = {c.id for c in kept}
    assert {"row-0", "row-1", "row-2"} <= names and "row-3" not in names
    # One of the two that say the same; the conversation whole or not at all.
    assert names & {"row-4", "row-5", "row-6"} in ({"row-4"}, {"row-5", "row-6"})
    left_out = 7 - len(names)
    assert skipped == {"async: says what other rows say": left_out}
    assert [c.id for c in kept] == [c.id for c in made + written if c.id in names]
    assert selection.apart(made, plan(), skipped) == made


def test_the_manifest_measures_each_category():
    rows = [candidate(n, SAME) for n in range(5)]
    assert selection.diversity(rows) == {"async": {"recurring": 1.0, "alike": 1.0}}
    assert selection.diversity([]) == {}


@pytest.mark.parametrize("plan_file", sorted(ROOT.glob("datasets/*/mix.yaml")), ids=str)
def test_a_built_dataset_keeps_to_the_limits_of_its_mix(plan_file):
    limits = read_mix(plan_file.parent).diversity
    built = plan_file.parent / "build" / "manifest.json"
    if limits is None or not built.exists():
        pytest.skip("no limits in this mix, or nothing built")
    measured = load_json(built).get("diversity", {})
    if not measured:
        pytest.skip("built before diversity was measured")
    for category, shares in measured.items():
        assert shares["recurring"] <= limits.recurring, category
        assert shares["alike"] <= limits.alike, category
