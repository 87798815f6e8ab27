"""What cameras cost, measured: make watch-test."""

import os
import signal
import time
from pathlib import Path

import pytest
from rig import REDIS, Camera, fresh, rig, running, until, video

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not REDIS, reason="no redis-server here (apt: redis-server)"),
]
SECONDS = 20


def cpu(pid: int) -> float:
    """Seconds of CPU that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_a_camera_of_720p_costs_at_most_15_percent_of_a_core(fresh):
    fresh.settings(fps=2, change=0.5)
    camera = Camera(video(fresh.folder / "cam.ts", 8, size=(1280, 720), every=0.4), 8)
    with running(
        fresh.run("serving.watch", "dock", "--part", "sampler", CAMERA_URL=camera.url)
    ) as sampler:
        until(lambda: fresh.sent() > 2)
        before = cpu(sampler.pid)
        began = time.monotonic()
        sent = fresh.sent()
        time.sleep(SECONDS)
        share = (cpu(sampler.pid) - before) / (time.monotonic() - began)
        rate = (fresh.sent() - sent) / (time.monotonic() - began)
    print(f"720p at 15 fps: {share:.1%} of a core, {rate:.2f} frames a second sent")
    assert share <= 0.15
    camera.close()


def test_ten_cameras_are_sampled_twice_a_second(fresh):
    names = [f"c{number}" for number in range(10)]
    fresh.settings(names=names, fps=2, change=0)
    camera = Camera(video(fresh.folder / "cam.ts", 8, size=(1280, 720), every=0.4), 8)
    with running(fresh.run("serving.watch", CAMERA_URL=camera.url)) as watch:
        until(lambda: all(fresh.sent(name) > 2 for name in names), 120)
        before = {name: fresh.sent(name) for name in names}
        began = time.monotonic()
        time.sleep(SECONDS)
        seconds = time.monotonic() - began
        rates = [(fresh.sent(name) - before[name]) / seconds for name in names]
        for number in Path(f"/proc/{watch.pid}/task/{watch.pid}/children").read_text().split():
            if b"sampler" in Path(f"/proc/{number}/cmdline").read_bytes():
                os.kill(int(number), signal.SIGSTOP)
        until(lambda: all(fresh.accounted(name) == fresh.sent(name) for name in names), 60)
    print(f"10 cameras: {min(rates):.2f} to {max(rates):.2f} frames a second each")
    assert min(rates) >= 1.9
    camera.close()
