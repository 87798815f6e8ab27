"""The page of `make watch PAGE=1`: last frames, events, lag, drops, members' health."""

from __future__ import annotations

import json
import os
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import redis

from common.files import ROOT
from common.servers import LOOPBACK, ServeError, given
from common.triad import Member, Triad, read
from serving.watch.settings import WatchError
from serving.watch.streams import Streams

FILES = {
    "/": ("page.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
}
ONLY_HERE = "default-src 'self'; frame-ancestors 'none'"  # told to the browser
EVENTS = 50
HEALTH_SECONDS = 15
TRIAD = ROOT / "datasets" / "aether" / "triad.yaml"


def show(cameras: list[str], streams: Streams, port: int) -> str:
    """Show the page on this machine, and return its address. It is there until the process ends.

    Raises WatchError where the port is taken, and TriadError or FileError.
    """
    triad = read(TRIAD)
    health: dict[str, str] = {}  # what is wrong with each; "" where it answers

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            # A page from elsewhere whose name was made to lead here has that name.
            if self.headers.get("host", "").rpartition(":")[0] not in (LOOPBACK, "localhost"):
                return self.send_error(403)
            try:
                found = self._found()
            except redis.RedisError:
                return self.send_error(503)
            if found is None:
                return self.send_error(404)
            body, kind = found
            self.send_response(200)
            self.send_header("content-type", kind)
            self.send_header("content-security-policy", ONLY_HERE)
            self.end_headers()
            self.wfile.write(body)

        def _found(self) -> tuple[bytes, str] | None:
            """(body, type) of what stands at the path."""
            if self.path in FILES:
                name, kind = FILES[self.path]
                return Path(__file__).with_name(name).read_bytes(), kind
            if self.path == "/state":
                about = {name: streams.known(name) for name in cameras}
                state = {"cameras": about, "members": health, "events": streams.latest(EVENTS)}
                return json.dumps(state | {"now": time.time()}).encode(), "application/json"
            _, *place = self.path.split("/")
            if len(place) == 3 and place[0] == "picture" and place[1] in cameras:
                picture = streams.picture(place[1], place[2])
                return (picture, "image/jpeg") if picture else None
            return None

    try:
        server = ThreadingHTTPServer((LOOPBACK, port), Handler)
    except OSError:
        raise WatchError(f"port {port} is taken by another program; give PORT=") from None
    for follow in (server.serve_forever, lambda: _follow(triad, health)):
        threading.Thread(target=follow, daemon=True).start()
    return f"http://{LOOPBACK}:{server.server_port}"


def _follow(triad: Triad, health: dict[str, str]) -> None:
    """Ask the members of the house, for ever, whether they are there."""
    while True:
        for name, member in {"aether": triad.itself, **triad.members}.items():
            health[name] = _problem(member)
        time.sleep(HEALTH_SECONDS)


def _problem(member: Member) -> str:
    if member.outside or member.unset:
        return " and ".join(member.unset) + " not set" if member.unset else "outside: not asked"
    try:
        given(os.environ[member.url], os.environ[member.model], member.key)
    except ServeError as error:
        return str(error)
    return ""
