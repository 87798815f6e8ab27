"""The number that a text states: exactly one, or a reason why none is read."""

import re
from collections.abc import Iterable
from fractions import Fraction

from common.answers import marks
from common.answers.numbers import LONGEST, Literal, NotRead, literals, normalised
from common.answers.spelled import spelled

NOTHING = NotRead("no number")
SEVERAL = NotRead("several numbers")
UNCLEAR = NotRead("a number with more than one reading")
_PARENTHESIS = re.compile(r"(?<=\S)\s?[(\[]([^()\[\]]*)[)\]]")
_ALTERNATIVE = re.compile(r"\s*(?:or|to|and|maybe|perhaps|±|-)\b", re.IGNORECASE)
_OPERATOR = re.compile(r"[+×÷*^±/-]|(?<=\d)\s?x\s?(?=\d)|\b[xX]\b")
_LABEL = re.compile(
    r"\s*(?:step|part|option|case|question|problem|figure|frame)\s#?\d+\s*[.):]*\s*$", re.IGNORECASE
)
_CONCLUDES = re.compile(
    r"[=≈]|\b(?:so|therefore|thus|hence|altogether|in total|total|result|answer|value|finally"
    r"|overall|comes? (?:out )?(?:to|at)|works? out|makes?|gives?|gets?|leaves?|leaving|equals?"
    r"|amounts?)\b",
    re.IGNORECASE,
)
_SO = re.compile(r"\b(?:so|therefore|thus|hence|then|altogether)\b,?", re.IGNORECASE)
_WRONG = re.compile(
    r"\b(?:is|are|was|be|seems?|looks?)\s(?:probably\s)?(?:wrong|incorrect|unknown|false)\b|\d\s?\?|[✗✘❌❎]",
    re.IGNORECASE,
)

_IN_WORDS = re.compile(  # in digits by now; "one of them", "one has to wait" count nothing
    r"\W*(?:(?:about|around|approximately|roughly|exactly|only|minus|negative|at (?:least|most)"
    r"|(?:more|less|fewer) than|it(?:'s| is)|\w+\s?[=≈])\s)*-?(?!1\s(?:of\b|\w+\s\w))\d",
    re.IGNORECASE,
)


def stated_number(text: str) -> Fraction | NotRead:
    r"""The number a whole reply gives as its result, exactly.

    Where it stands, in this order: after the last line that begins with `Answer:`; in the last
    \boxed{}; after the last "the answer is"; in bold words, where all that hold a number hold the
    same; in the last sentence that concludes; anywhere, where there is one number alone. A mark
    that holds no number, or more than one, is not read, and nothing is read in its place. Where a
    mark, or the whole reply, begins with a whole number in English words, that is read.
    """
    line, box = marks.answer_line(text), marks.boxed(text)
    if line is not None:
        return _unless_contradicted(read_number(line, words=True), box, text)
    if box is not None:
        return read_number(box, words=True)
    for words in marks.answer_words(text):
        found = read_number(words, words=True)
        if found != NOTHING:
            return found
    emphasised = [read_number(part) for part in marks.bold(text) if not _LABEL.match(part)]
    numbers = _same(value for value in emphasised if isinstance(value, Fraction))
    if isinstance(numbers, Fraction):
        return numbers
    found = _concluded(marks.sentences(text))
    return read_number(text, words=True) if found == NOTHING else found


def _unless_contradicted(
    found: Fraction | NotRead, box: str | None, text: str
) -> Fraction | NotRead:
    """What the line `Answer:` gives, unless a box that follows it gives another number."""
    if box is None or text.lower().rfind("answer") > max(
        text.rfind("\\boxed"), text.rfind("\\fbox")
    ):
        return found
    other = read_number(box, words=True)
    if isinstance(found, Fraction) and isinstance(other, Fraction) and not _near(found, other):
        return SEVERAL
    return found


def _concluded(sentences: list[str]) -> Fraction | NotRead:
    for sentence in reversed(sentences):
        if len(sentence) <= LONGEST and _CONCLUDES.search(sentence):
            found = read_number(sentence)
            if isinstance(found, NotRead):
                found = read_number(_SO.split(sentence)[-1])
            if found != NOTHING:
                return found
    if any(len(sentence) > LONGEST for sentence in sentences):
        return SEVERAL
    return _same(found for s in sentences if (found := read_number(s)) != NOTHING)


def read_number(text: str, words: bool = False) -> Fraction | NotRead:
    """The one number that a short text states: `42`, `x = 3/4`, `$5.5M`, `2 x 21 = 42`; not
    `10-12`, `12 or 13`, `> 5`. With `words`, also `forty-two` where the text begins with it.
    """
    if len(text) > LONGEST:
        return NotRead("too long")
    plain = normalised(text)
    in_digits = spelled(marks.boxed(plain) or plain) if words else plain
    if _IN_WORDS.match(in_digits) and not any(literals(_PARENTHESIS.sub(" ", plain))):
        plain = in_digits
    main = marks.statement(plain)
    box = marks.boxed(main)
    if box is not None:
        main = box
    if _WRONG.search(main) and any(literals(main)):
        return UNCLEAR
    end = max(main.rfind("="), main.rfind("≈")) + 1  # a parenthesis before it is part of a formula
    outside = main[:end] + _PARENTHESIS.sub(" ", main[end:])
    if not any(literals(outside)):
        return _one(main)
    found = _one(outside)
    for inside in _PARENTHESIS.findall(main[end:]):
        if _ALTERNATIVE.match(inside) or not _agrees(found, inside):
            return SEVERAL
    return found


def _agrees(found: Fraction | NotRead, inside: str) -> bool:
    """Whether a parenthesis says no other number: it explains, or it is the same number in another
    form.
    """
    numbers = [*literals(inside)]
    if len(numbers) != 1 or re.search(r"[A-Za-z]{3}", inside):
        return True
    other = numbers[0].value
    return isinstance(found, Fraction) and other is not None and _near(found, other)


def _one(text: str) -> Fraction | NotRead:
    """The number of a statement: what an equation ends at, or the only number there is."""
    parts = re.split(r"[=≈]", text)
    if len(parts) == 1:
        return _alone(text, [*literals(text)])
    last = _alone(parts[-1], [*literals(parts[-1])])
    others = [_alone(part, [*literals(part)]) for part in parts[:-1] if "/" not in part]
    values = [value for value in (*others, last) if isinstance(value, Fraction)]
    if not values:
        return NOTHING if all(value == NOTHING for value in (*others, last)) else SEVERAL
    if last in (SEVERAL, UNCLEAR) and re.search(r"\b(?:or|to|and)\b|±", parts[-1]):
        return last
    return values[-1] if all(_near(value, values[-1]) for value in values) else SEVERAL


def _alone(text: str, numbers: list[Literal]) -> Fraction | NotRead:
    if not numbers:
        return NOTHING
    if any(number.value is None for number in numbers):
        return UNCLEAR
    for left, right in zip(numbers, numbers[1:], strict=False):
        if _OPERATOR.search(text[left.end : right.start]):
            return SEVERAL
    return _same(number.value for number in numbers if number.value is not None)


def _same(values: Iterable[Fraction | NotRead]) -> Fraction | NotRead:
    """The value where there is one alone."""
    found = set(values)
    if not found:
        return NOTHING
    return found.pop() if len(found) == 1 else SEVERAL


def _near(left: Fraction, right: Fraction) -> bool:
    """Whether one may be the other, rounded."""
    return abs(left - right) <= Fraction(1, 100) * max(abs(left), abs(right))


def near(found: Fraction | NotRead, value: str, tolerance: float) -> bool:
    """Whether a number is the wanted one within a relative tolerance; zero is met within the
    tolerance itself.
    """
    if isinstance(found, NotRead):
        return False
    wanted = Fraction(value)
    return abs(found - wanted) <= Fraction(max(tolerance, 1e-9)) * (abs(wanted) or 1)
