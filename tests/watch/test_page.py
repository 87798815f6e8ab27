"""The page of `make watch PAGE=1` in a real browser."""

import json
import os
import shutil
import time
import urllib.error
import urllib.request

import pytest
from browsing import CHROMEDRIVER, chrome
from conftest import ROOT
from rig import REDIS, fresh, rig, until, video
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By

from common import events
from serving.watch import page
from serving.watch.streams import Frame, Streams

NASTY = "<img src=x onerror=\"document.title='hacked'\">A truck."

pytestmark = pytest.mark.skipif(
    not (CHROMEDRIVER and REDIS), reason="no chromedriver or no redis-server here (apt)"
)


@pytest.fixture
def browser():
    with chrome() as driver:
        yield driver


def described(streams, picture, text):
    """A frame, and its event."""
    frame = Frame("", time.time(), 5.0, "ab" * 32)
    streams.send("dock", picture, frame, 9, 60)
    data = {"text": text, "change": 5.0, "model": "seer"}
    streams.finish("dock", streams.next("dock", "dock-0", 9_000), "scene", events.SCENE, data)


def picture_of(path):
    import io

    import av

    with av.open(str(path)) as container:
        file = io.BytesIO()
        next(container.decode(video=0)).to_image().save(file, "JPEG")
    return file.getvalue()


def test_the_page_shows_frames_events_lag_and_members(fresh, browser, monkeypatch):
    members = {"AETHER_URL": f"{fresh.model.url}/v1", "AETHER_MODEL": "seer", "AETHER_EDGE_URL": ""}
    monkeypatch.setattr(os, "environ", fresh.environment | members)
    streams = Streams(30)
    streams.prepare("dock")
    address = page.show(["dock", "gate"], streams, 0)
    browser.get(address)

    def text(name):
        return until(lambda: browser.find_elements(By.ID, name))[0].text

    until(lambda: "not seen yet" in text("camera-gate"))
    until(lambda: text("member-aether") == "aether: up")
    assert "edge: AETHER_EDGE_URL and AETHER_EDGE_MODEL not set" in text("member-edge")
    described(streams, picture_of(video(fresh.folder / "clip.mp4", seconds=0.2)), NASTY)
    until(lambda: NASTY in text("events"))
    until(lambda: "sent 1 · scene 1" in text("camera-dock"))
    image = browser.find_element(By.CSS_SELECTOR, "#camera-dock img")
    until(lambda: browser.execute_script("return arguments[0].naturalWidth", image) == 320)
    frame = Frame("", time.time() - 40, 5.0, "cd" * 32)
    for _ in range(3):
        streams.send("dock", b"", frame, 2, 60)
    streams.say_dropped("dock")
    streams.note("dock", problem="ConnectionRefusedError")
    until(lambda: "skipped 1: trimmed" in text("events"))
    until(lambda: "2 waiting" in text("camera-dock") and "trimmed 1" in text("camera-dock"))
    assert "lag 4" in text("camera-dock") and "ConnectionRefusedError" in text("camera-dock")
    assert browser.title == "watch"
    logged = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [
        e["params"]["request"]["url"] for e in logged if e["method"] == "Network.requestWillBeSent"
    ]
    assert asked and not [url for url in asked if not url.startswith((address, "data:", "chrome:"))]
    fresh.kill("events")
    until(lambda: browser.title == "watch: no answer")
    fresh.start("events")
    until(lambda: browser.title == "watch")


def test_only_this_machine_by_its_own_name_is_answered(fresh, monkeypatch):
    monkeypatch.setattr(os, "environ", fresh.environment)
    address = page.show(["dock"], Streams(30), 0)
    for path, host, code in [
        ("/state", "evil.example", 403),
        ("/picture/yard/00", "localhost:1", 404),
        ("/../settings.py", "localhost:1", 404),
    ]:
        request = urllib.request.Request(f"{address}{path}", headers={"host": host})
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request)
        assert refused.value.code == code
    assert (ROOT / "serving" / "watch" / "page.html").read_bytes() == urllib.request.urlopen(
        address
    ).read()
