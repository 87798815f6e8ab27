"""make compare: from folders as runs leave them, and from W&B's API as it was recorded, on loopback."""

import base64
import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import threading

import pytest
from conftest import ROOT
from PIL import Image

from common import runs
from common.recipes import RecipeError
from training import compare

RECIPE = "lora_r: {rank}\noptimizer: adamw_torch\nrows:\n  path: datasets/tiny/build\n"


def run_folder(folder, rank=64, status="finished", steps=8, last=2.0, metrics=None, **more):
    """A run's folder: what train.py writes, and the state of its last checkpoint. Losses fall linearly from 4 to `last`."""
    folder.mkdir(parents=True)
    record = {
        "identity": {"recipe": "tiny/v1", "recipe_sha256": f"{rank:064x}", "base": "outputs/tiny_base/v1", "seed": 42},
        "commit": "a" * 40, "dirty": False, "packages": {"torch": "2.13.0", "peft": "0.20.0"}, "device": "cpu", "status": status,
    }  # fmt: skip
    runs.write(folder, record | more)
    (folder / "recipe.yaml").write_text(RECIPE.format(rank=rank))
    (folder / "data.json").write_text(
        json.dumps({"data_sha256": "d" * 64, "rows": {"train": 555}, "files": {"a": "b"}})
    )
    log = [
        {"step": s, "loss": 4 - (4 - last) * s / steps, "speed/tokens_per_s": 1000 + s}
        for s in range(2, steps + 1, 2)
    ]
    log += [
        {"step": s, "eval_loss": 5 - (5 - last) * s / steps, "eval_loss_async": 3.0}
        for s in (0, steps)
    ]
    for step in (steps // 2, steps):
        (folder / f"checkpoint-{step}").mkdir()
        (folder / f"checkpoint-{step}" / "trainer_state.json").write_text(
            json.dumps({"log_history": [entry for entry in log if entry["step"] <= step]})
        )
    if metrics:
        (folder / "eval").mkdir()
        (folder / "eval" / "result.json").write_text(json.dumps({"suites": metrics}))
    return folder


def squeezed(page: str) -> str:
    return re.sub(" +", " ", page)


def here(monkeypatch, capsys, *words):
    """(exit code, stdout, stderr) of the command, in this process."""
    monkeypatch.setattr(sys, "argv", ["compare", *map(str, words)])
    return compare.main(), *capsys.readouterr()


def compared(*words, **environment):
    command = [sys.executable, "-m", "training.compare", *map(str, words)]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=120, env=os.environ | environment
    )


def test_page_picture_and_object(tmp_path, monkeypatch, capsys):
    rates = {
        "base": {"value": 0.5, "interval": [0.43, 0.57]},
        "tuned": {"value": 0.25, "interval": [0.2, 0.31]},
    }
    measured = {"correct": {"n": 200, **rates, "difference": -0.25, "interval": [-0.33, -0.16]}}
    tuned = {"math": {"prompts": {"serving": {"asked": 200, "measurements": measured}}}}
    a = run_folder(tmp_path / "a", metrics=tuned)
    b = run_folder(
        tmp_path / "b",
        rank=32,
        status="stopped",
        ended_by="stopped by SIGTERM at step 8",
        packages={"torch": "2.12.0"},
    )
    c = run_folder(tmp_path / "c", status="running", steps=6)
    shutil.rmtree(c / "checkpoint-3")
    (c / "checkpoint-9").mkdir()
    (c / "checkpoint-9" / "trainer_state.json").write_text('{"log_his')  # killed in the save
    code, said, _ = here(monkeypatch, capsys, a, b, c, "--out", tmp_path / "out")
    page = (tmp_path / "out" / "compare.md").read_text()
    assert code == 0 and page in said
    page = squeezed(page)
    assert "| lora_r | 64 | 32 | 64 |" in page and "| torch | 2.13.0 | 2.12.0 | 2.13.0 |" in page
    assert "| peft | 0.20.0 | – | 0.20.0 |" in page and "optimizer" not in page
    assert "The same in all: data, base, code and machine." in page
    assert "| stopped by SIGTERM at step 8 |" in page and "| killed | 6 |" in page
    assert "5.000 → 2.000" in page  # held-out loss, first and last
    assert "| math/serving/correct, base | 0.5 [0.43, 0.57], n 200 | – | – |" in page
    assert "| math/serving/correct, difference | -0.25 [-0.33, -0.16], n 200 | – | – |" in page
    with Image.open(tmp_path / "out" / "curves.png") as picture:
        assert picture.width > 1000 and len(picture.convert("RGB").getcolors(2**20)) > 50
    found = json.loads(here(monkeypatch, capsys, a, b, "--json", "--out", tmp_path / "out")[1])
    assert (
        found["differs"]["recipe"] == {"lora_r": [64, 32]}
        and found["runs"]["B"]["status"] == "stopped"
    )
    assert found["runs"]["A"]["history"]["8"]["eval/loss_async"] == 3.0


def test_twenty_runs_and_no_more(tmp_path, monkeypatch, capsys):
    folders = [run_folder(tmp_path / str(n), rank=n) for n in range(21)]
    runs = [compare.load(str(folder)) for folder in folders[:20]]
    assert "| " + " | ".join(["lora_r", *map(str, range(20))]) + " |" in squeezed(
        compare.page(runs, "ABCDEFGHIJKLMNOPQRST")
    )
    compare.draw(runs, "ABCDEFGHIJKLMNOPQRST", tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 10_000
    code, _, said = here(monkeypatch, capsys, *folders)
    assert code == 1 and said == 'error: 21 runs given; compare 2 to 20: make compare RUNS="a b"\n'


def test_a_run_that_never_came_to_a_step(tmp_path, monkeypatch, capsys):
    empty = tmp_path / "empty"
    runs.write(
        empty,
        {"identity": {"recipe": "tiny/v1"}, "status": "failed", "ended_by": "the disk is full"},
    )
    code, said, _ = here(
        monkeypatch, capsys, run_folder(tmp_path / "a"), empty, "--out", tmp_path / "out"
    )
    assert code == 0 and "failed: the disk is full" in said


def test_an_unknown_run_gets_the_list(tmp_path):
    with pytest.raises(RecipeError, match=r"no run 'nowhere': .*there are: "):
        compare.load("nowhere")


def test_a_running_run_is_not_called_killed(tmp_path):
    folder = run_folder(tmp_path / "a", status="running")
    code = "import sys, time; from pathlib import Path; from common.files import only_writer\nwith only_writer(Path(sys.argv[1])):\n  print(flush=True); time.sleep(60)"  # fmt: skip
    with subprocess.Popen(
        [sys.executable, "-c", code, folder], cwd=ROOT, stdout=subprocess.PIPE
    ) as holder:
        holder.stdout.readline()
        assert compare.load(str(folder)).status == "running"
        holder.kill()
    assert compare.load(str(folder)).status == "killed"


def test_offline_wandb_reaches_beyond_the_last_checkpoint(tmp_path):
    """A run killed between checkpoints: its own W&B file, cut short as a lost machine leaves it, holds what came after."""
    folder = run_folder(tmp_path / "a", status="running", wandb_id="abcd1234")
    code = (
        "import sys, wandb\nrun = wandb.init(id='abcd1234', dir=sys.argv[1], mode='offline', project='aether')\n"
        "for step in range(1, 40): run.log({'train/loss': 1.5, 'train/global_step': step, 'train/epoch': 'x'})\nrun.finish()"
    )
    subprocess.run(
        [sys.executable, "-c", code, folder],
        check=True,
        capture_output=True,
        timeout=120,
        env=os.environ | {"WANDB_SILENT": "true"},
    )
    (file,) = folder.glob("wandb/offline-run-*/run-abcd1234.wandb")
    file.write_bytes(file.read_bytes()[:-300])
    history = compare.load(str(folder)).history
    assert (
        history[8]["train/loss"] == 2.0 and history[8]["eval/loss"] == 2.0
    )  # the checkpoint's own
    assert 30 < max(history) <= 39 and history[30] == {"train/loss": 1.5, "train/global_step": 30}


FRAGMENT = {
    "tags": ["tiny"], "sweepName": None, "group": "tiny/v1-dddddddd", "jobType": "train", "commit": None, "readOnly": False, "projectId": "7",
    "createdAt": "2026-11-25T10:00:00", "heartbeatAt": "2026-11-25T10:05:00", "description": None, "notes": None, "systemMetrics": "{}",
    "historyLineCount": 3, "user": {"name": "A", "username": "a"}, "historyKeys": {"lastStep": 2, "keys": {}},
}  # fmt: skip


def recorded(operation: str, variables: dict) -> dict:
    """What W&B's GraphQL answers wandb 0.31: shapes as its queries ask them, run ids `one` (finished) and `two` (crashed)."""
    name = variables.get("name", "one")
    config = {
        "run": {"commit": name * 20, "packages": {"torch": "2.13.0"}},
        "recipe": {"lora_r": 64 if name == "one" else 32},
    }
    node = FRAGMENT | {
        "id": f"id-{name}", "name": name, "displayName": "tiny/v1", "state": "finished" if name == "one" else "crashed",
        "config": json.dumps({key: {"value": value, "desc": None} for key, value in config.items()}), "summaryMetrics": "{}",
    }  # fmt: skip
    if operation in ("Viewer", "GetDefaultEntity"):
        return {
            "viewer": {
                "id": "v",
                "entity": "team",
                "username": "a",
                "email": "",
                "flags": "{}",
                "teams": {"edges": []},
            }
        }
    if operation == "Runs":
        assert json.loads(variables["filters"]) == {"group": "tiny/v1-dddddddd", "jobType": "eval"}
        metrics = {"math/serving/correct/tuned": 0.5, "math/serving/correct/base": 0.25}
        edge = {
            "node": node | {"jobType": "eval", "summaryMetrics": json.dumps(metrics)},
            "cursor": "c",
        }
        return {"project": {"internalId": "7", "runCount": 1, "readOnly": False, "runs": {
            "edges": [edge], "pageInfo": {"endCursor": "c", "hasNextPage": False}}}}  # fmt: skip
    if operation == "RunFullHistory":
        rows = [{"train/global_step": s, "train/loss": 4.0 - s, "_step": s} for s in (1, 2)] + [
            {"_step": 3, "eval/loss": 2.5, "train/global_step": 2}
        ]
        return {"project": {"run": {"history": [json.dumps(row) for row in rows]}}}
    return {"project": {"run": node}} if operation == "Run" else {}


@pytest.fixture
def wandb_server():
    """A loopback server; yields its address and the list of operations it was asked."""
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            body = json.loads(body) if self.path == "/graphql" else {"query": "query Telemetry {"}
            operation = re.search(r"query (\w+)", body["query"])[1]
            asked.append(operation)
            known = base64.b64encode(b"api:" + b"a" * 40).decode() in self.headers.get(
                "Authorization", ""
            )
            answer = json.dumps(
                {
                    "data": recorded(operation, body.get("variables") or {})
                    if known
                    else {"viewer": None}
                }
            ).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_):
            return

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()


def test_online_runs(wandb_server, tmp_path):
    address, asked = wandb_server
    key = {"WANDB_BASE_URL": address, "WANDB_API_KEY": "a" * 40, "WANDB_MODE": "online"}
    done = compared("team/aether/one", "team/aether/two", "--out", tmp_path, **key)
    assert done.returncode == 0, done.stderr
    said = squeezed(done.stdout)
    assert "| lora_r | 64 | 32 |" in said and "tiny/v1 (two)" in said and "crashed" in done.stdout
    assert "| math/serving/correct, tuned | 0.5 | 0.5 |" in said
    assert {"Run", "RunFullHistory", "Runs"} <= set(asked)
    done = compared("team/aether/one", "team/aether/two", "--out", tmp_path, "--json", **key)
    assert json.loads(done.stdout)["runs"]["A"]["history"]["2"] == {
        "train/loss": 2.0,
        "eval/loss": 2.5,
        "train/global_step": 2,
    }


def test_a_refused_key_is_one_line(wandb_server, tmp_path):
    key = {"WANDB_BASE_URL": wandb_server[0], "WANDB_API_KEY": "b" * 40, "WANDB_MODE": "online"}
    done = compared("team/aether/one", "team/aether/two", "--out", tmp_path / "none", **key)
    assert (
        done.returncode == 1
        and done.stderr.startswith("error: W&B: AuthenticationError")
        and done.stderr.count("\n") == 1
    )
    assert not (tmp_path / "none").exists()
