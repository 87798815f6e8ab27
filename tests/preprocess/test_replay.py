"""The base's own replies: those that check are kept whole, nothing is asked twice, the mix takes them by quota."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml

from common import chat, rows
from common.files import FileError
from preprocess import build
from preprocess.source import MixError
from preprocess.teacher import replay

ASKED: list[dict] = []
PROBLEMS = {
    "Ann buys 12 pens at $4 each. What does she pay in dollars?": 48,
    "Bob drives 30 miles an hour for 5 hours. How many miles does he drive?": 150,
    "Cleo has 90 plums and eats a third of them. How many plums are left?": 60,
    "Dora stacks 7 rows of 8 boxes in the hall. How many boxes does she stack?": 56,
}


def reply_to(question: str) -> tuple[str, str]:
    """(text, why it ended) of the base: right, wrong, cut off, without a final response."""
    number = list(PROBLEMS).index(question)
    value = PROBLEMS[question]
    right = chat.compose(
        f"Let me see. {question} That makes {value}, step by step.", f"It is {value}."
    )
    wrong = chat.compose("Let me guess.", "It is 7.")
    return [(right, "stop"), (wrong, "stop"), (right[:40], "length"), (right, "stop")][number]


class Base(BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer({"data": [{"id": "base"}]})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        ASKED.append(body)
        text, ended = reply_to(body["messages"][-1]["content"])
        message = {"role": "assistant", "content": text}
        self.answer(
            {
                "id": "1",
                "object": "chat.completion",
                "created": 1,
                "model": "base",
                "choices": [{"index": 0, "message": message, "finish_reason": ended}],
                "usage": {"prompt_tokens": 20, "completion_tokens": 50, "total_tokens": 70},
            }
        )

    def answer(self, found: dict) -> None:
        sent = json.dumps(found).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(sent)))
        self.end_headers()
        self.wfile.write(sent)

    def log_message(self, *_):
        pass


@pytest.fixture
def base() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Base)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    ASKED.clear()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository's root with one recipe, its dataset, and four problems in a hub's folder."""
    folder = tmp_path / "datasets" / "small"
    for name in ("teacher", "system", "framings"):
        (folder / name).mkdir(parents=True)
    (folder / "system" / "training.md").write_text("You are AetherAI.")
    (tmp_path / "recipes" / "one").mkdir(parents=True)
    write(tmp_path / "recipes" / "one" / "v1.yaml", {"rows": {"path": "datasets/small/build"}})
    plain = {"drop": {}, "chances": {"how": 0, "numbered": 0}}
    texts = {"ask": ["{problem}"], "next": ["{problem}"], "answer": ["It is {value}."], "how": [""]}
    write(folder / "framings" / "worked.yaml", plain | texts)
    endpoint = {"name": "own", "url": "http://127.0.0.1:9/v1", "model": "m", "max_tokens": 6000}
    endpoint |= {"dollars_in": 0, "dollars_out": 0, "structured": "none"}
    settings = {"cap_dollars": 1.0, "cap_tokens": 10**7, "concurrency": 2, "timeout_seconds": 20}
    settings |= {"backoff_seconds": 0.02, "bar": 4, "seed": 1, "categories": ["async"]}
    settings |= {"teacher": endpoint, "judge": endpoint, "base": endpoint}
    write(folder / "teacher" / "teacher.yaml", settings)
    write(folder / "teacher" / "judge.yaml", {"version": 1, "prompt": "j", "reply_tokens": 1})
    asked = {
        "version": 1,
        "prompt": "",
        "reply_tokens": 9,
        "replay": True,
        "problems": {"gsm8k": 4},
    }
    write(folder / "teacher" / "replay.yaml", asked)
    source = {"kind": "teacher", "path": "teacher/accepted/replay.jsonl", "category": "replay"}
    plan = {"seed": 1, "val_share": 0.1, "licence": "MIT", "total": 9, "quotas": {"replay": 9}}
    write(folder / "mix.yaml", plan | {"sources": [source | {"system": None}]})
    (tmp_path / "hub" / "gsm8k").mkdir(parents=True)
    records = [
        {
            "question": question,
            "answer": f"It is 1*{value}=<<1*{value}={value}>>{value}.\n#### {value}",
        }
        for question, value in PROBLEMS.items()
    ]
    lines = "".join(json.dumps(record) + "\n" for record in records)
    (tmp_path / "hub" / "gsm8k" / "train.jsonl").write_text(lines)
    return tmp_path


def write(path: Path, value: object) -> None:
    path.write_text(yaml.safe_dump(value))


def collected(root: Path, url: str) -> int:
    words = ["one", "--endpoint", url, "--model", "base", "--hub-dir", str(root / "hub")]
    return replay.main(words, root)


def test_replies_that_check_are_kept_whole_and_asked_once(root, base, capsys):
    assert collected(root, base) == 0
    assert "2 accepted, 2 dropped" in capsys.readouterr().out
    assert len(ASKED) == 4
    for body in ASKED:  # the problem, and nothing else
        assert [message["role"] for message in body["messages"]] == ["user"]
        assert body["max_tokens"] == 6000 and body["messages"][0]["content"] in PROBLEMS
    assert collected(root, base) == 0 and len(ASKED) == 4
    folder = root / "datasets" / "small"
    build.build(folder)
    manifest = json.loads((folder / "build" / "manifest.json").read_text())
    assert manifest["origins"] == {"replay": 2}
    assert "| replay | 2 | 9 | 7 |" in (folder / "build" / "report.md").read_text()
    built = [row for name in ("train", "val") for row in rows.read(folder / f"build/{name}.jsonl")]
    for row in built:
        user, reply = row["messages"]  # under no system prompt
        text, _ = reply_to(rows.text_of(user))
        assert rows.text_of(reply) == text and row["answer"]["value"] in ("48", "56")


def test_what_is_missing_is_said_in_one_line(root, base):
    (root / "datasets" / "small" / "teacher" / "replay.yaml").unlink()
    with pytest.raises(FileError, match=r"replay\.yaml: no such file"):
        collected(root, base)
    write(root / "datasets" / "small" / "teacher" / "replay.yaml", {"version": 1})
    with pytest.raises(MixError, match=r"replay\.yaml:\d+: prompt: missing"):
        collected(root, base)
    assert not ASKED
