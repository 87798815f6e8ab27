"""The one long test: make train and make merge on the tiny model, in a copy of the tree, shortened;
killed half-way and resumed.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import time

import pytest
import torch
from conftest import ROOT, message, row, some_rows, write_dataset
from safetensors.torch import load_file


def make(tree, *words, **kwargs):
    # The environment is the one this test runs in: `-o` keeps make from building another.
    command = ["make", "-o", ".venvs/train/.ready", "-o", ".venvs/light/.ready", *words]
    return subprocess.run(command, cwd=tree, capture_output=True, text=True, timeout=3600, **kwargs)


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A copy of the tracked tree with shortened tiny recipes, a small dataset, and this
    environment.
    """
    tree = tmp_path_factory.mktemp("tree") / "repository"
    files = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    for name in files:
        # Without what freezes a recipe: this one is shortened.
        if (ROOT / name).is_file() and not name.endswith(".result.json"):
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, tree / name)
    (tree / ".venvs").symlink_to(ROOT / ".venvs")
    for name, steps in (("tiny_base", 10), ("tiny", 16)):
        path = tree / "recipes" / name / "v2.yaml"
        text = re.sub(r"num_epochs: \d+", f"num_epochs: 4\nmax_steps: {steps}", path.read_text())
        text = text.replace(
            "eval_strategy: epoch\nsave_strategy: epoch", "eval_steps: 8\nsave_steps: 4"
        )
        text = text.replace(
            "lora_dropout: 0.0 ", "lora_dropout: 0.1 "
        )  # so that resuming must restore the random state too
        path.write_text(re.sub(r"  categories: .*", "  categories: [async, plain]", text))
    folder = tree / "datasets" / "tiny" / "build"
    folder.mkdir(parents=True)
    write_dataset(folder, some_rows(folder, 60), some_rows(folder, 6))
    return tree


@contextlib.contextmanager
def edited(tree, old, new):
    """The tiny recipe with `old` replaced, and afterwards as it was."""
    recipe = tree / "recipes" / "tiny" / "v2.yaml"
    before = recipe.read_text()
    assert old in before
    recipe.write_text(before.replace(old, new))
    try:
        yield recipe
    finally:
        recipe.write_text(before)


def test_train_kill_resume_merge_serve(tree):
    before = {path.name for path in tree.iterdir()}
    done = make(tree, "train", "RECIPE=tiny")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "tiny_base/v2: finished" in done.stdout and "tiny/v2: finished" in done.stdout
    out = tree / "outputs" / "tiny" / "v2"
    record = json.loads((out / "run.json").read_text())
    assert (
        record["status"] == "finished"
        and record["identity"]["recipe"] == "tiny/v2"
        and record["packages"]["axolotl"] == "0.19.0"
    )
    state = json.loads((out / "checkpoint-16" / "trainer_state.json").read_text())
    held_out = [log["eval_loss"] for log in state["log_history"] if "eval_loss" in log]
    assert len(held_out) >= 2 and held_out[-1] < held_out[0]
    assert list((out / "wandb").glob("offline-run-*/*.wandb"))
    # Every log is in the run's own history, and nothing lies beside outputs/.
    history = [json.loads(line) for line in (out / "history.jsonl").read_text().splitlines()]
    logged = [(log["step"], log.get("loss"), log.get("eval_loss")) for log in state["log_history"]]
    kept = [(log["step"], log.get("loss"), log.get("eval_loss")) for log in history]
    assert kept[: len(logged)] == logged and len(logged) > 4
    assert {path.name for path in tree.iterdir()} - before == {"outputs"}
    unkilled = load_file(out / "adapter_model.safetensors")
    again = make(tree, "train", "RECIPE=tiny")
    assert again.returncode == 0 and "is finished" in again.stdout

    # Told to stop after the second checkpoint, a half-written one left behind it, and run again:
    # the same adapter, tensor for tensor.
    shutil.rmtree(out)
    command = [".venvs/train/bin/python", "-m", "training.run", "tiny"]
    stopped = subprocess.Popen(
        command,
        cwd=tree,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 300
    while not (out / "checkpoint-8" / "sealed.json").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(stopped.pid, signal.SIGTERM)
    said = stopped.communicate()[1]
    assert stopped.returncode == 143 and re.search(
        r"error: stopped by SIGTERM at step \d+ of 16, checkpoint-\d+ is saved\n", said
    )
    assert (
        not (out / "adapter_model.safetensors").exists()
        and json.loads((out / "run.json").read_text())["status"] == "stopped"
    )
    (out / "checkpoint-15").mkdir()
    (out / "checkpoint-15" / "trainer_state.json").write_text('{"global_st')
    resumed = make(tree, "train", "RECIPE=tiny")
    assert resumed.returncode == 0, resumed.stderr[-3000:]
    assert (
        "checkpoint-15 is not whole" in resumed.stdout
        and "continuing from outputs/tiny/v2/checkpoint-" in resumed.stdout
    )
    adapter = load_file(out / "adapter_model.safetensors")
    assert adapter.keys() == unkilled.keys() and all(
        torch.equal(adapter[k], unkilled[k]) for k in adapter
    )

    merged = make(tree, "merge", "RECIPE=tiny")
    assert merged.returncode == 0, merged.stderr
    assert "proven: 28 of 28 modules" in merged.stdout
    assert answer_of(tree, out / "merged")


def answer_of(tree, folder) -> str:
    """What the merged model says to a chat request, through transformers' own classes, as its
    server loads them.
    """
    from transformers import AutoModelForImageTextToText, AutoProcessor

    processor = AutoProcessor.from_pretrained(folder)
    model = AutoModelForImageTextToText.from_pretrained(folder)
    inputs = processor.apply_chat_template(
        [message("user", "Question 3?")],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
    )
    produced = model.generate(**inputs, max_new_tokens=8, do_sample=False)
    return processor.tokenizer.decode(produced[0][inputs["input_ids"].shape[1] :])


def test_another_run_in_the_folder_is_not_overwritten(tree):
    with edited(tree, "seed: 42", "seed: 43"):
        done = make(tree, "train", "RECIPE=tiny")
    assert (
        done.returncode
        and "holds another run (other recipe_sha256, seed)" in done.stderr
        and "FRESH=1" in done.stderr
    )
    assert (tree / "outputs" / "tiny" / "v2" / "adapter_model.safetensors").exists()


def test_a_bad_row_stops_before_the_model_is_loaded(tree, tmp_path):
    """One line with file and line number, exit code not 0, and the output folder untouched."""
    folder = tree / "datasets" / "tiny" / "build"
    kept = {path.name: path.read_bytes() for path in folder.glob("*.json*")}
    bad = row(
        [message("user", "a"), message("assistant", "b", weight=1), message("system", "late")]
    )
    write_dataset(folder, [*some_rows(folder, 60), bad])
    done = make(tree, "check", "RECIPE=tiny")
    for name, content in kept.items():
        (folder / name).write_bytes(content)
    assert done.returncode and re.search(
        r"error: .*train\.jsonl:61: messages: a system turn that is not the first", done.stderr
    )


def test_a_typo_stops_the_run_with_its_line(tree):
    with edited(tree, "lora_alpha", "lora_alhpa"):
        done = make(tree, "check", "RECIPE=tiny")
    assert done.returncode and re.search(
        r"v2\.yaml:\d+: lora_alhpa: .*did you mean lora_alpha\?", done.stderr
    )


def test_a_plugin_that_is_not_there_stops_axolotl_itself(tree):
    """Axolotl logs the missing plugin and goes on; without `datasets:` it then refuses the recipe."""
    with edited(tree, "training.plugin.Aether", "training.nowhere.Aether") as recipe:
        done = subprocess.run(
            [".venvs/train/bin/python", "-m", "axolotl.cli.main", "train", recipe, "--launcher", "python"],
            cwd=tree, capture_output=True, text=True, timeout=300,
        )  # fmt: skip
    assert (
        done.returncode
        and "either datasets or pretraining_dataset is required" in done.stdout + done.stderr
    )


def test_unknown_recipe_gets_the_list(tree):
    done = make(tree, "train", "RECIPE=nope")
    assert done.returncode and "There are: " in done.stderr and "tiny/v2" in done.stderr
