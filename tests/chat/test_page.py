"""The page of `make chat` in a real browser: one session, from the first message to the dataset."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from browsing import CHROMEDRIVER, chrome
from conftest import ROOT
from PIL import Image
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from common import rows
from common.servers import free_port

SECONDS = 90  # a busy machine loads the page slowly
MIX = """
seed: 7
val_share: 0.0001
licence: MIT
pairs: {whole: [kept/pairs*.jsonl], val_share: 0.0001}
sources:
  - {kind: kept, category: practical, system: system/serving.md}
"""

pytestmark = pytest.mark.skipif(
    not CHROMEDRIVER, reason="no chromedriver here (apt: chromium-driver)"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A dataset with a short system prompt, and a recipe that names it."""
    folder = tmp_path_factory.mktemp("chat")
    (folder / "system").mkdir()
    (folder / "system" / "serving.md").write_text("Speak plainly.\n")
    (folder / "mix.yaml").write_text(MIX)
    recipe = (ROOT / "recipes" / "tiny" / "v1.yaml").read_text()
    (folder / "v1.yaml").write_text(recipe.replace("datasets/tiny/build", f"{folder}/build"))
    Image.new("RGB", (64, 48), (200, 30, 30)).save(folder / "red.jpg")
    return folder


@pytest.fixture(scope="module")
def address(folder):
    """The address of a page that talks to the stand-in."""
    port = free_port()
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    stand_in = [sys.executable, str(Path(__file__).with_name("stand_in.py")), str(port)]
    words = ["-m", "serving.chat", str(folder / "v1.yaml"), "--port", str(free_port())]
    words += ["--endpoint", f"http://127.0.0.1:{port}", "--model", "voiced"]
    words += ["--base-model", "plain"]
    with subprocess.Popen(stand_in, env=environment) as server:
        time.sleep(1)
        with subprocess.Popen(
            [sys.executable, *words], cwd=ROOT, stdout=subprocess.PIPE, text=True
        ) as page:
            line = page.stdout.readline()
            assert "Ctrl-C ends it" in line
            yield line.split()[1].rstrip(";")
            page.terminate()
        server.terminate()


@pytest.fixture(scope="module")
def browser(address):
    with chrome() as driver:
        driver.get(address)
        until(driver, lambda: driver.find_elements(By.CSS_SELECTOR, "#message textarea"))
        yield driver


def until(browser, found):
    """What `found` gives as soon as it gives something."""
    return WebDriverWait(browser, SECONDS).until(lambda _: found())


def by_id(browser, name):
    return browser.find_element(By.ID, name)


def said(browser, id_, words):
    until(browser, lambda: words in by_id(browser, id_).text)


def send(browser, text, *pictures):
    """Type a message, drop pictures on it, send it, and wait for both replies."""
    until(browser, lambda: browser.find_element(By.CSS_SELECTOR, "#message textarea").is_enabled())
    box = browser.find_element(By.CSS_SELECTOR, "#message textarea")
    for path in pictures:
        browser.find_element(By.CSS_SELECTOR, "#message input[type=file]").send_keys(str(path))
        until(browser, lambda: browser.find_elements(By.CSS_SELECTOR, "#message img"))
    box.send_keys(text, Keys.ENTER)
    for side in ("base", "tuned"):
        said(browser, f"pane-{side}", text)
        said(browser, f"meter-{side}", "tokens ·")


def kept(folder, name):
    path = folder / "kept" / name
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_both_answer_the_same_message_and_picture(browser, folder):
    send(browser, "What colour?", folder / "red.jpg")
    said(browser, "pane-base", "plain: 1 pictures, with a prompt, earlier []")
    said(browser, "pane-tuned", "voiced: 1 pictures, with a prompt, earlier []")
    assert browser.find_elements(By.CSS_SELECTOR, "#pane-tuned img")
    assert "whole" in by_id(browser, "meter-tuned").text


def test_the_reasoning_is_folded_and_unfolds(browser):
    assert "I am voiced" not in by_id(browser, "pane-tuned").text
    title = "//*[@id='pane-tuned']//*[contains(text(), 'Reasoning, 7 words')]"
    browser.find_element(By.XPATH, title).click()
    said(browser, "pane-tuned", "I am voiced.")


def test_an_answer_is_kept_once(browser, folder):
    by_id(browser, "keep-tuned").click()
    said(browser, "status", "rows.jsonl, 1 in all")
    by_id(browser, "keep-tuned").click()
    said(browser, "status", "kept before")
    [row] = kept(folder, "rows.jsonl")
    rows.check(row)
    [picture] = rows.images(row, folder / "kept")
    assert (picture.width, picture.height) == (64, 48)
    assert "voiced: 1 pictures" in rows.text_of(row["messages"][-1])
    assert rows.text_of(row["messages"][0]) == "\n\nSpeak plainly."


def test_the_better_one_is_a_pair_and_the_conversation_goes_on_with_it(browser, folder):
    browser.find_element(By.CSS_SELECTOR, "#why textarea").send_keys("Talks too much.")
    by_id(browser, "better-base").click()
    said(browser, "status", "goes on with the base model's answer")
    [pair] = kept(folder, "pairs.jsonl")
    assert "plain: 1" in rows.text_of(pair["messages"][-1])
    rejected = pair["rejected"]
    assert rejected["why"] == "Talks too much." and "voiced: 1" in rejected["content"][0]["text"]
    browser.find_element(By.CSS_SELECTOR, "#persona input").click()
    send(browser, "Sure?")
    for side in ("base", "tuned"):
        said(browser, f"pane-{side}", "0 pictures, without a prompt, earlier ['plain: 1 pictures")


def test_a_reply_that_is_cut_has_no_answer_and_is_not_kept(browser, folder):
    before = len(kept(folder, "rows.jsonl"))
    send(browser, "Be cut.")
    said(browser, "meter-tuned", "not whole (length)")
    by_id(browser, "keep-tuned").click()
    said(browser, "status", "Not kept: only a whole reply")
    assert len(kept(folder, "rows.jsonl")) == before


def test_a_new_conversation_begins_empty(browser):
    by_id(browser, "fresh").click()
    until(browser, lambda: "Sure?" not in by_id(browser, "pane-base").text)
    send(browser, "Again.")
    said(browser, "pane-tuned", "voiced: 0 pictures, without a prompt, earlier []")


def test_nothing_was_loaded_from_elsewhere(browser, address):
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [
        event["params"]["request"]["url"]
        for event in events
        if event["method"] == "Network.requestWillBeSent"
    ]
    assert any(url.startswith(address) for url in asked)
    outside = [url for url in asked if not url.startswith((address, "data:", "blob:", "chrome:"))]
    assert not outside
    assert not [
        e["message"] for e in browser.get_log("browser") if "Security Policy" in e["message"]
    ]


def test_make_data_reads_what_was_kept(browser, folder):
    light = ROOT / ".venvs" / "light" / "bin" / "python"
    build = (
        "import sys, pathlib; from preprocess.build import build; build(pathlib.Path(sys.argv[1]))"
    )
    subprocess.run([light, "-c", build, folder], cwd=ROOT, check=True)
    [row] = rows.read(folder / "build" / "train.jsonl")
    assert row["origin"] == "kept" and row["category"] == "practical"
    [wanted] = kept(folder, "rows.jsonl")
    assert rows.text_of(row["messages"][-1]) == rows.text_of(wanted["messages"][-1])
    [pair] = rows.read(folder / "build" / "pairs.jsonl")
    assert pair["rejected"] == kept(folder, "pairs.jsonl")[0]["rejected"]
    assert rows.images(pair, folder / "build")
