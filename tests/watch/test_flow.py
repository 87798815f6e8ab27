"""From a camera to events: one event a frame whatever is killed, nothing left out in silence, no password said."""

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import pytest
import redis
from rig import PASSWORD, REDIS, Camera, Rtsp, fresh, rig, running, until, video

from common import events
from common.errors import command
from serving.watch import settings
from serving.watch.__main__ import main
from serving.watch.sampler import Sampler
from serving.watch.streams import Frame, Streams

pytestmark = pytest.mark.skipif(not REDIS, reason="no redis-server here (apt: redis-server)")


def children(process: subprocess.Popen) -> dict[str, int]:
    """The processes of a watch, by what they are."""
    found = {}
    for number in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
        words = [b"", *Path(f"/proc/{number}/cmdline").read_bytes().split(b"\0")]
        found[words[-2].decode()] = int(number)
    return found


def all_told(rig, camera="dock"):
    """Wait until every frame has its event, and return the events."""
    until(lambda: not rig.redis.xlen(f"frames:{camera}"), 90)
    until(lambda: rig.accounted(camera) >= rig.sent(camera), 30)
    assert rig.accounted(camera) == rig.sent(camera)
    found = rig.events()
    assert len({event["id"] for event in found}) == len(found)
    return found


def test_a_file_becomes_one_event_a_frame_and_the_watch_ends(fresh):
    rig = fresh
    rig.settings()
    path = video(rig.folder / "clip.mp4", seconds=2)
    done = rig.done("serving.watch", "dock", CAMERA_URL=str(path))
    assert done.returncode == 0, done.stderr
    found = rig.events()
    assert rig.sent() == len(found) == 8
    first = found[0]
    assert first["specversion"] == "1.0" and first["type"] == events.SCENE
    assert first["source"] == "camera/dock"
    data = first["data"]
    assert data["text"] == rig.model.reply and data["whole"] and data["model"] == "seer-2"
    assert 0 <= data["late_s"] < 30 and data["change"] == 100
    assert abs(events.moment(first).timestamp() - time.time()) < 60
    picture = rig.pictures.get(f"picture:dock:{data['frame_sha256']}")
    assert picture.startswith(b"\xff\xd8")
    [part, text] = rig.model.asked[0]["messages"][0]["content"]
    assert part["image_url"]["url"].startswith("data:image/jpeg;base64,")
    assert text["text"] == "What is there?"


def strike(rig, watch, what, rng):
    """Kill a part of a watch at a moment at which a frame is being described."""
    before = rig.redis.xlen("events")
    until(lambda: rig.redis.xlen("events") > before)
    until(lambda: rig.redis.xpending("frames:dock", "describers")["pending"])
    time.sleep(rng.random() * 0.3)
    if what == "redis":
        known = rig.events()
        rig.kill("events")
        rig.start("events")
        assert rig.events()[: len(known)] == known
    else:
        os.kill(until(lambda: children(watch).get(what)), signal.SIGKILL)


@pytest.mark.parametrize(
    "kills",
    [
        ["describer", "sampler", "redis"],
        pytest.param(["describer", "sampler"] * 10 + ["redis"] * 3, marks=pytest.mark.slow),
    ],
)
def test_a_kill_loses_no_event_and_doubles_none(fresh, kills):
    rig = fresh
    rig.settings()
    rig.model.seconds = 0.3
    camera = Rtsp(video(rig.folder / "cam.ts", seconds=8), 8)
    rng = random.Random(7)
    with running(rig.run("serving.watch", "dock", CAMERA_URL=camera.url)) as watch:
        for what in kills:
            strike(rig, watch, what, rng)
        before = len(rig.events())
        until(lambda: len(rig.events()) > before + 3)
        os.kill(children(watch)["sampler"], signal.SIGSTOP)
        found = all_told(rig)
    assert {event["type"] for event in found} == {events.SCENE}
    assert len(found) > len(kills)
    assert rig.said().count("ended with code -9") == len(kills) - kills.count("redis")
    print(f"{len(kills)} kills, {rig.sent()} frames sent, {len(found)} events")
    camera.close()


@pytest.mark.parametrize("silence", [0, pytest.param(40, marks=pytest.mark.slow)])
def test_a_silent_camera_is_back_and_no_password_is_said(fresh, silence):
    rig = fresh
    rig.settings()
    camera = Camera(video(rig.folder / "cam.ts", seconds=8), 8)
    with running(rig.run("serving.watch", "dock", CAMERA_URL=camera.url)):
        until(lambda: rig.sent() > 3)
        camera.silent = True
        until(lambda: rig.redis.hget("camera:dock", "problem"), 15)
        time.sleep(silence)
        camera.silent = False
        back = time.monotonic()
        sent = rig.sent()
        until(lambda: rig.sent() > sent, 15)
        print(f"back after {time.monotonic() - back:.1f} s")
    camera.close()
    assert "again in" in rig.said() and PASSWORD not in rig.said()
    for client in (redis.Redis(port=rig.ports["events"]), rig.pictures):
        assert not [key for key in client.scan_iter() if PASSWORD.encode() in client.dump(key)]


def frame(number, age=0.0):
    """A frame of so many seconds ago."""
    picture = f"picture {number}".encode()
    return picture, Frame("", time.time() - age, 5.0, hashlib.sha256(picture).hexdigest())


@pytest.fixture
def streams(fresh, monkeypatch):
    """The streams of a camera whose frames a describer waits for."""
    fresh.settings(timeout=1, stale=60)
    monkeypatch.setattr(os, "environ", fresh.environment | {"CAMERA_URL": "x"})
    with running(fresh.run("serving.watch", "dock", "--part", "describer", CAMERA_URL="x")):
        until(lambda: fresh.redis.exists("frames:dock"))
        yield Streams(30)


def test_a_slow_model_drops_the_oldest_frames_and_says_so(fresh, streams):
    fresh.model.seconds = 0.5
    for number in range(40):
        streams.send("dock", *frame(number), 4, 60)
        time.sleep(0.03)
        if not number % 10:
            streams.say_dropped("dock")
    until(lambda: not fresh.redis.xlen("frames:dock"))
    for _ in range(2):
        streams.say_dropped("dock")
    found = all_told(fresh)
    dropped = [event["data"] for event in found if event["type"] == events.SKIPPED]
    scenes = [event for event in found if event["type"] == events.SCENE]
    assert len(scenes) >= 4 and {data["why"] for data in dropped} == {"trimmed"}
    assert sum(data["count"] for data in dropped) + len(scenes) == fresh.sent() == 40


def test_what_is_not_described_is_said_with_its_reason(fresh, streams):
    fresh.model.status = 500
    streams.send("dock", *frame(0), 9, 60)
    streams.send("dock", *frame(1, age=100), 9, 60)
    streams.send("dock", *frame(2), 9, 60)
    streams.pictures.delete(f"picture:dock:{frame(2)[1].sha256}")
    found = {event["data"]["why"]: event["data"] for event in all_told(fresh)}
    assert set(found) == {"failed", "stale", "trimmed"}
    assert found["stale"]["late_s"] > 99 and "HTTP 500" in found["failed"]["problem"]
    assert len(fresh.model.asked) == 3
    [dead] = [entry["event"] for _, entry in fresh.redis.xrange("events:dead")]
    assert "HTTP 500" in dead
    fresh.model.status = 200
    fresh.model.seconds = 1.5
    streams.send("dock", *frame(3), 9, 60)
    late = all_told(fresh)[-1]["data"]
    assert late["why"] == "failed" and "ReadTimeout" in late["problem"]


class Kept:
    """Streams that keep what is sent."""

    def __init__(self):
        self.frames = []

    def send(self, camera, picture, frame, most, seconds):
        self.frames.append(frame)


def seen(colours, **changes):
    """How many frames are sent of one-coloured pictures, one a second."""
    known = {
        "url": "U",
        "prompt": "?",
        "fps": 1,
        "change": 2,
        "heartbeat_s": 1000,
        "stale_s": 9,
        "frames": 9,
        "pictures_s": 9,
    }
    kept = Kept()
    sampler = Sampler("dock", settings.Camera(**known | changes), kept)
    for number, colour in enumerate(colours):
        pixels = np.full((90, 160, 3), 128, np.uint8)
        pixels[:45] = colour
        sampler.look(av.VideoFrame.from_ndarray(pixels, format="rgb24"), 1e9 + number)
    return len(kept.frames)


def test_a_change_is_one_of_colour_outside_the_mask_or_a_heartbeat():
    red, green = (150, 0, 0), (0, 76, 0)  # equally bright: grey level 45
    assert seen([red, red, red]) == 1
    assert seen([red, green, green]) == 2
    assert seen([red, green], mask=[(0, 0, 1, 0.5)]) == 1
    assert seen([red] * 10, heartbeat_s=4) == 3
    assert seen([red, green] * 5, fps=0.5) == 1  # every other is looked at
    assert seen([red, green] * 5, change=60) == 1


def test_a_mask_of_everything_is_refused():
    with pytest.raises(ValueError, match="nothing of the picture is left"):
        seen([], mask=[(0, 0, 1, 1)])


@pytest.fixture
def refused(fresh, monkeypatch, capsys):
    """What make watch says in its one line where it does not begin."""

    def start(*words, **environment):
        monkeypatch.setattr(
            os, "environ", fresh.environment | {"CAMERA_URL": "/dev/null"} | environment
        )
        monkeypatch.setattr(sys, "argv", ["watch", *words])
        assert command(main) == 1
        said = capsys.readouterr().err
        assert said.count("\n") == 1 and PASSWORD not in said
        return said

    return start


def test_a_wrong_setting_is_one_line(fresh, refused):
    fresh.settings(fps=0)
    assert "cameras.dock.fps: 0: it should be greater than 0" in refused()
    fresh.settings(frames=2)
    assert "cameras.dock.frames: more than model.at_once" in refused()


def test_what_is_missing_is_named_in_one_line(fresh, refused):
    fresh.settings()
    redis_url = fresh.environment["REDIS_URL"]
    pictures_url = fresh.environment["PICTURES_REDIS_URL"]
    assert "no camera 'yard'; there are dock" in refused("yard")
    assert "set the environment variable CAMERA_URL" in refused(CAMERA_URL="")
    assert "camera dock: CAMERA_URL: /no.mp4: no such file" in refused(CAMERA_URL="/no.mp4")
    assert "set the environment variable SEER_URL" in refused(SEER_URL="")
    assert "SEER_URL: no password" in refused(SEER_URL=f"http://a:{PASSWORD}@h/v1")
    assert "REDIS_URL: Conn" in refused(REDIS_URL=f"redis://:{PASSWORD}@127.0.0.1:1")
    assert "REDIS_URL: no address" in refused(REDIS_URL=f"redis://:a/{PASSWORD}@h")
    assert "would lose events" in refused(REDIS_URL=pictures_url)
    assert "every frame to its disk" in refused(PICTURES_REDIS_URL=redis_url)
