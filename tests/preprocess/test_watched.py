"""What cameras saw, as make events writes it, becomes rows about what changed."""

import hashlib
import io
import json
from datetime import UTC, datetime, timedelta

import pytest
from conftest import ROOT
from PIL import Image

from common import events, rows
from preprocess.build import build
from preprocess.source import MixError

MIX = """
seed: 7
val_share: 0.0001
licence: MIT
sources:
  - {kind: watched, category: video, system: null, frames: 4}
"""
START = datetime(2026, 11, 28, 10, 0, tzinfo=UTC)


class Log:
    """An event log in a dataset."""

    def __init__(self, folder):
        self.folder = folder / "events" / "dock"
        (self.folder / "images").mkdir(parents=True)
        (folder / "mix.yaml").write_text(MIX)
        (folder / "watched.yaml").write_bytes((ROOT / "datasets/aether/watched.yaml").read_bytes())
        self.path = self.folder / "events.jsonl"
        self.count = 0

    def event(self, kind, seconds, data, camera="dock"):
        self.count += 1
        at = START + timedelta(seconds=seconds)
        made = events.event(f"{camera}-{self.count}", f"camera/{camera}", kind, at, data)
        with self.path.open("a") as file:
            file.write(json.dumps(made) + "\n")

    def scene(self, seconds, text, change=5.0, camera="dock", **more):
        file = io.BytesIO()
        Image.new("RGB", (64, 36), (self.count * 9 % 255, 40, 90)).save(file, "JPEG")
        sha256 = hashlib.sha256(file.getvalue()).hexdigest()
        (self.folder / "images" / f"{sha256}.jpg").write_bytes(file.getvalue())
        data = {
            "text": text,
            "whole": True,
            "change": change,
            "frame_sha256": sha256,
            "model": "seer",
        }
        self.event(events.SCENE, seconds, data | more, camera)
        return sha256

    def built(self):
        folder = self.folder.parents[1]
        build(folder)
        found = list(rows.read(folder / "build" / "train.jsonl"))
        return sorted(found, key=lambda row: row["id"]), json.loads(
            (folder / "build" / "manifest.json").read_text()
        )


@pytest.fixture
def log(tmp_path):
    return Log(tmp_path)


def test_frames_in_a_row_become_a_conversation_about_what_changed(log):
    for number, (text, change) in enumerate(
        [("Empty.", 100), ("A truck.", 40), ("A truck.", 3), ("Two men.", 12)]
    ):
        log.scene(number * 7, text, change)
    [what, most], manifest = log.built()
    assert (
        what["category"] == "video"
        and what["origin"] == "watched"
        and what["tags"] == ["camera:dock"]
    )
    content = what["messages"][0]["content"]
    assert [part["type"] for part in content] == ["text", "text", "image"] * 1 + [
        "text",
        "image",
    ] * 3 + ["text"]
    assert content[1]["text"].strip() == "Frame 1, 10:00:00.0:"
    answer = rows.text_of(what["messages"][-1])
    final = answer.split("[BEGIN FINAL RESPONSE]\n")[1].splitlines()
    assert final[:7:2] == [
        "10:00:00.0: Empty.",
        "10:00:07.0, 7 s later: A truck.",
        "10:00:14.0, 7 s later: nothing new.",
        "10:00:21.0, 7 s later: Two men.",
    ]
    assert "Next, 7 s on; 40 % of the picture differs." in answer
    assert most["answer"]["value"] == "2" and "rame 2" in rows.text_of(most["messages"][-1])
    assert "2: 40 %, 3: 3 %, 4: 12 %" in rows.text_of(most["messages"][-1])
    assert manifest["notes"] == {"frames described by seer": 4}
    assert len(rows.images(what, log.folder.parents[1] / "build")) == 4


def test_a_gap_is_told_and_the_largest_change_is_not_asked_across_it(log):
    for number in range(4):
        log.scene(number * 7, f"State {number}.", number)
        if number == 1:
            log.event(events.SKIPPED, 8, {"why": "trimmed", "count": 12})
    [what], manifest = log.built()
    assert "with 12 frames between that nobody described" in rows.text_of(what["messages"][-1])
    assert manifest["notes"]["frames that nobody described"] == 12


def test_what_is_left_out_is_counted_by_reason(log):
    for number in range(4):
        log.scene(number, f"State {number}.", number)
    log.scene(1000, "Alone after a pause.")
    for number in range(4):
        log.scene(2000 + number, "Always the same.")
    log.scene(5, "Another camera.", camera="gate")
    log.scene(6, "Cut", whole=False)
    log.event(events.ALARM, 7, {"state": "active"})
    gone = log.scene(8, "Gone.")
    (log.folder / "images" / f"{gone}.jpg").unlink()
    other = log.scene(9, "Another picture.")
    (log.folder / "images" / f"{other}.jpg").write_bytes(b"else")
    found, manifest = log.built()
    assert len(found) == 2
    assert manifest["skipped"] == {
        f"video from watched: {reason}": count
        for reason, count in [
            ("a scene without enough others near it", 2),
            ("frames in a row of which the same was said", 1),
            ("a description that was cut off", 1),
            ("an event that is no scene of a camera", 1),
            ("a scene whose frame is not there", 1),
            ("a frame that is not the one described", 1),
        ]
    }


def line(kind, data, **changes):
    return json.dumps(events.event("a", "camera/dock", kind, START, data) | changes)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("{", "events.jsonl:1: "),
        ('{"id": "a"}', "events.jsonl:1: source is missing"),
        (line(events.SCENE, {"text": "x"}), ":1: data: 'whole': missing"),
        (line(events.SKIPPED, {"count": "x"}), ":1: data: .*not as make events"),
        (line(events.SCENE, {}, time="2026-11-28T10:00:00"), "has no zone"),
        (line(events.SCENE, {}, specversion="0.3"), "specversion"),
    ],
)
def test_a_line_that_is_no_event_stops_the_build_naming_it(log, line, problem):
    log.path.write_text(line + "\n")
    with pytest.raises(ValueError, match=problem) as caught:
        log.built()
    assert "\n" not in str(caught.value)


def test_words_that_are_wrong_name_their_file(log):
    log.scene(0, "x")
    (log.folder.parents[1] / "watched.yaml").write_text("leads: []\n")
    with pytest.raises(MixError, match=r"watched.yaml:\d+: label: missing"):
        log.built()
