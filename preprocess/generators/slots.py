"""Texts with slots: alternatives, numbers, and worked arithmetic that is exact as displayed.

[[a|b|]]   one of the alternatives, drawn
{name}     a word of the framing, or a value; a rounded value says so ("≈ 20.4"); {Name} begins
           a sentence
{name:%}   a share as a percentage; {name:$} money; {name:n} digits only, for code, logs and what
           a user writes
a(n)       "a" or "an", as the word after it wants
{=name}    the arithmetic behind the name with its numbers put in: "240 × 0.085 = 20.4". The sign
           is "=" only where nothing is rounded and the displayed result follows exactly from the
           displayed operands, else "≈"; the value itself always comes from unrounded numbers.
"""

import math
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from preprocess.generators.exact import TextError, evaluate

SIGNIFICANT = 4  # digits of a rounded value
EXACT = 5  # significant digits up to which an exact value is written in full
_ALTERNATIVES = re.compile(r"( ?)\[\[(.*?)\]\]", re.DOTALL)
_SLOT = re.compile(r"\{(=?)([A-Za-z_][A-Za-z_0-9]*)(?::([%$n]))?\}")
# "a(n) order"; "about ≈ 3" where text and value both say so; "about 3" that begins a sentence.
_ARTICLE = re.compile(r"\b([Aa])\(n\)( \**)(?=(\w+))")
_ABOUT_TWICE = re.compile(r"(about|roughly|nearly|≈) (\*\*)?(?:about|≈) (?=[$\d])")
_ABOUT_FIRST = re.compile(r"(^|[.!?] +|\n)(\*\*)?about (?=[$\d])")
_NAME = re.compile(r"[a-z_][a-z_0-9]*")


def figure(value: Fraction, style: str = "", digits: int = SIGNIFICANT) -> tuple[str, Fraction]:
    """A value as text, and the number the text says: exact where that is short, else rounded.

    `style` is that of a slot (%, $, n or none), `digits` the significant digits of a rounded value.
    """
    if style == "%":
        text, said = figure(value * 100, digits=digits)
        return f"{text} %", said / 100
    value = Fraction(value)
    places = _places(value, style, digits)
    said = Fraction(round(value, places))
    text = f"{float(said):,.{places}f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    if style == "$":
        dollars, _, cents = text.partition(".")
        text = f"${dollars}.{cents:0<2}" if cents else f"${dollars}"
    if style == "n":
        text = text.replace(",", "")
    return text, said


def _places(value: Fraction, style: str, digits: int) -> int:
    """How many decimals to show."""
    magnitude = math.floor(math.log10(abs(value))) if value else 0
    in_cents = style == "$" and magnitude >= 0
    for places in range(3 if in_cents else max(0, EXACT - magnitude)):
        if round(value, places) == value:
            return places
    if in_cents:
        return 2 if magnitude < 3 else 0
    return max(0, digits - 1 - magnitude)


@dataclass(frozen=True)
class Renderer:
    """Writes the texts of one problem.

    `values` are unrounded; `formulas` say how a value follows from others.
    """

    values: Mapping[str, Fraction]
    formulas: Mapping[str, str]
    words: dict[str, str]
    digits: Mapping[str, int]  # significant digits of a rounded value, where not SIGNIFICANT
    rng: random.Random

    def __call__(self, text: str) -> str:
        """The text with alternatives drawn and slots filled. Raises TextError where that fails."""
        text = _ALTERNATIVES.sub(self._alternative, text)
        text = _SLOT.sub(self._slot, text).strip()
        text = _ARTICLE.sub(_article, text)
        text = _ABOUT_TWICE.sub(r"\1 \2", text)
        return _ABOUT_FIRST.sub(r"\1\2About ", text)

    def one_of(self, texts: Sequence[str]) -> str:
        """One of the texts, drawn, and written as by a call. Raises TextError."""
        return self(self.rng.choice(texts))

    def question(self, text: str) -> str:
        """As by a call, in the way a user writes it. Raises TextError."""
        return re.sub(r"(?<=\d) %", "%", self(text)).replace("≈", "about")

    def _alternative(self, found: re.Match) -> str:
        space, options = found.groups()
        drawn = self.rng.choice(options.split("|"))
        return drawn if drawn[:1] in ",.;:" else space + drawn

    def _slot(self, found: re.Match) -> str:
        worked, name, style = found.groups(default="")
        if worked and name in self.formulas:
            return self._worked(name, style)
        if name in self.values:
            text, said = self._figure(name, style)
            if said == self.values[name] or style == "n":
                return text
            return f"{self.rng.choice(['≈', 'about'])} {text}"
        word = self.words.get(name[0].lower() + name[1:])
        if word is None:
            raise TextError(f"no value, formula or word for the slot {name!r}")
        return word[0].upper() + word[1:] if name[0].isupper() else word

    def _figure(self, name: str, style: str = "") -> tuple[str, Fraction]:
        return figure(self.values[name], style, self.digits.get(name, SIGNIFICANT))

    def _worked(self, name: str, style: str) -> str:
        """The formula of a value with the numbers put in, and its result."""
        formula = self.formulas[name]
        said = {}

        def operand(found: re.Match) -> str:
            operand_name = found[0]
            if operand_name not in self.values:
                return operand_name
            text, said[operand_name] = self._figure(operand_name)
            return text

        shown = re.sub(r"\d{4,}", _with_commas, formula)
        shown = shown.replace("**", "^").replace("*", "×").replace("-", "−")
        shown = re.sub(r"ceil\(([^()]*)\)", r"⌈\1⌉", _NAME.sub(operand, shown)).replace(" ^ ", "^")
        text, result = self._figure(name, style)
        exact = evaluate(formula, said) == result == self.values[name]
        return f"{shown} {'=' if exact else '≈'} {text}"


def _article(found: re.Match) -> str:
    article, gap, word = found.groups()
    return f"{article}{'n' if word[0] in 'aeiouAEIOU' else ''}{gap}"


def _with_commas(found: re.Match) -> str:
    return f"{int(found[0]):,}"
