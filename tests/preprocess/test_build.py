"""Building a dataset: same bytes twice, quotas and targets, splits, nothing half-written, hostile
inputs refused in one line."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from common import chat, rows, triad
from common.files import FileError, held, sha256_of
from preprocess import build, candidates, duplicates, export, gates, mix, selection, source
from preprocess.benchmarks import DROP, Benchmark, Problem, problems
from preprocess.candidates import Candidate
from preprocess.rows import restored, stored

ROOT = Path(__file__).resolve().parents[2]
TOPICS = [
    "queues",
    "caches",
    "sockets",
    "retries",
    "timeouts",
    "replicas",
    "shards",
    "brokers",
    "leases",
    "cursors",
    "buffers",
    "probes",
    "quotas",
    "meters",
    "timers",
    "ledgers",
]


def seed(number: int, turns: int = 1) -> dict:
    topic = TOPICS[number % len(TOPICS)]
    said = [
        {
            "user": f"Question {number}.{turn} about {topic}: what happens when {number + 3} of them fill up at once?",
            "reasoning": f"Think about {topic} {number}, part {turn}. Nothing drains {number * 7 + turn} items.",
            "answer": f"The {topic} stop taking work after {number * 11 + turn} items. Put a limit on them.",
        }
        for turn in range(turns)
    ]
    return {
        "id": f"async-{number:03d}",
        "domain": "games",
        "level": "expert",
        "mood": "neutral",
        "turns": said,
    }


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """A folder with a mix that takes seeds and a person's own conversations, with every gate but
    the benchmarks'."""
    folder = tmp_path / "datasets" / "small"
    (folder / "conversations").mkdir(parents=True)
    for name in ("problems", "diagrams"):
        (folder / name).symlink_to(ROOT / "datasets" / "aether" / name)
    (folder / "system.md").write_text("You are AetherAI.")
    (folder / "seeds.yaml").write_text(
        yaml.safe_dump([seed(n, turns=1 + 3 * (n % 4 == 0)) for n in range(24)])
    )
    plan = {
        "seed": 3,
        "val_share": 0.2,
        "licence": "MIT",
        "total": 60,
        "quotas": {"async": 40, "practical": 20},
        "targets": {"several": {"share": [0.1, 0.5], "turns": [4, 6], "what": "four to six turns"}},
        "gates": {
            "max_tokens": 600,
            "english": 0.1,
            "repetition": 0.3,
            "near_duplicate": 0.8,
            "benchmarks": {},
        },
        "sources": [
            {"kind": "seeds", "path": "seeds.yaml", "category": "async", "system": "system.md"},
            {
                "kind": "conversations",
                "path": "conversations",
                "category": "practical",
                "system": "system.md",
            },
        ],
    }
    (folder / "mix.yaml").write_text(yaml.safe_dump(plan))
    return folder


def hashes(folder: Path) -> dict[str, str]:
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in folder.rglob("*")
        if p.is_file()
    }


def manifest(folder: Path) -> dict:
    return json.loads((folder / "build" / "manifest.json").read_text())


def test_same_bytes_twice_and_unchanged_when_nothing_changed(dataset):
    build.build(dataset)
    first = hashes(dataset / "build")
    assert build.build(dataset).endswith("unchanged")
    (dataset / "build" / "train.jsonl").write_text("")  # damaged: built again
    assert not build.build(dataset).endswith("unchanged")
    assert hashes(dataset / "build") == first
    assert not list(dataset.glob(".build-*"))


def test_manifest_counts_what_is_there(dataset):
    build.build(dataset)
    about = manifest(dataset)
    written = {
        name: list(rows.read(dataset / "build" / f"{name}.jsonl")) for name in ("train", "val")
    }
    assert about["rows"] == {name: len(part) for name, part in written.items()}
    assert (
        about["kept"]
        == sum(about["categories"].values())
        == sum(about["origins"].values())
        == sum(map(len, written.values()))
    )
    for name, digest in about["files"].items():
        assert digest == sha256_of(dataset / "build" / name)
    conversations = {
        row["id"].split("#")[0]: split for split, part in written.items() for row in part
    }
    for split, part in written.items():
        assert all(conversations[row["id"].split("#")[0]] == split for row in part), (
            "a conversation is on both sides"
        )
    several = sum(
        name.endswith("#4") for name in (row["id"] for part in written.values() for row in part)
    )
    assert about["targets"]["several"]["measured"] == pytest.approx(
        several / len(conversations), abs=1e-4
    )


def test_report_says_what_is_missing(dataset):
    build.build(dataset)
    report = (dataset / "build" / "report.md").read_text()
    assert "| practical | 0 | 20 | 20 |" in report
    assert report.startswith("# small: 40 rows of 60 wanted, 20 missing")


def test_quota_and_cap(dataset):
    plan = yaml.safe_load((dataset / "mix.yaml").read_text())
    plan |= {"total": 30, "quotas": {"async": 20, "practical": 10}, "caps": {"seed": 12}}
    (dataset / "mix.yaml").write_text(yaml.safe_dump(plan))
    build.build(dataset)
    assert manifest(dataset)["kept"] == 12
    assert manifest(dataset)["skipped"]["async: the cap of origin seed is reached"] == 42 - 12


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"total": 61}, "the quotas sum to 60"),
        (
            {"quotas": {"async": 60}},
            r"sources.1 \(conversations\): no quota for category 'practical'",
        ),
        ({"caps": {"seeds": 1}}, "'seeds' is no origin"),
        ({"gate": {}}, r"mix.yaml:\d+: gate: no such key; did you mean gates\?"),
        ({"sources": []}, "sources: .*List should have at least 1 item"),
        (
            {"sources": [{"kind": "seed", "category": "c"}]},
            "sources.0: no 'kind' 'seed'; did you mean seeds.* One of",
        ),
    ],
)
def test_a_wrong_plan_is_refused(dataset, change, says):
    plan = yaml.safe_load((dataset / "mix.yaml").read_text())
    (dataset / "mix.yaml").write_text(yaml.safe_dump(plan | change))
    with pytest.raises(source.MixError, match=says):
        build.build(dataset)


def test_a_key_given_twice_is_refused(dataset):
    text = (dataset / "mix.yaml").read_text()
    (dataset / "mix.yaml").write_text(text + "quotas: {async: 60}\n")
    line = len(text.splitlines()) + 1
    with pytest.raises(FileError, match=rf"mix\.yaml:{line}: quotas: given twice"):
        build.build(dataset)


def say(
    user: str,
    reply: str,
    reasoning: str | None = "Somebody waits, so find out for what before anything else is changed.",
) -> dict:
    return {
        "messages": [
            {"role": "user", "content": user},
            {"role": "assistant", "content": reply, "reasoning_content": reasoning},
        ]
    }


def _shows(name: str) -> dict:
    talk = say("What is this?", "A picture.")
    talk["messages"][0]["content"] = [
        {"type": "image", "path": name},
        {"type": "text", "text": "What is this?"},
    ]
    return talk


def test_a_file_that_cannot_be_read_is_one_line_and_the_last_build_stays(dataset):
    build.build(dataset)
    before = hashes(dataset / "build")
    own = dataset / "conversations"
    (own / "fine.jsonl").write_text(json.dumps(say("Is it up?", "It is.")))
    (own / "cut.json").write_text('[{"messages": [')
    with pytest.raises(source.MixError, match=r"cut\.json: not JSON, or cut off") as refused:
        build.build(dataset)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 400
    assert hashes(dataset / "build") == before
    assert not list(dataset.glob(".build-*"))


def test_an_api_key_is_masked_and_reported(dataset):
    key = "sk-proj-" + "a1B2c3D4e5F6g7H8" * 3
    question = say(
        f"my key is {key} and mail me at jo@example.org, why 401?",
        "The header that would hold it is missing.",
    )
    reply = say("what do I send?", f"Send {key[:28]} in the header.")
    own = dataset / "conversations" / "own.jsonl"
    own.write_text(json.dumps(question) + "\n" + json.dumps(reply) + "\n")
    build.build(dataset)
    for path in (dataset / "build").rglob("*"):
        assert not path.is_file() or key[:16].encode() not in path.read_bytes(), path
    notes = manifest(dataset)["notes"]
    assert notes["own.jsonl: API key masked"] == 2
    assert notes["own.jsonl: e-mail address masked"] == 1
    dropped = "practical from conversations: a reply in which something was masked"
    assert manifest(dataset)["skipped"][dropped] == 1
    for row in rows.read(dataset / "build" / "train.jsonl"):
        assert "[masked" not in rows.text_of(row["messages"][-1])
    assert "API key masked" in (dataset / "build" / "report.md").read_text()


def test_a_marker_typed_by_a_user_makes_no_row(dataset):
    own = dataset / "conversations" / "own.jsonl"
    own.write_text(
        json.dumps(say("what does <|end|> do?", "It ends a turn."))
        + "\n"
        + json.dumps(say("and [IMG]?", "An image stands there."))
        + "\n"
    )
    build.build(dataset)
    skipped = manifest(dataset)["skipped"]
    assert skipped["practical from conversations: a turn contains <|end|>"] == 1
    assert skipped["practical from conversations: a turn contains [IMG]"] == 1


def test_two_builds_at_once_are_refused(dataset):
    with (
        held(dataset / "mix.yaml", "being built"),
        pytest.raises(FileError, match="small is being built by another process"),
    ):
        build.build(dataset)
    assert "rows" in build.build(dataset)


def test_near_duplicates_keep_the_first():
    text = " ".join(f"word{n}" for n in range(200))
    near = text.replace("word7 ", "other ")
    far = " ".join(f"thing{n}" for n in range(200))
    packed = b"".join(map(duplicates.minhash, [text, far, near, text]))
    signed = np.frombuffer(packed, np.uint32).reshape(-1, duplicates.PERMUTATIONS)
    assert duplicates.duplicates(signed, 0.8).tolist() == [False, False, True, True]
    assert duplicates.minhash("why?", "one picture") != duplicates.minhash(
        "why?", "another picture"
    )


def test_near_duplicate_estimate_follows_the_true_similarity():
    words = [f"w{n}" for n in range(400)]
    for changed, expected in ((8, False), (60, True)):
        other = ["x" + w if n % (400 // changed) == 0 else w for n, w in enumerate(words)]
        grams = [{tuple(t[i : i + 5]) for i in range(396)} for t in (words, other)]
        jaccard = len(grams[0] & grams[1]) / len(grams[0] | grams[1])
        packed = duplicates.minhash(" ".join(words)) + duplicates.minhash(" ".join(other))
        found = duplicates.duplicates(np.frombuffer(packed, np.uint32).reshape(2, -1), 0.8)[1]
        assert found == (jaccard >= 0.8) or abs(jaccard - 0.8) < 0.1, (jaccard, found, expected)


def test_benchmark_masks_numbers_of_public_sets_and_not_of_ours():
    public = (
        "A train of 12 cars carries 340 people from one town to the next in 55 minutes each day"
    )
    ours = "A worker takes 40 jobs a second from a queue that 90 clients fill all day long"
    bench = Benchmark(
        [
            Problem("public", public, True),
            Problem("ours", ours, False),
            Problem("public", "Compute 1 + 1.", True),
        ]
    )
    assert bench.covered(public.replace("12", "17").replace("340", "99"))[0] == 1
    assert bench.covered(ours) == (1.0, "ours")
    assert bench.covered(ours.replace("40", "41").replace("90", "91"))[0] < DROP
    assert bench.covered("Compute 1 + 1.")[0] == 1
    assert bench.covered("Compute 1 + 2.")[0] == 0


def test_no_row_holds_a_question_of_the_evaluation(dataset, tmp_path):
    for name, key in (("gsm8k", "question"), ("gsm_hard", "input"), ("math", "problem")):
        (tmp_path / "hub" / name).mkdir(parents=True)
        (tmp_path / "hub" / name / "test.jsonl").write_text(
            json.dumps({key: f"How many {name} are there in a box of nine?"}) + "\n"
        )
    (questions := tmp_path / "questions").mkdir()
    ask = [seed(number)["turns"][0]["user"] for number in range(4)]
    turns = [{"role": "user", "text": ask[2]}, {"role": "assistant", "text": ask[3]}]
    asked = [
        {"id": "q-1", "prompt": ask[0]},
        {"id": "q-2", "turns": [ask[1]]},
        {"id": "q-3", "turns": turns},
        {"question": "who?"},
    ]
    (questions / "voice.yaml").write_text(yaml.safe_dump(asked))
    plan = yaml.safe_load((dataset / "mix.yaml").read_text())
    plan["gates"]["benchmarks"] = {"gsm8k": "question", "gsm_hard": "input", "math": "problem"}
    plan["gates"]["questions"] = [str(Path("../../questions/*.yaml"))]
    (dataset / "mix.yaml").write_text(yaml.safe_dump(plan))
    build.build(dataset, tmp_path / "hub")
    built = (dataset / "build" / "train.jsonl").read_text() + (
        dataset / "build" / "val.jsonl"
    ).read_text()
    assert [text in built for text in ask] == [False, False, False, True]
    (questions / "prompt.md").write_text(ask[3])
    limits = mix.read(dataset).gates.model_copy(update={"questions": ["../../questions/*.md"]})
    context = source.Context(1, dataset, tmp_path / "hub", False, lambda texts: None)
    texts = [problem.text for problem in problems(limits, context, tmp_path / "none")]
    assert ask[3] in texts
    assert (
        manifest(dataset)["skipped"]["async from seeds: holds a problem of our own questions"]
        == 4 + 1 + 1
    )


def test_questions_that_are_not_where_the_mix_says_stop_the_build(dataset):
    plan = yaml.safe_load((dataset / "mix.yaml").read_text())
    plan["gates"]["questions"] = ["../../questions/*.yaml"]
    (dataset / "mix.yaml").write_text(yaml.safe_dump(plan))
    with pytest.raises(source.MixError, match=r"questions/\*\.yaml: no such file"):
        build.build(dataset)


def test_heldout_alone_is_what_a_build_holds_out(dataset):
    with pytest.raises(build.BuildError, match="no source has `heldout:"):
        build.build(dataset, heldout=True)
    plan = yaml.safe_load((dataset / "mix.yaml").read_text())
    plan["gates"]["max_tokens"] = 8192
    aether = ROOT / "datasets" / "aether"
    for kind, count, heldout in (("problems", 3, 6), ("diagrams", 1, 3)):
        source = {"kind": kind, "path": str(aether / kind), "count": count, "heldout": heldout}
        plan["sources"].append(source | {"category": "async", "system": "system.md"})
    (dataset / "mix.yaml").write_text(yaml.safe_dump(plan))
    build.build(dataset)
    assert "heldout 9 rows, 3 images" in build.build(dataset, heldout=True)
    assert build.build(dataset, heldout=True).endswith("unchanged")
    assert build.build(dataset).endswith("unchanged")  # one does not disturb the other
    alone, whole = hashes(dataset / "heldout"), hashes(dataset / "build")
    assert alone["heldout.jsonl"] == whole["heldout.jsonl"]
    assert {name for name in alone if name.startswith("images/")} <= set(whole)
    assert len(list((dataset / "heldout" / "images").iterdir())) == 3


@pytest.mark.parametrize(
    ("answer", "text", "expected"),
    [
        ({"kind": "number", "value": 1250, "tolerance": 0.01}, "About 1,250 requests.", True),
        ({"kind": "number", "value": 0.332, "tolerance": 0.01}, "Roughly 0.33 of them.", True),
        ({"kind": "number", "value": 12, "tolerance": 0.01}, "It is 12 or 13.", False),
        ({"kind": "number", "value": 12, "tolerance": 0.01}, "It is **12** of 40.", True),
        ({"kind": "number", "value": -4, "tolerance": 1e-6}, "It is $\\boxed{-4}$.", True),
        ({"kind": "number", "value": 12, "tolerance": 0.01}, "It is 112.", False),
        ({"kind": "latex", "value": "\\frac{1}{2}"}, "It is $\\boxed{\\frac{1}{2}}$.", True),
        ({"kind": "text", "value": "ledger"}, "The Ledger blocks.", True),
        ({"kind": "text", "value": "ledger"}, "The queue blocks.", False),
    ],
)
def test_a_row_says_its_checkable_value(answer, text, expected):
    limits = mix.Gates(
        max_tokens=100, english=0.1, repetition=0.3, near_duplicate=0.8, benchmarks={}
    )
    made = row(answer=text) | {"answer": answer}
    if expected:
        gates.check(made, 50, limits)
    else:
        with pytest.raises(candidates.Skip, match="does not say its checkable value"):
            gates.check(made, 50, limits)


@pytest.mark.parametrize(
    "check",
    [
        {"kind": "number", "value": 72, "tolerance": 1e-6},
        {
            "kind": "number",
            "value": 0.25,
            "unit": "s",
            "tolerance": 0.01,
            "family": "f",
            "parameters": {"z": 1, "a": [2, "b"]},
        },
        {"kind": "choice", "value": "yes", "choices": ["yes", "no"]},
        {"kind": "latex", "value": "\\frac{1}{2}"},
    ],
)
def test_answers_have_one_shape_and_come_back(check):
    answer = stored(check)
    assert {key: type(value) for key, value in answer.items()} == {
        "kind": str, "value": str, "unit": str, "tolerance": float, "derivation": str
    }  # fmt: skip
    assert restored(answer) == {"unit": "", "tolerance": 0.0} | check
    assert list(restored(answer).get("parameters", {})) == list(check.get("parameters", {}))


def row(
    user: str = "Why is it slow?", reasoning: str = "Look at what waits.", answer: str = "It waits."
) -> dict:
    def part(text: str) -> list[dict]:
        return [{"type": "text", "text": text}]

    said = [("system", "s"), ("user", user), ("assistant", chat.compose(reasoning, answer))]
    messages = [
        {"role": role, "content": part(text)} | ({"weight": 1} if role == "assistant" else {})
        for role, text in said
    ]
    return {
        "id": "r",
        "category": "async",
        "origin": "seed",
        "messages": messages,
        "tags": ["nudge"],
    }


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (
            row(
                answer="Der Server wartet nur noch auf die Antwort, und zwar immer wieder auf dieselbe. "
                * 4
            ),
            "not English",
        ),
        (
            row(
                reasoning="It is the same thing over and over again and it is the same thing. " * 9
            ),
            "repeats itself",
        ),
        (
            row() | {"answer": {"kind": "number", "value": 5}},
            "the answer does not say its checkable value",
        ),
        (row(), None),
    ],
)
def test_gates(made, reason):
    limits = mix.Gates(
        max_tokens=100, english=0.1, repetition=0.3, near_duplicate=0.8, benchmarks={}
    )
    if reason is None:
        gates.check(made, 100, limits)
        with pytest.raises(candidates.Skip, match="longer than 100 tokens"):
            gates.check(made, 101, limits)
    else:
        with pytest.raises(candidates.Skip, match=reason):
            gates.check(made, 50, limits)


def test_targets_of_the_plan_are_measured_on_rows():
    plan = mix.read(ROOT / "datasets" / "aether")
    met = {
        name
        for name, target in plan.targets.items()
        if candidates.meets(row(answer="It waits for something. What is it?"), 4, target)
    }
    assert met == {"conversations_of_4_to_6_turns", "nudging"}
    long = row(
        reasoning="What are we actually trying to do? Wait, no. " + "More thought goes here. " * 40,
        answer="a " * 100,
    )
    met = {name for name, target in plan.targets.items() if candidates.meets(long, 1, target)}
    assert met == {"long_reasoning", "signature_phrase", "visible_backtracking"}


def test_a_target_may_count_some_categories_alone_and_lengths_are_quartiles():
    pool = [
        Candidate(
            f"{n}", f"{n // 2}", "", ("talk", "sums")[n % 2], "math", 9, 5, n, met, b"", (), False
        )
        for n, met in enumerate([("t",), ("t",), (), (), (), ()])
    ]
    everywhere = mix.Target(share=(0, 1), what="")
    in_talk = mix.Target(share=(0, 1), what="", of=["talk"])
    assert selection.shares(pool, {"t": everywhere}) == {"t": 2 / 6}
    assert selection.shares(pool, {"t": in_talk}) == {"t": 1 / 3}
    of_turns = mix.Target(share=(0, 1), what="", of=["talk"], turns=(4, 6))
    assert selection.shares(pool, {"t": of_turns}) == {"t": 1 / 3}
    assert selection.reasoning_words(pool) == {
        "sums": [2, 3, 4],
        "talk": [1, 2, 3],
        "all": [1, 2, 4],
    }


def test_selection_steers_to_the_middle_of_the_targets():
    plan = mix.Mix(
        seed=1,
        val_share=0.1,
        licence="MIT",
        total=100,
        quotas={"c": 100},
        sources=[{"kind": "seeds", "path": "s", "category": "c", "system": "s"}],
        targets={"t": {"share": [0.4, 0.6], "what": ""}},
    )
    pool = []
    for n in range(400):
        met = ("t",) if n % 5 == 0 else ()
        pool.append(Candidate(f"{n}", f"{n}", f"{n}", "c", "math", 10, 5, 10, met, b"", (), False))
    chosen = selection.select(pool, plan, Counter())
    assert len(chosen) == 100
    assert selection.shares(chosen, plan.targets)["t"] == pytest.approx(0.5, abs=0.02)


def test_export_is_read_by_datasets(dataset, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import datasets

    Image.new("RGB", (32, 16), (200, 10, 10)).save(dataset / "conversations" / "red.png")
    (dataset / "conversations" / "own.jsonl").write_text(json.dumps(_shows("red.png")) + "\n")
    build.build(dataset)
    plain = datasets.load_dataset(
        "json", data_files=str(dataset / "build" / "train.jsonl"), cache_dir=str(tmp_path / "cache")
    )
    assert plain["train"].num_rows == manifest(dataset)["rows"]["train"]
    export.export(dataset / "build", tmp_path / "out")
    loaded = datasets.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    there = [r for split in loaded.values() for r in split]
    assert len(there) == manifest(dataset)["kept"]
    shown = next(r for r in there if r["images"])
    assert shown["images"][0].size == (32, 16)
    assert shown["messages"][1]["content"][0]["type"] == "image"
    with pytest.raises(export.ExportError, match="is there already"):
        export.export(dataset / "build", tmp_path / "out")


def test_every_mix_of_the_tree_loads():
    found = sorted(path.parent.name for path in ROOT.glob("datasets/*/mix.yaml"))
    assert {"aether", "tiny"} <= set(found)
    for name in found:
        mix.read(ROOT / "datasets" / name)


def test_nothing_here_imports_a_trainer():
    for path in (ROOT / "preprocess").rglob("*.py"):
        for word in ("torch", "axolotl", "training", "evaluation"):
            assert f"import {word}" not in path.read_text(), f"{path} imports {word}"
            assert f"from {word}" not in path.read_text(), f"{path} imports {word}"


def test_the_card_of_the_tree_comes_from_the_template():
    card = ROOT / "datasets" / "aether" / "README.md"
    template = (card.parent / "card.template.md").read_text()
    text = card.read_text()
    for fixed in (
        line for line in template.splitlines() if line.startswith("#") or line.startswith("<!--")
    ):
        assert fixed in text
    assert not any(f"{{{slot}}}" in text for slot in ("kept", "have_want", "targets", "dropped"))


def test_a_conversation_draws_its_prompt_and_may_have_none(dataset):
    plan = yaml.safe_load((dataset / "mix.yaml").read_text())
    plan["sources"][0]["system"] = ["system.md", None]
    (dataset / "mix.yaml").write_text(yaml.safe_dump(plan))
    build.build(dataset)
    built = [row for name in ("train", "val") for row in rows.read(dataset / f"build/{name}.jsonl")]
    prompts = Counter(
        rows.text_of(row["messages"][0]) for row in built if row["messages"][0]["role"] == "system"
    )
    # The model's template glues it to the default prompt as it is.
    assert set(prompts) == {"\n\nYou are AetherAI."}
    without = [row for row in built if row["messages"][0]["role"] == "user"]
    assert prompts.total() and without and prompts.total() + len(without) == len(built)
    assert all(rows.turns(row) == row["messages"] for row in without)


def test_the_served_prompt_names_the_members_and_stands_where_it_should():
    folder = ROOT / "datasets" / "aether"
    members = triad.read(folder / "triad.yaml").members
    prompt = triad.persona(folder / "system" / "serving.md") + "\n"
    full = (folder / "system" / "training.md").read_text()
    for name, about in members.items():
        place = "outside" if about.outside else "self-hosted"
        assert f"\n- {name} ({place}): {about.takes}\n" in prompt, name
        assert about.name.removeprefix("the ") in full and about.takes.split()[-1] in full, name
    assert prompt.count("\n- ") == len(members)
    for one in mix.read(folder).sources:
        if one.category == "replay":
            assert one.system is None
            continue
        drawn = Counter(one.system)
        wanted = {"system/serving.md": 0.3, None: 0.1}
        if one.category in ("identity", "routing"):
            wanted = {"system/serving.md": 0.5, None: 0.1}
        # Those who reason about a problem that is given.
        if one.category in ("vision", "video", "first-principles") or one.kind == "problems":
            wanted = {"system/serving.md": 0.25, None: 0}
        for name, share in wanted.items():
            assert drawn[name] / drawn.total() == share, one
