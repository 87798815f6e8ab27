"""Shared pieces: the tiny model with random weights, Pixtral's real vocabulary, a small dataset.

No network, no GPU.
"""

import functools
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

os.environ.setdefault("AXOLOTL_DO_NOT_TRACK", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("WANDB_MODE", "offline")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest
from PIL import Image

from common import chat

# Whoever starts the tests in the background hands ignored signals down; the tests send some.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

ROOT = Path(__file__).resolve().parents[1]
SENTENCES = (
    "The queue grows when work arrives faster than it leaves.",
    "Why wait for the disk when another request is ready?",
    "Count the calls, multiply by the time each waits, and compare.",
    "Überall gilt: naïve Annahmen kosten €5 und 3 µs × 7 → Zeit.",
    "日本語の文も、絵文字 🙂 も、そのまま通る。",
)


def part(text):
    return {"type": "text", "text": text}


def message(role, *parts, weight=None):
    found = {"role": role, "content": [part(p) if isinstance(p, str) else p for p in parts]}
    return found if weight is None else found | {"weight": weight}


def row(messages, id="row", category="async"):
    return {"id": id, "category": category, "origin": "seed", "messages": messages, "tags": []}


def save_image(folder: Path, size=(64, 48), colour=(200, 30, 30)) -> dict:
    """Store a PNG under its hash; the part that shows it."""
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, "PNG")
    name = f"images/{hashlib.sha256(file.getvalue()).hexdigest()}.png"
    (folder / "images").mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(file.getvalue())
    return {"type": "image", "path": name}


def some_rows(folder: Path, count: int) -> list[dict]:
    """Rows of very different lengths; every third has one picture, every ninth two."""
    made = []
    for n in range(count):
        pictures = (
            [save_image(folder, (32 + 16 * (n % 4), 48), (n * 7 % 255, 90, 40))]
            if n % 3 == 0
            else []
        )
        pictures += [save_image(folder, (48, 32), (3, n * 11 % 255, 80))] if n % 9 == 0 else []
        words = " ".join(SENTENCES[(n + k) % len(SENTENCES)] for k in range(1 + n * 5 % 11))
        reply = chat.compose(f"Step {n}: {words}", f"Answer {n}.")
        made.append(
            row(
                [
                    message("system", "Be brief."),
                    message("user", *pictures, f"Question {n}? {words}"),
                    message("assistant", reply, weight=1),
                ],
                id=f"row-{n}",
                category=("async", "plain")[n % 2],
            )
        )
    return made


def write_dataset(folder: Path, train: list[dict], val: list[dict] | None = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    files = {}
    for name, content in (("train", train), ("val", val or train[:3])):
        path = folder / f"{name}.jsonl"
        path.write_text(
            "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in content), encoding="utf-8"
        )
        files[path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
    (folder / "manifest.json").write_text(
        json.dumps({"data_sha256": files["train.jsonl"], "files": files})
    )
    return folder


@pytest.fixture(scope="session")
def dataset(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("dataset")
    return write_dataset(folder, some_rows(folder, 40))


@pytest.fixture(scope="session")
def tiny(dataset, tmp_path_factory) -> Path:
    """A folder with the tiny model: random weights, a tokenizer trained on the test dataset."""
    from training import tiny_base

    folder = tmp_path_factory.mktemp("models") / "tiny"
    tiny_base.write(folder, dataset)
    return folder


@pytest.fixture(scope="session")
def ranks_of(dataset, tiny, tmp_path_factory):
    """Runs tests/training/ranks.py under torchrun, once for each number of ranks; the folder that
    it writes to.
    """

    @functools.cache
    def run(ranks: int) -> Path:
        out = tmp_path_factory.mktemp(f"ranks-{ranks}")
        words = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"]
        script = [str(ROOT / "tests" / "training" / "ranks.py"), str(dataset), str(tiny), str(out)]
        env = os.environ | {
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            "ACCELERATE_USE_CPU": "true",
            "TORCHDYNAMO_DISABLE": "1",
            "GLOO_SOCKET_IFNAME": "lo",
        }
        command = [sys.executable, *words, *script]
        done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=1800)
        assert done.returncode == 0, done.stderr[-3000:]
        return out

    return run


@pytest.fixture(scope="session")
def tiny_renderer(tiny):
    from transformers import AutoProcessor

    from training.renderers import renderer_for

    return renderer_for(AutoProcessor.from_pretrained(tiny))


@pytest.fixture(scope="session")
def pixtral_renderer():
    from training.renderers import renderer_of

    return renderer_of(None)


@pytest.fixture(params=["tiny", "pixtral"])
def renderer(request):
    return request.getfixturevalue(f"{request.param}_renderer")
