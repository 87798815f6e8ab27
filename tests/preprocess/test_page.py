"""The page of a build, opened in a real browser: what stands in rows is shown, and never runs."""

from __future__ import annotations

import html
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from PIL import Image

from preprocess import build, page

ROOT = Path(__file__).resolve().parents[2]

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")
HOSTILE = """</script><script>document.title = "ran"</script>
<img src=x onerror="document.title='ran'"><b>bold</b> & {data} `${document.title = "ran"}`"""


def seed(number: int, **turn: object) -> dict:
    said = {
        "user": f"Question {number} about {HOSTILE}",
        "reasoning": f"Thinking number {number}. {HOSTILE}",
        "answer": f"Answer number {number}. {HOSTILE}",
    }
    about = {"domain": HOSTILE, "level": "expert", "mood": "neutral"}
    return about | {"id": f"async-{number}", "turns": [said | turn]}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("datasets") / "shown"
    folder.mkdir()
    (folder / "system.md").write_text("You are AetherAI.")
    Image.new("RGB", (60, 40), "red").save(folder / "red.png")
    (folder / "async.yaml").write_text(yaml.safe_dump([seed(n) for n in range(30)]))
    (folder / "vision.yaml").write_text(yaml.safe_dump([seed(77, image="red.png")]))
    sources = [
        {"kind": "seeds", "path": f"{name}.yaml", "category": name, "system": "system.md"}
        for name in ("async", "vision")
    ]
    (folder / "tools").symlink_to(ROOT / "datasets" / "aether" / "tools")
    sources.append({"kind": "toolbox", "count": 6, "category": "tools", "system": "system.md"})
    quotas = {"async": 40, "vision": 2, "tools": 20}
    plan = {"seed": 3, "val_share": 0.2, "licence": "MIT", "total": 62}
    (folder / "mix.yaml").write_text(yaml.safe_dump(plan | {"quotas": quotas, "sources": sources}))
    build.build(folder)
    return folder / "build"


def opened(built: Path, asked: str = "") -> str:
    """The page after its program ran, as the browser would write it."""
    if not BROWSER:
        pytest.skip("no Chromium here; apt-get install chromium")
    address = f"{(built / 'report.html').as_uri()}#{asked}"
    words = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=5000"]
    done = subprocess.run(
        [*words, f"--user-data-dir={built.parent / 'browser'}", "--dump-dom", address],
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.stdout


def test_the_page_has_everything_and_is_bounded(built, monkeypatch):
    text = (built / "report.html").read_text()
    assert "http" not in text.replace("http-equiv", "") and re.search(r"(\d+) of \1 rows", text)
    assert text.count("<script") == 2 and "</script><script>document" not in text
    monkeypatch.setattr(page, "SHOWN", 5)
    mix = yaml.safe_load((built.parent / "mix.yaml").read_text())
    (built.parent / "mix.yaml").write_text(yaml.safe_dump(mix | {"seed": 4}))
    build.build(built.parent)
    text = (built / "report.html").read_text()
    assert re.search(r"11 of \d\d rows, 5 of each category", text)
    # Calls of tools are shown with the messages that made them.
    assert "\\u003ctool_calls>[{" in text and '"role": "tools"' in text


@pytest.mark.slow
def test_a_browser_shows_the_rows_and_runs_nothing_of_them(built):
    shown = opened(built)
    assert "<title>shown</title>" in shown
    assert html.escape(HOSTILE.splitlines()[1], quote=False) in shown
    assert shown.count("<h2>") >= 6 and "Dropped, and why" in shown and "have" in shown
    assert re.search(r'class="message trained"><div class="reasoning">Thinking number \d+', shown)


@pytest.mark.slow
def test_a_browser_filters_by_category_and_shows_pictures(built):
    shown = opened(built, "category=vision&origin=seed")
    assert 'id="count">1 rows' in shown and "Answer number 77." in shown
    assert re.search(r'<img loading="lazy" src="images/[0-9a-f]{64}\.png">', shown)
    assert 'id="count">0 rows' in opened(built, "category=vision&holds=Answer%20number%2011")
