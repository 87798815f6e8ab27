import asyncio


def tee(source, count, ahead):
    queues = [asyncio.Queue(ahead) for _ in range(count)]
    end, state = object(), {"task": None}

    async def pump():
        try:
            async for item in source:
                for queue in queues:
                    await queue.put((item, None))
            for queue in queues:
                await queue.put((end, None))
        except Exception as error:
            for queue in queues:
                await queue.put((end, error))

    async def reader(queue):
        if state["task"] is None:
            state["task"] = asyncio.create_task(pump())
        while True:
            item, error = await queue.get()
            if error:
                raise error
            if item is end:
                return
            yield item

    return [reader(queue) for queue in queues]
