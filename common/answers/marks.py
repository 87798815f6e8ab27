r"""Where a reply states its result: the line `Answer: `, the last \boxed{}, "the answer is", bold
words. Pure, linear, never raises.
"""

import itertools
import re
from collections.abc import Iterator

from common.answers.numbers import LONGEST

READ = 20_000  # characters of a reply's end in which a result is looked for
_DRESS = r"[\s>#*_`|•-]*"
_ANSWER_LINES = (  # the first form that any line has counts
    re.compile(_DRESS + r"(?:final\s)?answer[\s*_`]*[:=：](?P<rest>.*)$", re.IGNORECASE),
    re.compile(
        _DRESS + r"(?:(?:so|thus|therefore|hence),?\s)?(?:(?:the|my|our)\s)?"
        r"(?:(?:final|correct|short)\s)?answer[\s*_`]*[:=：](?P<rest>.*)$",
        re.IGNORECASE,
    ),
)
_ANSWER_HEADING = re.compile(r"\s*(?:#+|\*\*|__)\s*(?:final\s)?answer[\s*_#]*$", re.IGNORECASE)
_ITEM = re.compile(r"\s*(?:[-*•]|\d+[.)])\s")
_ANSWER_WORDS = re.compile(
    r"\banswer[\s*_`]*(?:(?:is|would be|comes? (?:out )?(?:to|at)|=|:)[\s*_`]*[:=]?)(?P<rest>.*)",
    re.IGNORECASE,
)
_BOLD = re.compile(r"(?<!\*)\*\*(?!\*)([^*\n]{1,400})\*\*|(?<![\w_])__([^_\n]{1,400})__(?!\w)")
_SENTENCE_END = re.compile(r"(?<=[.!?;])[*_`\"')\]]*\s+|\n")
_EXPLANATION = re.compile(
    r"[\s,;:-]*\b(?:because|since|which|where|so that|due to|given that|as (?:the|it|there))\b.*"
    r"|\s+-\s+(?!(?:or|to|and|maybe|perhaps|plus|minus|times|x)\b)[A-Za-z].*",
    re.IGNORECASE | re.DOTALL,
)
_TAKEN_BACK = re.compile(
    r"(?:or|maybe|perhaps|alternatively|actually|no|wait|rather|correction|but)\b.*\w",
    re.IGNORECASE,
)


def boxed(text: str) -> str | None:
    r"""What stands in the last \boxed{...} or \fbox{...}, braces balanced; `\boxed 5` is 5. None
    where it never closes.
    """
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


def answer_line(text: str) -> str | None:
    """What stands after the last line that begins with `Answer:`, or on the line after it.

    Where no line begins so, one that begins with "The answer:". None where there is neither.
    """
    lines = [line for line in text[-READ:].splitlines() if line.strip()]
    for form in _ANSWER_LINES:
        for at, line in reversed([*enumerate(lines)]):
            if len(line) > LONGEST:
                continue
            found = form.match(line)
            if not found and not _ANSWER_HEADING.match(line):
                continue
            rest = found["rest"] if found else ""
            if rest.strip("*_`$ "):
                return rest.strip()
            return _below(lines[at + 1 :])
    return None


def _below(lines: list[str]) -> str:
    """The line below an `Answer:` that stands alone; a list is one line, its items with commas
    between.
    """
    items = [*itertools.takewhile(_ITEM.match, lines)]
    if len(items) > 1:
        return ", ".join(_ITEM.sub("", item).strip() for item in items)[: LONGEST + 1]
    return lines[0].strip() if lines and len(lines[0]) <= LONGEST else ""


def answer_words(text: str) -> Iterator[str]:
    """What stands after each "the answer is", the last one first."""
    for line in reversed(text[-READ:].splitlines()):
        if len(line) > LONGEST:
            continue
        found = [match["rest"] for match in _every(_ANSWER_WORDS, line)]
        yield from (rest.strip() for rest in reversed(found))


def _every(pattern: re.Pattern, line: str) -> Iterator[re.Match]:
    at = 0
    while found := pattern.search(line, at):
        yield found
        at = found.start("rest")


def marked(text: str) -> str | None:
    """The result a reply marks in a form that says so: its line `Answer:`, else its last box. None
    where it marks none.
    """
    line = answer_line(text)
    return line if line is not None else boxed(text)


def bold(text: str) -> list[str]:
    """The words in bold, in order."""
    return [first or second for first, second in _BOLD.findall(text[-READ:])]


def sentences(text: str) -> list[str]:
    """The sentences of a text, those of one line each; a point inside a number ends none."""
    parts = _SENTENCE_END.split(text[-READ:])
    return [part.strip() for part in parts if part.strip()]


def statement(text: str) -> str:
    """The first sentence of what is marked, without the explanation that follows a value.

    Where the second takes the first back or adds to it ("... or 43"), both.
    """
    parts = sentences(text[:LONGEST])
    if not parts:
        return ""
    if len(parts) > 1 and _TAKEN_BACK.match(parts[1]):
        return " ".join(parts[:2])
    return _EXPLANATION.sub("", parts[0]).strip()
