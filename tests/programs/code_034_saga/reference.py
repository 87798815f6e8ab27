import asyncio


class SagaFailed(Exception):
    def __init__(self, step, unsettled):
        super().__init__(f"step {step} failed")
        self.step, self.unsettled = step, unsettled


async def saga(steps):
    results = []
    try:
        for action, _ in steps:
            results.append(await action())
        return results
    except Exception as error:
        raise SagaFailed(len(results), await _undo(steps, results)) from error
    except asyncio.CancelledError:
        await _undo(steps, results)
        raise


async def _undo(steps, results):
    async def all_of_them():
        unsettled = []
        for index in reversed(range(len(results))):
            try:
                await steps[index][1](results[index])
            except Exception as error:
                unsettled.append((index, error))
        return unsettled

    task, cancelled = asyncio.create_task(all_of_them()), None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled:
        raise cancelled
    return task.result()
