import asyncio
import concurrent.futures
import threading


class Bridge:
    def __init__(self):
        self.loop, self.closed = asyncio.new_event_loop(), False
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self):
        self.loop.run_forever()
        tasks = asyncio.all_tasks(self.loop)
        for task in tasks:
            task.cancel()
        if tasks:
            self.loop.run_until_complete(asyncio.wait(tasks))
        self.loop.close()

    def call(self, function, *args, timeout=None):
        if self.closed or threading.current_thread() is self.thread:
            raise RuntimeError("the bridge is closed, or called from its own thread")

        async def bounded():
            async with asyncio.timeout(timeout):
                return await function(*args)

        future = asyncio.run_coroutine_threadsafe(bounded(), self.loop)
        try:
            return future.result()
        except concurrent.futures.CancelledError:
            raise RuntimeError("the bridge was closed") from None

    def close(self):
        if not self.closed:
            self.closed = True
            self.loop.call_soon_threadsafe(self.loop.stop)
            self.thread.join()
