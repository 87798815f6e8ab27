"""The words in which a plant's log is shown and told."""

import random
from collections.abc import Sequence
from datetime import datetime
from fractions import Fraction

from common.alarms import Record
from preprocess.generators.log_facts import Slots
from preprocess.generators.slots import Renderer
from preprocess.source import Part

FENCED = 0.75  # how often lines stand in a fence
DIGITS = 9  # of a number: milliseconds are exact


class Layout(Part):
    """How a log is written: its head, the line of each state, and the form of a time."""

    head: str = ""
    lines: dict[str, str]
    time: str  # of strftime


class Ask(Part):
    """The words of a question. Asides are told where the log gave their slot; `why` says where the
    wrong value of a slot comes from; work and answer are for one value, or for `any`."""

    user: list[str]
    work: dict[str, list[str]]
    asides: dict[str, list[str]] = {}
    why: dict[str, list[str]] = {}
    sign: list[str] = []
    answer: dict[str, list[str]]
    tail: list[str] = []


class Texts(Part):
    """All the words; `walks` tell lines in a row, `own` those of one alarm, `sentences` what a log
    holds several of, `survey` what strikes the eye."""

    layouts: list[Layout]
    walks: list[dict[str, str]]
    own: list[dict[str, str]]
    sentences: dict[str, list[str]]
    survey: dict[str, list[str]]
    short: list[str]
    back: list[str]
    asks: dict[str, Ask]
    turns: dict[str, dict[str, list[str]]]


class Words:
    """One way to show a log, and to tell of it. `of_plant` are slots that every text may have."""

    def __init__(
        self, texts: Texts, lines: Sequence[Record], of_plant: dict[str, str], rng: random.Random
    ):
        self._texts = texts
        self._rng = rng
        self._plant = of_plant
        self._exact = any(line.time.microsecond for line in lines)
        self._layout = rng.choice(texts.layouts)
        self._walks = {False: rng.choice(texts.walks), True: rng.choice(texts.own)}

    def shown(self, lines: Sequence[Record]) -> str:
        """Lines as the log writes them, in a fence or not."""
        written = [self._layout.head] if self._layout.head else []
        for line in lines:
            about = {"time": self._time(line.time, self._layout.time), "tag": line.source}
            form = self._layout.lines[line.state or "value"]
            written.append(form.format_map(about | {"value": line.value}))
        text = "\n".join(written)
        return f"```text\n{text}\n```" if self._rng.random() < FENCED else text

    def _time(self, time: datetime, form: str = "%H:%M:%S") -> str:
        milliseconds = f".{time.microsecond // 1000:03}" if self._exact else ""
        return time.strftime(form.replace("%S", f"%S{milliseconds}"))

    def one_of(self, texts: Sequence[str], slots: Slots) -> str:
        """One of the texts with its slots filled."""
        words = {name: self._in_words(slot) for name, slot in slots.items()}
        numbers = {
            name: Fraction(slot) for name, slot in slots.items() if isinstance(slot, int | Fraction)
        }
        exact = dict.fromkeys(numbers, DIGITS)
        return Renderer(numbers, {}, self._plant | words, exact, self._rng).one_of(texts)

    def _in_words(self, slot: object) -> str:
        """A time, lines, changes of a value or sentences as text."""
        if isinstance(slot, datetime):
            return self._time(slot)
        if not isinstance(slot, list):
            return str(slot)
        told = []
        join = ", "
        wordings = {
            name: self._rng.sample(texts, len(texts))
            for name, texts in self._texts.sentences.items()
        }
        for place, item in enumerate(slot):
            if isinstance(item, Record):
                walk = self._walks[len({line.source for line in slot}) == 1]
                about = {"tag": item.source, "time": self._time(item.time)}
                told.append(walk[item.state].format_map(about))
                join = walk["join"]
            elif isinstance(item, Fraction):
                told.append(f"{float(item):+g}".replace("-", "−") if item else "0")
            else:
                name, slots = item
                of_name = wordings[name]
                told.append(self.one_of([of_name[place % len(of_name)]], slots))
                join = " "
        return join.join(told)
