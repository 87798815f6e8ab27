import asyncio


async def gather_named(calls):
    async with asyncio.TaskGroup() as group:
        tasks = {name: group.create_task(call()) for name, call in calls.items()}
    return {name: task.result() for name, task in tasks.items()}
