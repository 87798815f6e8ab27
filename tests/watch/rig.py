"""What the tests of cameras stand on: two Redis, a model, a camera; all on free ports of this machine."""

import base64
import contextlib
import http.server
import itertools
import json
import os
import re
import shlex
import shutil
import socketserver
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import av
import numpy as np
import pytest
import redis
from conftest import ROOT

from common.servers import free_port

REDIS = shutil.which("redis-server")
DOCS = (ROOT / "docs" / "watch.md").read_text()
PASSWORD = "s3cret-of-the-dock"
SETTINGS = """
model: {{url: SEER_URL, model: SEER_MODEL, key: SEER_KEY, max_tokens: 50, timeout_s: {timeout}, at_once: 2}}
keep_days: 30
cameras:
"""
CAMERA = """
  {name}:
    url: CAMERA_URL
    prompt: What is there?
    fps: {fps}
    change: {change}
    heartbeat_s: {heartbeat}
    stale_s: {stale}
    frames: {frames}
    pictures_s: 3600
"""


class Rig:
    """Servers, and the environment that names them."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.ports = {"events": free_port(), "pictures": free_port()}
        self.servers: dict[str, subprocess.Popen] = {}
        self.model = Model()
        self.environment = os.environ | {
            "REDIS_URL": f"redis://127.0.0.1:{self.ports['events']}",
            "PICTURES_REDIS_URL": f"redis://127.0.0.1:{self.ports['pictures']}",
            "SEER_URL": f"{self.model.url}/v1",
            "SEER_MODEL": "seer",
            "CAMERAS": str(folder / "cameras.yaml"),
            "PYTHONPATH": str(ROOT),
        }
        for name in self.ports:
            self.start(name)
        self.redis = redis.Redis(port=self.ports["events"], decode_responses=True)
        self.pictures = redis.Redis(port=self.ports["pictures"])

    def start(self, name: str) -> None:
        """One of the two servers as docs/watch.md starts it, elsewhere."""
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        lines = re.findall("^(redis-server .*) --daemonize yes$", DOCS, re.MULTILINE)
        line = lines[list(self.ports).index(name)]
        words = shlex.split(line.replace("outputs/watch", str(folder)))
        words += ["--port", str(self.ports[name]), "--dir", str(folder)]
        self.servers[name] = subprocess.Popen(words, stdout=subprocess.DEVNULL)
        client = redis.Redis(port=self.ports[name])
        until(lambda: _answers(client))

    def kill(self, name: str) -> None:
        self.servers[name].kill()
        self.servers[name].wait()

    def settings(self, names=("dock",), timeout=10, **changes) -> None:
        wanted = {"fps": 30, "change": 0.5, "heartbeat": 600, "stale": 600, "frames": 100} | changes
        cameras = "".join(CAMERA.format(name=name, **wanted) for name in names)
        text = SETTINGS.format(timeout=timeout) + cameras
        (self.folder / "cameras.yaml").write_text(text)

    def run(self, module: str, *words, **kwargs) -> subprocess.Popen:
        """A command of serving.watch; what it says goes to said.txt."""
        said = (self.folder / "said.txt").open("a")
        command = [sys.executable, "-m", module, *words]
        environment = self.environment | kwargs
        return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=said, stderr=said)

    def done(self, module: str, *words, **kwargs) -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", module, *words]
        environment = self.environment | kwargs
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)

    def events(self) -> list[dict]:
        return [json.loads(entry["event"]) for _, entry in self.redis.xrange("events")]

    def sent(self, camera="dock") -> int:
        return int(self.redis.hget(f"camera:{camera}", "sent") or 0)

    def accounted(self, camera="dock") -> int:
        """How many frames the events tell of."""
        found = [event for event in self.events() if event["source"] == f"camera/{camera}"]
        return sum(event["data"].get("count", 1) for event in found)

    def said(self) -> str:
        return (self.folder / "said.txt").read_text()

    def close(self) -> None:
        self.model.close()
        for server in self.servers.values():
            server.kill()
            server.wait()


def _answers(client: redis.Redis) -> bool:
    with contextlib.suppress(redis.RedisError):
        return client.ping()
    return False


def until(found, seconds=60):
    """What `found` gives as soon as it gives something."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = found()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError("it did not happen")


@contextlib.contextmanager
def running(process):
    try:
        yield process
    finally:
        process.kill()
        process.wait()


class Model:
    """An OpenAI-compatible model that sees: `seconds` to a reply, `status` other than 200 to fail."""

    def __init__(self):
        self.seconds = 0.0
        self.status = 200
        self.reply = "A red truck stands at the gate."
        self.asked: list[dict] = []
        model = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def do_GET(self):
                self._begin(200, "application/json")
                self.wfile.write(json.dumps({"data": [{"id": "seer"}, {"id": "triad"}]}).encode())

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                model.asked.append(body)
                time.sleep(model.seconds)
                self._begin(model.status, "text/event-stream")
                if model.status == 200:
                    piece = {"model": "seer-2", "choices": [{"delta": {"content": model.reply}}]}
                    self._piece(piece)
                    self._piece({"choices": [{"delta": {}, "finish_reason": "stop"}]})

            def _begin(self, status, kind):
                self.send_response(status)
                self.send_header("content-type", kind)
                self.end_headers()

            def _piece(self, piece):
                with contextlib.suppress(OSError):
                    self.wfile.write(f"data: {json.dumps(piece)}\n\n".encode())

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self):
        self.server.shutdown()


class Camera:
    """A network camera with a password: sends a video, over and over, in real time; `silent` says nothing."""

    def __init__(self, video: Path, seconds: float):
        self.silent = False
        self.asked = 0
        content = video.read_bytes()
        camera = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def do_GET(self):
                camera.asked += 1
                self.send_response(200)
                self.send_header("content-type", "video/mp2t")
                self.end_headers()
                step = 188 * 20
                pause = seconds * step / len(content)
                began = time.monotonic()
                with contextlib.suppress(OSError):
                    for number in itertools.count():
                        while camera.silent:
                            time.sleep(0.05)
                        place = number * step % len(content)
                        self.wfile.write(content[place : place + step])
                        time.sleep(max(0, began + number * pause - time.monotonic()))

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://admin:{PASSWORD}@127.0.0.1:{self.server.server_port}/cam.ts"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self):
        self.server.shutdown()


class Rtsp(socketserver.ThreadingTCPServer):
    """A network camera that speaks RTSP: MPEG-TS in RTP on the same connection, in real time, to whoever knows
    the password."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, video: Path, seconds: float):
        super().__init__(("127.0.0.1", 0), _RtspHandler)
        self.content = video.read_bytes()
        self.seconds = seconds
        self.url = f"rtsp://admin:{PASSWORD}@127.0.0.1:{self.server_address[1]}/live"
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def close(self):
        self.shutdown()


class _RtspHandler(socketserver.StreamRequestHandler):
    SDP = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=cam\r\nt=0 0\r\nm=video 0 RTP/AVP 33\r\na=control:track\r\n"

    def handle(self):
        key = base64.b64encode(f"admin:{PASSWORD}".encode()).decode()
        with contextlib.suppress(OSError):
            while line := self.rfile.readline():
                method = line.decode().split()[0]
                headers = {}
                while header := self.rfile.readline().strip().decode():
                    name, _, value = header.partition(":")
                    headers[name.lower()] = value.strip()
                answer = {"CSeq": headers["cseq"], "Session": "1"}
                body = ""
                if method != "OPTIONS" and headers.get("authorization") != f"Basic {key}":
                    self._answer(
                        "401 Unauthorized", answer | {"WWW-Authenticate": 'Basic realm="c"'}
                    )
                    continue
                if method == "OPTIONS":
                    answer["Public"] = "DESCRIBE, SETUP, PLAY, TEARDOWN"
                elif method == "DESCRIBE":
                    answer["Content-Type"] = "application/sdp"
                    body = self.SDP
                elif method == "SETUP":
                    answer["Transport"] = "RTP/AVP/TCP;unicast;interleaved=0-1"
                self._answer("200 OK", answer, body)
                if method == "PLAY":
                    self._play()

    def _answer(self, status, headers, body=""):
        headers["Content-Length"] = str(len(body))
        lines = [f"RTSP/1.0 {status}", *(f"{name}: {value}" for name, value in headers.items())]
        self.wfile.write(("\r\n".join(lines) + "\r\n\r\n" + body).encode())

    def _play(self):
        content = self.server.content
        step = 188 * 7
        pause = self.server.seconds * step / len(content)
        began = time.monotonic()
        for number in itertools.count():
            place = number * step % len(content)
            clock = int((time.monotonic() - began) * 90_000)
            packet = struct.pack(">BBHII", 0x80, 33, number % 65536, clock % 2**32, 7)
            packet += content[place : place + step]
            self.wfile.write(struct.pack(">BBH", 0x24, 0, len(packet)) + packet)
            time.sleep(max(0, began + number * pause - time.monotonic()))


def video(path: Path, seconds=4.0, fps=15, size=(320, 180), every=0.25, colours=None) -> Path:
    """A video whose colour changes `every` so many seconds."""
    colours = colours or [(200, 40, 30), (30, 60, 190), (220, 210, 60), (20, 20, 20)]
    width, height = size
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.width = width
        stream.height = height
        stream.pix_fmt = "yuv420p"
        stream.options = {"g": str(fps), "bf": "0", "preset": "ultrafast"}
        rng = np.random.default_rng(0)
        noise = rng.integers(0, 40, (height, width, 3))
        for number in range(round(seconds * fps)):
            colour = colours[int(number / fps / every) % len(colours)]
            pixels = np.clip(noise + np.array(colour) - 20, 0, 255).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.fixture(scope="module")
def rig(tmp_path_factory):
    """One rig for a file of tests."""
    found = Rig(tmp_path_factory.mktemp("rig"))
    yield found
    found.close()


@pytest.fixture
def fresh(rig):
    """The rig with nothing in its servers, and a model that answers at once."""
    rig.redis.flushall()
    rig.pictures.flushall()
    rig.model.seconds = 0.0
    rig.model.status = 200
    rig.model.reply = "A red truck stands at the gate."
    rig.model.asked.clear()
    (rig.folder / "said.txt").unlink(missing_ok=True)
    return rig
