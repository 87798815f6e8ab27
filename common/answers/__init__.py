"""What a reply states as its result, and whether it is the wanted one: one notion for the build,
the teacher's gate and the scorers.

docs/answers.md is the grammar in words. A result that could be read in more than one way is a
NotRead, never a guess.
"""

import json
import re
from fractions import Fraction

from common.answers.marks import answer_line, boxed, marked
from common.answers.numbers import NotRead
from common.answers.value import near, read_number, stated_number
from common.answers.words import stated_choice, stated_option, states_text
from common.tools import ToolError, accepted, read

__all__ = [
    "NotRead", "answer_line", "boxed", "is_value", "marked", "near", "read_number", "stated_choice",
    "stated_number", "stated_option", "states_text",
]  # fmt: skip


def is_value(answer: dict, text: str) -> bool:
    """Whether a final answer states the value of `answer`, a row's checkable answer.

    Args:
        answer: `kind` (number | choice | text | latex | calls), `value`; for a number its relative
            `tolerance` and its `unit`; where a choice is one of several, `choices`, or a
            `derivation` (JSON) that holds them. The value of calls is JSON, a list of what
            `common.tools.accepted` wants; `says`, or a derivation with it, are texts that the
            answer holds beside them.
        text: the final answer, without its reasoning.
    """
    if answer["kind"] == "calls":
        says = answer.get("says") or _derived(answer.get("derivation"), "says") or []
        return _calls(text, json.loads(answer["value"])) and all(_says(text, one) for one in says)
    if answer["kind"] == "number":
        return _is_number(answer, stated_number(text))
    if answer["kind"] == "latex":
        from common.answers.mathematics import same_mathematics  # starts a process where it must

        found = boxed(text) or marked(text)
        return found is not None and same_mathematics(str(answer["value"]), found)
    choices = answer.get("choices") or _derived(answer.get("derivation"), "choices")
    if choices:
        return stated_choice(text, choices) == answer["value"]
    return states_text(text, str(answer["value"]))


def _calls(text: str, wanted: list[dict]) -> bool:
    """Whether an answer makes the calls that are wanted; none of them where the list is empty."""
    try:
        return accepted(read(text), wanted)
    except (ToolError, RecursionError):
        return False


def _says(text: str, wanted: str) -> bool:
    """Whether an answer holds a text, or a number without regard to the commas in it."""
    plain = re.sub(r"(?<=\d),(?=\d{3})", "", text.casefold())
    return bool(re.search(rf"(?<![\w.]){re.escape(wanted.casefold())}(?![\w]|\.\d)", plain))


def _is_number(answer: dict, found: Fraction | NotRead) -> bool:
    """A value counted in millions is said with the word or, as it was asked for, without."""
    tolerance = answer.get("tolerance") or 0.0
    if near(found, str(answer["value"]), tolerance):
        return True
    counted_in = read_number(f"1 {answer.get('unit') or ''}")
    if isinstance(found, NotRead) or isinstance(counted_in, NotRead) or counted_in == 1:
        return False
    return near(found / counted_in, str(answer["value"]), tolerance)


def _derived(derivation: str | dict | None, key: str) -> list[str] | None:
    """What a derivation holds of a key, as a row keeps it (JSON) or as it is made."""
    found = json.loads(derivation) if isinstance(derivation, str) and derivation else derivation
    return found.get(key) if isinstance(found, dict) else None
