"""Conversations with tools: each is what its kind says, its calls are ones that the tools take, and
no family of the evaluation is trained on."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest

from common import chat, rows, tools
from common.answers import is_value
from preprocess import candidates, export, mix
from preprocess.diversity import Distant, alike_share, fingerprint, recurring_share
from preprocess.generators import toolbox
from preprocess.rows import to_rows
from preprocess.source import Context, MixError, load

AETHER = Path(__file__).resolve().parents[2] / "datasets" / "aether"
KINDS = {"multiple", "parallel", "chain", "failing", "irrelevance", "missing", "forbidden"}


def made(heldout=False, folder=AETHER, count=300):
    config = toolbox.Config(
        kind="toolbox", category="tools", system="s", count=count, heldout=count
    )
    context = Context(7, folder, None, heldout, lambda texts: None)
    # The mix gives the category.
    return [replace(one, category="tools") for one in toolbox.conversations(config, context)]


TRAINED = made()
HELD_OUT = made(heldout=True)


def tag(conversation, name):
    return next(one.removeprefix(name) for one in conversation.tags if one.startswith(name))


def test_every_kind_is_there_and_no_family_is_on_both_sides():
    assert {tag(one, "asks:") for one in TRAINED} == KINDS
    assert {tag(one, "asks:") for one in HELD_OUT} == KINDS | {"simple"}
    families = [{tag(one, "family:") for one in side} for side in (TRAINED, HELD_OUT)]
    assert len(families[0]) >= 10 and len(families[1]) >= 4 and not families[0] & families[1]
    offered = [
        {tool["function"]["name"] for one in side for tool in one.offered}
        for side in (TRAINED, HELD_OUT)
    ]
    assert not offered[0] & offered[1]
    assert min(len(one.offered) for one in TRAINED) > 1


@pytest.mark.parametrize("conversation", [*TRAINED, *HELD_OUT], ids=lambda one: one.id)
def test_rows_keep_the_contract_and_say_their_answers(conversation):
    found = to_rows(conversation, str)
    schemas = tools.parameters(list(conversation.offered))
    called = []
    for row in found:
        rows.check(row)
        reply = chat.split(rows.text_of(row["messages"][-1]))
        assert reply.status == chat.COMPLETE and not reply.problems
        assert is_value(row["answer"], reply.answer)
        calls = tools.read(reply.answer)
        assert [tools.fault(call, schemas) for call in calls] == [None] * len(calls)
        assert not is_value(row["answer"], "I don't know?") or not json.loads(
            row["answer"]["value"]
        )
        called += calls
    kind = tag(conversation, "asks:")
    assert bool(called) == (kind not in ("irrelevance", "missing"))
    results = [message for message in found[-1]["messages"] if message["role"] == "tool"]
    assert len(results) == len(called)
    assert len(found) == len(conversation.turns[0].steps) + 1


def slots(text: str) -> set[str]:
    return {name[0].lower() + name[1:] for name in re.findall(r"\{=?(\w+)(?::\w)?\}", text)}


@pytest.mark.parametrize("path", sorted((AETHER / "tools").glob("*.yaml")), ids=lambda p: p.stem)
def test_an_answer_names_nobody_whom_neither_user_nor_tool_named(path):
    """What follows from the facts (a risk, a meaning, what is needed instead) may be new."""
    inferred = {"risk", "mean", "need", "can", "near", "late"}
    for case in load(path, toolbox.Family).cases:
        calls = [f"{call.arguments}" for step in case.steps for call in step.calls]
        results = [result for step in case.steps for result in step.results]
        known = slots(" ".join(calls + results)) | inferred
        for user, answer in product(case.user, case.answer):
            new = slots(answer) & set(case.words[0]) - slots(user) - known
            assert not new or case.kind == "irrelevance", (answer, user)


def test_enough_are_left_where_none_is_like_another():
    limits = mix.read(AETHER).diversity
    chooser = Distant(limits.recurring)
    kept = []
    kinds = Counter()
    for conversation in TRAINED:
        prints = [
            fingerprint(f"{reply.reasoning}\n{reply.answer}")
            for row in to_rows(conversation, str)
            for reply in [chat.split(rows.text_of(row["messages"][-1]))]
        ]
        if chooser.take(prints):
            kept += prints
            kinds[tag(conversation, "asks:")] += 1
    assert sum(kinds.values()) >= 140 and min(kinds.values()) >= 10
    assert recurring_share(kept) <= limits.recurring and alike_share(kept) <= limits.alike


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('meter: "{meter}", day', 'metre: "{meter}", day', "read_meter: "),
        ("name: list_outages, arguments", "name: list_faults, arguments", "no tool list_faults"),
        ("forbids: [open_ticket]", "forbids: [list_outages]", "kind forbidden"),
        ("kind: missing", "kind: parallel", "kind parallel"),
        ("kind: parallel", "kind: irrelevance", "kind irrelevance"),
        ("results: ['{\"outages\": []}']", "results: []", "each call wants a result"),
        ("states: used", "states: unused", "no value, formula or word"),
    ],
)
def test_a_case_that_is_not_what_it_says_is_named(tmp_path, old, new, said):
    shutil.copytree(AETHER / "tools", tmp_path / "tools")
    path = tmp_path / "tools" / "meters.yaml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(MixError, match="meters.yaml: ") as error:
        made(folder=tmp_path)
    assert said in str(error.value) and "\n" not in str(error.value)


def test_tools_are_written_in_a_clients_order_and_exported_as_json(tmp_path):
    datasets = pytest.importorskip("datasets")
    build = tmp_path / "build"
    build.mkdir()
    made_rows = [row for one in TRAINED[:8] for row in to_rows(one, str)]
    lines = [candidates.line(row) for row in made_rows]
    (build / "train.jsonl").write_text("".join(lines))
    written = [json.loads(one) for one in lines]
    assert written == made_rows
    for one in written:
        assert list(one) == sorted(one)
        assert list(one["tools"][0]["function"]) == ["name", "description", "parameters"]
    export.export(build, tmp_path / "out")
    read = datasets.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))["train"]
    for found, row in zip(read, made_rows, strict=True):
        assert json.loads(found["tools"]) == row["tools"]
        for message, wanted in zip(found["messages"], row["messages"], strict=True):
            calls = message["tool_calls"]
            assert (json.loads(calls) if calls else None) == wanted.get("tool_calls")
            assert message["tool_call_id"] == wanted.get("tool_call_id")
