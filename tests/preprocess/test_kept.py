"""What a person keeps on the page of `make chat` is what `make data` reads."""

import io
import json

import pytest
from conftest import ROOT
from PIL import Image

from common import chat, rows
from common.rows import RowError
from preprocess.build import build

MIX = """
seed: 7
val_share: 0.0001
licence: MIT
sources:
  - {kind: kept, category: practical, system: persona.md}
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "mix.yaml").write_text(MIX)
    (tmp_path / "persona.md").write_text("Drawn from the mix.")
    return tmp_path


def part(text):
    return {"type": "text", "text": text}


def kept(folder, *messages, id="kept-1"):
    row = {"id": id, "category": "kept", "origin": "kept", "tags": [], "messages": list(messages)}
    path = folder / "kept" / "rows.jsonl"
    path.parent.mkdir(exist_ok=True)
    with path.open("a") as file:
        file.write(json.dumps(row) + "\n")


def reply(text, weight=1):
    return {"role": "assistant", "content": [part(text)], "weight": weight}


def user(*parts):
    return {"role": "user", "content": list(parts)}


def built(folder):
    build(folder)
    return list(rows.read(folder / "build" / "train.jsonl"))


def test_a_kept_conversation_becomes_a_row_with_its_own_prompt_and_pictures(folder):
    file = io.BytesIO()
    Image.new("RGB", (20, 10), "red").save(file, "PNG")
    name = "images/" + "ab" * 32 + ".png"
    (folder / "kept" / "images").mkdir(parents=True)
    (folder / "kept" / name).write_bytes(file.getvalue())
    text = chat.compose("It is red.", "Red.")
    kept(
        folder,
        {"role": "system", "content": [part("Asked under this.")]},
        user({"type": "image", "path": name}, part("What colour?")),
        reply("Some red.", weight=0),
        user(part("Sure?")),
        reply(text),
    )
    [row] = built(folder)
    assert (row["id"], row["category"], row["origin"]) == ("kept-1#2", "practical", "kept")
    system, first, earlier, second, last = row["messages"]
    assert rows.text_of(system) == "Asked under this."
    assert [p["type"] for p in first["content"]] == ["image", "text"]
    assert (folder / "build" / first["content"][0]["path"]).read_bytes() == file.getvalue()
    assert (rows.text_of(earlier), earlier["weight"]) == ("Some red.", 0)
    assert rows.text_of(second) == "Sure?" and rows.text_of(last) == text


def test_without_a_prompt_it_gets_the_mixs_and_without_a_file_there_are_no_rows(folder):
    assert built(folder) == []
    kept(folder, user(part("Why?")), reply(chat.compose("So.", "Therefore.")))
    [row] = built(folder)
    assert rows.text_of(row["messages"][0]) == "\n\nDrawn from the mix."


def test_a_broken_line_is_named(folder):
    kept(folder, user(part("Why?")), reply(chat.compose("So.", "Therefore.")))
    kept(folder, user(part("Why?")), id="kept-2")
    with pytest.raises(RowError, match=r"kept/rows.jsonl:2: messages: the roles are user"):
        build(folder)


def test_both_datasets_take_in_what_is_kept():
    for name in ("aether", "tiny"):
        assert "kind: kept" in (ROOT / "datasets" / name / "mix.yaml").read_text()
