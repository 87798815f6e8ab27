"""Logs of a plant into the events, and events out of Redis into a dataset.

python -m serving.watch.log --log alarms.csv --site press3     CSV into the events
python -m serving.watch.log --into DATASET --camera dock       events and frames into files
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import quote

from common import alarms, events
from common.errors import command
from common.files import ROOT, shown, write_bytes, write_text
from common.options import parser_of
from serving.watch import settings, window
from serving.watch.settings import WatchError
from serving.watch.streams import Streams

BATCH = 500  # events added at once


def main() -> int:
    """Read a log, or write one."""
    parser = parser_of(__doc__)
    parser.add_argument("--log", type=Path, help="a CSV file to read")
    parser.add_argument("--into", help="the dataset to write into")
    window.add_arguments(parser)
    options = parser.parse_args()
    found = settings.read()
    if options.log:
        site = site_of(options.site)
        next(alarms.read(options.log, Counter()))  # raises before Redis is asked
        print(taken_in(options.log, site, Streams(found.keep_days)))
    else:
        if not options.into:
            raise WatchError("give LOG=<file.csv> SITE=<name>, or DATASET=<name> to write into")
        folder = ROOT / "datasets" / options.into
        if not (folder / "mix.yaml").is_file():
            raise WatchError(f"DATASET={options.into}: no such dataset under datasets/")
        window.when(options.since)
        streams = Streams(found.keep_days)
        name = "-".join([*options.camera, *options.site]) or "all"
        chosen = window.events(options, found, streams)
        print(written_out(folder / "events" / name, chosen, streams))
    return 0


def site_of(names: list[str]) -> str:
    """The one site that is named. Raises WatchError."""
    if len(names) != 1 or not names[0].replace("-", "").isalnum():
        raise WatchError("give one SITE= that it is of: letters, digits and -")
    return names[0]


def taken_in(path: Path, site: str, streams: Streams) -> str:
    """Add a log's events, once each, after all of it was read; what was done, in a line. Raises
    AlarmError."""
    count = sum(1 for _ in alarms.read(path, Counter()))
    left_out: Counter[str] = Counter()
    made = (event_of(record, site) for record in alarms.read(path, left_out))
    added = 0
    while batch := list(islice(made, BATCH)):
        added += streams.add(site, batch)
    line = f"{shown(path)}: {count:,} events of {site}, {added:,} new"
    return "; ".join([line, *(f"left out, {why}: {lines:,}" for why, lines in left_out.items())])


def event_of(record: alarms.Record, site: str) -> dict[str, Any]:
    """A line of a log as an event; the same line has the same id."""
    given = {"state": record.state, "value": record.value}
    data = {key: text for key, text in given.items() if text}
    identity = json.dumps([site, record.time.isoformat(), record.source, given])
    id_ = hashlib.sha256(identity.encode()).hexdigest()[:32]
    kind = events.ALARM if record.state else events.VALUE
    return events.event(id_, f"plc/{site}/{quote(record.source)}", kind, record.time, data)


def written_out(folder: Path, chosen: list[dict[str, Any]], streams: Streams) -> str:
    """Add events that are not there to a folder's events.jsonl, with the frames that are still in
    memory; what was done, in a line. Raises EventError for an events.jsonl that cannot be read."""
    path = folder / "events.jsonl"
    before = [event for _, event in events.read(path)] if path.exists() else []
    there = {event["id"] for event in before}
    new = [event for event in chosen if event["id"] not in there]
    frames = 0
    scenes = [event for event in new if event["type"] == events.SCENE]
    for event in scenes:
        picture = streams.picture_of(event)
        if picture:
            frames += 1
            name = event["data"]["frame_sha256"]
            write_bytes(folder / events.IMAGES / f"{name}.jpg", picture)
    lines = [json.dumps(event) + "\n" for event in [*before, *new]]
    write_text(path, "".join(lines))
    gone = len(scenes) - frames
    return f"{shown(path)}: {len(new):,} new events, {frames:,} frames, {gone:,} no longer there"


if __name__ == "__main__":
    sys.exit(command(main))
