class GaveUp(Exception):
    def __init__(self, restarts):
        super().__init__(f"gave up after {restarts} restarts")
        self.restarts = restarts


async def keep_running(start, restarts, window, pause, clock, sleep):
    made = []
    while True:
        try:
            return await start()
        except Exception as error:
            if sum(clock() - at < window for at in made) >= restarts:
                raise GaveUp(len(made)) from error
        await sleep(pause)
        made.append(clock())
