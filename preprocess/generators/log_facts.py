"""What a program knows of a plant's log: who came first, what stands, how often, how long, what
preceded a stop, how two tags move together.

A solver takes a log and the alarm or tag it is asked about, and gives the value and the slots of
the texts: lines, times, numbers, names, and of sentences their names with slots of their own. A
slot that is only there sometimes is worth saying. One that explains a wrong value is that value, or
has it beside it as `<slot>_gets`. Lines count in the order of their times, however they are shown.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from fractions import Fraction
from itertools import pairwise
from os.path import commonprefix

from common.alarms import ACKNOWLEDGED, ACTIVE, CLEAR, Record

NONE = "none"  # the value on a tie
MOST_NAMED = 4  # alarms in one answer
SHOWN_SPELLS = 3
LONG_SILENCE = 4  # times the average distance of two lines
ENOUGH_STEPS = 5  # in which both tags move
AGREE = Fraction(3, 4)  # of them from which tags move together
BOUNCE = 20  # seconds from a raise to the next under which a contact is suspect
ALIKE = 0.6  # of a name's letters that a namesake begins with

Slots = dict
Fact = tuple[str | int, Slots]


class NotAsked(ValueError):
    """The log has no clear answer to that question."""


class Log:
    """Lines as they are shown, and in the order of their times; `causes` are the rules of the
    plant: what can bring an alarm."""

    def __init__(self, shown: Sequence[Record], causes: Mapping[str, Sequence[str]] | None = None):
        self.shown = list(shown)
        self.causes = causes or {}
        self.lines = sorted(shown, key=lambda line: line.time)
        self.raises = [line for line in self.lines if line.state == ACTIVE]
        self.sources = list(dict.fromkeys(line.source for line in self.raises))

    def of(self, source: str, *states: str) -> list[Record]:
        """The lines of an alarm or a tag; with states, those alone."""
        return [
            line
            for line in self.lines
            if line.source == source and (not states or line.state in states)
        ]

    def up(self, source: str, at: datetime) -> Record | None:
        """The raise since which an alarm stands right before a time."""
        last = [line for line in self.of(source, ACTIVE, CLEAR) if line.time < at][-1:]
        return last[0] if last and last[0].state == ACTIVE else None


def seconds(one: Record, after: Record) -> Fraction:
    """From one line to the other, exactly."""
    delta = after.time - one.time
    return delta.days * 86_400 + delta.seconds + Fraction(delta.microseconds, 10**6)


def survey(log: Log) -> Slots:
    """What strikes the eye before anything is asked."""
    times = [line.time for line in log.shown]
    slots: Slots = {"lines": len(times), "start": min(times), "end": max(times)}
    quiet, after = max(pairwise(log.lines), key=lambda pair: seconds(*pair))
    silence = seconds(quiet, after)
    if silence * len(times) > LONG_SILENCE * seconds(log.lines[0], log.lines[-1]):
        slots |= {"quiet": silence, "last": quiet.source, "since": quiet.time, "until": after.time}
    if times != sorted(times):
        order = "newest" if times == sorted(times, reverse=True) else "unsorted"
        slots[order] = times[0]
    return slots


def first(log: Log, source: str) -> Fact:
    """Which alarm came first; none on a tie."""
    firsts = [log.of(name, ACTIVE)[0] for name in log.sources]
    if len(firsts) < 3:
        raise NotAsked
    one, two = firsts[:2]
    slots: Slots = {"tag": one.source, "time": one.time, "other": two.source}
    slots |= {"gap": seconds(one, two), "walk": firsts[:3]}
    shown = next(line for line in log.shown if line.state == ACTIVE)
    if log.lines[0].time < one.time and log.lines[0].state:
        slots |= {"old": log.lines[0].source, "was": log.lines[0].time}
    if one.time == two.time:
        return NONE, slots | {"tie": one.time, "tie_gets": shown.source}
    if shown.source != one.source:
        slots |= {"shown": shown.source, "at": shown.time}
    return one.source, slots


def standing(log: Log, source: str) -> Fact:
    """Which alarms stand at the end, in the order in which they came up."""
    last = [log.of(name, ACTIVE, CLEAR)[-1] for name in log.sources]
    stands = sorted((line for line in last if line.state == ACTIVE), key=lambda line: line.time)
    if len(last) < 3 or not 0 < len({line.time for line in stands}) == len(stands) <= MOST_NAMED:
        raise NotAsked
    names = [line.source for line in stands]
    slots: Slots = {"n": len(stands), "gone": len(last) - len(stands), "walk": last}
    slots |= {"end": log.lines[-1].time, "tag": names[0], "since": stands[0].time}
    for line in stands:
        acks = log.of(line.source, ACKNOWLEDGED)
        if acks and acks[-1].time > line.time and len(names) > 1:
            others = ", ".join(name for name in names if name != line.source)
            slots |= {"acked": line.source, "at": acks[-1].time, "acked_gets": others}
        if log.of(line.source, CLEAR):
            slots |= {"again": line.source, "back": line.time}
    for line in last:
        if line.state == CLEAR:
            all_names = ", ".join([*names, line.source])
            slots |= {"cleared": line.source, "left": line.time, "cleared_gets": all_names}
    return ", ".join(names), slots


def count(log: Log, source: str) -> Fact:
    """How often an alarm came up."""
    raises = log.of(source, ACTIVE)
    n = len(raises)
    if n < 2:
        raise NotAsked
    lines = log.of(source, ACTIVE, CLEAR, ACKNOWLEDGED)
    slots: Slots = {"tag": source, "n": n, "number": n, "lines": len(lines), "walk": lines}
    slots |= {"since": raises[0].time, "last": raises[-1].time}
    close = min(seconds(one, after) for one, after in pairwise(raises))
    slots |= {"close": close, "bounces" if close < BOUNCE else "slow": close}
    acks = len(log.of(source, ACKNOWLEDGED))
    if acks:
        slots |= {"acks": acks, "acks_gets": n + acks}
    for name in log.sources:
        if name != source and len(commonprefix([name, source])) >= ALIKE * len(source):
            more = len(log.of(name, ACTIVE))
            slots |= {"namesake": name, "more": more, "namesake_gets": n + more}
    for line, after in pairwise(lines):
        if line.state == after.state == ACTIVE:
            slots |= {"missing": line.time, "then": after.time}
    if lines[0].state == CLEAR:
        slots["unseen"] = lines[0].time
    return n, slots


def longest(log: Log, source: str) -> Fact:
    """Which alarm stood longest at a stretch; one that is still up counts to the last line."""
    spells = []
    for name in log.sources:
        turns = log.of(name, ACTIVE, CLEAR)
        if any((line.state == ACTIVE) == at % 2 for at, line in enumerate(turns)):
            raise NotAsked  # a line is missing
        for start, end in zip(turns[::2], [*turns[1::2], log.lines[-1]], strict=False):
            spells.append((seconds(start, end), start, end))
    spells.sort(key=lambda spell: spell[0], reverse=True)
    length, start, end = spells[0]
    others = [spell for spell in spells if spell[1].source != start.source]
    if len(log.sources) < 3 or length == others[0][0]:
        raise NotAsked
    told = []
    for held, raised, gone in sorted(spells[:SHOWN_SPELLS], key=lambda spell: spell[1].time):
        name = "spell" if held < 60 else "long_spell"
        if (gone.source, gone.state) != (raised.source, CLEAR):
            name = "open_spell"
        about = {"tag": raised.source, "start": raised.time, "end": gone.time, "seconds": held}
        told.append((name, about | {"minutes": held // 60, "rest": held % 60}))
    slots: Slots = {"tag": start.source, "start": start.time, "end": end.time, "number": length}
    slots |= {"other": others[0][1].source, "second": others[0][0], "spells": told}
    slots |= {"gap": length - others[0][0], "short": len(spells) - len(told)}
    often, times = Counter(line.source for line in log.raises).most_common(1)[0]
    if often != start.source and times > 1:
        slots |= {"often": often, "times": times}
    return start.source, slots


def before(log: Log, source: str) -> Fact:
    """Which other alarm came up last before an alarm, a stop say."""
    stop = (log.of(source, ACTIVE) or log.lines)[-1]
    others = [line for line in log.raises if line.source != source]
    passed = [line for line in others if line.time < stop.time]
    after = [line for line in others if line.time >= stop.time]
    if len(passed) < 2 or passed[-1].time == passed[-2].time or stop.source != source:
        raise NotAsked
    slots: Slots = {"stop": source, "tag": passed[-1].source, "start": passed[-1].time}
    slots |= {"end": stop.time, "gap": seconds(passed[-1], stop)}
    lines = [line for line in log.lines if line.time < stop.time and line.state]
    slots["walk"] = [*lines[-4:], stop]
    near = lines[-1]
    if near.state != ACTIVE and near.source not in (passed[-1].source, source):
        slots |= {near.state: near.source, "at": near.time}
    if after:
        if after[0].time == stop.time:
            raise NotAsked
        slots |= {"late": after[0].source, "after": after[0].time}
    return passed[-1].source, slots


def together(log: Log, source: str) -> Fact:
    """Whether two measured tags move together, opposite to each other, or neither."""
    series: dict[str, dict[datetime, Fraction]] = {}
    for line in log.lines:
        if line.number is not None and not line.state:
            series.setdefault(line.source, {})[line.time] = Fraction(line.value)
    mine = series.pop(source, {})
    partners = [name for name in series if len(series[name].keys() & mine) > ENOUGH_STEPS]
    if not partners:
        raise NotAsked
    theirs = series[partners[0]]
    moves: list[list[Fraction]] = [[], []]
    for one, after in pairwise(time for time in mine if time in theirs):
        moves[0].append(mine[after] - mine[one])
        moves[1].append(theirs[after] - theirs[one])
    both = [left * right for left, right in zip(*moves, strict=True) if left * right]
    n = len(both)
    same = sum(product > 0 for product in both)
    if n < ENOUGH_STEPS:
        raise NotAsked
    slots: Slots = {"tag": source, "other": partners[0], "same": same, "n": n}
    slots |= {"against": n - same, "flat": len(moves[0]) - n}
    slots |= {"mine": moves[0], "theirs": moves[1]}
    if n - same >= AGREE * n:
        return "opposite", slots
    return "together" if same >= AGREE * n else "neither", slots


SOLVERS: dict[str, Callable[[Log, str], Fact]] = {
    solver.__name__: solver for solver in (first, standing, count, longest, before, together)
}
