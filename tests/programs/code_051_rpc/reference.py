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
        number, reply = next(self.ids), asyncio.get_running_loop().create_future()
        self.waiting[number] = reply
        try:
            async with asyncio.timeout(timeout):
                await self.send({"id": number, "method": method})
                return await reply
        finally:
            self.waiting.pop(number, None)

    def feed(self, message):
        reply = self.waiting.pop(message["id"], None)
        if reply is None or reply.done():
            return
        if "error" in message:
            reply.set_exception(RuntimeError(message["error"]))
        else:
            reply.set_result(message["result"])

    def fail(self, error):
        self.failure = error
        for reply in self.waiting.values():
            if not reply.done():
                reply.set_exception(error)
        self.waiting.clear()
