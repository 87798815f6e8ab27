r"""Whether two LaTeX results are the same mathematics: equal as written, equal as numbers, else
asked of math-verify, by python -m common.answers.mathematics.

math-verify hands the text to sympy, which may never come back from `9^{9^{9^9}}`. It runs in a
process of its own that is killed when a comparison takes longer than SECONDS, and started again for
the next.
"""

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

from common.answers.latex import letters, unit, written
from common.answers.numbers import LONGEST, literals, normalised
from common.errors import AetherError
from common.files import ROOT
from common.options import parser_of
from common.processes import end_with_parent

SECONDS = 5.0
FIRST_SECONDS = 60.0  # the first comparison imports sympy
WORKER_BYTES = 4 << 30


class MathError(AetherError):
    """Results cannot be compared on this machine."""


_REPEATING = re.compile(r"(-?)(\d*)\.(\d*)\\(?:overline|bar|dot)\{?(\d+)\}?")
_BASE = re.compile(r"\d_\{?(\d+)\}?")
_PLAIN_LOG = re.compile(r"\\log(?!\s*_|[a-zA-Z])")
_OTHER_LOG = re.compile(r"\\log\s*_|\\ln(?![a-zA-Z])|\\lg(?![a-zA-Z])")


@lru_cache(maxsize=4096)
def same_mathematics(gold: str, found: str) -> bool:
    """Whether `found` is `gold`, both LaTeX. What takes too long or cannot be read is not the same.

    Raises MathError where math-verify, which is asked last, is not installed.
    """
    if len(found) > LONGEST:
        return False
    for stated in (unit, letters):
        sides = (stated(gold), stated(found))
        if all(sides) and sides[0] != sides[1]:
            return False
    wanted, given = written(gold), written(found)
    if wanted == given or (_is_word(wanted) and wanted.lower() == given.lower()):
        return True
    if ":" in wanted or ":" in given:
        return _same_ratio(wanted.split(":"), given.split(":"))
    left = _listed(wanted)
    right = _listed(given)
    if left and right:
        return left == right
    if _certainly_differ(wanted, given):
        return False
    return _worker.same(wanted, given)


def _same_ratio(wanted: list[str], given: list[str]) -> bool:
    """Whether both are ratios of as many parts, and each part is to the first as in the other."""
    if len(wanted) != len(given):
        return False
    left = _numbers(wanted)
    right = _numbers(given)
    if not left or not right:
        return all(map(same_mathematics, wanted, given))
    return all(one * right[0] == other * left[0] for one, other in zip(left, right, strict=True))


def _listed(text: str) -> list[Fraction]:
    """The numbers that a result lists, smallest first: their order says nothing. Empty where it is
    anything else.
    """
    return sorted(_numbers(re.sub(r"^\\\{(.*)\\\}$", r"\1", text).split(",")))


def _numbers(parts: list[str]) -> list[Fraction]:
    """The numbers that these are; empty where one of them is none."""
    found = [value for part in parts if (value := _number(part)) is not None]
    return found if len(found) == len(parts) else []


def _number(text: str) -> Fraction | None:
    """The number that the whole of a result is; None for anything else."""
    if found := _REPEATING.fullmatch(text):
        sign, whole, start, period = found.groups()
        digits = int(whole + start + period or "0") - int(whole + start or "0")
        value = Fraction(digits, (10 ** len(period) - 1) * 10 ** len(start))
        return -value if sign else value
    if "," in text:
        return None
    plain = normalised(text.replace("␣", " ")).strip()
    numbers = [*literals(plain)]
    if len(numbers) == 1 and (numbers[0].start, numbers[0].end) == (0, len(plain)):
        return numbers[0].value
    return None


def _certainly_differ(wanted: str, given: str) -> bool:
    """What math-verify would call the same and is not: digits apart, a pair and a number, numerals
    or logarithms of different bases.
    """
    if "␣" in wanted or "␣" in given:
        return True
    if ("," in wanted) != ("," in given) and (_number(wanted), _number(given)) != (None, None):
        return True
    bases = [_BASE.findall(text) for text in (wanted, given)]
    if all(bases) and bases[0] != bases[1]:
        return True
    for one, other in ((wanted, given), (given, wanted)):
        if _PLAIN_LOG.search(one) and _OTHER_LOG.search(other):
            return True
    return False


def _is_word(text: str) -> bool:
    return bool(re.fullmatch(r"[A-Za-z]{3,}", text))


class _Worker:
    """The process in which math-verify compares, one comparison at a time."""

    def __init__(self) -> None:
        self._process: subprocess.Popen | None = None
        self._lock = threading.Lock()

    def same(self, wanted: str, given: str) -> bool:
        with self._lock:
            if self._process is None or self._process.poll() is not None:
                self._start()
            told = self._exchange(wanted, given, SECONDS)
            if told is None:
                self._end()
            return told is True

    def _start(self) -> None:
        words = [sys.executable, "-m", "common.answers.mathematics"]
        self._process = subprocess.Popen(
            words, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            preexec_fn=end_with_parent,
        )  # fmt: skip
        if self._exchange("1", "1", FIRST_SECONDS) is None:
            self._end()
            raise MathError(
                "math-verify does not start; results are compared in the environment light"
            )

    def _end(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def _exchange(self, wanted: str, given: str, seconds: float) -> bool | None:
        """The verdict; None when none came in time, or the process died on it."""
        assert self._process is not None and self._process.stdin and self._process.stdout
        try:
            self._process.stdin.write(json.dumps([wanted, given]) + "\n")
            self._process.stdin.flush()
        except OSError:
            return None
        ready, _, _ = select.select([self._process.stdout], [], [], seconds)
        line = self._process.stdout.readline() if ready else ""
        return line == "True\n" if line else None


_worker = _Worker()


def serve() -> None:
    """Answer each line [wanted, given] of the standard input with a line True or False."""
    resource.setrlimit(resource.RLIMIT_AS, (WORKER_BYTES, WORKER_BYTES))
    logging.disable(logging.WARNING)
    import math_verify

    for line in sys.stdin:
        try:
            wanted, given = (
                math_verify.parse(f"$\\boxed{{{text}}}$", parsing_timeout=None)
                for text in json.loads(line)
            )
            print(bool(math_verify.verify(wanted, given, timeout_seconds=None)), flush=True)
        except Exception:  # whatever sympy raises on a text a model wrote: it is not the same
            print(False, flush=True)


if __name__ == "__main__":
    parser_of(__doc__).parse_args()
    serve()
