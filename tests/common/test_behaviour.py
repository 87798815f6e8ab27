"""What a final answer does: nudges and routes, against hand-made cases and every hand-written seed."""

import time
from pathlib import Path

import pytest
import yaml

from common import behaviour
from common.behaviour import SELF

SEEDS = Path(__file__).resolve().parents[2] / "datasets" / "aether" / "seeds"
MEMBERS = tuple(yaml.safe_load((SEEDS.parent / "triad.yaml").read_text())["members"])
ANSWERED = {
    name: [
        s
        for s in yaml.safe_load((SEEDS / f"{name}.yaml").read_text())
        if s["turns"][-1].get("answer")
    ]
    for name in ("nudge", "routing")
}


@pytest.mark.parametrize("seed", ANSWERED["nudge"], ids=lambda seed: seed["id"])
def test_every_hand_written_nudge_is_one(seed):
    assert behaviour.not_a_nudge(seed["turns"][-1]["answer"]) is None


@pytest.mark.parametrize("seed", ANSWERED["routing"], ids=lambda seed: seed["id"])
def test_no_hand_written_route_ends_in_a_line_of_its_own(seed):
    """The build writes the line, from `target`, which is a member of the Triad."""
    assert behaviour.route_of(seed["turns"][-1]["answer"], MEMBERS) == SELF
    assert seed["target"] in (SELF, *MEMBERS)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ("", "asks 0 questions"),
        ("Your loop waits on I/O.", "asks 0 questions"),
        ("What waits? And what does not? Look at the first.", "asks 2 questions"),
        ("Look here. ```python\nx = 1\n``` What waits?", "in code or in steps"),
        ("1. Use a pool.\n2. Set a timeout.\nDoes it work?", "in code or in steps"),
        ("word " * 95 + ". What waits?", "98 words"),
        ("What is actually waiting?", "without leaving a breadcrumb"),
        ("Threads that wait cost memory. What waits??", None),
        ("A `?` in a URL starts the query. What waits", "asks 0 questions"),
        ("See https://example.org/a?b=c for the trace. What waits there?", None),
        ("Look at the trace; what waits?", None),
        ("See https://example.org/a?b=c; which line waits there?", None),
        ("The answer's 42. Do you see why?", "says what the answer is"),
        ("The result equals 42. Do you see why?", "says what the answer is"),
        ("The lock is taken twice — who lets it go?", None),
        ("Hmm. What waits?", "without leaving a breadcrumb"),
        ("Well, good question. What waits?", "without leaving a breadcrumb"),
        ("Look here.\n~~~\nx = 1\n~~~\nWhat waits?", "in code or in steps"),
        ("The answer is 42. Do you see why?", "says what the answer is"),
        ("The answer is in the second line. What waits there?", None),
        ("Step 1: open it. Step 2: read it. Does it work?", "in code or in steps"),
        ("First open it. Then read it. Finally close it. Does it work?", "in code or in steps"),
    ],
)
def test_nudges(answer, why):
    found = behaviour.not_a_nudge(answer)
    assert found is None if why is None else why in found


@pytest.mark.parametrize(
    ("answer", "target"),
    [
        ("", SELF),
        ("This stays here.", SELF),
        ("Claude Sonnet 4.5 should review it.", SELF),
        ("Not to the edge model.\n\nRoute: long-context", "long-context"),
        ("It is fresh.\n\nRoute: grok-4-fast\n", "grok-4-fast"),
        ("It is fresh.\n\n**Route: grok-4-fast**", "grok-4-fast"),
        ("It is fresh.\nRoute: Grok-4-Fast.", "grok-4-fast"),
        ("Route: self", SELF),
        ("Route: somebody", None),
        ("Route: edge\nbecause of latency", SELF),
        ("I would write Route: edge", SELF),
        ("Route: edge or long-context", SELF),
        ("```\nRoute: edge\n```", SELF),
        ("Write this:\n```\nRoute: edge", SELF),
        ("Write ```Route: edge```", SELF),
        ("```\nx = 1\n```\nRoute: edge", "edge"),
        ("It is near.\r\n\r\nRoute: edge  \r\n", "edge"),
        ("A line of another kind.\rRoute: edge", SELF),
        ("A line of another kind.\u2028Route: edge", SELF),
        ("It is near.\n_Route: edge_", "edge"),
        ("It is near.\n**`Route: edge`.**", "edge"),
        ("Route: \uff45dge", None),
        ("Fill this in.\nRoute: ________", SELF),
        ("Route:", SELF),
    ],
)
def test_a_route_is_read_from_the_last_line_alone(answer, target):
    assert behaviour.route_of(answer, MEMBERS) == target


@pytest.mark.parametrize("blank", ["_", ".", "a_", "_.", "*_"])
def test_a_form_with_blanks_is_read_at_once(blank):
    before = time.process_time()
    assert behaviour.route_of(f"Fill this in.\nRoute: {blank * 400} Date: !", MEMBERS) == SELF
    assert time.process_time() - before < 1


def test_the_members_are_those_of_the_list():
    assert behaviour.route_of("Route: lab-7", ["lab-7"]) == "lab-7"
    assert behaviour.route_of("Route: edge", ["lab-7"]) is None
