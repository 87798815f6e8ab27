"""Alarm journals and historian exports as CSV: the lines of a plant's log, read the same way by
every room.

Columns are recognised by their names (AVEVA's EventTime, Source, EventType; Ignition's t_stamp,
tagname, value, quality; and the like), whatever their case, blanks and signs. Where that is not
enough a file of the same name that ends in .yaml stands beside the log:

    columns: {time: Zeitpunkt, source: Anlage, state: Meldung, value: Wert, quality: Guete}
    timezone: Europe/Vienna          # of times that name none
    time_format: "%d.%m.%Y %H:%M:%S" # of times that are not ISO 8601
    states: {KOMMT: active, GEHT: clear}
    good: ["0"]                      # what the quality of a good value is
"""

import csv
import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo

from common.errors import AetherError
from common.files import load_yaml, shown

ACTIVE = "active"
CLEAR = "clear"
ACKNOWLEDGED = "ack"
# The names of each column as exports have them, small letters and digits alone; the first that is
# there is taken.
COLUMNS = {
    "time": ("eventtime", "timestamp", "tstamp", "datetime", "time", "date"),
    "source": ("source", "sourceobject", "tagname", "tag", "displaypath", "name"),
    "state": ("eventtype", "alarmstate", "state"),
    "value": ("value", "eventvalue", "val"),
    "quality": ("opcquality", "qualitydetail", "quality"),
}
STATES = {
    ACTIVE: ("active", "alarm.set", "set", "raised", "unack_alm"),
    CLEAR: ("clear", "cleared", "alarm.clear", "rtn", "ack_rtn", "unack_rtn"),
    ACKNOWLEDGED: ("ack", "acknowledged", "alarm.acknowledged", "ack_alm"),
}
_STATE_OF = {word: state for state, words in STATES.items() for word in words}
_NUMBERED = {"0": ACTIVE, "1": CLEAR, "2": ACKNOWLEDGED}  # of an EventType; elsewhere 1 may be "on"
GOOD = {"", "good", "ok", *map(str, range(192, 256))}  # OPC's own numbers for a good value
MILLISECONDS_FROM = 1e11  # a number of seconds that large would be in the year 5138
SIDECAR = {"columns": dict, "timezone": str, "time_format": str, "states": dict, "good": list}


class AlarmError(AetherError):
    """A log, or the file beside it, that cannot be used."""


@dataclass(frozen=True, slots=True)
class Record:
    """One line of a log.

    Args:
        time: In UTC.
        source: The alarm or the tag, as the log names it.
        state: ACTIVE, CLEAR or ACKNOWLEDGED, or the log's own word in small letters; empty where
            the line is a measured value.
        value: As the log writes it; with a point for decimals where it is a number.
        line: Its number in the file, from 1.
    """

    time: datetime
    source: str
    state: str
    value: str
    line: int

    @property
    def number(self) -> float | None:
        """The value where it is a number."""
        try:
            number = float(self.value)
        except ValueError:
            return None
        return number if math.isfinite(number) else None


def read(path: Path, left_out: Counter) -> Iterator[Record]:
    """The lines of a log in its own order, one in memory at a time.

    What is left out (a bad quality, a time that is none, a line without its tag or its value) is
    counted in `left_out` by reason. Raises AlarmError naming file and line, for a time without a
    zone above all, and where no line is left.
    """
    count = 0
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            delimiter = _delimiter(file.readline())
            file.seek(0)
            table = csv.reader(file, delimiter=delimiter)
            log = _Log(path, next(table, []), delimiter)
            for cells in table:
                reason_or_record = log.record(cells, table.line_num)
                if isinstance(reason_or_record, Record):
                    count += 1
                    yield reason_or_record
                elif cells:
                    left_out[reason_or_record] += 1
    except OSError as error:
        raise AlarmError(f"{shown(path)}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise AlarmError(f"{shown(path)}: {error.reason}; save it as UTF-8") from None
    except csv.Error as error:
        raise AlarmError(f"{shown(path)}:{table.line_num}: {error}") from None
    if not count:
        reasons = "; ".join(f"{reason}: {lines}" for reason, lines in left_out.items())
        raise AlarmError(f"{shown(path)}: no line of it can be used ({reasons or 'it is empty'})")


def _delimiter(head: str) -> str:
    return max(",;\t", key=head.count)


def _plain(name: str) -> str:
    """A column's name in small letters and digits alone."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


class _Log:
    """How the lines of one log are to be read."""

    def __init__(self, path: Path, head: list[str], delimiter: str):
        self._path = path
        self._beside = path.with_suffix(".yaml")
        beside = load_yaml(self._beside) if self._beside.exists() else {}
        given = beside if isinstance(beside, dict) else {"": beside}
        for key, value in given.items():
            if key not in SIDECAR or not isinstance(value, SIDECAR[key]):
                known = ", ".join(f"{name} ({kind.__name__})" for name, kind in SIDECAR.items())
                raise AlarmError(f"{shown(self._beside)}: {key}: {value!r}; it may hold {known}")
        self._head = head
        self._places = self._columns(beside.get("columns", {}))
        self._format = beside.get("time_format")
        self._zone = self._known_zone(beside.get("timezone"))
        named = beside.get("states", {})
        self._states = _STATE_OF | {str(word).lower(): state for word, state in named.items()}
        if _plain(head[self._places.get("state", 0)]) == "eventtype":
            self._states = _NUMBERED | self._states
        self._good = {str(word).lower() for word in beside.get("good", GOOD)}
        self._decimal_comma = delimiter == ";"

    def _columns(self, named: dict[str, str]) -> dict[str, int]:
        """The place of each column that is there. Raises AlarmError."""
        plain = list(map(_plain, self._head))
        places = {}
        for column, names in COLUMNS.items():
            if column in named:
                if named[column] not in self._head:
                    raise AlarmError(
                        f"{shown(self._beside)}: columns.{column}: {named[column]!r} is no column"
                    )
                places[column] = self._head.index(named[column])
                continue
            both = [name for known in names for name in (known, f"{known}utc")]
            found = [plain.index(name) for name in both if name in plain]
            if found:
                places[column] = found[0]
        missing = {"time", "source"} - set(places)
        if missing or not {"state", "value"} & set(places):
            wanted = " or ".join(sorted(missing)) or "state or value"
            there = ", ".join(self._head) or "none"
            raise AlarmError(
                f"{shown(self._path)}: no column for {wanted} among {there}; "
                f"name it under `columns` in {self._beside.name}"
            )
        return places

    def _known_zone(self, name: str | None) -> tzinfo | None:
        """The zone of times that name none. Raises AlarmError."""
        if name is None:
            return UTC if _plain(self._head[self._places["time"]]).endswith("utc") else None
        try:
            return ZoneInfo(name)
        except (LookupError, ValueError, OSError, TypeError):
            raise AlarmError(f"{shown(self._beside)}: timezone: {name!r} is none") from None

    def record(self, cells: list[str], line: int) -> Record | str:
        """The line, or why it is left out. Raises AlarmError for a time without a zone."""
        found = {
            column: " ".join(cells[place].split()) if place < len(cells) else ""
            for column, place in self._places.items()
        }
        where = f"{shown(self._path)}:{line}"
        if found.get("quality", "").lower() not in self._good:
            return "the quality is not good"
        try:
            time = self._time(found["time"])
        except (ValueError, OverflowError, OSError):
            return "the time is none"
        if time.tzinfo is None:
            raise AlarmError(
                f"{where}: {found['time']!r} names no time zone; "
                f"say `timezone: <Area/City>` in {self._beside.name} beside it"
            )
        if time.utcoffset() != time.replace(fold=1).utcoffset():
            return "in the hour that the clocks show twice, or not at all"
        word = found.get("state", "").lower()
        state = self._states.get(word, word)
        if state.isdecimal():
            raise AlarmError(
                f"{where}: nothing says what the state {state} is; "
                f'say `states: {{"{state}": active}}`, or what it is, in {self._beside.name}'
            )
        value = found.get("value", "")
        if self._decimal_comma and re.fullmatch(r"-?\d+,\d+", value):
            value = value.replace(",", ".")
        if not found["source"] or not (state or value):
            return "no tag, or neither state nor value"
        return Record(time.astimezone(UTC), found["source"], state, value, line)

    def _time(self, text: str) -> datetime:
        """A time with the zone that it names, or the one that the file beside the log names.
        Raises ValueError."""
        if self._format:
            time = datetime.strptime(text, self._format)
        elif re.fullmatch(r"\d{9,13}(?:\.\d+)?", text):
            seconds = float(text)
            return datetime.fromtimestamp(
                seconds / 1000 if seconds >= MILLISECONDS_FROM else seconds, UTC
            )
        else:
            time = datetime.fromisoformat(text)
        return time if time.tzinfo else time.replace(tzinfo=self._zone)
