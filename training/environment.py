"""What must be set before Axolotl and W&B are imported."""

import logging
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
# What libraries say at every start and no one here can mend: words of it, by its logger.
NOISE = {
    "torch.utils._pytree": "register_constant() on Enum subclasses is deprecated",
    "bitsandbytes.backends.cpu.ops": "Failed to load CPU gemm_4bit_forward from kernels-community",
    "py.warnings": "Skipping publisher trust check for 'kernels-community",
}


def quiet_environment() -> None:
    """No telemetry, no chatter; W&B offline where there is no key. What a user set stays."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    for name in NOISE:
        logging.getLogger(name).addFilter(_is_no_noise)
    tracking.quiet_environment()


def _is_no_noise(record: logging.LogRecord) -> bool:
    return NOISE[record.name] not in record.getMessage()
