"""What identifies a run: each entry of docs/runs.md, changed between kill and resume and between train and merge."""

import json
import re
import shutil
from types import SimpleNamespace

import pytest
from conftest import ROOT, some_rows, write_dataset

from common import runs
from common.bases import base_of
from common.errors import AetherError
from common.files import ROOT as REPOSITORY
from common.recipes import Recipe, RecipeError, find
from common.runs import RunError
from training import mirror, run

DOCUMENT = (ROOT / "docs" / "runs.md").read_text()


def documented(section):
    """The entries in the table of a section of docs/runs.md."""
    text = DOCUMENT.split(f"## {section}\n")[1].split("\n## ")[0]
    return set(re.findall(r"^\| `(\w+)` \|", text, re.M))


@pytest.fixture
def trained(tiny, tmp_path):
    """A killed run of a recipe on the tiny model, with one checkpoint, and what it was trained from."""
    data = tmp_path / "data" / "build"
    data.mkdir(parents=True)
    write_dataset(data, some_rows(data, 12))
    base = shutil.copytree(tiny, tmp_path / "base")
    path = tmp_path / "mine" / "v1.yaml"
    path.parent.mkdir()
    text = find("tiny/v1").text.replace("datasets/tiny/build", str(data))
    path.write_text(text.replace("outputs/tiny_base/v1", str(base)))
    folder = tmp_path / "outputs" / "mine" / "v1"
    (folder / "checkpoint-4").mkdir(parents=True)
    made = SimpleNamespace(recipe=Recipe(path), data=data, base=base, folder=folder)
    runs.write(
        folder, {"identity": identity(made), "status": "running", "packages": {"torch": "2"}}
    )
    return made


def identity(made):
    recipe = Recipe(made.recipe.path)
    return runs.identity_of(recipe, made.data, base_of(recipe))


def edit_json(path, edit):
    value = json.loads(path.read_text())
    edit(value)
    path.write_text(json.dumps(value))


def first_image(made):
    return sorted((made.data / "images").iterdir())[0]


def without_a_row(made):
    lines = (made.data / "train.jsonl").read_text().splitlines(keepends=True)
    (made.data / "train.jsonl").write_text("".join(lines[1:]))


def with_a_word_changed(made, name="train.jsonl"):
    text = (made.data / name).read_text()
    (made.data / name).write_text(text.replace("Question", "Question:", 1))


def with_a_weight_changed(made):
    path = made.base / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def config(edit):
    return lambda made: edit_json(made.base / "config.json", edit)


def processor(edit):
    def change(made):
        edit_json(made.base / "processor_config.json", lambda v: edit(v["image_processor"]))

    return change


def recipe_text(old, new):
    def change(made):
        text = made.recipe.path.read_text()
        assert old in text
        made.recipe.path.write_text(text.replace(old, new))

    return change


def renamed(made):
    """The recipe under another name: its folder is another run's."""
    path = made.recipe.path.parent.with_name("other") / "v1.yaml"
    path.parent.mkdir()
    made.recipe.path.rename(path)
    made.recipe = Recipe(path)


# (entry, what happens, whether merge, evaluation and export ask for it too)
CHANGES = {
    "another recipe": ("recipe", renamed, True),
    "a comment in the recipe": ("recipe_sha256", recipe_text("# --- model", "# ---- model"), True),
    "another seed": ("seed", recipe_text("seed: 42", "seed: 43"), True),
    "the manifest's own hash": (
        "data_sha256",
        lambda made: edit_json(made.data / "manifest.json", lambda v: v.update(data_sha256="0")),
        False,
    ),
    "a row edited": ("data_train", with_a_word_changed, True),
    "a row deleted": ("data_train", without_a_row, True),
    "a held-out row edited": ("data_val", lambda m: with_a_word_changed(m, "val.jsonl"), True),
    "an image replaced": (
        "data_images",
        lambda made: first_image(made).write_bytes(b"another picture"),
        True,
    ),
    "an image gone": ("data_images", lambda made: first_image(made).unlink(), True),
    "a weight": ("base_weights", with_a_weight_changed, True),
    "rope_theta": (
        "base_config",
        config(lambda v: v["text_config"]["rope_parameters"].update(rope_theta=1e4)),
        True,
    ),
    "vision_feature_layer": (
        "base_config",
        config(lambda v: v.update(vision_feature_layer=-2)),
        True,
    ),
    "longest_edge": (
        "base_processor",
        processor(lambda v: v.update(size={"longest_edge": 512})),
        True,
    ),
    "image_mean": ("base_processor", processor(lambda v: v.update(image_mean=[0, 0, 0])), True),
    "a token": (
        "base_tokenizer",
        lambda made: (made.base / "tokenizer.json").write_text(
            (made.base / "tokenizer.json").read_text().replace("the", "teh", 1)
        ),
        True,
    ),
    "the chat template": (
        "base_template",
        lambda made: (made.base / "chat_template.jinja").write_text("{{ messages }}"),
        True,
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_identifies_a_run_is_asked_by_resume_and_by_merge(trained, name):
    entry, change, asked_by_merge = CHANGES[name]
    recorded = runs.read(trained.folder)
    assert runs.differences(recorded["identity"], identity(trained)) == []
    runs.require_same(Recipe(trained.recipe.path), recorded, base_of(trained.recipe))
    change(trained)
    recipe = Recipe(trained.recipe.path)
    said = "holds a run of mine/v1" if entry == "recipe" else rf"holds another run \(.*{entry}"
    with pytest.raises(RunError, match=said):
        run.to_resume(trained.folder, recipe.id, identity(trained))
    assert (trained.folder / "checkpoint-4").is_dir()
    if not asked_by_merge:
        runs.require_same(recipe, recorded, base_of(recipe))
        return
    asked = "recipe_sha256" if entry == "seed" else entry
    with pytest.raises(RunError, match=f"trained with another .*{asked.replace('_', ' ')}"):
        runs.require_same(recipe, recorded, base_of(recipe))


def test_the_list_in_the_docs_is_complete(trained):
    entries = set(runs.read(trained.folder)["identity"])
    assert (
        documented("What must be the same") == entries == {entry for entry, *_ in CHANGES.values()}
    )
    assert documented("What may change") == set(runs.MAY_CHANGE)


def test_a_base_is_known_by_its_content_and_not_by_its_name(trained, tmp_path):
    recorded = runs.read(trained.folder)
    copy = shutil.copytree(trained.base, tmp_path / "elsewhere")
    runs.require_same(trained.recipe, recorded, base_of(trained.recipe, str(copy)))
    shutil.rmtree(trained.data)  # a machine that never had the data
    runs.require_same(trained.recipe, recorded, base_of(trained.recipe, str(copy)))
    with pytest.raises(AetherError, match="nowhere: no such folder"):
        runs.require_same(trained.recipe, recorded, base_of(trained.recipe, "nowhere"))


@pytest.mark.parametrize("entry", runs.MAY_CHANGE)
def test_what_may_change_is_appended_and_never_overwritten(entry):
    first = {"identity": {}, **{key: f"old {key}" for key in runs.MAY_CHANGE}}
    now = {key: first[key] for key in runs.MAY_CHANGE}
    assert runs.with_changes(first, now, 8) == first
    second = runs.with_changes(first, now | {entry: "new"}, 8)
    assert second[entry] == f"old {entry}"
    assert second["changes"] == [{"at_step": 8, entry: [f"old {entry}", "new"]}]
    third = runs.with_changes(second, now | {entry: "newest"}, 16)
    assert third["changes"][1] == {"at_step": 16, entry: ["new", "newest"]}
    assert runs.current(third)[entry] == "newest"
    assert runs.with_changes(third, now | {entry: "newest"}, 24) == third


def test_a_run_that_never_came_to_a_checkpoint_gives_way(trained):
    (trained.folder / "checkpoint-4").rmdir()
    with_a_word_changed(trained)
    assert run.to_resume(trained.folder, "mine/v1", identity(trained)) is None
    assert list(trained.folder.iterdir()) == []


@pytest.mark.parametrize("text", ["", '{"identity": {"recipe"', "[]", '{"status": "finished"}'])
def test_a_record_cut_short_is_one_line(trained, text):
    (trained.folder / "run.json").write_text(text)
    for ask in (
        lambda: run.to_resume(trained.folder, "mine/v1", {}),
        lambda: run.remove(trained.folder, "mine/v1"),
        lambda: runs.finished(trained.recipe, trained.folder),
    ):
        with pytest.raises(AetherError, match=r"run\.json: no") as caught:
            ask()
        assert "\n" not in str(caught.value)
    assert (trained.folder / "checkpoint-4").is_dir()


def test_a_training_that_is_not_finished_is_not_built_on(trained, tmp_path):
    with pytest.raises(RunError, match=r"not trained to its end \(it is running\); run make train"):
        runs.finished(trained.recipe, trained.folder)
    with pytest.raises(RunError, match="is not trained here; run make train RECIPE=mine/v1"):
        runs.finished(trained.recipe, tmp_path / "nowhere")


def test_only_a_runs_own_folder_is_emptied(trained, tmp_path):
    with pytest.raises(RunError, match="no run.json of tiny/v1, so it is not deleted"):
        run.remove(trained.folder, "tiny/v1")
    notes = tmp_path / "notes"
    notes.mkdir()
    (notes / "thesis.txt").write_text("years of work")
    with pytest.raises(RunError, match="so it is not deleted; move it away"):
        run.remove(notes, "mine/v1")
    with pytest.raises(RunError, match=r"holds files but no run\.json; move them away"):
        run.to_resume(notes, "mine/v1", {})
    assert (notes / "thesis.txt").exists() and (trained.folder / "checkpoint-4").is_dir()
    (trained.folder / "link").symlink_to(notes)
    run.remove(trained.folder, "mine/v1")
    assert list(trained.folder.iterdir()) == [] and (notes / "thesis.txt").exists()


@pytest.mark.parametrize("wanted", ["outputs/tiny/v1", ".", "../x", "outputs", "/tmp/x"])
def test_nothing_is_deleted_before_the_recipe_is_checked(trained, monkeypatch, tmp_path, wanted):
    """A copied recipe with the output folder of another one, started with FRESH=1."""
    monkeypatch.setenv("MIRROR", str(tmp_path / "mirror"))
    (tmp_path / "mirror" / "mine" / "v1").mkdir(parents=True)
    text = trained.recipe.path.read_text()
    trained.recipe.path.write_text(text.replace("outputs/tiny/v1", wanted))
    with pytest.raises(RecipeError, match="output_dir: .*one id everywhere: outputs/mine/v1|path"):
        run.run(Recipe(trained.recipe.path), fresh=True, override=None)
    assert (tmp_path / "mirror" / "mine" / "v1").is_dir()
    assert (trained.folder / "checkpoint-4").is_dir()
    assert not (REPOSITORY / "outputs" / "mine").exists()


def test_the_mirror_forgets_only_what_is_its_own(tmp_path, monkeypatch):
    monkeypatch.setenv("MIRROR", str(tmp_path))
    mirror.forget("mine/v1")  # nothing there
    (tmp_path / "mine" / "v1" / "checkpoint-4").mkdir(parents=True)
    with pytest.raises(RunError, match="no run.json of mine/v1"):
        mirror.forget("mine/v1")
    runs.write(tmp_path / "mine" / "v1", {"identity": {"recipe": "other/v1"}})
    with pytest.raises(RunError, match="no run.json of mine/v1"):
        mirror.forget("mine/v1")
    assert (tmp_path / "mine" / "v1" / "checkpoint-4").is_dir()
    runs.write(tmp_path / "mine" / "v1", {"identity": {"recipe": "mine/v1"}})
    mirror.forget("mine/v1")
    assert not (tmp_path / "mine" / "v1").exists()
