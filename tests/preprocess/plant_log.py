"""A plant's log read off the text of a user's turn, and what is asked of it computed by other means than the generator's."""

from __future__ import annotations

import json
import re
from fractions import Fraction
from typing import NamedTuple

CLOCK = r"(\d\d:\d\d:\d\d(?:\.\d{3})?)"
NUMBER = r"-?\d+(?:\.\d+)?"
UP, DOWN, ACK = "up", "down", "ack"
WORDS = {
    UP: ("Alarm.Set", "ON", "KOMMT", "active", "came", "raised", "UNACK_ALM", "+", "SET"),
    DOWN: ("Alarm.Clear", "OFF", "GEHT", "cleared", "went", "back to normal", "RTN", "-", "RESET"),
    ACK: (
        *("Alarm.Acknowledged", "ACK", "QUITT", "acknowledged", "ack by operator"),
        *("ACK_ALM", "*", "a", "CONFIRMED"),
    ),
}
STATES = {word: state for state, words in WORDS.items() for word in words}
STATE = "|".join(map(re.escape, sorted(STATES, key=len, reverse=True)))
FORMS = [  # clock, tag, and a state or a value
    rf"\S+T{CLOCK}Z,(?P<tag>.+),(?:(?P<state>{STATE})|Value=(?P<value>{NUMBER}))",
    rf"{CLOCK} (?P<tag>.+?) (?:(?P<state>ON|OFF|ACK)|= (?P<value>{NUMBER}))",
    rf"\S+ {CLOCK};(?P<tag>.+?);(?P<state>{STATE})?;(?P<value>{NUMBER})?",
    rf"\w{{3}} \d\d {CLOCK} plc: (?:ALARM (?P<tag>.+) (?P<state>{STATE})|VALUE (?P<other>.+) (?P<value>{NUMBER}))",
    rf"\| {CLOCK} \| (?P<tag>.+) \| (?:(?P<state>{STATE})|(?P<value>{NUMBER})) \|",
    rf"\[{CLOCK}\] (?P<tag>.+): (?:(?P<state>{STATE})|(?P<value>{NUMBER}))",
    rf"\S+ {CLOCK}\t(?P<tag>.+)\t(?:(?P<state>{STATE})|(?P<value>{NUMBER}))",
    rf"{CLOCK}  (?P<state>[-+*])  (?P<tag>.+)",
    rf"{CLOCK}     (?P<tag>.+) (?P<value>{NUMBER})",
    rf"\d\d/{CLOCK} (?P<state>[-+a]) (?P<tag>.+)",
    rf"\d\d/{CLOCK} = (?P<tag>.+) (?P<value>{NUMBER})",
    rf"(?P<tag>.+) @ {CLOCK} (?:(?P<state>{STATE})|(?P<value>{NUMBER}))",
]


class Line(NamedTuple):
    at: Fraction  # seconds of the day
    tag: str
    state: str
    value: str


def seconds(clock: str) -> Fraction:
    hours, minutes, rest = clock.split(":")
    return 3600 * int(hours) + 60 * int(minutes) + Fraction(rest)


def read(text: str) -> list[Line]:
    """The lines of a log that stand in a text."""
    lines = []
    for line in text.splitlines():
        if line.startswith('{"t": '):
            entry = json.loads(line)
            state = {"set": UP, "clear": DOWN, "ack": ACK}.get(entry.get("ev"), "")
            clock = re.search(CLOCK, entry["t"])[1]
            lines.append(Line(seconds(clock), entry["tag"], state, str(entry.get("val", ""))))
            continue
        found = next(filter(None, (re.fullmatch(form, line) for form in FORMS)), None)
        if found:
            parts = found.groupdict()
            tag = parts["tag"] or parts.get("other")
            state = STATES.get(parts.get("state") or "", "")
            lines.append(
                Line(
                    seconds(found[1] if ":" in found[1] else found[2]),
                    tag,
                    state,
                    parts.get("value") or "",
                )
            )
    return lines


def without(lines: list[Line], text: str) -> list[Line]:
    """The lines without the spell that a text calls a test: it names its tag and its time."""
    clocks = set(map(seconds, re.findall(CLOCK, text)))
    tested = [one for one in lines if one.state == UP and one.at in clocks and one.tag in text]
    (test,) = [
        one for one in tested if not any(one.tag in other.tag != one.tag for other in tested)
    ]
    kept = []
    inside = False
    for line in sorted(lines, key=lambda line: line.at):
        if line.tag == test.tag:
            if line.state == UP:
                inside = line.at == test.at
            if inside:
                continue
        kept.append(line)
    return [line for line in lines if line in kept]


def answer(lines: list[Line], ask: str, tag: str, causes: dict[str, list[str]]):
    """What is asked, by replaying the log second by second."""
    ups = [line for line in lines if line.state == UP]
    end = max(line.at for line in lines)
    if ask == "first":
        at = min(line.at for line in ups)
        names = {line.tag for line in ups if line.at == at}
        return names.pop() if len(names) == 1 else "none"
    if ask == "count":
        return sum(line.tag == tag for line in ups)
    if ask == "standing":
        return ", ".join(
            name
            for _, name in sorted((since, name) for name, since in state_at(lines, end + 1).items())
        )
    if ask == "longest":
        return max(spells(lines, end), key=lambda spell: spell[0])[1]
    if ask == "before":
        stop = max(line.at for line in ups if line.tag == tag)
        return max((line.at, line.tag) for line in ups if line.at < stop and line.tag != tag)[1]
    if ask == "root":
        return origin(lines, tag, causes)
    assert ask == "together"
    mine = {line.at: Fraction(line.value) for line in lines if line.tag == tag}
    others = {line.tag for line in lines if line.tag != tag and line.value}
    results = set()
    for other in others:
        theirs = {line.at: Fraction(line.value) for line in lines if line.tag == other}
        times = sorted(mine)
        pairs = [
            (mine[b] - mine[a], theirs[b] - theirs[a])
            for a, b in zip(times, times[1:], strict=False)
        ]
        signs = [(left > 0) == (right > 0) for left, right in pairs if left and right]
        if len(signs) >= 5:
            share = Fraction(sum(signs), len(signs))
            results.add(
                (other, "together" if share >= 0.75 else "opposite" if share <= 0.25 else "neither")
            )
    return results


def state_at(lines: list[Line], at: Fraction) -> dict[str, Fraction]:
    """The alarms that stand right before a time, and since when."""
    up: dict[str, Fraction] = {}
    for line in sorted(lines, key=lambda line: line.at):
        if line.at < at:
            if line.state == UP:
                up[line.tag] = line.at
            elif line.state == DOWN:
                up.pop(line.tag, None)
    return up


def spells(lines: list[Line], end: Fraction) -> list[tuple[Fraction, str]]:
    """The lengths of all stretches, by their alarm."""
    found = []
    for line in lines:
        if line.state == UP:
            ends = [
                one.at
                for one in lines
                if one.tag == line.tag and one.state == DOWN and one.at >= line.at
            ]
            found.append((min(ends, default=end) - line.at, line.tag))
    return found


def origin(lines: list[Line], stop: str, causes: dict[str, list[str]]) -> str:
    """The only alarm from which the stop is reached over rules that the times confirm, and to which nothing leads."""
    last = max(line.at for line in lines if line.state == UP and line.tag == stop)
    came = {stop: last}
    links: dict[str, list[str]] = {}
    waiting = [stop]
    while waiting:
        effect = waiting.pop()
        standing = state_at(lines, came[effect])
        links[effect] = [name for name in causes.get(effect, ()) if name in standing]
        for name in links[effect]:
            came[name] = standing[name]
            waiting.append(name)
    (begin,) = [name for name, able in links.items() if not able]
    return begin


TEST = re.compile(
    "was a test|wasn't real|during a check|simulated|from the simulator|wire test|leaned on"
)


def checked(conversation, causes: dict[str, list[str]]) -> list[str]:
    """Compute every answer of a conversation again; returns what was asked. Raises AssertionError."""
    lines: list[Line] = []
    asked = []
    for turn in conversation.turns:
        lines += read(turn.user)
        assert lines
        check = turn.check
        ask, tag = check["ask"], check["source"]
        if "limit" in check:
            number = answer(lines, "count", tag, {})
            if ask == "longest":
                number = max(spells(lines, max(line.at for line in lines)))[0]
            distance = Fraction(number) - Fraction(str(check["limit"]))
            if check["kind"] == "choice":
                assert check["value"] == ("yes" if distance > 0 else "no")
            else:
                assert abs(check["value"] - float(abs(distance))) < 1e-9
            continue
        if TEST.search(turn.user):
            assert ask == asked[-1]  # the same question about fewer lines
            lines = without(lines, turn.user)
        asked.append(ask)
        found = answer(lines, ask, tag, causes)
        if ask == "together":
            question = "\n".join(line for line in turn.user.splitlines() if not read(line))
            (found,) = [value for other, value in found if other in question]
        assert found == check["value"], (check, lines)
    return asked
