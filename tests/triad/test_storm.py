"""Two thousand streams, 64 at once, each with a hand-over: make triad-test, minutes."""

import asyncio
import json
import os
from collections import Counter
from pathlib import Path

import aiohttp
import pytest
from house import KEY
from stand_in import Says

STREAMS = 2000
AT_ONCE = 64
MOST_MEGABYTES = 500


class Meter:
    """What the proxy has used so far."""

    def __init__(self, pid: int):
        self.folder = Path("/proc") / str(pid)

    def cpu_seconds(self) -> float:
        fields = (self.folder / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def megabytes(self) -> float:
        status = (self.folder / "status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) / 1024


async def listen(session: aiohttp.ClientSession, url: str) -> tuple[str, str, str]:
    """(text, outcome, end) of a stream."""
    body = {
        "model": "triad",
        "stream": True,
        "messages": [{"role": "user", "content": "Where?"}],
    }
    text, outcome, end = "", "", ""
    async with session.post(url, json=body, headers={"authorization": f"Bearer {KEY}"}) as reply:
        async for line in reply.content:
            if line.startswith(b"data: {"):
                piece = json.loads(line[6:])
                outcome = piece.get("triad", {}).get("outcome", outcome)
                for choice in piece.get("choices", []):
                    text += choice["delta"].get("content") or ""
            end = line.decode().strip() or end
    return text, outcome, end


async def storm(url: str, count: int, at_once: int) -> Counter:
    gate = asyncio.Semaphore(at_once)

    async def one():
        async with gate:
            try:
                return await listen(session, url)
            except (aiohttp.ClientError, ValueError) as error:
                return type(error).__name__

    timeout = aiohttp.ClientTimeout(600)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        return Counter(await asyncio.gather(*(one() for _ in range(count))))


@pytest.mark.slow
def test_no_stream_breaks_and_the_proxy_stays_small(house):
    house.members["aether"].says = Says("It is long.\n\nRoute: long-context", "Where? " * 40)
    house.members["long-context"].says = Says("It is 42. " * 20)
    url = f"http://127.0.0.1:{house.port}/v1/chat/completions"
    meter = Meter(house.proxy.pid)
    asyncio.run(storm(url, 8, 8))
    before = meter.cpu_seconds()
    got = asyncio.run(storm(url, STREAMS, AT_ONCE))
    cpu = 1000 * (meter.cpu_seconds() - before) / STREAMS
    print(f"{cpu:.1f} ms CPU a stream of 44 pieces, {meter.megabytes():.0f} MB")
    whole = "It is long.\n\nRoute: long-context\n\n[long-context]\n" + "It is 42. " * 20
    assert got == {(whole, "answered", "data: [DONE]"): STREAMS}
    assert meter.megabytes() <= MOST_MEGABYTES
