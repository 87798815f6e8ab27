"""Did it learn the voice, does it still reason, does it still see?

python -m evaluation RECIPE [--limit N] [--suites voice,math]

Serves the recipe's base and its finished model in turn, asks both the same questions, and writes
result.json, report.md, charts and transcripts into outputs/<recipe>/v<N>/eval, and a W&B run into
the training's group. Run again after a kill, it asks only what was not answered. Exit code 0: every
gate passes, or it was a quick look (--limit, --max-tokens), which decides none; 1: a gate does not
pass; 2: it could not be measured.
"""

import argparse
import os
import subprocess
import sys

from common.errors import COULD_NOT_START, FAILED, command
from common.files import ROOT, shown
from common.options import parser_of
from common.processes import exit_on_sigterm
from common.recipes import find
from evaluation import gates, report, scorers, track
from evaluation.question import SuiteError
from evaluation.run import Options, evaluate, training_run


def main() -> int:
    """Evaluate a recipe; the exit code says whether every gate passes."""
    options = arguments()
    os.chdir(ROOT)
    exit_on_sigterm()
    recipe = find(options.recipe)
    record = training_run(recipe, options)
    _ensure_heldout()
    folder = recipe.output / "eval"
    result, data = evaluate(recipe, options, record, folder)
    report.write_all(recipe, result, folder, data)
    for gate in result["gates"]:
        print(f"{gate['verdict']:8} {gate['name']}: {gate['said']}")
    passed = all(gate["verdict"] == gates.PASS for gate in result["gates"])
    quick = bool(options.limit or options.max_tokens)
    verdict = "A quick look, which decides no gate" if quick else "PASS" if passed else "FAIL"
    print(f"{verdict}: {shown(folder / 'report.md')}")
    print(track.log(result, folder, recipe.data.get("wandb_project", "aether")))
    return 0 if passed or quick else FAILED


def _ensure_heldout() -> None:
    """Build the questions that no training row holds, where they are not there. Raises
    SuiteError."""
    dataset = (ROOT / scorers.settings()["targets"]).parent
    if (dataset / "heldout" / "manifest.json").exists():
        return
    words = [sys.executable, "-m", "preprocess", dataset.name, "--heldout"]
    if subprocess.run(words, cwd=ROOT).returncode:
        raise SuiteError(f"{shown(dataset)}/heldout could not be built; the line above says why")


def arguments() -> Options:
    """What was asked for on the command line."""
    parser = _parser()
    given = parser.parse_args()
    known = list(scorers.settings()["suites"])
    if given.endpoint and not (given.model or given.base_model):
        parser.error(
            "ENDPOINT= also needs MODEL=, the finished model's id there, or BASE_MODEL=, or both"
        )
    if given.judge and not given.judge_model:
        parser.error(
            "JUDGE= also needs JUDGE_MODEL=, a pinned id: a judge that changes measures nothing"
        )
    asked = given.suites.split(",") if given.suites else known
    unknown = sorted(set(asked) - set(known))
    if unknown:
        parser.error(f"SUITES=: no suite {unknown[0]!r}; there are {', '.join(known)}")
    return Options(**vars(given) | {"suites": tuple(asked)})


def _parser() -> argparse.ArgumentParser:
    parser = parser_of(
        __doc__, "recipe", "--base", "--hub-dir", "--endpoint", "--model", "--base-model"
    )
    add = parser.add_argument
    add(
        "--limit",
        type=_positive,
        help="at most so many questions a suite; the result is marked as a quick look",
    )
    add("--max-tokens", type=_positive, help="at most so many tokens a reply, in a quick look")
    add("--export", metavar="FORMAT", help="ask this export too, such as gguf-q4_k_m or fp8")
    add("--suites", help="only these, separated by commas")
    add("--judge", help="endpoint of the judge; JUDGE_API_KEY where it wants a key")
    judge_model = os.environ.get("JUDGE_MODEL")
    add("--judge-model", default=judge_model, help="the judge's model id, pinned")
    return parser


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: give a whole number from 1")
    return int(text)


if __name__ == "__main__":
    sys.exit(command(main, failed=COULD_NOT_START))
