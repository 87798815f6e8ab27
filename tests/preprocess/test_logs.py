"""Rows about a person's own logs: read with their zone, every answer computed again, all that is left out counted."""

from __future__ import annotations

import random
from collections import Counter
from datetime import UTC, datetime, timedelta

import plant_log
import pytest

from common.alarms import AlarmError
from common.files import ROOT
from preprocess.rows import Conversation, Note, Skip, to_rows
from preprocess.source import Context
from preprocess.sources import logs

TEXTS = str(ROOT / "datasets" / "aether" / "framings" / "logs.yaml")
BEGIN = datetime(2025, 11, 28, 20, tzinfo=UTC)


def journal(lines: int, seed: int = 1) -> str:
    """Alarms that come, are acknowledged and go, past midnight, with a line that is shelved now and then."""
    rng = random.Random(seed)
    rows = ["EventTime,Source,EventType,Quality"]
    up: set[str] = set()
    at = BEGIN
    while len(rows) <= lines:
        at += timedelta(seconds=round(rng.expovariate(1 / 40), 3))
        tag = rng.choice(["PT101.HI", "PT101.HH", "MTR7.OVL", "GUARD 3", "TT204|HH"])
        state = rng.choice(["Alarm.Clear", "Alarm.Acknowledged"]) if tag in up else "Alarm.Set"
        up.symmetric_difference_update({tag} if state != "Alarm.Acknowledged" else ())
        rows.append(f"{at.isoformat(timespec='milliseconds')},{tag},{state},Good")
        if rng.random() < 0.03:
            rows.append(f"{at.isoformat()},{tag},Shelved,Good")
    return "\n".join([*rows, f"{at.isoformat()},PT101.HI,Alarm.Set,Bad"])


def trend() -> str:
    rows = ["t_stamp,tagname,value,quality"]
    for number in range(30):
        at = 1764320000 + 60 * number
        rows += [f"{at},FT1,{10 + number % 3},192", f"{at},LT1,{5.5 - number % 3},192"]
        rows += [f"{at},MODE,RUN,192"]
    return "\n".join(rows)


def made(tmp_path, most=200, **files):
    (tmp_path / "logs").mkdir(exist_ok=True)
    for name, text in files.items():
        (tmp_path / "logs" / f"{name}.csv").write_text(text, encoding="utf-8")
    config = logs.Config(kind="logs", category="plant", system=None, texts=TEXTS, most=most)
    return list(logs.conversations(config, Context(7, tmp_path, None, False, lambda texts: None)))


def test_every_answer_is_computed_again(tmp_path):
    found = [one for one in made(tmp_path, press3=journal(900)) if isinstance(one, Conversation)]
    asked = Counter()
    assert len(found) > 25
    for conversation in found:
        asked.update(plant_log.checked(conversation, {}))
    assert set(asked) >= {"first", "standing", "count", "before"}
    assert min(asked[ask] for ask in ("first", "standing", "count", "before")) >= 4, asked
    for conversation in found:
        assert len(to_rows(conversation, str)) == len(conversation.turns)
        times = [line.at for line in plant_log.read(conversation.turns[0].user)]
        assert max(times) - min(times) < 6 * 3600  # a clock without a date stops at midnight


def test_measured_tags_are_compared_two_at_a_time(tmp_path):
    found = [one for one in made(tmp_path, flow=trend()) if isinstance(one, Conversation)]
    assert found and all(one.tags == ("asks:together", "log:flow") for one in found)
    for conversation in found:
        (turn,) = conversation.turns
        assert turn.check["value"] == "opposite"


def test_what_is_left_out_is_counted(tmp_path):
    found = made(tmp_path, press3=journal(900), most=10)
    notes = {one.text: one.count for one in found if isinstance(one, Note)}
    text = journal(900)
    assert notes["press3.csv: lines left out: the quality is not good"] == 1
    shelved = "press3.csv: lines left out: the state 'shelved' is neither coming nor going"
    assert notes[shelved] == text.count("Shelved")
    conversations = [one for one in found if isinstance(one, Conversation | Skip)]
    assert 5 <= len(conversations) <= 10
    beyond = notes["press3.csv: lines left out: of a long log, more than `most`"]
    assert 500 < beyond < 900


def test_no_folder_is_no_rows_and_a_time_without_a_zone_stops_the_build(tmp_path):
    config = logs.Config(kind="logs", category="plant", system=None, texts=TEXTS)
    context = Context(7, tmp_path, None, False, lambda texts: None)
    assert list(logs.conversations(config, context)) == []
    with pytest.raises(AlarmError, match=r"late\.csv:2: .*names no time zone"):
        made(tmp_path, late="time,tag,state\n2025-11-28 10:00:00,A,active\n")
