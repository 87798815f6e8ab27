import asyncio
import itertools


class Rpc:
    def __init__(self, send):
        self.send, self.ids, self.waiting, self.failure = send, itertools.count(1), {}, None

    @property
    def pending(self):
        return len(self.waiting)

    async def call(self, method, timeout):
        if self.failure is not None:
            raise self.failure
        number = next(self.ids)
        await self.send({"id": number, "method": method})
        self.waiting[number] = asyncio.get_running_loop().create_future()
        return await asyncio.wait_for(self.waiting[number], timeout)

    def feed(self, message):
        reply = self.waiting.pop(message["id"], None)
        if reply is not None and "error" in message:
            reply.set_exception(RuntimeError(message["error"]))
        elif reply is not None:
            reply.set_result(message["result"])

    def fail(self, error):
        self.failure = error
        for reply in self.waiting.values():
            reply.set_exception(error)
        self.waiting.clear()
