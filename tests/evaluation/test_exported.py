"""An exported model is compared with the merged one, and shown beside base and merged."""

from types import SimpleNamespace

import pytest

from common.files import write_json
from common.servers import ServeError
from evaluation import exported, results, scorers
from evaluation.ask import Cell
from evaluation.question import Question
from evaluation.run import Options

IDS = [f"q{number}" for number in range(40)]
GATES = [
    {"name": "pictures", "of": "pictures/none/correct", "not_worse_by": 0.20, "least": 20},
    {"name": "more", "of": "pictures/none/correct", "more_by": 0.30, "least": 20},
    {"name": "math", "of": "math/persona/correct", "not_worse_by": 0.05, "least": 20},
]


def measured(right):
    """Replies of which the first `right` are right."""
    about = {"status": "complete", "well_formed": True, "tokens": 9}
    found = {id_: about | {"correct": number < right} for number, id_ in enumerate(IDS)}
    return {("pictures", "none"): found}


def cells():
    settings = scorers.settings()["suites"]["pictures"]
    questions = tuple(Question(id_, ("What?",), {}) for id_ in IDS)
    return [Cell("pictures", "none", settings["score"], questions, None, "", 64)]


@pytest.mark.parametrize(
    ("right", "verdicts"),
    [(30, ["PASS", "PASS"]), (28, ["PASS", "FAIL"]), (12, ["FAIL", "FAIL"])],
)
def test_an_export_is_held_to_the_merged_model(right, verdicts):
    settings = scorers.settings()
    found = exported.compare(cells(), measured(30), measured(right), settings, GATES)
    assert [(gate["name"], gate["verdict"]) for gate in found["gates"]] == [
        ("pictures, exported", verdicts[0]),
        ("more, exported", verdicts[1]),  # held to 0.10
    ]
    both = {"base": measured(10), "tuned": measured(30)}
    result = {
        "suites": results.assemble(cells(), both, settings),
        "exported": found,
        "models": {"exported": {"name": "outputs/x/v1/export/fp8"}},
    }
    text = exported.columns(result)
    change = (right - 30) / 40
    line = f"| pictures | correct | none | 40 | 25.0% | 75.0% | {right / 40:.1%} | {change:+.1%} ["
    assert line in text and "outputs/x/v1/export/fp8" in text
    assert exported.columns({"suites": {}}) == ""


def test_an_export_is_known_by_its_files(tmp_path):
    recipe = SimpleNamespace(id="x/v1", output=tmp_path)
    with pytest.raises(ServeError, match="no such export; run make export RECIPE=x/v1"):
        exported.served(recipe, "fp8")
    path = tmp_path / "export" / "fp8" / "export.json"
    write_json(path, {"files": {"a": {"sha256": "0", "bytes": 1}}})
    model, identity = exported.served(recipe, "fp8")
    write_json(path, {"files": {"a": {"sha256": "1", "bytes": 1}}})
    assert model.where == str(path.parent) and identity != exported.served(recipe, "fp8")[1]
    assert Options("x", ()).export is None
