"""build/report.md, what was built against what was wanted, and the dataset card; both from the manifest alone and the rows."""

from __future__ import annotations

import json
import random
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

from apriel import rows  # noqa: E402
from preprocess.candidates import Candidate  # noqa: E402
from preprocess.mix import Mix  # noqa: E402

SAMPLES = 3  # rows of each category


def table(head: list[str], lines: list[list]) -> str:
    def cell(value: object) -> str:
        return f"{value:,}" if isinstance(value, int) else str(value).replace("|", "\\|").replace("\n", " ")

    return "\n".join(f"| {' | '.join(map(cell, line))} |" for line in [head, ["---"] * len(head), *lines])


def have_want(about: dict) -> str:
    names = sorted(about["quotas"] or about["categories"], key=lambda name: -about["quotas"].get(name, 0))
    lines = []
    for name in names:
        have, want = about["categories"].get(name, 0), about["quotas"].get(name, 0)
        lines.append([name, have, want, max(want - have, 0)] if want else [name, have, "", ""])
    total = sum(about["quotas"].values())
    return table(["category", "have", "want", "missing"], [*lines, ["all", about["kept"], total, max(total - about["kept"], 0)]])


def targets(about: dict, mix: Mix) -> str:
    lines = []
    for name, target in mix.targets.items():
        measured, (low, high) = about["targets"][name]["measured"], target.share
        verdict = "below" if measured < low else "above" if measured > high else "met"
        of = "conversations" if target.turns else "replies"
        wanted = f"{low:.0%} or more" if high >= 1 else f"{low:.0%} to {high:.0%}"
        lines.append([name.replace("_", " "), f"{measured:.1%} of {of}", wanted, verdict, target.what])
    return table(["target", "measured", "wanted", "", "a reply counts when"], lines)


def counts(of: dict[str, int], what: str) -> str:
    return table([what, "rows"], [[name, count] for name, count in sorted(of.items(), key=lambda item: (-item[1], item[0]))])


def write(aside: Path, folder: Path, mix: Mix, about: dict, chosen: list[Candidate]) -> None:
    """report.md and its pictures into `aside`, and README.md, the card, where the dataset has a template for it."""
    if not mix.quotas:
        return
    (aside / "report").mkdir()
    _histogram(aside / "report" / "tokens.png", [c.tokens for c in chosen], "tokens of a row", "rows")
    _histogram(aside / "report" / "reasoning.png", [c.reasoning_words for c in chosen], "words of a reply's reasoning", "replies")
    _bars(aside / "report" / "mix.png", about)
    missing = sum(max(want - about["categories"].get(name, 0), 0) for name, want in mix.quotas.items())
    parts = [
        f"# {folder.name}: {about['kept']:,} rows of {mix.total:,} wanted, {missing:,} missing",
        have_want(about) + "\n\n![have and want](report/mix.png)",
        "## Quality targets\n\n" + targets(about, mix),
        f"## Lengths\n\n{about['tokens']['total']:,} tokens in Pixtral's vocabulary, images included, without turn markers.\n\n"
        "![tokens](report/tokens.png) ![reasoning](report/reasoning.png)",
        f"## Origins\n\n{counts(about['origins'], 'origin')}\n\n{about['verified_answers']:,} rows have a checkable answer.",
        f"## Dropped\n\n{about['read']:,} conversations were read.\n\n" + counts(about["skipped"], "source and reason"),
        "## Noted\n\n" + (counts(about["notes"], "what") if about["notes"] else "Nothing."),
        "## Rows drawn at random\n\n" + "\n\n".join(_samples(aside, mix.seed, chosen)),
    ]
    (aside / "report.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    if (template := folder / "card.template.md").exists():
        (aside / "README.md").write_text(card(template.read_text(encoding="utf-8"), about, mix), encoding="utf-8")


def card(template: str, about: dict, mix: Mix) -> str:
    """The dataset card: the template with the manifest's figures in its {slots}."""
    size = next(
        name for name, most in (("1K<n<10K", 10_000), ("10K<n<100K", 100_000), ("100K<n<1M", 10**9)) if about["kept"] < most
    )
    public = [[s["repository"], s["licence"], s.get("revision") or "a local folder"] for s in about["sources"].values()]
    slots = {
        "kept": f"{about['kept']:,}",
        "total": f"{mix.total:,}",
        "rows": ", ".join(f"{count:,} {name}" for name, count in about["rows"].items()),
        "images": f"{about['images']:,}",
        "tokens": f"{about['tokens']['total']:,}",
        "verified": f"{about['verified_answers']:,}",
        "size": size,
        "have_want": have_want(about),
        "origins": counts(about["origins"], "origin"),
        "targets": targets(about, mix),
        "sources": table(["public set", "licence", "revision"], public),
        "dropped": counts(about["skipped"], "source and reason"),
    }
    for name, text in slots.items():
        template = template.replace(f"{{{name}}}", text)
    return template


def _save(figure: plt.Figure, path: Path) -> None:
    figure.tight_layout()
    figure.savefig(path, metadata={"Software": None})  # no version in the file
    plt.close(figure)


def _histogram(path: Path, values: list[int], what: str, of: str) -> None:
    figure, axes = plt.subplots(figsize=(6, 3), dpi=100)
    axes.hist(values, bins=60, color="#44607a")
    axes.set(xlabel=what, ylabel=of)
    _save(figure, path)


def _bars(path: Path, about: dict) -> None:
    figure, axes = plt.subplots(figsize=(7, 3.2), dpi=100)
    names = list(about["quotas"])
    axes.barh(names, list(about["quotas"].values()), color="#d8dde2", label="want")
    axes.barh(names, [about["categories"].get(name, 0) for name in names], height=0.5, color="#44607a", label="have")
    axes.invert_yaxis()
    axes.set(xlabel="rows")
    axes.legend()
    _save(figure, path)


def _samples(aside: Path, seed: int, chosen: list[Candidate]) -> list[str]:
    """SAMPLES rows of each category as text, with their images."""
    shown = []
    wanted: dict[str, str] = {}
    for category in sorted({c.category for c in chosen}):
        there = sorted(c.id for c in chosen if c.category == category)
        wanted |= dict.fromkeys(random.Random(f"samples {seed} {category}").sample(there, min(SAMPLES, len(there))), category)
    for name in ("train.jsonl", "val.jsonl"):
        for _, _, line in rows.lines(aside / name):
            row = json.loads(line)
            if row["id"] in wanted:
                shown.append((wanted[row["id"]], row["id"], row))
    return [_sample(*entry) for entry in sorted(shown, key=lambda entry: entry[:2])]


def _sample(category: str, name: str, row: dict) -> str:
    said = []
    for message in row["messages"][1:]:
        images = "".join(f"![]({part['path']})\n" for part in message["content"] if part["type"] == "image")
        said.append(f"**{message['role']}**\n\n{images}\n~~~~~text\n{rows.text_of(message)}\n~~~~~")
    answer = row.get("answer")
    value = f"\n\nchecked by a program: {answer['kind']} `{answer['value']}` {answer['unit']}" if answer else ""
    return f"### {category}: {name}\n\n" + "\n\n".join(said) + value
