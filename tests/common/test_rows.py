"""The row contract: each bad row gets one line that says where, what, and what to do."""

import json
import struct
import zlib

import pytest
from conftest import message, row, save_image, write_dataset

from common import rows, tools

GOOD = [message("user", "hi"), message("assistant", "ho", weight=1)]
TOOLS = [
    {
        "type": "function",
        "function": {"name": "ring", "parameters": {"type": "object", "properties": {}}},
    }
]


def called(*ids, name="ring", arguments="{}"):
    """An earlier turn that calls a tool once for each id."""
    calls = [tools.Call(name, {}).as_openai(id_) for id_ in ids]
    for call in calls:
        call["function"]["arguments"] = arguments
    return message("assistant", "", weight=0) | {"tool_calls": calls}


def result(id_):
    return message("tool", "ringing") | {"tool_call_id": id_}


def talk(*middle):
    return {"messages": [GOOD[0], *middle, GOOD[1]], "tools": TOOLS}


def bomb(width=40_000, height=30_000) -> bytes:
    """The header of a PNG of more than a billion pixels, and nothing to show for it."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    return (
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("{not json", "not JSON"),
        ("[1, 2]", "a list where an object is wanted"),
        ("[" * 100_000, "not JSON"),
        ({"id": ""}, "id: ''"),
        ({"origin": "My web"}, "origin: 'My web'; a word in small letters"),
        ({"lable": 1}, "unknown key 'lable'"),
        ({"messages": []}, "messages: give a non-empty list"),
        (
            {"messages": [message("system", "a"), message("system", "b"), *GOOD]},
            "a system turn that is not the first",
        ),
        ({"messages": [message("critic", "a"), *GOOD]}, "messages[0].role: 'critic'"),
        ({"messages": [message("tool", "a"), *GOOD]}, "must alternate"),
        (
            {"messages": [message("user", "a"), message("assistant", "b")]},
            "messages[1].weight: None",
        ),
        (
            {"messages": [message("user", "a"), message("assistant", "b", weight=0)]},
            "nothing to train on",
        ),
        ({"messages": [message("assistant", "b", weight=1)]}, "must alternate"),
        ({"messages": [*GOOD, message("user", "again")]}, "must alternate"),
        ({"messages": [message("user"), GOOD[1]]}, "messages[0].content: give a non-empty list"),
        (
            {"messages": [message("user", {"type": "image", "path": "../x.png"}), GOOD[1]]},
            "only images/<sha256>.png",
        ),
        (
            {"messages": [message("user", {"type": "image_url", "url": "http://x"}), GOOD[1]]},
            "messages[0].content[0]",
        ),
        (
            {"messages": [message("user", {"type": "image", "path": "/etc/passwd"}), GOOD[1]]},
            "only images/<sha256>.png",
        ),
        (
            {
                "messages": [
                    message("user", {"type": "image", "path": f"images/{'a' * 64}.png"}),
                    GOOD[1],
                ]
            },
            "no such image",
        ),
        ({"messages": [message("user", "\ud800"), GOOD[1]]}, "surrogates not allowed"),
        (talk(called("a", arguments='{"a": "\\ud800"}'), result("a")), "an object of arguments"),
        ({"tools": []}, "tools: give a non-empty list"),
        ({"tools": [{"name": "ring"}]}, "tools[0]: give"),
        ({"tools": TOOLS * 2}, "tools[1].function.name: 'ring'"),
        (
            {"tools": [{"type": "function", "function": {"name": "a", "parameters": []}}]},
            "tools[0].function.parameters",
        ),
        (talk(called("a"), result("a")) | {"tools": None}, "tools: give a non-empty list"),
        (talk(called("a")), "results of its calls stand before"),
        (talk(result("a")), "results of its calls stand before"),
        (talk(called("a"), result("b")), "the ids are ['a'], those of the results ['b']"),
        (talk(called("a", "b"), result("a")), "the ids are ['a', 'b'], those of the results"),
        (talk(called("a"), result("a"), result("a")), "those of the results ['a', 'a']"),
        (talk(called("a"), message("tool", "no id")), "those of the results [None]"),
        (talk(called("a", name="call"), result("a")), "'call' is none of the tools, ring"),
        (talk(called("a", arguments="[1]"), result("a")), "an object of arguments"),
        (talk(called("a", arguments="{a"), result("a")), "an object of arguments"),
        (talk(called(""), result("")), "id: ''; give each call a name"),
        (talk(called(), result("a")), "tool_calls: give a non-empty list"),
        (
            talk(called("a"), result("a") | {"content": [{"type": "image", "path": "a.png"}]}),
            "messages[2].content[0]",
        ),
        ({"messages": [GOOD[0] | {"tool_calls": []}, GOOD[1]]}, "unknown key 'tool_calls'"),
    ],
)
def test_bad_rows_are_named(tmp_path, change, said):
    good = json.dumps(row(GOOD, id="first"))
    bad = change if isinstance(change, str) else json.dumps(row(GOOD) | change)
    path = tmp_path / "train.jsonl"
    path.write_text(f"{good}\n{bad}\n")
    with pytest.raises(rows.RowError) as error:
        list(rows.read(path))
    text = str(error.value)
    assert said in text and "\n" not in text
    assert "train.jsonl:2:" in text


def test_calls_with_their_results_keep_the_contract():
    again = [message("assistant", "It rings.", weight=0), message("user", "Twice more.")]
    for middle in ((called("a"), result("a")), (called("a", "b"), result("b"), result("a"))):
        rows.check(row([]) | talk(*middle))
        rows.check(row([]) | talk(*middle, *again, *middle))
    rows.check(row([GOOD[0], called("a") | {"weight": 1}]) | {"tools": TOOLS})
    rows.check(row(GOOD) | {"tools": TOOLS})


def test_a_bomb_a_link_and_another_format_are_refused_by_the_header(tmp_path):
    good = save_image(tmp_path)
    path = tmp_path / good["path"]
    shown = row([message("user", good), GOOD[1]])
    assert rows.images(shown, tmp_path)[0].width == 64
    path.write_bytes(bomb())
    with pytest.raises(rows.RowError, match="40000x30000 pixels"):
        rows.images(shown, tmp_path)
    path.write_bytes(b"GIF89a" + bytes(40))
    with pytest.raises(rows.RowError, match="not a PNG"):
        rows.images(shown, tmp_path)
    outside = tmp_path.parent / f"{tmp_path.name}-outside.png"
    outside.write_bytes(bomb(4, 4))
    path.unlink()
    path.symlink_to(outside)
    with pytest.raises(rows.RowError, match="a link"):
        rows.images(shown, tmp_path)


def test_a_huge_line_is_refused_without_being_read_whole(tmp_path):
    path = tmp_path / "train.jsonl"
    path.write_text("x" * (rows.MAX_LINE * 2))
    with pytest.raises(rows.RowError, match="at most"):
        list(rows.read(path))


def test_line_numbers_and_offsets(tmp_path):
    folder = write_dataset(
        tmp_path, [row([message("user", "ü" * n), GOOD[1]], id=str(n)) for n in range(1, 6)]
    )
    content = (folder / "train.jsonl").read_bytes()
    for number, offset, line in rows.lines(folder / "train.jsonl"):
        assert content[offset : offset + len(line)] == line and json.loads(line)["id"] == str(
            number
        )
