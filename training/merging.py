"""An adapter added to the weights of its base, with both proofs."""

from pathlib import Path

from safetensors.torch import save_file

from common import runs
from common.bases import model_hash
from common.files import only_writer, sha256_of, write_json, written_aside
from training.adapter import MergeError, load_adapter
from training.same_logits import compare, rows_of
from training.verify_merge import verify
from training.weights import Checkpoint, copy_beside, places


def merge(base_folder: Path, adapter_folder: Path, out: Path, data: Path | None = None) -> str:
    """Merge into `out`, prove it, and say what was proven. `data` is a file of rows that both
    models read.

    Raises MergeError, and FileError while another merge writes there; then `out` stays as it was.
    """
    adapter = load_adapter(adapter_folder)
    base = Checkpoint(base_folder)
    name_of = places(base, adapter)
    with only_writer(out, "being merged"), written_aside(out) as aside:
        copy_beside(base_folder, aside)
        for file, keys in base.shards():
            tensors = {}
            for key in keys:
                tensor = base[key]
                if key in name_of:
                    delta = adapter.targets[name_of[key]].delta()
                    tensor = (tensor.float() + delta).to(tensor.dtype)
                tensors[key] = tensor.contiguous()
            save_file(tensors, aside / file, metadata=base.metadata(file))
            print(f"  {file}: {len(keys)} tensors", flush=True)
        proven = prove(base_folder, adapter_folder, aside, data)
        adapter_sha256 = sha256_of(adapter_folder / "adapter_model.safetensors")
        about = {"proven": proven, "adapter_sha256": adapter_sha256, "model": model_hash(aside)}
        write_json(aside / runs.MERGE_PROOF, about)
        return proven


def prove(base_folder: Path, adapter_folder: Path, merged: Path, data: Path | None) -> str:
    """Both proofs in a sentence. Raises MergeError when one does not hold."""
    proof = verify(base_folder, adapter_folder, merged)
    if proof.wrong:
        raise MergeError(f"the merge is not proven: {proof.wrong[0]} ({len(proof.wrong)} in all)")
    if data is None or not data.is_file():
        return f"{proof}; logits NOT compared: no rows of the recipe's data are here"
    agreement = compare(base_folder, adapter_folder, merged, rows_of(data, base_folder))
    if not agreement.holds:
        raise MergeError(f"the merge is not proven: {agreement}")
    return f"{proof}; {agreement}"
