r"""Whether two LaTeX results are the same mathematics: equal as written, equal as numbers, else asked of math-verify.

math-verify hands the text to sympy, which may never come back from `9^{9^{9^9}}`. It runs in a process of its own that is killed
when a comparison takes longer than SECONDS, and started again for the next.
"""

from __future__ import annotations

import atexit
import multiprocessing
import re
import threading
from fractions import Fraction
from functools import lru_cache

SECONDS = 5.0
LONGEST = 400  # characters; no gold of MATH is longer
_PLAIN = re.compile(r"(-?\d{1,40}(?:\.\d{1,40})?|-?\.\d{1,40})(?:/(\d{1,40}))?")
_FRACTION = re.compile(r"(-?)\\frac\{?(-?\d+)\}?\{?(\d+)\}?")
_worker: tuple | None = None
_lock = threading.Lock()


@lru_cache(maxsize=4096)
def same_mathematics(gold: str, found: str) -> bool:
    """Whether `found` is `gold`. Raises nothing; what takes too long or cannot be read is not the same."""
    if len(found) > LONGEST:
        return False
    wanted, given = _written(gold), _written(found)
    if wanted == given:
        return True
    left, right = _value(wanted), _value(given)
    if left is not None and right is not None:
        return left == right
    with _lock:
        return _ask(gold, found)


def _written(text: str) -> str:
    """A result without the ways LaTeX has of saying the same: spaces, dollars, sizes, text, units of degree, thousands commas."""
    text = re.sub(r"\\(?:left|right|displaystyle|quad|[,!;: %])|[\s$%]|\^\{?\\circ\}?", "", text)
    text = re.sub(r"\\[dt]frac", r"\\frac", re.sub(r"\\(?:text|mathrm|mbox|textbf|mathbf)\{([^{}]*)\}", r"\1", text))
    text = re.sub(r"(?<=\d)(?:\{,\}|,)(?=\d{3}(?!\d))", "", text).rstrip(".")
    return text.replace("−", "-")


def _value(text: str) -> Fraction | None:
    text = _FRACTION.sub(r"\1\2/\3", text) if _FRACTION.fullmatch(text) else text
    match = _PLAIN.fullmatch(text.removeprefix("+").replace("--", ""))
    return Fraction(match[1]) / int(match[2] or 1) if match and int(match[2] or 1) else None


def _ask(gold: str, found: str) -> bool:
    global _worker
    if _worker is None or not _worker[0].is_alive():
        here, there = multiprocessing.Pipe()
        process = multiprocessing.get_context("spawn").Process(target=_serve, args=(there,), daemon=True)
        process.start()
        _worker = process, here
        here.send(("1", "1"))  # the first comparison imports sympy
        here.poll(60) and here.recv()
    process, pipe = _worker
    try:
        pipe.send((gold, found))
        if pipe.poll(SECONDS):
            return pipe.recv()
    except (EOFError, OSError):
        pass  # the worker died on it: out of memory, most likely
    process.kill()
    process.join()
    _worker = None
    return False


def _serve(pipe) -> None:
    import logging
    import resource

    logging.disable(logging.WARNING)
    resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
    import math_verify

    def read(text: str) -> list:
        return math_verify.parse(f"$\\boxed{{{text}}}$", parsing_timeout=None)

    while True:
        gold, found = pipe.recv()
        try:
            pipe.send(bool(math_verify.verify(read(gold), read(found), timeout_seconds=None)))
        except Exception:  # whatever sympy raises on a text a model wrote: it is not the same
            pipe.send(False)


atexit.register(lambda: _worker and _worker[0].kill())
