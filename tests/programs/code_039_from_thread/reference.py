import asyncio
import threading


async def from_thread(make, capacity):
    loop, queue = asyncio.get_running_loop(), asyncio.Queue()
    room, stop = threading.Semaphore(capacity), threading.Event()

    def tell(*message):
        loop.call_soon_threadsafe(queue.put_nowait, message)

    def work():
        iterator = None
        try:
            iterator = iter(make())
            while True:
                room.acquire()
                if stop.is_set():
                    break
                try:
                    item = next(iterator)
                except StopIteration:
                    break
                tell("item", item)
            if hasattr(iterator, "close"):
                iterator.close()
            tell("end", None)
        except BaseException as error:
            tell("error", error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while True:
            kind, value = await queue.get()
            if kind == "end":
                return
            if kind == "error":
                raise value
            room.release()
            yield value
    finally:
        stop.set()
        room.release()
        await asyncio.to_thread(thread.join)
