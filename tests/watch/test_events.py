"""Events out of a log and into files, and questions about them."""

import os
import re
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta

import pytest
from rig import DOCS, REDIS, fresh, rig, until

from common import events
from common.errors import command
from serving.watch import ask, log, settings
from serving.watch.streams import Frame, Streams
from serving.watch.window import when

pytestmark = pytest.mark.skipif(not REDIS, reason="no redis-server here (apt: redis-server)")
ALARMS = """EventTime,Source,EventType,Quality
{0}T10:00:00Z,PT 101.HI,Active,192
{0}T10:00:01Z,PT 101.HI,Clear,192
{0}T10:00:02Z,GUARD3,Active,0
"""


@pytest.fixture
def said(fresh, monkeypatch, capsys):
    """Runs a command in this process: (code, what it printed, what it complained of)."""
    fresh.settings(names=("dock", "gate"))
    monkeypatch.setattr(os, "environ", fresh.environment)

    def run(module, *words):
        monkeypatch.setattr(sys, "argv", [module.__name__, *words])
        code = command(module.main)
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def scenes(said):
    """A dozen scenes of the dock with their frames, and one that was dropped; the streams."""
    streams = Streams(30)
    streams.prepare("dock")
    for number in range(12):
        frame = Frame("", time.time() - 600 + number, float(number), f"{number:064x}")
        streams.send("dock", b"\xff\xd8 frame %d" % number, frame, 12, 60)
        frame = streams.next("dock", "dock-0", 10_000)
        data = {
            "text": f"Truck {number}\narrives.",
            "change": frame.change,
        }
        streams.finish("dock", frame, "scene", events.SCENE, data | {"model": "seer"})
    frame = Frame("", time.time() - 1, 1.0, "f" * 64)
    streams.send("dock", b"", frame, 12, 60)
    data = {"why": "failed", "count": 1}
    streams.finish("dock", streams.next("dock", "dock-0", 10_000), "failed", events.SKIPPED, data)
    streams.pictures.delete(f"picture:dock:{11:064x}")
    return streams


def test_a_log_becomes_events_once(fresh, said, tmp_path):
    path = tmp_path / "alarms.csv"
    path.write_text(ALARMS.format("2025-11-28"))
    code, out, _ = said(log, "--log", str(path), "--site", "press3")
    assert code == 0
    assert out == f"{path}: 2 events of press3, 2 new; left out, the quality is not good: 1\n"
    path.write_text(ALARMS.format("2025-11-28") + "2025-11-28T11:00:03+01:00,PT 101.HI,Ack,Good\n")
    assert "3 events of press3, 1 new" in said(log, "--log", str(path), "--site", "press3")[1]
    assert "3 events of press4, 3 new" in said(log, "--log", str(path), "--site", "press4")[1]
    found = fresh.events()
    assert len({event["id"] for event in found}) == len(found) == 6
    assert found[0]["source"] == "plc/press3/PT%20101.HI" and found[0]["type"] == events.ALARM
    assert found[0]["data"] == {"state": "active"}
    assert found[0]["time"] == "2025-11-28T10:00:00.000000Z"


def test_a_log_that_is_wrong_adds_nothing(fresh, said, tmp_path):
    path = tmp_path / "alarms.csv"
    path.write_text(ALARMS.format("2025-11-28") + "2025-11-28 10:00:03,GUARD3,Active,192\n")
    code, _, error = said(log, "--log", str(path), "--site", "press3")
    assert code == 1 and "alarms.csv:5:" in error and "names no time zone" in error
    assert "give one SITE=" in said(log, "--log", str(path))[2]
    assert "DATASET=none: no such dataset" in said(log, "--into", "none")[2]
    assert not fresh.events()


def test_a_question_is_answered_from_events_and_key_frames(fresh, scenes, said):
    fresh.model.reply = "Truck 3 arrived [4], then others [5, 12]. I am sure [99]."
    words = ["what happened?", "--camera", "dock", "--endpoint", fresh.model.url]
    code, out, error = said(ask, *words)
    assert code == 0, error
    answer, _, rests_on = out.partition("\n\nIt rests on:\n")
    assert answer == fresh.model.reply
    lines = rests_on.splitlines()
    assert [line.split()[0] for line in lines] == ["[4]", "[5]", "[12]", "[99]"]
    assert "camera/dock: Truck 3 arrives. (dock-" in lines[0] and "no event" in lines[3]
    [asked] = fresh.model.asked
    assert asked["model"] == "triad"
    parts = asked["messages"][0]["content"]
    labels = [part["text"] for part in parts if part["type"] == "text"]
    assert labels[:-1] == [f"The frame of event [{n}]:" for n in (8, 9, 10, 11)]  # 12 is gone
    assert sum(part["type"] == "image_url" for part in parts) == 4
    assert "Question: what happened?" in labels[-1]
    assert "[13]" in labels[-1] and "1 frames skipped: failed" in labels[-1]


def test_a_span_of_time_and_a_source_choose_the_events(fresh, scenes, said, tmp_path):
    path = tmp_path / "alarms.csv"
    path.write_text(ALARMS.format(datetime.now(UTC).date()))
    said(log, "--log", str(path), "--site", "press3")
    fresh.model.reply = "Nothing."
    endpoint = ["--endpoint", fresh.model.url]
    _, out, _ = said(
        ask, "what?", "--site", "press3", "--since", "2d", "--until", "2999-01-01T00:00Z", *endpoint
    )
    assert "It names no event" in out
    text = fresh.model.asked[-1]["messages"][0]["content"][-1]["text"]
    assert "plc/press3/PT%20101.HI: state active" in text and "camera/dock" not in text
    code, _, _ = said(
        ask, "what?", "--camera", "dock", "--since", "10m", "--until", "594s", *endpoint
    )
    text = fresh.model.asked[-1]["messages"][0]["content"][-1]["text"]
    assert code == 0 and "Truck 4" in text and "Truck 11" not in text and "skipped:" not in text
    for words, problem in [
        (["what?", "--camera", "gate", *endpoint], "no event of camera/gate since 24h"),
        (["what?", "--since", "yesterday", *endpoint], "'yesterday' is no time"),
        (["what?", "--since", "2025-11-28T10:00", *endpoint], "has no zone"),
        ([" ", *endpoint], "ask something"),
        (["what?", "--endpoint", "http://127.0.0.1:1"], "give the address of an OpenAI-compatible"),
    ]:
        code, _, error = said(ask, *words)
        assert code == 1 and problem in error and error.count("\n") == 1, error


def test_many_events_go_without_frames(fresh, scenes, said):
    for number in range(1000):
        at = datetime.now(UTC) - timedelta(seconds=number)
        data = {"state": f"a state in {'many ' * 20}words"}
        scenes.add("press3", [events.event(f"e{number}", "plc/press3/X", events.ALARM, at, data)])
    words = ["--camera", "dock", "--site", "press3", "--endpoint", fresh.model.url]
    code, out, _ = said(ask, "what?", *words)
    assert code == 0 and out.startswith("so many events are for the long-context member")
    [asked] = fresh.model.asked
    [part] = asked["messages"][0]["content"]
    assert "[1013]" in part["text"]


def test_events_are_seen_as_they_come(fresh, said):
    [line] = re.findall("`redis-cli (XREAD [^`]*)`", DOCS)
    port = str(fresh.ports["events"])
    cli = subprocess.Popen(
        ["redis-cli", "-p", port, *line.split()], stdout=subprocess.PIPE, text=True
    )
    until(lambda: fresh.redis.info("clients")["blocked_clients"])
    made = events.event("e1", "plc/press3/X", events.ALARM, datetime.now(UTC), {"state": "active"})
    Streams(30).add("press3", [made])
    assert "plc/press3/X" in cli.communicate(timeout=20)[0]


def test_a_reply_that_is_none_is_said(fresh, scenes, said):
    fresh.model.status = 500
    code, _, error = said(ask, "what?", "--endpoint", fresh.model.url)
    assert code == 1 and "no answer: HTTP 500" in error


def test_moments_are_read_as_people_write_them():
    now = datetime.now().astimezone()
    assert abs(now - timedelta(hours=2) - when("2h")) < timedelta(seconds=5)
    assert (when("7:05").hour, when("7:05").minute) == (7, 5)
    assert when("2025-11-28T10:00+01:00") == datetime(2025, 11, 28, 9, tzinfo=UTC)


def test_events_are_written_out_once_with_their_frames(fresh, scenes, said, tmp_path):
    chosen = list(scenes.window(["camera/dock"], when("1h"), when("0m")))
    line = log.written_out(tmp_path / "out", chosen[:5], scenes)
    assert "5 new events, 5 frames, 0 no longer there" in line
    line = log.written_out(tmp_path / "out", chosen, scenes)
    assert "8 new events, 6 frames, 1 no longer there" in line
    found = [event for _, event in events.read(tmp_path / "out" / "events.jsonl")]
    assert found == chosen and len(found) == 13
    assert (tmp_path / "out" / "images" / f"{3:064x}.jpg").read_bytes() == b"\xff\xd8 frame 3"


def test_settings_that_ship_are_right(monkeypatch):
    monkeypatch.delenv("CAMERAS", raising=False)
    assert settings.read().cameras["dock"].fps == 2
