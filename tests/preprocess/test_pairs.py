"""Pairs: those written by hand stand against a seed's own answer, whole ones join in, and what a
program faults in a model's replies becomes one."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path

import pytest
import yaml
from conftest import message, row, save_image

from common import chat, rows
from common.asking.kept import Replies
from common.files import load_yaml
from common.servers import Endpoint
from preprocess import mine, mix, pairs, prompting
from preprocess.faults import fault

ROOT = Path(__file__).resolve().parents[2]
WRITTEN = sorted((ROOT / "datasets" / "aether" / "pairs").glob("*.yaml"))
SETTINGS = load_yaml(ROOT / "evaluation" / "suites.yaml")
RULES = {
    "members": tuple(load_yaml(ROOT / SETTINGS["triad"])["members"]),
    "direct": SETTINGS["direct"],
}
NUDGE = "Three tries and no change. A queue in front would have shrunk. What do all of them share?"


def by_hand() -> list[tuple[dict, str]]:
    """Every entry, and the seed's own answer to its prompt."""
    answers = {}
    for path in (ROOT / "datasets" / "aether" / "seeds").glob("*.yaml"):
        for one in load_yaml(path):
            for number, turn in enumerate(one["turns"], 1):
                only = len(one["turns"]) == 1
                answers[one["id"] if only else f"{one['id']}#{number}"] = turn.get("answer", "")
    return [(entry, answers[entry["id"]]) for path in WRITTEN for entry in load_yaml(path)]


def test_the_written_pairs_are_different_and_alike_in_length():
    found = by_hand()
    assert len(found) == 200
    for entry, chosen in found:
        assert pairs.unlike(chosen, entry["answer"]) is None, entry["id"]
        chat.compose("r", entry["answer"])
    words = [len(entry["answer"].split()) / len(chosen.split()) for entry, chosen in found]
    assert 0.85 < sum(words) / len(words) < 1.15
    seen: list[set] = []
    for entry, _ in found:
        runs = entry["answer"].casefold().split()
        runs = {tuple(runs[n : n + 5]) for n in range(len(runs) - 4)}
        assert all(len(runs & other) < 0.5 * len(runs) for other in seen), entry["id"]
        seen.append(runs)


def reply(answer: str, reasoning: str = "Think.") -> str:
    return chat.compose(reasoning, answer)


def a_row(id_: str, said: str = NUDGE, category: str = "nudge", **more) -> dict:
    messages = [message("user", f"prompt of {id_}"), message("assistant", reply(said), weight=1)]
    return row(messages, id_, category) | more


def a_pair(id_: str, worse: str, **more) -> dict:
    rejected = {"content": [{"type": "text", "text": reply(worse)}], "why": "a lecture"}
    return a_row(id_, **more) | {"rejected": rejected}


def write_lines(path: Path, found: list[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(one) + "\n" for one in found))


@pytest.fixture
def plan(tmp_path):
    """(the plan of a small dataset, its folder, a build of 20 rows in it)."""
    folder = tmp_path / "datasets" / "small"
    build = folder / "build"
    (build / "images").mkdir(parents=True)
    write_lines(build / "train.jsonl", [a_row(f"n-{n}") for n in range(16)])
    write_lines(build / "val.jsonl", [a_row(f"n-{n}") for n in range(16, 20)])
    entries = [
        {"id": f"n-{n}", "why": "a riddle", "answer": f"Who of the {n} cooks ate it? " * 4}
        for n in range(20)
    ]
    entries.append({"id": "gone", "why": "a riddle", "answer": "Who ate it? " * 5})
    entries.append({"id": "n-1", "why": "too long", "answer": "It is so. " * 40})
    entries.append({"id": "n-2", "why": "the same", "answer": f"{NUDGE} Or"})
    (folder / "pairs.yaml").write_text(yaml.safe_dump(entries))
    made = {
        "seed": 1,
        "val_share": 0.1,
        "licence": "MIT",
        "pairs": {"written": ["pairs.yaml"], "whole": ["kept/pairs*.jsonl"], "val_share": 0.3},
        "sources": [{"kind": "seeds", "path": "x.yaml", "category": "nudge", "system": "s.md"}],
    }
    return mix.Mix.model_validate(made), folder, build


def written(plan) -> dict:
    wanted, folder, build = plan
    groups = {f"n-{n}": f"group-{n // 2}" for n in range(20)}
    return pairs.write(build, folder, wanted, groups)["pairs"]


def built(plan) -> dict[str, list[dict]]:
    return {
        split: list(rows.read(plan[2] / rows.file_of(split, pairs=True)))
        for split in ("train", "val")
    }


def test_pairs_are_built_and_what_is_left_out_is_counted(plan):
    about = written(plan)
    assert about["rows"]["train"] + about["rows"]["val"] == 20
    assert about["skipped"] == {
        "its row is not in this build": 1, "nearly the same": 1, "of another length": 1,
    }  # fmt: skip
    found = built(plan)
    pair = found["train"][0]
    chosen, worse = rows.sides(pair)
    assert rows.text_of(worse["messages"][-1]).startswith(f"{chat.REASONING}\nThink.\n")
    assert "cooks ate it?" in chat.split(rows.text_of(worse["messages"][-1])).answer
    assert rows.text_of(chosen["messages"][-1]) == reply(NUDGE)
    groups = [{int(one["id"][2:]) // 2 for one in part} for part in found.values()]
    assert all(groups) and not groups[0] & groups[1]  # a group is on one side
    first = (plan[2] / "pairs.jsonl").read_bytes()
    written(plan)
    assert (plan[2] / "pairs.jsonl").read_bytes() == first


def test_whole_pairs_join_in_with_their_pictures(plan):
    folder = plan[1] / "kept"
    seen = save_image(folder)
    own = a_pair(
        "kept-1", "So it is, as everybody knows by now, in all of the kitchens of the town."
    )
    own["messages"][0]["content"].insert(0, seen)
    lost = json.loads(json.dumps(own)) | {"id": "kept-2"}
    lost["messages"][0]["content"][0]["path"] = f"images/{'0' * 64}.png"
    changed = a_pair("n-3", "So it is, as everybody knows by now, in the kitchens of the town.")
    changed["messages"][0]["content"][0]["text"] = "another prompt"
    write_lines(folder / "pairs-of-me.jsonl", [own, own, lost, changed])
    about = written(plan)
    assert about["rows"]["train"] + about["rows"]["val"] == 21
    assert (
        about["skipped"]["twice the same"] == about["skipped"]["a picture that is not there"] == 1
    )
    assert about["skipped"]["its row reads otherwise now"] == 1
    assert (plan[2] / seen["path"]).is_file()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{\n", "pairs.jsonl:1: not JSON"),
        (json.dumps(a_row("x")) + "\n", "pairs.jsonl:1: rejected: missing"),
        (json.dumps(a_pair("x", NUDGE)) + "\n", "pairs.jsonl:1: rejected.content: the same as"),
    ],
)
def test_a_bad_whole_pair_is_named(plan, text, said):
    (plan[1] / "kept").mkdir()
    (plan[1] / "kept" / "pairs.jsonl").write_text(text)
    with pytest.raises(rows.RowError, match=said):
        written(plan)


def test_a_bad_entry_is_named(plan):
    plan[1].joinpath("pairs.yaml").write_text("- {id: n-1, why: x, answer: ' '}\n")
    with pytest.raises(Exception, match=r"pairs.yaml: n-1: answer: answer is blank"):
        written(plan)


ROUTED = a_row("r", "It is fresh news.\n\nRoute: grok-4-fast", "routing")
SUM = a_row(
    "s", "42 boxes.", answer={"kind": "number", "value": "42", "tolerance": 0.0, "unit": ""}
)


@pytest.mark.parametrize(
    ("found", "text", "stop", "why"),
    [
        (a_row("n"), reply(NUDGE), "stop", None),
        (a_row("n"), reply("It is the pool. Raise it."), "stop", "no nudge: asks 0 questions"),
        (a_row("n"), reply("Why? And when?"), "stop", "no nudge: asks 2 questions"),
        (a_row("n"), "I think and think", "stop", "an unfinished reply"),
        (a_row("n"), "I think and think", "max_tokens", None),
        (ROUTED, reply("I can do it myself."), "stop", "the wrong route: self, not grok-4-fast"),
        (SUM, reply("It takes 41 boxes."), "stop", "a wrong answer, 41, where 42 is right"),
        (SUM, reply("It takes 42 boxes."), "stop", None),
        (a_row("i", "I am.", "identity"), reply("Great question! I am."), "stop", "opens with"),
        (a_row("i", "I am.", "identity"), reply("- one\n- two\n- three"), "stop", "a lecture"),
    ],
)
def test_a_program_tells_what_is_wrong(found, text, stop, why):
    said = fault(found, text, stop, RULES["members"], RULES["direct"])
    assert said is None if why is None else said.startswith(why), said


def test_the_faults_of_a_prompt_become_pairs_and_the_rest_is_counted():
    texts = [
        "It is the pool of your database connections, so raise it to sixty and be done with it.",
        "It is the pool of your database connections, so raise it to sixty and be done with it!",
        "Too short.",
        NUDGE,
        "Look at the pool first, then at the locks; after that the slow queries are left for you.",
        "There are many causes, and each of them wants a look of its own before anything is changed.",
    ]
    replies = [{"text": reply(text), "stop": "stop"} for text in texts]
    replies.append({"text": "I think", "stop": "max_tokens"})
    left_out: Counter = Counter()
    found = mine.pairs_of(a_row("n"), replies, RULES, left_out)
    assert [pair["rejected"]["why"] for pair in found] == [
        "no nudge: asks 0 questions instead of one"
    ] * 2
    assert left_out == {
        "nearly the same as another": 1, "of another length": 1, "no fault found": 1,
        "cut off": 1, "more than 2 of a prompt": 1,
    }  # fmt: skip
    rows.check(found[0])


def test_a_changed_picture_rejects_the_reply_to_the_other(tmp_path):
    made = []
    for n, shape in enumerate(("circle", "square", "circle")):
        one = a_row(f"p-{n}", f"It is a {shape}.", "looking")
        one["answer"] = {"kind": "text", "value": shape, "tolerance": 0.0, "unit": ""}
        one["messages"][0]["content"] = [
            save_image(tmp_path, colour=(n, 90, 9)), {"type": "text", "text": "Which shape is it?"},
        ]  # fmt: skip
        made.append(one)
    found = list(mine.exchanged(made, RULES, seed=1))
    assert len(found) == 2
    for pair in found:
        rows.check(pair)
        texts = [rows.text_of(side["messages"][-1]) for side in rows.sides(pair)]
        assert texts[0] != texts[1] and "what another picture shows" in pair["rejected"]["why"]


def test_abilities_are_a_fifth_of_the_pairs_at_most():
    voice = [a_pair(f"v-{n}", "x") for n in range(80)]
    wrong = [a_pair(f"w-{n}", "x") for n in range(50)]
    other = [a_pair(f"o-{n}", "x") for n in range(50)]
    names = Counter(pair["id"][0] for pair in mine.balanced(voice, wrong, other, 1))
    assert names == {"v": 80, "w": 10, "o": 10}
    names = Counter(pair["id"][0] for pair in mine.balanced(voice, wrong, other[:3], 1))
    assert names == {"v": 80, "w": 17, "o": 3}
    names = Counter(pair["id"][0] for pair in mine.balanced(voice, [], other, 1))
    assert names == {"v": 80, "o": 20}


def test_kept_replies_are_not_asked_again(tmp_path):
    """Nothing listens at the endpoint: every reply must come from the store."""
    store = Replies(tmp_path / "replies.sqlite")
    asked = [prompting.Asked(a_row("n"), sample) for sample in range(3)]
    sampling = {"temperature": 0.8}
    body = {"choices": [{"message": {"content": "said"}, "finish_reason": "stop"}]}

    async def keep() -> None:
        for what in asked:
            key = prompting.key_of(what, "model", sampling, prompting.budget_of(what.row))
            await store.keep(key, json.dumps(body))

    asyncio.run(keep())
    nobody = Endpoint("http://127.0.0.1:9/v1", "kept", "given")
    got = asyncio.run(prompting.ask_all(asked, tmp_path, nobody, "model", sampling, store))
    assert [one["text"] for one in got] == ["said"] * 3
    store.close()
