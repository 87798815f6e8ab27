r"""A LaTeX result in one spelling: without what is only its looks, inequalities as intervals, lists
of values with commas; beside it the unit and the letters that it names.
"""

import re

from common.answers.spelled import spelled

_LOOKS = [  # in this order: the ways LaTeX has of saying the same
    (re.compile(pattern), plain)
    for pattern, plain in (
        (r"\\(?:left|right|displaystyle|limits|bigl?|bigr?|Bigl?|Bigr?)(?![a-zA-Z])", ""),
        (r"(?:\{,\}|,\\!|\\!,|(?<=\d)\\,)(?=\d{3})", ""),
        (r"\{,\}", "."),
        (r"(?<!\\)\\[!;:, ]|\\q?quad(?![a-zA-Z])|~", " "),
        (r"\\begin\{array\}\{[clr]*\}", r"\\begin{pmatrix}"),
        (r"\\end\{array\}", r"\\end{pmatrix}"),
        (r"(?s)\(\s*(\\begin\{pmatrix\}.*?\\end\{pmatrix\})\s*\)", r"\1"),
        (r"([_^])\s?(\w)", r"\1{\2}"),
        (r"\\\$|(?<!\\)\$|\\?%|\^\s?\{?\\circ\}?|°|\\degree", ""),
        (r"\\[dtc]frac", r"\\frac"),
        (
            r"(?<=[\d})i])\s*\\(?:text|mathrm|mbox)\{(?!\s*(?:or|and|to)\b)[^{}]*[A-Za-z][^{}]*\}"
            r"(?:\^\{\d\})?",
            "",
        ),
        (r"\\(?:text|mathrm|mbox|textbf|mathbf|textit|operatorname)\{([^{}]*)\}", r"\1"),
        (r"\\(?:varnothing|emptyset)(?![a-zA-Z])|∅|^\s*\\\{\s*\\\}\s*$", r"\\emptyset"),
        (r"\\geq?(?![a-zA-Z])|\\geqslant|≥|>=", r"\\ge "),
        (r"\\leq?(?![a-zA-Z])|\\leqslant|≤|<=", r"\\le "),
        (r"\\gt(?![a-zA-Z])", ">"),
        (r"\\lt(?![a-zA-Z])", "<"),
        (r"∞", r"\\infty "),
        (r"π", r"\\pi "),
        (r"∪", r"\\cup "),
        (r"\\lg(?![a-zA-Z])", r"\\log_{10}"),
        (r"\\cdot|\\times|·|×", r"\\cdot "),
        (r"[−–]", "-"),
        (r"\+\s?\\infty", r"\\infty"),
        (r"\\colon(?![a-zA-Z])|∶|(?<=\d)\s*\bto\b\s*(?=\d)", ":"),
        (r"^\s*\\\{\s*[a-zA-Z]\s*(?:\\mid|:|\|)(.*)\\\}\s*$", r"\1"),
        (r"^\s*[a-zA-Z]\s*\\in(?![a-zA-Z])", ""),
    )
]
_SIDE = r"(?:[^<>=\\,]|\\(?!ge|le)[a-zA-Z]+)+"
_BETWEEN = re.compile(rf"({_SIDE})(<|\\le)\s*[a-zA-Z]\s*(<|\\le)({_SIDE})")
_BETWEEN_DOWN = re.compile(rf"({_SIDE})(>|\\ge)\s*[a-zA-Z]\s*(>|\\ge)({_SIDE})")
_ABOVE = re.compile(rf"\s*[a-zA-Z]\s*(>|\\ge)({_SIDE})|({_SIDE})(<|\\le)\s*[a-zA-Z]\s*")
_BELOW = re.compile(rf"\s*[a-zA-Z]\s*(<|\\le)({_SIDE})|({_SIDE})(>|\\ge)\s*[a-zA-Z]\s*")
_THOUSANDS = re.compile(r"(?<![\d.,])[1-9]\d{0,2}(?:,\d{3})+(?![\d,]|\.\d*,)")
_TEXT = re.compile(r"\\(?:text|mathrm|mbox)\s?\{([^{}]*)\}|\\[,;:! ]|~")
_UNIT = re.compile(
    r"(?P<many>(?:square|sq|cubic)\.?\s)?(?P<name>[a-zA-Z°%$]+)\s?(?:\^\s?\{?(?P<power>\d)\}?)?"
)
_SPELLED = {  # where two results name two of these, they differ; any other word is no unit we know
    "°": "degree deg", "rad": "radian", "grad": "gradian gon", "%": "percent", "$": "dollar usd",
    "¢": "cent", "€": "euro eur", "mm": "millimeter millimetre", "cm": "centimeter centimetre",
    "m": "meter metre", "km": "kilometer kilometre", "in": "inch inche", "ft": "foot feet",
    "yd": "yard", "mi": "mile", "s": "second sec", "min": "minute", "h": "hour hr", "d": "day",
    "week": "wk", "month": "mo", "year": "yr", "g": "gram", "kg": "kilogram", "lb": "pound",
}  # fmt: skip
_UNITS = {name: unit for unit, names in _SPELLED.items() for name in (unit, *names.split())}
_WORDS = "|".join(name for name in _UNITS if len(name) > 1)
_WORD_UNIT = re.compile(
    rf"(?<=[\d}}])\s*(?:(?:square|cubic)\s)?(?:{_WORDS})s?(?:\^\{{[23]\}})?\s*$"
)
_RELATION = r"(?:[<>≤≥]=?|\\(?:[lg]eq?|[lg]eqslant|[lg]t|in|neq?)(?![a-zA-Z]))"
_LETTER = re.compile(
    rf"(?<![a-zA-Z\\])([a-zA-Z])\s*{_RELATION}|{_RELATION}\s*([a-zA-Z])(?![a-zA-Z])"
)
_OR = re.compile(r"\bor\b|\\lor(?![a-z])|\\cup(?![a-z])")
_AND = re.compile(r"\band\b|\\land(?![a-z])")
_NO_VALUE = re.compile(r"[()\[\]<>]|\\(?:[lg]e|in|cup)(?![a-z])")
_ASSIGNED = re.compile(r"\s*([a-zA-Z])\s*=(?=[^=]+$)")


def unit(text: str) -> str | None:
    """The unit that a result ends in (its money, which it begins with), in one spelling; None for
    none, and for a word that is no unit we know.
    """
    if re.match(r"\s*-?\s*\\\$", text):
        return "$"
    text = re.sub(r"\^\s?\{?\\circ\}?|\\degree(?![a-zA-Z])", "°", _TEXT.sub(r" \1 ", text))
    words = re.search(
        r"[\d})i]\s*\\?((?:[a-zA-Z.]+\s)?[a-zA-Z°%$]+\s?(?:\^\s?\{?\d\}?)?)[\s.$]*$", text
    )
    found = _UNIT.fullmatch(words[1]) if words else None
    name = _named(found["name"]) if found else None
    if found is None or name is None:
        return None
    power = {"s": "2", "c": "3"}.get((found["many"] or "")[:1], found["power"] or "")
    return name + power


def _named(name: str) -> str | None:
    return (
        _UNITS.get(name) or _UNITS.get(name.lower()) or _UNITS.get(name.lower().removesuffix("s"))
    )


def letters(text: str) -> set[str]:
    """The letters that stand beside the signs of inequalities: `x < 3` says nothing of y."""
    return {one or other for one, other in _LETTER.findall(_TEXT.sub(r" \1 ", text))}


def written(text: str) -> str:
    """A result in one spelling: without sizes, dollars, degrees, per cent and units; inequalities
    of one letter as intervals.
    """
    for pattern, plain in _LOOKS:
        text = pattern.sub(plain, text)
    text = _WORD_UNIT.sub("", text.strip().rstrip(".").strip())
    in_digits = spelled(text)
    if in_digits.isdigit():
        return in_digits
    text = _values(text) or _union(text)
    if not re.search(r"[(\[{]\s*[^()]*,", text):  # no pair, no set: 1,000 is a thousand
        text = _without_groups(text)
    text = re.sub(r"(?<=\d)\s+(?=\d)", "␣", text)  # 1 2 is not 12
    return re.sub(r"(\\[a-zA-Z]+)\s+(?=[a-zA-Z])", r"\1␢", text).replace(" ", "").replace("␢", " ")


def _without_groups(text: str) -> str:
    return _THOUSANDS.sub(lambda found: found[0].replace(",", ""), text)


def _values(text: str) -> str | None:
    """`5 or 7`, `x = 5 and x = 7` as `5, 7`; None for what is no list of values in words."""
    if _NO_VALUE.search(text) or not (_OR.search(text) or _AND.search(text)):
        return None
    parts = re.split(rf"{_OR.pattern}|{_AND.pattern}|,(?!\d{{3}})", text.removeprefix("either "))
    assigned = {found[1] for part in parts if (found := _ASSIGNED.match(part))}
    if len(assigned) == 1:
        parts = [_ASSIGNED.sub("", part) for part in parts]
    return ", ".join(_without_groups(part.strip()) for part in parts if part.strip())


def _union(text: str) -> str:
    r"""`x < 3 or x > 5` as a union of intervals, `x > 3 and x < 5` as `(3,5)`."""
    return r"\cup ".join(_both(part) for part in _OR.split(text))


def _both(text: str) -> str:
    parts = [_interval(part) for part in _AND.split(text)]
    lows = [part.removesuffix(r"\infty)") for part in parts if part.endswith(r",\infty)")]
    highs = [part[9:] for part in parts if part.startswith(r"(-\infty,")]
    if (len(parts), len(lows), len(highs)) == (2, 1, 1):
        return lows[0] + highs[0]
    return _interval(text)


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
