"""The sources of a build, each run in a process of its own."""

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor

from common import vocabulary
from common.processes import end_with_parent
from preprocess import candidates
from preprocess.benchmarks import Benchmark
from preprocess.candidates import Result, Task

PROCESSES = 4

# What this process compares rows with: handed over as the process is forked, since it is too large
# to be sent with every task.
_benchmark = Benchmark()


def run_all(tasks: list[Task], benchmark: Benchmark) -> list[Result]:
    """The tasks' results, in their order. Raises AetherError.

    What people wrote is read first, so that a mistake in it shows within seconds; the slow sources
    stand last in a mix and go before the others.
    """
    vocabulary.tokenizer()  # read once, here: the processes are forked and share it
    order = sorted(tasks, key=lambda task: (not task.source.written, -task.number))
    processes = min(os.cpu_count() or 1, PROCESSES)
    fork = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(processes, fork, _begin, (benchmark,)) as pool:
        results = list(pool.map(_run, order))
    by_number = {task.number: result for task, result in zip(order, results, strict=True)}
    return [by_number[task.number] for task in tasks]


def _begin(benchmark: Benchmark) -> None:
    global _benchmark
    _benchmark = benchmark
    end_with_parent()  # no orphan of a killed build works on


def _run(task: Task) -> Result:
    return candidates.run(task, _benchmark)
