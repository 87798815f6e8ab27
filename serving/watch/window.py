"""Which events a command is about: of which cameras and sites, of what span of time."""

from __future__ import annotations

import argparse
import re
from datetime import datetime, timedelta
from typing import Any

from serving.watch import settings
from serving.watch.settings import Settings, WatchError
from serving.watch.streams import Streams

SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that `events` reads."""
    parser.add_argument("--camera", nargs="*", default=[])
    parser.add_argument("--site", nargs="*", default=[])
    parser.add_argument("--since", default="24h", help="2h, 30m, 7d, 12:00 of today, or ISO 8601")
    parser.add_argument("--until", default="0m")


def events(options: argparse.Namespace, found: Settings, streams: Streams) -> list[dict[str, Any]]:
    """The events, by the time they happened; of all cameras where none and no site is given.

    Raises WatchError where there is none.
    """
    cameras = options.camera
    if cameras or not options.site:
        cameras = settings.chosen(found, options.camera)
    sources = [f"camera/{name}" for name in cameras] + [f"plc/{site}" for site in options.site]
    inside = list(streams.window(sources, when(options.since), when(options.until)))
    if not inside:
        raise WatchError(f"no event of {', '.join(sources)} since {options.since}; give SINCE=")
    return sorted(inside, key=lambda event: event["time"])


def when(text: str) -> datetime:
    """A moment, given as so long ago, as a time of today on this machine, or with its zone. Raises
    WatchError.
    """
    now = datetime.now().astimezone()
    ago = re.fullmatch(r"(\d+)([smhd])", text)
    try:
        if ago:
            return now - timedelta(seconds=int(ago[1]) * SECONDS[ago[2]])
        if re.fullmatch(r"\d\d?:\d\d", text):
            hour, minute = text.split(":")
            return now.replace(hour=int(hour), minute=int(minute), second=0, microsecond=0)
        at = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise WatchError(f"{text!r} is no time; 2h, 30m, 7d, 12:00 or ISO 8601") from None
    if at.tzinfo is None:
        raise WatchError(f"{text!r} has no zone; write it with Z or an offset")
    return at
