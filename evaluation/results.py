"""From measurements of replies to result.json: paired comparisons per suite and prompt, the judge's
points. Pure functions.
"""

from collections import Counter

from common import chat
from common.errors import AetherError
from evaluation import scorers, statistics
from evaluation.ask import Cell, Measured

WHICH = ("base", "tuned")
FIRST = "first"  # the base of a base that was fine-tuned itself: shown beside the two
PARTS = {True: "unseen", False: "shared"}  # whether a training row has a question's family
STATUSES = (chat.COMPLETE, chat.TRUNCATED, chat.UNANSWERED)
COUNTS = (*STATUSES, "malformed", "not_read", "mean_tokens")
ABILITIES = (
    "gsm_hard", "math", "async_bench", "async_code", "async_design", "diagrams", "frames",
    "looking", "pictures", "plant", "tools",
)  # fmt: skip


class ResultError(AetherError):
    """Measurements that cannot be compared."""


def measurements(kind: str) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """(shares, means, medians) that a kind of suite reports."""
    shares: tuple[str, ...] = ("correct",)
    means: tuple[str, ...] = ()
    if kind in ("voice", "looking"):
        seen = ("correct",) if kind == "looking" else ()
        shares = (*seen, *scorers.settings()["behaviours"], "direct", "form")
        means = ("reasoning_words", "answer_words")
    elif kind == "design":
        shares = ()
        means = ("points",)
    elif kind == "nudge":
        shares = ("nudges", "no_lecture")
    elif kind == "routing":
        shares = ("correct", "right_and_why")
    elif kind == "called":
        shares = ("correct", "allowed")
    return shares, means, ("reasoning_tokens",)


def compare(
    kind: str, base: Measured, tuned: Measured, unseen: dict[str, bool | None] | None = None
) -> dict:
    """One suite under one prompt.

    A share is of all that was asked: a reply that is not complete does nothing and is right in
    nothing. A mean or median is over the pairs in which both replies have the measurement.

    Args:
        unseen: Of each question that can tell, whether no training row has its family or framing;
            those and the others are then compared apart too, as `correct_unseen` and
            `correct_shared`.

    Raises ResultError where the two were asked different questions.
    """
    if base.keys() != tuned.keys():
        alone = sorted(base.keys() ^ tuned.keys())
        raise ResultError(
            f"base and tuned were asked different questions: {alone[0]} and {len(alone) - 1} "
            "more stand on one side alone; evaluate both again"
        )
    ids = sorted(base)
    shares, means, medians = measurements(kind)
    found = {}
    for name in shares:
        found[name] = _rates(name, base, tuned, ids)
        for part, called in PARTS.items():
            apart = [id_ for id_ in ids if (unseen or {}).get(id_) is part]
            found[f"{name}_{called}"] = _rates(name, base, tuned, apart)
    for name in (*means, *medians):
        both = [
            id_
            for id_ in ids
            if base[id_].get(name) is not None and tuned[id_].get(name) is not None
        ]
        paired = statistics.paired_medians if name in medians else statistics.paired_means
        found[name] = paired([base[id_][name] for id_ in both], [tuned[id_][name] for id_ in both])
    return {
        "asked": len(ids),
        "replies": {"base": _replies(base), "tuned": _replies(tuned)},
        "measurements": {name: about for name, about in found.items() if about["n"]},
    }


def _rates(name: str, base: Measured, tuned: Measured, ids: list[str]) -> dict:
    sides = ([bool(side[id_].get(name)) for id_ in ids] for side in (base, tuned))
    return statistics.paired_rates(*sides)


def _replies(side: Measured) -> dict:
    """How the replies ended, whether they could be read, and how long they were."""
    counts = Counter(found["status"] for found in side.values())
    tokens = [found["tokens"] for found in side.values() if found.get("tokens") is not None]
    complete = [found for found in side.values() if found["status"] == chat.COMPLETE]
    return {status: counts[status] for status in STATUSES} | {
        "malformed": sum(not found["well_formed"] for found in complete),
        "not_read": sum(found.get("read") is False for found in complete),
        "mean_tokens": round(sum(tokens) / len(tokens), 1) if tokens else None,
    }


def assemble(
    cells: list[Cell], measured: dict[str, dict[tuple[str, str], Measured]], settings: dict
) -> dict:
    """{suite: what it is, its scorer's version, {prompt: comparison}} of all that was asked."""
    found: dict = {}
    for cell in cells:
        sides = {which: measured[which][cell.suite, cell.prompt] for which in WHICH}
        unseen = {question.id: question.unseen for question in cell.questions}
        about = {"max_tokens": cell.max_tokens} | compare(cell.score, **sides, unseen=unseen)
        if FIRST in measured:
            first = measured[FIRST][cell.suite, cell.prompt]
            beside = compare(cell.score, first, sides["tuned"], unseen)["measurements"]
            for name, values in about["measurements"].items():
                values[FIRST] = beside.get(name, {}).get("base")
        if cell.score == "routing":
            targets = {question.id: question.expect["target"] for question in cell.questions}
            about["confusion"] = {which: confusion(side, targets) for which, side in sides.items()}
        if cell.suite not in found:
            found[cell.suite] = {
                "what": settings["suites"][cell.suite]["what"],
                "version": scorers.VERSION[cell.score],
                "prompts": {},
            }
        found[cell.suite]["prompts"][cell.prompt] = about
    return found


def confusion(side: Measured, targets: dict[str, str]) -> dict[str, dict[str, int]]:
    """{right target: {where the reply routed, or why it did not: count}}."""
    table: dict[str, Counter] = {}
    for id_, target in targets.items():
        row = table.setdefault(target, Counter())
        row[side[id_].get("routed", side[id_]["status"])] += 1
    return {target: dict(sorted(row.items())) for target, row in sorted(table.items())}


def points(
    side: Measured, rubric: dict[str, list[str]], verdicts: dict[str, bool | None]
) -> tuple[Measured, int]:
    """(measurements with `points`, unparsable verdicts, which are left out).

    `points` is the share of its rubric's points that a judge found; a reply that is not complete
    makes none. `verdicts` is keyed `<question>#<number of the point>`.
    """
    found = {}
    unparsable = 0
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
    return {
        "labelled": len(labels),
        "unparsable": len(labels) - len(told),
        "disagree": wrong,
        "interval": statistics.wilson(len(wrong), len(told)),
    }


def dips(result: dict) -> list[dict]:
    """Where reasoning or seeing dipped: the interval of an ability lies below zero, or its gate
    failed.
    """
    failed = {gate["of"] for gate in result["gates"] if gate["verdict"] == "FAIL"}
    found = []
    for suite in ABILITIES:
        for prompt, cell in result["suites"].get(suite, {"prompts": {}})["prompts"].items():
            for name, about in cell["measurements"].items():
                below = (
                    about["kind"] != "median"
                    and about["interval"] is not None
                    and about["interval"][1] < 0
                )
                gate_failed = f"{suite}/{prompt}/{name}" in failed and about["difference"] < 0
                if below or gate_failed:
                    where = {"suite": suite, "prompt": prompt, "name": name}
                    found.append({**where, **about, "replies": cell["replies"]})
    return found
