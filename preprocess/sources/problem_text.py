"""Texts with slots: alternatives, numbers, and worked arithmetic that is exact as displayed.

[[a|b|]]    one of the alternatives, drawn
{name}      a word of the framing, or a value; rounded values say so ("≈ 20.4"); {Name} begins a sentence
{name:%}    a share as a percentage; {name:$} money; {name:n} digits only, for code, logs and what a user writes
a(n)        "a" or "an", as the word after it wants
{=name}     the arithmetic behind the name with its numbers put in: "240 × 0.085 = 20.4". The sign is "=" only
            where nothing is rounded and the displayed result follows exactly from the displayed operands, else "≈";
            the value itself always comes from unrounded numbers.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from types import CodeType

_KNOWN = {"__builtins__": {}, "Fraction": Fraction, "ceil": math.ceil, "min": min, "max": max}
_ALTERNATIVES = re.compile(r"( ?)\[\[(.*?)\]\]", re.DOTALL)
_SLOT = re.compile(r"\{(=?)([A-Za-z_][A-Za-z_0-9]*)(?::([%$n]))?\}")
# "about ≈ 3" where a text and a rounded value both say so; "about 3" at the start of a sentence; "a(n) order".
_TWICE = re.compile(r"(about|roughly|nearly|≈) (\*\*)?(?:about|≈) (?=[$\d])")
_ABOUT = re.compile(r"(^|[.!?] +|\n)(\*\*)?about (?=[$\d])")
_ARTICLE = re.compile(r"\b([Aa])\(n\)( \**)(?=(\w+))")
_NAME = re.compile(r"[a-z_][a-z_0-9]*")
SIGNIFICANT = 4  # digits of a rounded value
EXACT = 5  # significant digits up to which an exact value is written in full


class TextError(ValueError):
    """A text or a formula of a problem file that cannot be rendered."""


@cache
def _compiled(expression: str) -> CodeType:
    """Every number in it becomes exact. Nothing but arithmetic, names and calls may stand there: no attribute, no quote."""
    if not re.fullmatch(r"(?:[\w\s,+\-*/()<>]|\.(?=\d))*", expression) or "__" in expression:
        raise TextError(f"{expression!r} is no expression")
    exact = re.sub(r"(?<![\w.])(?:\d+(?:\.\d+)?|\.\d+)", r"Fraction('\g<0>')", expression)
    try:
        return compile(exact, expression, "eval")
    except SyntaxError:
        raise TextError(f"{expression!r} is no expression") from None


def evaluate(expression: str, names: Mapping[str, Fraction]) -> Fraction | bool:
    """The value of an expression of + - * / **, a comparison, ceil, min and max over `names`, exact. Raises TextError."""
    try:
        return eval(_compiled(expression), _KNOWN, dict(names))
    except (NameError, TypeError) as error:
        raise TextError(f"{expression!r}: {error}") from None


def figure(value: Fraction, style: str = "", digits: int = SIGNIFICANT) -> tuple[str, Fraction]:
    """(text, the number the text says). Exact where that takes few digits, else rounded to `digits` significant ones."""
    if style == "%":
        text, said = figure(value * 100, digits=digits)
        return f"{text} %", said / 100
    whole = Fraction(value)
    magnitude = math.floor(math.log10(abs(value))) if value else 0
    cents = style == "$" and magnitude >= 0
    places = next(
        (p for p in range(3 if cents else max(0, EXACT - magnitude)) if round(whole, p) == whole),
        None,
    )
    if places is None:
        places = (2 if magnitude < 3 else 0) if cents else max(0, digits - 1 - magnitude)
    said = Fraction(round(whole, places))
    text = f"{float(said):,.{places}f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    if style == "$":
        whole_part, _, cents = text.partition(".")
        return f"${whole_part}" + (f".{cents:0<2}" if cents else ""), said
    return (text.replace(",", "") if style == "n" else text), said


@dataclass(frozen=True)
class Renderer:
    """Writes the texts of one problem. `values` are unrounded; `formulas` say how a value follows from others."""

    values: Mapping[str, Fraction]
    formulas: Mapping[str, str]
    words: Mapping[str, str]
    digits: Mapping[str, int]  # significant digits of a rounded value, where not SIGNIFICANT
    rng: random.Random

    def __call__(self, text: str) -> str:
        """The text with alternatives drawn and slots filled. Raises TextError for an unknown slot."""
        chosen = _ALTERNATIVES.sub(self._alternative, text)
        filled = _SLOT.sub(
            lambda slot: self._slot(slot[2], slot[3] or "", bool(slot[1])), chosen
        ).strip()
        filled = _ARTICLE.sub(
            lambda found: found[1] + "n" * (found[3][0] in "aeiouAEIOU") + found[2], filled
        )
        filled = _TWICE.sub(lambda found: f"{found[1]} {found[2] or ''}", filled)
        return _ABOUT.sub(lambda found: f"{found[1]}{found[2] or ''}About ", filled)

    def _alternative(self, found: re.Match) -> str:
        drawn = self.rng.choice(found[2].split("|"))
        return drawn if drawn[:1] in ",.;:" else found[1] + drawn

    def _slot(self, name: str, style: str, worked: bool) -> str:
        if worked and name in self.formulas:
            return self._worked(name, style)
        if name in self.values:
            text, said = figure(self.values[name], style, self.digits.get(name, SIGNIFICANT))
            return (
                text
                if said == self.values[name] or style == "n"
                else f"{self.rng.choice(['≈', 'about'])} {text}"
            )
        lower = name[0].lower() + name[1:]
        if lower in self.words:
            return (
                self.words[lower]
                if lower == name
                else self.words[lower][0].upper() + self.words[lower][1:]
            )
        raise TextError(f"no value, formula or word for the slot {name!r}")

    def _worked(self, name: str, style: str) -> str:
        formula, said = self.formulas[name], {}
        shown = re.sub(r"\d{4,}", lambda found: f"{int(found[0]):,}", formula)
        shown = shown.replace("**", "^").replace("*", "×").replace("-", "−")

        def operand(found: re.Match) -> str:
            if found[0] not in self.values:
                return found[0]
            text, said[found[0]] = figure(
                self.values[found[0]], digits=self.digits.get(found[0], SIGNIFICANT)
            )
            return text

        shown = re.sub(r"ceil\(([^()]*)\)", r"⌈\1⌉", _NAME.sub(operand, shown)).replace(" ^ ", "^")
        text, result = figure(self.values[name], style, self.digits.get(name, SIGNIFICANT))
        exact = evaluate(formula, said) == result == self.values[name]
        return f"{shown} {'=' if exact else '≈'} {text}"
