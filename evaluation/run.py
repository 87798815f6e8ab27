"""The way of an evaluation: which models, which questions, their answers, the result."""

import contextlib
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from common import runs, sandbox, triad
from common.asking.kept import Replies
from common.bases import base_of, is_hub_id, model_hash
from common.files import ROOT, json_if_there
from common.processes import git_state
from common.recipes import Recipe
from common.servers import (
    Endpoint,
    Served,
    given,
    kind_here,
    kind_of,
    merged_of,
    served_base,
    serving,
)
from evaluation import exported, gates, judge, results, scorers, suites
from evaluation.ask import Cell, Measured, ask, key_of
from evaluation.question import Absent, Question, SuiteError

KEPT = Endpoint("http://127.0.0.1:9/v1", "kept", "given")  # asked for nothing: every reply is kept


@dataclass(frozen=True)
class Options:
    """What a person asked for; see the command line's help."""

    recipe: str
    suites: tuple[str, ...]
    limit: int | None = None
    base: str | None = None
    hub_dir: Path | None = None
    endpoint: str | None = None
    model: str | None = None
    base_model: str | None = None
    judge: str | None = None
    judge_model: str | None = None
    export: str | None = None
    max_tokens: int | None = None


@dataclass(frozen=True)
class Model:
    """One of the models.

    Args:
        kind: vllm | llama | cuda | cpu | given.
        name: As the result shows it.
        identity: What identifies its weights.
        endpoint: Where it already runs, or None.
        served: What to start a server of, or None.
    """

    kind: str
    name: str
    identity: str
    endpoint: Endpoint | None = None
    served: Served | None = None


def evaluate(recipe: Recipe, options: Options, record: dict, folder: Path) -> tuple[dict, dict]:
    """Ask and score the model of a `record` of training_run. Returns (the result, the manifest of
    the recipe's dataset). Raises AetherError.
    """
    settings = scorers.settings()
    dataset = ROOT / recipe.data["rows"]["path"]
    models = {which: model_of(which, recipe, options) for which in results.WHICH}
    stores = {which: folder / "replies" / f"{which}.sqlite" for which in results.WHICH}
    maker = base_of(recipe, options.base).maker
    if recipe.pairs and maker and not (options.base or options.endpoint):
        # The fine-tune's own evaluation may have asked both already.
        asked = maker.output / "eval" / "replies"
        stores |= {"base": asked / "tuned.sqlite", results.FIRST: asked / "base.sqlite"}
        models[results.FIRST] = model_of("base", maker, options)
    if options.export:
        model, identity = exported.served(recipe, options.export)
        models["exported"] = Model(kind_of(model), model.name, identity, served=model)
        stores["exported"] = folder / "replies" / "exported.sqlite"
    small = any(model.kind == "cpu" for model in models.values())
    cells, skipped = prepare(recipe, options, dataset, small)
    if options.max_tokens:
        budgets = [min(cell.max_tokens, options.max_tokens) for cell in cells]
        cells = [replace(cell, max_tokens=most) for cell, most in zip(cells, budgets, strict=True)]
    sampling = {"temperature": settings["temperature"], "seed": settings["seed"]}
    measured = {
        which: answers(which, cells, model, sampling, folder, stores[which])
        for which, model in models.items()
    }
    judged = None
    if options.judge and options.judge_model:
        judged = judge.judge(cells, measured, options.judge, options.judge_model, folder)
    shortened = options.limit or options.max_tokens or options.export
    asked_all = not shortened and options.suites == tuple(settings["suites"])
    result = {
        "recipe": recipe.id,
        "recipe_sha256": recipe.sha256,
        "data_sha256": record["identity"]["data_sha256"],
        "trained_commit": runs.current(record)["commit"],
        **git_state(),
        "limit": options.limit,
        "max_tokens": options.max_tokens,
        "small": small,
        "complete": asked_all and all(suite["optional"] for suite in skipped.values()),
        "models": {
            which: {"name": model.name, "identity": model.identity}
            for which, model in models.items()
        },
        "sampling": sampling,
        "judge": judged,
        "suites": results.assemble(cells, measured, settings),
        "skipped": skipped,
    }
    wanted = gates.load(gates_of(recipe), {*options.suites, gates.REPLIES})
    result["gates"] = gates.judge(wanted, result)
    if options.export:
        result["exported"] = exported.compare(
            cells, measured["tuned"], measured["exported"], settings, wanted
        )
        result["gates"] += result["exported"]["gates"]
    return result, json_if_there(dataset / "manifest.json")


def training_run(recipe: Recipe, options: Options) -> dict:
    """run.json of the finished training.

    Raises RunError where there is none, or where it was trained from another recipe, other data or,
    where the base is a folder here, another base.
    """
    record = runs.finished(recipe)
    base = None if options.base_model else base_of(recipe, options.base)
    runs.require_same(recipe, record, base if base and base.folder else None)
    return record


def model_of(which: str, recipe: Recipe, options: Options) -> Model:
    """Where a model is, or how to serve it. `which`: base | tuned. Raises AetherError."""
    id_ = options.base_model if which == "base" else options.model
    if options.endpoint and id_:
        concurrency = scorers.settings()["concurrency"]["given"]
        endpoint = given(options.endpoint, id_, concurrency=concurrency)
        return Model("given", f"{id_} at an endpoint", f"endpoint {id_}", endpoint=endpoint)
    resolve = served_base if which == "base" else merged_of
    served = resolve(recipe, options.base)
    if served.revision:
        identity = f"{served.where}@{served.revision}"
    else:
        identity = model_hash(Path(served.where))
    return Model(kind_here(), served.name, identity, served=served)


def prepare(
    recipe: Recipe, options: Options, dataset: Path, small: bool
) -> tuple[list[Cell], dict]:
    """(what to ask, {suite that is skipped: why}).

    A public set that is not there leaves a hole in the result of a model of the hub. A model that
    was trained from nothing here was never meant for one: it is measured by the rest.

    Args:
        recipe: Whose models are asked.
        options: Which suites, how many questions.
        dataset: The recipe's built dataset.
        small: Whether a CPU serves: replies get its budget, suites its sample, or as many questions
            as a gate on them needs.

    Raises SuiteError where nothing is left to ask.
    """
    cells: list[Cell] = []
    skipped = {}
    wanted = gates.load(gates_of(recipe), options.suites) if small else None
    for name in options.suites:
        suite = scorers.settings()["suites"][name]
        try:
            _can_be_scored(suite["score"], options)
            found = suites.questions(suite, dataset, options.hub_dir)
        except Absent as absent:
            skipped[name] = {"why": str(absent), "optional": _is_optional(suite, recipe)}
            continue
        cells += _cells(name, suite, found, wanted, options.limit)
    if not cells:
        reasons = "; ".join(f"{name}: {about['why']}" for name, about in skipped.items())
        raise SuiteError(f"nothing to ask: {reasons}")
    return cells, skipped


def _is_optional(suite: dict, recipe: Recipe) -> bool:
    """Whether a result is complete without this suite."""
    needs_the_hub = "set" in suite and not is_hub_id(str(recipe.data.get("base_model")))
    return bool(suite.get("optional")) or suite["score"] == "design" or needs_the_hub


def _can_be_scored(kind: str, options: Options) -> None:
    """Raise Absent where what scores a kind of suite is not here."""
    if kind == "design" and not options.judge:
        raise Absent("not judged: no judge was given")
    no_sandbox = sandbox.missing()
    if kind == "code" and no_sandbox:
        raise Absent(no_sandbox)


def gates_of(recipe: Recipe) -> Path:
    """The file of gates that a recipe's result is read by."""
    name = "gates_preference.yaml" if recipe.pairs else "gates.yaml"
    return ROOT / "evaluation" / name


def _cells(
    name: str, suite: dict, questions: list[Question], wanted: list[dict] | None, limit: int | None
) -> list[Cell]:
    """The cells of a suite. `wanted`: the gates that a sample must serve; None for no sample."""
    settings = scorers.settings()
    budget = suite["max_tokens"]
    asked = dict.fromkeys(suite["prompts"], questions)
    if wanted is not None:
        budget = min(budget, settings["cpu_max_tokens"])
        for prompt in asked:
            size = max(settings["cpu_sample"], gates.least(wanted, name, prompt))
            asked[prompt] = suites.stratified(questions, size)
    path = ROOT / suite.get("persona", settings["persona"])
    systems = {"persona": triad.persona(path), "none": None}
    return [
        Cell(
            name,
            prompt,
            suite["score"],
            tuple(chosen[:limit]),
            systems[prompt],
            suite.get("ask", ""),
            budget,
        )
        for prompt, chosen in asked.items()
    ]


def answers(
    which: str, cells: list[Cell], model: Model, sampling: dict, folder: Path, store: Path
) -> dict[tuple[str, str], Measured]:
    """What `ask` gives; a server is started only when a reply is missing. `store`: the file of its
    replies.
    """
    logs = folder / "logs" / which
    with contextlib.closing(Replies(store)) as replies:

        def asked(endpoint: Endpoint) -> dict[tuple[str, str], Measured]:
            return ask(cells, endpoint, model.identity, sampling, replies, logs, which)

        if model.endpoint is not None:
            return asked(model.endpoint)
        keys = [
            key_of(cell, question, model.identity, sampling)
            for cell in cells
            for question in cell.questions
        ]
        if all(replies.reply(key) is not None for key in keys):
            return asked(KEPT)
        assert model.served is not None
        print(
            f"{which}: starting a server of {model.name} ({model.kind})",
            file=sys.stderr,
            flush=True,
        )
        with serving(model.served, folder / "logs" / f"{which}-server.log") as endpoint:
            many = scorers.settings()["concurrency"][model.kind]
            return asked(Endpoint(endpoint.url, endpoint.model, endpoint.kind, many))
