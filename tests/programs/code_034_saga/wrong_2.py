class SagaFailed(Exception):
    def __init__(self, step, unsettled):
        self.step, self.unsettled = step, unsettled


async def saga(steps):
    results = []
    for index, (action, _) in enumerate(steps):
        try:
            results.append(await action())
        except Exception as error:
            unsettled = []
            for done in range(index):
                try:
                    await steps[done][1](results[done])
                except Exception as problem:
                    unsettled.append((done, problem))
            raise SagaFailed(index, unsettled) from error
    return results
