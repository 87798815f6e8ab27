import asyncio


class Fenced(Exception):
    pass


class Leases:
    def __init__(self, ttl, clock):
        self.ttl, self.clock, self.token, self.owner, self.until = ttl, clock, 0, None, 0

    def holder(self):
        return self.owner if self.clock() < self.until else None

    def acquire(self, owner):
        if self.holder() is not None:
            return None
        self.owner, self.token, self.until = owner, self.token + 1, self.clock() + self.ttl
        return self.token

    def renew(self, owner, token):
        if (owner, token) != (self.owner, self.token):
            return False
        self.until = self.clock() + self.ttl
        return True

    def release(self, owner, token):
        if (owner, token) != (self.owner, self.token):
            return False
        self.owner, self.until = None, 0
        return True


class Register:
    def __init__(self):
        self.token, self.value = -1, None

    def write(self, token, value):
        if token < self.token:
            raise Fenced(token)
        self.token, self.value = token, value


async def keep(leases, owner, work, sleep):
    token = leases.acquire(owner)
    if token is None:
        return None
    task = asyncio.create_task(work(token))
    try:
        while not task.done():
            await sleep(leases.ttl / 3)
            if not task.done() and not leases.renew(owner, token):
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                raise Fenced
        return task.result()
    finally:
        leases.release(owner, token)
