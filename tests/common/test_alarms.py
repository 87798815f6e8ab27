"""The logs of a plant: columns by name, times with a zone or none at all, all that is left out counted."""

from collections import Counter
from datetime import UTC, datetime

import pytest

from common import alarms

AVEVA = """EventTime,Source,EventType,Priority
2025-11-28T10:00:00.250Z,PT101.HI,Alarm.Set,2
2025-11-28T11:00:03+01:00,PT101.HI,Alarm.Acknowledged,2
2025-11-28 10:00:05+00:00,PT101.HI,Alarm.Clear,2
"""


def read(tmp_path, text, beside=None):
    path = tmp_path / "alarms.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    if beside is not None:
        (tmp_path / "alarms.yaml").write_text(beside, encoding="utf-8")
    left_out = Counter()
    return list(alarms.read(path, left_out)), left_out


def told(records):
    return [(record.source, record.state, record.value) for record in records]


def test_an_alarm_journal(tmp_path):
    records, left_out = read(tmp_path, AVEVA)
    assert [record.state for record in records] == ["active", "ack", "clear"]
    assert [record.time.second for record in records] == [0, 3, 5]
    assert records[0].time == datetime(2025, 11, 28, 10, 0, 0, 250_000, UTC)
    assert all(record.time.tzinfo is UTC for record in records)
    assert [record.line for record in records] == [2, 3, 4]
    assert not left_out


def test_a_historian_export_drops_what_is_bad_and_counts_it(tmp_path):
    lines = ["t_stamp,tagname,value,quality", "1764300000000,TT204,81.5,192"]
    lines += ["1764300001000,TT204,,0", "1764300002000,TT204,,192", "soon,TT204,3,Good", ""]
    lines += ["1764300003.5,TT204,82,"]
    records, left_out = read(tmp_path, "\n".join(lines))
    assert told(records) == [("TT204", "", "81.5"), ("TT204", "", "82")]
    assert records[0].time == datetime(2025, 11, 28, 3, 20, tzinfo=UTC)
    assert records[1].number == 82 and records[1].time.microsecond == 500_000
    assert left_out == {
        "the quality is not good": 1,
        "no tag, or neither state nor value": 1,
        "the time is none": 1,
    }


def test_the_file_beside_it_says_what_the_names_do_not(tmp_path):
    beside = """columns: {time: Zeitpunkt, source: Anlage, state: Meldung, value: Wert}
timezone: Europe/Vienna
time_format: "%d.%m.%Y %H:%M:%S"
states: {KOMMT: active, GEHT: clear}
"""
    text = "Zeitpunkt;Anlage;Meldung;Wert\n28.11.2025 11:00:00;P1;KOMMT;\n"
    text += "28.11.2025 11:00:07;P1;GEHT;\n28.11.2025 11:00:09;T1;;-81,5\n"
    text += "26.10.2025 02:30:00;P1;KOMMT;\n"  # twice that night
    records, left_out = read(tmp_path, "\ufeff" + text, beside)
    assert told(records) == [("P1", "active", ""), ("P1", "clear", ""), ("T1", "", "-81.5")]
    assert records[0].time == datetime(2025, 11, 28, 10, tzinfo=UTC)
    assert left_out == {"in the hour that the clocks show twice, or not at all": 1}


def test_states_that_are_numbers(tmp_path):
    text = "eventtime,displaypath,{}\n1764300000,a,0\n1764300001,a,2\n1764300002,a,1\n"
    records, _ = read(tmp_path, text.format("eventtype"))
    assert [record.state for record in records] == ["active", "ack", "clear"]
    with pytest.raises(alarms.AlarmError, match=r"alarms\.csv:2: nothing says what the state 0 is"):
        read(tmp_path, text.format("State"))
    records, _ = read(
        tmp_path, text.format("State"), 'states: {"1": active, "0": clear, "2": shelved}'
    )
    assert [record.state for record in records] == ["clear", "shelved", "active"]


def test_a_column_of_utc_needs_no_zone(tmp_path):
    records, _ = read(tmp_path, "Event Time (UTC),Tag,Value\n2025-11-28 10:00:00,F1,3\n")
    assert records[0].time == datetime(2025, 11, 28, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    "text, beside, problem",
    [
        ("time,tag,value\n2025-11-28 10:00:00,A,1\n", None, r":2: .*names no time zone"),
        ("a,b\n1,2\n", None, "no column for source or time among a, b"),
        ("time,tag\n2025-11-28 10:00:00Z,A\n", None, "no column for state or value"),
        ("", None, "no column for source or time among none"),
        ("time,tag,value,quality\n2025-11-28 10:00:00Z,A,1,0\n", None, "not good: 1"),
        ("time,tag,value\n", None, "it is empty"),
        (b"time,tag,value\n2025-11-28 10:00:00Z,K\xfchler,1\n", None, "save it as UTF-8"),
        (AVEVA, "columns: {time: Zeit}", "'Zeit' is no column"),
        (AVEVA, "timezone: Vienna", "timezone: 'Vienna' is none"),
        (AVEVA, "zone: UTC", "zone: 'UTC'; it may hold columns"),
        (AVEVA, "good: Good", "good: 'Good'; it may hold"),
        (AVEVA, "- 1", "it may hold"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(tmp_path, text, beside, problem):
    with pytest.raises(alarms.AlarmError, match=problem) as caught:
        read(tmp_path, text, beside)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(alarms.AlarmError, match="No such file"):
        list(alarms.read(tmp_path / "none.csv", Counter()))
