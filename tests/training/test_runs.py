"""What ends a run, and what is left of it: seals, mirrors, signals, known failures, the figures of
a step.
"""

import errno
import json
import logging
import math
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import ROOT
from safetensors.torch import save_file

from common import runs
from common.files import only_writer
from common.recipes import find
from common.runs import RunError
from training import check, checkpoints, environment, failures, mirror, run
from training.history import HistoryWriter
from training.signals import Interrupted


def checkpoint(run, step, **facts):
    """A sealed checkpoint as the Trainer leaves one."""
    folder = run / f"checkpoint-{step}"
    folder.mkdir(parents=True)
    save_file({"a": torch.full((64,), float(step))}, folder / "adapter_model.safetensors")
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth"):
        torch.save({"step": step}, folder / name)
    (folder / "trainer_state.json").write_text(json.dumps({"global_step": step}))
    checkpoints.seal(folder, **facts)
    return folder


def run_record(run, status="running", recipe="tiny/v1"):
    runs.write(run, {"identity": {"recipe": recipe}, "status": status})


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda f: (f / "sealed.json").unlink(), "a seal is missing"),
        (lambda f: (f / "sealed.json").write_text('{"files": {"adap'), "a seal is missing"),
        (lambda f: (f / "optimizer.pt").unlink(), "optimizer.pt is missing"),
        (
            lambda f: os.truncate(f / "adapter_model.safetensors", 100),
            "adapter_model.safetensors is missing or cut short",
        ),
        (
            lambda f: (f / "rng_state.pth").write_bytes(
                b"x" * (f / "rng_state.pth").stat().st_size
            ),
            "rng_state.pth has changed",
        ),
    ],
)
def test_a_checkpoint_that_is_not_whole_is_passed_over(tmp_path, capsys, harm, said):
    whole, harmed = checkpoint(tmp_path, 9), checkpoint(tmp_path, 10)
    harm(harmed)
    assert checkpoints.newest(tmp_path) == whole
    assert f"checkpoint-10 is not whole ({said}" in capsys.readouterr().out
    assert not harmed.exists() and checkpoints.damage(whole) is None


def test_a_checkpoint_that_cannot_be_sealed_costs_no_older_one(tmp_path):
    """It goes, what was there stays, and whoever waits for it hears why."""
    from concurrent.futures import ThreadPoolExecutor

    from training.trainer import seal

    for step in (4, 8, 12):
        checkpoint(tmp_path, step)
    (tmp_path / "checkpoint-16").mkdir()
    (tmp_path / "checkpoint-16" / "trainer_state.json").write_text("{}")
    with ThreadPoolExecutor(1) as sealer:
        failed = sealer.submit(seal, tmp_path / "checkpoint-16", 2, True)
        with pytest.raises(OSError, match="optimizer.pt was written"):
            failed.result()
        assert sorted(path.name for path in tmp_path.iterdir()) == [
            "checkpoint-12",
            "checkpoint-4",
            "checkpoint-8",
        ]
        sealer.submit(seal, tmp_path / "checkpoint-12", 2, False).result()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-12", "checkpoint-8"]
    assert checkpoints.sealed(tmp_path / "checkpoint-12")["evaluated"] is False


@pytest.mark.parametrize("name", ["optimizer.pt", "rng_state.pth", "adapter_model.safetensors"])
def test_what_cannot_be_resumed_from_is_not_sealed(tmp_path, name):
    folder = checkpoint(tmp_path, 1)
    (folder / "sealed.json").unlink()
    (folder / name).unlink()
    with pytest.raises(OSError, match="was written"):
        checkpoints.seal(folder)
    (folder / "adapter_model.safetensors").write_bytes(b"\x40\0\0\0\0\0\0\0{}")
    with pytest.raises(Exception, match="(?i)header"):
        checkpoints.seal(folder)
    assert checkpoints.sealed(folder) == {}


@pytest.mark.parametrize("scheme", ["{path}", "file://{path}", "memory://runs"])
def test_a_fresh_machine_takes_the_newest_whole_checkpoint_from_the_mirror(
    tmp_path, monkeypatch, capsys, scheme
):
    monkeypatch.setenv("MIRROR", scheme.format(path=tmp_path / "mirror"))
    lost, fresh = tmp_path / "lost", tmp_path / "fresh" / "v1"
    mirror.fetch(fresh, "tiny/v1")
    assert not fresh.exists()  # nothing there yet
    run_record(lost)
    for step in (8, 16, 24):
        checkpoint(lost, step)
        mirror.push(lost, f"checkpoint-{step}", keep=2)
    there = mirror.of("tiny/v1")
    assert there.checkpoints() == ["checkpoint-24", "checkpoint-16"]
    there.system.pipe_file(
        there.at("checkpoint-24/optimizer.pt"), b"half"
    )  # the upload that was cut off
    mirror.fetch(fresh, "tiny/v1")
    assert (
        checkpoints.newest(fresh) == fresh / "checkpoint-16"
        and runs.read(fresh)["status"] == "running"
    )
    assert (fresh / "checkpoint-16" / "optimizer.pt").read_bytes() == (
        lost / "checkpoint-16" / "optimizer.pt"
    ).read_bytes()
    assert "fetched tiny/v1/checkpoint-16" in capsys.readouterr().out
    # Finished: the result takes the place of the checkpoints.
    run_record(lost, "finished")
    save_file({"a": torch.ones(4)}, lost / "adapter_model.safetensors")
    checkpoints.seal(lost, ("*model*.safetensors",))
    mirror.push(lost, keep=0)
    assert there.checkpoints() == []
    other = tmp_path / "other" / "v1"
    mirror.fetch(other, "tiny/v1")
    assert checkpoints.damage(other) is None and runs.read(other)["status"] == "finished"
    mirror.forget("tiny/v1")
    assert not there.system.exists(there.root)


def test_a_mirror_that_is_down_ends_no_training_and_starts_none_anew(tmp_path, monkeypatch, capsys):
    run_record(tmp_path / "run")
    checkpoint(tmp_path / "run", 8)
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("MIRROR", str(tmp_path / "file"))
    mirror.push(tmp_path / "run", "checkpoint-8", keep=2)
    said = capsys.readouterr().err
    assert said.startswith("warning: MIRROR: checkpoint-8 was not copied") and said.count("\n") == 1
    with pytest.raises(RunError, match="MIRROR: tiny/v1 cannot be reached"):
        mirror.fetch(tmp_path / "fresh", "tiny/v1")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("nonsense://x", "MIRROR: Protocol not known: nonsense; give a folder, or a URL"),
        ("backup", "MIRROR: backup is relative; give a whole path such as /"),
    ],
)
def test_a_wrong_mirror_is_refused_before_anything_is_made(monkeypatch, url, said):
    monkeypatch.setenv("MIRROR", url)
    monkeypatch.setattr(run, "ensure_data", lambda recipe: pytest.fail("a dataset was built"))
    with pytest.raises(RunError, match=said):
        run.run(find("tiny/v1"), fresh=False, override=None)
    assert any(error.startswith(said) for error in check.check(find("tiny/v1"))["errors"])


@pytest.mark.parametrize(("name", "words"), environment.NOISE.items())
def test_exactly_the_noise_of_libraries_is_silent(caplog, name, words):
    environment.quiet_environment()
    logging.getLogger(name).warning("It says: %s. Mend it.", words)
    logging.getLogger(name).warning("something else")
    assert [record.getMessage() for record in caplog.records] == ["something else"]


def raised(error, cause=None):
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "the disk is full;"),
        (
            RuntimeError("[enforce fail at inline_container.cc:664] . unexpected pos 64 vs 0"),
            "the disk is full;",
        ),
        (
            raised(RuntimeError("save failed"), OSError(errno.ENOSPC, "No space left on device")),
            "the disk is full;",
        ),
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
            "the GPU is out of memory",
        ),
        (MemoryError(), "out of host memory"),
        (
            RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. "),
            "out of host memory",
        ),
        (RuntimeError("DataLoader worker (pid(s) 7, 8) exited unexpectedly"), "out of host memory"),
        (failures.Diverged("the loss is nan at step 7 of 9"), "the loss is nan at step 7"),
        (
            Interrupted(signal.SIGTERM, "at step 4 of 9, checkpoint-4 is saved"),
            "stopped by SIGTERM at step 4",
        ),
        (RuntimeError("something else"), None),
        (KeyError("disk"), None),
    ],
)
def test_known_failures_are_one_line_and_others_keep_their_traceback(error, said):
    found = failures.explain(error, "outputs/tiny/v1")
    assert found is None if said is None else said in found and "\n" not in found


CHILD = """
import os, signal, sys, time
from training.signals import Interrupted, StopRequest
stop = StopRequest()
try:
    print(os.getpid(), flush=True)
    {body}
except Interrupted as error:
    print(error, file=sys.stderr)
    sys.exit(128 + error.signal)
sys.exit(7)
"""
PARENT = "import sys; from training.supervise import supervise; sys.exit(supervise(sys.argv[1:]))"


def supervised(body, act=None):
    """(exit code, stderr, process id of the child) of training.run's supervision over a child that
    runs `body`.
    """
    child = [sys.executable, "-c", CHILD.format(body=body)]
    command = [sys.executable, "-c", PARENT, *child]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        child = int(process.stdout.readline())
        if act:
            act(process, child)
        _, said = process.communicate(timeout=30)
    return process.returncode, said, child


def test_the_exit_code_of_the_work_is_the_commands():
    assert supervised("pass")[:2] == (7, "")


def test_a_signal_before_training_ends_at_once():
    assert supervised("time.sleep(30)", lambda parent, _: parent.terminate())[:2] == (
        143,
        "stopped by SIGTERM before training began\n",
    )


def test_a_signal_while_training_waits_for_the_step():
    """It is said without sys.stderr, whose wrappers hold locks: a print from the handler stopped a
    run for good.
    """
    quiet = "said, sys.stderr = sys.stderr, None; os.kill(os.getppid(), signal.SIGINT); time.sleep(0.5); sys.stderr = said"
    body = f"stop.defer(); {quiet}; raise Interrupted(stop.signal, 'at step 4')"
    assert supervised(body)[:2] == (
        130,
        "\nSIGINT: saving a checkpoint, then stopping\nstopped by SIGINT at step 4\n",
    )


def test_a_closed_terminal_saves_as_sigterm_does():
    """SIGHUP to the whole group, whose terminal fails every print from then on."""
    body = "stop.defer(); time.sleep(1); print('still here'); raise Interrupted(stop.signal)"
    code, said, _ = supervised(body, lambda parent, _: parent.send_signal(signal.SIGHUP))
    assert (code, said) == (129, "")


def test_a_hangup_that_is_to_be_ignored_is_ignored():
    """As nohup starts a command."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        found = supervised("time.sleep(1)", lambda parent, _: parent.send_signal(signal.SIGHUP))
    finally:
        signal.signal(signal.SIGHUP, before)
    assert found[:2] == (7, "")


SLOW = "import sys; from common.errors import command; {take}; sys.argv.append('tiny'); sys.exit(command(m.main))"


@pytest.mark.parametrize(
    ("take", "said"),
    [
        ("from training import run as m; m.run = slow", "error: stopped by SIGINT before training"),
        ("from training import check as m; m.check = slow", "stopped by Ctrl-C"),
    ],
)
def test_ctrl_c_is_one_line(take, said):
    """Before the training, where checks and imports take most of the time."""
    begun = "print('begun', file=sys.__stdout__, flush=True)"
    code = f"import time\nslow = lambda *_: {begun} or time.sleep(30)\n"
    words = [sys.executable, "-c", code + SLOW.format(take=take)]
    with subprocess.Popen(
        words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "begun\n"
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert told.strip().startswith(said) and told.strip().count("\n") == 0


def test_a_copied_checkpoint_is_none_of_ours(tmp_path):
    whole = checkpoint(tmp_path, 122)
    for name in ("checkpoint-122-backup", "checkpoint-", "checkpoint-12x", "checkpoint-7.old"):
        (tmp_path / name).mkdir()
    assert checkpoints.all_of(tmp_path) == [whole] == [checkpoints.newest(tmp_path)]
    newer = [checkpoint(tmp_path, step) for step in (130, 140)]
    checkpoints.keep_newest(tmp_path, 2)
    assert checkpoints.all_of(tmp_path) == newer[::-1] and not whole.exists()
    assert (tmp_path / "checkpoint-122-backup").is_dir()


def test_a_netrc_that_knows_another_host_means_offline(tmp_path):
    code = "import os; from training.environment import quiet_environment as q; q(); print(os.environ.get('WANDB_MODE'))"
    for host, home, wanted in (
        ("github.com", True, "offline"),
        ("api.wandb.ai", True, "None"),
        ("api.wandb.ai", False, "offline"),
    ):
        (tmp_path / ".netrc").write_text(f"machine {host}\n login user\n password {'k' * 40}\n")
        (tmp_path / ".netrc").chmod(0o600)
        names = ("HOME", "WANDB_MODE", "WANDB_API_KEY", "NETRC")
        bare = {key: value for key, value in os.environ.items() if key not in names}
        where = {"HOME": str(tmp_path)} if home else {}
        words = [sys.executable, "-c", code]
        done = subprocess.run(words, cwd=ROOT, env=bare | where, capture_output=True, text=True)
        assert done.stdout.strip() == wanted, (host, done.stderr)


def test_what_was_logged_is_kept_line_by_line(tmp_path):
    """Also after a kill in the midst of a line."""
    writer = HistoryWriter(tmp_path)
    state = SimpleNamespace(is_world_process_zero=True, global_step=5)
    writer.on_log(None, state, None, logs={"loss": 1.5})
    with (tmp_path / "history.jsonl").open("a") as file:
        file.write('{"step": 10, "lo')
    writer.on_log(None, SimpleNamespace(is_world_process_zero=False, global_step=9), None, {"x": 1})
    state.global_step = 10
    writer.on_log(None, state, None, logs={"eval_loss": np.float64(1.25)})
    lines = (tmp_path / "history.jsonl").read_text().splitlines()
    assert [lines[0], lines[2]] == ['{"step": 5, "loss": 1.5}', '{"step": 10, "eval_loss": 1.25}']
    assert len(lines) == 3


def test_killed_for_want_of_memory_is_said():
    code, said, _ = supervised("os.kill(os.getpid(), signal.SIGKILL)")
    assert (
        code == 137
        and said.startswith("\nerror: killed by SIGKILL, by the system for want of memory")
        and said.count("\n") == 2
    )


def test_nothing_trains_on_when_its_parent_is_killed():
    code, _, child = supervised("time.sleep(30)", lambda parent, _: parent.kill())
    assert code == -signal.SIGKILL
    deadline = time.monotonic() + 5
    while (
        os.path.exists(f"/proc/{child}/cmdline")
        and open(f"/proc/{child}/cmdline").read()
        and time.monotonic() < deadline
    ):
        time.sleep(0.05)
    assert not (os.path.exists(f"/proc/{child}/cmdline") and open(f"/proc/{child}/cmdline").read())


def test_two_processes_do_not_train_in_one_folder(tmp_path):
    code = "import sys; from pathlib import Path; from common.errors import command; from common.files import only_writer\ndef main():\n  with only_writer(Path(sys.argv[1]), 'being trained'): pass\nsys.exit(command(main))"
    words = [sys.executable, "-c", code, tmp_path / "v1"]
    with only_writer(tmp_path / "v1"):
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "is being trained by another process" in done.stderr
    assert subprocess.run(words, cwd=ROOT).returncode == 0


def test_a_record_is_whole_or_as_it_was(tmp_path):
    run_record(tmp_path)
    with pytest.raises(TypeError):
        runs.write(tmp_path, {"status": object()})
    assert runs.read(tmp_path)["status"] == "running"


@pytest.mark.parametrize(
    ("loss", "gradient", "named"),
    [(math.nan, 1.0, "loss"), (1.0, math.inf, "gradient"), (1.0, 1.0, None)],
)
def test_a_nan_stops_before_it_is_saved(monkeypatch, loss, gradient, named):
    from transformers import Trainer

    from training.trainer import AetherTrainer

    went_on = []
    monkeypatch.setattr(Trainer, "_maybe_log_save_evaluate", lambda *_: went_on.append(True))
    trainer = AetherTrainer.__new__(AetherTrainer)
    trainer.control = SimpleNamespace(should_log=False, should_save=True)
    trainer.state = SimpleNamespace(global_step=7, max_steps=9)
    if named:
        with pytest.raises(failures.Diverged, match=f"the {named} is (nan|inf) at step 7 of 9"):
            trainer._maybe_log_save_evaluate(
                torch.tensor(loss), torch.tensor(gradient), None, None, 1.0, None, 0.0
            )
    else:
        trainer._maybe_log_save_evaluate(
            torch.tensor(loss), torch.tensor(gradient), None, None, 1.0, None, 0.0
        )
    assert went_on == ([] if named else [True])


def test_the_figures_of_a_step(tiny):
    """Two bins: 6 tokens of rows 4 and 2, 4 tokens of one row; 10 + 3 + 10 attending pairs."""
    from training.meter import Meter

    config = json.loads((tiny / "config.json").read_text())
    meter = Meter(config, ceiling=1e9)
    meter.add({"input_ids": torch.zeros(1, 6), "position_ids": torch.tensor([[0, 1, 2, 3, 0, 1]])})
    meter.add(
        {
            "input_ids": torch.zeros(1, 4),
            "position_ids": torch.tensor([[0, 1, 2, 3]]),
            "attention_mask": torch.tensor([[1, 1, 1, 0]]),
        }
    )
    assert (meter.tokens, meter.slots, int(meter.pairs)) == (9, 10, 23)
    meter.since = time.perf_counter() - 3
    found = meter.read()
    assert found["speed/tokens_per_s"] == pytest.approx(3, rel=0.01) and found[
        "speed/padding"
    ] == pytest.approx(0.1)
    shape = meter.shape
    flops = 3 * 6 * shape.parameters + 16 * shape.layers * shape.heads * shape.head_dim * 23 / 3
    assert found["speed/share_of_ceiling"] == pytest.approx(flops / 1e9, rel=0.01)
    assert meter.read() == {}


KEYS = {
    "WANDB_API_KEY": "c0ffee" * 6 + "cafe",
    "HF_TOKEN": "hf_PlantedTokenPlantedTokenPlanted",
    "OPENAI_API_KEY": "sk-planted-0123456789abcdef",
}


def test_no_key_of_the_environment_is_written(tmp_path):
    """The W&B run as training starts it, offline, with keys in the environment; then every file it
    left is searched.
    """
    code = """
import json, sys
from pathlib import Path
from common import runs
from common.bases import Base
from common.recipes import find
from training import provenance, tracking
folder, recipe = Path(sys.argv[1]), find("tiny")
now = provenance.surroundings(Base("Owner/model", None, "0" * 40))
runs.write(folder, {"identity": {"recipe": recipe.id}, **now, "wandb_id": "abcd1234"})
(folder / "recipe.yaml").write_text(recipe.text)
(folder / "data.json").write_text(json.dumps({"data_sha256": "d" * 64, "rows": {"train": 3}}))
run = tracking.start("train", folder)
run.log({"train/loss": 1.0})
run.finish()
"""
    keys = KEYS | {"WANDB_MODE": "offline", "WANDB_SILENT": "true"}
    subprocess.run(
        [sys.executable, "-c", code, tmp_path],
        cwd=ROOT,
        env=os.environ | keys,
        check=True,
        timeout=120,
    )
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {"run.json", "run-abcd1234.wandb"} <= {path.name for path in files} and len(files) > 8
    assert not [
        path for path in files for key in KEYS.values() if key.encode() in path.read_bytes()
    ]


def test_a_signal_to_the_group_leaves_the_loading_of_rows_alone(monkeypatch):
    """The Trainer's loader, and the one that a resumed run skips ahead with, go on when their
    worker is told to end.
    """
    from accelerate.data_loader import DataLoaderShard, skip_first_batches
    from axolotl.core.trainers.base import AxolotlTrainer

    from training.trainer import AetherTrainer

    stock = DataLoaderShard(list(range(40)), batch_size=1, num_workers=1)
    monkeypatch.setattr(AxolotlTrainer, "get_train_dataloader", lambda self: stock)
    loader = AetherTrainer.__new__(AetherTrainer).get_train_dataloader()
    for one, first in ((loader, 0), (skip_first_batches(loader, 2), 2)):
        rows = iter(one)
        seen = [int(next(rows))]
        for worker in multiprocessing.active_children():
            os.kill(worker.pid, signal.SIGTERM)
        assert seen + [int(row) for row in rows] == list(range(first, 40))
