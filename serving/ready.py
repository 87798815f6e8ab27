"""Everything that can be known before an export writes: the model, its proof, tools and room."""

import shutil
from pathlib import Path

from common import runs
from common.bases import files_of, model_hash
from common.facts import Shape
from common.files import ROOT, load_json, sha256_of, shown
from common.recipes import Recipe
from common.servers import has_gpu, merged_of
from serving.llama_cpp import BINARIES, SOURCE
from serving.proof import FORMATS, ExportError, is_gguf

W4_GROUP = 128
GGUF_VISION_LAYERS = 3
EXPORT_PYTHON = ROOT / ".venvs" / "export" / "bin" / "python"
# Bytes that are written while a format is made, over those of the merged weights: Q4_K_M is made
# from a GGUF file of the whole.
ROOM = {"gguf": 1.1, "gguf-q8_0": 0.7, "gguf-q4_k_m": 1.5, "fp8": 0.7, "w4": 0.5, "awq": 0.5}


def form_of(form: str, quant: str | None) -> str:
    """The name of a format from FORMAT= and QUANT=. Raises ExportError with those."""
    name = f"{form}-{quant}" if quant else form
    if name not in FORMATS:
        raise ExportError(
            f"FORMAT={form}{f' QUANT={quant}' if quant else ''}: no such format; FORMAT= one of "
            "gguf, fp8, w4, awq, and for gguf QUANT= one of q8_0, q4_k_m"
        )
    return name


def proven_model(recipe: Recipe) -> tuple[Path, str]:
    """(folder, hash) of a recipe's finished model, merged first where it is not.

    Raises ExportError for one that is not what was proven or sealed, and as `merged_of`.
    """
    runs.require_same(recipe, runs.finished(recipe))
    folder = Path(merged_of(recipe).where)
    if recipe.data.get("adapter"):
        wrong = runs.wrong_merge(recipe.output)
        if wrong:
            again = f"run make merge RECIPE={recipe.id}"
            raise ExportError(f"{shown(folder)}: {wrong}; {again}")
        return folder, load_json(folder / runs.MERGE_PROOF)["model"]  # compared just now
    _require_seal(folder)
    return folder, model_hash(folder)


def _require_seal(folder: Path) -> None:
    sealed = load_json(folder / "sealed.json")["files"]
    for path in files_of(folder):
        if path.name not in sealed or sealed[path.name][1] != sha256_of(path):
            raise ExportError(f"{shown(path)}: not as the training sealed it; train again")


def require_tools(form: str) -> None:
    """Raise ExportError where what makes a format is not here."""
    if is_gguf(form):
        if not SOURCE.is_dir() or not (BINARIES / "llama-quantize").exists():
            raise ExportError("llama.cpp is not built here; run make export, which builds it")
        return
    if form == "awq" and not has_gpu():
        raise ExportError(
            "FORMAT=awq runs the whole model on calibration rows and needs a GPU, and none is "
            "here; FORMAT=w4 has 4 bits too and needs none"
        )
    if not EXPORT_PYTHON.exists():
        raise ExportError(f"{shown(EXPORT_PYTHON)}: not here; run make export, which installs it")


def require_shape(folder: Path, form: str) -> None:
    """Raise ExportError for a model that a format has no room for: the first tiny one is too small
    for W4's groups and for llama.cpp's tower.
    """
    shape = Shape.from_config(load_json(folder / "config.json"))
    odd = [name for name, (inputs, _) in shape.linears.items() if inputs % W4_GROUP]
    if form == "w4" and odd:
        raise ExportError(
            f"{shown(folder)}: w4 cuts rows into groups of {W4_GROUP}, and those of {odd[0]} do "
            "not divide; take FORMAT=fp8"
        )
    if is_gguf(form) and shape.vision_layers < GGUF_VISION_LAYERS:
        raise ExportError(
            f"{shown(folder)}: llama.cpp's converter needs {GGUF_VISION_LAYERS} vision layers, "
            f"there are {shape.vision_layers}; take FORMAT=fp8"
        )


def require_room(folder: Path, out: Path, form: str) -> None:
    """Raise ExportError where the disk has no room for a format of a model."""
    weights = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    wanted = int(weights * ROOM[form])
    above = next(parent for parent in out.parents if parent.exists())
    free = shutil.disk_usage(above).free
    if free < wanted:
        raise ExportError(
            f"{shown(out)}: {form} needs {wanted / 1e9:.1f} GB while it is made, "
            f"{free / 1e9:.1f} GB are free; make room"
        )
