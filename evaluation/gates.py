"""What a tuned model must show: gates.yaml against a result. A gate that nothing decides does not
pass.
"""

from collections.abc import Collection
from pathlib import Path

from common.files import load_yaml

PASS = "PASS"
FAIL = "FAIL"
NO_DATA = "NO DATA"
REPLIES = "replies"  # the suite of gates on how all replies ended


def load(path: Path, suites: Collection[str]) -> list[dict]:
    """The gates of a file on these suites. Raises FileError."""
    return [gate for gate in load_yaml(path) if gate["of"].split("/")[0] in suites]


def least(gates: list[dict], suite: str, prompt: str) -> int:
    """How many questions of a suite under a prompt its gates need before they decide anything."""
    return max(
        (gate["least"] for gate in gates if gate["of"].startswith(f"{suite}/{prompt}/")), default=0
    )


def judge(gates: list[dict], result: dict) -> list[dict]:
    """Each gate with its verdict (PASS, FAIL or NO DATA, which is no pass) and a sentence.

    A gate on an optional suite that is not there is left out.
    """
    judged = []
    for gate in gates:
        found = _verdict(gate, result)
        if found is not None:
            verdict, sentence = found
            judged.append(gate | {"verdict": verdict, "said": sentence})
    return judged


def _verdict(gate: dict, result: dict) -> tuple[str, str] | None:
    suite, *rest = gate["of"].split("/")
    if suite == REPLIES:
        return _share(gate, rest[0], result)
    if suite not in result["suites"]:
        skipped = result["skipped"].get(suite)
        if skipped and skipped["optional"]:
            return None
        return NO_DATA, f"{suite}: {skipped['why'] if skipped else 'not asked'}"
    prompt, name = rest
    cell = result["suites"][suite]["prompts"].get(prompt, {"measurements": {}})
    return _difference(gate, cell["measurements"].get(name))


def _difference(gate: dict, about: dict | None) -> tuple[str, str]:
    """The interval of tuned - base against what is wanted."""
    n = about["n"] if about else 0
    if about is None or n < gate["least"]:
        return NO_DATA, f"{n} pairs; fewer than {gate['least']} decide nothing"
    if about["interval"] is None:
        return NO_DATA, f"{n} pairs; too few for an interval"
    if "ratio_at_least" in gate:
        return _ratio(gate["ratio_at_least"], about)
    low, high = about["interval"]
    wanted = gate["more_by"] if "more_by" in gate else -gate["not_worse_by"]
    sentence = (
        f"{about['difference']:+.1%} [{low:+.1%}, {high:+.1%}] of {n}; "
        f"the lower end must be {wanted:+.0%} or more"
    )
    return PASS if low >= wanted else FAIL, sentence


def _ratio(wanted: float, about: dict) -> tuple[str, str]:
    """The interval of tuned / base, of medians."""
    if about["ratio_interval"] is None:
        return NO_DATA, f"a base of {about['base']['value']} has no ratio"
    low, high = about["ratio_interval"]
    values = f"median {about['base']['value']:.0f} to {about['tuned']['value']:.0f}"
    sentence = (
        f"{values}, ×{about['ratio']:.2f} [{low:.2f}, {high:.2f}] of {about['n']}; "
        f"the lower end must be {wanted} or more"
    )
    return PASS if low >= wanted else FAIL, sentence


def _share(gate: dict, status: str, result: dict) -> tuple[str, str]:
    """The share of the tuned model's replies that ended in a way."""
    cells = [cell for suite in result["suites"].values() for cell in suite["prompts"].values()]
    n = sum(cell["asked"] for cell in cells)
    count = sum(cell["replies"]["tuned"][status] for cell in cells)
    if n < gate["least"] or n == 0:
        return NO_DATA, f"{n} replies; fewer than {max(gate['least'], 1)} decide nothing"
    sentence = f"{count} of {n} replies ({count / n:.1%}); at most {gate['at_most']:.0%}"
    return PASS if count / n <= gate["at_most"] else FAIL, sentence
