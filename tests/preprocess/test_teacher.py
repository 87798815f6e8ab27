"""The teacher against a server that misbehaves: what was paid for is kept, asked once, within the
cap, also when killed.

STORM=1 pytest tests/preprocess/test_teacher.py -k storm    # 2,000 requests and 20 kills instead of
the small version
"""

from __future__ import annotations

import asyncio
import io
import json
import multiprocessing
import os
import random
import re
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager, redirect_stderr, redirect_stdout
from functools import partial
from pathlib import Path

import pytest
import yaml
from conftest import ROOT

from common.asking import ledger
from common.asking.database import Database
from common.asking.ledger import PICODOLLARS, Ledger
from common.errors import command
from preprocess import build, mix
from preprocess.benchmarks import Benchmark
from preprocess.rows import Note
from preprocess.source import Context, MixError, load
from preprocess.sources import accepted
from preprocess.sources.seeds import Seed, SeedTurn
from preprocess.teacher import given, jobs, proof, settings, verdicts
from preprocess.teacher.__main__ import main
from preprocess.teacher.expand import STORE, Run
from preprocess.teacher.verdicts import Verdicts

AETHER = settings.read(ROOT / "datasets" / "aether")
SEEDS, VARIATIONS, KILLS, APART = (60, 18, 20, 130) if os.environ.get("STORM") else (6, 4, 3, 25)
CONCURRENCY, ALL = 8, 10**9
PROMPT = "# This category: {}\nWrite a row."


def seed(category: str, number: int, answered: bool = True) -> dict:
    turn = {"user": f"Why does {category} thing {number} wait?"}
    reply = {"reasoning": f"It waits for {number}.", "answer": f"It waits for {number} others."}
    target = (
        {"target": ("self", "edge", "grok-4-fast")[number % 3]} if category == "routing" else {}
    )
    about = {
        "id": f"{category}-{number:03d}",
        "domain": "games",
        "level": "expert",
        "mood": "neutral",
    }
    return about | target | {"turns": [turn | reply if answered else turn]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A dataset with seeds, a mix and a teacher of three categories."""
    to = tmp_path / "datasets" / "small"
    for name in ("seeds", "teacher", "system"):
        (to / name).mkdir(parents=True)
    (to / "system" / "training.md").write_text("You are AetherAI.")
    (to / "teacher" / "voice.md").write_text("Write rows.")
    endpoint = {
        "name": "ours",
        "url": "http://127.0.0.1:9/v1",
        "model": "m",
        "dollars_in": 0.4,
        "dollars_out": 1.7,
        "max_tokens": 500,
    }
    settings = {
        "cap_dollars": 50.0,
        "cap_tokens": 10**9,
        "concurrency": CONCURRENCY,
        "timeout_seconds": 6,  # a machine that is busy may be slow to read what has come
        "backoff_seconds": 0.02,
    }
    settings |= {
        "bar": 4,
        "seed": 1,
        "teacher": endpoint,
        "judge": endpoint,
        "categories": ["async", "nudge", "routing", "problem"],
    }
    write(to / "teacher" / "teacher.yaml", settings)
    judge = {"version": 1, "prompt": "You are the last reader.", "reply_tokens": 50}
    write(to / "teacher" / "judge.yaml", judge)
    for name in ("async", "nudge", "routing"):
        write(
            to / "seeds" / f"{name}.yaml",
            [seed(name, n, answered=n != 2) for n in range(SEEDS // 3)],
        )
        axes = {
            "turns": [1, 1, 4] if name == "async" else [1],
            "mood": ["curious", "rushed"],
            "domain": ["ship", "farm", "bank"],
        }
        prompt = {
            "version": 1,
            "prompt": PROMPT.format(name),
            "reply_tokens": 300,
            "seeds": f"seeds/{name}.yaml",
        }
        write(
            to / "teacher" / f"{name}.yaml",
            prompt | {"variations": VARIATIONS, "axes": axes, "examples": [f"{name}-000"]},
        )
    problem = {
        "version": 1,
        "prompt": PROMPT.format("problem"),
        "reply_tokens": 300,
        "problems": {"problems": VARIATIONS},
    }
    write(to / "teacher" / "problem.yaml", problem)
    gates = {
        "max_tokens": 4000,
        "english": 0.1,
        "repetition": 0.3,
        "near_duplicate": 0.8,
        "benchmarks": {},
    }
    names = ("async", "nudge", "routing", "problem")
    sources = [
        {
            "kind": "teacher",
            "path": f"teacher/accepted/{n}.jsonl",
            "category": n,
            "system": "system/training.md",
        }
        for n in names
    ]
    sources += [
        {
            "kind": "seeds",
            "path": "seeds/async.yaml",
            "category": "async",
            "system": "system/training.md",
        }
    ]
    quotas = {"async": 40, "nudge": 6, "routing": 10, "problem": 10}
    plan_of = {
        "seed": 1,
        "val_share": 0.1,
        "licence": "MIT",
        "total": 66,
        "quotas": quotas,
        "gates": gates,
        "sources": sources,
    }
    write(to / "mix.yaml", plan_of)
    (to / "problems").symlink_to(AETHER.folder / "problems")
    return to


def write(path: Path, what: object) -> None:
    path.write_text(yaml.safe_dump(what))


def change(path: Path, **keys: object) -> None:
    write(path, yaml.safe_load(path.read_text()) | keys)


@contextmanager
def server(folder: Path, *options: str):
    """The server, told the answers of the problems; the dataset's teacher.yaml points at it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    chains = jobs.chains(settings.read(folder), "problem", ALL, None)
    answers = {job.given[0].user: job.check["value"] for chain in chains for job in chain}
    (folder / "answers.json").write_text(json.dumps(answers))
    ours = dict(
        yaml.safe_load((folder / "teacher" / "teacher.yaml").read_text())["teacher"],
        url=f"http://127.0.0.1:{port}/v1",
    )
    change(folder / "teacher" / "teacher.yaml", teacher=ours, judge=ours)
    run = [
        sys.executable,
        ROOT / "tests" / "preprocess" / "teacher_server.py",
        str(port),
        folder / "log",
        "--answers",
        folder / "answers.json",
    ]
    with subprocess.Popen([*map(str, run), *options], stdout=-1, stderr=-3, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        try:
            yield
        finally:
            process.kill()


def finished(folder: Path, *options: str) -> tuple[int, str, str]:
    """(exit code, stdout, stderr) of the command, for a dataset outside of the repository."""
    out = io.StringIO()
    err = io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = command(partial(main, [folder.name, *options], folder.parents[1]))
    return code, out.getvalue(), err.getvalue()


def started(folder: Path) -> multiprocessing.Process:
    """The command in a process of its own."""
    process = multiprocessing.get_context("fork").Process(target=finished, args=(folder,))
    process.start()
    return process


def log(folder: Path) -> list[dict]:
    path = folder / "log"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@contextmanager
def opened(folder: Path) -> Iterator[Ledger]:
    """The bill in a store that no run has open."""
    database = Database(folder / STORE, ledger.SCHEMA)
    with closing(database):
        yield Ledger(database, 1, 1, "here")


def stored_keys(bill: Ledger) -> set[str]:
    return {key.hex() for (key,) in bill.database.read("SELECT key FROM replies")}


def picodollars(line: dict) -> int:
    return line["in"] * 400_000 + line["out"] * 1_700_000


def test_storm_every_paid_reply_is_stored_once_and_a_kill_loses_at_most_what_was_in_flight(folder):
    rng = random.Random(5)
    in_flight_then: list[int] = []  # calls at each kill
    lost: set[str] = set()  # replies that went out whole, and were in flight at a kill
    with server(folder):
        for _ in range(KILLS):
            seen = len(log(folder))
            process = started(folder)
            wanted = seen + rng.randint(5, APART)
            while len(log(folder)) < wanted and process.is_alive():
                time.sleep(0.003)
            process.kill()
            process.join()
            time.sleep(0.1)  # the server ends what it was writing
            with opened(folder) as bill:
                newly = {line["key"] for line in log(folder) if line["whole"]}
                newly -= stored_keys(bill) | lost
                in_flight = bill.outcomes().get("lost in flight", 0) - sum(in_flight_then)
                billed = sum(map(picodollars, log(folder)))
                assert bill.spent >= billed, "more was spent than is charged"
            assert len(newly) <= in_flight <= CONCURRENCY, "more was lost than was in flight"
            lost |= newly
            in_flight_then.append(in_flight)
        code, out, err = finished(folder)
        assert code == 0, err
        requests = log(folder)
        before = len(requests)
        assert finished(folder)[0] == 0
        again = [line for line in log(folder)[before:] if line["whole"]]
        assert not again, f"a repeated run asked something again; the one before said {out}"
    whole = [line["key"] for line in requests if line["whole"]]
    assert {key for key, times in Counter(whole).items() if times > 1} <= lost, (
        "something was asked twice that was not lost"
    )
    with opened(folder) as bill:
        assert set(whole) - stored_keys(bill) <= lost
        charged = bill.spent
        outcomes = bill.outcomes()
    assert charged >= sum(map(picodollars, requests))
    assert set(line["did"] for line in requests) > {
        "429",
        "500",
        "broken JSON",
        "half reply",
        "half body",
        "cut off",
    }

    sent = sum(not line["whole"] for line in requests)
    billed = sum(map(picodollars, requests)) / PICODOLLARS
    print(f"{sent} requests, {KILLS} kills, in flight at them {in_flight_then}")
    print(f"{len(lost)} whole replies lost with them; calls: {outcomes}")
    print(f"charged {charged / PICODOLLARS:.4f}, billed {billed:.4f}\n{out}")


def test_the_cap_is_never_passed(folder):
    cap = 0.02
    change(folder / "teacher" / "teacher.yaml", cap_dollars=cap)
    with server(folder):
        for _ in range(2):  # a restart knows what was spent
            code, out, err = finished(folder)
            assert code == 1 and "the cap of $0.02" in err
            assert sum(map(picodollars, log(folder))) <= cap * PICODOLLARS
        assert sum(map(picodollars, log(folder))) > 0.7 * cap * PICODOLLARS
        count = len(log(folder))
        with opened(folder) as bill:
            tokens = bill.tokens
        change(folder / "teacher" / "teacher.yaml", cap_dollars=50.0, cap_tokens=tokens + 10)
        assert finished(folder)[0] == 1 and len(log(folder)) == count, (
            "the cap in tokens let a request through"
        )


def test_accepted_rows_reach_the_dataset_its_report_and_its_card(folder, monkeypatch):
    (folder / "card.template.md").write_text("{origins} {teachers}")
    with server(folder, "--calm", "0.001"):
        code, out, err = finished(folder)
        assert code == 0, err
        count = len(log(folder))
        # A changed prompt asks only what changed.
        change(folder / "teacher" / "nudge.yaml", prompt=PROMPT.format("nudge") + " Warm.")
        assert finished(folder)[0] == 0
        changed = SEEDS // 3 * VARIATIONS
        assert 2 * changed <= len(log(folder)) - count <= 2 * (2 * changed + 2)
    first = {path.name: path.read_bytes() for path in (folder / "teacher" / "accepted").iterdir()}
    assert finished(folder)[0] == 0
    assert {
        path.name: path.read_bytes() for path in (folder / "teacher" / "accepted").iterdir()
    } == first
    build.build(folder)
    about = json.loads((folder / "build" / "manifest.json").read_text())
    assert about["categories"] == {
        "async": 40 if SEEDS > 6 else about["categories"]["async"],
        "nudge": 6,
        "routing": 8,
        "problem": 4,
    }
    assert about["origins"]["teacher"] >= 18 and about["verified_answers"] == 4
    assert "| nudge | 6 | 6 | 0 |" in (folder / "build" / "report.md").read_text()
    assert "ours, model server-1" in (folder / "build" / "README.md").read_text()
    written = accepted.Config(
        kind="teacher", path="teacher/accepted/async.jsonl", category="async", system="s"
    )
    context = Context(1, folder, None, False, Benchmark().contaminated)
    first_seeds = {
        c.group for c in accepted.conversations(written, context) if not isinstance(c, Note)
    }
    assert first_seeds == {"async-000", "async-001"}


def job(**about: object) -> jobs.Job:
    return jobs.Job(
        **{"id": "j", "category": "async", "group": "g", "version": 1, "system": "s", "ask": "a"}
        | about
    )


def body(text: str | None = None, ended: str = "stop", **turn: str) -> str:
    said = {
        "user": "Why does it wait for the other one?",
        "reasoning": "Think of the queue.",
        "answer": "Measure it.",
    } | turn
    text = json.dumps({"turns": [said], "claim": turn.pop("claim", "")}) if text is None else text
    return json.dumps(
        {"model": "m", "choices": [{"message": {"content": text}, "finish_reason": ended}]}
    )


def look(given: jobs.Job, reply: str) -> proof.Verdict:
    gates = mix.Gates(
        max_tokens=4000, english=0.1, repetition=0.3, near_duplicate=0.8, benchmarks={}
    )
    return proof.prove(given, reply, gates, "You are AetherAI.", AETHER.settings.teacher)


NUMBER = {"kind": "number", "value": 42, "tolerance": 1e-6}
CALL = {"kind": "text", "value": "f", "call": {"name": "f", "arguments": {"n": 3}}}
HALF = {"kind": "latex", "value": "\\frac{1}{2}"}


def solved(answer: str, claim: str) -> str:
    return body(
        json.dumps(
            {
                "turns": [{"user": "", "reasoning": "Six by seven.", "answer": answer}],
                "claim": claim,
            }
        )
    )


ASKED = (SeedTurn(user="What is it?"),)


@pytest.mark.parametrize(
    ("given", "reply", "reason"),
    [
        (job(), body(), None),
        (job(), "```json\n" + "{", "half a reply"),
        (
            job(),
            body("```json\n" + json.loads(body())["choices"][0]["message"]["content"] + "\n```"),
            None,
        ),
        (job(), body("I'm sorry, I can't help with that."), "refused"),
        (job(), body("Here is your row: {}"), "broken JSON"),
        (job(), body(ended="length"), "cut off"),
        (job(), body(ended="content_filter"), "refused"),
        (job(turns=2), body(), "wrong number of turns"),
        (job(), body(answer="It ends <|end|> here."), "a gate: answer contains"),
        (job(), body(reasoning=" "), "blank text"),
        (job(), body(answer="wait for the disk " * 60), "a gate: repeats itself"),
        (job(category="nudge"), body(answer="The gap is in the log. What does line 3 say?"), None),
        (job(category="nudge"), body(answer="What does line 3 say? And line 4?"), "not a nudge"),
        (job(tags=("nudge",)), body(), "not a nudge"),
        (job(target="edge", given=ASKED), solved("The edge member takes it.", "edge"), None),
        (
            job(target="edge", given=ASKED),
            solved("Not Grok 4 Fast: edge.\n\nRoute: edge", "edge"),
            None,
        ),
        (
            job(target="edge", given=ASKED),
            solved("Grok 4 Fast takes it.", "grok-4-fast"),
            "wrong route",
        ),
        (
            job(target="edge", given=ASKED),
            solved("It does.\n\nRoute: grok-4-fast", "edge"),
            "wrong route",
        ),
        (job(target="edge"), body(answer="The edge member takes it."), "wrong route"),
        (job(target="self", given=ASKED), solved("This stays here.", "self"), None),
        (job(given=ASKED, check=NUMBER), solved("It is 42 km.", "42"), None),
        (job(given=ASKED, check=NUMBER), solved("Not 42 but 43.", "43"), "wrong answer"),
        (job(given=ASKED, check=NUMBER), solved("It is 43.", "42"), "wrong answer"),
        (job(given=ASKED, check=NUMBER), solved("It is 42, so \\boxed{43}.", "42"), "wrong answer"),
        (job(given=ASKED, check=HALF), solved("\\boxed{\\frac{1}{2}}", "\\dfrac{1}{2}"), None),
        (
            job(given=ASKED, check=HALF),
            solved("\\boxed{\\frac{1}{3}}", "\\frac{1}{2}"),
            "wrong answer",
        ),
        (job(given=ASKED, check=HALF), solved("It is a half.", "\\frac{1}{2}"), "wrong answer"),
        (job(given=ASKED, check=HALF), solved("\\boxed{\\frac{1}{2}}", "2"), "wrong answer"),
        (job(given=ASKED, check=NUMBER), solved("**42 km** are left: 7 by 6.", "42 km"), None),
        (job(given=ASKED, check=NUMBER), solved("42, 7 or 6.", "42 km"), "wrong answer"),
        (job(given=ASKED, check=NUMBER), solved("Not 42.\n\nAnswer: 41", "42"), "wrong answer"),
        (job(given=ASKED, check=NUMBER), solved("It is 42.", "42 or 43"), "wrong answer"),
        (job(), body(answer="Run it:\n\n```python\nassert sum([1, 2]) == 3\n```"), None),
        (
            job(),
            body(answer="Run it:\n\n```python\nassert sum([1, 2]) == 4\n```"),
            "Python does not run",
        ),
        (
            job(),
            body(
                answer="Run it:\n\n```python\nimport socket\n"
                "assert socket.create_connection(('1.1.1.1', 80))\n```"
            ),
            "Python does not",
        ),
        (job(), body(answer="Run it:\n\n```python\ndef f(:\n```"), "Python does not compile"),
        (
            job(replay=True, given=ASKED, check=NUMBER),
            body("<think>Six by seven.</think>It is 42."),
            None,
        ),
        (
            job(replay=True, given=ASKED, check=NUMBER),
            body("<think>Six by six.</think>It is 36."),
            "wrong answer",
        ),
        (job(replay=True, given=ASKED, check=NUMBER), body("It is 42."), "no reasoning"),
        (
            job(replay=True, given=ASKED, check=CALL),
            body(
                "<think>Call f.</think>"
                '<tool_calls>[{"name": "f", "arguments": {"n": 3}}]</tool_calls>'
            ),
            None,
        ),
        (
            job(replay=True, given=ASKED, check=CALL),
            body(
                "<think>Call f.</think>"
                '<tool_calls>[{"name": "f", "arguments": {"n": "3"}}]</tool_calls>'
            ),
            "wrong tool call",
        ),
    ],
)
def test_proof(given, reply, reason):
    verdict = look(given, reply)
    assert (verdict.reason is None) if reason is None else str(verdict.reason).startswith(reason), (
        verdict.reason
    )


SEEDED = [name for name, prompt in AETHER.prompts.items() if prompt.seeds]


def test_every_category_of_the_teacher_is_one_of_the_mix_or_left_off():
    assert set(AETHER.prompts) <= set(mix.read(AETHER.folder).quotas)
    written = {path.stem for path in (AETHER.folder / "teacher").glob("*.yaml")}
    assert written - {"teacher", "judge"} == {*AETHER.prompts, "replay"}


@pytest.mark.parametrize("name", SEEDED)
def test_jobs_of_the_prompt_files_differ_are_the_same_every_time_and_fit_their_seeds(name):
    def made() -> list[jobs.Job]:
        chains = list(jobs.chains(AETHER, name, ALL, None))  # all begun before any is run
        return [job for chain in chains for job in chain]

    first = made()
    prompt = AETHER.prompts[name]
    written = {seed.id: seed for seed in load(AETHER.folder / prompt.seeds, list[Seed])}
    assert first == made() and len(first) == jobs.size(prompt, AETHER.folder, ALL)
    assert len({job.ask for job in first}) == len(first)
    for job in first:
        seed = written[job.group]
        assert job.target == seed.target and set(seed.tags) <= set(job.tags)
        assert (len(job.given) == len(seed.turns)) == (
            job.id.endswith("v00") and any(t.answer is None for t in seed.turns)
        )


def test_the_hand_written_seeds_pass_the_proof_they_teach():
    for name in SEEDED:
        for seed in load(AETHER.folder / AETHER.prompts[name].seeds, list[Seed]):
            if all(turn.answer and turn.reasoning for turn in seed.turns):
                given = job(
                    category=name, turns=len(seed.turns), target=seed.target, tags=tuple(seed.tags)
                )
                reply = body(
                    json.dumps(
                        {
                            "turns": [turn.model_dump() for turn in seed.turns],
                            "claim": seed.target or "",
                        }
                    )
                )
                assert look(given, reply).reason is None, seed.id


def test_near_duplicates_are_found_as_they_come(tmp_path):
    kept = Verdicts(Database(tmp_path / "s", verdicts.SCHEMA))
    one = look(
        job(), body(reasoning="The queue grows by five a second and the worker takes four of them.")
    )
    assert kept.twin("a", one, 0.8) is None
    asyncio.run(kept.keep(b"1", "a", "async", one, ""))
    assert kept.twin("a", one, 0.8) is None, "a row is no twin of itself"
    assert kept.twin("b", one, 0.8) == "a"
    other = look(
        job(),
        body(
            user="Is this the bakery?",
            reasoning="Bread is due at six and the oven is cold until five.",
        ),
    )
    assert kept.twin("b", other, 0.8) is None


def test_a_second_run_on_the_same_store_and_a_damaged_store_are_refused(folder):
    with opened(folder):
        code, _, err = finished(folder, "--dry-run")
    assert code == 1 and err.startswith("error: ") and err.count("\n") == 1
    assert "another run has it open" in err
    (folder / STORE).write_bytes(b"no database, " * 1000)
    code, _, err = finished(folder, "--dry-run")
    assert code == 1 and STORE in err and err.count("\n") == 1


def test_a_full_disk_stops_the_run_in_one_line_and_what_was_paid_for_stays(folder):
    with server(folder, "--calm", "0.001"):
        run = Run(settings.read(folder), ALL, None)
        with closing(run.database):
            pages = run.database.read("PRAGMA page_count").fetchone()[0]
            run.database.read(f"PRAGMA max_page_count = {pages + 30}")
            asyncio.run(run.run())
            assert "database or disk is full; what was paid for before is stored" in run.stopped
            assert run.stopped.count("\n") == 0
            kept = run.ledger.outcomes()["reply"]
        before = len(log(folder))
        assert 0 < kept <= before
        assert finished(folder)[0] == 0
        whole = [line["key"] for line in log(folder) if line["whole"]]
        twice = {key for key, times in Counter(whole).items() if times > 1}
        assert len(twice) <= CONCURRENCY, "more was asked again than was in flight"


@pytest.mark.parametrize(
    ("file", "keys", "says"),
    [
        (
            "teacher/teacher.yaml",
            {"cap_dollar": 3},
            r"teacher.yaml:\d+: cap_dollar: no such key; did you",
        ),
        (
            "teacher/teacher.yaml",
            {"concurency": 3, "concurrency": None},
            r"teacher.yaml:\d+: concurency: no such key; did you",
        ),
        (
            "teacher/nudge.yaml",
            {"examples": ["nudge-999"]},
            "nudge.yaml: examples: no seed 'nudge-999'",
        ),
        ("teacher/nudge.yaml", {"seeds": "seeds/none.yaml"}, "none.yaml: no such file"),
        ("teacher/nudge.yaml", {"replay": True}, "base: nudge collects"),
    ],
)
def test_bad_input_is_one_line(folder, file, keys, says):
    change(folder / file, **keys)
    code, _, err = finished(folder)
    assert code == 1 and re.search(says, err) and err.count("\n") == 1, err


def test_no_endpoint_and_no_key(folder):
    code, out, err = finished(folder)
    assert (
        code == 1
        and "http://127.0.0.1:9/v1: Cannot connect" in err
        and "start it" in err
        and "Traceback" not in err
    )
    ours = yaml.safe_load((folder / "teacher" / "teacher.yaml").read_text())["teacher"] | {
        "key_env": "NO_SUCH_KEY"
    }
    change(folder / "teacher" / "teacher.yaml", teacher=ours)
    code, _, err = finished(folder)
    assert code == 1 and "set the environment variable NO_SUCH_KEY" in err
    assert finished(folder, "--dry-run")[0] == 0


@pytest.mark.parametrize("built", ["build", "heldout", None])
def test_held_out_rows_are_kept_out_wherever_they_were_built(folder, built):
    drawn = {
        "kind": "problems",
        "category": "problem",
        "system": "system/training.md",
        "count": 1,
        "heldout": 1,
    }
    change(folder / "mix.yaml", sources=[drawn], quotas={}, total=None)
    asked = "How many pallets fit on the ninth dock when the tide is out and nobody is at work?"
    said = {"system": "Be brief.", "user": asked, "assistant": "It fits nine."}
    messages = [
        {"role": role, "content": [{"type": "text", "text": text}]} for role, text in said.items()
    ]
    row = {
        "id": "h-1",
        "category": "problem",
        "origin": "procedural",
        "tags": [],
        "messages": messages,
    }
    messages[-1]["weight"] = 1
    if built is None:
        with pytest.raises(
            MixError,
            match="heldout.jsonl: not there.*run python -m preprocess small --heldout first",
        ):
            given.benchmark(folder, None)
    else:
        (folder / built).mkdir()
        (folder / built / "heldout.jsonl").write_text(json.dumps(row) + "\n")
        assert given.benchmark(folder, None).covered(asked)[0] == 1
