"""Whether W&B is told of a run online or only in files beside it."""

import netrc
import os
from pathlib import Path
from urllib.parse import urlparse


def has_key() -> bool:
    """Whether this machine holds a key for W&B's server: in WANDB_API_KEY, or in ~/.netrc for that
    very host.
    """
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlparse(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname
    try:
        return host in netrc.netrc(Path(os.environ.get("NETRC", "~/.netrc")).expanduser()).hosts
    except (
        OSError,
        RuntimeError,
        netrc.NetrcParseError,
    ):  # no such file, no home, or not one that can be read
        return False


def quiet_environment() -> None:
    """W&B silent, and offline where there is no key. Set before `wandb` is imported; what a user
    set stays.
    """
    os.environ.setdefault("WANDB_SILENT", "true")
    if not has_key():
        os.environ.setdefault("WANDB_MODE", "offline")
