class FrameError(Exception):
    pass


async def frames(chunks, limit):
    held = b""
    async for chunk in chunks:
        held += chunk
        if len(held) < 4:
            continue
        length = int.from_bytes(held[:4], "big")
        if length > limit:
            raise FrameError(length)
        if len(held) >= 4 + length:
            yield held[4 : 4 + length]
            held = held[4 + length :]
    if held:
        raise FrameError("incomplete")
