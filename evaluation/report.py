"""report.md and its charts, from the result alone: the same result gives the same bytes."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from evaluation import scorers
from evaluation.results import STATUSES, WHICH, dips

TEMPLATE = Path(__file__).with_name("report.template.md")
COLOURS = {"base": "#9aa5b1", "tuned": "#c8553d"}
REPLAY = (0.05, 0.10, 0.20)  # shares of replay rows to choose from
SIGNS = {"PASS": "PASS", "FAIL": "**FAIL**", "NO DATA": "**NO DATA**"}


def write(folder: Path, result: dict, data: dict) -> None:
    """Write report.md, differences.png and behaviours.png. `data`: the manifest of the recipe's dataset, {} where it is gone."""
    _differences(folder / "differences.png", result)
    _behaviours(folder / "behaviours.png", result)
    text = TEMPLATE.read_text(encoding="utf-8")
    for slot, filled in _slots(result, data).items():
        text = text.replace(f"{{{slot}}}", filled)
    (folder / "report.md").write_text(text, encoding="utf-8")


def _slots(result: dict, data: dict) -> dict[str, str]:
    passed = sum(gate["verdict"] == "PASS" for gate in result["gates"])
    verdict = f"**{'PASS' if passed == len(result['gates']) else 'FAIL'}**: {passed} of {len(result['gates'])} gates."
    quick = (
        f"**A quick look**: at most {result['limit']} questions a suite. "
        if result["limit"]
        else ""
    )
    skipped = [[name, about["why"]] for name, about in result["skipped"].items()]
    return {
        "recipe": result["recipe"],
        "verdict": verdict,
        "quick": quick,
        "base": result["models"]["base"]["name"],
        "tuned": result["models"]["tuned"]["name"],
        "temperature": str(result["sampling"]["temperature"]),
        "recipe_sha": result["recipe_sha256"][:12],
        "data_sha": str(result["data_sha256"])[:12],
        "trained": str(result["trained_commit"])[:12],
        "commit": str(result["commit"])[:12] + (" with changes" if result["dirty"] else ""),
        "gates": table(
            ["gate", "verdict", "what was found"],
            [[g["name"], SIGNS[g["verdict"]], g["said"]] for g in result["gates"]],
        ),
        "remedy": _remedy(result, data),
        "tables": "\n\n".join(_suite(name, about) for name, about in result["suites"].items()),
        "replies": _replies(result),
        "judge": _judge(result["judge"]),
        "skipped": table(["suite", "why"], skipped) if skipped else "Nothing was left out.",
        "view": f".venvs/light/bin/inspect view --log-dir outputs/{result['recipe']}/eval/logs",
    }


def _suite(name: str, suite: dict) -> str:
    lines = []
    for prompt, cell in suite["prompts"].items():
        for measured, about in cell["measurements"].items():
            lines.append(
                [
                    measured.replace("_", " "),
                    prompt,
                    about["n"],
                    *(_value(about, which) for which in WHICH),
                    *_change(about),
                ]
            )
            lines[-1].append(_wanted(name, measured, about))
    heads = ["measurement", "prompt", "n", "base", "tuned", "tuned - base", "p", "effect", "wanted"]
    tokens = sorted({str(cell["max_tokens"]) for cell in suite["prompts"].values()})
    said = f"### {name}\n\n{suite['what'][0].upper()}{suite['what'][1:]}. Scorer version {suite['version']}, at most {', '.join(tokens)} tokens a reply.\n\n"
    said += table(heads, lines) if lines else "Nothing could be measured."
    for prompt, cell in suite["prompts"].items():
        for which in WHICH if "confusion" in cell else ():
            said += f"\n\nWhere the {which} model routes ({prompt}): {_confusion(cell['confusion'][which])}."
    return said


def _confusion(found: dict) -> str:
    return "; ".join(
        f"{target} → {', '.join(f'{to} {n}' for to, n in row.items())}"
        for target, row in found.items()
    )


def _value(about: dict, which: str) -> str:
    value, (low, high) = about[which]["value"], about[which]["interval"]
    if about["kind"] == "rate":
        return f"{value:.1%} ({about[which]['hits']}) [{low:.0%}, {high:.0%}]"
    return f"{value:.2f} [{low:.2f}, {high:.2f}]"


def _change(about: dict) -> list[str]:
    difference, (low, high) = about["difference"], about["interval"]
    share = about["kind"] == "rate"
    said = (
        f"{difference:+.1%} [{low:+.1%}, {high:+.1%}]"
        if share
        else f"{difference:+.2f} [{low:+.2f}, {high:+.2f}]"
    )
    sure = low > 0 or high < 0
    p, effect = ("" if about[key] is None else f"{about[key]:.2g}" for key in ("p", "effect"))
    return [f"**{said}**" if sure else said, p, effect]


def _wanted(suite: str, measured: str, about: dict) -> str:
    """The share the dataset's plan wants, and whether the tuned model is nearer to it."""
    target = scorers.settings()["behaviours"].get(measured) if suite == "voice" else None
    if not target:
        return ""
    low, high = target["share"]
    away = [max(low - about[which]["value"], about[which]["value"] - high, 0) for which in WHICH]
    return f"{low:.0%} to {high:.0%}: {'nearer' if away[1] < away[0] else 'as far' if away[1] == away[0] else 'farther'}"


def _replies(result: dict) -> str:
    lines = [
        [
            name,
            prompt,
            which,
            cell["asked"],
            *(cell["replies"][which][key] for key in (*STATUSES, "malformed", "mean_tokens")),
        ]
        for name, suite in result["suites"].items()
        for prompt, cell in suite["prompts"].items()
        for which in WHICH
    ]
    return table(
        ["suite", "prompt", "model", "asked", *STATUSES, "malformed", "mean tokens"], lines
    )


def _judge(judge: dict | None) -> str:
    if judge is None:
        return "Not judged: no judge was given (JUDGE=<endpoint>, JUDGE_MODEL=<pinned id>). The design questions were not asked, and count nowhere."
    labels = judge["labels"]
    said = f"`{judge['model']}` at temperature 0, one yes or no for each point of a rubric; it never sees the reasoning."
    if labels:
        wrong, told = len(labels["disagree"]), labels["labelled"] - labels["unparsable"]
        low, high = labels["interval"]
        said += f" On the {labels['labelled']} hand-labelled items it disagrees in {wrong} of {told} [{low:.0%}, {high:.0%}]"
        said += f" ({', '.join(labels['disagree'])})" if wrong else ""
        said += (
            f"; {labels['unparsable']} of its replies there hold no verdict."
            if labels["unparsable"]
            else "."
        )
    for which in WHICH:
        if judge["unparsable"][which]:
            said += f" **{judge['unparsable'][which]} of {judge['asked'][which]} verdicts on the {which} model hold no yes or no** and are left out."
    return said


def _remedy(result: dict, data: dict) -> str:
    """Where reasoning or seeing dipped: the plan's remedy with the numbers to choose by."""
    found = dips(result)
    if not found:
        return ""
    heads = [
        "suite",
        "prompt",
        "n",
        "tuned - base",
        "lost",
        "gained",
        "newly unended",
        "mean tokens, base and tuned",
    ]
    lines = []
    for dip in found:
        ended = [
            dip["replies"][which]["truncated"] + dip["replies"][which]["unanswered"]
            for which in WHICH
        ]
        tokens = ", ".join(str(dip["replies"][which]["mean_tokens"]) for which in WHICH)
        share = dip["kind"] == "rate"
        counts = [dip["lost"], dip["gained"]] if share else ["", ""]
        lines.append(
            [
                dip["suite"],
                dip["prompt"],
                dip["n"],
                _change(dip)[0],
                *counts,
                ended[1] - ended[0],
                tokens,
            ]
        )
    rows = data.get("rows", {}).get("train", 0)
    choices = ", ".join(
        f"{round(rows * share / (1 - share)):,} rows for {share:.0%}" for share in REPLAY
    )
    origins = ", ".join(
        f"{name} {count:,}"
        for name, count in sorted(data.get("origins", {}).items(), key=lambda o: -o[1])
    )
    have = (
        f" The dataset has {rows:,} training rows now ({origins}); {choices} of the mix."
        if rows
        else ""
    )
    return (
        f"\n### An ability dipped\n\n{table(heads, lines)}\n\nThe plan's remedy is replay: mix in rows with the base's own reasoning "
        f"(its raw traces on problems of the suites that lost, train splits only) and train again.{have} When most of what was lost is "
        "truncated or unanswered, or the tuned replies are much shorter, the form was lost rather than the ability: "
        "begin with the smallest share. When complete replies are wrong, begin with the largest.\n"
    )


def table(head: list[str], lines: list[list]) -> str:
    def cell(value: object) -> str:
        return (
            ""
            if value is None
            else f"{value:,}"
            if isinstance(value, int)
            else str(value).replace("|", "\\|").replace("\n", " ")
        )

    return "\n".join(
        f"| {' | '.join(map(cell, line))} |" for line in [head, ["---"] * len(head), *lines]
    )


def _cells(result: dict, kind: str) -> list[tuple[str, dict]]:
    """(label, measurement) of everything of a kind, in order."""
    return [
        (f"{name}, {measured.replace('_', ' ')} ({prompt})", about)
        for name, suite in result["suites"].items()
        for prompt, cell in suite["prompts"].items()
        for measured, about in cell["measurements"].items()
        if about["kind"] == kind
    ]


def _differences(path: Path, result: dict) -> None:
    """Every share: tuned - base with its interval, in points."""
    cells = _cells(result, "rate")
    figure = Figure(figsize=(10, 1.4 + 0.3 * len(cells)), dpi=110, layout="constrained")
    axes = figure.subplots()
    for at, (_, about) in enumerate(cells):
        low, high = (100 * edge for edge in about["interval"])
        colour = "#2f7d4f" if low > 0 else "#b3261e" if high < 0 else "#7b8794"
        axes.plot([low, high], [at, at], color=colour, linewidth=2, solid_capstyle="butt")
        axes.plot(100 * about["difference"], at, "o", color=colour, markersize=5)
    axes.axvline(0, color="#1f2933", linewidth=0.8)
    axes.set_yticks(
        range(len(cells)), [f"{label}  n={about['n']}" for label, about in cells], fontsize=8
    )
    axes.set(
        xlabel="tuned - base, points, 95 % interval (green: above zero, red: below, grey: either)",
        ylim=(len(cells) - 0.4, -0.6),
    )
    axes.grid(axis="x", color="#e4e7eb")
    figure.savefig(path, metadata={"Software": None})


def _behaviours(path: Path, result: dict) -> None:
    """The shares of both models with their intervals; a band where the dataset's plan wants a behaviour of the voice."""
    cells = _cells(result, "rate")
    figure = Figure(figsize=(10, 1.4 + 0.42 * len(cells)), dpi=110, layout="constrained")
    axes, wanted = figure.subplots(), scorers.settings()["behaviours"]
    for at, (label, about) in enumerate(cells):
        measured = label.split(", ")[1].rsplit(" (")[0].replace(" ", "_")
        if label.startswith("voice,") and measured in wanted:
            low, high = wanted[measured]["share"]
            axes.barh(
                at,
                100 * (high - low),
                0.9,
                100 * low,
                color="#f3e3a3",
                label="wanted" if at == 0 else None,
            )
        for offset, which in ((-0.2, "base"), (0.2, "tuned")):
            value, (low, high) = about[which]["value"], about[which]["interval"]
            axes.barh(
                at + offset,
                100 * value,
                0.34,
                color=COLOURS[which],
                label=which if at == 0 else None,
            )
            axes.plot([100 * low, 100 * high], [at + offset] * 2, color="#1f2933", linewidth=0.9)
    axes.set_yticks(range(len(cells)), [label for label, _ in cells], fontsize=8)
    axes.set(
        xlabel="per cent of the questions, 95 % interval",
        xlim=(0, 100),
        ylim=(len(cells) - 0.4, -0.6),
    )
    if cells:
        figure.legend(loc="outside upper right", ncols=3, fontsize=8, frameon=False)
    figure.savefig(path, metadata={"Software": None})
