import asyncio


async def gather_named(calls):
    outcomes = await asyncio.gather(*(call() for call in calls.values()), return_exceptions=True)
    errors = []
    for name, outcome in zip(calls, outcomes):
        if isinstance(outcome, BaseException):
            outcome.add_note(name)
            errors.append(outcome)
    if errors:
        raise ExceptionGroup("some calls failed", errors)
    return dict(zip(calls, outcomes))
