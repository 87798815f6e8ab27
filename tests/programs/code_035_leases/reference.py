import asyncio


class Fenced(Exception):
    pass


class Leases:
    def __init__(self, ttl, clock):
        self.ttl, self.clock, self.token, self.owner, self.until = ttl, clock, 0, None, None

    def holder(self):
        return self.owner if self.owner is not None and self.clock() < self.until else None

    def _held_by(self, owner, token):
        return self.holder() is not None and (owner, token) == (self.owner, self.token)

    def acquire(self, owner):
        if self.holder() is not None:
            return None
        self.owner, self.token, self.until = owner, self.token + 1, self.clock() + self.ttl
        return self.token

    def renew(self, owner, token):
        if not self._held_by(owner, token):
            return False
        self.until = self.clock() + self.ttl
        return True

    def release(self, owner, token):
        if not self._held_by(owner, token):
            return False
        self.owner = None
        return True


class Register:
    def __init__(self):
        self.token, self.value = None, None

    def write(self, token, value):
        if self.token is not None and token < self.token:
            raise Fenced(token)
        self.token, self.value = token, value


async def keep(leases, owner, work, sleep):
    token = leases.acquire(owner)
    if token is None:
        return None

    async def renewals():
        while True:
            await sleep(leases.ttl / 3)
            if not leases.renew(owner, token):
                raise Fenced(token)

    working, renewing = asyncio.create_task(work(token)), asyncio.create_task(renewals())
    try:
        await asyncio.wait([working, renewing], return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        return renewing.result()
    finally:
        for task in (working, renewing):
            task.cancel()
        await asyncio.gather(working, renewing, return_exceptions=True)
        leases.release(owner, token)
