"""What a final answer does: nudges and routes, against hand-made cases and every hand-written seed."""

from pathlib import Path

import pytest
import yaml

from common import behaviour

SEEDS = Path(__file__).resolve().parents[2] / "datasets" / "aether" / "seeds"
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
def test_every_hand_written_route_names_its_target(seed):
    assert behaviour.routed(seed["turns"][-1]["answer"]) == seed["target"]


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
    ],
)
def test_nudges(answer, why):
    found = behaviour.not_a_nudge(answer)
    assert found is None if why is None else why in found


@pytest.mark.parametrize(
    ("answer", "target"),
    [
        ("", "self"),
        ("This stays here.", "self"),
        ("Send it to GROK-4-FAST: the answer is worth nothing in two seconds.", "grok-4-fast"),
        ("Claude Sonnet 4.5 should review it.", "claude-sonnet-4.5"),
        ("The long-context member reads the log, the edge member samples.", None),
        ("```\nrouter = 'grok-4-fast'\n``` This stays with me.", "self"),
    ],
)
def test_routes(answer, target):
    assert behaviour.routed(answer) == target
