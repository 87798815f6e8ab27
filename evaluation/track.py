"""The evaluation as a W&B run of job type eval, in the group of the training; offline where no key
is set.
"""

import os
from pathlib import Path

from common.errors import one_line
from common.results import measurements
from common.tracking import quiet_environment

CONFIG = ("recipe", "recipe_sha256", "data_sha256", "commit", "limit", "models", "sampling")


def log(result: dict, folder: Path, project: str) -> str:
    """Log the result and its charts; one line about what came of it. A tracker that fails takes no
    result with it.
    """
    quiet_environment()
    import wandb  # reads the environment as it is imported

    group = f"{result['recipe']}-{str(result['data_sha256'])[:8]}"
    try:
        run = wandb.init(
            project=project,
            name=f"{result['recipe']} eval",
            group=os.environ.get("WANDB_RUN_GROUP", group),
            job_type="eval",
            dir=str(folder.parent),
            config={key: result[key] for key in CONFIG},
            settings=wandb.Settings(console="off"),
        )
        run.summary.update(_summary(result))
        run.log({path.stem: wandb.Image(str(path)) for path in sorted(folder.glob("*.png"))})
        run.finish()
    except (wandb.Error, OSError) as error:
        return f"W&B: not tracked: {one_line(error)}"
    return f"W&B: a run of type eval in group {run.group}{' (offline)' if run.offline else ''}"


def _summary(result: dict) -> dict:
    """Every value and difference, and every gate's verdict, by name."""
    found = {f"gates/{gate['name']}": gate["verdict"] for gate in result["gates"]}
    for suite, prompt, name, measured in measurements(result):
        path = f"{suite}/{prompt}/{name}"
        found[f"{path}/base"] = measured["base"]["value"]
        found[f"{path}/tuned"] = measured["tuned"]["value"]
        found[f"{path}/difference"] = measured["difference"]
    return found
