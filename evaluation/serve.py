"""Serve a recipe's merged model behind an OpenAI-compatible endpoint: python -m evaluation.serve RECIPE [--base] [--port 8000]

vLLM where it is installed (on the PATH or in .venvs/serve), else `transformers serve` of .venvs/train. Replies come whole: the reasoning and
the final response stand in the text, with the model's own markers.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from common import bases, hub
from common.facts import SPECIAL_TOKENS
from common.files import ROOT
from common.recipes import Recipe, RecipeError, find

START_MINUTES = 20  # vLLM reads 30 GB and compiles


class ServeError(RuntimeError):
    """A server that did not start; the text names its log."""


@dataclass(frozen=True)
class Endpoint:
    """An OpenAI-compatible server: `url` ends in /v1. `kind`: vllm | cuda | cpu (both transformers) | given."""

    url: str
    model: str
    kind: str
    concurrency: int = 64
    key_variable: str = "ENDPOINT_API_KEY"

    def extra(self, sampling: dict) -> dict | None:
        """What a request must say beyond OpenAI's fields: transformers serve decodes greedily, whatever the temperature, unless told."""
        if self.kind not in ("cpu", "cuda"):
            return None
        ids = {
            "bos_token_id": SPECIAL_TOKENS["<s>"],
            "eos_token_id": SPECIAL_TOKENS["</s>"],
            "pad_token_id": SPECIAL_TOKENS["<pad>"],
        }
        return {
            "generation_config": json.dumps(
                ids | {"do_sample": True, "temperature": sampling["temperature"]}
            )
        }


def merged_of(recipe: Recipe, base: str | None = None) -> Path:
    """The folder of the recipe's finished model, merged first where it is not, into `base` if given. Raises RecipeError."""
    trained = ROOT / "outputs" / recipe.id
    folder = trained / "merged" if yaml.safe_load(recipe.text).get("adapter") else trained
    if (
        folder != trained
        and not (folder / "config.json").exists()
        and (trained / "adapter_model.safetensors").exists()
    ):
        words = ["-m", "training.merge", str(recipe.path), *(["--base", base] if base else [])]
        if subprocess.run(
            [ROOT / ".venvs" / "train" / "bin" / "python", *words], cwd=ROOT
        ).returncode:
            raise RecipeError(f"{folder.relative_to(ROOT)}: not merged; nothing was asked")
    if not (folder / "config.json").exists():
        raise RecipeError(
            f"{folder.relative_to(ROOT)}: no model there; run make train RECIPE={recipe.id}"
        )
    return folder


def base_of(recipe: Recipe, override: str | None) -> tuple[str, str | None]:
    """(folder or hub id of the base, its pinned revision). Raises RecipeError."""
    base = bases.base_of(recipe, override)
    if base.missing:
        raise RecipeError(base.missing)
    return str(base.folder or base.name), base.revision


def command(model: str, revision: str | None, port: int) -> tuple[list[str], str]:
    """(command line of the server, kind of endpoint) on this machine. Raises ServeError where there is none."""
    vllm = shutil.which("vllm") or shutil.which(ROOT / ".venvs" / "serve" / "bin" / "vllm")
    if vllm:
        pinned = ["--revision", revision, "--tokenizer-revision", revision] if revision else []
        return [
            vllm,
            "serve",
            model,
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
            "--seed",
            "0",
            *pinned,
        ], "vllm"
    transformers = ROOT / ".venvs" / "train" / "bin" / "transformers"
    if not transformers.exists():
        raise ServeError(
            "no server here: neither vllm (PATH, .venvs/serve) nor .venvs/train/bin/transformers; run make setup"
        )
    kind = (
        "cuda"
        if shutil.which("nvidia-smi")
        and subprocess.run(["nvidia-smi", "-L"], capture_output=True).stdout
        else "cpu"
    )
    name = f"{model}@{revision}" if revision else model
    return [
        str(transformers),
        "serve",
        name,
        "--device",
        kind,
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ], kind


@contextlib.contextmanager
def serving(model: str, revision: str | None, log: Path, port: int = 0) -> Iterator[Endpoint]:
    """A server of `model` for as long as the block runs; what it says goes to `log`. Raises ServeError."""
    port = port or free_port()
    words, kind = command(model, revision, port)
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
    }
    environment |= {} if revision else {"HF_HUB_OFFLINE": "1"}
    if (
        kind == "cpu"
    ):  # what a CPU can serve is too small for threads, which wait for each other where other work runs
        environment = {"OMP_NUM_THREADS": "1"} | environment
    with log.open("wb") as file:
        process = subprocess.Popen(
            words, stdout=file, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=environment, start_new_session=True,
            preexec_fn=_die_with_parent,
        )  # fmt: skip
    try:
        _wait(process, port, log)
        yield Endpoint(f"http://127.0.0.1:{port}/v1", model, kind)
        if process.poll() is not None:
            raise ServeError(f"the server ended by itself with code {process.returncode}: {log}")
    finally:
        _stop(process)


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(
        1, signal.SIGTERM
    )  # PR_SET_PDEATHSIG: also when we are killed and cannot clean up


def _wait(process: subprocess.Popen, port: int, log: Path) -> None:
    deadline = time.monotonic() + START_MINUTES * 60
    while time.monotonic() < deadline:
        if process.poll() is not None:
            last = next(
                (
                    line
                    for line in reversed(log.read_text(errors="replace").splitlines())
                    if line.strip()
                ),
                "it said nothing",
            )
            raise ServeError(
                f"the server ended with code {process.returncode} before it was ready: {last.strip()[:200]} ({log})"
            )
        with (
            contextlib.suppress(OSError),
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5),
        ):
            return
        time.sleep(0.2)
    raise ServeError(f"the server was not ready after {START_MINUTES} minutes: {log}")


def _stop(process: subprocess.Popen) -> None:
    """End the whole process group: the server and the workers it started."""
    for sign, seconds in ((signal.SIGTERM, 15), (signal.SIGKILL, 15)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, sign)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
            if sign == signal.SIGKILL:
                return


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def given(
    url: str, model: str, key_variable: str = "ENDPOINT_API_KEY", concurrency: int = 64
) -> Endpoint:
    """An endpoint that already runs, checked to be one and to know the model. Raises ServeError."""
    url = url.rstrip("/") if url.rstrip("/").endswith("/v1") else f"{url.rstrip('/')}/v1"
    request = urllib.request.Request(
        f"{url}/models", headers={"Authorization": f"Bearer {os.environ.get(key_variable, 'none')}"}
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            known = [entry["id"] for entry in json.load(answer)["data"]]
    except urllib.error.HTTPError as error:
        if error.code < 500:
            raise ServeError(
                f"{url}/models: HTTP {error.code}; is it OpenAI-compatible, and is {key_variable} set?"
            ) from None
        known = [model]  # transformers serve fails here without a hub cache
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ServeError(
            f"{url}/models: {error}; give the address of an OpenAI-compatible server that runs"
        ) from None
    if model not in known:
        raise ServeError(f"{url} serves no {model!r}; it has {', '.join(known[:10]) or 'no model'}")
    return Endpoint(url, model, "given", concurrency, key_variable)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m evaluation.serve", description=__doc__.splitlines()[0]
    )
    parser.add_argument("recipe")
    parser.add_argument("--base", action="store_true", help="serve the recipe's base instead")
    parser.add_argument("--port", type=int, default=8000)
    options = parser.parse_args()
    try:
        recipe = find(options.recipe)
        model, revision = base_of(recipe, None) if options.base else (str(merged_of(recipe)), None)
        log = ROOT / "outputs" / recipe.id / "serve.log"
        with (
            serving(model, revision, log, options.port) as endpoint,
            contextlib.suppress(KeyboardInterrupt),
        ):
            print(
                f"{recipe.id} at {endpoint.url} ({endpoint.kind}); its log is {log.relative_to(ROOT)}; Ctrl-C ends it. For instance:"
            )
            said = json.dumps(
                {
                    "model": endpoint.model,
                    "messages": [{"role": "user", "content": "Why async?"}],
                    "max_tokens": 300,
                }
            )
            print(
                f"  curl {endpoint.url}/chat/completions -H 'content-type: application/json' -d '{said}'",
                flush=True,
            )
            signal.pause()
    except (RecipeError, hub.HubError, ServeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
