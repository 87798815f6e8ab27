from harness import raises, run_virtual
from solution import FrameError, frames


def _frame(body):
    return len(body).to_bytes(4, "big") + body


async def _main():
    log = []

    async def chunked(data, size):
        try:
            for start in range(0, len(data), size):
                log.append(start)
                yield data[start : start + size]
                yield b""
        finally:
            log.append("closed")

    bodies = [b"hello", b"", b"x" * 300, b"\x00\x00\x00\x01", b"end"]
    data = b"".join(map(_frame, bodies))
    for size in (1, 2, 3, 5, 7, 64, 10000):
        log.clear()
        got = [body async for body in frames(chunked(data, size), 300)]
        assert got == bodies and all(type(body) is bytes for body in got), size
        assert log[-1] == "closed"
    assert [body async for body in frames(chunked(b"", 4), 300)] == []

    async def read(data, limit, size=3):
        async for body in frames(chunked(data, size), limit):
            got.append(body)

    for cut in (1, 3, 4, 6, 8):
        got.clear()
        log.clear()
        await raises(FrameError, read(_frame(b"ok") + _frame(b"hello")[:cut], 300))
        assert got == [b"ok"] and log[-1] == "closed", cut

    got.clear()
    await raises(FrameError, read(_frame(b"ok") + _frame(b"toolong"), 6))
    assert got == [b"ok"]
    got.clear()
    await raises(FrameError, read((2**32 - 1).to_bytes(4, "big"), 300, 4))
    log.clear()
    await raises(FrameError, read((301).to_bytes(4, "big") + b"y" * 301, 300, 4))
    assert log == [0, "closed"], "it waited for the body"

    log.clear()
    generator = frames(chunked(data, 6), 300)
    assert await anext(generator) == b"hello" and log == [0, 6], (
        log
    )  # complete with the second chunk
    await generator.aclose()
    assert log[-1] == "closed"


run_virtual(_main)
