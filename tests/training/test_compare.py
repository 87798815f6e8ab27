"""make compare: from folders as runs leave them, and from W&B as its public objects give it."""

import json
import re
import subprocess
import sys
from types import SimpleNamespace

import pytest
from conftest import ROOT
from PIL import Image

from common import runs
from common.errors import command
from common.recipes import RecipeError
from training import compare
from training.compare_curves import draw
from training.compare_runs import load

RECIPE = "lora_r: {rank}\noptimizer: adamw_torch\nrows:\n  path: datasets/tiny/build\n"
RECORD = {
    "identity": {"recipe": "tiny/v1", "base_weights": "b" * 64, "seed": 42},
    "commit": "a" * 40,
    "dirty": False,
    "packages": {"torch": "2.13.0", "peft": "0.20.0"},
    "device": "cpu",
}


def history(steps, last):
    """Losses that fall linearly from 4 and 5 to `last`, as training/history.py writes them."""
    for step in range(2, steps + 1, 2):
        loss = 4 - (4 - last) * step / steps
        yield {"step": step, "loss": loss, "speed/tokens_per_s": 1000 + step}
    for step in (0, steps):
        held = 5 - (5 - last) * step / steps
        yield {"step": step, "eval_loss": held, "eval_loss_async": 3.0, "note": "text"}


def run_folder(folder, rank=64, status="finished", steps=8, last=2.0, metrics=None, **more):
    """A run's folder as a training leaves it."""
    folder.mkdir(parents=True)
    runs.write(folder, RECORD | {"status": status} | more)
    (folder / "recipe.yaml").write_text(RECIPE.format(rank=rank))
    manifest = {"data_sha256": "d" * 64, "rows": {"train": 555}, "files": {"a": "b"}}
    (folder / "data.json").write_text(json.dumps(manifest))
    lines = [json.dumps(logged) + "\n" for logged in history(steps, last)]
    (folder / "history.jsonl").write_text("".join(lines))
    if metrics:
        (folder / "eval").mkdir()
        (folder / "eval" / "result.json").write_text(json.dumps({"suites": metrics}))
    return folder


@pytest.fixture
def compared(monkeypatch, capsys):
    """Runs the command in this process: (exit code, stdout, stderr)."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["compare", *map(str, words)])
        return command(compare.main), *capsys.readouterr()

    return run


def test_page_picture_and_object(tmp_path, compared):
    rates = {
        "base": {"value": 0.5, "interval": [0.43, 0.57]},
        "tuned": {"value": 0.25, "interval": [0.2, 0.31]},
    }
    correct = {"n": 200, **rates, "difference": -0.25, "interval": [-0.33, -0.16]}
    metrics = {"math": {"prompts": {"serving": {"measurements": {"correct": correct}}}}}
    a = run_folder(tmp_path / "a", metrics=metrics)
    stopped = {"status": "stopped", "ended_by": "stopped by SIGTERM at step 8"}
    b = run_folder(tmp_path / "b", rank=32, packages={"torch": "2.12.0"}, **stopped)
    c = run_folder(tmp_path / "c", status="running", steps=6)
    with (c / "history.jsonl").open("a") as file:
        file.write('{"step": 7, "lo')  # killed as it was written
    code, said, _ = compared(a, b, c, "--out", tmp_path / "out")
    page = (tmp_path / "out" / "compare.md").read_text()
    assert code == 0 and page in said
    assert "| lora_r | 64 | 32 | 64 |" in page and "| torch | 2.13.0 | 2.12.0 | 2.13.0 |" in page
    assert "| peft | 0.20.0 | – | 0.20.0 |" in page and "optimizer" not in page
    assert "The same in all: data, base, code and machine." in page
    assert "| stopped by SIGTERM at step 8 |" in page and "| killed | 6 |" in page
    assert "5.000 → 2.000" in page  # held-out loss, first and last
    assert "| math/serving/correct, base | 0.5 [0.43, 0.57], n 200 | – | – |" in page
    assert "| math/serving/correct, difference | -0.25 [-0.33, -0.16], n 200 | – | – |" in page
    with Image.open(tmp_path / "out" / "curves.png") as picture:
        assert picture.width > 1000 and len(picture.convert("RGB").getcolors(2**20)) > 50
    found = json.loads(compared(a, b, "--json", "--out", tmp_path / "out")[1])
    assert found["differs"]["recipe"] == {"lora_r": [64, 32]}
    assert found["runs"]["B"]["status"] == "stopped"
    assert found["runs"]["A"]["history"]["8"]["eval/loss_async"] == 3.0
    assert "eval/note" not in found["runs"]["A"]["history"]["8"]


def test_twenty_runs_and_no_more(tmp_path, compared):
    folders = [run_folder(tmp_path / str(n), rank=n) for n in range(21)]
    read = [load(str(folder)) for folder in folders[:20]]
    letters = "ABCDEFGHIJKLMNOPQRST"
    line = " | ".join(["lora_r", *map(str, range(20))])
    assert f"| {line} |" in compare.page(read, letters)
    draw(read, letters, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 10_000
    code, _, said = compared(*folders)
    assert code == 1 and said == 'error: 21 runs given; compare 2 to 20: make compare RUNS="a b"\n'


def test_a_run_that_never_came_to_a_step(tmp_path, compared):
    empty = tmp_path / "empty"
    failed = {"status": "failed", "ended_by": "the disk is full"}
    runs.write(empty, {"identity": {"recipe": "tiny/v1"}} | failed)
    code, said, _ = compared(run_folder(tmp_path / "a"), empty, "--out", tmp_path / "out")
    assert code == 0 and "failed: the disk is full" in said


def test_a_step_taken_again_after_a_kill_counts_once(tmp_path):
    folder = run_folder(tmp_path / "a")
    with (folder / "history.jsonl").open("a") as file:
        file.write(json.dumps({"step": 8, "loss": 1.5}) + "\n")
    series = load(str(folder)).series("train/loss")
    assert list(series.index) == [2, 4, 6, 8] and series[8] == 1.5


def test_names_that_are_not_ours_are_no_versions(tmp_path, monkeypatch):
    monkeypatch.setattr("training.compare_runs.ROOT", tmp_path)
    for name in ("v2", "v10", "v1_old", "v3-backup"):
        run_folder(tmp_path / "outputs" / "tiny" / name)
    assert load("tiny").name == "tiny/v10"


def test_an_unknown_run_gets_the_list():
    with pytest.raises(RecipeError, match=r"no run 'nowhere': .*there are: "):
        load("nowhere")


def test_a_record_cut_short_is_one_line(tmp_path, compared):
    folder = run_folder(tmp_path / "a")
    (folder / "run.json").write_text('{"identity": {"rec')
    code, _, said = compared(folder, folder)
    assert code == 1 and said.startswith("error: ") and said.count("\n") == 1 and "run.json" in said


def test_a_running_run_is_not_called_killed(tmp_path):
    folder = run_folder(tmp_path / "a", status="running")
    code = (
        "import sys, time; from pathlib import Path; from common.files import only_writer\n"
        "with only_writer(Path(sys.argv[1])):\n  print(flush=True); time.sleep(60)"
    )
    holding = [sys.executable, "-c", code, folder]
    with subprocess.Popen(holding, cwd=ROOT, stdout=subprocess.PIPE) as holder:
        holder.stdout.readline()
        assert load(str(folder)).status == "running"
        holder.kill()
    assert load(str(folder)).status == "killed"


class Api:
    """W&B's public objects as `wandb.Api` gives them: two trainings, and the evaluation of their
    group.
    """

    def run(self, path):
        name = path.rpartition("/")[2]
        if name == "gone":
            raise ValueError("Could not find run team/aether/gone\n(not found)")
        recipe = {"lora_r": 64 if name == "one" else 32}
        logged = [
            {"train/global_step": 1, "train/loss": 3.0, "_step": 1},
            {"train/global_step": 2, "train/loss": 2.0, "_step": 2},
            {"train/global_step": 2, "eval/loss": 2.5, "_step": 3},
            {"system": 1.0},
        ]
        return SimpleNamespace(
            id=name,
            name="tiny/v1",
            state="finished" if name == "one" else "crashed",
            group="tiny/v1-dddddddd",
            config={"run": RECORD, "recipe": recipe},
            history=lambda samples, pandas: logged,
        )

    def runs(self, path, filters, lazy):
        assert path == "team/aether"
        assert filters == {"group": "tiny/v1-dddddddd", "jobType": "eval"}
        metrics = {
            "math/serving/correct/tuned": 0.5,
            "math/serving/correct/base": 0.25,
            "seconds": 3,
        }
        return [SimpleNamespace(summary_metrics=metrics)]


def test_online_runs(tmp_path, monkeypatch, compared):
    monkeypatch.setattr("wandb.Api", Api)
    words = ("team/aether/one", "team/aether/two", "--out", tmp_path)
    code, said, _ = compared(*words)
    assert code == 0 and "| lora_r | 64 | 32 |" in said
    assert "tiny/v1 (two)" in said and "crashed" in said
    assert "| math/serving/correct, tuned | 0.5 | 0.5 |" in said
    found = json.loads(compared(*words, "--json")[1])
    assert found["runs"]["A"]["history"]["2"] == {
        "train/loss": 2.0,
        "eval/loss": 2.5,
        "train/global_step": 2,
    }


def test_the_public_objects_have_what_is_read_of_them():
    """The stub above stands for these; a W&B without one of them fails here."""
    from wandb.apis.public import Api as PublicApi
    from wandb.apis.public import Run

    for name in ("run", "runs"):
        assert callable(getattr(PublicApi, name))
    assert callable(Run.history)
    for name in ("summary_metrics", "config", "state"):
        assert hasattr(Run, name), name


def test_what_wandb_does_not_give_is_one_line(tmp_path, monkeypatch, compared):
    monkeypatch.setattr("wandb.Api", Api)
    code, _, said = compared("team/aether/one", "team/aether/gone", "--out", tmp_path / "none")
    assert code == 1 and re.match("error: W&B: team/aether/gone: ValueError", said)
    assert said.count("\n") == 1 and not (tmp_path / "none").exists()
