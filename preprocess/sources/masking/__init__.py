"""Secrets and personal data in a person's own text: found by pattern, replaced by what they were.

Secrets by the detectors of bc-detect-secrets for what has a form of its own, and by patterns for
what they miss; e-mail addresses, phone, card and bank numbers, public addresses by patterns. Names
and street addresses have no pattern and are not found.
"""

import re
from collections import Counter
from collections.abc import Iterator
from functools import cache

from detect_secrets.core.plugins.util import get_mapping_from_secret_type_to_class

from preprocess.sources.masking.rules import RULES, Rule

PLACEHOLDER = re.compile(r"\[masked [a-zA-Z -]+\]")
# Characters that the detectors look at in one piece.
PIECE = 1_000
# Detectors that guess: what they guess at is done below, with fewer false alarms.
_GUESSING = (
    "Base64 High Entropy String",
    "Hex High Entropy String",
    "Public IP (ipv4)",
    "Secret Keyword",
)


@cache
def _detectors() -> list:
    classes = get_mapping_from_secret_type_to_class()
    return [classes[name]() for name in sorted(classes) if name not in _GUESSING]


def mask(text: str) -> tuple[str, Counter]:
    """The text with each find replaced by `[masked <kind>]`, and how many of each kind there
    were."""
    found: Counter = Counter()
    for rule in RULES:
        text = _masked(rule, text, found)
    pieces = [_masked_by_detectors(piece, found) for piece in _pieces(text)]
    return "".join(pieces), found


def _masked(rule: Rule, text: str, found: Counter) -> str:
    group: int | str = "it" if "it" in rule.pattern.groupindex else 0
    parts = []
    end = 0
    for match in rule.pattern.finditer(text):
        secret = match[group]
        if "[masked" in secret or not rule.holds(secret, match):
            continue
        parts += [text[end : match.start(group)], f"[masked {rule.kind}]"]
        end = match.end(group)
        found[rule.kind] += 1
    return "".join([*parts, text[end:]])


def _pieces(text: str) -> Iterator[str]:
    """The lines of a text with their ends, long ones in pieces that end at a blank where there is
    one."""
    for line in text.splitlines(keepends=True):
        start = 0
        while len(line) - start > PIECE:
            cut = line.rfind(" ", start, start + PIECE) + 1 or start + PIECE
            yield line[start:cut]
            start = cut
        yield line[start:]


def _masked_by_detectors(piece: str, found: Counter) -> str:
    for detector in _detectors():
        for secret in detector.analyze_string(piece):
            if not secret or secret not in piece or "[masked" in secret:
                continue
            # The whole run of characters: a detector may report only the prefix it recognised.
            edge = r"[^\s\"'`,;()<>\[\]]{0,500}"
            piece, times = re.subn(edge + re.escape(secret) + edge, "[masked secret]", piece)
            found["secret"] += times
    return piece
