import asyncio
import threading


class Bridge:
    def __init__(self):
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()

    def call(self, function, *args, timeout=None):
        if threading.current_thread() is self.thread:
            raise RuntimeError("would hang")
        return asyncio.run_coroutine_threadsafe(function(*args), self.loop).result(timeout)

    def close(self):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
