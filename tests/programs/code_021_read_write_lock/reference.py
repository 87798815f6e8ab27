import asyncio
from collections import deque
from contextlib import asynccontextmanager


class ReadWriteLock:
    def __init__(self):
        self.readers, self.writing = 0, False
        self.waiting_writers, self.waiting_readers = deque(), deque()

    def _wake(self):
        if self.writing:
            return
        if self.waiting_writers:
            if not self.readers:
                self.writing = True
                self.waiting_writers.popleft().set_result(None)
            return
        while self.waiting_readers:
            self.readers += 1
            self.waiting_readers.popleft().set_result(None)

    async def _wait(self, line, undo):
        turn = asyncio.get_running_loop().create_future()
        line.append(turn)
        self._wake()
        try:
            await turn
        except asyncio.CancelledError:
            if turn in line:
                line.remove(turn)
            else:
                undo()
            self._wake()
            raise

    def _end_read(self):
        self.readers -= 1

    def _end_write(self):
        self.writing = False

    @asynccontextmanager
    async def read(self):
        await self._wait(self.waiting_readers, self._end_read)
        try:
            yield
        finally:
            self._end_read()
            self._wake()

    @asynccontextmanager
    async def write(self):
        await self._wait(self.waiting_writers, self._end_write)
        try:
            yield
        finally:
            self._end_write()
            self._wake()
