"""How long a text is, in the vocabulary of the base's own kind."""

from functools import lru_cache
from pathlib import Path

import mistral_common
from mistral_common.tokens.tokenizers.tekken import Tekkenizer


@lru_cache(maxsize=1)
def tokenizer() -> Tekkenizer:
    """Pixtral's own vocabulary, which mistral-common carries: lengths in it need no hub."""
    return Tekkenizer.from_file(Path(mistral_common.__path__[0]) / "data" / "tekken_240911.json")


@lru_cache(maxsize=256)
def text_tokens(text: str) -> int:
    """How long a text is in Pixtral's vocabulary."""
    return len(tokenizer().encode(text, bos=False, eos=False))
