"""Exact arithmetic on formulas that stand in a data file: every number is a fraction, nothing is
rounded.
"""

import math
import re
from collections.abc import Mapping
from fractions import Fraction
from functools import cache
from types import CodeType

_FUNCTIONS = {"__builtins__": {}, "Fraction": Fraction, "ceil": math.ceil, "min": min, "max": max}
# Arithmetic, names and calls: no quote, and a point only before a digit, so no attribute either.
_ALLOWED = re.compile(r"(?:[\w\s,+\-*/()<>]|\.(?=\d))*")
_NUMBER = re.compile(r"(?<![\w.])(?:\d+(?:\.\d+)?|\.\d+)")


class TextError(ValueError):
    """A text or a formula of a data file that cannot be rendered."""


def fraction(value: float) -> Fraction:
    """The number as its decimal digits say it, not as binary rounds it."""
    return Fraction(str(value))


def plain(value: Fraction) -> int | float:
    """The number as JSON holds it: a whole number without a point."""
    return int(value) if value == int(value) else float(value)


@cache
def _compiled(expression: str) -> CodeType:
    if not _ALLOWED.fullmatch(expression) or "__" in expression:
        raise TextError(f"{expression!r} is no expression")
    try:
        return compile(_NUMBER.sub(r"Fraction('\g<0>')", expression), expression, "eval")
    except SyntaxError:
        raise TextError(f"{expression!r} is no expression") from None


def evaluate(expression: str, names: Mapping[str, Fraction]) -> Fraction:
    """The exact value of an expression of + - * / **, ceil, min and max over `names`, or whether a
    comparison holds.

    Raises TextError for anything else, and ZeroDivisionError.
    """
    try:
        return eval(_compiled(expression), _FUNCTIONS, dict(names))
    except (NameError, TypeError) as error:
        raise TextError(f"{expression!r}: {error}") from None
