"""Bring llama.cpp here: .venvs/llama/bin/python -m serving.llama_cpp fetch|build

The source is the sdist that locks/llama-cpp-python.lock pins by hash: it carries llama.cpp whole,
with its converter. What is built is the server, which reads pictures too, and the quantiser.
"""

import os
import shutil
import subprocess
import sys
import tarfile
import time
from pathlib import Path

from common.errors import AetherError, command
from common.options import parser_of

HOME = (Path(__file__).parents[1] / ".venvs" / "llama").resolve()
SOURCE = HOME / "llama.cpp"  # convert_hf_to_gguf.py, conversion/, gguf-py/
BINARIES = HOME / "build" / "bin"
LOCK = "locks/llama-cpp-python.lock"
TARGETS = ("llama-server", "llama-quantize")
# Not tuned to this processor: the folder may be carried to another machine. No web page.
OPTIONS = (
    "-DCMAKE_BUILD_TYPE=Release",
    "-DGGML_NATIVE=OFF",
    "-DLLAMA_CURL=OFF",
    "-DLLAMA_OPENSSL=OFF",
    "-DLLAMA_BUILD_TESTS=OFF",
    "-DLLAMA_BUILD_EXAMPLES=OFF",
    "-DLLAMA_USE_PREBUILT_UI=OFF",
)
SAID_EVERY = 20  # steps of the build


class BuildError(AetherError):
    """llama.cpp cannot be fetched or built here."""


def fetch() -> None:
    """Download the sdist, its hash checked, and unpack its llama.cpp to SOURCE."""
    words = [
        ".venvs/uv/bin/pip",
        "--python",
        ".venvs/llama/bin/python",
        "download",
        "--quiet",
        "--no-deps",
    ]
    words += ["--no-build-isolation", "--no-binary", ":all:", "--require-hashes", "-r"]
    if subprocess.run([*words, LOCK, "-d", str(HOME)]).returncode:
        raise BuildError(f"{LOCK}: its package cannot be downloaded; mend the network")
    [archive] = HOME.glob("llama_cpp_python-*.tar.gz")
    inside = Path(archive.name.removesuffix(".tar.gz")) / "vendor" / "llama.cpp"
    aside = HOME / "unpacked"
    shutil.rmtree(aside, ignore_errors=True)
    shutil.rmtree(SOURCE, ignore_errors=True)
    with tarfile.open(archive) as file:
        file.extractall(aside, filter="data")
    (aside / inside).rename(SOURCE)
    shutil.rmtree(aside)
    archive.unlink()


def build() -> None:
    """Configure and compile, with a line of progress now and then. Raises BuildError."""
    if not shutil.which("c++"):
        raise BuildError("no C++ compiler here (c++); install g++, for instance apt install g++")
    tools = HOME / "bin"
    folder = HOME / "build"
    configure = [f"{tools}/cmake", "-S", str(SOURCE), "-B", str(folder), "-G", "Ninja", *OPTIONS]
    path = {"PATH": f"{tools}:{os.environ['PATH']}", "NINJA_STATUS": "[%f/%t] "}
    log = HOME / "build.log"
    with log.open("w") as file:
        environment = os.environ | path
        if subprocess.run(configure, env=environment, stdout=file, stderr=file).returncode:
            raise BuildError(f"llama.cpp cannot be configured: {log}")
        words = [f"{tools}/ninja", "-C", str(folder), *TARGETS]
        process = subprocess.Popen(
            words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        started = time.monotonic()
        assert process.stdout is not None
        for line in process.stdout:
            file.write(line)
            done, slash, rest = line.removeprefix("[").partition("/")
            if slash and done.isdigit() and int(done) % SAID_EVERY == 0:
                seconds = time.monotonic() - started
                print(
                    f"llama.cpp: {done} of {rest.split(']')[0]} steps, {seconds:.0f} s", flush=True
                )
    if process.wait():
        raise BuildError(f"llama.cpp cannot be built; the last lines of {log} say why")


def main() -> int:
    parser = parser_of(__doc__)
    parser.add_argument("what", choices=("fetch", "build"))
    if parser.parse_args().what == "fetch":
        fetch()
    else:
        build()
    return 0


if __name__ == "__main__":
    sys.exit(command(main))
