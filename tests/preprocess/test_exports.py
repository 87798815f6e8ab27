"""A person's own conversations: what each shape means, what may not be used, and that all is counted."""

from __future__ import annotations

import base64
import io
import json
import zipfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from PIL import Image

from common import rows, tools
from common.tools import Call
from preprocess import build
from preprocess.benchmarks import Benchmark
from preprocess.rows import Conversation, Note, Skip, Step, Turn, to_rows
from preprocess.source import Context, MixError
from preprocess.sources import exports

THOUGHT = "It waits for something."
ANSWER = "It waits for I/O."
CITED = "\ue200cite\ue202turn0search1\ue202turn0search2\ue201"


def imported(folder: Path) -> list:
    """What a folder of conversations yields."""
    config = exports.Config(kind="conversations", path=folder.name, category="c", system="s")
    context = Context(7, folder.parent, None, False, Benchmark().contaminated)
    return list(exports.conversations(config, context))


def of(folder: Path, *raws: object) -> tuple[list[Conversation], list[str], Counter[str]]:
    """(conversations, reasons of what was skipped, notes) of values in one file."""
    (folder / "own.jsonl").write_text("".join(json.dumps(raw) + "\n" for raw in raws))
    return sorted_out(imported(folder))


def sorted_out(items: list) -> tuple[list[Conversation], list[str], Counter[str]]:
    made = [item for item in items if isinstance(item, Conversation)]
    skipped = [str(item) for item in items if isinstance(item, Skip)]
    notes = Counter({item.text: item.count for item in items if isinstance(item, Note)})
    return made, skipped, notes


def the_one(folder: Path, raw: object) -> Conversation:
    made, skipped, _ = of(folder, raw)
    assert not skipped
    assert len(made) == 1
    return made[0]


# ChatGPT


def node(name: str, parent: str | None, role: str, *parts: object, **about: object) -> dict:
    """A node of ChatGPT's tree; `about` are keys of the message, `kind` its content type."""
    kind = about.pop("kind", "text")
    content = {"content_type": kind, "parts": list(parts)}
    message = {"author": {"role": role}, "content": content} | about
    return {"id": name, "parent": parent, "message": message}


def thoughts(name: str, parent: str, text: str = THOUGHT) -> dict:
    content = {"content_type": "thoughts", "thoughts": [{"summary": "s", "content": text}]}
    message = {"author": {"role": "assistant"}, "content": content}
    return {"id": name, "parent": parent, "message": message}


def tree(*nodes: dict, current: str | None = None) -> dict:
    root = {"id": "root", "parent": None, "message": None}
    return {
        "mapping": {one["id"]: one for one in (root, *nodes)},
        "current_node": current or nodes[-1]["id"],
    }


def chatgpt(user: str = "why slow", answer: str = ANSWER, **about: object) -> dict:
    """One exchange; `about` are keys of the reply's message."""
    return tree(
        node("u", "root", "user", user),
        thoughts("t", "u"),
        node("a", "t", "assistant", answer, **about),
    )


def two_exchanges(*more: dict) -> dict:
    """An exchange that is fine, and the nodes of another."""
    first = [node("u0", "root", "user", "first"), thoughts("t0", "u0")]
    return tree(*first, node("a0", "t0", "assistant", "The first answer."), *more)


# Claude


def said(sender: str, *parts: object, **about: object) -> dict:
    """A message of Claude's export."""
    content = [{"type": "text", "text": part} if isinstance(part, str) else part for part in parts]
    return {"sender": sender, "content": content} | about


def thinking(text: str = THOUGHT) -> dict:
    return {"type": "thinking", "thinking": text}


def claude(*messages: dict) -> dict:
    if not messages:
        messages = (said("human", "why slow"), said("assistant", thinking(), ANSWER))
    return {"uuid": "c", "name": "n", "chat_messages": list(messages)}


# Lists of messages


def sharegpt(user: str = "why slow", answer: str = f"<think>{THOUGHT}</think>{ANSWER}") -> dict:
    return {"conversations": [{"from": "human", "value": user}, {"from": "gpt", "value": answer}]}


def listed(user: object = "why slow", **reply: object) -> dict:
    about = {"content": ANSWER, "reasoning_content": THOUGHT} | reply
    return {"messages": [{"role": "user", "content": user}, {"role": "assistant", **about}]}


def llava(image: str, text: str = "<image>\nwhy slow") -> dict:
    return {"id": "1", "image": image} | sharegpt(text)


MARKED = (
    f"Here are my reasoning steps:\n{THOUGHT}\n[BEGIN FINAL RESPONSE]\n{ANSWER}\n"
    "[END FINAL RESPONSE]"
)
SHAPES = {
    "chatgpt": chatgpt(),
    "claude": claude(),
    "sharegpt": sharegpt(),
    "messages with markers": listed(content=MARKED, reasoning_content=""),
    "messages with reasoning beside": listed(),
    "roles in capitals": {
        "messages": [one | {"role": one["role"].title()} for one in listed()["messages"]]
    },
    "parts": listed([{"type": "text", "text": "why slow"}]),
}


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("file", ["own.json", "own.JSON", "own.jsonl", "own.ndjson", "array.json"])
def test_every_shape_in_every_file(tmp_path, name, file):
    raw = SHAPES[name]
    (tmp_path / file).write_text(json.dumps([raw] if file == "array.json" else raw))
    (made,) = imported(tmp_path)
    assert made.turns == (Turn("why slow", THOUGHT, ANSWER),)
    assert made.origin == "conversation"


def test_more_forms_of_a_file(tmp_path):
    raws = [sharegpt(f"question {n}") for n in range(3)]
    lines = "\n".join(json.dumps(raw) for raw in raws)
    (tmp_path / "lines.json").write_text(lines)  # lines under the name of one value
    (tmp_path / "bom.jsonl").write_bytes(b"\xef\xbb\xbf" + json.dumps(sharegpt("bom")).encode())
    (tmp_path / "wide.json").write_bytes(json.dumps(sharegpt("wide")).encode("utf-16"))
    assert len(sorted_out(imported(tmp_path))[0]) == 5


def test_an_archive_is_read_as_it_came(tmp_path):
    picture = io.BytesIO()
    Image.new("RGB", (20, 10), (200, 0, 0)).save(picture, "JPEG")
    shows = {"content_type": "image_asset_pointer", "asset_pointer": "file-service://file-A1b2"}
    talk = tree(
        node("u", "root", "user", "what is", shows, "this?", kind="multimodal_text"),
        thoughts("t", "u"),
        node("a", "t", "assistant", ANSWER),
    )
    about = {"attachments": [{"id": "file-A1b2", "name": "photo.jpg"}]}
    talk["mapping"]["u"]["message"]["metadata"] = about
    with zipfile.ZipFile(tmp_path / "export.ZIP", "w") as archive:
        archive.writestr("conversations.json", json.dumps([talk, chatgpt("two")]))
        archive.writestr("user.json", json.dumps({"id": "user-1", "email": "jo@example.org"}))
        archive.writestr("chat.html", "<html>")
        archive.writestr("file-A1b2-photo.jpg", picture.getvalue())
        archive.writestr("__MACOSX/._conversations.json", b"\0")
    made, skipped, notes = sorted_out(imported(tmp_path))
    assert [turn.user for talk in made for turn in talk.turns] == ["what isthis?", "two"]
    assert [type(part) for part in made[0].turns[0].parts] == [str, bytes, str]
    assert skipped == [exports.UNKNOWN]
    assert notes["files of a kind that is not read: .html"] == 1
    assert any("user.json" in note for note in notes)


def test_side_files_of_claudes_export_are_counted_and_stop_nothing(tmp_path):
    (tmp_path / "conversations.json").write_text(json.dumps([claude()]))
    (tmp_path / "users.json").write_text(json.dumps([{"uuid": "u", "full_name": "Jo"}]))
    (tmp_path / "projects.json").write_text(json.dumps([{"uuid": "p", "docs": []}, {"uuid": "q"}]))
    (tmp_path / "memories.json").write_text(json.dumps(["text", 7, None]))
    made, skipped, _ = sorted_out(imported(tmp_path))
    assert len(made) == 1
    assert Counter(skipped) == {exports.UNKNOWN: 6}


@pytest.mark.parametrize(
    "files",
    [
        {"user.json": "{}"},
        {"chat.html": "<html>"},
        {"notes.txt": "hello"},
        {"own.jsonl": '{"text": "hello"}\n'},
        {"users.json": "[]", "a.md": "x"},
        {"own.jsonl": "{broken\n{more\n"},
    ],
)
def test_a_folder_from_which_nothing_was_read_is_an_error(tmp_path, files):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(MixError, match="nothing in it could be read as a conversation"):
        imported(tmp_path)


def test_no_folder_and_an_empty_one_are_no_conversation(tmp_path):
    assert imported(tmp_path / "conversations") == []
    (tmp_path / ".gitkeep").touch()
    assert imported(tmp_path) == []


def test_a_file_that_cannot_be_read_is_refused(tmp_path, monkeypatch):
    talks = [sharegpt(f"question {n}") for n in range(30)]
    (tmp_path / "own.json").write_text(json.dumps(talks))
    assert len(imported(tmp_path)) == 30
    monkeypatch.setattr(exports.reading, "LARGEST", 2**4)
    with pytest.raises(MixError, match=r"more than .* MB; write one conversation a line: jq -c"):
        imported(tmp_path)
    monkeypatch.undo()
    (tmp_path / "own.json").write_text("[" + json.dumps(talks[0]) + ",{")
    with pytest.raises(MixError, match=r"own\.json: not JSON, or cut off"):
        imported(tmp_path)
    (tmp_path / "own.json").unlink()
    (tmp_path / "own.zip").write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(MixError, match=r"own\.zip: .*not a whole \.zip"):
        imported(tmp_path)


def test_a_path_that_is_no_folder_is_refused(tmp_path):
    (tmp_path / "own.jsonl").write_text(json.dumps(listed()))
    with pytest.raises(MixError, match="no folder"):
        imported(tmp_path / "own.jsonl")


def test_a_linked_file_is_refused(tmp_path):
    (tmp_path / "private.jsonl").write_text("{}")
    folder = tmp_path / "conversations"
    folder.mkdir()
    (folder / "own.jsonl").symlink_to(tmp_path / "private.jsonl")
    with pytest.raises(MixError, match="a link"):
        imported(folder)


# What makes an exchange of ChatGPT unusable: the nodes of the second exchange.
CHATGPT_FLAWS = {
    "a call of a tool": [
        node("a1", "u1", "assistant", "search(x)", recipient="browser", kind="code"),
        node("t1", "a1", "tool", "a page"),
        node("b1", "t1", "assistant", f"So it is.{CITED}"),
    ],
    "a call of a tool as text": [node("a1", "u1", "assistant", "search(x)", recipient="web.run")],
    "a reply in progress": [node("a1", "u1", "assistant", "It wai", status="in_progress")],
    "an unknown status": [node("a1", "u1", "assistant", "It wai", status="finished_partial")],
    "out of tokens": [
        node("a1", "u1", "assistant", "It wai", metadata={"finish_details": {"type": "max_tokens"}})
    ],
    "interrupted": [
        node("a1", "u1", "assistant", "It", metadata={"finish_details": {"type": "interrupted"}})
    ],
    "not complete": [node("a1", "u1", "assistant", "It", metadata={"is_complete": False})],
    "a picture in a reply": [
        node(
            "a1",
            "u1",
            "assistant",
            {"content_type": "image_asset_pointer", "asset_pointer": "sediment://file_1"},
            "There.",
            kind="multimodal_text",
        )
    ],
    "a tool's output": [node("a1", "u1", "tool", "output", kind="execution_output")],
    "an unknown content": [node("a1", "u1", "assistant", "x", kind="super_widget")],
    "words in a mark of the page": [
        node("a1", "u1", "assistant", 'In \ue200entity\ue202["city","Paris"]\ue201 it waits.')
    ],
    "another channel": [node("a1", "u1", "assistant", "Let me look.", channel="commentary")],
    "hidden": [
        node("a1", "u1", "assistant", "x", metadata={"is_visually_hidden_from_conversation": True})
    ],
    "two replies in a row": [
        node("a1", "u1", "assistant", "Let me look."),
        node("b1", "a1", "assistant", "It waits."),
    ],
    "an empty reply": [node("a1", "u1", "assistant", "  "), node("u2", "a1", "user", "well?")],
}


@pytest.mark.parametrize("name", CHATGPT_FLAWS)
def test_what_is_unusable_in_chatgpt_ends_the_conversation_before_it(tmp_path, name):
    raw = two_exchanges(node("u1", "a0", "user", "second"), *CHATGPT_FLAWS[name])
    made, skipped, notes = of(tmp_path, raw)
    assert not skipped
    assert [turn.user for turn in made[0].turns] == ["first"]
    assert sum(count for note, count in notes.items() if "left out" in note) >= 1
    nodes = [node("u1", "root", "user", "second"), *CHATGPT_FLAWS[name]]
    made, skipped, _ = of(tmp_path, tree(*nodes), chatgpt("fine"))
    assert [talk.turns[0].user for talk in made] == ["fine"]
    assert len(skipped) == 1


def test_an_attached_file_of_chatgpt(tmp_path):
    raw = chatgpt("Summarise the attached file")
    raw["mapping"]["u"]["message"]["metadata"] = {
        "attachments": [{"id": "file-1", "name": "a.pdf"}]
    }
    assert of(tmp_path, raw, chatgpt())[1] == ["an attachment that the export does not hold"]
    raw["mapping"]["u"]["message"]["metadata"] = {"attachments": []}
    assert the_one(tmp_path, raw).turns[0].user == "Summarise the attached file"


def test_marks_of_citations_are_taken_out_and_counted(tmp_path):
    answer = f"It waits{CITED} for I/O【12†source】.\ue200filecite\ue202turn0file1\ue201"
    made, _, notes = of(tmp_path, chatgpt(answer=answer))
    assert made[0].turns[0].answer == "It waits for I/O."
    assert notes == {"own.jsonl: marks of citations left out": 3}


@pytest.mark.parametrize(
    "answer",
    [
        "In \ue200entity\ue202x\ue201 it waits.",
        "<antArtifact identifier='a'>code</antArtifact>",
        "```\nThis block is not supported on your current device yet.\n```",
    ],
)
def test_marks_of_a_page_are_no_words_in_any_shape(tmp_path, answer):
    made, skipped, _ = of(tmp_path, listed(content=answer), listed("fine"))
    assert [talk.turns[0].user for talk in made] == ["fine"]
    assert skipped == ["a mark that only the page can show"]
    copied = listed(content="It waits. citeturn0search1turn2view0")
    assert the_one(tmp_path, copied).turns[0].answer == "It waits."


def test_other_branches_of_chatgpt_are_counted(tmp_path):
    raw = tree(
        node("u", "root", "user", "why slow"),
        node("x", "u", "assistant", "an older reply"),
        node("y", "root", "user", "an edited prompt"),
        thoughts("t", "u"),
        node("a", "t", "assistant", ANSWER),
        current="a",
    )
    made, _, notes = of(tmp_path, raw)
    assert made[0].turns == (Turn("why slow", THOUGHT, ANSWER),)
    assert notes == {"own.jsonl: messages of other branches left out": 2}


def test_own_instructions_are_the_system_prompt(tmp_path):
    context = {"content_type": "user_editable_context", "user_profile": "I keep bees.",
               "user_instructions": "Be brief."}  # fmt: skip
    message = {"author": {"role": "user"}, "content": context}
    first = {"id": "s", "parent": "root", "message": message}
    raw = tree(
        first,
        node("u", "s", "user", "why slow"),
        thoughts("t", "u"),
        node("a", "t", "assistant", ANSWER),
    )
    made = the_one(tmp_path, raw)
    assert made.system == "I keep bees.\n\nBe brief."
    assert made.turns == (Turn("why slow", THOUGHT, ANSWER),)
    blank = node("s", "root", "system", "")
    raw["mapping"]["s"] = blank
    assert the_one(tmp_path, raw).system == ""
    system = {"role": "system", "content": "Be brief."}
    raw = listed()
    raw["messages"].insert(0, system)
    assert the_one(tmp_path, raw).system == "Be brief."
    assert the_one(tmp_path, sharegpt() | {"system": "Be brief."}).system == "Be brief."
    (row,) = to_rows(the_one(tmp_path, raw), None)
    assert rows.text_of(row["messages"][0]) == "Be brief."
    raw["messages"].insert(2, system)
    assert of(tmp_path, raw, sharegpt())[1]


def branch(name: str, parent: str, sender: str, *parts: object, at: int = 0) -> dict:
    time = f"2026-01-01T00:00:{at:02d}Z"
    return said(sender, *parts, uuid=name, parent_message_uuid=parent, created_at=time)


ROOT_UUID = "00000000-0000-4000-8000-000000000000"


def test_claudes_branches_are_told_apart(tmp_path):
    edited = claude(
        branch("a", ROOT_UUID, "human", "an edited prompt", at=1),
        branch("b", "a", "assistant", thinking(), "an old answer", at=2),
        branch("c", ROOT_UUID, "human", "why slow", at=3),
        branch("d", "c", "assistant", thinking("Old thought."), "a reply asked for again", at=4),
        branch("e", "c", "assistant", thinking(), ANSWER, at=5),
    )
    made, skipped, notes = of(tmp_path, edited)
    assert not skipped
    assert made[0].turns == (Turn("why slow", THOUGHT, ANSWER),)
    assert notes == {"own.jsonl: messages of other branches left out": 3}
    shown = the_one(tmp_path, edited | {"current_leaf_message_uuid": "b"})
    assert shown.turns == (Turn("an edited prompt", THOUGHT, "an old answer"),)
    later = [*edited["chat_messages"][:2], branch("f", "b", "human", "and then?", at=9),
             branch("g", "f", "assistant", thinking(), "Then it ends.", at=10),
             *edited["chat_messages"][2:]]  # fmt: skip
    turns = the_one(tmp_path, claude(*later)).turns
    assert [turn.user for turn in turns] == ["an edited prompt", "and then?"]


def test_a_branch_of_claude_without_its_beginning_is_skipped(tmp_path):
    lost = claude(
        branch("a", ROOT_UUID, "human", "first"),
        branch("b", "a", "assistant", thinking(), "An answer."),
        branch("d", "gone", "human", "why slow"),
        branch("e", "d", "assistant", thinking(), ANSWER),
    )
    circle = claude(branch("a", "b", "human", "x"), branch("b", "a", "assistant", "y"))
    made, skipped, _ = of(tmp_path, lost, circle, claude())
    assert len(made) == 1
    assert len(skipped) == 2


@pytest.mark.parametrize(
    "reply",
    [
        said("assistant", {"type": "tool_use", "name": "search"}, "So."),
        said("assistant", {"type": "tool_result"}, "So."),
        said("assistant", {"type": "redacted_thinking", "data": "x"}, "So."),
        said("assistant", thinking() | {"cut_off": True}, "So."),
        said("assistant", thinking(), "It wai", stop_reason="max_tokens"),
        said("assistant", thinking(), "It wai", truncated=True),
        said("assistant", thinking(), "", stop_reason="user_canceled"),
    ],
)
def test_what_is_unusable_in_claude_ends_the_conversation_before_it(tmp_path, reply):
    fine = claude()["chat_messages"]
    made, skipped, notes = of(tmp_path, claude(*fine, said("human", "more"), reply))
    assert not skipped
    assert [turn.user for turn in made[0].turns] == ["why slow"]
    assert sum(count for note, count in notes.items() if "left out" in note) == 1


@pytest.mark.parametrize("key", ["attachments", "files", "files_v2"])
def test_attachments_of_claude_are_no_words(tmp_path, key):
    talk = claude(said("human", "read it", **{key: [{"file_name": "a"}]}), said("assistant", "x"))
    assert of(tmp_path, talk, claude())[1] == ["an attachment that the export does not hold"]
    talk = claude(said("human", "read it", **{key: []}), said("assistant", thinking(), "x."))
    assert the_one(tmp_path, talk).turns[0].user == "read it"


# Lists of messages: each key is honoured, or the conversation is left out.


def test_weight_0_is_history_and_never_trained(tmp_path):
    bad = {"role": "assistant", "content": "<think>bad</think>BAD", "weight": 0}
    one = {"messages": [{"role": "user", "content": "why"}, bad]}
    two = {"messages": [*one["messages"], *listed()["messages"]]}
    made, skipped, _ = of(tmp_path, one, two, listed("fine", weight=1))
    assert len(skipped) == 1
    assert [len(talk.turns) for talk in made] == [2, 1]
    (row,) = to_rows(made[0], None)
    trained = [message for message in row["messages"] if message.get("weight")]
    assert "BAD" not in rows.text_of(trained[0])
    assert "bad" not in json.dumps(row["messages"][:-1]).replace("BAD", "")
    for weight in (0.5, 2, "1", -1):
        assert of(tmp_path, listed(weight=weight), listed())[1] == [
            "a weight that is neither 0 nor 1"
        ]


@pytest.mark.parametrize(
    "raw",
    [
        listed() | {"rejected": "No."},
        listed() | {"videos": ["a.mp4"]},
        listed() | {"weight": 0},
        listed(loss=False),
        listed(train=False),
        listed(refusal="I cannot."),
        listed(audio={"id": "a"}),
        listed(prefix=True),
        sharegpt() | {"chosen": {"from": "gpt", "value": "x"}},
    ],
)
def test_a_key_that_is_not_read_leaves_the_conversation_out(tmp_path, raw):
    made, skipped, notes = of(tmp_path, raw, listed("fine"))
    assert [talk.turns[0].user for talk in made] == ["fine"]
    assert skipped[0].startswith("a key that is not read: ")
    assert notes == {f"{skipped[0]}: first in own.jsonl:1": 1}


def test_a_tool_is_named_as_the_reason(tmp_path):
    call = {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}
    output = {"role": "tool", "content": "a page", "tool_call_id": "1"}
    user, reply = listed()["messages"]
    made, skipped, notes = of(tmp_path, {"messages": [user, call, output, reply]}, listed("fine"))
    assert skipped == ["a call of a tool"]
    _, _, notes = of(tmp_path, {"messages": [user, reply, user, call, output, reply]})
    assert notes == {"own.jsonl: exchanges from one on with a call of a tool left out": 2}


# Tools


SEARCH = {"type": "object", "properties": {"q": {"type": "string"}}, "required": ["q"]}
FLAT = [{"name": "search", "description": "Looks.", "parameters": SEARCH}]
OPENAI = [{"type": "function", "function": FLAT[0]}]
CALL = Call("search", {"q": "slow"})
REASONED = {"reasoning_content": "Look first."}


def openai_call(id_="c1", **about):
    return {"role": "assistant", "content": None, "tool_calls": [CALL.as_openai(id_)]} | about


def openai_result(id_="c1", content="a page"):
    return {"role": "tool", "content": content, "tool_call_id": id_}


USER, REPLY = listed()["messages"]
FUNCTION_CALL = {
    "from": "function_call",
    "value": f"<think>Look first.</think>{json.dumps({'name': 'search', 'arguments': {'q': 'slow'}})}",
}
SHAREGPT = [
    {"from": "human", "value": "why slow"},
    FUNCTION_CALL,
    {"from": "observation", "value": "a page"},
    {"from": "gpt", "value": f"<think>{THOUGHT}</think>{ANSWER}"},
]  # fmt: skip
USE = {"type": "tool_use", "id": "t1", "name": "search", "input": {"q": "slow"}}
RESULT = {
    "type": "tool_result",
    "tool_use_id": "t1",
    "content": [{"type": "text", "text": "a page"}],
}
ANTHROPIC = [{"name": "search", "description": "Looks.", "input_schema": SEARCH}]
WITH_TOOLS = {
    "openai": {"messages": [USER, openai_call(**REASONED), openai_result(), REPLY], "tools": OPENAI},
    "openai, old": {
        "messages": [
            USER,
            {"role": "assistant", "content": None, "function_call": {"name": "search", "arguments": '{"q": "slow"}'}} | REASONED,
            {"role": "function", "name": None, "content": "a page"},
            REPLY,
        ],
        "functions": FLAT,
    },
    "sharegpt": {"conversations": SHAREGPT, "tools": json.dumps(FLAT)},
    "claude's export": claude(
        said("human", "why slow"),
        said("assistant", thinking("Look first."), USE, RESULT, thinking(), ANSWER),
    ) | {"tools": ANTHROPIC},
    "anthropic's messages": {
        "messages": [
            USER,
            {"role": "assistant", "content": [thinking("Look first."), USE], "stop_reason": "tool_use"},
            {"role": "user", "content": [RESULT]},
            REPLY,
        ],
        "tools": ANTHROPIC,
    },
}  # fmt: skip


@pytest.mark.parametrize("name", WITH_TOOLS)
def test_calls_and_results_are_read_in_every_form(tmp_path, name):
    talk = the_one(tmp_path, WITH_TOOLS[name])
    step = Step("Look first.", (CALL,), ("a page",))
    assert talk.turns == (Turn("why slow", THOUGHT, ANSWER, steps=(step,)),)
    assert talk.offered == tuple(OPENAI)
    first, last = to_rows(completed(talk), str)
    for row in (first, last):
        rows.check(row)
    assert tools.read(rows.text_of(first["messages"][-1])) == [CALL]
    assert [message["role"] for message in last["messages"]][-3:] == [
        "assistant",
        "tool",
        "assistant",
    ]


def completed(talk):
    """A conversation with what the mix gives it."""
    return replace(talk, category="c", system="s")


def talks(*messages, offered=OPENAI):
    return {"messages": list(messages), "tools": offered}


def test_several_calls_and_a_talk_that_ends_in_one(tmp_path):
    both = openai_call("a", tool_calls=[CALL.as_openai("a"), CALL.as_openai("b")], **REASONED)
    results = [openai_result("b", "second"), openai_result("a", "first")]
    again = openai_call("c", content="Once more.", **REASONED)
    talk = the_one(tmp_path, talks(USER, both, *results, REPLY, USER, again))
    assert talk.turns[0].steps == (Step("Look first.", (CALL, CALL), ("first", "second")),)
    assert talk.turns[1].steps == (Step("Look first.", (CALL,), (), "Once more."),)
    made = to_rows(completed(talk), str)
    assert [row["id"].partition("#")[2] for row in made] == ["1", "2", "3"]
    rows.check(made[-1])
    untrained = openai_call(weight=0, **REASONED)
    only = the_one(tmp_path, talks(USER, untrained, openai_result(), REPLY))
    assert len(to_rows(completed(only), str)) == 1
    assert the_one(tmp_path, talks(USER, REPLY)).offered == tuple(OPENAI)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (talks(USER, openai_call(), openai_result(), REPLY, offered=[]), "a call of a tool"),
        (talks(USER, openai_call(), openai_result(), REPLY, offered="[{]"), "tools in a form that is not read"),
        (talks(USER, openai_call(), openai_result(), REPLY, offered=[{"name": 7}]), "tools in a form that is not read"),
        (talks(USER, openai_call(), openai_result(), REPLY, offered=[FLAT[0] | {"name": "find"}]), "a call of a tool that is not offered"),
        (talks(USER, openai_call(), REPLY), "calls or results that no reply follows"),
        (talks(USER, openai_call(), openai_result()), "calls or results that no reply follows"),
        (talks(USER, openai_call(), openai_result("other"), REPLY), "a call without its result"),
        (talks(USER, openai_call(), openai_result(), openai_result(), REPLY), None),
        (talks(USER, openai_result(), REPLY), "a call of a tool"),
        (talks(USER, openai_call(finish_reason="length"), openai_result(), REPLY), "a reply that does not end"),
        (talks(USER, openai_call(tool_calls=[{"id": "1", "function": {"name": "search", "arguments": "{"}}]), REPLY), "a call of a tool"),
        (talks(USER, openai_call(content="Write to jo@example.org."), openai_result(), REPLY), "a reply in which something was masked"),
        (talks(USER, openai_call(tool_calls=[Call("search", {"q": "jo@example.org"}).as_openai("c1")]), openai_result(), REPLY), "a reply in which something was masked"),
        ({"conversations": [*SHAREGPT[:1], {"from": "function_call", "value": "search(slow)"}, *SHAREGPT[2:]], "tools": FLAT}, "a call that is not read"),
        (claude(said("human", "x"), said("assistant", USE, RESULT | {"content": [{"type": "image"}]}, thinking(), "So.")) | {"tools": ANTHROPIC}, "a result of a tool that is no text"),
    ],
)  # fmt: skip
def test_calls_that_cannot_be_told_are_left_out_with_a_reason(tmp_path, raw, reason):
    made, skipped, _ = of(tmp_path, raw, listed("fine"))
    assert skipped == ([reason] if reason else [])
    assert made[-1].turns[0].user == "fine"


def test_keys_in_a_result_are_masked(tmp_path):
    talk = the_one(
        tmp_path,
        talks(USER, openai_call(), openai_result(content="Ask jo@example.org."), REPLY),
    )
    assert "example" not in talk.turns[0].steps[0].results[0]


def test_keys_that_say_nothing_are_passed_over(tmp_path):
    raw = listed(refusal=None, tool_calls=[], function_call=None, audio=None, annotations=[])
    raw |= {"id": "7", "title": "t", "source": "s", "tools": "[]", "videos": [], "metadata": {}}
    assert the_one(tmp_path, raw).turns == (Turn("why slow", THOUGHT, ANSWER),)


@pytest.mark.parametrize(
    "reply",
    [
        {"tool_calls": [{"id": "c", "function": {"name": "f"}}]},
        {"finish_reason": "length"},
        {"stop_reason": "max_tokens"},
        {"status": "in_progress"},
        {"recipient": "browser"},
        {"end_turn": False, "finish_reason": "tool_calls"},
        {"content": ""},
        {"content": "<think>It never ends.", "reasoning_content": ""},
        {"content": "<think>One.</think>Two.</think>Three.", "reasoning_content": ""},
        {"content": "<think>One.</think>Two.<think>Three.</think>Four.", "reasoning_content": ""},
        {"content": "<think>Another thought.</think>It waits."},
        {"content": MARKED[:-20]},
        {"content": "Write to jo@example.org."},
        {"reasoning_content": "The key is " + "ghp_" + "a1B2c3" * 6},
        {"content": [{"type": "image", "path": "red.png"}, {"type": "text", "text": "There."}]},
        {"content": [{"type": "audio", "data": "x"}]},
    ],
)
def test_what_is_unusable_in_a_list_is_left_out(tmp_path, reply):
    made, skipped, _ = of(tmp_path, listed(**reply), listed("fine"))
    assert [talk.turns[0].user for talk in made] == ["fine"]
    assert len(skipped) == 1


@pytest.mark.parametrize(
    ("content", "beside", "reasoning", "answer"),
    [
        ("<think></think>\n\nIt waits.", THOUGHT, THOUGHT, "It waits."),
        ("<think>\n\n</think>It waits.", THOUGHT, THOUGHT, "It waits."),
        (f"{THOUGHT}\n</think>\n\nIt waits.", "", THOUGHT, "It waits."),
        ("</think>It waits.", THOUGHT, THOUGHT, "It waits."),
        (f"<think>{THOUGHT}</think>It waits.", THOUGHT, THOUGHT, "It waits."),
        (f"<thinking>{THOUGHT}</thinking>It waits.", "", THOUGHT, "It waits."),
        (f"<THINK>{THOUGHT}</THINK>It waits.", None, THOUGHT, "It waits."),
        ("Use <think> and </think> here.", THOUGHT, THOUGHT, "Use <think> and </think> here."),
        (MARKED, "", THOUGHT, ANSWER),
    ],
)
def test_reasoning_is_found_where_it_stands(tmp_path, content, beside, reasoning, answer):
    made = the_one(tmp_path, listed(content=content, reasoning_content=beside))
    assert made.turns == (Turn("why slow", reasoning, answer),)


def test_history_holds_final_answers_alone(tmp_path):
    raw = listed(content="A first thought.</think>The first answer.", reasoning_content="")
    raw["messages"] += listed("and then?")["messages"]
    last = to_rows(the_one(tmp_path, raw), None)[-1]
    assert rows.text_of(rows.turns(last)[1]) == "The first answer."


def test_a_reply_without_reasoning_gives_no_row(tmp_path):
    talk = listed("a", reasoning_content="")
    mixed = {"messages": [*talk["messages"], *listed()["messages"]]}
    (kept,), (skipped,), _ = of(tmp_path, talk, mixed)
    assert "no reply with reasoning to train on" in skipped
    (row,) = to_rows(kept, None)
    assert [m.get("weight") for m in row["messages"]] == [None, 0, None, 1]


def test_a_source_that_gave_no_row_is_named_with_what_to_do(dataset):
    talks = [listed(f"question {n}", reasoning_content="") for n in range(10)]
    (dataset / "conversations" / "own.json").write_text(json.dumps(talks))
    for unchanged in (False, True):
        first, last = build.build(dataset).splitlines()
        assert first.endswith("unchanged") == unchanged
        count = "own from conversations: 10 of 10 conversations gave no row"
        assert last.startswith(f"{count}: no reply with reasoning to train on; add the reasoning")


# Pictures


def picture(folder: Path, name: str = "red.png", size: tuple[int, int] = (30, 20)) -> str:
    Image.new("RGB", size, (200, 10, 10)).save(folder / name)
    return name


def shape_of(content: list[dict]) -> list[str]:
    return [part.get("text", "[picture]") for part in content]


def shown(folder: Path, raw: object) -> list[str]:
    """The user's message of the row: its texts, and where pictures stand."""
    (row,) = to_rows(the_one(folder, raw), lambda png: "images/x.png")
    return shape_of(rows.turns(row)[0]["content"])


def test_pictures_are_shown_where_they_stand(tmp_path):
    one, two = picture(tmp_path), picture(tmp_path, "two.png", (10, 40))
    assert shown(tmp_path, llava(one)) == ["[picture]", "why slow"]
    factory = listed("<image>What is it?") | {"images": [one]}
    assert shown(tmp_path, factory) == ["[picture]", "What is it?"]
    between = listed("Compare <image> with <image>.") | {"images": [one, two]}
    assert shown(tmp_path, between) == ["Compare ", "[picture]", " with ", "[picture]", "."]
    parts = [
        {"type": "text", "text": "Here:"},
        {"type": "image", "path": one},
        {"type": "text", "text": "What is it?"},
    ]
    assert shown(tmp_path, listed(parts)) == ["Here:", "[picture]", "What is it?"]
    data = base64.b64encode((tmp_path / one).read_bytes()).decode()
    address = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}
    assert shown(tmp_path, listed([address, *parts[2:]])) == ["[picture]", "What is it?"]


def test_texts_that_follow_each_other_are_paragraphs(tmp_path):
    texts = [{"type": "text", "text": text} for text in ("why", "slow?")]
    assert the_one(tmp_path, listed(texts)).turns[0].user == "why\n\nslow?"
    image = {"type": "image", "path": picture(tmp_path)}
    assert shown(tmp_path, listed([*texts, image, *texts])) == [
        "why\n\nslow?",
        "[picture]",
        "why\n\nslow?",
    ]


def test_a_picture_beside_its_file_is_found(tmp_path):
    (tmp_path / "set").mkdir()
    picture(tmp_path / "set")
    (tmp_path / "set" / "own.jsonl").write_text(json.dumps(llava("red.png")))
    (made,) = imported(tmp_path)
    assert len(made.turns[0].images) == 1


def test_a_picture_is_upright_and_on_white(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (200, 100)).save(tmp_path / "turned.jpg", exif=exif)
    Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    made = the_one(tmp_path, listed("<image><image>?") | {"images": ["turned.jpg", "clear.png"]})
    turned, clear = (Image.open(io.BytesIO(png)) for png in made.turns[0].images)
    assert turned.size == (100, 200)
    assert clear.getpixel((4, 4)) == (255, 255, 255)


def outside(folder: Path) -> str:
    Image.new("RGB", (8, 8)).save(folder.parent / "outside.png")
    (folder / "link.png").symlink_to(folder.parent / "outside.png")
    return "link.png"


def bomb(folder: Path) -> str:
    Image.new("1", (9_000, 9_000)).save(folder / "bomb.png")
    return "bomb.png"


def half(folder: Path) -> str:
    data = (folder / picture(folder, "half.png", (300, 300))).read_bytes()
    (folder / "half.png").write_bytes(data[: len(data) // 2])
    return "half.png"


@pytest.mark.parametrize(
    ("name", "says"),
    [
        (outside, "outside of the folder"),
        (bomb, "pixels"),
        (half, "cannot be used"),
        ("../outside.png", "outside of the folder"),
        ("/etc/passwd", "outside of the folder"),
        ("https://example.org/a.png", "at an address"),
        ("file:///etc/passwd", "at an address"),
        ("gone.png", "not there"),
        ("own.jsonl", "cannot be used"),
        ("a\0b.png", "at an address"),
        ("data:image/png;base64,@@", "wants"),
    ],
)
def test_a_picture_that_cannot_be_shown_leaves_the_conversation_out(tmp_path, name, says):
    folder = tmp_path / "own"
    folder.mkdir()
    name = name if isinstance(name, str) else name(folder)
    part = {"type": "image", "path": name}
    odd = listed([part, {"type": "text", "text": "What is it?"}])
    made, skipped, _ = of(folder, odd, listed("fine"))
    assert [talk.turns[0].user for talk in made] == ["fine"]
    assert says in skipped[0]
    assert len(skipped[0]) < 200


@pytest.mark.parametrize(
    "raw",
    [
        listed("<image>What is it?"),
        sharegpt("<image>\nWhat is it?"),
        listed("What is it?") | {"images": ["red.png"]},
        listed("<image>What is it?") | {"images": ["red.png", "red.png"]},
        listed("<image>What is it?") | {"images": [{"path": "red.png"}]},
        listed("what?", content="<image> There.") | {"images": ["red.png"]},
    ],
)
def test_places_and_pictures_must_agree(tmp_path, raw):
    picture(tmp_path)
    made, skipped, _ = of(tmp_path, raw, listed("fine"))
    assert [talk.turns[0].user for talk in made] == ["fine"]
    assert len(skipped) == 1


# Odd conversations, one and many


def test_identical_conversations_are_duplicates(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps([sharegpt(), sharegpt("other")]))
    (tmp_path / "b.jsonl").write_text(json.dumps(listed()) + "\n" + json.dumps(sharegpt("new")))
    made, skipped, _ = sorted_out(imported(tmp_path))
    assert len(made) == 3
    assert skipped == ["the same conversation as one before"]
    again = listed(content="Another answer.")
    made, skipped, _ = of(tmp_path, listed(), again)
    assert len({talk.id for talk in made}) == len(made)
    assert len({talk.group for talk in made if talk.turns[0].user == "why slow"}) == 1


BROKEN = {
    "no JSON": '{"messages": [',
    "not text": b"\xff\xfe\x00{",
    "nested without end": "[" + '{"a":' * 100_000,
    "a line of 5 MB": json.dumps(listed("x" * 5_000_000)),
    "a list": "[1, 2]",
    "a number": "7",
    "null": "null",
    "an unknown shape": '{"text": "hello"}',
    "no messages": '{"messages": []}',
    "messages of text": '{"messages": "hello"}',
    "messages that are null": '{"messages": null}',
    "a message that is text": '{"messages": ["hello", "ho"]}',
    "a message without a role": '{"messages": [{"content": "why"}, {"content": "so"}]}',
    "a role of its own": '{"messages": [{"role": "narrator", "content": "once"}]}',
    "a question alone": '{"messages": [{"role": "user", "content": "why"}]}',
    "two questions": json.dumps({"messages": [listed()["messages"][0]] * 2}),
    "the reply first": json.dumps({"messages": listed()["messages"][::-1]}),
    "an empty tree": '{"mapping": {}}',
    "a tree of null": '{"mapping": {"a": null}}',
    "a tree without its leaf": json.dumps(chatgpt() | {"current_node": "gone"}),
    "a tree that is a circle": json.dumps(
        {"mapping": {"a": {"parent": "b"}, "b": {"parent": "a"}}, "current_node": "a"}
    ),
    "parts that are null": json.dumps(tree(node("u", "root", "user", None))),
    "an empty chat": '{"chat_messages": []}',
    "a chat of text": '{"chat_messages": ["hello"]}',
    "half a character": json.dumps(listed("\ud800 why")),
    "half a character in a reply": json.dumps(listed(content="\udfff so")),
    "a part of unknown type": json.dumps(listed([{"type": "hologram", "data": 1}])),
    "a part without type": json.dumps(listed([{"text": "why"}])),
    "a marker": json.dumps(listed("what does <|end|> do?")),
    "an image token": json.dumps(listed(content="see [IMG] there")),
    "no reasoning": json.dumps(listed(reasoning_content=None)),
    "a key that is not read": json.dumps(listed() | {"score": -1}),
    "weight 0": json.dumps(listed(weight=0)),
    "a picture that is not there": json.dumps(llava("gone.png")),
    "a place without its picture": json.dumps(listed("<image> what?")),
    "a secret in the reply": json.dumps(listed(content="Use password = 'hunter2hunter2'.")),
    "cut off": json.dumps(listed(finish_reason="length")),
    "content that is a number": json.dumps(listed(7)),
    "a reply that is a number": json.dumps(listed(content=7)),
    "a system prompt that is a list": json.dumps(listed() | {"system": ["Be brief."]}),
    "a huge number": '{"messages": ' + "9" * 5000 + "}",
}


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    folder = tmp_path / "datasets" / "own"
    (folder / "conversations").mkdir(parents=True)
    (folder / "system.md").write_text("You are AetherAI.")
    source = {"kind": "conversations", "path": "conversations", "category": "own"}
    plan = {
        "seed": 3,
        "val_share": 0.2,
        "licence": "MIT",
        "total": 3000,
        "quotas": {"own": 3000},
        "sources": [source | {"system": "system.md"}],
    }
    (folder / "mix.yaml").write_text(yaml.safe_dump(plan))
    return folder


def reason_of(item: object) -> str | None:
    """Why an item gives no row, or None."""
    try:
        if isinstance(item, Skip):
            raise item
        to_rows(item, lambda png: "images/x.png")
    except Skip as skip:
        return str(skip)
    return None


@pytest.mark.parametrize("name", BROKEN)
def test_one_odd_conversation_is_counted_and_the_others_are_read(tmp_path, name):
    line = BROKEN[name]
    odd = line if isinstance(line, bytes) else line.encode()
    fine = [json.dumps(listed(f"question {n}")).encode() for n in range(9)]
    (tmp_path / "own.jsonl").write_bytes(b"\n".join([*fine[:4], odd, *fine[4:]]))
    items = [item for item in imported(tmp_path) if not isinstance(item, Note)]
    reasons = [reason_of(item) for item in items]
    assert [number for number, reason in enumerate(reasons) if reason] == [4]
    assert len(reasons) == 10
    assert "\n" not in reasons[4]
    assert len(reasons[4]) < 200


def test_two_sources_that_overlap_are_no_error(dataset):
    (dataset / "more").mkdir()
    plan = yaml.safe_load((dataset / "mix.yaml").read_text())
    plan["sources"].append(plan["sources"][0] | {"path": "more"})
    (dataset / "mix.yaml").write_text(yaml.safe_dump(plan))
    for folder in ("conversations", "more"):
        (dataset / folder / f"{folder}.json").write_text(
            json.dumps([sharegpt(f"question {n}") for n in range(5)] + [sharegpt(folder)])
        )
    build.build(dataset)
    manifest = json.loads((dataset / "build" / "manifest.json").read_text())
    assert manifest["kept"] == 7
    skipped = manifest["skipped"]
    assert skipped["own from conversations: the same conversation as one of an earlier source"] == 5


def test_two_thousand_conversations_in_five_shapes_are_all_accounted_for(dataset):
    """1,800 are fine and 200 broken in as many ways as there are, in files of every kind."""
    folder = dataset / "conversations"
    picture(folder, "map.png")
    shapes = [
        lambda text: chatgpt(text),
        lambda text: claude(said("human", text), said("assistant", thinking(), ANSWER)),
        lambda text: sharegpt(text),
        lambda text: listed(text),
        lambda text: llava("map.png", f"<image>\n{text}"),
    ]
    per_shape = 360
    talks = [
        [shape(f"Question {number} of shape {n}?") for number in range(per_shape)]
        for n, shape in enumerate(shapes)
    ]
    (folder / "conversations.json").write_text(json.dumps(talks[0]))
    with zipfile.ZipFile(folder / "data-2026.zip", "w") as archive:
        archive.writestr("conversations.json", json.dumps(talks[1]))
    (folder / "shared.jsonl").write_text("\n".join(map(json.dumps, talks[2])))
    (folder / "more").mkdir()
    (folder / "more" / "tuning.ndjson").write_text("\n".join(map(json.dumps, talks[3])))
    (folder / "llava.JSON").write_text(json.dumps(talks[4]))
    ways = [line if isinstance(line, bytes) else line.encode() for line in BROKEN.values()]
    broken = [ways[number % len(ways)] for number in range(200)]
    (folder / "broken.jsonl").write_bytes(b"\n".join(broken))
    build.build(dataset)
    manifest = json.loads((dataset / "build" / "manifest.json").read_text())
    about = manifest["conversations_read"]["own from conversations"]
    assert about["read"] == 2_000
    assert about["gave_rows"] == manifest["kept"] == 5 * per_shape
    assert sum(about["without_rows"].values()) == 200
    assert len(about["without_rows"]) > 15
    report = (dataset / "build" / "report.md").read_text()
    assert "| own from conversations | 2,000 | 1,800 | 200 |" in report
    assert "Names and street addresses have no\npattern and are not masked" in report
    for reason, count in about["without_rows"].items():
        cell = reason.replace("|", "\\|")
        assert f"| own from conversations: {cell} | {count} |" in report
        assert any(reason in note and "first in " in note for note in manifest["notes"]) or (
            "contains" in reason or "surrogate" in reason
        )
