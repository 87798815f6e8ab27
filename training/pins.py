"""hub.lock: the 40-hex revision of every hub model and data set. Nothing floats.

python -m training.pins        (make pin) asks the hub for the newest revisions and writes them; needs a network
"""

from __future__ import annotations

import json
import sys

from common.hub import LOCK, SETS, is_hub_id
from training.recipe import all_recipes


def main() -> int:
    from httpx import HTTPError
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    models = sorted(
        {r.data["base_model"] for r in all_recipes() if is_hub_id(r.data.get("base_model", ""))}
    )
    try:
        pins = {
            "models": {name: HfApi().model_info(name).sha for name in models},
            "datasets": {
                about.repository: HfApi().dataset_info(about.repository).sha
                for about in SETS.values()
            },
        }
    except (HfHubHTTPError, HTTPError, OSError) as error:
        print(
            f"error: the hub cannot be reached, {LOCK.name} is unchanged: {error}", file=sys.stderr
        )
        return 1
    LOCK.write_text(json.dumps(pins, indent=1) + "\n")
    print(LOCK.read_text(), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
