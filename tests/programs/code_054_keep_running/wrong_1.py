class GaveUp(Exception):
    def __init__(self, restarts):
        self.restarts = restarts


async def keep_running(start, restarts, window, pause, clock, sleep):
    made = 0
    while True:
        try:
            return await start()
        except Exception as error:
            if made >= restarts:
                raise GaveUp(made) from error
        await sleep(pause)
        made += 1
