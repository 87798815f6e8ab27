"""The evaluation as a W&B run of job type eval, in the group of the training; offline where no key is set."""

from __future__ import annotations

import os
from pathlib import Path


def log(result: dict, folder: Path, project: str) -> str:
    """Log the result and its charts; one line about what came of it. A tracker that fails takes no result with it."""
    if not (os.environ.get("WANDB_API_KEY") or Path("~/.netrc").expanduser().exists()):
        os.environ.setdefault("WANDB_MODE", "offline")
    os.environ.setdefault("WANDB_SILENT", "true")
    import wandb

    group = f"{result['recipe']}-{str(result['data_sha256'])[:8]}"
    config = {
        key: result[key]
        for key in (
            "recipe",
            "recipe_sha256",
            "data_sha256",
            "commit",
            "limit",
            "models",
            "sampling",
        )
    }
    try:
        run = wandb.init(
            project=project, name=f"{result['recipe']} eval", group=os.environ.get("WANDB_RUN_GROUP", group), job_type="eval",
            dir=str(folder.parent), config=config, settings=wandb.Settings(console="off"),
        )  # fmt: skip
        for name, suite in result["suites"].items():
            for prompt, cell in suite["prompts"].items():
                for measured, about in cell["measurements"].items():
                    values = {
                        "base": about["base"]["value"],
                        "tuned": about["tuned"]["value"],
                        "difference": about["difference"],
                    }
                    run.summary.update(
                        {
                            f"{name}/{prompt}/{measured}/{key}": value
                            for key, value in values.items()
                        }
                    )
        run.log({path.stem: wandb.Image(str(path)) for path in sorted(folder.glob("*.png"))})
        run.summary.update({f"gates/{gate['name']}": gate["verdict"] for gate in result["gates"]})
        run.finish()
    except (wandb.Error, OSError) as error:
        return f"W&B: not tracked: {' '.join(str(error).split())[:200]}"
    return f"W&B: a run of type eval in group {run.group}{' (offline)' if run.offline else ''}"
