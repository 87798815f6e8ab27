"""What a final answer does, told by a program: the questions it asks, what it gives away, whom it
hands over to.

The gates of a teacher's rows and the scorers of an evaluation use the same definitions, so that a
model is measured by what it was taught.
"""

import re
from collections.abc import Collection

SELF = "self"  # the route of a reply that stays
NUDGE_WORDS = 90  # the most an answer that nudges has
OPENING = 200  # characters in which throat-clearing would stand
BREADCRUMB_WORDS = 3  # the fewest that point at something
_FENCE = re.compile(r"(?P<fence>```+|~~~+).*?(?:(?P=fence)|\Z)", re.DOTALL)
_INLINE = re.compile(r"`[^`\n]*`")
_URL = re.compile(r"\b(?:https?://|www\.)\S*[^\s?？!.,;:)\]>\"']")
_LISTED = re.compile(r"^\s*(?:\(?\d+[.)]|\(?[a-z][.)]|[-*•])\s", re.MULTILINE)
_HEADING = re.compile(r"^(?:#{1,6}\s|\*\*[^*\n]+\*\*:?\s*$)", re.MULTILINE)
_NUMBERED = re.compile(
    r"\bstep\s*(?:\d+|one|two|three|four)\b|(?:^|\s)\(?[1-9][.)]\s", re.IGNORECASE
)
_ORDERED = re.compile(
    r"(?:^|[.!;:]\s+|\n)"
    r"(?:first(?:ly)?|second(?:ly)?|third(?:ly)?|then|next|after that|finally|lastly)\b",
    re.IGNORECASE,
)
_SOLVED = re.compile(
    r"(?:^|[.!?;:]\s+|\n)[*_]*(?:(?:so|and|well),?\s)?(?:(?:the|my)\s)?(?:\w+\s)?"
    r"(?:answer|solution)(?:(?:\sis|['’]s)\s|\s?[:=]\s?)"
    r"(?!(?:not|in|on|at|hid|somewhere|there|already|right (?:there|in)|inside|within|between"
    r"|behind|often|rarely|usually|probably|one|closer|near|up to|whatever|what)\b)[\w$\"'*`−-]"
    r"|\b(?:result|value|total)(?: is| equals|['’]s)\s[*_`]*[-−$]?\d"
    r"|\b(?:it|that|this)(?:['’]s| is| gives| makes| equals)\s[*_`]*[-−$]?\d[\d.,]*"
    r"[*_`]*[.!;]?(?:\s|$)(?!\w)"
    r"|\b(?:it|that|this)(?:['’]s| is| gives| makes| equals)\s[*_`]*[-−$]?\d[\d.,]*(?<=[.,])\s",
    re.IGNORECASE,
)
_BARE_CODE = re.compile(r"<(?:code|pre)>|^(?: {4}|\t)\s*\S.*[=({;]", re.MULTILINE)
_FILLERS = """hmm hm mmm well ok okay right yes no yeah sure ah oh aha alright so now good great
nice interesting fair enough point question i see let me think us let's wait maybe perhaps indeed
actually about it this that is a that's it's thing to ask asking like work far take your time you
you're are close try friend job start thinking keep going"""
_ROUTE_LINE = re.compile(r"[\s>*_`•-]*route[*_`]*\s?:", re.IGNORECASE)
_ROUTE = re.compile(
    _ROUTE_LINE.pattern
    + r"[*_`\s\"'“<\[(]*(?P<member>(?!_)[\w.-]+(?<![._]))[*_`\"'”>\])]*(?:\.[*_`]*)?",
    re.IGNORECASE,
)


def prose(text: str) -> str:
    """The text without its code, fenced or inline, and without addresses; an unclosed fence runs to
    the end.
    """
    return _URL.sub(" ", _INLINE.sub(" ", _FENCE.sub(" ", text)))


def questions(text: str) -> int:
    """How many questions the text asks: runs of question marks outside code and addresses."""
    return len(re.findall(r"[?？]+", prose(text)))


def not_a_nudge(answer: str) -> str | None:
    """Why an answer is no nudge, or None: one question, one breadcrumb beside it, and never the
    whole solution.
    """
    asked = questions(answer)
    if asked != 1:
        return f"asks {asked} questions instead of one"
    if _FENCE.search(answer) or _BARE_CODE.search(answer) or _has_steps(answer):
        return "gives the solution away in code or in steps"
    if _SOLVED.search(_URL.sub(" ", _INLINE.sub("code", answer))):
        return "says what the answer is"
    words = len(answer.split())
    if words > NUDGE_WORDS:
        return f"has {words} words; a nudge has {NUDGE_WORDS} at most"
    if not any(map(_points_at_something, _clauses(answer))):
        return "asks without leaving a breadcrumb"
    return None


def lectures(answer: str) -> bool:
    """Whether an answer goes through a list, numbered steps or headings."""
    return _has_steps(answer) or len(_HEADING.findall(prose(answer))) > 1


def opening_fault(answer: str, rules: dict) -> str | None:
    """The name of the rule that an answer's first words break, flattery say, or None.

    `rules`: a pattern of a `greeting` that counts for nothing, and those of `not_opening` by name.
    """
    opening = answer.strip()[:OPENING].replace("’", "'")
    opening = re.sub(f"^{rules['greeting']}", "", opening, count=1, flags=re.IGNORECASE)
    broken = (
        name
        for name, pattern in rules["not_opening"].items()
        if re.match(pattern, opening, re.IGNORECASE)
    )
    return next(broken, None)


def _has_steps(answer: str) -> bool:
    text = prose(answer)
    listed = len(_LISTED.findall(answer))
    return listed > 1 or len(_NUMBERED.findall(text)) > 1 or len(_ORDERED.findall(text)) > 2


def _clauses(answer: str) -> list[str]:
    """The parts of an answer that a stop, a colon, a semicolon or a dash ends."""
    return re.split(
        r"(?<=[.!?？:;])\s+|\s[–—-]\s|\n", _URL.sub("page at address", _INLINE.sub("code", answer))
    )


def _points_at_something(clause: str) -> bool:
    """Whether a clause that asks nothing says more than "Hmm, good question."."""
    clause = clause.strip()
    if clause.endswith(("?", "？")):
        return False
    words = re.findall(r"[\w']+", clause.lower().replace("’", "'"))
    return len(words) >= BREADCRUMB_WORDS and not set(words) <= set(_FILLERS.split())


def route_of(answer: str, members: Collection[str]) -> str | None:
    """Whom a complete final answer hands over to, read from a last line `Route: <member>` alone;
    prose and code decide nothing, and a fence that nobody closed runs to the end.

    Args:
        answer: The final answer, without its reasoning.
        members: The ids a reply may hand over to, those of a dataset's triad.yaml.

    Returns:
        The member; SELF where the last line is none; None where it names nobody known.
    """
    last = _FENCE.sub("```", answer).strip().rpartition("\n")[2]
    found = _ROUTE.fullmatch(last.strip())
    if found is None:
        return SELF
    known = {member.lower(): member for member in (*members, SELF)}
    return known.get(found["member"].lower())
