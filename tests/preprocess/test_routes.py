"""Routing: the member follows from the table, and the reply names that one and why."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace

import pytest

from common import behaviour, chat, rows, triad
from common.files import ROOT
from preprocess.diversity import Distant, fingerprint
from preprocess.generators import routes
from preprocess.rows import Conversation, Turn, to_rows
from preprocess.source import Context, load

DATASET = ROOT / "datasets" / "aether"
CONTEXT = Context(7, DATASET, None, False, lambda texts: None)
TRIAD = triad.read(DATASET / "triad.yaml")
SCENARIOS = {s.domain: s for s in load(DATASET / "routes/scenarios.yaml", list[routes.Scenario])}
OUTSIDE = {"claude-sonnet-4.5", "grok-4-fast"}


@pytest.fixture(scope="module")
def told():
    config = routes.Config(kind="routes", category="routing", system="s.md", count=300)
    return list(routes.conversations(config, CONTEXT))


@pytest.mark.parametrize(
    ("private", "tokens", "need", "target"),
    [
        (False, 5_000, "none", "self"),
        (True, 5_000, "none", "self"),
        (False, 5_000, "stakes", "claude-sonnet-4.5"),
        (True, 5_000, "stakes", "self"),
        (False, 5_000, "fresh", "grok-4-fast"),
        (False, 5_000, "speed", "grok-4-fast"),
        (True, 5_000, "speed", "self"),
        (True, 5_000, "sensor", "edge"),
        (True, 50_000, "sensor", None),
        (False, 32_768, "none", "self"),
        (False, 32_769, "none", "long-context"),
        (True, 100_000, "stakes", "long-context"),
        (False, 100_000, "stakes", "claude-sonnet-4.5"),
        (False, 300_000, "stakes", "long-context"),
        (True, 1_000_001, "none", None),
    ],
)
def test_the_table_decides(private, tokens, need, target):
    assert routes.target_of(TRIAD, private, tokens, need) == target


def inferred(conversation) -> str:
    """The member, by a second way: from the words of the request alone."""
    tags = dict(tag.split(":", 1) for tag in conversation.tags)
    scenario, user = SCENARIOS[tags["domain"]], conversation.turns[0].user
    count = max(int(n.replace(",", "")) for n in re.findall(rf"(\d[\d,]*) {scenario.unit}", user))
    tokens = count * scenario.each
    needs = [n for n in routes.NEEDS if getattr(scenario, n) and getattr(scenario, n) in user]
    if "sensor" in needs:
        return "edge"
    if not scenario.private:
        if "stakes" in needs and tokens <= 200_000:
            return "claude-sonnet-4.5"
        if needs and "stakes" not in needs:
            return "grok-4-fast"
    return "self" if tokens <= 32_768 else "long-context"


def test_the_target_can_be_inferred_and_is_named(told):
    seen = Counter()
    for conversation in told:
        target = next(t.split(":")[1] for t in conversation.tags if t.startswith("target:"))
        seen[target] += 1
        (turn,) = conversation.turns
        assert inferred(conversation) == target, turn.user
        assert not re.search(r"[{}]|\[\[|\]\]|  ", turn.user + turn.reasoning + turn.answer)
        bold = re.findall(r"\*\*(.+?)\*\*", turn.answer)
        if target == "self":
            assert not bold, turn.answer
        else:
            assert [name.lower() for name in bold] == [TRIAD.members[target].name.lower()]
        for name in routes.NEEDS:
            assert f"{name}:" not in turn.user  # never said in so many words
    assert set(seen) == {"self", *TRIAD.members} and min(seen.values()) >= 20, seen


def test_a_reply_that_hands_over_ends_with_the_line_and_one_that_stays_has_none(told):
    for conversation in told:
        target = next(t.split(":")[1] for t in conversation.tags if t.startswith("target:"))
        (row,) = to_rows(replace(conversation, system="S"), str)
        answer = chat.split(rows.text_of(row["messages"][-1])).answer
        assert behaviour.route_of(answer, list(TRIAD.members)) == target
        assert answer.count("Route:") == (target != "self")


def test_only_the_last_turn_hands_over():
    turns = (Turn("a", "r", "First."), Turn("b", "r", "Second.\n"))
    conversation = Conversation("x", "routing", "seed", "S", turns, ("target:edge",))
    said = [rows.text_of(row["messages"][-1]) for row in to_rows(conversation, str)]
    assert "Route:" not in said[0] and "Second.\n\nRoute: edge\n" in said[1]


def test_nothing_private_is_sent_outside(told):
    for conversation in told:
        tags = dict(tag.split(":", 1) for tag in conversation.tags)
        assert not (SCENARIOS[tags["domain"]].private and tags["target"] in OUTSIDE)


PICTURES = re.compile(r"\b(?:frames|stills|photos|pictures|scanned|camera|video)\b")
ASKS = re.compile(r"\b(?:paste|send|give me|put the)\b", re.IGNORECASE)


def test_pictures_go_to_a_member_that_sees(told):
    for scenario in SCENARIOS.values():
        shown = f"{scenario.thing} {scenario.unit} {scenario.private or scenario.public}"
        assert bool(PICTURES.search(shown)) == scenario.pictures, shown
    seen = Counter()
    for conversation in told:
        tags = dict(tag.split(":", 1) for tag in conversation.tags)
        if SCENARIOS[tags["domain"]].pictures:
            seen[tags["target"]] += 1
            assert TRIAD.members.get(tags["target"], TRIAD.itself).sees, conversation.id
    assert set(seen) >= {"self", "edge"}
    assert routes.target_of(TRIAD, True, 700_000, "none", pictures=True) is None


def test_what_nobody_could_infer_stands_in_the_request(told):
    """That a supplier, a contract, a licence or a publisher allows or forbids it."""
    facts = re.compile(r"supplier|contract marks|licence|operator forbids|prototype|publishes")
    for conversation in told:
        tags = dict(tag.split(":", 1) for tag in conversation.tags)
        scenario = SCENARIOS[tags["domain"]]
        why = scenario.private or scenario.public
        assert bool(facts.search(why)) == scenario.stated, scenario.domain
        assert not scenario.stated or why[1:] in conversation.turns[0].user, conversation.id


def test_a_reply_that_keeps_the_work_asks_for_what_is_to_be_read(told):
    kept = [conversation for conversation in told if "target:self" in conversation.tags]
    for conversation in kept:
        (turn,) = conversation.turns
        assert ASKS.search(turn.answer), turn.answer
    assert len(kept) >= 60


def test_a_scenario_says_one_of_both():
    for scenario in SCENARIOS.values():
        assert bool(scenario.private) != bool(scenario.public), scenario.domain


def test_most_of_the_replies_stay_apart(told):
    chooser = Distant(0.25)
    turns = [conversation.turns[0] for conversation in told]
    taken = [chooser.take([fingerprint(f"{t.reasoning}\n{t.answer}")]) for t in turns]
    assert sum(taken) >= 230
