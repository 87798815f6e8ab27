"""The page beside published weights: every figure from the run's records, and a refusal without."""

import json

import pytest
from conftest import ROOT

from common.recipes import Recipe, find
from common.runs import RunError
from serving import card
from serving.card import CardError, written

RESULT = json.loads((ROOT / "recipes" / "tiny" / "v1.result.json").read_text())
DATA = "d" * 64


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    """A finished run with all its records."""
    monkeypatch.setattr(Recipe, "output", property(lambda recipe: tmp_path / "outputs" / recipe.id))
    path = tmp_path / "recipes" / "one" / "v1.yaml"
    path.parent.mkdir(parents=True)
    text = find("tiny/v1").text.replace("datasets/tiny/build", str(tmp_path / "data" / "build"))
    path.write_text(text)
    (tmp_path / "data" / "build").mkdir(parents=True)
    (tmp_path / "data" / "serving.md").write_text("Speak plainly.")
    (tmp_path / "data" / "mix.yaml").write_text("sources: [{system: [null, serving.md]}]")
    found = Recipe(path)
    identity = {"recipe_sha256": found.sha256, "data_sha256": DATA}
    write(found.output / "run.json", {
        "identity": identity, "status": "finished", "base": "outputs/tiny_base/v1", "commit": "c" * 40,
        "dirty": False, "device": "cpu", "packages": {"axolotl": "0.19.0"}, "seconds": 3600,
    })  # fmt: skip
    write(found.output / "eval" / "result.json", RESULT | identity)
    write(tmp_path / "data" / "build" / "manifest.json", {
        "dataset": "data", "data_sha256": DATA, "licence": "MIT", "rows": {"train": 1200, "val": 17},
        "origins": {"seed": 1217}, "categories": {"voice": 1217}, "tokens": 290021, "images": 3,
        "sources": {"openai/gsm8k": {"licence": "MIT", "revision": "abc"}},
    })  # fmt: skip
    write(
        found.output / "merged" / "proof.json",
        {"proven": "72 tensors as they should be", "model": "m"},
    )
    proof = {"equal": 35, "within": {"FP8": 0.5}, "relative": {}, "stored": {"FP8": 28}}
    questions = {"with_pictures": 20, "without": 20}
    asked = {
        "equal": {"with_pictures": 19, "without": 20},
        "questions": questions,
        "server": "vllm",
    }
    for form, answers in (("fp8", asked), ("w4", "not asked: vLLM is not here")):
        write(found.output / "export" / form / "export.json", {
            "format": form, "model": "m", "proof": proof, "asked": answers,
            "files": {"a": {"bytes": 16_600_000_000}}, "merged": {"a": {"bytes": 29_700_000_000}},
        })  # fmt: skip
    return found


def write(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def test_every_figure_of_the_records_stands_in_it(recipe):
    text = written(recipe)
    assert "{" not in text.replace("'{\"image\": 4}'", "")
    for words in (
        "license: mit", "qlora of rank 64, 2 epochs", "1.00 h", "commit cccccccccccc",
        "1,200 train, 17 val rows, 290,021 tokens", "| openai/gsm8k | MIT | abc |",
        "| looking | persona | signature phrase | 33 | 0.0% [0.0%, 10.4%] | 100.0% [89.6%, 100.0%]"
        " | +100.0% [+83.2%, +100.0%] |",
        "| merged | 29.7 | 72 tensors as they should be |",
        "| fp8 | 16.6 | 35 equal, 28 FP8 within their step (worst 0.500 of it) | 39 of 40 greedy",
        "| not measured: vLLM is not here |", "Speak plainly.",
        "- voice: FAIL,", "- gsm_hard: not measured,",
    ):  # fmt: skip
        assert words in text, words


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("outputs/one/v1/run.json", "one/v1 is not trained here; run make train RECIPE=one/v1"),
        ("outputs/one/v1/eval/result.json", "not evaluated; run make eval RECIPE=one/v1"),
        ("data/build/manifest.json", "the data is not built here; run make data"),
    ],
)
def test_a_record_that_is_missing_stops_it(recipe, tmp_path, path, problem):
    (tmp_path / path).unlink()
    with pytest.raises((CardError, RunError), match=problem):
        written(recipe)


def edit(path, **changes):
    write(path, json.loads(path.read_text()) | changes)


def test_records_of_another_run_are_refused(recipe, tmp_path):
    edit(recipe.output / "export" / "fp8" / "export.json", model="other")
    with pytest.raises(CardError, match="fp8/export.json: made from another model"):
        written(recipe)
    edit(tmp_path / "data" / "build" / "manifest.json", data_sha256="e" * 64)
    with pytest.raises(CardError, match="not the data of this run"):
        written(recipe)
    edit(recipe.output / "eval" / "result.json", data_sha256="e" * 64)
    with pytest.raises(CardError, match="data_sha256 is that of another run"):
        written(recipe)


def test_without_exports_or_proof_it_says_so_and_publishing_is_only_printed(
    recipe, monkeypatch, capsys
):
    for path in recipe.output.glob("export/*/export.json"):
        path.unlink()
    (recipe.output / "merged" / "proof.json").unlink()
    monkeypatch.setattr("sys.argv", ["card", str(recipe.path)])
    assert card.main() == 0
    text = (recipe.output / "card" / "README.md").read_text()
    assert "| merged | not measured | no proof on record |" in text
    said = capsys.readouterr().out
    assert "Nothing was published" in said and said.count("hf upload") == 2


def test_a_model_that_was_trained_whole_lies_in_its_run_and_is_published_without_it(
    recipe, capsys, monkeypatch
):
    lines = [line for line in recipe.text.splitlines() if not line.startswith("adapter:")]
    recipe.path.write_text("\n".join(lines) + "\n")
    whole = Recipe(recipe.path)
    for path in ("run.json", "eval/result.json"):
        record = json.loads((whole.output / path).read_text())
        identity = {"recipe_sha256": whole.sha256, "data_sha256": DATA}
        write(whole.output / path, record | identity | {"identity": identity})
    write(whole.output / "proof.json", {"proven": "39 trained tensors moved", "model": "m"})
    write(whole.output / "config.json", {})
    (whole.output / "model.safetensors").touch()
    (whole.output / "checkpoint-2").mkdir()
    monkeypatch.setattr("sys.argv", ["card", str(whole.path)])
    assert card.main() == 0
    text = (whole.output / "card" / "README.md").read_text()
    assert "by training all weights" in text
    assert "| whole | 29.7 | 39 trained tensors moved |" in text
    upload = f"{whole.output} . --include config.json --include model.safetensors\n"
    assert upload in capsys.readouterr().out
