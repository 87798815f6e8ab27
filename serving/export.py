"""Bring a recipe's finished model into the form that a server wants, with proof.

python -m serving.export RECIPE gguf|fp8|w4|awq [--quant q8_0|q4_k_m]

Writes outputs/<recipe>/v<N>/export/<format>/ aside, proves it (serving.verify), asks it
(serving.asked) and only then puts it in its place, with export.json: hashes, sizes, versions, what
was proven and what was answered. A GGUF export is two files, model.gguf and mmproj.gguf.
"""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

from common.errors import command
from common.files import ROOT, only_writer, read_text, sha256_of, shown, write_json, written_aside
from common.options import parser_of
from common.processes import end_with_parent, git_state
from common.recipes import Recipe, find
from common.servers import Served, kind_here, serving
from common.weights import Weights
from serving.llama_cpp import BINARIES
from serving.proof import EYES_FILE, TEXT_FILE, ExportError, is_gguf
from serving.ready import (
    EXPORT_PYTHON,
    form_of,
    proven_model,
    require_room,
    require_shape,
    require_tools,
)
from serving.verify import verify

EMBEDDINGS = "language_model.model.embed_tokens.weight"
TOOLS = {"gguf": ("llama-cpp-python", "train"), "packed": ("export",)}


def export(recipe: Recipe, form: str) -> dict:
    """Check everything, then `write`; what export.json holds. Raises AetherError, and then an
    earlier export stands as it was.
    """
    require_tools(form)
    model, identity = proven_model(recipe)
    out = recipe.output / "export" / form
    require_shape(model, form)
    require_room(model, out, form)
    rows = ROOT / recipe.data["rows"]["path"] / "val.jsonl"
    if form == "awq" and not rows.exists():
        raise ExportError(f"{shown(rows)}: no rows to calibrate on; run make data")
    return write(model, out, form, rows, {"recipe": recipe.id, "format": form, "model": identity})


def write(model: Path, out: Path, form: str, rows: Path, about: dict) -> dict:
    """Make an export aside, prove it, ask it, put it in its place; what export.json holds: `about`
    and what was found. Raises AetherError.
    """
    started = time.monotonic()
    with only_writer(out, "being exported"), written_aside(out) as aside:
        if is_gguf(form):
            to_gguf(model, aside, form)
        else:
            words = [str(rows)] if form == "awq" else []
            _run(EXPORT_PYTHON, "-m", "serving.quantise", model, aside, form, *words)
        made = time.monotonic() - started
        proof = verify(model, aside, form)
        if proof.wrong:
            raise ExportError(
                f"the export is not proven: {proof.wrong[0]} ({len(proof.wrong)} in all)"
            )
        print(f"proven: {proof}", flush=True)
        figures = {"equal": proof.equal, "within": proof.within, "relative": proof.relative}
        record = {
            **about,
            "merged": _files(model, "*.safetensors"),
            "files": _files(aside, "*"),
            "tools": _tools(form),
            **git_state(),
            "proof": figures | {"stored": proof.stored},
            "asked": _asked(model, aside, rows, out.with_suffix(".log")),
            "seconds_to_make": round(made, 1),
            "seconds": round(time.monotonic() - started, 1),
        }
        write_json(aside / "export.json", record)
    return record


def to_gguf(model: Path, out: Path, form: str) -> None:
    """Convert text model and eyes in the type that the checkpoint has, the text model in Q8_0 or
    quantised afterwards where the format says so.
    """
    kind = "bf16" if Weights(model).shape_and_type(EMBEDDINGS)[1] == "BF16" else "f32"
    text = "q8_0" if form == "gguf-q8_0" else kind
    whole = out / ("whole.gguf" if form == "gguf-q4_k_m" else TEXT_FILE)
    convert = (sys.executable, "-m", "serving.convert", model)
    _run(*convert, whole, "--outtype", text)
    _run(*convert, out / EYES_FILE, "--outtype", kind, "--mmproj")
    if form == "gguf-q4_k_m":
        _run(BINARIES / "llama-quantize", whole, out / TEXT_FILE, "Q4_K_M")
        whole.unlink()


def _run(*words: object) -> None:
    """Run a tool; what it says is shown only where it fails. Raises ExportError."""
    told = [str(word) for word in words]
    print(f"$ {' '.join(told).replace(f'{ROOT}/', '')}", flush=True)
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        told,
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        errors="replace",
        preexec_fn=end_with_parent,
    )
    if done.returncode:
        lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        print("\n".join(lines[-30:]), file=sys.stderr)
        raise ExportError(f"{Path(told[0]).name} ended with code {done.returncode}; see above")


def _files(folder: Path, pattern: str) -> dict[str, dict]:
    """{name: its hash and its size in bytes} of the files of a folder."""
    return {
        path.name: {"sha256": sha256_of(path), "bytes": path.stat().st_size}
        for path in sorted(folder.glob(pattern))
    }


def _tools(form: str) -> dict[str, str]:
    """The pinned versions of what made an export."""
    names = "llama-cpp-python|llmcompressor|compressed-tensors|torch|transformers"
    found: dict[str, str] = {}
    for lock in TOOLS["gguf" if is_gguf(form) else "packed"]:
        text = read_text(ROOT / "locks" / f"{lock}.lock")
        found |= dict(re.findall(rf"^({names})==([^\s;]+)", text, re.MULTILINE))
    return found


def _asked(model: Path, exported: Path, rows: Path, log: Path) -> dict | str:
    """What serving.asked found, or why nothing was asked."""
    if not rows.exists():
        return "not asked: no rows of the recipe's data are here"
    if not list(exported.glob("*.gguf")) and kind_here() != "vllm":
        return "not asked: vLLM is not here"
    from serving import asked  # imports torch and transformers

    with serving(Served(str(exported)), log) as endpoint:
        return asked.compare(model, endpoint, asked.questions(rows))


def main() -> int:
    parser = parser_of(__doc__, "recipe")
    parser.add_argument("form", metavar="format")
    parser.add_argument("--quant")
    options = parser.parse_args()
    os.chdir(ROOT)
    form = form_of(options.form, options.quant)
    recipe = find(options.recipe)
    record = export(recipe, form)
    size = sum(file["bytes"] for file in record["files"].values())
    print(f"asked: {record['asked']}")
    where = shown(recipe.output / "export" / form)
    print(f"exported: {where}, {size / 1e6:,.1f} MB in {record['seconds']} s")
    return 0


if __name__ == "__main__":
    sys.exit(command(main))
