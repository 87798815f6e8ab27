import asyncio


class Conflict(Exception):
    pass


class Idempotency:
    def __init__(self, keep, clock):
        self.keep, self.clock, self.entries = keep, clock, {}

    async def execute(self, key, request, operation):
        entry = self.entries.get(key)
        if entry and entry["until"] is not None and self.clock() >= entry["until"]:
            entry = None
        if entry is None:
            entry = self.entries[key] = {"request": request, "until": None}
            entry["task"] = asyncio.create_task(self._run(key, entry, operation))
        elif entry["request"] != request:
            raise Conflict(key)
        return await asyncio.shield(entry["task"])

    async def _run(self, key, entry, operation):
        try:
            result = await operation()
        except BaseException:
            del self.entries[key]
            raise
        entry["until"] = self.clock() + self.keep
        return result
