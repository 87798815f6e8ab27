"""Plants that break in ways we know: a cause, what follows from it by the plant's rules, what has
nothing to do with it, and the log of it all, with lines missing and in other orders.

A plant is a file of a folder: which alarm brings which, after how many seconds, the rules in words,
what is measured, and sites that give the alarms their names. Files and sites that are held out are
the evaluation's alone.
"""

import random
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Literal

from common.alarms import ACKNOWLEDGED, ACTIVE, CLEAR, Record
from common.files import shown
from preprocess.generators.log_facts import SOLVERS, Fact, Log, NotAsked, Slots, before, seconds
from preprocess.generators.log_talk import Talk
from preprocess.generators.log_words import Texts
from preprocess.rows import Conversation, Turn
from preprocess.source import Context, Generated, MixError, Part, load, matching

TRIES = 200  # scenes drawn before a site counts as one that has no such conversation
ASKS = ("first", "standing", "count", "longest", "before", "before", "root", "root", "root")
# Shares of conversations; the rest is one question.
CHAINS = 0.7
NUDGES = 0.12
TRENDS = 0.1
# Shares of scenes.
MILLISECONDS = 0.3
EARLY = 0.2  # end at an alarm that something else could have brought
TIE = 0.15  # two come first
MISSING = 0.3
MEASURED = 0.25
ORDERS = ("time", "time", "time", "newest", "stations")


class Config(Generated):
    """The folder of the plants and the file of the words, relative to the dataset's folder."""

    kind: Literal["plants"]
    path: str = "plants"
    texts: str = "framings/logs.yaml"


class Site(Part):
    """Where such a plant stands: the names of its alarms and tags, and what its people say."""

    thing: str
    openers: list[str]
    tags: dict[str, str]
    held_out: bool = False


class Plant(Part):
    """A kind of plant. `causes` holds, by alarm, what can bring it and after how many seconds;
    `noise` brings nothing; `measured` are tags with a value to begin with, a step, and decimals."""

    held_out: bool = False
    stop: str
    causes: dict[str, dict[str, tuple[int, int]]]
    rules: list[str]
    noise: list[str]
    measured: dict[str, tuple[float, float, int]]
    tails: dict[str, list[str]]
    sites: list[Site]


def conversations(config: Config, context: Context) -> Iterator[Conversation]:
    """Conversations spread evenly over the sites. Raises MixError for a site that has none."""
    heldout = context.heldout
    texts = load(context.path(config.texts), Texts)
    sites = []
    for path in matching(context.path(config.path), "*.yaml"):
        plant = load(path, Plant)
        sites += [
            (path, plant, site)
            for site in plant.sites
            if (plant.held_out or site.held_out) == heldout
        ]
    for number in range(config.wanted(heldout)):
        path, plant, site = sites[number % len(sites)]
        rng = random.Random(f"plants {context.seed} {config.category} {heldout} {number}")
        turns, kind = _told(plant, site, texts, rng, heldout)
        if not turns:
            raise MixError(f"{shown(path)}: {site.thing}: no conversation in {TRIES} draws")
        tags = (kind, f"plant:{path.stem}", f"domain:{site.thing}")
        yield Conversation(
            id=f"plant-{'heldout-' if heldout else ''}{number:05d}",
            turns=tuple(turns),
            tags=tags + (("held-out", "unseen") if heldout else ()),
            group=f"plants {path.stem} {site.thing}",
        )


def _told(
    plant: Plant, site: Site, texts: Texts, rng: random.Random, heldout: bool
) -> tuple[list[Turn], str]:
    """The turns of a conversation and the tag of its kind; no turns where none could be made."""
    drawn = rng.random()
    solvers = SOLVERS | {"root": root}
    tails = {site.tags[name]: told for name, told in plant.tails.items()}
    causes = {
        site.tags[name]: [site.tags[one] for one in plant.causes[name]] for name in plant.causes
    }
    for _ in range(TRIES):
        scene = _Scene(plant, site, rng)
        lines, later = scene.trend() if drawn < TRENDS else scene.alarms()
        rules = [rule.format_map(site.tags) for rule in rng.sample(plant.rules, len(plant.rules))]
        join = rng.choice((" ", "\n- "))
        words = site.tags | {
            "thing": site.thing,
            "opener": rng.choice(site.openers),
            "stop": site.tags[plant.stop],
            "rules": join.join([rng.choice(texts.sentences["rules"]), *rules]),
        }
        talk = Talk(Log(lines, causes), solvers, texts, rng, words, tails, later)
        try:
            if drawn < TRENDS:
                return [talk.first(["together"])], "asks:together"
            if drawn < TRENDS + NUDGES and not heldout:
                return [talk.nudge()], "nudge"
            if drawn < TRENDS + NUDGES + CHAINS and not heldout:
                return talk.chain(ASKS), "chain"
            return [talk.first(ASKS)], f"asks:{talk.ask}"
        except NotAsked:
            continue
    return [], ""


class _Scene:
    """What happens at a site; times are seconds from the cause on."""

    def __init__(self, plant: Plant, site: Site, rng: random.Random):
        self._plant = plant
        self._tags = site.tags
        self._rng = rng
        self._fine = rng.random() < MILLISECONDS
        self._tie = rng.random() < TIE
        day = datetime(2025, 1, 1, tzinfo=UTC) + timedelta(days=rng.randrange(365))
        self._begin = day + timedelta(seconds=rng.randrange(3_600, 80_000))
        self._lines: list[Record] = []

    def _add(self, name: str, state: str, at: float, value: str = "") -> None:
        time = self._begin + timedelta(seconds=round(at, 3 if self._fine else 0))
        self._lines.append(Record(time, self._tags[name], state, value, len(self._lines)))

    def _spell(self, name: str, start: float, length: float) -> None:
        self._add(name, ACTIVE, start)
        if self._rng.random() < 0.4:
            self._add(name, ACKNOWLEDGED, start + length * self._rng.uniform(0.2, 0.8))
        self._add(name, CLEAR, start + length)

    def alarms(self) -> tuple[list[Record], list[Record]]:
        """The lines of a stop, and those that come in later."""
        rng = self._rng
        stopped = self._cascade()
        noise = rng.sample(self._plant.noise, rng.randint(1, len(self._plant.noise)))
        for name in noise:
            first = self._tie and name == noise[0]
            start = 0.0 if first else rng.uniform(2 if self._tie else -200, 40)
            for _ in range(rng.choice((1, 1, 2, 3, 4))):
                length = rng.uniform(3, 45)
                self._spell(name, start, length)
                start += length + rng.uniform(4, 90)
        if rng.random() < MEASURED:
            name, (value, step, decimals) = rng.choice(list(self._plant.measured.items()))
            for at in range(6, 10):  # before all alarms, so that none contradicts it
                self._add(name, "", -40 * at, f"{value + step * rng.randint(-3, 3):.{decimals}f}")
        lines = sorted(self._lines, key=lambda line: line.time)
        if rng.random() < MISSING:
            tags = [self._tags[name] for name in noise]
            lines.remove(rng.choice([line for line in lines if line.source in tags]))
        now = self._begin + timedelta(seconds=stopped + rng.uniform(5, 100))
        shown = [line for line in lines if line.time <= now]
        order = rng.choice(ORDERS)
        if order == "newest":
            shown.reverse()
        if order == "stations":
            names = sorted({line.source for line in shown})
            other = rng.sample(names, len(names) // 2)
            shown.sort(key=lambda line: line.source in other)
        return shown, [line for line in lines if line.time > now]

    def _cascade(self) -> float:
        """From a cause to the stop, and what else could have brought a part of it but came too
        early or too late; returns the time of the stop."""
        rng = self._rng
        causes = self._plant.causes
        path = [self._plant.stop]
        while path[-1] in causes and (len(path) < 3 or rng.random() > EARLY):
            path.append(rng.choice(list(causes[path[-1]])))
        path.reverse()
        raised = [0.0]
        for cause, effect in pairwise(path):
            raised.append(raised[-1] + rng.uniform(*causes[effect][cause]))
        stopped = raised[-1]
        for name, at in zip(path, raised, strict=True):
            self._add(name, ACTIVE, at)
            if rng.random() < 0.5:
                self._add(name, ACKNOWLEDGED, stopped + rng.uniform(4, 90))
            if rng.random() < 0.6:
                self._add(name, CLEAR, stopped + rng.uniform(95, 500))
            for other in causes.get(name, ()):
                if other not in path and rng.random() < 0.5:
                    early = rng.random() < 0.6 and not self._tie
                    start = -rng.uniform(30, 150) if early else stopped + rng.uniform(3, 60)
                    self._spell(other, start, rng.uniform(5, 28))
        return stopped

    def trend(self) -> tuple[list[Record], list[Record]]:
        """The lines of two or three measured tags, of which two may follow each other."""
        rng = self._rng
        names = rng.sample(list(self._plant.measured), rng.choice((2, 2, 3)))
        every = rng.choice((10, 30, 60, 300, 600))
        agree = rng.choice((0.95, 0.9, 0.5, 0.1, 0.05))
        values = {name: self._plant.measured[name][0] for name in names}
        for number in range(rng.randint(7, 11)):
            move = rng.choice((-3, -2, -1, 1, 2, 3))
            for name in names:
                _, step, decimals = self._plant.measured[name]
                self._add(name, "", number * every, f"{values[name]:.{decimals}f}")
                way = 1 if name == names[0] or rng.random() < agree else -1
                values[name] += step * way * move * int(rng.choice("0111111222"))
        return self._lines, []


def root(log: Log, source: str) -> Fact:
    """Where a stop began: from each alarm back to the one that can bring it and stood before it."""
    last, _ = before(log, source)
    now = stop = log.of(source, ACTIVE)[-1]
    steps: list[tuple[str, Slots]] = []
    path = []
    while True:
        able = log.causes.get(now.source, ())
        stood = [line for name in able if (line := log.up(name, now.time))]
        about: Slots = {"effect": now.source, "time": now.time}
        for line in log.lines:
            if line.source in able and line.source not in [one.source for one in stood]:
                gap = abs(seconds(line, now))
                slots = about | {"tag": line.source, "at": line.time, "gap": gap}
                if line.state == CLEAR and line.time <= now.time:
                    steps.append(("excluded", slots))
                elif line.state == ACTIVE and line.time > now.time:
                    steps.append(("too_late", slots))
        if len(stood) != 1:
            break
        (cause,) = stood
        gap = seconds(cause, now)
        steps.append(("step", about | {"tag": cause.source, "since": cause.time, "gap": gap}))
        path.append(cause.source)
        now = cause
    if len(path) < 2 or stood:
        raise NotAsked
    slots = {"tag": now.source, "time": now.time, "stop": source, "end": stop.time}
    slots |= {"whole": seconds(now, stop), "steps": steps}
    begun = log.raises[0]
    if last != now.source:
        slots["nearest" if last in path else "bystander"] = last
    if begun.source not in (now.source, last):
        slots |= {"earliest": begun.source, "was": begun.time}
    loud, times = Counter(line.source for line in log.raises).most_common(1)[0]
    if times > 2 and loud != now.source:
        slots |= {"loud": loud, "times": times}
    return now.source, slots
