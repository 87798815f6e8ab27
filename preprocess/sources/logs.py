"""The logs of a person's own plant: alarm journals and historian exports as CSV (common.alarms).

What is asked of them is what a program can tell from the lines alone. A line that is left out is
counted, and so are lines that have no clear answer to any question.
"""

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby, pairwise
from typing import Literal

from pydantic import Field

from common import alarms
from common.alarms import ACKNOWLEDGED, ACTIVE, CLEAR, Record
from preprocess.generators.log_facts import SOLVERS, Log, NotAsked
from preprocess.generators.log_talk import Talk
from preprocess.generators.log_words import Texts
from preprocess.rows import Conversation, Note, Skip, Turn
from preprocess.source import Context, Source, load

STATES = (ACTIVE, CLEAR, ACKNOWLEDGED, "")
ASKS = ("first", "standing", "count", "longest", "before")
LINES = 24  # of a conversation; a third of them may come in later
CHAINS = 0.6  # share of conversations
TRIES = 10  # of a chain


class Config(Source):
    """A folder that need not exist, and the file of the words. Of a longer log `most` windows are
    taken, spread evenly."""

    kind: Literal["logs"]
    path: str = "logs"
    texts: str = "framings/logs.yaml"
    most: int = Field(default=200, gt=0)

    origins = ("log",)
    written = True


def conversations(config: Config, context: Context) -> Iterator[Conversation | Skip | Note]:
    """Conversations about the logs of a folder. Raises AlarmError for one that cannot be used."""
    for path in sorted(context.path(config.path).glob("*.csv")):
        texts = load(context.path(config.texts), Texts)
        left_out: Counter = Counter()
        records = []
        for record in alarms.read(path, left_out):
            if record.state in STATES:
                records.append(_in_milliseconds(record))
            else:
                left_out[f"the state {record.state!r} is neither coming nor going"] += 1
        windows = list(_windows(sorted(records, key=lambda record: record.time)))
        taken = windows[:: -(-len(windows) // config.most)]
        left_out["of a long log, more than `most`"] += sum(map(len, windows)) - sum(map(len, taken))
        for reason, count in (+left_out).items():
            yield Note(f"{path.name}: lines left out: {reason}", count)
        for number, lines in enumerate(taken):
            rng = random.Random(f"logs {context.seed} {path.name} {number}")
            kind, turns = _told(path.stem, lines, texts, rng)
            if not turns:
                yield Skip("lines of a log with no clear answer to any question")
                continue
            name = f"log-{path.stem}-{number:05d}"
            yield Conversation(name, "", "log", turns=tuple(turns), tags=(kind, f"log:{path.stem}"))


def _told(
    thing: str, lines: list[Record], texts: Texts, rng: random.Random
) -> tuple[str, list[Turn]]:
    """The kind of a conversation about some lines and its turns, several where that is drawn and
    can be; no turns where nothing can be asked."""
    cut = len(lines) - rng.randrange(1 + len(lines) // 3)
    log = Log(lines[:cut])
    asks = ASKS if log.raises else ("together",)
    tries = TRIES if log.raises and rng.random() < CHAINS else 0
    for left in range(tries, -1, -1):
        words = {"thing": thing, "opener": ""}
        talk = Talk(log, SOLVERS, texts, rng, words, later=lines[cut:])
        try:
            if left:
                return "chain", talk.chain(asks)
            turns = [talk.first(asks)]
            return f"asks:{talk.ask}", turns
        except NotAsked:
            continue
    return "", []


def _in_milliseconds(record: Record) -> Record:
    """The record as the texts show it."""
    time = record.time
    return replace(record, time=time.replace(microsecond=time.microsecond // 1000 * 1000))


def _windows(records: list[Record]) -> Iterator[list[Record]]:
    """Lines of one day in pieces: of alarms as they come, of measured tags two at a time."""
    of: dict[str, list[Record]] = {}
    for record in records:
        of.setdefault("" if record.state else record.source, []).append(record)
    kinds = [of.pop("", [])]
    kinds += [
        sorted([*of[one], *of[other]], key=lambda record: record.time)
        for one, other in pairwise(of)
    ]
    for lines in kinds:
        for _, day in groupby(lines, key=lambda record: record.time.date()):
            left = list(day)
            while left:
                yield left[:LINES]
                left = left[LINES:]
