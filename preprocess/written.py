"""What the conversations written by hand are, counted on them alone, beside what a mix wants of
them.

`measure` counts in a build; `count` reads the hand-written files alone, which takes seconds.
"""

import re
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from common import chat, rows
from common.markdown import table
from preprocess import candidates, mix, selection
from preprocess.benchmarks import Benchmark
from preprocess.candidates import Candidate, Task
from preprocess.diversity import RUN, run_hashes

ORIGIN = "seed"
OPENING = 4  # words
_CODE = re.compile(r"^ *```(?!text\b|console\b)\w+ *$", re.MULTILINE)
_WORD = re.compile(r"[\w'’]+")

# Have and want of each measure, by its name in words; a measure that may have any value has none.
Measures = dict[str, dict]


def count(folder: Path) -> str:
    """What the hand-written files of a dataset hold, as a table with what is wanted; the gates that
    need no public set are passed first. Raises AetherError."""
    plan = mix.read(folder)
    with tempfile.TemporaryDirectory() as scratch:
        aside = Path(scratch)
        for name in ("images", "spool"):
            (aside / name).mkdir()
        tasks = [
            Task(number, plan, source, folder, aside, None)
            for number, source in enumerate(plan.sources)
            if ORIGIN in source.origins
        ]
        results = [candidates.run(task, Benchmark()) for task in tasks]
        chosen = [candidate for result in results for candidate in result.candidates]
        lines_of = [line for task in tasks for _, _, line in rows.lines(task.spool)]
        built = list(map(rows.parse, lines_of))
        measured = measure(plan, chosen, built)
    left_out: Counter = Counter()
    for result in results:
        left_out += result.skipped
    dropped = [f"left out, {rows_of}: {reason}" for reason, rows_of in sorted(left_out.items())]
    answers = [chat.split(rows.text_of(row["messages"][-1])).answer or "" for row in built]
    begun = Counter(map(_opening, answers)).most_common()
    alike = [f"{times} answers begin: {opening}" for opening, times in begun if times > 1]
    shown = table(["written by hand", "have", "want", ""], lines(measured))
    return "\n".join([shown, *dropped, *alike])


def lines(measured: Measures) -> list[list]:
    """A line a measure: its name, what there is, what is wanted, where it falls short."""
    made = []
    for name, about in measured.items():
        have = about["have"]
        low, high = about["want"]
        as_share = isinstance(have, float)
        text = [f"{value:.1%}" if as_share else f"{value:,}" for value in (have, low, high or 0)]
        wanted = f"{text[1]} to {text[2]}" if high else f"{text[1]} or more"
        verdict = "met"
        if have < low:
            verdict = f"{low - have:.1%} short" if as_share else f"{low - have:,} short"
        elif high and have > high:
            verdict = "too much"
        made.append([name, text[0], wanted, verdict])
    return made


def measure(plan: mix.Mix, chosen: list[Candidate], built: list[dict]) -> Measures:
    """The measures of a mix's `written`.

    Args:
        chosen: The entries of all rows: what is written by hand is compared with the others too.
        built: The rows written by hand.
    """
    wanted = plan.written
    if wanted is None:
        return {}
    by_hand = [candidate for candidate in chosen if candidate.origin == ORIGIN]
    replies = [chat.split(rows.text_of(row["messages"][-1])) for row in built]
    conversations = {candidate.conversation: candidate for candidate in by_hand}.values()
    counted = Counter(candidate.category for candidate in conversations)
    pictured = {candidate.conversation for candidate in by_hand if candidate.images}
    domains = {tag.lower() for row in built for tag in row["tags"] if tag.startswith("domain:")}
    measured: Measures = {}

    def say(name: str, have: float, want: tuple[float, float | None]) -> None:
        measured[name] = {"have": round(have, 4), "want": want}

    for name, goal in wanted.conversations.items():
        say(f"conversations: {name}", counted[name], (goal, None))
    say("conversations in all", len(conversations), (wanted.total, None))
    say("trained replies", len(by_hand), (wanted.replies, None))
    say("conversations about pictures", len(pictured), (wanted.pictured, None))
    say("domains of work and life", len(domains), (wanted.domains, None))
    targets = {name: plan.targets[name] for name in wanted.targets}
    for name, share in selection.shares(by_hand, targets).items():
        say(name.replace("_", " "), share, wanted.targets[name])
    for words, want in wanted.reasoning_words.items():
        longer = [candidate.reasoning_words >= words for candidate in by_hand]
        say(f"reasoning of {words} words or more", _share(longer), want)
    for name, want in wanted.code.items():
        pairs = zip(built, replies, strict=True)
        shows = [bool(_CODE.search(r.answer or "")) for row, r in pairs if row["category"] == name]
        say(f"replies with code: {name}", _share(shows), want)
    for part in ("answer", "reasoning"):
        texts = [getattr(reply, part) or "" for reply in replies]
        say(f"openings of the {part} alike over {OPENING} words", _alike(texts), wanted.openings)
    texts = [f"{reply.reasoning}\n{reply.answer}" for reply in replies]
    say(f"words in {RUN}-word runs of another row", _repeated(texts, chosen), wanted.shared)
    return measured


def _share(of: list[bool]) -> float:
    return sum(of) / max(len(of), 1)


def _alike(texts: list[str]) -> float:
    """The share of texts that begin with the words that another one begins with."""
    times = Counter(map(_opening, texts))
    return _share([times[_opening(text)] > 1 for text in texts])


def _opening(text: str) -> str:
    """The words that a text begins with."""
    return " ".join(_WORD.findall(text.lower())[:OPENING])


def _repeated(texts: list[str], chosen: list[Candidate]) -> float:
    """The share of the texts' words that stand in a run of RUN words which another row has too.

    `chosen`: the entries of all rows, those of the texts among them.
    """
    in_order = [run_hashes(text) for text in texts]
    ours = {run for runs in in_order for run in runs}
    times: Counter = Counter()
    for candidate in chosen:
        if candidate.fingerprint:
            times.update(ours.intersection(candidate.fingerprint.runs))
    repeated = 0
    words = 0
    for runs in in_order:
        marked: set[int] = set()
        for at, run in enumerate(runs):
            if times[run] > 1:
                marked.update(range(at, at + RUN))
        repeated += len(marked)
        words += len(runs) + RUN - 1
    return repeated / max(words, 1)


def read(folder: Path) -> Iterator[dict]:
    """The rows written by hand of a built dataset."""
    for name in ("train", "val"):
        for row in rows.read(folder / f"{name}.jsonl"):
            if row["origin"] == ORIGIN:
                yield row
