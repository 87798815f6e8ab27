"""What a final answer does, told by a program: the questions it asks, what it gives away, the member of the Triad it routes to.

The gates of a teacher's rows and the scorers of an evaluation use the same definitions, so that a model is measured by what it was
taught.
"""

from __future__ import annotations

import re

# The members of the Triad, and how an answer names them. "self" is named by none of the others being named.
MEMBERS = {
    "grok-4-fast": r"grok[ -]?4[ -]?fast",
    "claude-sonnet-4.5": r"claude[ -]sonnet[ -]4\.5",
    "long-context": r"long[ -]context (?:member|model|beast)",
    "edge": r"edge (?:member|model)",
}
TARGETS = ("self", *MEMBERS)
NUDGE_WORDS = 90  # the most an answer that nudges has
_CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]*`", re.DOTALL)
_STEP = re.compile(r"^\s*(?:\d+[.)]|[-*•])\s", re.MULTILINE)


def prose(text: str) -> str:
    """The text without its code, fenced or inline; an unclosed fence runs to the end."""
    return _CODE.sub(" ", text)


def questions(text: str) -> int:
    """How many questions the text asks: runs of question marks outside code."""
    return len(re.findall(r"\?+", prose(text)))


def not_a_nudge(answer: str) -> str | None:
    """Why an answer is no nudge, or None: one question, one breadcrumb beside it, and never the whole solution."""
    if (asked := questions(answer)) != 1:
        return f"asks {asked} questions instead of one"
    if "```" in answer or len(_STEP.findall(answer)) > 1:
        return "gives the solution away in code or in steps"
    if (words := len(answer.split())) > NUDGE_WORDS:
        return f"has {words} words; a nudge has {NUDGE_WORDS} at most"
    if not any(
        s.strip() and not s.strip().endswith("?")
        for s in re.split(r"(?<=[.!?:])\s+", prose(answer))
    ):
        return "asks without leaving a breadcrumb"
    return None


def named(answer: str) -> set[str]:
    """The members of the Triad an answer names outside code."""
    text = prose(answer)
    return {
        member for member, pattern in MEMBERS.items() if re.search(pattern, text, re.IGNORECASE)
    }


def routed(answer: str) -> str | None:
    """The target an answer routes to: the one member it names, "self" when it names none, None when it names several."""
    found = named(answer)
    return next(iter(found), "self") if len(found) < 2 else None
