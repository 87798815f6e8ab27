"""What the README says exists; what the house forbids is not there."""

import re
import subprocess

import pytest
from conftest import ROOT

README = (ROOT / "README.md").read_text()
TRACKED = subprocess.run(
    ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True
).stdout.splitlines()


def test_readme_is_short_and_its_targets_and_files_exist():
    assert len(README.splitlines()) < 200
    help_text = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True).stdout
    targets = set(re.findall(r"^  make ([a-z]+)", help_text, re.M))
    for text in (README, (ROOT / "recipes" / "qlora_r128" / "README.md").read_text()):
        assert set(re.findall(r"^make ([a-z]+)|`make ([a-z]+)", text, re.M)) <= {
            (t, "") for t in targets
        } | {("", t) for t in targets}
    for path in re.findall(r"\]\(([\w./-]+)\)", README) + re.findall(
        r"`((?:training|common)/[\w./]+)`", README
    ):
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize("path", sorted((ROOT / "locks").glob("*.in")), ids=lambda path: path.stem)
def test_a_lock_names_no_host_and_pins_what_is_asked_for(path):
    lock = path.with_suffix(".lock").read_text()
    assert "://" not in lock
    for line in path.read_text().splitlines():
        asked = re.match(r"([\w.-]+)(?:\[[\w,]+\])?==([\w.*]+)", line)
        if asked:
            version = re.escape(asked[2]).replace(r"\*", r"[\w.]+")
            assert re.search(rf"^{asked[1].lower()}==({version})[ ;\\]", lock, re.M), line


def test_what_draws_has_one_version_in_every_environment_that_builds_data():
    pins = {name: (ROOT / "locks" / f"{name}.lock").read_text() for name in ("train", "light")}
    for package in ("numpy", "matplotlib", "pillow", "mistral-common"):
        found = {
            name: re.search(rf"^{package}==(\S+)", text, re.M)[1] for name, text in pins.items()
        }
        assert found["train"] == found["light"], package


def test_no_stray_files():
    assert "datasets/__init__.py" not in TRACKED
    assert not [
        name for name in TRACKED if (ROOT / name).exists() and (ROOT / name).stat().st_size > 2**20
    ]
