"""make train on several ranks for real, of the tiny model over gloo: make test-gpus."""

import json
import os
import re
import shutil
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
    path = tree / "recipes" / "tiny" / "v2.yaml"
    text = path.read_text().replace("max_steps: 16", "max_steps: 8")
    path.write_text(text.replace("eval_steps: 8\nsave_steps: 4", "eval_steps: 4\nsave_steps: 2"))
    return tree


def begun(tree, recipe: str, out) -> subprocess.Popen:  # noqa: F811
    """A training on two ranks that has its first checkpoint."""
    command = [".venvs/train/bin/python", "-m", "training.run", recipe, "--gpus", "2"]
    parent = subprocess.Popen(command, cwd=tree, stderr=subprocess.PIPE, text=True)
    while not (out / "checkpoint-2" / "sealed.json").exists() and parent.poll() is None:
        time.sleep(0.05)
    return parent


@pytest.mark.parametrize(
    ("recipe", "file", "proof"),
    [
        ("tiny_full/v1", "model.safetensors", "39 trained tensors are finite and moved"),
        ("tiny/v2", "adapter_model.safetensors", "28 of 28"),
    ],
)
def test_killed_ranks_resume_to_the_same_weights(shortened, recipe, file, proof):
    out = shortened / "outputs" / recipe
    words = ("train", f"RECIPE={recipe}")
    done = make(shortened, *words, "GPUS=2")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert f"{recipe}: finished" in done.stdout
    straight = load_file(out / file)
    proven = make(shortened, "merge", f"RECIPE={recipe}")
    assert proven.returncode == 0 and proof in proven.stdout, proven.stdout + proven.stderr

    make(shortened, *words, "GPUS=3")  # finished is finished
    assert same(load_file(out / file), straight)

    # One rank is killed, then all with their parent; each time the next command goes on.
    for path in out.glob("checkpoint-*"):
        shutil.rmtree(path)
    (out / file).unlink()
    record = json.loads((out / "run.json").read_text())
    (out / "run.json").write_text(json.dumps(record | {"status": "running"}))
    parent = begun(shortened, recipe, out)
    psutil.Process(parent.pid).children()[1].send_signal(signal.SIGKILL)
    since = time.monotonic()
    said = parent.communicate()[1]
    print(f"{recipe}: a dead rank took the other down in {time.monotonic() - since:.1f} s")
    assert parent.returncode == 137
    assert re.search(r"\nerror: rank [01]: killed by SIGKILL.*\n$", said)
    refused = make(shortened, *words, "GPUS=3")
    assert refused.returncode and "began on 2 ranks, 3 would go on" in refused.stderr

    parent = begun(shortened, recipe, out)
    children = psutil.Process(parent.pid).children()
    parent.kill()
    parent.communicate()
    psutil.wait_procs(children, timeout=60)
    assert not any(child.is_running() for child in children)
    resumed = make(shortened, *words, "GPUS=2")
    assert resumed.returncode == 0, resumed.stderr[-3000:]
    assert f"continuing from outputs/{recipe}/checkpoint-" in resumed.stdout
    assert same(load_file(out / file), straight)


def same(found: dict[str, torch.Tensor], straight: dict[str, torch.Tensor]) -> bool:
    """Whether two sets of weights are the same, bit for bit."""
    return found.keys() == straight.keys() and all(
        torch.equal(value, straight[key]) for key, value in found.items()
    )
