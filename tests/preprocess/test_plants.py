"""Rows about the logs of plants: every answer computed again from the text that the user shows, words that vary, held-out plants apart."""

from __future__ import annotations

import re
import shutil
from collections import Counter

import plant_log
import pytest

from common.behaviour import not_a_nudge
from common.files import ROOT, load_yaml
from preprocess import gates, mix
from preprocess.diversity import alike_share, fingerprint, recurring_share
from preprocess.generators import plants
from preprocess.rows import to_rows
from preprocess.source import Context, MixError

DATASET = ROOT / "datasets" / "aether"
FILES = {path.stem: load_yaml(path) for path in sorted((DATASET / "plants").glob("*.yaml"))}
PLAN = mix.read(DATASET)
CONFIG = next(source for source in PLAN.sources if source.kind == "plants")
COUNT = CONFIG.count


def made(heldout=False, folder=DATASET, count=None):
    """What the built dataset is made of, or the first so many."""
    config = CONFIG.model_copy(update={"count": count} if count else {})
    context = Context(PLAN.seed, folder, None, heldout, lambda texts: None)
    return list(plants.conversations(config, context))


TRAINED = made()
HELD_OUT = made(heldout=True)


def kind(conversation):
    return conversation.tags[0]


def causes(conversation) -> dict[str, list[str]]:
    """The rules of a conversation's plant, in the names of its site."""
    plant = FILES[conversation.tags[1].removeprefix("plant:")]
    name = conversation.tags[2].removeprefix("domain:")
    (tags,) = [site["tags"] for site in plant["sites"] if site["thing"] == name]
    return {
        tags[effect]: [tags[cause] for cause in able] for effect, able in plant["causes"].items()
    }


@pytest.mark.parametrize("conversation", [*TRAINED, *HELD_OUT], ids=lambda one: one.id)
def test_every_answer_is_computed_again_from_what_the_user_shows(conversation):
    rules = causes(conversation)
    if kind(conversation) != "nudge":
        plant_log.checked(conversation, rules)
        return
    (turn,) = conversation.turns
    root = plant_log.answer(plant_log.read(turn.user), "root", stop_of(conversation), rules)
    assert not_a_nudge(turn.answer) is None
    assert root not in turn.answer and root in turn.reasoning


def test_nothing_is_measured_while_an_alarm_stands():
    told = 0
    for conversation in [*TRAINED, *HELD_OUT]:
        standing, log = set(), plant_log.read(conversation.turns[0].user)
        for line in sorted(log, key=lambda one: (one.at, not one.state)):
            if line.state == plant_log.UP:
                standing.add(line.tag)
            elif line.state == plant_log.DOWN:
                standing.discard(line.tag)
            elif not line.state and conversation.tags[0] != "asks:together":
                told += 1
                assert not standing, (conversation.id, line)
    assert told > 50


def stop_of(conversation):
    plant = FILES[conversation.tags[1].removeprefix("plant:")]
    name = conversation.tags[2].removeprefix("domain:")
    return next(s["tags"][plant["stop"]] for s in plant["sites"] if s["thing"] == name)


def test_all_kinds_of_questions_and_turns_are_there():
    asked = Counter(turn.check["ask"] for c in TRAINED for turn in c.turns if turn.check)
    assert set(asked) == {"first", "standing", "count", "longest", "before", "root", "together"}
    assert min(asked.values()) >= 8, asked
    values = Counter(turn.check["value"] for c in TRAINED for turn in c.turns if turn.check)
    for value in ("none", "yes", "no", "together", "opposite"):
        assert values[value] >= 2, value
    kinds = Counter(map(kind, TRAINED))
    assert kinds["chain"] >= 0.6 * COUNT and kinds["nudge"] >= 0.06 * COUNT
    assert {len(c.turns) for c in TRAINED if kind(c) == "chain"} == {4, 5, 6}
    assert {len(c.turns) for c in HELD_OUT} == {1}
    logs = [plant_log.read(c.turns[0].user) for c in TRAINED]
    times = [[line.at for line in log] for log in logs]
    assert any(one == sorted(one, reverse=True) for one in times)
    assert sum(one != sorted(one) for one in times) > COUNT / 5


def test_rows_pass_the_gates_and_say_their_answers():
    bounds = PLAN.gates
    stopped = Counter()
    found = [row for c in [*TRAINED, *HELD_OUT] for row in to_rows(c, str)]
    for row in found:
        try:
            gates.check(row, 100, bounds)
        except gates.Skip as skip:
            stopped[str(skip)] += 1
    assert set(stopped) <= {"not English"}  # a log is no prose
    assert sum(stopped.values()) <= 0.02 * len(found)


def test_texts_are_whole():
    for conversation in [*TRAINED, *HELD_OUT]:
        for turn in conversation.turns:
            text = f"{turn.user}\n{turn.reasoning}\n{turn.answer}"
            assert not re.search(
                r"\[\[|\]\]|\{[a-z_]+\}|a\(n\)|≈|\b1 (?:times|seconds|lines)\b", text
            ), text


def test_replies_differ():
    replies = [turn for c in TRAINED for turn in c.turns]
    prints = [fingerprint(f"{turn.reasoning}\n{turn.answer}") for turn in replies]
    bounds = PLAN.diversity
    assert recurring_share(prints) <= bounds.recurring / 2
    assert alike_share(prints) <= bounds.alike / 2


def test_no_plant_and_no_name_of_an_alarm_is_on_both_sides():
    sides = []
    for conversations in (TRAINED, HELD_OUT):
        tags = {line.tag for c in conversations for line in plant_log.read(c.turns[0].user)}
        sides.append((tags, {c.tags[2] for c in conversations}))
    assert not sides[0][0] & sides[1][0] and not sides[0][1] & sides[1][1]
    unseen = {name for name, plant in FILES.items() if plant.get("held_out")}
    assert len(unseen) >= 2
    assert not {f"plant:{name}" for name in unseen} & {c.tags[1] for c in TRAINED}
    assert {f"plant:{name}" for name in FILES} == {c.tags[1] for c in HELD_OUT}
    assert all("unseen" in c.tags for c in HELD_OUT)


def test_sites_name_every_alarm_once_and_rules_tell_every_cause():
    for name, plant in FILES.items():
        known = {*plant["causes"], *plant["noise"], *plant["measured"]}
        known |= {cause for able in plant["causes"].values() for cause in able}
        for site in plant["sites"]:
            assert set(site["tags"]) == known, (name, site["thing"])
            assert len(set(site["tags"].values())) == len(known), site["thing"]
        for effect, able in plant["causes"].items():
            for cause in able:
                told = [rule for rule in plant["rules"] if f"{{{effect}}}" in rule]
                assert any(f"{{{cause}}}" in rule for rule in told), (name, cause, effect)


def test_the_same_twice():
    assert made(count=20) == TRAINED[:20]


def test_a_plant_that_cannot_stop_is_named(tmp_path):
    (tmp_path / "plants").mkdir()
    shutil.copytree(DATASET / "framings", tmp_path / "framings")
    text = (DATASET / "plants" / "press.yaml").read_text(encoding="utf-8")
    text = re.sub(r"  pressure: .*\n  pump: .*\n", "", text)
    text = text.replace("feed: [1, 5]}", "}").replace(", }", "}")
    (tmp_path / "plants" / "press.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(MixError, match=r"press\.yaml: .*no conversation"):
        made(folder=tmp_path, count=40)


def test_what_is_said_of_the_top_of_a_log_is_true():
    told = 0
    for conversation in [*TRAINED, *HELD_OUT]:
        first = conversation.turns[0]
        raises = [line.tag for line in plant_log.read(first.user) if line.state == plant_log.UP]
        for named in re.findall(
            r"topmost raise is that of (.+?), but|Of the raises (.+?) stands highest"
            r"|its first raise is (.+?), with|that stands highest, and (.+?) there",
            first.reasoning,
        ):
            told += 1
            assert raises[0] in "".join(named), first
    assert told
