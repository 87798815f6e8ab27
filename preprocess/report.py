"""What is shown of a build: report.md, have against want, the same as a page, and the dataset's
card."""

import random
from collections.abc import Iterator
from pathlib import Path

from matplotlib.figure import Figure

from common import rows
from common.files import write_text
from common.markdown import filled, table
from preprocess import page, written
from preprocess.candidates import Candidate
from preprocess.mix import Mix
from preprocess.sources.accepted import WRITTEN_BY

TEMPLATE = Path(__file__).with_name("report.template.md")
SAMPLES = 3  # rows of each category
# The hub's words for the size of a data set, and the number of rows below which each holds.
SIZES = {"n<1K": 1_000, "1K<n<10K": 10_000, "10K<n<100K": 100_000, "100K<n<1M": 1_000_000}
# The page's headings of the tables.
TITLES = {
    "have_want": "Have and want",
    "diversity": "How far the replies of a category repeat each other",
    "targets": "Quality targets",
    "lengths": "Lengths",
    "written": "Written by hand",
    "origins": "Origins",
    "by_source": "Sources",
    "dropped": "Dropped, and why",
    "noted": "Noted",
    "sources": "Public sets",
}
Table = tuple[list[str], list]
GREY = "#d8dde2"
BLUE = "#44607a"


def write(aside: Path, folder: Path, mix: Mix, about: dict, chosen: list[Candidate]) -> None:
    """report.md with its picture and report.html into `aside`, and README.md, the card, where the
    dataset has a template for it.

    `about`: the manifest. A mix without quotas has no report.
    """
    if not mix.quotas:
        return
    _picture(aside / "report.png", about, chosen)
    tables = _tables(mix, about)
    titled = {TITLES[name]: found for name, found in tables.items()}
    page.write(aside, about["dataset"], mix.seed, titled, chosen)
    slots = _numbers(mix, about)
    for name, (head, lines) in tables.items():
        slots[name] = table(head, lines) if lines else "Nothing."
    slots["samples"] = "\n\n".join(_samples(aside, mix.seed, chosen))
    templates = {"report.md": TEMPLATE, "README.md": folder / "card.template.md"}
    for name, template in templates.items():
        if template.exists():
            write_text(aside / name, filled(template, slots))


def _numbers(mix: Mix, about: dict) -> dict[str, str]:
    """The words and numbers that the templates ask for, by name."""
    names = ("kept", "read", "images", "tokens", "verified_answers")
    numbers = {name: about[name] for name in names}
    numbers |= {"total": mix.total, "missing": _have_want(mix, about)[-1][3]}
    return {name: f"{number:,}" for name, number in numbers.items()} | {
        "dataset": about["dataset"],
        "rows": ", ".join(f"{count:,} {name}" for name, count in about["rows"].items()),
        "size": next(name for name, most in SIZES.items() if about["kept"] < most),
        "teachers": _teachers(about["notes"]),
    }


def _tables(mix: Mix, about: dict) -> dict[str, Table]:
    """The tables that the templates ask for, by name: the head, and the lines."""
    trained = ["rows", "trained tokens", "share of them"]
    quarters = ["a quarter under", "half under", "a quarter over"]
    return {
        "have_want": (
            ["category", "have", "want", "missing", *trained[1:]],
            _have_want(mix, about),
        ),
        "diversity": (
            ["category", "recurring words", "alike rows"],
            [
                [name, f"{measured['recurring']:.1%}", f"{measured['alike']:.1%}"]
                for name, measured in about["diversity"].items()
            ],
        ),
        "targets": (
            ["target", "measured", "wanted", "", "a reply counts when"],
            list(_targets(mix, about)),
        ),
        "lengths": (["words of a reply's reasoning", *quarters], _lengths(mix, about)),
        "written": (["written by hand", "have", "want", ""], written.lines(about["written"])),
        "origins": (["origin", *trained], _origins(about)),
        "by_source": (
            ["source", "conversations read", "gave rows", "gave none"],
            [
                [name, read["read"], read["gave_rows"], sum(read["without_rows"].values())]
                for name, read in about["conversations_read"].items()
            ],
        ),
        "dropped": (["source and reason", "rows"], _by_count(about["skipped"])),
        "noted": (["what", "rows"], _by_count(about["notes"])),
        "sources": (
            ["public set", "licence", "revision"],
            [
                [one["repository"], one["licence"], one.get("revision") or "a local folder"]
                for one in about["sources"].values()
            ],
        ),
    }


def _lengths(mix: Mix, about: dict) -> list[list]:
    """A line a category, one for all, and what the mix wants: the quartiles of the reasonings."""
    lines = [[name, *quartiles] for name, quartiles in about["reasoning_words"].items()]
    return (
        [*lines, ["wanted of all", *mix.reasoning_quartiles]] if mix.reasoning_quartiles else lines
    )


def _have_want(mix: Mix, about: dict) -> list[list]:
    """A line a category, and one for all: name, rows there are, rows wanted, rows missing, and the
    trained tokens, with their share of all."""
    lines = []
    tokens = about["trained_tokens"]["categories"]
    total = sum(tokens.values())
    for name, want in mix.quotas.items():
        have = about["categories"].get(name, 0)
        share = f"{tokens.get(name, 0) / max(total, 1):.1%}"
        lines.append([name, have, want, max(want - have, 0), tokens.get(name, 0), share])
    missing = sum(line[3] for line in lines)
    return [*lines, ["all", about["kept"], mix.total, missing, total, "100.0%"]]


def _targets(mix: Mix, about: dict) -> Iterator[list[str]]:
    """A line a quality target: name, share measured, share wanted, verdict, definition."""
    for name, target in mix.targets.items():
        measured = about["targets"][name]["measured"]
        low, high = target.share
        verdict = "met"
        if measured < low:
            verdict = "below"
        elif measured > high:
            verdict = "above"
        share = f"{measured:.1%} of {'conversations' if target.turns else 'replies'}"
        wanted = f"{low:.0%} or more" if high >= 1 else f"{low:.0%} to {high:.0%}"
        yield [name.replace("_", " "), share, wanted, verdict, target.what]


def _origins(about: dict) -> list[list]:
    """A line an origin: name, rows, trained tokens, their share of all of them."""
    tokens = about["trained_tokens"]["origins"]
    total = max(sum(tokens.values()), 1)
    return [
        [name, rows, tokens[name], f"{tokens[name] / total:.1%}"]
        for name, rows in _by_count(about["origins"])
    ]


def _by_count(counts: dict[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda line: (-line[1], line[0]))


def _teachers(notes: dict[str, int]) -> str:
    names = [note.removeprefix(WRITTEN_BY) for note in notes if note.startswith(WRITTEN_BY)]
    return ", ".join(names) or "none so far"


def _picture(path: Path, about: dict, chosen: list[Candidate]) -> None:
    """Three charts side by side: rows of each category, tokens of a row, words of a reply's
    reasoning."""
    figure = Figure(figsize=(15, 4), dpi=100, layout="tight")
    bars, tokens, words = figure.subplots(1, 3)
    categories = list(about["quotas"])
    have = [about["categories"].get(name, 0) for name in categories]
    bars.barh(categories, list(about["quotas"].values()), color=GREY, label="want")
    bars.barh(categories, have, 0.5, color=BLUE, label="have")
    bars.invert_yaxis()
    bars.legend()
    bars.set(xlabel="rows")
    tokens.hist([candidate.tokens for candidate in chosen], bins=60, color=BLUE)
    tokens.set(xlabel="tokens of a row")
    words.hist([candidate.reasoning_words for candidate in chosen], bins=60, color=BLUE)
    words.set(xlabel="words of a reply's reasoning")
    figure.savefig(path, metadata={"Software": None})  # no version in the file


def _samples(aside: Path, seed: int, chosen: list[Candidate]) -> Iterator[str]:
    """SAMPLES rows of each category as Markdown, with their images."""
    wanted: set[str] = set()
    for category in {candidate.category for candidate in chosen}:
        ids = sorted(candidate.id for candidate in chosen if candidate.category == category)
        drawn = random.Random(f"samples {seed} {category}")
        wanted.update(drawn.sample(ids, min(SAMPLES, len(ids))))
    sampled = [
        row
        for name in ("train", "val")
        for row in rows.read(aside / f"{name}.jsonl")
        if row["id"] in wanted
    ]
    for row in sorted(sampled, key=lambda row: (row["category"], row["id"])):
        yield f"### {row['category']}: {row['id']}"
        for message in rows.turns(row):
            yield _message(message)
        if answer := row.get("answer"):
            yield f"checked by a program: {answer['kind']} `{answer['value']}` {answer['unit']}"


def _message(message: dict) -> str:
    """A message as Markdown."""
    paths = [part["path"] for part in message["content"] if part["type"] == "image"]
    images = "".join(f"![]({path})\n" for path in paths)
    text = rows.text_of(message)
    for call in message.get("tool_calls", ()):
        text += f"\n{call['function']['name']} {call['function']['arguments']}"
    return f"**{message['role']}**\n\n{images}\n~~~~~text\n{text}\n~~~~~"
