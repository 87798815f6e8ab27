"""Secrets and personal data in a person's own text: found by pattern, replaced by what they were.

Secrets by detect-secrets' detectors and some patterns more; e-mail addresses, phone, card and bank numbers, public addresses.
Names and postal addresses have no pattern and are not found.
"""

import ipaddress
import math
import re
from collections import Counter
from functools import cache

from detect_secrets.core.plugins.util import get_mapping_from_secret_type_to_class

_GUESSING = (
    "Base64 High Entropy String",
    "Hex High Entropy String",
    "Public IP (ipv4)",
)  # too many false alarms; done below
_PATTERNS = {
    "private key": r"(?s)-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)",
    "API key": r"\b(?:sk|pk|rk|xai|gsk|hf|gh[pousr]|github_pat|glpat|pat|AIza|ya29|key)[-_][\w-]{16,}|\bAIza[\w-]{30,}",
    "token": r"(?i)(?<=bearer )[\w.~+/-]{16,}=*",
    "e-mail address": r"\b[\w.+-]+@[\w-]+(?:\.[\w-]+)*\.[A-Za-z]{2,}\b",
    "bank account": r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){3,7}(?: ?[A-Z0-9]{1,3})?\b",
    "card number": r"\b\d(?:[ -]?\d){12,18}\b",
    "social security number": r"\b\d{3}-\d{2}-\d{4}\b",
    "phone number": r"(?<![\w.])(?:\+\d{1,3}[ .-]?(?:\(?\d{1,4}\)?[ .-]?){2,5}\d|(?:\(\d{3}\) ?|\d{3}[.-])\d{3}[ .-]\d{4})\b",
    "IP address": r"\b(?:\d{1,3}\.){3}\d{1,3}\b",
    "secret": r"[A-Za-z0-9+/_-]{32,}={0,2}",  # if it looks random
}


@cache
def _detectors() -> list:
    return [
        made()
        for name, made in sorted(get_mapping_from_secret_type_to_class().items())
        if name not in _GUESSING
    ]


def mask(text: str) -> tuple[str, Counter[str]]:
    """The text with each find replaced by `[masked <kind>]`, and how many of each kind there were."""
    found: Counter[str] = Counter()
    for kind, pattern in _PATTERNS.items():
        for match in reversed(
            [match for match in re.finditer(pattern, text) if _is(kind, match[0])]
        ):
            text = f"{text[: match.start()]}[masked {kind}]{text[match.end() :]}"
            found[kind] += 1
    lines = text.split("\n")
    for number, line in enumerate(lines):
        for secret in (
            secret for detector in _detectors() for secret in detector.analyze_string(line)
        ):
            if secret and secret in lines[number] and "[masked" not in secret:
                # The whole run of characters: a detector may report only the prefix it recognised.
                around = rf"[^\s\"'`,;()<>]*{re.escape(secret)}[^\s\"'`,;()<>]*"
                lines[number], times = re.subn(around, "[masked secret]", lines[number])
                found["secret"] += times
    return "\n".join(lines), found


def _is(kind: str, text: str) -> bool:
    """Whether a match is one: a card number has its check digit, an address is a public one, a secret looks random."""
    if kind == "card number":
        digits = [int(c) for c in text if c.isdigit()][::-1]
        return (sum(digits[::2]) + sum(sum(divmod(2 * d, 10)) for d in digits[1::2])) % 10 == 0
    if kind == "IP address":
        numbers = [int(part) for part in text.split(".")]  # ip_address refuses leading zeros
        return max(numbers) < 256 and ipaddress.ip_address(".".join(map(str, numbers))).is_global
    if kind == "secret":
        entropy = -sum(n / len(text) * math.log2(n / len(text)) for n in Counter(text).values())
        return entropy > 4 and all(re.search(some, text) for some in (r"\d", "[a-z]", "[A-Z]"))
    return True
