"""Servers of models behind OpenAI's chat completions: one started here for as long as it is needed,
or one that runs.

vLLM where it is installed (on the PATH or in .venvs/serve), else `transformers serve` of
.venvs/train; llama.cpp's server for a folder of GGUF files. Replies come whole, unless a model's
folder or flags say otherwise: the reasoning and the final response stand in the text, with the
model's own markers.
"""

import contextlib
import functools
import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from common.bases import base_of
from common.errors import AetherError
from common.facts import LONGEST_EDGE, PATCH, SPECIAL_TOKENS
from common.files import ROOT, load_json
from common.memory import CONTEXT
from common.processes import end_with_parent
from common.recipes import Recipe, RecipeError

START_MINUTES = 20  # vLLM reads 30 GB and compiles
STOP_SECONDS = 15
ENVIRONMENTS = ROOT / ".venvs"
TRANSFORMERS = ENVIRONMENTS / "train" / "bin" / "transformers"
LLAMA = ENVIRONMENTS / "llama" / "build" / "bin" / "llama-server"
PICTURE_TOKENS = (LONGEST_EDGE // PATCH) ** 2  # llama.cpp would stop at 1,024
LOOPBACK = "127.0.0.1"
KEY = "ENDPOINT_API_KEY"  # the environment variable with the key of a server and of its clients


class ServeError(AetherError):
    """A server that did not start or cannot be reached; the text names its log or its address."""


@dataclass(frozen=True)
class Endpoint:
    """An OpenAI-compatible server.

    Args:
        url: Ends in /v1.
        model: The model's id there.
        kind: vllm | llama | cuda | cpu (both transformers) | given.
        concurrency: How many requests it should get at once.
        key_variable: The environment variable with its key.
    """

    url: str
    model: str
    kind: str
    concurrency: int = 64
    key_variable: str = KEY

    @property
    def key(self) -> str:
        """Its key; "none" where the environment holds none."""
        return os.environ.get(self.key_variable) or "none"

    def extra(self, sampling: dict, tools: Sequence[dict] = ()) -> dict | None:
        """What a request must hold beyond texts and sampling, None for nothing.

        transformers serve decodes greedily, whatever the temperature, unless it is told otherwise.
        vLLM refuses tools without a parser of calls, unless none is to be parsed; the model's
        template shows them all the same.
        """
        offered: dict = {"tools": list(tools)} if tools else {}
        if self.kind not in ("cpu", "cuda"):
            if tools and self.kind == "vllm":
                offered["tool_choice"] = "none"
            return offered or None
        config = {
            "bos_token_id": SPECIAL_TOKENS["<s>"],
            "eos_token_id": SPECIAL_TOKENS["</s>"],
            "pad_token_id": SPECIAL_TOKENS["<pad>"],
            "do_sample": True,
            "temperature": sampling["temperature"],
        }
        return offered | {"generation_config": json.dumps(config)}


@dataclass(frozen=True)
class Served:
    """A model that can be served.

    Args:
        where: A local folder, or a hub id with its pinned revision.
        id: Its name at the server; `where` without one, and at transformers always.
        flags: Further ones of its server, for vLLM and llama.cpp.
    """

    where: str
    revision: str | None = None
    id: str = ""
    flags: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """As a report should show it: no folder above the repository."""
        if self.revision:
            return self.where
        path = Path(self.where)
        return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else path.name


def whole_of(recipe: Recipe, run: Path) -> Path:
    """Where the whole model of a recipe's run lies: merged, or as it was trained."""
    return run / "merged" if recipe.data.get("adapter") else run


def merged_of(recipe: Recipe, base: str | None = None, root: Path = ROOT) -> Served:
    """The recipe's finished model, merged first where it is not, into `base` if given. Raises
    RecipeError.
    """
    trained = root / "outputs" / recipe.id
    folder = whole_of(recipe, trained)
    adapter = trained / "adapter_model.safetensors"
    if folder != trained and not (folder / "config.json").exists() and adapter.exists():
        python = root / ".venvs" / "train" / "bin" / "python"
        words = [str(python), "-m", "training.merge", str(recipe.path)]
        if base:
            words += ["--base", base]
        if subprocess.run(words, cwd=root).returncode:
            raise RecipeError(f"{folder.relative_to(root)}: not merged; nothing was asked")
    if not (folder / "config.json").exists():
        raise RecipeError(
            f"{folder.relative_to(root)}: no model there; run make train RECIPE={recipe.id}"
        )
    return Served(str(folder))


def served_base(recipe: Recipe, override: str | None) -> Served:
    """The base of a recipe, or the folder `override` in its place. Raises RecipeError."""
    base = base_of(recipe, override)
    if base.missing:
        raise RecipeError(base.missing)
    return Served(str(base.folder or base.name), base.revision)


def kind_here() -> str:
    """The kind of server that this machine would start: vllm | cuda | cpu. Raises ServeError where
    there is none.
    """
    if _vllm():
        return "vllm"
    if not TRANSFORMERS.exists():
        raise ServeError(
            "no server here: neither vllm (PATH, .venvs/serve) nor .venvs/train/bin/transformers; "
            "run make setup"
        )
    return "cuda" if has_gpu() else "cpu"


def has_gpu() -> bool:
    """Whether this machine shows an NVIDIA GPU."""
    if not shutil.which("nvidia-smi"):
        return False
    return bool(subprocess.run(["nvidia-smi", "-L"], capture_output=True).stdout)


def kind_of(model: Served) -> str:
    """The kind of server that this machine would start of a model. Raises ServeError."""
    if not gguf_of(Path(model.where)):
        return kind_here()
    if not LLAMA.exists():
        raise ServeError(f"{LLAMA}: llama.cpp is not built here; run make .venvs/llama/.built")
    return "llama"


def gguf_of(folder: Path) -> list[Path]:
    """The GGUF files of a folder: the text model, then the projector of its eyes."""
    return sorted(folder.glob("*.gguf"), key=lambda path: "mmproj" in path.name)


def _vllm() -> str | None:
    return shutil.which("vllm") or shutil.which(ENVIRONMENTS / "serve" / "bin" / "vllm")


def _command(model: Served, kind: str, host: str, port: int) -> list[str]:
    """The command line of the server. No key stands in it: every user of a machine may read it."""
    address = ["--host", host, "--port", str(port)]
    if kind == "vllm":
        words = [str(_vllm()), "serve", model.where, *address, "--seed", "0"]
        words += ["--max-model-len", str(context_of(model)), *model.flags]
        if model.id:
            words += ["--served-model-name", model.id]
        if model.revision:
            words += ["--revision", model.revision, "--tokenizer-revision", model.revision]
        return words
    if kind == "llama":
        text, *eyes = gguf_of(Path(model.where))
        words = [str(LLAMA), "--model", str(text), *address, "--alias", model.id or model.where]
        words += ["--no-ui", "--ctx-size", str(CONTEXT), "--image-max-tokens", str(PICTURE_TOKENS)]
        words += ["--image-min-tokens", "1"]  # as transformers: it would enlarge a small picture
        for path in eyes:
            words += ["--mmproj", str(path)]
        return [*words, *model.flags]
    name = f"{model.where}@{model.revision}" if model.revision else model.where
    return [str(TRANSFORMERS), "serve", name, "--device", kind, *address]


def context_of(model: Served) -> int:
    """Tokens of the longest conversation: those that fit the card in mind, or all the model has."""
    config = Path(model.where) / "config.json"
    if not config.is_file():
        return CONTEXT
    text = load_json(config).get("text_config", {})
    return min(CONTEXT, text.get("max_position_embeddings", CONTEXT))


def _environment(model: Served, kind: str) -> dict[str, str]:
    quiet = {"HF_HUB_DISABLE_TELEMETRY": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
    environment = os.environ | quiet
    if os.environ.get(KEY):
        environment |= {"VLLM_API_KEY": os.environ[KEY], "LLAMA_API_KEY": os.environ[KEY]}
    if not model.revision:
        environment["HF_HUB_OFFLINE"] = "1"
    if kind == "cpu":
        # What a CPU can serve is too small for threads, which wait for each other where other work
        # runs.
        environment.setdefault("OMP_NUM_THREADS", "1")
    return environment


@contextlib.contextmanager
def serving(model: Served, log: Path, port: int = 0, host: str = LOOPBACK) -> Iterator[Endpoint]:
    """A server of `model` for as long as the block runs; what it says goes to `log`.

    It is reached from this machine alone unless `host` says otherwise. Raises ServeError.
    """
    port = port or free_port()
    near = LOOPBACK if host == "0.0.0.0" else host
    require_free(near, port)
    kind = kind_of(model)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as file:
        process = subprocess.Popen(
            _command(model, kind, host, port),
            stdout=file,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=_environment(model, kind),
            start_new_session=True,
            preexec_fn=functools.partial(end_with_parent, signal.SIGTERM),
        )
    try:
        _wait(process, f"http://{near}:{port}", log)
        name = model.id if model.id and kind in ("vllm", "llama") else model.where
        yield Endpoint(f"http://{near}:{port}/v1", name, kind)
        if process.poll() is not None:
            raise ServeError(f"the server ended by itself with code {process.returncode}: {log}")
    finally:
        _stop(process)


def require_free(host: str, port: int) -> None:
    """Raise ServeError where something listens already: its health would be taken for ours."""
    with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=5):
        raise ServeError(f"port {port} is taken by another program; stop it, or give PORT=")


def _wait(process: subprocess.Popen, url: str, log: Path) -> None:
    deadline = time.monotonic() + START_MINUTES * 60
    while time.monotonic() < deadline:
        if process.poll() is not None:
            lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
            last = lines[-1].strip()[:200] if lines else "it said nothing"
            code = process.returncode
            raise ServeError(
                f"the server ended with code {code} before it was ready: {last} ({log})"
            )
        with (
            contextlib.suppress(OSError),
            urllib.request.urlopen(f"{url}/health", timeout=5),
        ):
            return
        time.sleep(0.2)
    raise ServeError(f"the server was not ready after {START_MINUTES} minutes: {log}")


def _stop(process: subprocess.Popen) -> None:
    """End the whole process group: the server and the workers it started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)


def free_port() -> int:
    """A port of this machine that nothing listens on."""
    with socket.socket() as found:
        found.bind((LOOPBACK, 0))
        return found.getsockname()[1]


def given(url: str, model: str, key_variable: str = KEY, concurrency: int = 64) -> Endpoint:
    """An endpoint that already runs, checked to be one and to know the model. Raises ServeError."""
    if not model:
        raise ServeError("ENDPOINT= also needs MODEL=, the id of the model there")
    url = url.rstrip("/").removesuffix("/v1") + "/v1"
    endpoint = Endpoint(url, model, "given", concurrency, key_variable)
    headers = {"Authorization": f"Bearer {endpoint.key}"}
    request = urllib.request.Request(f"{url}/models", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            known = [entry["id"] for entry in json.load(answer)["data"]]
    except urllib.error.HTTPError as error:
        if error.code < 500:
            raise ServeError(
                f"{url}/models: HTTP {error.code}; is it OpenAI-compatible, "
                f"and is {key_variable} set?"
            ) from None
        known = [model]  # transformers serve fails here without a hub cache
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ServeError(
            f"{url}/models: {error}; give the address of an OpenAI-compatible server that runs"
        ) from None
    if model not in known:
        raise ServeError(f"{url} serves no {model!r}; it has {', '.join(known[:10]) or 'no model'}")
    return endpoint
