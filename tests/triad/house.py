"""The proxy as a person starts it, with stand-ins as members and Debian's Redis on a free port."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import openai
import pytest
import redis
import stand_in

from common.files import ROOT
from common.servers import free_port

KEY = "sk-test-0123456789abcdef"
VARIABLES = {
    "aether": "AETHER",
    "edge": "AETHER_EDGE",
    "long-context": "AETHER_LONG",
    "claude-sonnet-4.5": "AETHER_CLAUDE",
    "grok-4-fast": "AETHER_GROK",
}
OUTSIDE = ("claude-sonnet-4.5", "grok-4-fast")
REDIS = shutil.which("redis-server")


def command(dataset: Path | str, *words: str) -> list[str]:
    return [sys.executable, "-m", "serving.triad", str(dataset), *words]


class House:
    """Stand-ins by member, a Redis, and the proxy, which can be killed and started again."""

    def __init__(self, folder: Path, **more: str):
        self.folder = folder
        self.members = {id_: stand_in.Member(stand_in.Says()) for id_ in VARIABLES}
        stand_in.start(self.members)
        self.redis_port = free_port()
        self.environment = os.environ | {
            "TRIAD_KEY": KEY,
            "REDIS_URL": f"redis://127.0.0.1:{self.redis_port}/0",
            "ANTHROPIC_API_KEY": "key-of-claude",
            "XAI_API_KEY": "key-of-grok",
        }
        for id_, name in VARIABLES.items():
            self.environment[f"{name}_URL"] = f"http://127.0.0.1:{self.members[id_].port}/v1"
            self.environment[f"{name}_MODEL"] = f"model-of-{id_}"
        self.environment |= more
        self.log = folder / "proxy.log"
        self.start_redis()

    def start_redis(self):
        self.redis = subprocess.Popen(
            [REDIS, "--port", str(self.redis_port), "--bind", "127.0.0.1", "--save", ""],
            stdout=subprocess.DEVNULL,
        )
        server = redis.Redis(port=self.redis_port)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                server.ping()
                return
            except redis.ConnectionError:
                time.sleep(0.1)
        pytest.fail("Redis did not start")

    def stop_redis(self):
        self.redis.terminate()
        self.redis.wait(30)

    def start(self):
        self.port = free_port()
        with self.log.open("ab") as log:
            self.proxy = subprocess.Popen(
                command(self.folder, "--port", str(self.port)),
                cwd=ROOT, env=self.environment, stdout=log, stderr=log,
            )  # fmt: skip
        deadline = time.monotonic() + 600  # a busy machine takes minutes
        while time.monotonic() < deadline and self.proxy.poll() is None:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health/liveliness", timeout=5)
            except OSError:
                time.sleep(0.2)
                continue
            self.client = openai.OpenAI(
                base_url=f"http://127.0.0.1:{self.port}/v1", api_key=KEY, max_retries=0
            )
            return
        pytest.fail(f"the proxy did not start: {self.log.read_text()[-2000:]}")

    def stop(self, number: int = signal.SIGTERM):
        self.proxy.send_signal(number)
        self.proxy.wait(30)

    def forget(self):
        """Everybody says "Done." again, and nobody was asked."""
        for member in self.members.values():
            member.says = stand_in.Says()
            member.asked.clear()
            member.peers.clear()

    def asked(self, id_: str) -> list[dict]:
        return self.members[id_].asked

    def decisions(self) -> list[dict]:
        lines = self.log.read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith('{"route"')]
