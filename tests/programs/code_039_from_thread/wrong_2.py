async def from_thread(make, capacity):
    for item in make():
        yield item
