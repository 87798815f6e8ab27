import asyncio


class SagaFailed(Exception):
    def __init__(self, step, unsettled):
        self.step, self.unsettled = step, unsettled


async def saga(steps):
    results = []
    try:
        for action, _ in steps:
            results.append(await action())
        return results
    except BaseException as error:
        unsettled = []
        for index in reversed(range(len(results))):
            try:
                await steps[index][1](results[index])
            except Exception as problem:
                unsettled.append((index, problem))
        if isinstance(error, asyncio.CancelledError):
            raise
        raise SagaFailed(len(results), unsettled) from error
