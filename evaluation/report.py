"""report.md, from the result alone: the same result gives the same bytes. And everything else that
is written.
"""

import os
from pathlib import Path

from common.files import ROOT, shown, write_json, write_text
from common.markdown import filled, table
from common.recipes import Recipe
from evaluation import charts, exported, index, scorers
from evaluation.gates import PASS
from evaluation.results import COUNTS, FIRST, WHICH, dips

TEMPLATE = Path(__file__).with_name("report.template.md")
REPLAY = (0.05, 0.10, 0.20)  # shares of replay rows to choose from
DIPPED_HEADS = (
    "suite", "prompt", "n", "tuned - base", "lost", "gained", "newly unended",
    "mean tokens, base and tuned",
)  # fmt: skip
TOO_FEW = "too few"


def write_all(recipe: Recipe, result: dict, folder: Path, data: dict) -> None:
    """result.json and the report; beside the recipe too, with the index, when nothing was left out.

    `data` is the manifest of the recipe's dataset, {} where it is gone.
    """
    write(folder, result, data)
    write_json(folder / "result.json", result)
    if result["complete"] and recipe.path.is_relative_to(ROOT / "recipes"):
        if not os.access(recipe.path.parent, os.W_OK):  # in the image the code is not ours to write
            print(f"copy {shown(folder / 'result.json')} to {shown(recipe.result)} in a checkout")
            return
        write_json(recipe.result, result)
        index.write()


def write(folder: Path, result: dict, data: dict) -> None:
    """Write report.md, differences.png and behaviours.png."""
    charts.draw(folder, result)
    write_text(folder / "report.md", filled(TEMPLATE, _slots(result, data)))


def _slots(result: dict, data: dict) -> dict[str, str]:
    gates = result["gates"]
    passed = sum(gate["verdict"] == PASS for gate in gates)
    verdict = "PASS" if passed == len(gates) else "FAIL"
    quick = ""
    if result["limit"]:
        quick = f"**A quick look**: at most {result['limit']} questions a suite. "
    if result.get("max_tokens"):
        quick += f"At most {result['max_tokens']} tokens a reply. "
    if result["small"]:
        settings = scorers.settings()
        quick += (
            f"A CPU served: a sample of {settings['cpu_sample']} questions of each suite, or as "
            f"many as a gate on it needs; at most {settings['cpu_max_tokens']} tokens a reply. "
        )
    columns = tuple(which for which in (FIRST, *WHICH) if which in result["models"])
    base = result["models"]["base"]["name"]
    if FIRST in columns:
        base += f", fine-tuned from {result['models'][FIRST]['name']} (the column {FIRST})"
    skipped = [[name, about["why"]] for name, about in result["skipped"].items()]
    return {
        "recipe": result["recipe"],
        "verdict": f"**{verdict}**: {passed} of {len(gates)} gates.",
        "quick": quick,
        "base": base,
        "tuned": result["models"]["tuned"]["name"],
        "temperature": str(result["sampling"]["temperature"]),
        "recipe_sha": result["recipe_sha256"][:12],
        "data_sha": str(result["data_sha256"])[:12],
        "trained": str(result["trained_commit"])[:12],
        "commit": str(result["commit"])[:12] + (" with changes" if result["dirty"] else ""),
        "gates": _gates(gates),
        "exported": exported.columns(result),
        "remedy": remedy(result, data),
        "tables": "\n\n".join(
            _suite(name, about, columns) for name, about in result["suites"].items()
        ),
        "replies": _replies(result),
        "judge": _judge(result["judge"]),
        "skipped": table(["suite", "why"], skipped) if skipped else "Nothing was left out.",
        "view": f".venvs/light/bin/inspect view --log-dir outputs/{result['recipe']}/eval/logs",
    }


def _gates(gates: list[dict]) -> str:
    lines = []
    for gate in gates:
        verdict = gate["verdict"] if gate["verdict"] == PASS else f"**{gate['verdict']}**"
        lines.append([gate["name"], verdict, gate["said"]])
    return table(["gate", "verdict", "what was found"], lines)


def _suite(name: str, suite: dict, columns: tuple[str, ...]) -> str:
    """A suite's section: what it is, its table of measurements, where replies routed. `columns`:
    the models whose values it shows.
    """
    heads = ["measurement", "prompt", "n", *columns, "tuned - base", "p", "effect", "wanted"]
    lines = [
        [
            measured.replace("_", " "),
            prompt,
            about["n"],
            *(_value(about, which) for which in columns),
            *_change(about),
            _wanted(name, measured, about),
        ]
        for prompt, cell in suite["prompts"].items()
        for measured, about in cell["measurements"].items()
    ]
    tokens = ", ".join(sorted({str(cell["max_tokens"]) for cell in suite["prompts"].values()}))
    what = suite["what"][0].upper() + suite["what"][1:]
    parts = [
        f"### {name}",
        f"{what}. Scorer version {suite['version']}, at most {tokens} tokens a reply.",
        table(heads, lines) if lines else "Nothing could be measured.",
    ]
    for prompt, cell in suite["prompts"].items():
        for which in WHICH if "confusion" in cell else ():
            routes = _confusion(cell["confusion"][which])
            parts.append(f"Where the {which} model routes ({prompt}): {routes}.")
    return "\n\n".join(parts)


def _confusion(found: dict) -> str:
    return "; ".join(
        f"{target} → {', '.join(f'{to} {count}' for to, count in row.items())}"
        for target, row in found.items()
    )


def _value(about: dict, which: str) -> str:
    if about[which] is None:
        return ""
    value = about[which]["value"]
    interval = about[which]["interval"]
    if about["kind"] == "rate":
        return f"{value:.1%} ({about[which]['hits']}) [{interval[0]:.0%}, {interval[1]:.0%}]"
    if interval is None:
        return f"{value:.2f} [{TOO_FEW}]"
    return f"{value:.2f} [{interval[0]:.2f}, {interval[1]:.2f}]"


def _change(about: dict) -> list[str]:
    """(tuned - base with its interval, p, effect), bold where the interval lies on one side of
    zero.
    """
    form = "+.1%" if about["kind"] == "rate" else "+.2f"
    p, effect = ("" if about[key] is None else f"{about[key]:.2g}" for key in ("p", "effect"))
    difference = format(about["difference"], form)
    if about["interval"] is None:
        return [f"{difference} [{TOO_FEW}]", p, effect]
    low, high = about["interval"]
    text = f"{difference} [{low:{form}}, {high:{form}}]"
    if about.get("ratio_interval"):
        effect = "×{:.2f} [{:.2f}, {:.2f}]".format(about["ratio"], *about["ratio_interval"])
    return [f"**{text}**" if low > 0 or high < 0 else text, p, effect]


def _wanted(suite: str, measured: str, about: dict) -> str:
    """The share the dataset's plan wants, and whether the tuned model is nearer to it."""
    target = scorers.settings()["behaviours"].get(measured) if suite == "voice" else None
    if not target:
        return ""
    low, high = target["share"]
    base, tuned = (
        max(low - about[which]["value"], about[which]["value"] - high, 0) for which in WHICH
    )
    moved = "nearer" if tuned < base else "as far" if tuned == base else "farther"
    return f"{low:.0%} to {high:.0%}: {moved}"


def _replies(result: dict) -> str:
    lines = [
        [name, prompt, which, cell["asked"], *(cell["replies"][which][key] for key in COUNTS)]
        for name, suite in result["suites"].items()
        for prompt, cell in suite["prompts"].items()
        for which in WHICH
    ]
    heads = ["suite", "prompt", "model", "asked", *(key.replace("_", " ") for key in COUNTS)]
    return table(heads, lines)


def _judge(judge: dict | None) -> str:
    if judge is None:
        return (
            "Not judged: no judge was given (JUDGE=<endpoint>, JUDGE_MODEL=<pinned id>). "
            "The design questions were not asked, and count nowhere."
        )
    text = (
        f"`{judge['model']}` at temperature 0, one yes or no for each point of a rubric; "
        "it never sees the reasoning."
    )
    if judge["labels"]:
        text += _agreement(judge["labels"])
    for which in WHICH:
        if judge["unparsable"][which]:
            text += (
                f" **{judge['unparsable'][which]} of {judge['asked'][which]} verdicts on the "
                f"{which} model hold no yes or no** and are left out."
            )
    return text


def _agreement(labels: dict) -> str:
    wrong = len(labels["disagree"])
    told = labels["labelled"] - labels["unparsable"]
    low, high = labels["interval"]
    text = (
        f" On the {labels['labelled']} hand-labelled items it disagrees in {wrong} of {told} "
        f"[{low:.0%}, {high:.0%}]"
    )
    if wrong:
        text += f" ({', '.join(labels['disagree'])})"
    if labels["unparsable"]:
        return text + f"; {labels['unparsable']} of its replies there hold no verdict."
    return text + "."


def remedy(result: dict, data: dict) -> str:
    """Where reasoning or seeing dipped: the plan's remedy with the numbers to choose by. Empty
    where nothing did.
    """
    found = dips(result)
    if not found:
        return ""
    lines = [_dip(dip) for dip in found]
    return (
        f"\n### An ability dipped\n\n{table(DIPPED_HEADS, lines)}\n\nThe plan's remedy is replay: "
        "mix in rows with the base's own reasoning (its raw traces on problems of the suites that "
        f"lost, train splits only) and train again.{_choices(data)} When most of what was lost is "
        "truncated or unanswered, or the tuned replies are much shorter, the form was lost rather "
        "than the ability: begin with the smallest share. When complete replies are wrong, begin "
        "with the largest.\n"
    )


def _dip(dip: dict) -> list:
    unended = [
        dip["replies"][which]["truncated"] + dip["replies"][which]["unanswered"] for which in WHICH
    ]
    tokens = ", ".join(str(dip["replies"][which]["mean_tokens"]) for which in WHICH)
    counts = [dip["lost"], dip["gained"]] if dip["kind"] == "rate" else ["", ""]
    change = _change(dip)[0]
    where = [dip["suite"], dip["prompt"], dip["n"]]
    return [*where, change, *counts, unended[1] - unended[0], tokens]


def _choices(data: dict) -> str:
    """How many replay rows each share of the mix would be."""
    rows = data.get("rows", {}).get("train", 0)
    if not rows:
        return ""
    choices = ", ".join(
        f"{round(rows * share / (1 - share)):,} rows for {share:.0%}" for share in REPLAY
    )
    by_count = sorted(data.get("origins", {}).items(), key=lambda origin: -origin[1])
    origins = ", ".join(f"{name} {count:,}" for name, count in by_count)
    return f" The dataset has {rows:,} training rows now ({origins}); {choices} of the mix."
