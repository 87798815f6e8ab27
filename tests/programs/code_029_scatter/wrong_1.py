import asyncio


class TooFew(Exception):
    def __init__(self, errors):
        self.errors = errors


async def scatter(calls, seconds, needed):
    async def one(call):
        return await asyncio.wait_for(call(), seconds)

    outcomes = await asyncio.gather(*(one(call) for call in calls.values()), return_exceptions=True)
    results, errors = {}, {}
    for name, outcome in zip(calls, outcomes):
        (errors if isinstance(outcome, Exception) else results)[name] = outcome
    if len(results) < needed:
        raise TooFew(errors)
    return results, errors
