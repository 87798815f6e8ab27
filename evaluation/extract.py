"""Finding the result in a final answer: the boxed expression, the number, the name. Pure, linear in the text, never raises."""

from __future__ import annotations

import re
from fractions import Fraction

LONGEST = 400  # characters; no result is longer, and a model that loops writes a million
_NUMBER = re.compile(
    r"(?<![\w.])[-+−]?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+|(?<=\d)\.?)(?:[eE][-+]?\d{1,3}(?!\d))?(?!\w*\d)"
)
_MARKED = re.compile(r"\banswer[\s*_`]*(?:is\b[\s*_`]*[:=]?|[:=])[\s*_`]*(.*)", re.IGNORECASE)
_BOLD = re.compile(r"\*\*([^*\n]{1,400})\*\*")


def boxed(text: str) -> str | None:
    r"""What stands in the last \boxed{...} or \fbox{...}, braces balanced; `\boxed 5` is 5. None where it never closes."""
    start = max(text.rfind("\\boxed"), text.rfind("\\fbox"))
    if start < 0:
        return None
    rest = text[start : start + LONGEST].split("box", 1)[1].removeprefix("ed").lstrip()
    if not rest.startswith("{"):
        return rest.split("$")[0].split()[0] if rest.strip("$ ") else None
    depth = 0
    for at, sign in enumerate(rest):
        depth += (sign == "{") - (sign == "}")
        if depth == 0:
            return rest[1:at].strip()
    return None


def marked(answer: str) -> str | None:
    r"""What an answer marks as its result: the last `\boxed{}`, else after the last `Answer:`. None where it marks nothing."""
    if (found := boxed(answer)) is not None:
        return found
    lines = [line for line in answer[-20_000:].splitlines() if line.strip()]
    for at, line in reversed([*enumerate(lines)]):
        if len(line) <= LONGEST and (match := _MARKED.search(line)):
            return match[1].strip("*_` ") or "".join(lines[at + 1 : at + 2])
    return None


def numbers(text: str) -> list[Fraction]:
    """The numbers of a text in order, exactly; thousands commas, signs, powers of ten and LaTeX's spacing are read."""
    plain = re.sub(r"\{,\}", ",", re.sub(r"\\[!,;: ]|(?<=\d)[\u2009\u202f](?=\d{3})", "", text))
    plain = re.sub(
        r"\s?(?:\\times|\\cdot|×|\*)\s?10\^\{?(-?\d{1,3})\}?",
        r"e\1",
        plain.replace("−", "-").replace("–", "-"),
    )
    tokens = [token for token in plain.split() if len(token) <= LONGEST]
    found = [
        number for token in tokens for number in _NUMBER.findall(token) if re.search(r"\d", number)
    ]
    return [Fraction(number.replace(",", "")) for number in found]


def number(answer: str) -> Fraction | None:
    """The number an answer gives: the first of what it marks, else of its first bold words that hold one, else its last number."""
    mark = re.sub(r"\\[dt]?frac\{(-?\d+)\}\{(\d+)\}", r"\1/\2", marked(answer) or "")
    if (ratio := re.match(r"\W*?(-?\d{1,50})\s?/\s?(\d{1,50})(?!\.?\d)", mark)) and int(ratio[2]):
        return Fraction(int(ratio[1]), int(ratio[2]))
    answer = answer[-20_000:]
    found = next(
        (found for part in (mark, *_BOLD.findall(answer)) if (found := numbers(part))), None
    )
    return found[0] if found else (numbers(answer) or [None])[-1]


def near(found: Fraction | None, value: str, tolerance: float) -> bool:
    """Whether a number is the wanted one within a relative tolerance; zero is met within the tolerance itself."""
    if found is None:
        return False
    wanted = Fraction(value)
    return abs(found - wanted) <= Fraction(max(tolerance, 1e-9)) * (abs(wanted) or 1)


def chosen(answer: str, choices: list[str]) -> str | None:
    """The one of the choices an answer gives: in what it marks, else in its bold words, else anywhere. None for none or several."""
    pattern = "|".join(re.escape(choice) for choice in sorted(choices, key=len, reverse=True))
    finder = re.compile(rf"(?<![\w-])(?:{pattern})(?![\w-])", re.IGNORECASE)
    mark = marked(answer)
    for part in [mark] if mark is not None else [*_BOLD.findall(answer), answer]:
        if named := {match.lower() for match in finder.findall(part)}:
            return (
                next((c for c in choices if c.lower() in named), None) if len(named) == 1 else None
            )
    return None


def option(answer: str, options: list[str]) -> str | None:
    """The letter of the option an answer gives, in what it marks or else its last line: as a letter, or as the option's own text."""
    lines = [line for line in answer[-20_000:].splitlines() if line.strip()]
    part = (marked(answer) or (lines[-1] if lines else ""))[:LONGEST].strip(" *_`$.")
    part = re.sub(r"\\(?:text|mathrm|textbf)\{([^{}]*)\}", r"\1", part)
    if match := re.match(r"\(?([A-Z])(?:$|[).:,*])", part):
        return match[1] if ord(match[1]) - 65 < len(options) else None
    same = [
        chr(65 + at)
        for at, text in enumerate(options)
        if words(text) and words(text) == words(part)
    ]
    return same[0] if len(same) == 1 else None


def words(text: str) -> list[str]:
    return [
        word
        for word in re.findall(r"[\w./-]+", text.lower().replace("→", " "))
        if word not in ("and", "then")
    ]


def says(answer: str, value: str) -> bool:
    """Whether what an answer marks (or, where it marks nothing, its bold words or a sentence) is that sequence of words."""
    mark, wanted = marked(answer), words(value)
    if mark is not None:
        return words(mark) == wanted
    found = [words(part) for part in (*_BOLD.findall(answer), answer[:20_000])]
    return any(
        part[at : at + len(wanted)] == wanted
        for part in found
        for at in range(len(part) - len(wanted) + 1)
    )
