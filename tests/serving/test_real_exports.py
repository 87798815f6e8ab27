"""Every export for real, on the tiny model with random weights: made, proven and asked."""

import json
import os
import sys

import pytest
from conftest import some_rows, write_dataset

from common import facts
from common.errors import command
from serving import export, verify
from serving.proof import FORMATS, is_gguf

pytestmark = pytest.mark.skipif(
    not os.environ.get("EXPORT_TEST"),
    reason="make export-test: it builds llama.cpp and installs 5 GB of llm-compressor",
)
MADE = [form for form in FORMATS if form != "awq"]  # which wants a GPU


@pytest.fixture(scope="module")
def merged(tmp_path_factory):
    """(the model, a file of rows): half of the questions have pictures."""
    from training import tiny_base

    folder = tmp_path_factory.mktemp("real")
    data = write_dataset(folder / "data", some_rows(folder / "data", 24))
    tiny_base.write(folder / "merged", data, shape=facts.TINY_V2)
    return folder / "merged", data / "train.jsonl"


@pytest.mark.parametrize("form", MADE)
def test_an_export_is_made_proven_and_asked(merged, tmp_path, form, capsys, monkeypatch):
    model, rows = merged
    out = tmp_path / "export" / form
    record = export.write(model, out, form, rows, {"format": form})
    assert record == json.loads((out / "export.json").read_text())
    assert set(record["files"]) | {"export.json"} == {path.name for path in out.iterdir()}
    words = ["verify", "--merged", str(model), "--exported", str(out)]
    monkeypatch.setattr(sys, "argv", words)
    assert command(verify.main) == 0 and f"proven: {form}: " in capsys.readouterr().out
    with capsys.disabled():
        size = sum(file["bytes"] for file in record["files"].values())
        print(f"\n{form}: {size:,} bytes, {record['seconds_to_make']} s; {record['asked']}")
    if form == "gguf":
        asked = record["asked"]
        assert asked["questions"] == {"with_pictures": 8, "without": 16}
        assert asked["prompts_of_equal_length"] == 24
        # llama.cpp keeps keys and values in 16 bits: of random weights it may decide a tie otherwise.
        assert all(parted["gap"] < 0.05 for parted in asked["differences"])
    elif is_gguf(form):
        assert record["proof"]["stored"] and record["asked"]["tokens"]
