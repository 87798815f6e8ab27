"""Events as CloudEvents 1.0 writes them in JSON: what a camera showed, what a plant's log says."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from common import rows
from common.errors import AetherError
from common.files import shown

SCENE = "aether.scene.v1"  # data: text, change (percent), frame_sha256, model, late_s
SKIPPED = "aether.skipped.v1"  # data: why (stale | failed | trimmed), count
ALARM = "aether.alarm.v1"  # data: state (active | clear | ack, or as the log has it)
VALUE = "aether.value.v1"  # data: value
IMAGES = "images"  # the folder beside an event log with the frames of its scenes, <sha256>.jpg


class EventError(AetherError):
    """An event log that cannot be used."""


def event(id_: str, source: str, kind: str, at: datetime, data: dict) -> dict:
    """An event that happened `at` an aware time."""
    return {
        "specversion": "1.0",
        "id": id_,
        "source": source,
        "type": kind,
        "time": at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "datacontenttype": "application/json",
        "data": data,
    }


def moment(found: dict) -> datetime:
    """When an event happened. Raises ValueError where it does not say, or without a zone."""
    at = datetime.fromisoformat(found["time"])
    if at.tzinfo is None:
        raise ValueError(f"time: {found['time']!r} has no zone; write it with Z or an offset")
    return at


def read(path: Path) -> Iterator[tuple[int, dict]]:
    """(line number, event) of each line of an event log. Raises EventError with file:line."""
    for number, _, line in rows.lines(path):
        try:
            found = json.loads(line)
            for key in ("id", "source", "type"):
                if not isinstance(found[key], str) or not found[key]:
                    raise ValueError(f"{key}: {found[key]!r}; give a non-empty string")
            if found["specversion"] != "1.0" or not isinstance(found["data"], dict):
                raise ValueError("specversion must be 1.0 and data an object")
            moment(found)
        except KeyError as error:
            problem = f"{error.args[0]} is missing; write CloudEvents 1.0 as make events does"
            raise EventError(f"{shown(path)}:{number}: {problem}") from None
        except (ValueError, TypeError) as error:
            raise EventError(f"{shown(path)}:{number}: {error}") from None
        yield number, found
