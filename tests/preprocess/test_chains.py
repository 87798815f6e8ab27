"""Chains: every turn recomputed by another way, each standing on the ones before, words that vary."""

from __future__ import annotations

import json
import re
from collections import Counter
from fractions import Fraction
from itertools import pairwise

import pytest

from common.files import ROOT
from preprocess.diversity import alike_share, fingerprint, recurring_share
from preprocess.generators import chains
from preprocess.generators.chain_turns import FORMULAS, Talk, Texts
from preprocess.generators.problem_families import families
from preprocess.rows import restored, to_rows
from preprocess.source import Context, load

DATASET = ROOT / "datasets" / "aether"
CONTEXT = Context(7, DATASET, None, False, lambda texts: None)
COUNT = 120


@pytest.fixture(scope="module")
def config():
    return chains.Config(kind="chains", category="async", system="s.md", count=COUNT)


@pytest.fixture(scope="module")
def told(config):
    return list(chains.conversations(config, CONTEXT))


def worked(answer: dict, parameters: dict) -> Fraction:
    """The value by the worked solution, which is another derivation than the family's formula."""
    family = families(DATASET / "problems")[answer["family"]]
    values = family.values({name: Fraction(str(value)) for name, value in parameters.items()})
    return values[family.answer.of]


def test_every_turn_is_recomputed_by_the_worked_solution(told):
    seen = Counter()
    for conversation in told:
        before = None
        for turn in conversation.turns[1:]:
            answer = turn.check
            now = worked(answer, answer["parameters"])
            seen[answer["asks"]] += 1
            if answer["asks"] in ("what_if", "colleague"):
                assert float(now) == pytest.approx(answer["value"], rel=1e-12)
            elif answer["asks"] == "difference":
                start = worked(answer, answer["start"])
                assert float(abs(now - start)) == pytest.approx(answer["value"], rel=1e-12)
            elif answer["asks"] == "decision":
                limit = answer["limit"]
                fits = now <= limit if answer["worse"] == "more" else now >= limit
                assert answer["value"] == ("yes" if fits else "no")
                assert abs(float(now) - limit) > 0.01 * limit
            else:
                moved = answer["parameters"] | {answer["lever"]: answer["value"]}
                assert float(worked(answer, moved)) == pytest.approx(answer["limit"], rel=1e-9)
                assert answer["limit"] == before["limit"]  # of the decision before it
            before = answer
    assert set(seen) == {"what_if", "colleague", "difference", "decision", "inverse"}
    assert min(seen.values()) >= 30, seen


def test_the_rows_answers_are_recomputed_and_said(told, config):
    for conversation in told:
        for row in to_rows(conversation, str):
            answer = restored(json.loads(json.dumps(row["answer"])))
            assert chains.recompute(answer, config, CONTEXT) == answer["value"]
            text = row["messages"][-1]["content"][0]["text"]
            final = text.partition("[BEGIN FINAL RESPONSE]")[2]
            bold = " ".join(re.findall(r"\*\*(.+?)\*\*", final)).lower().replace(",", "")
            if answer["kind"] == "number":
                numbers = [float(number) for number in re.findall(r"-?\d+(?:\.\d+)?", bold)]
                assert any(n == pytest.approx(answer["value"], rel=0.01) for n in numbers), final
            else:
                assert answer["value"] in bold


def directions(reasoning: str, texts: Texts) -> set[str]:
    """The ways in which a text says that a result follows a parameter."""
    ways = {"same": "none", "inverse": "against", "opposite": "against"}
    found = set()
    for kind, said in texts.effects.items():
        for text in said:
            fragments = [part.strip() for part in re.split(r"\{.*?\}", text)]
            if all(part in reasoning for part in fragments if len(part) > 3):
                found.add(ways.get(kind, "along"))
    return found


def test_a_change_is_said_to_go_the_way_it_goes(told):
    texts = load(DATASET / "chains" / "turns.yaml", Texts)
    seen = Counter()
    for conversation in told:
        for earlier, turn in pairwise(conversation.turns[1:]):
            if turn.check["asks"] != "what_if":
                continue
            old = earlier.check["parameters"]
            new = turn.check["parameters"]
            (lever,) = (name for name in new if new[name] != old[name])
            moved = worked(turn.check, new) - worked(turn.check, old)
            way = "none"
            if moved:
                way = "along" if (moved > 0) == (new[lever] > old[lever]) else "against"
            assert directions(turn.reasoning, texts) == {way}, turn.reasoning
            seen[way] += 1
    assert min(seen["along"], seen["against"]) >= 15, seen


def test_who_wants_only_the_difference_gets_only_that(told):
    turns = [turn for conversation in told for turn in conversation.turns]
    only = re.compile(r"Just the difference|nothing else|One number")
    asked = [turn for turn in turns if only.search(turn.user)]
    assert len(asked) >= 8
    for turn in asked:
        assert re.fullmatch(r"\*\*[^*]+\*\*\.?", turn.answer), turn.answer
        assert turn.check["asks"] == "difference"


def test_the_last_change_is_the_last_and_no_limit_is_the_first_value(told):
    for conversation in told:
        turns = conversation.turns[1:]
        for earlier, turn in pairwise(turns):
            last = re.search(r"the last change was to (.+)\.", turn.answer)
            if last:
                asked = [one.user for one in turns if one.check["asks"] == "what_if"]
                assert last[1].replace(" %", "%").lower() in asked[-1].lower()
            if earlier.check["asks"] == "difference" and turn.check["asks"] == "decision":
                start = worked(turn.check, earlier.check["start"])
                assert float(start) != pytest.approx(turn.check["limit"], rel=1e-9)


def test_an_inverse_that_does_not_hold_is_not_computed(told, config):
    turns = [turn for conversation in told for turn in conversation.turns]
    answer = next(turn.check for turn in turns if turn.check and turn.check["asks"] == "inverse")
    assert chains.recompute(answer | {"limit": answer["limit"] * 1.01}, config, CONTEXT) is None


def test_a_chain_has_four_to_six_turns_and_the_first_is_not_trained(told):
    assert {len(conversation.turns) for conversation in told} == {4, 5, 6}
    for conversation in told:
        assert not conversation.turns[0].reasoning
        assert len(to_rows(conversation, str)) == len(conversation.turns) - 1
        for turn in conversation.turns[1:]:
            assert not re.search(r"[{}]|\[\[|\]\]|a\(n\)|  |^[a-z] [a-z]", turn.user + turn.answer)


def test_all_training_families_are_talked_about():
    talks = load(DATASET / "chains" / "families.yaml", dict[str, Talk])
    known = families(DATASET / "problems")
    trained = {name for name, family in known.items() if not family.evaluation_only}
    assert set(talks) == trained
    for name, talk in talks.items():
        assert set(talk.levers) <= set(known[name].draw), name


def test_a_slot_of_the_turns_means_the_same_in_every_family():
    """A value of a family goes before a word, so `bound` of one was once said for "at most"."""
    texts = load(DATASET / "chains" / "turns.yaml", Texts)
    said = " ".join(text for turn in texts.turns.values() for of in turn.values() for text in of)
    slots = {name[0].lower() + name[1:] for name in re.findall(r"\{=?(\w+)\}", said)}
    computed = {"result", "limit", "gap", "before", "start", "old", "new", "times", "missing"}
    computed |= {"steps", "slope", "probe", "probed", "low", "high", "at_low", "at_high"}
    computed |= {"wrong_value"}
    assert computed < slots
    known = families(DATASET / "problems")
    for name in load(DATASET / "chains" / "families.yaml", dict[str, Talk]):
        family = known[name]
        assert not (slots - computed) & {*family.draw, *family.let}, name
        assert not {*FORMULAS} & {*family.let}, name


def test_parameters_stay_in_the_part_that_is_trained(told):
    for conversation in told:
        for turn in conversation.turns[1:]:
            family = families(DATASET / "problems")[turn.check["family"]]
            for name, (low, high) in family.held_out.items():
                assert not low <= turn.check["parameters"][name] <= high, conversation.id
                if turn.check.get("lever") == name:
                    assert not low <= turn.check["value"] <= high, conversation.id


def test_chains_differ(told):
    turns = [turn for conversation in told for turn in conversation.turns[1:]]
    rows = [fingerprint(f"{turn.reasoning}\n{turn.answer}") for turn in turns]
    assert recurring_share(rows) < 0.15 and alike_share(rows) < 0.2


def test_same_arguments_same_chains(told, config):
    again = config.model_copy(update={"count": 12})
    assert list(chains.conversations(again, CONTEXT)) == told[:12]
