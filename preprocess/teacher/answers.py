"""Whether a reply ends at the known answer of its problem."""

from __future__ import annotations

from common.answers import is_value, marked
from preprocess import gates


def ends_at(check: dict, answer: str, claim: str | None) -> bool:
    """Whether a final answer and what its writer claims are the known value.

    A claim is read as a result. The answer must state the value where it marks a result, and may
    say it in plain prose where it marks none; without a claim, and for a formula, it must state it.

    Args:
        check: A row's checkable answer (see common.answers.is_value).
        claim: The value alone, as a teacher gives it beside the answer.
    """
    if claim is None:
        return is_value(check, answer)
    formula = check["kind"] == "latex"
    if not is_value(check, f"\\boxed{{{claim}}}" if formula else claim):
        return False
    if formula or marked(answer) is not None:
        return is_value(check, answer)
    return gates.stands(check, answer)
