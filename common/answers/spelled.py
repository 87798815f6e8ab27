"""Whole numbers in English words: `seven`, `twenty-one`, `two thousand five hundred`."""

import re

_ONES = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen"
_TEENS = "fifteen sixteen seventeen eighteen nineteen"
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
_VALUE = {word: value for value, word in enumerate(f"{_ONES} {_TEENS}".split())}
_VALUE |= {word: 10 * tens for tens, word in enumerate(_TENS.split(), 2)}
_SCALE = {"thousand": 1_000, "million": 1_000_000, "billion": 1_000_000_000}
WORD = "|".join([*_VALUE, "hundred"])
_ONE = "|".join([*_VALUE][1:10])
_A = rf"a(?=\s(?:hundred|{'|'.join(_SCALE)}))"
_TWO_DIGITS = rf"(?:{'|'.join(_TENS.split())})(?:[\s-](?:{_ONE}))?"
_HUNDRED = rf"(?:{_TWO_DIGITS}|{'|'.join(_VALUE)}|{_A})\b"
_GROUP = rf"(?:{_HUNDRED}\s)?hundred\b(?:\s(?:and\s)?{_HUNDRED})?|{_HUNDRED}"
_SCALED = "".join(
    rf"(?:(?:{_GROUP})\s{scale}\b(?:,?\s(?:and\s)?(?={_HUNDRED}|hundred))?)?"
    for scale in reversed(_SCALE)
)
_NUMBER = re.compile(rf"\b(?=\w){_SCALED}(?:{_GROUP})?(?<=\w)\b", re.IGNORECASE)
_PART = re.compile(  # two thirds, the twenty-first, two million three million
    r"[\s-]?(?:half|halves|quarter|first|second\b|third|thousand|million|billion"
    r"|(?:four|fif|six|seven|eigh|nin|ten|twelf|hundred|thousand)th)",
    re.IGNORECASE,
)


def spelled(text: str) -> str:
    """The text with its whole numbers in words as digits."""
    return _NUMBER.sub(_digits, text)


def _digits(found: re.Match) -> str:
    if _PART.match(found.string, found.end()):
        return found[0]
    total = group = 0
    for word in re.findall(r"\w+", found[0].lower()):
        if word in _SCALE:
            total += (group or 1) * _SCALE[word]
            group = 0
        elif word == "hundred":
            group = (group or 1) * 100
        else:
            group += _VALUE.get(word, 0)
    return str(total + group)
