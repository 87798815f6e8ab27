"""Conversations about a plant's log: what is asked of it, the reasoning through its lines, the
answer, and turns that stand on the ones before: a colleague's wrong value, a line that was only a
test, new lines, a limit, and the distance to it.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction

from common.alarms import Record
from common.behaviour import not_a_nudge
from preprocess.generators.exact import plain
from preprocess.generators.log_facts import NONE, Fact, Log, NotAsked, Slots, survey
from preprocess.generators.log_words import Texts, Words
from preprocess.rows import Turn

# How often a reasoning tells an aside, begins with a wrong value, asks what it is all about; how
# often an answer is one line, or goes on with a tail; how often the log stands last.
ASIDE = 0.8
STRIKES = 0.5  # what strikes the eye in a log
WRONG = 0.25
SIGNED = 0.35
SHORT = 0.12
TAIL = 0.7
LAST = 0.3
BOUNDED = {"count": "times", "longest": "seconds"}  # what a limit can bound, and its unit
ABOUT_ONE = ("count", "together")  # questions about the alarm or tag that they name
LIMITS = (-9, -4, -2, -1, 1, 2, 3, 7, 12)  # away from the number
KINDS = {"count": "number", "standing": "text"}  # of the answers that are no choice
PLANS = (
    ("any", "colleague", "bounded", "more", "decision"),
    ("bounded", "colleague", "more", "any", "colleague"),
    ("any", "ghost", "bounded", "decision", "margin"),
    ("any", "any", "more", "colleague"),
    ("any", "ghost", "any", "more", "any"),
    ("any", "colleague", "ghost", "more"),
    ("any", "colleague", "any", "more", "any", "colleague"),
    ("any", "any", "bounded", "ghost", "decision", "any"),
)


@dataclass
class Talk:
    """A conversation as far as it has come. `words` are slots of the plant, among them what stands
    before a log (`opener`, `rules`) and the alarm that stops it (`stop`); `tails` are what to say
    of an alarm once it is named; `later` are lines that come in afterwards."""

    log: Log
    solvers: Mapping[str, Callable[[Log, str], Fact]]
    texts: Texts
    rng: random.Random
    words: dict[str, str]
    tails: Mapping[str, Sequence[str]] = field(default_factory=dict)
    later: Sequence[Record] = ()
    ask: str = ""
    source: str = ""
    value: str | int = ""
    slots: Slots = field(default_factory=dict)
    asked: set[tuple[str, str]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._words = Words(self.texts, [*self.log.shown, *self.later], self.words, self.rng)

    def first(self, asks: Sequence[str]) -> Turn:
        """The log, and one of the questions about it. Raises NotAsked."""
        turn = self.question(asks)
        slots = survey(self.log)
        strikes = [n for n in self.texts.survey if n in slots and self.rng.random() < STRIKES]
        self.rng.shuffle(strikes)
        seen = " ".join(self._say(self.texts.survey[name], slots) for name in strikes)
        return self._opened(replace(turn, reasoning=f"{seen}\n\n{turn.reasoning}".strip()))

    def chain(self, asks: Sequence[str]) -> list[Turn]:
        """Four to six turns. Raises NotAsked."""
        kinds = {"any": asks, "bounded": list(BOUNDED)}
        begin, *steps = self.rng.choice(PLANS)
        turns = [self.first(kinds[begin])]
        for step in steps:
            named = step in kinds
            turns.append(self.question(kinds[step]) if named else getattr(self, f"_{step}")())
        return turns

    def nudge(self) -> Turn:
        """A user who blames the wrong alarm, and a reply that asks. Raises NotAsked."""
        self.question(["root"])
        blames = [name for name in self._wrongs() if name != "earliest"]
        if not blames:
            raise NotAsked
        texts = self.texts.turns["nudge"]
        slots = self._wrong(self.rng.choice(blames))
        slots["truth"] = " ".join(self._reasoning(False))
        answer = [self._say(texts["question"], slots), self._say(texts["breadcrumb"], slots)]
        self.rng.shuffle(answer)
        reply = "\n\n".join(answer)
        if not_a_nudge(reply) or str(self.value) in reply:
            raise NotAsked
        user = f"{self.words['rules']}\n\n{self._say(texts['user'], slots)}"
        return self._opened(Turn(user, self._say(texts["reasoning"], slots), reply))

    def question(self, asks: Sequence[str]) -> Turn:
        """One of the questions that the log has an answer to. Raises NotAsked."""
        for ask in self.rng.sample(asks, len(asks)):
            names = list({line.source: None for line in self.log.lines})
            if "stop" in self.words and ask in ("before", "root"):
                names = [self.words["stop"]]
            for source in self.rng.sample(names, len(names)):
                if (ask, source if ask in ABOUT_ONE else "") not in self.asked:
                    try:
                        return self._put(ask, source)
                    except NotAsked:
                        continue
        raise NotAsked

    def _put(self, ask: str, source: str, before: str = "") -> Turn:
        """A question, and its answer; `before` begins the reasoning."""
        self.value, self.slots = self.solvers[ask](self.log, source)
        self.ask = ask
        self.source = source
        self.asked.add((ask, source if ask in ABOUT_ONE else ""))
        texts = self.texts.asks[ask]
        user = self._say(texts.user)
        if ask == "root":
            user = f"{self.words['rules']}\n\n{user}"
        value = str(self.value)
        answer = self._say(texts.answer.get(value) or texts.answer["any"])
        if self.rng.random() < SHORT:
            user = f"{user} {self._say(self.texts.short)}"
            answer = f"**{value}**"
        elif self.rng.random() < TAIL:
            answer += f" {self._say([*self.tails.get(value, ()), *texts.tail])}"
        return self._turn(user, [before, *self._reasoning(not before)], answer)

    def _say(self, texts: Sequence[str], slots: Slots | None = None) -> str:
        known = self.slots | {"value": self.value} if slots is None else slots
        return self._words.one_of(texts, known)

    def _reasoning(self, free: bool) -> list[str]:
        """The paragraphs that lead to the present value; a `free` one may begin with an error."""
        texts = self.texts.asks[self.ask]
        paragraphs = [self._say(texts.work.get(str(self.value)) or texts.work["any"])]
        wrongs = self._wrongs()
        wrong = self.rng.choice(wrongs) if free and wrongs and self.rng.random() < WRONG else ""
        for name in self.rng.sample(list(texts.asides), len(texts.asides)):
            if name != wrong and self.slots.get(name) and self.rng.random() < ASIDE:
                paragraphs.append(self._say(texts.asides[name]))
        if wrong:
            paragraphs.insert(0, self._say(self.texts.back, self._wrong(wrong)))
        if texts.sign and self.rng.random() < SIGNED:
            paragraphs.insert(0, self._say(texts.sign))
        return paragraphs

    def _wrongs(self) -> list[str]:
        """The slots that explain a wrong value."""
        return [name for name in self.texts.asks[self.ask].why if name in self.slots]

    def _wrong(self, name: str) -> Slots:
        """The slots with a wrong value, and why people get it, said in two ways."""
        why, also = self.rng.sample(self.texts.asks[self.ask].why[name], 2)
        wrong = self.slots.get(f"{name}_gets", self.slots[name])
        reasons: Slots = {"why": self._say([why]), "also": self._say([also])}
        return self.slots | reasons | {"value": self.value, "wrong": wrong}

    def _colleague(self) -> Turn:
        if not self._wrongs():
            raise NotAsked
        return self._told("colleague", self._wrong(self.rng.choice(self._wrongs())))

    def _ghost(self) -> Turn:
        """The alarm that the answer is about came from a test: a spell of it is no more."""
        tag = str(self.slots["tag"])
        raises = [line.time for line in self.log.of(tag) if line in self.log.raises]
        if self.ask == "root" or not raises:
            raise NotAsked
        start = self.rng.choice(raises)
        end = min((time for time in raises if time > start), default=None)
        kept = [
            line
            for line in self.log.shown
            if line.source != tag or line.time < start or end and line.time >= end
        ]
        return self._anew("ghost", kept, {"ghost": tag, "at": start})

    def _more(self) -> Turn:
        """Lines come in, and the question is asked again, or what stands."""
        alarms = [line for line in self.later if line.state]
        if not alarms:
            raise NotAsked
        again = self.source in [line.source for line in alarms]
        if not (self.ask in ("longest", "standing") or self.ask == "count" and again):
            self.ask = "standing"
            self.value, _ = self.solvers["standing"](self.log, "")
        slots: Slots = {"walk": alarms[:3], "lines": self._words.shown(self.later)}
        turn = self._anew("more", [*self.log.shown, *self.later], slots)
        self.later = ()
        return turn

    def _anew(self, kind: str, shown: Sequence[Record], slots: Slots) -> Turn:
        """The same question about another log."""
        self.log = Log(shown, self.log.causes)
        texts = self.texts.turns[kind]
        slots["before"] = self.value
        turn = self._put(self.ask, self.source, self._say(texts["reasoning"], slots))
        return replace(turn, user=self._say(texts["user"], slots | {"question": turn.user}))

    def _decision(self) -> Turn:
        """Whether a number is over a limit."""
        if self.ask not in BOUNDED:
            raise NotAsked
        number = Fraction(str(self.slots["number"]))
        limit = max(2, int(number) + self.rng.choice(LIMITS))
        if limit == number:
            raise NotAsked
        self.slots |= {"limit": limit, "distance": abs(limit - number)}
        value = "yes" if number > limit else "no"
        check = {"kind": "choice", "value": value, "choices": ["yes", "no"]}
        return self._told(f"{self.ask}_{value}", self.slots, check | {"limit": limit})

    def _margin(self) -> Turn:
        """How far a number is from the limit."""
        distance = plain(Fraction(str(self.slots["distance"])))
        check = {"kind": "number", "value": distance, "limit": self.slots["limit"]}
        return self._told(f"{self.ask}_margin", self.slots, check)

    def _told(self, kind: str, slots: Slots, check: dict | None = None) -> Turn:
        texts = self.texts.turns[kind]
        reasoning = [self._say(texts["reasoning"], slots)]
        answer = self._say(texts["answer"], slots)
        return self._turn(self._say(texts["user"], slots), reasoning, answer, check)

    def _turn(
        self, user: str, reasoning: list[str], answer: str, check: dict | None = None
    ) -> Turn:
        """An exchange, with what a program can check of it: the present value, or `check`."""
        about: dict = {"kind": KINDS.get(self.ask, "choice"), "value": self.value, "ask": self.ask}
        if about["kind"] == "choice":
            verdicts = [name for name in self.texts.asks[self.ask].answer if name != "any"]
            about["choices"] = [*self.log.sources, NONE] if self.log.sources else verdicts
        gap = self.rng.choice((" ", "\n\n"))
        check = about | {"source": self.source, "unit": BOUNDED.get(self.ask, "")} | (check or {})
        return Turn(user, gap.join(filter(None, reasoning)), answer, check=check)

    def _opened(self, turn: Turn) -> Turn:
        """The turn with the log in it, and what stands before a log."""
        parts = [self._words.shown(self.log.shown), turn.user]
        if self.rng.random() < LAST:
            parts.reverse()
        opener = self._say([self.words["opener"]], {})
        return replace(turn, user="\n\n".join(filter(None, [opener, *parts])))
