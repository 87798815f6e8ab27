import asyncio


class Actor:
    def __init__(self, handler, state):
        self.handler, self.state, self.errors, self.stopped = handler, state, [], False
        self.mailbox = asyncio.Queue()
        self.task = asyncio.create_task(self._work())

    async def _work(self):
        while (entry := await self.mailbox.get()) is not None:
            message, reply = entry
            try:
                self.state, answer = await self.handler(self.state, message)
            except Exception as error:
                if reply is None:
                    self.errors.append(error)
                elif not reply.done():
                    reply.set_exception(error)
            else:
                if reply is not None and not reply.done():
                    reply.set_result(answer)

    def _send(self, message, reply):
        if self.stopped:
            raise RuntimeError("the actor has been stopped")
        self.mailbox.put_nowait((message, reply))

    def tell(self, message):
        self._send(message, None)

    async def ask(self, message):
        reply = asyncio.get_running_loop().create_future()
        self._send(message, reply)
        return await reply

    async def stop(self):
        if not self.stopped:
            self.stopped = True
            self.mailbox.put_nowait(None)
        await self.task
