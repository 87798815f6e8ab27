r"""Whether two LaTeX results are the same mathematics: equal as written, equal as numbers, else
asked of math-verify.

math-verify hands the text to sympy, which may never come back from `9^{9^{9^9}}`. It runs in a
process of its own that is killed when a comparison takes longer than SECONDS, and started again for
the next.
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

from common.answers.numbers import LONGEST, literals, normalised
from common.errors import AetherError
from common.files import ROOT
from common.processes import end_with_parent

SECONDS = 5.0
FIRST_SECONDS = 60.0  # the first comparison imports sympy
WORKER_BYTES = 4 << 30


class MathError(AetherError):
    """Results cannot be compared on this machine."""


_LOOKS = [  # in this order: the ways LaTeX has of saying the same
    (re.compile(r"\\(?:left|right|displaystyle|limits|bigl?|bigr?|Bigl?|Bigr?)(?![a-zA-Z])"), ""),
    (re.compile(r"(?:\{,\}|,\\!|\\!,|(?<=\d)\\,)(?=\d{3})"), ""),
    (re.compile(r"\{,\}"), "."),
    (re.compile(r"(?<!\\)\\[!;:, ]|\\q?quad(?![a-zA-Z])|~"), " "),
    (re.compile(r"\\begin\{array\}\{[clr]*\}"), r"\\begin{pmatrix}"),
    (re.compile(r"\\end\{array\}"), r"\\end{pmatrix}"),
    (re.compile(r"\(\s*(\\begin\{pmatrix\}.*?\\end\{pmatrix\})\s*\)", re.DOTALL), r"\1"),
    (re.compile(r"([_^])\s?(\w)"), r"\1{\2}"),
    (re.compile(r"\\\$|(?<!\\)\$|\\?%|\^\s?\{?\\circ\}?|°|\\degree"), ""),
    (re.compile(r"\\[dtc]frac"), r"\\frac"),
    (
        re.compile(
            r"(?<=\d)\s*\\(?:text|mathrm|mbox)\{(?!\s*(?:or|and)\b)[^{}]*[A-Za-z][^{}]*\}"
            r"(?:\^\{\d\})?"
        ),
        "",
    ),
    (re.compile(r"\\(?:text|mathrm|mbox|textbf|mathbf|textit|operatorname)\{([^{}]*)\}"), r"\1"),
    (re.compile(r"\\(?:varnothing|emptyset)(?![a-zA-Z])|∅|^\s*\\\{\s*\\\}\s*$"), r"\\emptyset"),
    (re.compile(r"\\geq?(?![a-zA-Z])|\\geqslant|≥|>="), r"\\ge "),
    (re.compile(r"\\leq?(?![a-zA-Z])|\\leqslant|≤|<="), r"\\le "),
    (re.compile(r"\\gt(?![a-zA-Z])"), ">"),
    (re.compile(r"\\lt(?![a-zA-Z])"), "<"),
    (re.compile(r"∞"), r"\\infty "),
    (re.compile(r"π"), r"\\pi "),
    (re.compile(r"∪"), r"\\cup "),
    (re.compile(r"\\lg(?![a-zA-Z])"), r"\\log_{10}"),
    (re.compile(r"\\cdot|\\times|·|×"), r"\\cdot "),
    (re.compile(r"[−–]"), "-"),
    (re.compile(r"\+\s?\\infty"), r"\\infty"),
    (re.compile(r"^\s*[a-zA-Z]\s*\\in(?![a-zA-Z])"), ""),
]
_REPEATING = re.compile(r"(-?)(\d*)\.(\d*)\\(?:overline|bar|dot)\{?(\d+)\}?")
_SIDE = r"(?:[^<>=\\,]|\\(?!ge|le)[a-zA-Z]+)+"
_BETWEEN = re.compile(rf"({_SIDE})(<|\\le)\s*[a-zA-Z]\s*(<|\\le)({_SIDE})")
_BETWEEN_DOWN = re.compile(rf"({_SIDE})(>|\\ge)\s*[a-zA-Z]\s*(>|\\ge)({_SIDE})")
_ABOVE = re.compile(rf"\s*[a-zA-Z]\s*(>|\\ge)({_SIDE})|({_SIDE})(<|\\le)\s*[a-zA-Z]\s*")
_BELOW = re.compile(rf"\s*[a-zA-Z]\s*(<|\\le)({_SIDE})|({_SIDE})(>|\\ge)\s*[a-zA-Z]\s*")
_THOUSANDS = re.compile(r"(?<![\d.,])[1-9]\d{0,2}(?:,\d{3})+(?![\d,]|\.\d*,)")
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
    wanted, given = written(gold), written(found)
    if wanted == given or (_is_word(wanted) and wanted.lower() == given.lower()):
        return True
    left, right = _number(wanted), _number(given)
    if left is not None and right is not None:
        return left == right
    if _certainly_differ(wanted, given):
        return False
    return _worker.same(wanted, given)


def written(text: str) -> str:
    """A result in one spelling: without sizes, dollars, degrees, per cent and units; inequalities
    of one letter as intervals.
    """
    for pattern, plain in _LOOKS:
        text = pattern.sub(plain, text)
    text = _union(text.strip().rstrip(".").strip())
    if not re.search(r"[(\[{]\s*[^()]*,", text):  # no pair, no set: 1,000 is a thousand
        text = _THOUSANDS.sub(lambda found: found[0].replace(",", ""), text)
    text = re.sub(r"(?<=\d)\s+(?=\d)", "␣", text)  # 1 2 is not 12
    return re.sub(r"(\\[a-zA-Z]+)\s+(?=[a-zA-Z])", r"\1␢", text).replace(" ", "").replace("␢", " ")


def _union(text: str) -> str:
    """`x < 3 or x > 5` as a union of intervals."""
    return r"\cup ".join(
        _interval(part) for part in re.split(r"\bor\b|\\lor(?![a-z])|\\cup(?![a-z])", text)
    )


def _interval(text: str) -> str:
    """`x > 3` as `(3,\\infty)`, `1 < x \\le 2` as `(1,2]`; anything else as it is."""
    text = text.strip()
    if found := _BETWEEN.fullmatch(text):
        low, opens, closes, high = found.groups()
    elif found := _BETWEEN_DOWN.fullmatch(text):
        high, closes, opens, low = found.groups()
    elif found := _ABOVE.fullmatch(text):
        opens, low = found[1] or found[4], found[2] or found[3]
        closes, high = "<", r"\infty"
    elif found := _BELOW.fullmatch(text):
        closes, high = found[1] or found[4], found[2] or found[3]
        opens, low = "<", r"-\infty"
    else:
        return text
    begin = "(" if opens in "<>" else "["
    end = ")" if closes in "<>" else "]"
    return f"{begin}{low.strip()},{high.strip()}{end}"


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
    serve()
