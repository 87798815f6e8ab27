"""One rank of a training: python -m training.worker FOLDER [--resume checkpoint-N]. Started by
training.run, never by hand.

FOLDER is outputs/<recipe>/v<N>, with the run.json, recipe.yaml and data.json of the run. The recipe
goes to Axolotl, with the base and the checkpoint that the run is recorded with; run.json is kept
true to how it ends.
"""

import contextlib
import logging
import resource
import sys
import time
import traceback
from pathlib import Path

from common import runs
from common.bases import Base
from common.errors import FAILED
from common.files import ROOT, shown
from common.memory import GIB
from common.options import parser_of
from common.processes import are_several, is_first
from common.recipes import RecipeError
from training import ranks
from training.environment import quiet_environment
from training.failures import explain
from training.recipe_schema import PLUGIN
from training.signals import Interrupted, StopRequest


def main() -> int:
    parser = parser_of(__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--resume", help="name of the checkpoint to continue from")
    options = parser.parse_args()
    quiet_environment()
    if are_several():
        ranks.end_with_launcher()
    if not is_first():
        logging.getLogger("training").setLevel(logging.ERROR)  # the first says the same
    stop_request = StopRequest()
    folder = ROOT / options.folder
    record = runs.read(folder)
    if record is None:
        raise RecipeError(f"{shown(folder)}: no {runs.FILE}; start it with make train RECIPE=")
    try:
        return finish(folder, record, options.resume, stop_request)
    except (Exception, Interrupted) as error:
        line = explain(error, shown(folder))
        code = 128 + error.signal if isinstance(error, Interrupted) else FAILED
        ranks.report(line or repr(error)[:300])
        ended = {
            "status": "failed" if code == FAILED else "stopped",
            "ended_by": line or repr(error)[:300],
        }
        if is_first():
            with contextlib.suppress(OSError):  # a full disk keeps the record it had
                runs.write(folder, record | ended)
        if line is None and are_several():
            traceback.print_exc()
            ranks.leave(code)
        if line is None:
            raise
        if not are_several() or (code != FAILED and is_first()):
            print(f"\nerror: {line}", file=sys.stderr)  # below the progress bar
        if are_several() and code == FAILED:
            ranks.leave(code)
        return code


def finish(folder: Path, record: dict, resume: str | None, stop_request: StopRequest) -> int:
    """Train to the end, seal the result, record it, and copy it to the mirror."""
    from training import checkpoints, mirror, tracking

    started = time.monotonic()
    if not is_first():
        train(folder, record, resume, stop_request)
        return 0
    tracked = tracking.start("train", folder)
    train(folder, record, resume, stop_request)
    checkpoints.seal(folder, ("*model*.safetensors",))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GIB
    seconds = round(time.monotonic() - started, 1)
    figures = {"seconds": seconds, "peak_host_gib": round(peak, 2)}
    runs.write(folder, record | {"status": "finished"} | figures)
    tracked.summary.update(figures)
    mirror.push(folder, keep=0)
    recipe = record["identity"]["recipe"]
    print(f"{recipe}: finished in {seconds} s, {peak:.1f} GiB of host memory: {shown(folder)}")
    return 0


def train(folder: Path, record: dict, resume: str | None, stop_request: StopRequest) -> None:
    """Hand the recipe to Axolotl, in this process.

    Raises RecipeError when our plugin is not the one that loads rows and loss.
    """
    from axolotl.cli.args import TrainerCliArgs
    from axolotl.cli.config import load_cfg
    from axolotl.cli.train import do_train
    from axolotl.integrations.base import PluginManager

    from training import verify_whole
    from training.weights import copy_beside

    now = runs.current(record)
    revision = now["base_revision"]
    overrides = {"base_model": now["base"], "revision_of_model": revision or ""}
    if resume:
        overrides["resume_from_checkpoint"] = str(folder / resume)
    cfg = ranks.configured(load_cfg, str(folder / "recipe.yaml"), overrides)
    plugin = PluginManager.get_instance().plugins.get(PLUGIN)
    if plugin is None:
        raise RecipeError(
            f"{PLUGIN} is not active: the loss would be on every token. Nothing was trained."
        )
    plugin.obey(stop_request)
    plugin.keep(record["layers_not_recomputed"])
    base = Base(now["base"], None if revision else ROOT / now["base"], revision)
    if cfg.shards:
        plugin.write_whole_from(base.local())
    do_train(cfg, TrainerCliArgs())
    if cfg.shards and is_first():
        copy_beside(base.local(), folder)
        print(f"proven: {verify_whole.record(base.local(), folder)}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
