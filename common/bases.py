"""Base models: where a recipe's base lies, and a hash of what it is."""

from __future__ import annotations

import hashlib
from pathlib import Path

from common.files import sha256_of


def weights_hash(folder: Path) -> str:
    """A hash of a local model's weights and tokenizer. The 29.7 GB of a real base are read once: at the speed of the disk."""
    digest = hashlib.sha256()
    names = [
        *folder.glob("*.safetensors"),
        *folder.glob("tokenizer*.json"),
        *folder.glob("chat_template*"),
    ]
    for path in sorted(names):
        digest.update(path.name.encode() + bytes.fromhex(sha256_of(path)))
    return digest.hexdigest()
