"""Redis: frames that wait, what is known of each camera, and events.

Two servers, so that no picture reaches a disk and no event is lost with the memory: REDIS_URL keeps
what it holds (an append-only file) and has the streams; PICTURES_REDIS_URL keeps nothing and has
the frames' pictures, which the stream of frames names by their hash. A frame is written, dropped
and turned into its event by one script each: whatever is killed, there is one event for a frame.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from common.events import SKIPPED, event, moment
from serving.watch.settings import WatchError

EVENTS = "events"
DEAD = "events:dead"  # those of frames that no try could describe
GROUP = "describers"
PAGE = 1_000  # events read at once
CLOCKS_APART = timedelta(minutes=1)  # of Redis, which numbers events, and of a camera's machine
LOOPBACK = {
    "REDIS_URL": "redis://127.0.0.1:6379",
    "PICTURES_REDIS_URL": "redis://127.0.0.1:6380",
}
# Add a frame; of more than wait, drop the oldest that nobody has begun. XINFO's 8th field is the
# last id that was handed out.
_SEND = """
local id = redis.call('XADD', KEYS[1], '*', unpack(ARGV, 2))
redis.call('HINCRBY', KEYS[2], 'sent', 1)
redis.call('HSET', KEYS[2], 'problem', '', unpack(ARGV, 2))
local begun = redis.call('XINFO', 'GROUPS', KEYS[1])[1][8]
while redis.call('XLEN', KEYS[1]) > tonumber(ARGV[1]) do
  local oldest = redis.call('XRANGE', KEYS[1], '(' .. begun, '+', 'COUNT', 1)[1]
  if not oldest or oldest[1] == id then break end
  redis.call('XDEL', KEYS[1], oldest[1])
  redis.call('HINCRBY', KEYS[2], 'dropped', 1)
end
"""
# Turn a frame into its event, unless that was done.
_FINISH = """
if redis.call('XACK', KEYS[1], ARGV[1], ARGV[2]) == 0 then return end
redis.call('XDEL', KEYS[1], ARGV[2])
redis.call('HINCRBY', KEYS[2], ARGV[3], 1)
redis.call('XADD', KEYS[3], 'MINID', '~', ARGV[4], '*', 'event', ARGV[5])
if ARGV[3] == 'failed' then
  redis.call('XADD', KEYS[4], 'MAXLEN', '~', 1000, '*', 'event', ARGV[5])
end
"""
# Say how many were dropped, unless that was said.
_SAY = """
if tonumber(redis.call('HGET', KEYS[1], 'dropped') or 0) < tonumber(ARGV[1]) then return end
redis.call('HINCRBY', KEYS[1], 'dropped', -ARGV[1])
redis.call('HINCRBY', KEYS[1], 'trimmed', ARGV[1])
redis.call('XADD', KEYS[2], 'MINID', '~', ARGV[2], '*', 'event', ARGV[3])
"""
# Add events that are not there; returns how many.
_ADD = """
local added = 0
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', ARGV[1])
for place = 3, #ARGV, 2 do
  if redis.call('ZADD', KEYS[2], 'NX', ARGV[2], ARGV[place]) == 1 then
    redis.call('XADD', KEYS[1], 'MINID', '~', ARGV[1], '*', 'event', ARGV[place + 1])
    added = added + 1
  end
end
return added
"""


@dataclass(frozen=True)
class Frame:
    """A frame that waits: its number in the stream, when it was seen (seconds since 1970), how much
    of it had changed (percent), and the hash of its JPEG file."""

    id: str
    time: float
    change: float
    sha256: str


def _connected(variable: str, text: bool) -> redis.Redis:
    """A client that sends every command once. Raises WatchError."""
    try:
        client = redis.Redis.from_url(
            os.environ.get(variable) or LOOPBACK[variable],
            decode_responses=text,
            socket_timeout=10,
            retry=Retry(NoBackoff(), 0),
        )
        client.ping()
    except ValueError:
        raise WatchError(
            f"{variable}: no address of a Redis; redis://:password@host:port"
        ) from None
    except redis.RedisError as error:
        problem = f"{type(error).__name__}; start it, see docs/watch.md"
        raise WatchError(f"the Redis of {variable}: {problem}") from None
    return client


class Streams:
    """The two servers. Raises WatchError where one cannot be reached."""

    def __init__(self, keep_days: float):
        self.redis = _connected("REDIS_URL", text=True)
        self.pictures = _connected("PICTURES_REDIS_URL", text=False)
        self.keep_ms = keep_days * 86_400_000
        self._send = self.redis.register_script(_SEND)
        self._finish = self.redis.register_script(_FINISH)
        self._say = self.redis.register_script(_SAY)
        self._add = self.redis.register_script(_ADD)

    def check(self) -> None:
        """Raise WatchError unless one server keeps what it holds and the other does not."""
        if not self.redis.info("persistence")["aof_enabled"]:
            mend = "start it with --appendonly yes --appendfsync always"
            raise WatchError(f"the Redis of REDIS_URL would lose events when it stops; {mend}")
        on_disk = self.pictures.info("persistence")["aof_enabled"]
        with contextlib.suppress(redis.ResponseError):  # a server may refuse to tell
            on_disk = on_disk or self.pictures.config_get("save")["save"]
        if on_disk:
            mend = "start another with --appendonly no --save ''"
            raise WatchError(
                f"the Redis of PICTURES_REDIS_URL would write every frame to its disk; {mend}"
            )

    def prepare(self, camera: str) -> None:
        """Make the stream of a camera's frames where it is not there."""
        try:
            self.redis.xgroup_create(_frames(camera), GROUP, id="0", mkstream=True)
        except redis.ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise

    def send(self, camera: str, picture: bytes, frame: Frame, most: int, seconds: int) -> None:
        """Let a frame wait among at most so many, its picture for so many seconds."""
        self.pictures.set(_picture(camera, frame.sha256), picture, ex=seconds)
        fields = ["time", frame.time, "change", frame.change, "sha256", frame.sha256]
        self._send([_frames(camera), _state(camera)], [most, *fields])

    def next(self, camera: str, consumer: str, abandoned_ms: int) -> Frame | None:
        """The frame to describe: what this consumer left when it was killed, what another left so
        long ago, what is new. None after a second without one."""
        key = _frames(camera)
        entries = self._read(key, consumer, "0")
        entries = entries or self.redis.xautoclaim(key, GROUP, consumer, abandoned_ms, count=1)[1]
        entries = entries or self._read(key, consumer, ">")
        for id_, fields in entries:
            seen = fields or {}  # somebody may have deleted it
            at = float(seen.get("time", 0))
            return Frame(id_, at, float(seen.get("change", 0)), seen.get("sha256", ""))
        return None

    def _read(self, key: str, consumer: str, after: str) -> list:
        found = self.redis.xreadgroup(GROUP, consumer, {key: after}, count=1, block=1_000)
        return found[0][1] if found else []

    def picture(self, camera: str, sha256: str) -> bytes | None:
        """The JPEG file of a frame; None where it is gone."""
        return self.pictures.get(_picture(camera, sha256))

    def picture_of(self, scene: dict[str, Any]) -> bytes | None:
        """The JPEG file of a scene's frame; None where it is gone."""
        return self.picture(scene["source"].partition("/")[2], scene["data"]["frame_sha256"])

    def finish(self, camera: str, frame: Frame, came_to: str, kind: str, data: dict) -> None:
        """Turn a frame into its event, once. `came_to`: scene | stale | failed | trimmed."""
        at = datetime.fromtimestamp(frame.time, UTC)
        data |= {"frame_sha256": frame.sha256, "late_s": round(time.time() - frame.time, 3)}
        made = event(f"{camera}-{frame.id}", f"camera/{camera}", kind, at, data)
        keys = [_frames(camera), _state(camera), EVENTS, DEAD]
        self._finish(keys, [GROUP, frame.id, came_to, self._oldest(), json.dumps(made)])

    def say_dropped(self, camera: str) -> None:
        """Make an event of how many frames were dropped since the last time."""
        count = int(self.redis.hget(_state(camera), "dropped") or 0)
        if count:
            now = datetime.now(UTC)
            id_ = f"{camera}-trimmed-{now.timestamp():.6f}"
            data = {"why": "trimmed", "count": count}
            made = event(id_, f"camera/{camera}", SKIPPED, now, data)
            self._say([_state(camera), EVENTS], [count, self._oldest(), json.dumps(made)])

    def add(self, site: str, found: list[dict[str, Any]]) -> int:
        """Add a site's events that are not there; returns how many."""
        words = [word for one in found for word in (one["id"], json.dumps(one))]
        now = int(time.time() * 1000)
        return self._add([EVENTS, f"added:{site}"], [self._oldest(), now, *words])

    def window(self, sources: list[str], since: datetime, until: datetime) -> Iterator[dict]:
        """The events of some sources, such as camera/dock or plc/press3, in the order in which they
        came, that happened in a span of time."""
        inside = tuple(f"{source}/" for source in sources)
        start = str(max(0, int((since - CLOCKS_APART).timestamp() * 1000)))
        while page := self.redis.xrange(EVENTS, min=start, count=PAGE):
            for _, fields in page:
                found = json.loads(fields["event"])
                if f"{found['source']}/".startswith(inside) and since <= moment(found) <= until:
                    yield found
            start = f"({page[-1][0]}"

    def note(self, camera: str, **known: Any) -> None:
        """Write down what is known of a camera."""
        self.redis.hset(_state(camera), mapping=known)

    def known(self, camera: str) -> dict[str, Any]:
        """What is known of a camera, how many frames wait, and when the oldest of them was seen."""
        key = _frames(camera)
        waiting = self.redis.xrange(key, count=1)
        oldest = waiting[0][1]["time"] if waiting else ""
        counted = {"waiting": self.redis.xlen(key), "oldest": oldest}
        return self.redis.hgetall(_state(camera)) | counted

    def busy(self, camera: str) -> bool:
        """Whether a frame has no event yet, as far as Redis tells."""
        with contextlib.suppress(redis.RedisError):
            found = self.known(camera)
            return bool(found["waiting"] or int(found.get("dropped", 0)))
        return True

    def latest(self, count: int) -> list[dict[str, Any]]:
        """So many events, the newest first."""
        return [
            json.loads(entry["event"]) for _, entry in self.redis.xrevrange(EVENTS, count=count)
        ]

    def _oldest(self) -> int:
        """The number, in milliseconds, before which events may be forgotten."""
        return int(time.time() * 1000 - self.keep_ms)


def _frames(camera: str) -> str:
    return f"frames:{camera}"


def _state(camera: str) -> str:
    return f"camera:{camera}"


def _picture(camera: str, sha256: str) -> str:
    return f"picture:{camera}:{sha256}"
