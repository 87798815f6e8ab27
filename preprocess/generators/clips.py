"""mp4 files: pictures sampled from them by time, and clips encoded from pictures."""

import io
from fractions import Fraction

import av
import numpy as np
from PIL import Image

from common.facts import LONGEST_EDGE, MAX_PIXELS
from preprocess.rows import Skip


def encoded_clip(pictures: list[Image.Image], every: float) -> io.BytesIO:
    """An mp4 clip of pictures of one size with even edges, `every` (a multiple of 0.5) seconds
    apart.
    """
    width, height = pictures[0].size
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream(
            "libx264",
            Fraction(2, int(2 * every)),
            {"preset": "ultrafast", "crf": "18"},
            width=width,
            height=height,
            pix_fmt="yuv420p",
        )
        stream.codec_context.thread_count = 1  # the same bytes on any number of cores
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_image(picture)))
        container.mux(stream.encode())
    return file


def sampled(file: io.BytesIO | str, times: list[float]) -> list[Image.Image]:
    """The last picture that begins at or before each time (seconds from the clip's start), upright,
    at most 1024 pixels long.

    By timestamp, never by frame number: recordings of screens and phones have no constant rate.
    Raises Skip, av.FFmpegError.
    """
    # The format is never what a file says it is: a playlist could name other files.
    with av.open(file, format="mp4") as container:
        stream = next(iter(container.streams.video), None)
        if stream is None or not 0 < stream.width * stream.height <= MAX_PIXELS:
            raise Skip(f"no video, or frames of more than {MAX_PIXELS:,} pixels")
        return [_upright(_shown(container, stream, time)) for time in times]


def _shown(
    container: av.container.InputContainer, stream: av.VideoStream, time: float
) -> av.VideoFrame:
    """The frame that is on the screen at that time."""
    wanted = time + float((stream.start_time or 0) * stream.time_base)
    container.seek(int(wanted / stream.time_base), stream=stream)
    shown = None
    for frame in container.decode(stream):
        if shown is not None and frame.time > wanted + 1e-6:
            break
        shown = frame
    if shown is None:
        raise Skip(f"no frame at {time:.1f} s")
    return shown


def _upright(frame: av.VideoFrame) -> Image.Image:
    picture = Image.fromarray(np.ascontiguousarray(frame.to_ndarray(format="rgb24")))
    # A phone writes how it was held beside the pixels.
    picture = picture.rotate(frame.rotation, expand=True)
    picture.thumbnail((LONGEST_EDGE, LONGEST_EDGE), Image.Resampling.LANCZOS)
    return picture
