"""Every recipe in the tree, and what is said about broken ones."""

import json
import re
import shutil

import pytest
from conftest import ROOT

from common import hub
from common.bases import BaseError, base_of
from common.recipes import Recipe, RecipeError, all_recipes, find
from training import memory, pins
from training.check import check, validate
from training.check_base import compare
from training.check_recipe import problems
from training.recipe_schema import SECTIONS
from training.renderers import renderer_of

IDS = [recipe.id for recipe in all_recipes()]


def test_the_list_is_complete():
    assert sorted(IDS) == sorted(f"{p.parent.name}/{p.stem}" for p in ROOT.glob("recipes/*/*.yaml"))
    assert {"tiny/v1", "tiny_base/v1", "qlora_r128/v1", "qlora_r64/v1", "qlora_r128_16k/v1"} <= set(
        IDS
    )
    index = (ROOT / "recipes" / "README.md").read_text()
    assert all(f"{id_}" in index for id_ in IDS)


@pytest.mark.parametrize("id_", IDS)
def test_recipe_is_sound(id_):
    recipe = find(id_)
    assert problems(recipe) == []
    validate(recipe)
    headings = re.findall(r"^# --- ([a-z ]+)", recipe.text, re.M)
    assert [h.split(":")[0].strip() for h in headings] == list(SECTIONS)
    assert recipe.text.startswith(f"# {id_}: ") and f"RECIPE={id_.split('/')[0]}" in recipe.text
    assert (recipe.path.parent / "README.md").exists()


@pytest.mark.parametrize(
    ("change", "line", "said"),
    [
        (("lora_alpha", "lora_alhpa"), "lora_alhpa", "did you mean lora_alpha?"),
        (("  path:", "  pth:"), "pth", "did you mean path?"),
        (
            ("output_dir: outputs/tiny/v1", "output_dir: outputs/tiny/v2"),
            "output_dir",
            "one id everywhere",
        ),
        (("trust_remote_code", "trust_remote_code"), None, None),
        (
            ("processor_type: AutoProcessor", "processor_type:"),
            "processor_type",
            "blank; give a value",
        ),
        (("seed: 42", "seed: 42\nseed: 43"), "seed", "given twice"),
        (
            ("adapter: qlora", "datasets: [{path: x, type: chat_template}]\nadapter: qlora"),
            "datasets",
            "reads `rows:`",
        ),
        (
            ("base_model: outputs/tiny_base/v1", "base_model: /home/me/model"),
            "base_model",
            "a path of one machine",
        ),
        (
            ("adapter: qlora\nload_in_4bit: true", "load_in_4bit: true\nadapter: qlora"),
            "adapter",
            "stands after load_in_4bit",
        ),
        (("  - training.plugin.AetherPlugin", "  - training.plugin.Aether"), "plugins", "must be"),
    ],
)
def test_a_broken_recipe_is_told_where_and_what(tmp_path, change, line, said):
    path = tmp_path / "recipes" / "tiny" / "v1.yaml"
    path.parent.mkdir(parents=True)
    text = find("tiny").text
    path.write_text(text.replace(*change, 1))
    found = problems(Recipe(path), tmp_path)
    if said is None:
        assert found == []
        return
    number = next(
        n
        for n, content in enumerate(path.read_text().splitlines(), 1)
        if content.strip().startswith(line)
    )
    # A key that is given twice is reported where it stands the second time.
    assert any(
        said in f and re.search(rf"v1\.yaml:{number + (said == 'given twice')}: ", f) for f in found
    ), found


def test_a_measured_recipe_is_frozen(tmp_path):
    path = tmp_path / "recipes" / "tiny" / "v1.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(find("tiny").text)
    path.with_suffix(".result.json").write_text(json.dumps({"recipe_sha256": Recipe(path).sha256}))
    assert problems(Recipe(path), tmp_path) == []
    path.write_text(path.read_text().replace("seed: 42", "seed: 43"))
    assert "make a new version" in problems(Recipe(path), tmp_path)[0]


def test_unknown_names_get_the_list():
    with pytest.raises(RecipeError, match=r"did you mean qlora_r128\?.*tiny/v1"):
        find("qlora_r182")
    assert find("tiny").id == "tiny/v1" == find("tiny/v1").id


def test_check_of_the_big_recipe_without_the_hub():
    recipe = find("qlora_r128")
    report = check(recipe)
    pinned = "revision_of_model" in recipe.data
    assert pinned or [e for e in report["errors"] if "run make pin" in e] == report["errors"] != []
    assert any("rows" in note or "lengths" in note for note in report["notes"])
    assert 12 < report["memory"]["total_gib"] < memory.L40S_GIB


def edited_config(tiny, tmp_path, edit):
    """A copy of the tiny model with `edit` applied to its configuration."""
    folder = shutil.copytree(tiny, tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    edit(config)
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize(
    ("keys", "value", "said"),
    [
        (("text_config", "rope_parameters", "rope_theta"), 1e6, "rope_theta: 1000000.0, expected"),
        (("text_config", "hidden_size"), 128, "width of the embeddings: [2048, 192]"),
        (("text_config", "vocab_size"), 1024, "the tokenizer has id"),
        (("vision_config", "patch_size"), 14, "vision_config.patch_size: 14, expected 16"),
        (("vision_config", "image_size"), 512, "smaller than the processor's longest edge"),
        (("image_token_index",), 12, "image_token_index: 12, expected 10"),
        (("quantization_config",), {"quant_method": "bitsandbytes"}, "quantised already"),
        (("architectures",), ["MistralForCausalLM"], "architecture: "),
    ],
)
def test_check_names_the_fact_that_differs(tiny, tmp_path, keys, value, said):
    def edit(config):
        *outer, last = keys
        for key in outer:
            config = config[key]
        config[last] = value

    folder = edited_config(tiny, tmp_path, edit)
    points = compare(folder, renderer_of(folder))
    assert any(said in line for line in points.differs), points.differs


def test_the_tiny_model_agrees_in_every_point(tiny, tiny_renderer):
    points = compare(tiny, tiny_renderer)
    assert points.differs == [] and len(points.same) > 20


def test_the_estimate_follows_the_recipe():
    recipe = find("qlora_r128").data
    base = sum(memory.estimate(recipe, memory.facts.APRIEL_15B).values())
    more = sum(memory.estimate(recipe | {"sequence_len": 16384}, memory.facts.APRIEL_15B).values())
    light = sum(memory.estimate(recipe | {"lora_r": 64}, memory.facts.APRIEL_15B).values())
    assert light < base < more
    weights = memory.estimate(recipe, memory.facts.APRIEL_15B)["weights"]
    assert 9 < weights < 11  # 13.1 B in NF4, the rest in bf16


def pinned_copy(tmp_path, text=None):
    path = tmp_path / "recipes" / "qlora_r128" / "v1.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text or find("qlora_r128").text)
    return Recipe(path)


def test_a_hub_model_without_a_pin_is_refused(tmp_path):
    text = re.sub(r"(?m)^revision_of_model:.*\n", "", find("qlora_r128").text)
    with pytest.raises(BaseError, match=r"v1\.yaml: revision_of_model: missing: .* run make pin"):
        base_of(pinned_copy(tmp_path, text))
    with pytest.raises(BaseError, match="revision_of_model: main: "):
        base_of(pinned_copy(tmp_path, pins.pinned(text, "main")))
    base = base_of(pinned_copy(tmp_path, pins.pinned(text, "a" * 40)))
    assert (base.name, base.revision) == ("ServiceNow-AI/Apriel-1.5-15b-Thinker", "a" * 40)
    assert base.folder is None and base.missing is None


def test_make_pin_writes_into_recipes_that_are_not_frozen(tmp_path):
    recipe = pinned_copy(tmp_path)
    asked = []

    def newest(name):
        asked.append(name)
        return "b" * 40

    assert pins.pin_recipes([recipe, find("tiny")], newest) == [
        f"qlora_r128/v1: ServiceNow-AI/Apriel-1.5-15b-Thinker@{'b' * 40}"
    ]
    written = Recipe(recipe.path)
    assert written.data["revision_of_model"] == "b" * 40 and problems(written, tmp_path) == []
    assert written.data | {"revision_of_model": None} == recipe.data | {"revision_of_model": None}
    # Frozen: measured with this revision, so a newer one is a new version.
    written.result.write_text(json.dumps({"recipe_sha256": written.sha256}))
    assert "stays at" in pins.pin_recipes([written], lambda name: "c" * 40)[0]
    assert Recipe(recipe.path).data["revision_of_model"] == "b" * 40
    assert len(asked) == 1


def test_a_data_set_without_a_revision_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(hub, "LOCK", tmp_path / "hub.lock")
    with pytest.raises(hub.HubError, match="make pin"):
        hub.pinned("gsm8k")
    (tmp_path / "hub.lock").write_text(json.dumps({"datasets": {"openai/gsm8k": "main"}}))
    with pytest.raises(hub.HubError, match="not a 40-hex revision"):
        hub.pinned("gsm8k")
