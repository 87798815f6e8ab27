"""Whether a reply ends at the known answer of its problem."""

from __future__ import annotations

import re

from preprocess import gates

_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")
_BOXED = re.compile(r"\\boxed\{((?:[^{}]|\{(?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*\})*)\}")
_LOOKS = re.compile(r"\\(?:left|right|displaystyle|!|,|;| )|[$\s]|\\text\{\s*\}")


def ends_at(check: dict, answer: str, claim: str | None) -> bool:
    """Whether an answer ends at the known value: what it boxes and what it claims, where it does,
    and what it says.
    """
    said = _BOXED.findall(answer)[-1:]
    if claim is not None:
        said.append(claim)
    if check["kind"] == "number":
        return all(_is(check, text) for text in said) and gates.stands(check, answer)
    plain = _plain(str(check["value"]))
    return all(_plain(text) == plain for text in said) and plain in _plain(answer)


def _is(check: dict, text: str) -> bool:
    """Whether a text holds exactly one number, and it is the known one."""
    numbers = _NUMBER.findall(text.replace("{,}", ",").replace("\\!", "").replace("−", "-"))
    return len(numbers) == 1 and gates.stands(check, numbers[0])


def _plain(latex: str) -> str:
    """A formula without what changes only its looks."""
    latex = latex.replace("dfrac", "frac").replace("tfrac", "frac")
    return _LOOKS.sub("", latex).rstrip(".")
