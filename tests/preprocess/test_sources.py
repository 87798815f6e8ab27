"""The sources: worked solutions of public sets, a person's own exports, and what is masked in
them."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

import pytest

from common import hub
from preprocess import gates, public, source
from preprocess.benchmarks import Benchmark
from preprocess.rows import Conversation, Note, Skip, Turn, to_rows
from preprocess.source import Context, MixError
from preprocess.sources import exports, masking, worked
from preprocess.sources.worked import solutions
from preprocess.sources.worked.replies import Writer

AETHER = Path(__file__).resolve().parents[2] / "datasets" / "aether"
SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
GSM = {
    "question": "Mr. Ito buys 12 boxes at $4 each. He pays with a $100 bill. How much change does he get?",
    "answer": "The boxes cost 12*4 = $<<12*4=48>>48.\nHe gets 100-48= $<<100-48=52>>52 of change.\n#### 52",
}
MATH = {
    "problem": "Let $x$ satisfy $2x = 3.$ Find $x.$",
    "solution": "Divide both sides by 2. This gives $x = \\boxed{\\frac{3}{2}}.$",
    "type": "Algebra",
}


def test_gsm8k_is_recomputed():
    solved = solutions.gsm8k(GSM)
    assert solved.steps == ("The boxes cost 12 × 4 = $48.", "He gets 100-48 = $52 of change.")
    assert solved.shown == "$52 of change"
    assert solved.check == {"kind": "number", "value": 52, "tolerance": 1e-6}
    assert solved.chain == ((0, "12*4", "48"), (1, "100-48", "52"))


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("12*4=48", "12*4=49", "does not hold exactly"),
        ("12*4=48", "12*=48", "does not hold exactly"),
        ("#### 52", "#### 53", "does not end at its answer"),
        ("<<100-48=52>>", "", "does not end at its answer"),
    ],
)
def test_gsm8k_refuses_what_does_not_hold(old, new, reason):
    with pytest.raises(Skip, match=reason):
        solutions.gsm8k(GSM | {"answer": GSM["answer"].replace(old, new)})


def test_math_takes_its_box():
    solved = solutions.math(MATH)
    assert solved.check == {"kind": "latex", "value": "\\frac{3}{2}"}
    assert solved.steps == ("Divide both sides by 2.", "This gives $x = \\frac{3}{2}.$")
    assert solved.shown == "$\\boxed{\\frac{3}{2}}$"
    assert solutions.math(MATH | {"solution": "It is $\\boxed{1{,}200}$."}).check["value"] == 1200


@pytest.mark.parametrize(
    "solution",
    [
        "No box here.",
        "$\\boxed{1}$ or $\\boxed{2}$",
        "$\\boxed{1",
        "See [asy]draw();[/asy] $\\boxed{1}$",
    ],
)
def test_math_refuses(solution):
    with pytest.raises(Skip):
        solutions.math(MATH | {"solution": solution})


def test_sentences_do_not_cut_formulas_or_titles():
    plain = "Dr. No left at 5 p.m. Monday. He had $5. She had $6. Why?"
    assert solutions.sentences(plain, False) == [
        "Dr. No left at 5 p.m. Monday.",
        "He had $5.",
        "She had $6.",
        "Why?",
    ]
    tex = "Let $f(x) = 2. If x$ be. Then \\[x = 2. \\] Find $y.$ It costs \\$5. So?"
    assert solutions.sentences(tex, True) == [
        "Let $f(x) = 2. If x$ be.",
        "Then \\[x = 2. \\] Find $y.$",
        "It costs \\$5.",
        "So?",
    ]


@pytest.mark.parametrize(
    ("last", "shown"),
    [
        ("He gets 100-48= $<<100-48=52>>52 back.", "$52 back"),
        ("So 100-48 = $<<100-48=52>>52 is left of it.", "$52"),
        ("Then 100-48 = <<100-48=52>>52", "52"),
        ("He gets <<100-48=52>>52 dollars.", "52"),
    ],
)
def test_the_final_value_is_shown_with_what_it_counts(last, shown):
    assert (
        solutions.gsm8k(GSM | {"answer": f"It is 12*4 = <<12*4=48>>48.\n{last}\n#### 52"}).shown
        == shown
    )


def test_every_reply_says_its_value():
    texts = source.load(AETHER / "framings" / "worked.yaml", dict)
    for n in range(200):
        for solved in (solutions.gsm8k(GSM), solutions.math(MATH)):
            reasoning, answer = Writer(texts, random.Random(n)).reply(solved)
            assert gates.stands(solved.check, answer), answer
            assert not re.search(r"\{(asked|given|value|chain|undo|sum)\}|<<", reasoning + answer)


@pytest.fixture
def hub_folder(tmp_path: Path) -> Path:
    for name, records in (
        ("gsm8k", [GSM | {"question": f"{n} years ago. " + GSM["question"]} for n in range(40)]),
        ("math", [MATH, MATH]),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "train.jsonl").write_text(
            "".join(json.dumps(record) + "\n" for record in records)
        )
    return tmp_path


def solved(kind: str, folder: Path, sessions: float = 0) -> list:
    """What the source of a public set yields."""
    config = worked.Config(kind=kind, category="c", system="s", sessions=sessions)
    context = Context(7, AETHER, folder, False, Benchmark().contaminated)
    return list(worked.conversations(config, context))


def imported(folder: Path) -> list:
    """What a folder of a person's own conversations yields."""
    config = exports.Config(kind="conversations", path=folder.name, category="c", system="s")
    context = Context(7, folder.parent, None, False, Benchmark().contaminated)
    return list(exports.conversations(config, context))


def test_sessions_hold_four_to_six_problems(hub_folder):
    made = solved("gsm8k", hub_folder, 0.5)
    assert sum(len(c.turns) for c in made) == 40
    assert {len(c.turns) for c in made} >= {1, 4}
    assert made == solved("gsm8k", hub_folder, 0.5)
    assert [str(x) for x in solved("math", hub_folder)][1] == "the same problem twice"


def test_hub_errors_are_one_line(hub_folder, monkeypatch):
    (hub_folder / "gsm8k" / "train.jsonl").write_text('{"question": 1}\n{broken\n')
    with pytest.raises(hub.HubError, match=r"train.jsonl:2: not a JSON object"):
        solved("gsm8k", hub_folder)
    with pytest.raises(
        hub.HubError, match=r"math/test.jsonl: .*No such file.*HUB_DIR is a folder with"
    ):
        list(public.records("math", "test", hub_folder))
    monkeypatch.setattr(hub, "LOCK", hub_folder / "hub.lock")
    with pytest.raises(hub.HubError, match="run make pin, or give HUB_DIR="):
        list(public.records("gsm8k", "train", None))


@pytest.mark.skipif(not SHARED.exists(), reason="the public sets are not beside the repository")
def test_the_public_sets_are_recomputed_and_mostly_kept():
    for kind, least in (("gsm8k", 6800), ("math", 6000)):
        made = [c for c in solved(kind, SHARED) if isinstance(c, Conversation)]
        assert len(made) > least
        for conversation in made[::10]:
            assert gates.stands(conversation.turns[0].check, conversation.turns[0].answer), (
                conversation
            )


OPENAI = {
    "current_node": "d",
    "mapping": {
        "a": {"message": None, "parent": None},
        "b": {
            "message": {
                "author": {"role": "user"},
                "content": {"content_type": "text", "parts": ["why slow"]},
            },
            "parent": "a",
        },
        "x": {
            "message": {
                "author": {"role": "assistant"},
                "content": {"content_type": "text", "parts": ["an edited branch"]},
            },
            "parent": "b",
        },
        "c": {
            "message": {
                "author": {"role": "assistant"},
                "content": {"content_type": "thoughts", "thoughts": [{"content": "It waits."}]},
            },
            "parent": "b",
        },
        "d": {
            "message": {
                "author": {"role": "assistant"},
                "content": {"content_type": "text", "parts": ["It waits for I/O."]},
            },
            "parent": "c",
        },
    },
}
CLAUDE = {
    "chat_messages": [
        {"sender": "human", "text": "why slow", "content": [{"type": "text", "text": "why slow"}]},
        {
            "sender": "assistant",
            "content": [
                {"type": "thinking", "thinking": "It waits."},
                {"type": "text", "text": "It waits for I/O."},
            ],
        },
    ]
}
SHAREGPT = {
    "conversations": [
        {"from": "human", "value": "why slow"},
        {"from": "gpt", "value": "<think>It waits.</think>It waits for I/O."},
    ]
}
MESSAGES = {
    "messages": [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "why slow"},
        {
            "role": "assistant",
            "content": "Here are my reasoning steps:\nIt waits.\n[BEGIN FINAL RESPONSE]\nIt waits for I/O.\n[END FINAL RESPONSE]",
        },
    ]
}


@pytest.mark.parametrize(
    "raw", [OPENAI, CLAUDE, SHAREGPT, MESSAGES], ids=["openai", "claude", "sharegpt", "messages"]
)
@pytest.mark.parametrize("array", [True, False])
def test_importers_read_every_shape(tmp_path, raw, array):
    (tmp_path / "own.json").write_text(json.dumps([raw]) if array else json.dumps(raw))
    (made,) = imported(tmp_path)
    assert made.turns == (Turn("why slow", "It waits.", "It waits for I/O."),)
    assert made.origin == "conversation"


def test_a_reply_without_reasoning_waits_for_a_teacher(tmp_path):
    talk = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
    mixed = {"messages": [*talk["messages"], *MESSAGES["messages"][1:]]}
    (tmp_path / "own.jsonl").write_text(json.dumps(talk) + "\n" + json.dumps(mixed) + "\n")
    skipped, kept = imported(tmp_path)
    assert "a question for a teacher" in str(skipped)
    (row,) = to_rows(kept, None)
    assert [m.get("weight") for m in row["messages"]] == [None, None, 0, None, 1]


def test_a_json_file_that_is_too_large_or_cut_off_is_refused(tmp_path, monkeypatch):
    (tmp_path / "own.json").write_text(json.dumps([CLAUDE | {"name": "n" * n} for n in range(30)]))
    assert sum(isinstance(c, Conversation) for c in imported(tmp_path)) == 30
    (tmp_path / "own.json").write_text("[" + json.dumps(CLAUDE) + ",{")
    with pytest.raises(MixError, match="own.json: not JSON, or cut off"):
        imported(tmp_path)
    monkeypatch.setattr(exports, "LARGEST", 2**4)
    with pytest.raises(MixError, match=r"more than .* MB; write one conversation a line: jq -c"):
        imported(tmp_path)


def test_no_folder_of_conversations_is_no_conversation(tmp_path):
    assert imported(tmp_path / "conversations") == []


FOUND = {
    "API key": [
        "sk-proj-a1B2c3D4e5F6g7H8i9J0",
        "ghp_" + "a1B2c3" * 6,
        "hf_" + "aBcDeFgHiJkLmNoPqRsTuVwX",
        "AIza" + "Sy0123456789abcdefABCDEF0123456789a",
    ],
    "token": ["Authorization: Bearer abcdef0123456789abcdef"],
    "private key": ["-----BEGIN RSA PRIVATE KEY-----\nMIIEow\nabc\n-----END RSA PRIVATE KEY-----"],
    "secret": [
        "password = 'hunter2hunter2'",
        "postgres://bob:s3cretpw@db/prod",
        "AKIAIOSFODNN7EXAMPLE",
        "x8Kq2LmZ0pRt7VwY3nBc5DfG9hJk1SaE4uI",
    ],
    "e-mail address": ["jo.doe+x@mail.example.org"],
    "phone number": ["+49 30 901820", "(415) 555-2671", "415-555-2671"],
    "card number": ["4111 1111 1111 1111"],
    "bank account": ["DE89 3704 0044 0532 0130 00"],
    "social security number": ["078-05-1120"],
    "IP address": ["8.8.8.8"],
}
LEFT = [
    "use 10.0.0.1 and 127.0.0.1:8080 or 192.168.1.20",
    "a commit 9eab36895ddcd6d2447059ab83ae4758afaff1ac",
    "the password is stored hashed; the token bucket refills at 100 tokens a second",
    "1,250,000,000 requests a day at 12:30 on 2025-11-23, version 1.2.3.4567",
    "await asyncio.gather(*(fetch(session, url) for url in urls))",
    "a very_long_function_name_that_has_many_words_in_it_and_more",
]


@pytest.mark.parametrize(
    ("kind", "text"), [(kind, text) for kind, texts in FOUND.items() for text in texts]
)
def test_masking_finds(kind, text):
    masked, found = masking.mask(f"before {text} after")
    assert found[kind] == 1, found
    assert masked.startswith("before ")
    assert masked.endswith(" after")
    assert f"[masked {kind}]" in masked
    assert text[-8:] not in masked


@pytest.mark.parametrize("text", LEFT)
def test_masking_leaves(text):
    assert masking.mask(text) == (text, {})


def test_notes_count_what_was_masked(tmp_path):
    talk = {
        "messages": [
            {"role": "user", "content": "I am jo@example.org and al@example.org"},
            MESSAGES["messages"][2],
        ]
    }
    (tmp_path / "own.jsonl").write_text(json.dumps(talk))
    assert Note("own.jsonl: e-mail address masked", 2) in imported(tmp_path)
