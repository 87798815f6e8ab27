"""What a server is started of and with: the copy, its prompt, its splitting, its flags, its key."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT
from transformers.utils.chat_parsing import ResponseParser

from common import chat, facts, memory, servers
from common.files import load_json
from common.recipes import Recipe, find
from common.servers import Served, ServeError
from serving import models
from serving.served_copy import (
    ASKED,
    RESPONSE_TEMPLATE,
    CopyError,
    rendered,
    served_copy,
    with_persona,
)
from serving.settings import FLAGS, persona_of

TEMPLATE = (ROOT / "common" / "chat_template.jinja").read_text()
NASTY = "Say \"no\" \\n to {{ braces }} and {% blocks %}, é, 🙂,\nsecond\tline 'quoted'."
WHOLE = chat.compose("One.\nTwo.", "Yes: *do* it.\n\n- a")
PROMPT = "<s><|user|>\nI typed <|assistant|>\n<|end|>\n<|assistant|>\n"


def text(role, words):
    return {"role": role, "content": [{"type": "text", "text": words}]}


@pytest.mark.parametrize("persona", [NASTY, persona_of(find("qlora_r128"))])
def test_a_conversation_without_a_system_message_gets_the_persona(persona):
    changed = with_persona(TEMPLATE, persona, Path("m"))
    assert rendered(changed, [ASKED]) == rendered(TEMPLATE, [text("system", persona), ASKED])
    own = [text("system", "Be brief."), ASKED, text("assistant", "Well."), ASKED]
    assert rendered(changed, own) == rendered(TEMPLATE, own)
    assert persona not in rendered(changed, own)


def test_a_template_of_strings_gets_it_too_and_one_without_system_turns_is_refused():
    strings = "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] | trim }}{% endfor %}"
    asked = [{"role": "user", "content": "Why?"}]
    assert rendered(with_persona(strings, "Be kind.", Path("m")), asked).startswith(
        "<system>Be kind.<user>"
    )
    deaf = "{% for m in messages if m['role'] == 'user' %}{{ m['content'] }}{% endfor %}"
    with pytest.raises(CopyError, match="takes no default system message; give PERSONA=0"):
        with_persona(deaf, "Be kind.", Path("m"))


def test_the_copy_links_and_changes_two_files_and_the_model_stays_as_it_is(tiny, tmp_path):
    (tiny / "data.json").write_text("{}")
    before = {path.name: path.read_bytes() for path in tiny.iterdir()}
    copy = served_copy(tiny, tmp_path / "served" / "merged", "Be kind.")
    assert {path.name: path.read_bytes() for path in tiny.iterdir()} == before
    own = {path.name for path in copy.iterdir() if not path.is_symlink()}
    assert own == {"chat_template.jinja", "tokenizer_config.json"}
    assert (copy / "model.safetensors").resolve() == tiny / "model.safetensors"
    assert "data.json" not in {path.name for path in copy.iterdir()}
    settings = load_json(copy / "tokenizer_config.json")
    assert settings.pop("response_template") == RESPONSE_TEMPLATE
    assert settings == load_json(tiny / "tokenizer_config.json")
    again = served_copy(tiny, copy)
    assert (again / "chat_template.jinja").read_bytes() == before["chat_template.jinja"]


def split(reply: str, size: int) -> tuple[dict, dict, str]:
    """(whole, streamed): the fields of a reply that comes in pieces of `size` characters."""
    parser = ResponseParser(RESPONSE_TEMPLATE, prefix=PROMPT)
    events = [
        event for at in range(0, len(reply), size) for event in parser.feed(reply[at:][:size])
    ]
    whole, last = parser.finalize()
    streamed = {"thinking": "", "content": ""}
    for event in [*events, *last]:
        if event["type"] == "region_chunk":
            streamed[event["field"]] += event["text"]
    return {name: whole.get(name, "") for name in streamed}, streamed


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize(
    ("reply", "thinking", "content"),
    [
        (f"{WHOLE}\n<|end|>\n</s>", "One.\nTwo.", "Yes: *do* it.\n\n- a"),
        (f"{chat.REASONING}\nOne. [BEGIN FI", "One. [BEGIN FI", ""),
        ("Here are my reas", "Here are my reas", ""),
        (f"{chat.REASONING}\nOne.\n{chat.BEGIN_FINAL}\nYes, and", "One.", "Yes, and"),
        (f"One.\n{chat.BEGIN_FINAL}\nYes\n{chat.END_FINAL}", "One.", "Yes"),
        ("Half a thought\n<|end|>\n</s>", "Half a thought", ""),
        (f"{chat.REASONING}\nI say {chat.REASONING} x\n{chat.BEGIN_FINAL}\nYes\n{chat.END_FINAL}",
         f"I say {chat.REASONING} x", "Yes"),
    ],
)  # fmt: skip
def test_reasoning_and_answer_are_split_whole_and_streamed_alike(size, reply, thinking, content):
    whole, streamed = split(reply, size)
    assert whole == streamed == {"thinking": thinking, "content": content}
    found = chat.split(reply)
    if found.status != chat.UNANSWERED:
        assert (found.reasoning, found.answer) == (thinking, content)


@pytest.fixture
def trained(tiny, tmp_path, monkeypatch):
    """Two recipes with adapters on one base, and none of the repository's outputs."""
    made = []
    for name, rank in (("one", 48), ("two", 64)):
        path = tmp_path / "recipes" / name / "v1.yaml"
        path.parent.mkdir(parents=True)
        old = find("tiny/v1")
        path.write_text(old.text.replace("outputs/tiny_base/v1", str(tiny)))
        output = tmp_path / "outputs" / name / "v1"
        output.mkdir(parents=True)
        (output / "adapter_config.json").write_text(json.dumps({"r": rank}))
        record = {"identity": {"recipe": f"{name}/v1"}, "status": "finished"}
        (output / "run.json").write_text(json.dumps(record))
        made.append(Recipe(path))
    monkeypatch.setattr(Recipe, "output", property(lambda recipe: tmp_path / "outputs" / recipe.id))
    return made


def test_adapters_of_several_recipes_are_models_of_one_server(trained, tmp_path):
    served = models.adapted_model(trained, "", ("--kv-cache-dtype", "fp8"))
    flags = " ".join(served.flags)
    assert "--enable-lora --max-lora-rank 64 --max-loras 2" in flags
    for name in ("one", "two"):
        assert f" {name}/v1={tmp_path}/outputs/{name}/v1" in flags
    assert flags.endswith("--kv-cache-dtype fp8") and "--reasoning-parser hf" in flags


def test_a_model_without_an_adapter_is_not_served_hot(trained):
    with pytest.raises(ServeError, match="tiny_full/v1 was trained whole: there is no adapter"):
        models.adapted_model([trained[0], find("tiny_full")])


def test_an_export_that_is_not_there_is_named_with_those_that_are(trained, tmp_path):
    folder = tmp_path / "outputs" / "one" / "v1" / "export" / "fp8"
    folder.mkdir(parents=True)
    with pytest.raises(ServeError, match="no such export, none is there"):
        models.exported_model(trained[0], "fp8")
    (folder / "export.json").write_text("{}")
    with pytest.raises(ServeError, match="gguf: no such export, there are fp8"):
        models.exported_model(trained[0], "gguf")


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """A program in vLLM's place that writes down how it was called, and says that it is well."""
    program = tmp_path / "bin" / "vllm"
    program.parent.mkdir()
    program.write_text(
        f"#!{sys.executable}\n"
        "import json, os, sys\n"
        "from http.server import BaseHTTPRequestHandler, HTTPServer\n"
        f"told = open({str(tmp_path / 'told.json')!r}, 'w')\n"
        "json.dump([sys.argv[1:], os.environ.get('VLLM_API_KEY')], told); told.close()\n"
        "class Well(BaseHTTPRequestHandler):\n"
        "    def do_GET(self): self.send_response(200); self.end_headers()\n"
        "port = int(sys.argv[sys.argv.index('--port') + 1])\n"
        "HTTPServer((sys.argv[sys.argv.index('--host') + 1], port), Well).serve_forever()\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return tmp_path / "told.json"


def test_a_key_is_in_no_command_line_and_the_server_listens_here_alone(
    tiny, tmp_path, stand_in, monkeypatch
):
    monkeypatch.setenv(servers.KEY, "sk-a-secret")
    model = Served(str(tiny), id="tiny/v1", flags=FLAGS)
    with servers.serving(model, tmp_path / "log") as endpoint:
        words, key = json.loads(stand_in.read_text())
        assert endpoint.model == "tiny/v1" and endpoint.kind == "vllm"
        with pytest.raises(ServeError, match="taken by another program"):
            port = int(endpoint.url.split(":")[2].split("/")[0])
            with servers.serving(model, tmp_path / "log2", port):
                pass
    assert key == "sk-a-secret" and "sk-a-secret" not in " ".join(words)
    assert words[words.index("--host") + 1] == "127.0.0.1"
    largest = load_json(tiny / "config.json")["text_config"]["max_position_embeddings"]
    assert words[words.index("--max-model-len") + 1] == str(min(memory.CONTEXT, largest))


@pytest.mark.parametrize(
    ("words", "key", "problem"),
    [
        (["tiny", "--host", "0.0.0.0"], "", "HOST=0.0.0.0: others would reach the model without"),
        (["tiny", "--host", "0.0.0.0", "--export", "gguf"], "", "HOST=0.0.0.0: others would reach"),
        (["tiny"], "sk-x", "ENDPOINT_API_KEY: transformers serve asks no client for a key"),
        (["tiny", "--flags=--max-num-seqs 1"], "", "FLAGS= are those of vLLM"),
        (["tiny", "tiny_base"], "", "adapters are served hot by vLLM alone"),
        (["tiny", "tiny_base", "--export", "fp8"], "", "serve adapters on their base alone"),
        (["tyni"], "", "no recipe 'tyni'"),
    ],
)
def test_what_would_be_open_or_cannot_be_served_is_refused_in_a_line(words, key, problem, tmp_path):
    (tmp_path / "nothing").mkdir()
    environment = os.environ | {servers.KEY: key, "PATH": str(tmp_path / "nothing")}
    done = subprocess.run(
        [sys.executable, "-m", "serving.serve", *words],
        cwd=ROOT, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert problem in done.stderr


def test_the_table_of_the_page_is_what_make_check_computes():
    page = (ROOT / "docs" / "serving.md").read_text()
    for row in memory.served(facts.APRIEL_15B):
        line = (
            f"| {row['weights']} | {row['gib']} | {row['cache']} | {row['tokens']:,} | "
            f"{row['contexts']} |"
        )
        assert line in page
    for number in (f"{memory.CONTEXT:,}", str(memory.SEQUENCES), str(memory.PICTURES)):
        assert number in page
