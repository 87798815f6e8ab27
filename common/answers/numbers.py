"""Numbers as people and models write them: one grammar, read exactly; what is ambiguous is not
read.

docs/answers.md holds the grammar in words with its sources. Everything here is pure, linear in the
text and never raises for a text, however long or odd.
"""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from common.answers.spelled import WORD

LONGEST = 400  # characters; no stated value is longer, and a model that loops writes a million
LARGEST_EXPONENT = 400


@dataclass(frozen=True)
class NotRead:
    """No value could be read from a text without guessing; `reason` says why in a few words."""

    reason: str


@dataclass(frozen=True)
class Literal:
    """A number where it stands in a normalised text. `value` is None for one that has more than one
    reading.
    """

    start: int
    end: int
    value: Fraction | None


HYPHENS = str.maketrans(dict.fromkeys("‐‑‒", "-"))
_DASHES = str.maketrans(dict.fromkeys("−﹣－‐‑‒–", "-") | {"—": ";", "―": ";", "⁄": "/"})
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺", "0123456789-+")
_SPACES = re.compile(r"[\u00a0\u2000-\u200a\u202f\u205f\u3000]")
_REPLACED = [  # in this order: LaTeX and markdown to plain text
    (re.compile(pattern), plain)
    for pattern, plain in (
        (r"\\(?:text|mathrm|mbox|textbf|mathbf|textit|operatorname)\{([^{}]*)\}", r" \1 "),
        (r"\\(?:left|right|displaystyle|bf)(?![a-zA-Z])", ""),
        (r"\{,\}|,\\!|\\!,", ","),
        (r"(?<=\d)\\[,!;: ](?=\d{3})", ","),
        (r"\\[,!;: ]|\\q?quad(?![a-zA-Z])|(?<!\d)~(?=\s?[a-zA-Z\\])", " "),
        (r"\\([%$#&_])", r"\1"),
        (r"\\(?:times|cdot)(?![a-zA-Z])|[·⋅✕✖]", "×"),
        (r"\\div(?![a-zA-Z])", "÷"),
        (r"\\(?:approx|sim|simeq)(?![a-zA-Z])|[≃≅~]", "≈"),
        (r"\\pm(?![a-zA-Z])|\+\s?/\s?-", "±"),
        (r"\\(?:geq?|gt)(?![a-zA-Z])|≥|>=", ">"),
        (r"\\(?:leq?|lt)(?![a-zA-Z])|≤|<=", "<"),
        (r"\^\s?\{?\\circ\}?", "°"),
        (r"\^\s?\{([^{}]*)\}|\^\s?\((-?\d+)\)", r"^\1\2"),
        (r"(?<=\d)\s?\*\*\s?(?=-?\d)", "^"),
        (r"(?<=[\d)])\s?\*\s?(?=[\d(])", " × "),
        (r"(?<=\d)[_'’](?=\d{3}(?!\d))", ","),
        (r"[*`]|(?<!\w)_+|_+(?!\w)", ""),
        (r"\\[()\[\]]", " "),
        (r"\b(?:approx|ca)\.", "about"),
        (r"\s*\^\s*(?=[-+(\d])", "^"),
        (r"(?<![\w)\]])-\s?\((\d+(?:\.\d+)?(?:/\d+)?)\)", r"-\1"),
        (r"[-=]>|→|⇒|\\(?:to|[rR]ightarrow)(?![a-zA-Z])", "="),
        (r",?\s(?:which )?round(?:s|ed|ing)(?: (?:up|down|off))?,? to\s", " ≈ "),
    )
]
_SHORT_ARGUMENT = r"(?:\s?\{\s*(-?\d+(?:\.\d+)?)\s*\}|\s?(\d))"
_FRACTION = re.compile(r"(\d?)\s?\\[dtc]?frac\s?" + 2 * _SHORT_ARGUMENT)


def normalised(text: str) -> str:
    """The text with one spelling for minus signs, spaces, products, fractions and powers, without
    LaTeX's and markdown's dress.
    """
    text = _SPACES.sub(" ", text.translate(_DASHES))
    text = re.sub(
        r"(?<=[\w)°])[⁻⁺]?[⁰¹²³⁴⁵⁶⁷⁸⁹]+",
        lambda found: "^" + found[0].translate(_SUPERSCRIPTS),
        text,
    )
    if not text.isascii():
        text = "".join(map(_plain_sign, text))
    text = _FRACTION.sub(_plain_fraction, text)
    for pattern, plain in _REPLACED:
        text = pattern.sub(plain, text)
    return re.sub(r"  +", " ", text)


def _plain_sign(sign: str) -> str:
    """½ as ` 1/2`, digits of other scripts as 0-9."""
    if sign.isascii():
        return sign
    if sign.isdecimal():
        return str(unicodedata.decimal(sign))
    if unicodedata.category(sign) == "Sc" and sign not in "£¥€":
        return "€"  # any other money is read as this one
    if unicodedata.decomposition(sign).startswith("<fraction>"):
        return " " + unicodedata.normalize("NFKC", sign).replace("⁄", "/")
    return sign


def _plain_fraction(found: re.Match) -> str:
    whole, *parts = found.groups()
    numerator, denominator = (part for part in parts if part is not None)
    return f"{whole} {numerator}/{denominator}" if whole else f"{numerator}/{denominator}"


_RUN = r"[1-9]\d{0,2}(?:[ ]\d{3})+(?!\d)(?:[.,]\d+)?|\.?\d(?:[\d.,]*\d)?"
_NUMBER = re.compile(
    rf"""
    (?P<minus>\b(?:minus|negative)\s)?
    (?P<sign>[-+](?:\s(?=[\d.$€£¥]))?)?
    (?P<money>(?:\b(?:US|A|C))?[$€£¥]\s?)?
    (?P<inner>(?<=[$€£¥\s])-(?=[\d.]))?
    (?P<run>{_RUN})(?!\d|[.,]\d)
    (?:(?P<mixed>\s\d+/\d+(?![\d/]|[.,]\d))|\s?/\s?(?P<under>\.?\d(?:[\d.,]*\d)?)(?!\d|\s?/\s?\d))?
    (?:\^\(?(?P<power>[-+]?\d+)\)?)?
    (?:\s?[×xX]\s?10\^\(?(?P<times_ten>[-+]?\d+)\)?|[eE](?P<e>[-+]?\d+)(?!\w))?
    (?P<magnitude>
        [\s-]?(?i:(?:thousand|million|billion|trillion)s?|mio|mln|mn|bn)\b
        |\s?[kKmMbBtT](?![\w^-])
    )?
    """,
    re.VERBOSE,
)
_TEN_TO = {"thousand": 3, "k": 3, "million": 6, "mio": 6, "mln": 6, "mn": 6, "m": 6}
_TEN_TO |= {"billion": 9, "bn": 9, "b": 9, "trillion": 12, "t": 12}
_BOUND_BEFORE = re.compile(
    r"(?:[<>]\s?|\b(?:at (?:least|most)"
    r"|(?:more|less|fewer|greater|larger|smaller|higher|lower) than"
    r"|up to|over|under|above|below|beyond|exceeds?|minimum|maximum|min|max)\s(?:the |an? |of )?)$",
    re.IGNORECASE,
)
_BOUND_AFTER = re.compile(
    r"\+(?!\s?\d)|(?:st|nd|rd|th)\b|:\d|\s?[\\^π√]|\s?/\s?\d"
    r"|[\s-](?:hundreds?|dozens?|thousands?|lakhs?|crores?|[mb]illions?|trillions?|mrd|mill?iarden?)\b"
    rf"|\s(?:{WORD})\b(?!-)"
    r"|\s(?:or (?:more|less|fewer|above|below)|at (?:most|least)|and (?:a half|more|above))\b",
    re.IGNORECASE,
)
_DENIED = re.compile(
    r"(?:\b(?:not|never|instead of|rather than)|n't)\s(?:the |an? )?$", re.IGNORECASE
)
_PART_OF_A_NAME = re.compile(r"(?:^|[^\w.])[A-Za-z_][\w.]*-?$|[A-Za-z]\^[-(]*$")
_SIGN_APART = re.compile(
    r"-\s?[($]$|±\s?$|(?:^|[\s(=:])-\s?[A-Za-z]{1,4}\s?$|[-/√]$|\\[A-Za-z]+[\s{(]*$"
)


def literals(text: str) -> Iterator[Literal]:
    """Every number of a normalised text, in order. What is part of a name (`x2`, `a-1`, `m^2`) or
    denied (`not 5`) is none.
    """
    at = 0
    while found := _NUMBER.search(text, at):
        before = text[max(0, found.start() - 40) : found.start()]
        at = found.end()
        if not _PART_OF_A_NAME.search(before) and not _DENIED.search(before):
            yield Literal(found.start(), found.end(), _value(found, before, text[at : at + 20]))


def _value(found: re.Match, before: str, after: str) -> Fraction | None:
    """The exact value of a number as found; None where it has no reading or more than one."""
    if found.end() - found.start() > LONGEST or _SIGN_APART.search(before):
        return None
    if _BOUND_BEFORE.search(before) or _BOUND_AFTER.match(after):
        return None
    if (
        before[-1:] in ("(", "[", "{")
        and after[:1] in (")", "]", "}")
        and (found["money"] or "," in found[0])
    ):
        return None  # money that is owed, or a pair
    if found["sign"] and re.search(r"[\w)\]%°$]\s?$", before):
        attached = not before.endswith(" ") or found["sign"].endswith(" ")
        if attached:
            return None  # a difference, a range, or a dash
    value = _unsigned(found)
    if value is None:
        return None
    signs = [found["minus"], (found["sign"] or "").startswith("-"), found["inner"]]
    return -value if sum(map(bool, signs)) % 2 else value


def _unsigned(found: re.Match) -> Fraction | None:
    value = decimal(found["run"])
    if value is not None and (found["mixed"] or found["under"]):
        value = _parted(value, found)
    if value is not None and found["power"]:
        value = None if found["under"] or found["mixed"] else _powered(value, found["power"])
    ten_to = found["times_ten"] or found["e"]
    if value is not None and ten_to:
        scale = _powered(Fraction(10), ten_to)
        value = None if scale is None else value * scale
    if value is not None and found["magnitude"]:
        value = _magnified(value, found["magnitude"], bool(found["money"]))
    return value


def _parted(value: Fraction, found: re.Match) -> Fraction | None:
    """`3/4`, and `1 3/4` where the whole is whole and the part is one."""
    if " " in found["run"]:
        return None  # 5 500/3 could be either
    if found["mixed"]:
        over, under = map(int, found["mixed"].split("/"))
        return (
            value + Fraction(over, under) if value.denominator == 1 and 0 < over < under else None
        )
    divisor = decimal(found["under"])
    return value / divisor if divisor else None


def decimal(run: str) -> Fraction | None:
    """A run of digits, points, commas and spaces as a number; None where it could be none or
    several things.

    `1,234` is 1234 and `1.234` is 1.234, as English writes them; `0,5` and `12,75` can only be
    decimal commas.
    """
    if re.fullmatch(r"\d*\.?\d+", run):
        return Fraction(run)
    if re.fullmatch(r"[1-9]\d{0,2}(?:,\d{3})+(?:\.\d+)?|[1-9]\d?(?:,\d\d)+,\d{3}", run):
        return Fraction(run.replace(",", ""))
    if re.fullmatch(r"[1-9]\d{0,2}(?: \d{3})+(?:[.,]\d+)?", run):
        return Fraction(run.replace(" ", "").replace(",", "."))
    if re.fullmatch(r"[1-9]\d{0,2}(?:\.\d{3}){2,}(?:,\d+)?|[1-9]\d{0,2}\.\d{3},\d+", run):
        return Fraction(run.replace(".", "").replace(",", "."))
    if re.fullmatch(r"\d+,(?:\d{1,2}|\d{4,})|0,\d+", run):
        return Fraction(run.replace(",", "."))
    return None


def _powered(base: Fraction, exponent: str) -> Fraction | None:
    power = int(exponent) if len(exponent) < 6 else LARGEST_EXPONENT + 1
    too_long = abs(power) > 1 and base.numerator * base.denominator > 10**12
    if too_long or abs(power) > LARGEST_EXPONENT or (base == 0 and power < 0):
        return None
    return base**power


def _magnified(value: Fraction, magnitude: str, money: bool) -> Fraction | None:
    """`5.5 million`, `5.5M`, `$5 B`; without money a letter after a space may be a unit (5 K, 5 M),
    and `5B` are bytes.
    """
    word = magnitude.strip(" -").lower().removesuffix("s")
    if len(word) > 1 or money:
        return value * 10 ** _TEN_TO[word]
    letter = magnitude.strip()
    if letter in "mbtT":
        return value  # metres, bits, tonnes
    if letter == "B" or magnitude != letter:
        return None
    return value * 10 ** _TEN_TO[word]
