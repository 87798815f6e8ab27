"""Secrets and personal data in a person's own text: found by pattern, replaced by what they were.

Secrets by detect-secrets' detectors and some patterns more; e-mail addresses, phone, card and bank numbers, public addresses.
Names and postal addresses have no pattern and are not found.
"""

from __future__ import annotations

import ipaddress
import math
import re
from collections import Counter
from functools import cache

_GUESSING = ("Base64 High Entropy String", "Hex High Entropy String", "Public IP (ipv4)")  # too many false alarms; done below
_PATTERNS = {
    "private key": re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL),
    "API key": re.compile(
        r"\b(?:sk|pk|rk|xai|gsk|hf|gh[pousr]|github_pat|glpat|pat|AIza|ya29|key)[-_][\w-]{16,}|\bAIza[\w-]{30,}"
    ),
    "token": re.compile(r"(?i)(?<=bearer )[\w.~+/-]{16,}=*"),
    "e-mail address": re.compile(r"\b[\w.+-]+@[\w-]+(?:\.[\w-]+)*\.[A-Za-z]{2,}\b"),
    "bank account": re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){3,7}(?: ?[A-Z0-9]{1,3})?\b"),
    "card number": re.compile(r"\b\d(?:[ -]?\d){12,18}\b"),
    "social security number": re.compile(r"\b\d{3}-\d{2}-\d{4}\b"),
    "phone number": re.compile(
        r"(?<![\w.])(?:\+\d{1,3}[ .-]?(?:\(?\d{1,4}\)?[ .-]?){2,5}\d|\(\d{3}\) ?\d{3}[ .-]\d{4}|\d{3}[.-]\d{3}[.-]\d{4})\b"
    ),
    "IP address": re.compile(r"\b(?:\d{1,3}\.){3}\d{1,3}\b"),
    "secret": re.compile(r"[A-Za-z0-9+/_-]{32,}={0,2}"),  # if it looks random
}


@cache
def _detectors() -> list:
    from detect_secrets.core.plugins.util import get_mapping_from_secret_type_to_class

    return [made() for name, made in sorted(get_mapping_from_secret_type_to_class().items()) if name not in _GUESSING]


def mask(text: str) -> tuple[str, Counter[str]]:
    """The text with each find replaced by `[masked <kind>]`, and how many of each kind there were."""
    found: Counter[str] = Counter()
    for kind, pattern in _PATTERNS.items():

        def replace(match: re.Match, kind: str = kind) -> str:
            if not _is(kind, match[0]):
                return match[0]
            found[kind] += 1
            return f"[masked {kind}]"

        text = pattern.sub(replace, text)
    lines = text.split("\n")
    for number, line in enumerate(lines):
        for detector in _detectors():
            for secret in detector.analyze_string(line):
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
        try:
            return ipaddress.ip_address(text).is_global
        except ValueError:
            return False
    if kind == "secret":
        entropy = -sum(n / len(text) * math.log2(n / len(text)) for n in Counter(text).values())
        return entropy > 4 and bool(re.search(r"\d", text) and re.search("[a-z]", text) and re.search("[A-Z]", text))
    return True
