"""From measurements of replies to result.json: paired comparisons per suite and prompt, the judge, the gates. Pure functions."""

from __future__ import annotations

from collections import Counter

from common import chat
from evaluation import scorers, statistics

WHICH = ("base", "tuned")
STATUSES = (chat.COMPLETE, chat.TRUNCATED, chat.UNANSWERED)
ABILITIES = (
    "gsm_hard",
    "math",
    "async_bench",
    "async_code",
    "async_design",
    "diagrams",
    "frames",
    "looking",
    "pictures",
)
Measured = dict[str, dict]  # question id: measurements


def measurements(kind: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(shares, means) that a kind of suite reports."""
    if kind in ("voice", "looking"):
        seen = ("correct",) * (kind == "looking")
        return (*seen, *scorers.settings()["behaviours"], "direct", "form"), (
            "reasoning_words",
            "answer_words",
        )
    named = {"nudge": ("nudges",), "routing": ("correct", "right_and_why"), "design": ()}
    return named.get(kind, ("correct",)), ("points",) if kind == "design" else ()


def compare(kind: str, base: Measured, tuned: Measured, seed: int) -> dict:
    """One suite under one prompt. A share is of all that was asked: a reply that is not complete does nothing and is right in nothing.
    A mean is over the pairs in which both replies have the measurement."""
    ids = sorted(base)
    shares, means = measurements(kind)
    found = {}
    for name in shares:
        found[name] = statistics.paired_rates(
            *([bool(side[i].get(name)) for i in ids] for side in (base, tuned))
        )
    for name in means:
        both = [i for i in ids if base[i].get(name) is not None and tuned[i].get(name) is not None]
        found[name] = statistics.paired_means(
            [base[i][name] for i in both], [tuned[i][name] for i in both], seed
        )
    replies = {which: _replies(side) for which, side in zip(WHICH, (base, tuned), strict=True)}
    return {
        "asked": len(ids),
        "replies": replies,
        "measurements": {name: about for name, about in found.items() if about["n"]},
    }


def _replies(side: Measured) -> dict:
    """How the replies ended, and how long they were."""
    counts = Counter(found["status"] for found in side.values())
    tokens = [found["tokens"] for found in side.values() if found.get("tokens") is not None]
    malformed = sum(
        found["status"] == chat.COMPLETE and not found["well_formed"] for found in side.values()
    )
    mean = round(sum(tokens) / len(tokens), 1) if tokens else None
    return {status: counts[status] for status in STATUSES} | {
        "malformed": malformed,
        "mean_tokens": mean,
    }


def confusion(side: Measured, targets: dict[str, str]) -> dict[str, dict[str, int]]:
    """{right target: {where the reply routed, or why it did not: count}}."""
    table: dict[str, Counter] = {}
    for id_, target in targets.items():
        table.setdefault(target, Counter())[side[id_].get("routed", side[id_]["status"])] += 1
    return {target: dict(sorted(row.items())) for target, row in sorted(table.items())}


def points(
    side: Measured, rubric: dict[str, list[str]], verdicts: dict[str, bool | None]
) -> tuple[Measured, int]:
    """(measurements with `points`, the share of its rubric's points that a judge found; unparsable verdicts, which are left out).

    `verdicts` is keyed `<question>#<number of the point>`. A reply that is not complete makes no point.
    """
    found, unparsable = {}, 0
    for id_, about in side.items():
        if about["status"] != chat.COMPLETE:
            found[id_] = about | {"points": 0.0}
            continue
        given = [verdicts[f"{id_}#{number}"] for number in range(len(rubric[id_]))]
        told = [verdict for verdict in given if verdict is not None]
        unparsable += len(given) - len(told)
        found[id_] = about | {"points": sum(told) / len(told) if told else None}
    return found, unparsable


def agreement(verdicts: dict[str, bool | None], labels: dict[str, bool]) -> dict:
    """How a judge's verdicts on the hand-labelled items compare with the labels."""
    told = {id_: verdicts[id_] for id_ in labels if verdicts[id_] is not None}
    wrong = sorted(id_ for id_, verdict in told.items() if verdict != labels[id_])
    interval = statistics.wilson(len(wrong), len(told))
    return {
        "labelled": len(labels),
        "unparsable": len(labels) - len(told),
        "disagree": wrong,
        "interval": interval,
    }


def judge_gates(gates: list[dict], result: dict) -> list[dict]:
    """Each gate with its verdict, PASS, FAIL or NO DATA (which is no pass), and a sentence. A gate on an optional suite that is
    not there is left out."""
    return [gate | found for gate in gates if (found := _gate(gate, result)) is not None]


def _gate(gate: dict, result: dict) -> dict | None:
    suite, *rest = gate["of"].split("/")
    if suite == "replies":
        return _share(gate, rest[0], result)
    if suite not in result["suites"]:
        skipped = result["skipped"].get(suite)
        return (
            None
            if skipped and skipped["optional"]
            else {
                "verdict": "NO DATA",
                "said": f"{suite}: {skipped['why'] if skipped else 'not asked'}",
            }
        )
    about = result["suites"][suite]["prompts"].get(rest[0], {}).get("measurements", {}).get(rest[1])
    n = about["n"] if about else 0
    if n < gate["least"]:
        return {
            "verdict": "NO DATA",
            "said": f"{n} pairs; fewer than {gate['least']} decide nothing",
        }
    low, high = about["interval"]
    wanted = gate["more_by"] if "more_by" in gate else -gate["not_worse_by"]
    words = f"{about['difference']:+.1%} [{low:+.1%}, {high:+.1%}] of {n}; the lower end must be {wanted:+.0%} or more"
    return {"verdict": "PASS" if low >= wanted else "FAIL", "said": words}


def _share(gate: dict, status: str, result: dict) -> dict:
    cells = [cell for suite in result["suites"].values() for cell in suite["prompts"].values()]
    n, count = (
        sum(cell["asked"] for cell in cells),
        sum(cell["replies"]["tuned"][status] for cell in cells),
    )
    if n < gate["least"]:
        return {
            "verdict": "NO DATA",
            "said": f"{n} replies; fewer than {gate['least']} decide nothing",
        }
    said = f"{count} of {n} replies ({count / n:.1%}); at most {gate['at_most']:.0%}"
    return {"verdict": "PASS" if count / n <= gate["at_most"] else "FAIL", "said": said}


def dips(result: dict) -> list[dict]:
    """Where reasoning or seeing dipped: the interval of an ability lies below zero, or its gate failed."""
    failed = {gate["of"] for gate in result["gates"] if gate["verdict"] == "FAIL"}
    found = []
    for suite in ABILITIES:
        for prompt, cell in result["suites"].get(suite, {"prompts": {}})["prompts"].items():
            for name, about in cell["measurements"].items():
                if about["interval"][1] < 0 or (
                    f"{suite}/{prompt}/{name}" in failed and about["difference"] < 0
                ):
                    found.append(
                        {
                            "suite": suite,
                            "prompt": prompt,
                            "name": name,
                            **about,
                            "replies": cell["replies"],
                        }
                    )
    return found
