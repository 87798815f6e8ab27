"""Watch cameras: python -m serving.watch [CAMERA ...] [--page] [--port N]

A sampler and a describer for each camera of cameras.yaml, or for those named, started again
whenever they end. It is no safety function, and writes to no controller.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path

from common.errors import command
from common.files import ROOT, only_writer
from common.options import parser_of
from common.processes import end_with_parent, exit_on_sigterm
from serving.watch import page, settings
from serving.watch.streams import Streams

PARTS = ("sampler", "describer")
AGAIN_SECONDS = 1.0


def main() -> int:
    """Watch until Ctrl-C, or until every camera was a file and has ended."""
    parser = parser_of(__doc__)
    parser.add_argument("cameras", nargs="*")
    parser.add_argument("--page", action="store_true", help="show them in the browser")
    parser.add_argument("--port", type=int, default=7870, help="of the page")
    parser.add_argument("--part", choices=PARTS, help="only that process of one camera")
    options = parser.parse_args()
    exit_on_sigterm()
    found = settings.read()
    cameras = settings.chosen(found, options.cameras)
    for name, camera in cameras.items():
        url = settings.address_in(camera.url, f"camera {name}")
        if not options.part and "://" not in url and not Path(url).exists():
            raise settings.WatchError(f"camera {name}: {camera.url}: {url}: no such file")
    found.model.endpoint()
    streams = Streams(found.keep_days)
    if options.part:
        import_module(f"serving.watch.{options.part}").run(*cameras, found, streams)
        return 0
    streams.check()
    with contextlib.ExitStack() as stack:
        for name in cameras:
            stack.enter_context(only_writer(ROOT / "outputs" / "watch" / name, "being watched"))
        if options.page:
            print(f"page: {page.show(list(cameras), streams, options.port)}")
        print(f"watching {', '.join(cameras)}; Ctrl-C ends it", flush=True)
        _keep_running(list(cameras), streams)
    return 0


def _keep_running(cameras: list[str], streams: Streams) -> None:
    """Run the processes of the cameras; a sampler that ends by itself has seen all of a file."""
    running = {(name, what): _start(name, what) for name in cameras for what in PARTS}
    try:
        while any(what == "sampler" for _, what in running) or any(map(streams.busy, cameras)):
            time.sleep(AGAIN_SECONDS)
            for (name, what), process in list(running.items()):
                code = process.poll()
                if code is None:
                    continue
                del running[name, what]
                if code or what == "describer":
                    print(f"{name}: the {what} ended with code {code}; again", file=sys.stderr)
                    running[name, what] = _start(name, what)
    finally:
        for process in running.values():
            process.kill()


def _start(name: str, what: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "serving.watch", name, "--part", what],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=end_with_parent,
    )


if __name__ == "__main__":
    sys.exit(command(main))
