from contextlib import aclosing


class FrameError(Exception):
    pass


async def frames(chunks, limit):
    held = bytearray()
    async with aclosing(chunks):
        async for chunk in chunks:
            held += chunk
            while len(held) >= 4:
                length = int.from_bytes(held[:4], "big")
                if length > limit:
                    raise FrameError(f"a frame of {length} bytes, at most {limit} are allowed")
                if len(held) < 4 + length:
                    break
                body = bytes(held[4 : 4 + length])
                del held[: 4 + length]
                yield body
        if held:
            raise FrameError(f"the stream ends inside a frame: {len(held)} bytes are left")
