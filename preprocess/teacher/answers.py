"""Whether a reply ends at the known answer of its problem."""

from common.answers import is_value


def ends_at(check: dict, answer: str, claim: str | None) -> bool:
    """Whether a final answer and what its writer claims are the known value.

    The answer must state the value, and so must the claim, which is read as a result.

    Args:
        check: A row's checkable answer (see common.answers.is_value).
        claim: The value alone, as a teacher gives it beside the answer.
    """
    if claim is not None:
        result = f"\\boxed{{{claim}}}" if check["kind"] == "latex" else claim
        if not is_value(check, result):
            return False
    return is_value(check, answer)
