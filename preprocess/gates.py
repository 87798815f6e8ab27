"""What a row must pass, each with a reason that is counted: length, language, repetition, a
checkable value that is said.

Schema, format and marker hygiene are the row contract's own (common.rows, common.chat) and are
checked as a row is made.
"""

import json
import re
from collections.abc import Iterable

from common import chat, facts, rows
from common.answers import is_value
from common.vocabulary import text_tokens
from preprocess.mix import Gates
from preprocess.rows import Skip

RUN = 6  # words
SHORT = 40  # words under which a language or a repetition cannot be told
_WORD = re.compile(r"\w+")
# Code, formulas and calls of tools.
_NOT_PROSE = re.compile(
    r"<tool_calls>.*?</tool_calls>|```.*?(?:```|\Z)|\$\$.*?\$\$|\$.*?\$|\\\[.*?\\\]|\\begin\{(\w+\*?)\}.*?\\end\{\1\}",
    re.DOTALL,
)
# Common English words that are no common words of the neighbouring languages.
_ENGLISH = frozenset(
    [
        "the",
        "and",
        "of",
        "to",
        "is",
        "that",
        "it",
        "for",
        "are",
        "with",
        "this",
        "be",
        "by",
        "from",
        "have",
        "or",
        "which",
        "what",
        "you",
        "not",
        "can",
        "has",
        "if",
        "at",
        "each",
        "how",
        "but",
        "we",
        "they",
        "one",
        "its",
        "than",
        "then",
        "were",
        "she",
        "his",
        "there",
        "when",
        "would",
        "do",
        "does",
        "find",
        "let",
    ]
)


def tokens(row: dict, images: Iterable[rows.Image]) -> int:
    """About how long a row is in Pixtral's vocabulary: its texts, tools, calls and images, without
    the turn markers."""
    text = sum(text_tokens(rows.text_of(message)) for message in row["messages"])
    calls = [message["tool_calls"] for message in row["messages"] if "tool_calls" in message]
    for offered in (row.get("tools"), *calls):
        text += text_tokens(json.dumps(offered, ensure_ascii=False)) if offered else 0
    return text + sum(facts.image_tokens(image.width, image.height) for image in images)


def check(row: dict, length: int, gates: Gates) -> None:
    """Raise Skip for a row that no gate lets pass. `length`: its tokens."""
    if length > gates.max_tokens:
        raise Skip(f"longer than {gates.max_tokens:,} tokens")
    user = rows.text_of(rows.last_user(row))
    reply = rows.text_of(row["messages"][-1])
    if not is_english(f"{user} {reply}", gates.english):
        raise Skip("not English")
    if repeats(reply, gates.repetition):
        raise Skip("repeats itself")
    if "answer" in row and not is_value(row["answer"], chat.split(reply).answer or ""):
        raise Skip("the answer does not say its checkable value")


def is_english(text: str, least: float) -> bool:
    """Whether a share of at least `least` of the words, code and formulas left out, are common
    English words."""
    prose = _NOT_PROSE.sub(" ", text).lower()
    words = [word for word in _WORD.findall(prose) if word.isalpha()]
    common = sum(word in _ENGLISH for word in words)
    return len(words) < SHORT or common >= least * len(words)


def repeats(reply: str, most: float) -> bool:
    """Whether a share of more than `most` of the six-word runs, code and formulas left out, stood
    in the reply before."""
    words = _NOT_PROSE.sub(" ", reply).split()
    runs = [tuple(words[start : start + RUN]) for start in range(len(words) - RUN + 1)]
    return len(words) >= SHORT and len(runs) - len(set(runs)) > most * len(runs)
