"""hub.lock: the 40-hex revision of every hub model and data set. Nothing floats.

python -m training.pins        (make pin) asks the hub for the newest revisions and writes them; needs a network
"""

from __future__ import annotations

import json
import re
import sys

from training.recipe import ROOT, all_recipes

LOCK = ROOT / "hub.lock"
DATASETS = ("openai/gsm8k", "reasoning-machines/gsm-hard", "EleutherAI/hendrycks_math")


def revision_of(repo: str) -> str | None:
    """The pinned revision of a hub repository, or None."""
    pins = json.loads(LOCK.read_text()) if LOCK.exists() else {}
    revision = pins.get("models", {}).get(repo) or pins.get("datasets", {}).get(repo)
    if revision and not re.fullmatch("[0-9a-f]{40}", revision):
        raise ValueError(f"{LOCK.name}: {repo}: {revision!r} is not a 40-hex revision; run make pin")
    return revision


def is_hub_id(base_model: str) -> bool:
    """Whether a base_model names a hub repository: `owner/name`, and not a folder of this repository."""
    return bool(re.fullmatch(r"[\w.-]+/[\w.-]+", base_model)) and not base_model.startswith("outputs/")


def main() -> int:
    from httpx import HTTPError
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    models = sorted({r.data["base_model"] for r in all_recipes() if is_hub_id(r.data.get("base_model", ""))})
    try:
        pins = {
            "models": {name: HfApi().model_info(name).sha for name in models},
            "datasets": {name: HfApi().dataset_info(name).sha for name in DATASETS},
        }
    except (HfHubHTTPError, HTTPError, OSError) as error:
        print(f"error: the hub cannot be reached, {LOCK.name} is unchanged: {error}", file=sys.stderr)
        return 1
    LOCK.write_text(json.dumps(pins, indent=1) + "\n")
    print(LOCK.read_text(), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
