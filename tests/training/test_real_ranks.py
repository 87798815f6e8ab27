"""make train on several ranks for real, of the tiny model over gloo: make test-gpus."""

import json
import os
import re
import signal
import subprocess
import time

import psutil
import pytest
import torch
from safetensors.torch import load_file
from test_end_to_end import make, tree  # noqa: F401

pytestmark = pytest.mark.skipif("RANKS_TEST" not in os.environ, reason="make test-gpus runs these")


@pytest.fixture(scope="module")
def shortened(tree):  # noqa: F811
    path = tree / "recipes" / "tiny_full" / "v1.yaml"
    text = re.sub(r"num_epochs: \d+", "num_epochs: 4\nmax_steps: 8", path.read_text())
    text = text.replace(
        "eval_strategy: epoch\nsave_strategy: epoch", "eval_steps: 4\nsave_steps: 2"
    )
    path.write_text(re.sub(r"  categories: .*", "  categories: [async, plain]", text))
    return tree


def weights(tree) -> dict[str, torch.Tensor]:  # noqa: F811
    return load_file(tree / "outputs" / "tiny_full" / "v1" / "model.safetensors")


def begun(tree) -> subprocess.Popen:  # noqa: F811
    """A training that has its first checkpoint."""
    out = tree / "outputs" / "tiny_full" / "v1"
    command = [".venvs/train/bin/python", "-m", "training.run", "tiny_full"]
    parent = subprocess.Popen(command, cwd=tree, stderr=subprocess.PIPE, text=True)
    while not (out / "checkpoint-2" / "sealed.json").exists() and parent.poll() is None:
        time.sleep(0.05)
    return parent


def test_killed_ranks_resume_to_the_same_whole_model(shortened):
    done = make(shortened, "train", "RECIPE=tiny_full", "GPUS=2")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "tiny_full/v1: finished" in done.stdout
    straight = weights(shortened)
    proven = make(shortened, "merge", "RECIPE=tiny_full")
    assert proven.returncode == 0 and "39 trained tensors are finite and moved" in proven.stdout

    make(shortened, "train", "RECIPE=tiny_full", "GPUS=3")  # finished is finished
    assert all(torch.equal(value, straight[key]) for key, value in weights(shortened).items())

    # One rank is killed, then all with their parent; each time the next command goes on.
    out = shortened / "outputs" / "tiny_full" / "v1"
    for path in out.glob("checkpoint-*"):
        subprocess.run(["rm", "-r", str(path)], check=True)
    (out / "model.safetensors").unlink()
    record = json.loads((out / "run.json").read_text())
    (out / "run.json").write_text(json.dumps(record | {"status": "running"}))
    parent = begun(shortened)
    psutil.Process(parent.pid).children()[1].send_signal(signal.SIGKILL)
    since = time.monotonic()
    said = parent.communicate()[1]
    print(f"a dead rank took the other down in {time.monotonic() - since:.1f} s")
    assert parent.returncode == 137
    assert re.search(r"\nerror: rank [01]: killed by SIGKILL.*\n$", said)
    refused = make(shortened, "train", "RECIPE=tiny_full", "GPUS=3")
    assert refused.returncode and "began on 2 ranks, 3 would go on" in refused.stderr

    parent = begun(shortened)
    children = psutil.Process(parent.pid).children()
    parent.kill()
    parent.communicate()
    psutil.wait_procs(children, timeout=60)
    assert not any(child.is_running() for child in children)
    resumed = make(shortened, "train", "RECIPE=tiny_full", "GPUS=2")
    assert resumed.returncode == 0, resumed.stderr[-3000:]
    assert "continuing from outputs/tiny_full/v1/checkpoint-" in resumed.stdout
    found = weights(shortened)
    assert found.keys() == straight.keys()
    assert all(torch.equal(value, straight[key]) for key, value in found.items())
