"""What must be set before Axolotl and W&B are imported."""

import os

from common import tracking

SETTINGS = {
    "AXOLOTL_DO_NOT_TRACK": "1",
    "AXOLOTL_LOG_LEVEL": "WARNING",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    # Layers that are not recomputed hold blocks of many sizes: without it 17 GiB lie unusable.
    "PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True",
    "TOKENIZERS_PARALLELISM": "false",
}


def quiet_environment() -> None:
    """No telemetry, no chatter; W&B offline where there is no key. What a user set stays."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    tracking.quiet_environment()
