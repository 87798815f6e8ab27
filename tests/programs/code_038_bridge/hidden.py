import asyncio
import threading

from solution import Bridge


def _raised(kind, function, *args, **kwargs):
    try:
        function(*args, **kwargs)
    except kind as error:
        return error
    raise AssertionError(f"{kind.__name__} was not raised")


def _main():
    before, log = threading.active_count(), []
    bridge = Bridge()

    async def add(a, b):
        await asyncio.sleep(0)
        return a + b

    async def where():
        return threading.get_ident(), asyncio.get_running_loop()

    async def fails():
        raise KeyError("inside")

    async def slow():
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            await asyncio.sleep(0.01)
            log.append("cleaned")
            raise

    assert bridge.call(add, 1, 2) == 3
    assert bridge.call(add, 1, 2, timeout=5) == 3
    first, second = bridge.call(where), bridge.call(where)
    assert first == second and first[0] != threading.get_ident()
    _raised(KeyError, bridge.call, fails)
    _raised(TimeoutError, bridge.call, slow, timeout=0.02)
    assert log == ["cleaned"]

    state = {}

    async def meet():  # three calls that only end when all three are on the loop at the same time
        state["n"] = state.get("n", 0) + 1
        event = state.setdefault("event", asyncio.Event())
        if state["n"] == 3:
            event.set()
        await event.wait()
        return "met"

    results = []
    threads = [
        threading.Thread(target=lambda: results.append(bridge.call(meet, timeout=5)))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == ["met"] * 3, results

    async def nested():
        return bridge.call(add, 1, 1)

    _raised(RuntimeError, bridge.call, nested)

    log.clear()
    started, errors = threading.Event(), []

    async def tell_then_wait():
        started.set()
        await slow()

    def waiting():
        try:
            bridge.call(tell_then_wait)
        except RuntimeError as error:
            errors.append(error)

    thread = threading.Thread(target=waiting)
    thread.start()
    assert started.wait(5)
    bridge.close()
    thread.join(5)
    assert len(errors) == 1 and log == ["cleaned"], (errors, log)
    _raised(RuntimeError, bridge.call, add, 1, 2)
    bridge.close()
    assert threading.active_count() == before


_main()
