r"""Whether two LaTeX results are the same mathematics: equal as written, equal as numbers, else asked of math-verify.

math-verify hands the text to sympy, which may never come back from `9^{9^{9^9}}`. It runs in a process of its own that is killed
when a comparison takes longer than SECONDS, and started again for the next.
"""

from __future__ import annotations

import json
import logging
import re
import resource
import select
import subprocess
import sys
import threading
from fractions import Fraction
from functools import lru_cache

from common.files import ROOT

SECONDS = 5.0
LONGEST = 400  # characters; no gold of MATH is longer
_PLAIN = re.compile(r"(-?\d{1,40}(?:\.\d{1,40})?|-?\.\d{1,40})(?:/(\d{1,40}))?")
_FRACTION = re.compile(r"(-?)\\frac\{?(-?\d+)\}?\{?(\d+)\}?")
_worker: subprocess.Popen | None = None
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
    text = re.sub(
        r"\\[dt]frac",
        r"\\frac",
        re.sub(r"\\(?:text|mathrm|mbox|textbf|mathbf)\{([^{}]*)\}", r"\1", text),
    )
    text = re.sub(r"(?<=\d)(?:\{,\}|,)(?=\d{3}(?!\d))", "", text).rstrip(".")
    return text.replace("−", "-")


def _value(text: str) -> Fraction | None:
    text = _FRACTION.sub(r"\1\2/\3", text) if _FRACTION.fullmatch(text) else text
    match = _PLAIN.fullmatch(text.removeprefix("+").replace("--", ""))
    return Fraction(match[1]) / int(match[2] or 1) if match and int(match[2] or 1) else None


def _ask(gold: str, found: str) -> bool:
    global _worker
    if _worker is None or _worker.poll() is not None:
        words = [sys.executable, "-m", "evaluation.equal"]
        _worker = subprocess.Popen(
            words, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        _exchange("1", "1", 60)  # the first comparison imports sympy
    told = _exchange(gold, found, SECONDS)
    if told is None:
        _worker.kill()
        _worker.wait()
    return bool(told)


def _exchange(gold: str, found: str, seconds: float) -> bool | None:
    """The worker's verdict; None when none came in time, or the worker died on it."""
    try:
        _worker.stdin.write(json.dumps([gold, found]) + "\n")
        _worker.stdin.flush()
    except OSError:
        return None
    ready, _, _ = select.select([_worker.stdout], [], [], seconds)
    said = _worker.stdout.readline() if ready else ""
    return said == "True\n" if said else None


def _serve() -> None:
    """Answer each line [gold, found] with a line True or False."""
    resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
    logging.disable(logging.WARNING)
    import math_verify

    for line in sys.stdin:
        try:
            gold, found = (
                math_verify.parse(f"$\\boxed{{{text}}}$", parsing_timeout=None)
                for text in json.loads(line)
            )
            print(bool(math_verify.verify(gold, found, timeout_seconds=None)), flush=True)
        except Exception:  # whatever sympy raises on a text a model wrote: it is not the same
            print(False, flush=True)


if __name__ == "__main__":
    _serve()
