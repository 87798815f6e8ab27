import asyncio

from harness import alone, raises, run_virtual
from solution import Fenced, Leases, Register, keep


async def _leases():
    now = [0.0]
    leases = Leases(10, lambda: now[0])
    a = leases.acquire("a")
    assert isinstance(a, int) and leases.holder() == "a"
    assert leases.acquire("b") is None and leases.acquire("a") is None
    now[0] = 9
    assert (
        leases.renew("b", a) is False
        and leases.renew("a", a + 1) is False
        and leases.renew("a", a) is True
    )
    now[0] = 18.9
    assert leases.holder() == "a"
    now[0] = 19
    assert (
        leases.holder() is None
        and leases.renew("a", a) is False
        and leases.release("a", a) is False
    )
    b = leases.acquire("b")
    assert b > a and leases.renew("a", a) is False
    assert (
        leases.release("a", b) is False
        and leases.release("b", b) is True
        and leases.holder() is None
    )
    c = leases.acquire("b")
    assert c > b and leases.release("b", b) is False and leases.holder() == "b"

    register = Register()
    assert register.value is None
    register.write(a, "old")
    register.write(b, "new")
    register.write(b, "newer")
    try:
        register.write(a, "from the past")
    except Fenced:
        pass
    else:
        raise AssertionError("an old token has written")
    assert register.value == "newer"


async def _keep():
    loop, log = asyncio.get_running_loop(), []
    leases = Leases(9, loop.time)

    async def work(token):
        try:
            await asyncio.sleep(40)
        except asyncio.CancelledError:
            await asyncio.sleep(0.5)
            log.append("stopped")
            raise
        return token

    task = asyncio.create_task(keep(leases, "a", work, asyncio.sleep))
    await asyncio.sleep(35)
    assert leases.holder() == "a"
    assert await keep(leases, "b", work, asyncio.sleep) is None and loop.time() == 35
    token = await task
    assert isinstance(token, int) and leases.holder() is None and loop.time() == 40

    async def fails(_):
        await asyncio.sleep(1)
        raise KeyError("work")

    await raises(KeyError, keep(leases, "a", fails, asyncio.sleep))
    assert leases.holder() is None

    async def frozen(seconds):  # as after a long pause of the whole process
        await asyncio.sleep(seconds + 20)

    before = loop.time()
    await raises(Fenced, keep(leases, "a", work, frozen))
    assert log == ["stopped"] and loop.time() == before + 23.5, loop.time() - before
    assert await alone()


run_virtual(_leases)
run_virtual(_keep)
