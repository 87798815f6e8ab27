import asyncio
import contextvars
import threading

from solution import Offload


async def _main():
    loop_thread, before = threading.current_thread(), threading.active_count()
    who = contextvars.ContextVar("who", default=None)
    lock, together = threading.Lock(), threading.Barrier(2, timeout=2)
    active = peak = 0
    ended = []

    def blocking(gate, x, *, plus):
        assert threading.current_thread() is not loop_thread
        assert gate.wait(2), "the event loop was blocked"
        return x + plus, who.get()

    def counted():
        nonlocal active, peak
        with lock:
            active, peak = active + 1, max(peak, active + 1)
        together.wait()
        with lock:
            active -= 1

    def fails():
        raise KeyError("inside")

    def last(gate):
        assert gate.wait(2), "the event loop was blocked while the pool was closing"
        ended.append(1)

    async with Offload(2) as offload:
        who.set("me")
        gate = threading.Event()
        task = asyncio.create_task(offload.run(blocking, gate, 1, plus=2))
        await asyncio.sleep(0.02)
        gate.set()
        assert await task == (3, "me")
        await asyncio.gather(*(offload.run(counted) for _ in range(6)))
        assert peak == 2, peak
        try:
            await offload.run(fails)
        except KeyError:
            pass
        else:
            raise AssertionError("the exception got lost")
        gate = threading.Event()
        tasks = [asyncio.create_task(offload.run(last, gate)) for _ in range(3)]
        await asyncio.sleep(0.02)
        asyncio.get_running_loop().call_later(0.02, gate.set)
    assert ended == [1, 1, 1]
    await asyncio.gather(*tasks)
    try:
        await offload.run(len, "late")
    except RuntimeError:
        pass
    else:
        raise AssertionError("run after the end")
    extra = [t for t in threading.enumerate() if t is not loop_thread]
    assert threading.active_count() <= before + 1, (
        extra
    )  # one may be the loop's own default executor


asyncio.run(_main())
