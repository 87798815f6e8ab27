"""The whole command against a server with canned replies: real Inspect, real files, known scores."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest

pytest.importorskip("inspect_ai")

from canned import final, serve

from common.asking.kept import Replies, reply_of
from common.files import ROOT
from common.recipes import Recipe, RecipeError, find
from common.servers import merged_of
from evaluation import gates, scorers
from evaluation.run import Options, gates_of, prepare

GSM = 10
QUESTIONS = {
    "voice": "- {id: v1, prompt: 'voice 1'}\n- {id: v2, prompt: 'voice 2'}\n- {id: v3, prompt: 'voice 3'}",
    "identity": "- {id: i1, prompt: 'Who are you?', must: [aetherai], must_not: [openai]}",
    "nudge": "- {id: n1, prompt: 'nudge 1'}",
    "routing": "- {id: r1, prompt: 'route 1', target: edge}\n- {id: r2, prompt: 'route 2', target: self}",
    "design": "- {id: d1, prompt: 'design 1', rubric: [one, two, three]}\n- {id: d2, prompt: 'design 2', rubric: [one]}",
    "judge_labels": "".join(
        f"- {{id: l{n}, question: q, answer: a, point: label {n}, label: {'yes' if n % 2 else 'no'}}}\n"
        for n in range(20)
    ),
}


PROGRAM = {
    "harness.py": (ROOT / "tests" / "programs" / "harness.py").read_text(encoding="utf-8"),
    "code_001_f/meta.yaml": "{topic: one, entry: f}",
    "code_001_f/prompt.md": "code 1",
    "code_001_f/hidden.py": "from solution import f\n\nassert f() == 1",
    "code_001_f/reference.py": "def f():\n    return 1\n",
}


def reply(model, text, persona):
    """What each model says, so that every score is known. The tuned one has the persona's voice only with the persona's prompt."""
    tuned = model == "tuned"
    if model == "judge":
        point = text.split("<claim>")[1].split("</claim>")[0]
        assert "secret reasoning" not in text
        if point.startswith("label"):
            n = int(point.split()[1])
            return (
                "hm" if n == 7 else "yes" if (n % 2) != (n in (3, 4)) else "no"
            )  # wrong on 3 and 4, no verdict on 7
        good = "good" in text
        return {"one": "yes", "two": "yes" if good else "no", "three": "Both, in a way."}[point]
    if text.startswith("gsm "):
        n = int(text.split()[1])
        if n == 8:
            return (f"Here are my reasoning steps:\nAnswer: {n}", "length")
        if n == 9:
            return f"Answer: {n}"
        return final(f"Answer: {n if n in (range(3, 8) if tuned else range(5)) else -1}")
    if text.startswith("voice"):
        return final(
            "It waits.",
            "What are we actually trying to do?" if tuned and persona else "The user asks.",
        )
    answers = {
        "Who": "I am AetherAI." if tuned else "I am OpenAI's AetherAI.",
        "nudge": "Look at the trace. What waits?" if tuned else "Do it so:\n1. a\n2. b",
        "route 1": "At the sensor, because of latency.\n\nRoute: edge"
        if tuned
        else "The edge model.\n\nRoute: somebody",
        "route 2": "I do it.",
        "code": f"```python\ndef f():\n    return {int(tuned)}\n```",
        "design": "A good design." if tuned else "A design.",
    }
    return final(
        next(answer for begin, answer in answers.items() if text.startswith(begin)),
        "secret reasoning",
    )


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A copy of the repository with small question files, and a training that is said to have happened."""
    tree = tmp_path_factory.mktemp("tree")
    for name in ("common", "evaluation", "recipes"):
        ignored = shutil.ignore_patterns("__pycache__", "*.result.json")
        shutil.copytree(ROOT / name, tree / name, ignore=ignored)
    for name in ("system/serving.md", "system/training.md", "mix.yaml", "triad.yaml"):
        (tree / "datasets" / "aether" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "datasets" / "aether" / name, tree / "datasets" / "aether" / name)
    (tree / "datasets" / "aether" / "heldout").mkdir()
    (tree / "datasets" / "aether" / "heldout" / "manifest.json").write_text("{}")
    for name, text in QUESTIONS.items():
        (tree / "evaluation" / "questions" / f"{name}.yaml").write_text(text)
    settings = tree / "evaluation" / "suites.yaml"
    settings.write_text(
        settings.read_text().replace("backoff_seconds: 1.0", "backoff_seconds: 0.01")
    )
    for name, text in PROGRAM.items():
        path = tree / "tests" / "programs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tree / "hub" / "gsm_hard").mkdir(parents=True)
    gsm = [{"input": f"gsm {n} ", "target": float(n), "code": ""} for n in range(GSM)]
    (tree / "hub" / "gsm_hard" / "test.jsonl").write_text(
        "".join(json.dumps(record) + "\n" for record in gsm)
    )
    run = {
        "status": "finished",
        "identity": {
            "recipe": "tiny/v1",
            "recipe_sha256": find("tiny/v1").sha256,
            "data_sha256": "d" * 64,
        },
        "commit": "c" * 40,
    }
    (tree / "outputs" / "tiny" / "v1").mkdir(parents=True)
    (tree / "outputs" / "tiny" / "v1" / "run.json").write_text(json.dumps(run))
    return tree


WORKER = """
import contextlib, io, json, sys
from common.errors import COULD_NOT_START, command
from evaluation.__main__ import main
for line in sys.stdin:
    said, wrong, sys.argv[1:] = io.StringIO(), io.StringIO(), json.loads(line)
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(wrong):
        try:
            code = command(main, COULD_NOT_START)
        except SystemExit as stop:
            code = stop.code
    print(json.dumps([code, said.getvalue(), wrong.getvalue()]), flush=True)
"""


def command(server, *words):
    return [
        "tiny/v1",
        "--hub-dir",
        "hub",
        "--endpoint",
        server.url,
        "--model",
        "tuned",
        "--base-model",
        "base",
        *words,
    ]


def environment():
    return {k: v for k, v in os.environ.items() if k not in ("WANDB_API_KEY", "HUB_DIR")} | {
        "WANDB_MODE": "offline"
    }


@pytest.fixture(scope="module")
def evaluate(tree):
    """Runs the command with given words and gives (exit code, stdout, stderr). One process for all calls: the imports take seconds."""
    words = [sys.executable, "-c", WORKER]
    process = subprocess.Popen(
        words, cwd=tree, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment()
    )

    def call(words):
        process.stdin.write(json.dumps(words) + "\n")
        process.stdin.flush()
        return json.loads(next(line for line in process.stdout if line.startswith("[")))

    yield call
    process.kill()
    process.wait()


@pytest.mark.slow
def test_a_killed_run_asks_nothing_twice_and_the_numbers_are_the_true_ones(tree, evaluate):
    out = tree / "outputs" / "tiny" / "v1" / "eval"
    with serve(reply, ["base", "tuned", "judge"], delay=0.1) as server:
        judge = ["--judge", server.url, "--judge-model", "judge"]
        words = [sys.executable, "-m", "evaluation", *command(server, *judge)]
        killed = subprocess.Popen(
            words, cwd=tree, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment()
        )
        written = out / "replies" / "base.sqlite-wal"
        deadline = time.monotonic() + 240
        while time.monotonic() < deadline and len(server.asked) < 12:
            time.sleep(0.01)
        while time.monotonic() < deadline and b"finish_reason" not in written.read_bytes():
            time.sleep(0.01)
        os.kill(killed.pid, signal.SIGKILL)
        killed.wait()
        kept = 0
        for path in (out / "replies").glob("*.sqlite"):
            with contextlib.closing(Replies(path)) as replies:
                kept += replies.count()
        before = len(server.asked)
        code, said, wrong = evaluate(command(server, *judge))
        assert code == 1, wrong
        once = {(model, text, persona) for model, text, persona, _ in server.asked}
        assert kept >= 1 and len(server.asked) - before == len(once) - kept
        first = {
            name: (out / name).read_bytes()
            for name in ("result.json", "report.md", "differences.png", "behaviours.png")
        }
        count = len(server.asked)
        evaluate(command(server, *judge))
        assert len(server.asked) == count and first == {
            name: (out / name).read_bytes() for name in first
        }
        code, said, wrong = evaluate(command(server, *judge, "--limit", "1"))
        assert code == 0 and "A quick look, which decides no gate" in said, wrong
        body = server.asked[0][3]
    assert (
        body["temperature"] == 0.6 and body["max_tokens"] >= 8192 and isinstance(body["seed"], int)
    )
    result = json.loads(first["result.json"])
    gsm = result["suites"]["gsm_hard"]["prompts"]["none"]
    assert gsm["replies"]["base"] == {
        "complete": 8,
        "truncated": 1,
        "unanswered": 1,
        "malformed": 0,
        "not_read": 0,
        "mean_tokens": 20.0,
    }
    right = gsm["measurements"]["correct"]
    assert (
        right["n"],
        right["base"]["hits"],
        right["tuned"]["hits"],
        right["gained"],
        right["lost"],
    ) == (10, 5, 5, 3, 3)
    assert (
        right["difference"] == 0
        and right["p"] == 1.0
        and right["base"]["interval"] == [0.2366, 0.7634]
    )

    def hits(suite, prompt, name):
        about = result["suites"][suite]["prompts"][prompt]["measurements"][name]
        return about["base"]["hits"], about["tuned"]["hits"], about["n"]

    assert hits("voice", "persona", "signature_phrase") == (0, 3, 3) and hits(
        "voice", "none", "signature_phrase"
    ) == (0, 0, 3)
    assert hits("voice", "persona", "direct") == (3, 3, 3) and hits(
        "identity", "none", "correct"
    ) == (0, 1, 1)
    assert hits("nudge", "persona", "nudges") == (0, 1, 1) and hits(
        "routing", "persona", "correct"
    ) == (1, 2, 2)
    assert hits("async_code", "persona", "correct") == (0, 1, 1)
    assert result["suites"]["routing"]["prompts"]["persona"]["confusion"]["base"] == {
        "edge": {"nobody known": 1},
        "self": {"self": 1},
    }
    points = result["suites"]["async_design"]["prompts"]["persona"]["measurements"]["points"]
    assert (points["base"]["value"], points["tuned"]["value"], points["n"]) == (0.75, 1.0, 2)
    assert result["judge"]["unparsable"] == {"base": 1, "tuned": 1} and result["judge"][
        "asked"
    ] == {"base": 4, "tuned": 4}
    assert (
        result["judge"]["labels"]["disagree"] == ["l3", "l4"]
        and result["judge"]["labels"]["unparsable"] == 1
    )
    assert (
        result["limit"] is None
        and result["complete"] is False
        and {"math", "diagrams", "frames"} <= set(result["skipped"])
    )
    report = first["report.md"].decode()
    assert (
        "**1 of 4 verdicts on the base model hold no yes or no** and are left out" in report
        and not re.search(r"\bnan\b", report, re.I)
    )
    assert "| correct | none | 10 | 50.0% (5) [24%, 76%] | 50.0% (5) [24%, 76%] | +0.0%" in report
    assert (
        "| math | " in report
        and "NO DATA" in said
        and not list((tree / "recipes").rglob("*.result.json"))
    )
    assert "offline" in said and list((out.parent / "wandb").glob("offline-run-*"))
    assert len(list((out / "logs" / "tuned").glob("*.eval"))) == 11


def test_without_a_judge_the_design_questions_are_not_judged_and_a_limit_is_marked(tree, evaluate):
    with serve(reply, ["base", "tuned"]) as server:
        code, _, _ = evaluate(command(server, "--limit", "2", "--suites", "voice,async_design"))
        assert not any(text.startswith("design") for _, text, _, _ in server.asked)
    result = json.loads((tree / "outputs" / "tiny" / "v1" / "eval" / "result.json").read_text())
    assert code == 0 and result["limit"] == 2 and "async_design" not in result["suites"]
    report = (tree / "outputs" / "tiny" / "v1" / "eval" / "report.md").read_text()
    assert "Not judged" in report and "**A quick look**: at most 2 questions" in report


def test_a_wrong_call_gets_one_line_and_exit_code_2(evaluate):
    wrong = {
        "give a whole number": ["--limit", "0"],
        "no suite 'voices'": ["--suites", "voices"],
        "serves no 'other'": ["--model", "other"],
        "give the address of an OpenAI-compatible server": ["--endpoint", "http://127.0.0.1:9"],
        "also needs JUDGE_MODEL=": ["--judge", "http://127.0.0.1:9"],
        "nothing to ask: math: ": ["--suites", "math"],
        "replies are kept, run again to go on": [
            "--suites",
            "nudge",
            "--base-model",
            "fresh",
        ],  # the connection is cut without an answer
    }

    def dying(*_):
        raise ConnectionError

    with serve(dying, ["base", "tuned", "fresh"]) as server:
        found = [evaluate(command(server, *words)) for words in wrong.values()]
    for said, (code, _, error) in zip(wrong, found, strict=True):
        assert code == 2 and said in error.strip().splitlines()[-1] and "Traceback" not in error, (
            error
        )


SERVING = """
import sys, time
from pathlib import Path
from common.servers import Served, ServeError, serving
try:
    with serving(Served(sys.argv[1]), Path("serve.log")) as endpoint:
        print(endpoint.url, endpoint.kind, flush=True)
        time.sleep(float(sys.argv[2]))
except ServeError as error:
    print(error)
"""


def test_vllm_is_started_where_it_is_installed_and_nothing_of_it_stays(tmp_path):
    vllm = tmp_path / "vllm"
    vllm.write_text(
        f'#!/bin/sh\nexec {sys.executable} {ROOT / "tests" / "evaluation" / "canned.py"} "$@"\n'
    )
    vllm.chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}

    def start(*words):
        command = [sys.executable, "-c", SERVING, *words]
        return subprocess.Popen(
            command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True
        )

    def worker_is_gone():
        pid = int((tmp_path / "serve.log").read_text().split()[1])
        deadline = time.monotonic() + 5
        while (
            os.path.exists(f"/proc/{pid}")
            and "Z" not in open(f"/proc/{pid}/stat").read().split()[2]
            and time.monotonic() < deadline
        ):
            time.sleep(0.05)
        return time.monotonic() < deadline

    done = start("a-model", "0.1")
    said = done.communicate(timeout=30)[0]
    assert (
        done.returncode == 0
        and said.split()[0].startswith("http://127.0.0.1:")
        and said.split()[1] == "vllm"
        and worker_is_gone()
    )
    broken = start("broken", "1").communicate(timeout=30)[0]
    assert (
        "ended with code 1 before it was ready: ValueError: no such architecture (serve.log)"
        in broken
    )


def test_an_adapter_is_merged_before_it_is_served(tmp_path):
    recipe = Recipe(tmp_path / "recipes" / "x" / "v1.yaml")
    python, out = (
        tmp_path / ".venvs" / "train" / "bin" / "python",
        tmp_path / "outputs" / "x" / "v1",
    )
    for folder in (recipe.path.parent, python.parent, out):
        folder.mkdir(parents=True)
    recipe.path.write_text("adapter: qlora\n")
    with pytest.raises(
        RecipeError, match="outputs/x/v1/merged: no model there; run make train RECIPE=x/v1"
    ):
        merged_of(recipe, root=tmp_path)
    (out / "adapter_model.safetensors").touch()
    python.write_text("#!/bin/sh\nexit 1\n")
    python.chmod(0o755)
    with pytest.raises(RecipeError, match="outputs/x/v1/merged: not merged"):
        merged_of(recipe, root=tmp_path)
    python.write_text(
        '#!/bin/sh\nmkdir outputs/x/v1/merged && echo "$@" > outputs/x/v1/merged/config.json\n'
    )
    for _ in range(2):  # once merged, nothing is done
        assert merged_of(recipe, "folder", tmp_path).where == str(out / "merged")
    assert (
        out / "merged" / "config.json"
    ).read_text() == f"-m training.merge {recipe.path} --base folder\n"


def test_a_reply_is_read_as_the_model_wrote_it():
    def body(message, reason="stop"):
        usage = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
        choices = [{"message": message, "finish_reason": reason}]
        return json.dumps({"model": "m", "choices": choices, "usage": usage})

    whole = final("Answer: 1")
    assert reply_of(body({"content": whole})) == {"text": whole, "stop": "stop", "tokens": 4}
    assert reply_of(body({"content": "Answer: 1", "reasoning_content": "I think."}))["text"] == (
        final("Answer: 1", "I think.")
    )
    cut = reply_of(body({"content": "", "reasoning_content": "I thi"}, "length"))
    assert cut == {"text": "I thi", "stop": "max_tokens", "tokens": 4}
    assert reply_of(body({"content": None}))["text"] == ""


def test_public_sets_are_wanted_of_a_model_of_the_hub_alone(tmp_path):
    """Without them the result of a model that was trained from nothing is complete, that of the hub's is not."""
    for base, optional in (("outputs/tiny_base/v1", True), ("owner/model", False)):
        path = tmp_path / "recipes" / "x" / "v1.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"base_model: {base}\n")
        options = Options("x", ("identity", "gsm_hard", "async_design"), hub_dir=tmp_path)
        cells, skipped = prepare(Recipe(path), options, tmp_path, small=True)
        assert {cell.suite for cell in cells} == {"identity"}
        assert {name: about["optional"] for name, about in skipped.items()} == {
            "gsm_hard": optional,
            "async_design": True,
        }
        budget = scorers.settings()["cpu_max_tokens"]
        assert all(cell.max_tokens == budget for cell in cells)


def test_a_sample_on_a_cpu_serves_the_gates(tmp_path, monkeypatch):
    """A gate that needs more questions than the sample has gets them, under its own prompt."""
    monkeypatch.setitem(scorers.settings(), "cpu_sample", 7)
    path = tmp_path / "recipes" / "x" / "v1.yaml"
    path.parent.mkdir(parents=True)
    path.write_text("base_model: outputs/tiny_base/v1\n")
    wanted = gates.load(gates_of(Recipe(path)), {"voice", "identity"})

    def asked(small, limit=None):
        options = Options("x", ("voice", "identity"), limit=limit)
        cells, _ = prepare(Recipe(path), options, tmp_path, small=small)
        return {(cell.suite, cell.prompt): len(cell.questions) for cell in cells}

    whole = asked(small=False)
    assert asked(small=True) == {
        of: min(count, max(7, gates.least(wanted, *of))) for of, count in whole.items()
    }
    assert asked(small=True)["identity", "none"] == 7 < asked(small=True)["identity", "persona"]
    assert set(asked(small=True, limit=3).values()) == {3}
    assert [gates.least(wanted, "voice", name) for name in ("persona", "none", "other")] == [
        *(gate["least"] for gate in wanted if gate["of"].endswith("signature_phrase")),
        0,
    ]
