"""Several ranks of one training: how many, one worker a card by torchrun's own launcher, and what
they decide together.

Without a GPU the ranks are processes that speak over gloo. What keeps a rank waiting for longer
than AXOLOTL_NCCL_TIMEOUT seconds (1,800 where it is not set) ends the run.
"""

from __future__ import annotations

import functools
import json
import logging
import os
import re
import signal
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import psutil
import torch
import torch.distributed as dist
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from common import runs
from common.processes import are_several, end_with_parent
from common.recipes import Recipe, RecipeError
from training.failures import LOST_RANK
from training.provenance import gpus
from training.signals import Interrupted, raise_when_told
from training.supervise import killed, pass_signals_to

LAUNCHER = "AETHER_LAUNCHER"  # the environment variable with the process that started a rank


def count(recipe: Recipe, asked: int | None) -> int:
    """How many ranks train a recipe here: GPUS=, else every GPU where the recipe asks for several,
    else one. Raises RecipeError where they are not there, or are too few.
    """
    cards = len(gpus())
    shards = recipe.data.get("shards")
    found = (cards or shards if shards else 1) if asked is None else asked
    if found < 1:
        raise RecipeError(f"GPUS={found}: at least one trains")
    if cards and found > cards:
        raise RecipeError(f"GPUS={found}: this machine has {cards}")
    if shards and found < shards:
        raise RecipeError(
            f"{recipe.id}: shards: made for {shards} GPUs and more, {found} would train; rent them"
        )
    if found > 1 and not shards and not recipe.data.get("adapter"):
        raise RecipeError(f"GPUS={found}: {recipe.id} trains the whole model; give it shards:")
    return found


def launch(words: list[str], ranks: int, folder: Path) -> int:
    """Run a Python module once a rank: `-m module words`. Its exit code, 128 + N where signal N
    ended it.

    Signals go on to every rank. When one dies the launcher stops the others, within half a minute,
    and what it died of is said and written to the folder's run.json.
    """
    os.environ[LAUNCHER] = str(os.getpid())
    threads = max(1, (os.cpu_count() or 1) // ranks)
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # all ranks are of this machine
    if not gpus():
        os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")  # no compiler is asked of a laptop
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=ranks,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
        monitor_interval=1,
        signals_to_handle="",  # its own handler would give a rank 30 s to save
    )
    logging.disable()  # it tells the same in twenty lines
    passed = pass_signals_to(_workers)
    try:
        elastic_launch(config, sys.executable)(*words)
    except ChildFailedError as error:
        code = _told(error.failures, folder, passed)
    else:
        code = 0
    finally:
        logging.disable(logging.NOTSET)
    raise_when_told()
    return code


def _workers() -> list[psutil.Process]:
    """The ranks. Raises Interrupted where none has begun."""
    found = psutil.Process().children()
    if not found:
        raise Interrupted(signal.SIGTERM)
    return found


def _told(failures: dict[int, ProcessFailure], folder: Path, passed: list[int]) -> int:
    """Say what ended a run of several ranks, and record it; the exit code."""
    codes = {failure.exitcode for failure in failures.values()}
    for number in passed:
        if codes == {128 + number}:
            return 128 + number  # rank 0 has said where it stopped
    rank, failure = min(failures.items(), key=_order)
    if failure.exitcode < 0:
        line = f"rank {rank}: {killed(-failure.exitcode)}"
    else:
        ended = f"ended with {failure.exitcode}"  # before it could say why
        line = (
            f"rank {rank}: {ended if 'To enable traceback' in failure.message else failure.message}"
        )
    record = runs.read(folder)
    if record:
        runs.write(folder, record | {"status": "failed", "ended_by": line})
    print(f"\nerror: {line}", file=sys.stderr)
    return 128 - failure.exitcode if failure.exitcode < 0 else failure.exitcode


def _order(item: tuple[int, ProcessFailure]) -> tuple[bool, bool, int]:
    """The rank that died first comes first, not one that the launcher stopped or that missed it."""
    _, failure = item
    was_stopped = failure.exitcode == -signal.SIGTERM
    return was_stopped, bool(re.search(LOST_RANK, failure.message)), failure.timestamp


def end_with_launcher() -> None:
    """Let this rank end with what started it, which may have been killed while it imported."""
    end_with_parent(parent=int(os.environ[LAUNCHER]))


def report(line: str) -> None:
    """Tell the launcher what this rank died of."""
    path = os.environ.get("TORCHELASTIC_ERROR_FILE")
    if path:
        told = {"message": line, "timestamp": int(time.time())}
        Path(path).write_text(json.dumps(told), encoding="utf-8")


def leave(code: int) -> NoReturn:
    """End a rank that failed, at once: NCCL's threads and the loaders' processes may keep it from
    ending by itself, and the others waiting.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


@functools.cache
def _hosts() -> dist.ProcessGroup | None:
    """The ranks' processes, not their GPUs: no decision waits for a GPU to come to its end."""
    return dist.new_group(backend="gloo")


def greatest(value: int) -> int:
    """The largest of the ranks' values; every rank must ask."""
    return int(_reduced(torch.tensor(value), dist.ReduceOp.MAX))


def total(value: float) -> float:
    """The sum of the ranks' values, NaN where one of them is; every rank must ask."""
    return float(_reduced(torch.tensor(value, dtype=torch.float64), dist.ReduceOp.SUM))


def _reduced(value: torch.Tensor, how: dist.ReduceOp) -> torch.Tensor:
    if are_several() and dist.is_initialized():
        dist.all_reduce(value, how, group=_hosts())
    return value


def configured(load: Callable[..., Any], source: Any, overrides: dict[str, Any]) -> Any:
    """Axolotl's configuration by its `load_cfg`, such that several ranks run without a GPU too.

    Axolotl would ask a driver that is not there whether cards reach each other, and move the model
    to the rank's own.
    """
    if not are_several() or torch.cuda.is_available():
        return load(source, **overrides)
    from axolotl.utils import trainer

    os.environ["ACCELERATE_USE_CPU"] = "true"
    trainer.check_cuda_p2p_ib_support = lambda: True
    cfg = load(source, **overrides, ddp=False)
    cfg.device_map = {"": "cpu"}
    return cfg
