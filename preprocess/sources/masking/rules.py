"""What is masked: patterns, each with the check that tells a find from a false alarm.

No pattern repeats without a bound what it could also match elsewhere, so that the time grows with
the length of the text alone.
"""

import re
from collections.abc import Callable
from typing import NamedTuple

from preprocess.sources.masking import checks


class Rule(NamedTuple):
    """What to look for. Of a match the group `it` is masked, or all of it where there is none."""

    kind: str
    pattern: re.Pattern
    check: Callable[[str, re.Match], bool] | None = None

    def holds(self, text: str, match: re.Match) -> bool:
        return self.check is None or self.check(text, match)


def _rule(kind: str, pattern: str, check: Callable | None = None) -> Rule:
    """A rule whose pattern means capital letters as they are."""
    return Rule(kind, re.compile(pattern), check)


def _any_case(kind: str, pattern: str, check: Callable | None = None) -> Rule:
    return Rule(kind, re.compile(pattern, re.IGNORECASE), check)


_NAMES = (
    r"(?:api|access|secret|private|auth|account|encryption|signing|master|service|_)[_-]?key"
    r"|secret|token|passw(?:or)?d|passphrase|pwd|credentials?|_pass(?![a-z])"
)
_PARAMETERS = (
    r"(?:[\w-]{0,20}token|api[_-]?key|key|[\w-]{0,20}sig(?:nature)?|[\w-]{0,20}secret|pwd|auth"
    r"|passw(?:or)?d|x-amz-[a-z-]{1,20}|code|session(?:id)?|sid)"
)
# Prefixes of keys: some are also words, some are nothing else.
_WORDLIKE = r"(?:sk|pk|rk|xai|gsk|pat|key|nvapi|whsec|r8|fw|tvly|pplx|dop_v1|sq0\w{3})"
_CERTAIN = (
    r"(?:hf|gh[pousr]|github_pat|glpat|glptt|gldt|npm|rpa|pypi|xox[abeoprs]|xapp|shpat|shpss|dapi"
    r"|hvs|lin_api|ntn|figd|wandb_v\d|vercel|sbp|rnd|ATATT|AGE-SECRET-KEY)"
)
_CREDENTIAL = r"""(?P<it>[^\s"'`\\]{6,4000})"""
_SCHEME = r"(?:(?:basic|bearer|digest|token|apikey|negotiate|bot)\s{1,3})?"
_CALLING = (
    r"(?:phone|mobile|cell|telephone|telefon|fax|whatsapp|handy|tel|call|ring|dial|text|sms|reach)"
)
_NO_NUMBER_BEFORE = r"(?<![\w.,:+/=#-])"
_NO_NUMBER_AFTER = r"(?![\w-]|[ .,:-]\d)"

_KEYS = (
    _rule(
        "private key",
        r"(?s)-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----.*?"
        r"(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----|\Z)",
    ),
    _rule(
        "SSH key",
        r"\b(?:sk-)?(?:ssh-(?:rsa|dss|ed25519)|ecdsa-sha2-nistp\d{3})(?:@openssh\.com)?\s{1,4}"
        r"AAAA[A-Za-z0-9+/]{16,}={0,3}(?:[ \t][\w.+-]{1,64}@[\w.-]{1,64})?",
    ),
)
_TOKENS = (
    _any_case(
        "token",
        r"\b(?:proxy-)?authorization[\"']?\s{0,3}[:=]\s{0,3}[\"']?" + _SCHEME + _CREDENTIAL,
        checks.is_credential,
    ),
    _any_case("token", r"\bbearer\s{1,3}(?P<it>[\w.~+/-]{16,}=*)"),
    _rule("token", r"\beyJ[\w-]{8,}\.[\w-]{8,}(?:\.[\w-]{0,2000})?"),
    _any_case("token", r"\bbasic\s{1,3}(?P<it>[A-Za-z0-9+/]{8,}={0,2})", checks.is_basic),
    _any_case(
        "token",
        r"\bx-[a-z-]{0,30}(?:key|token|secret|auth)[\"']?\s{0,3}:\s{0,3}[\"']?" + _CREDENTIAL,
        checks.is_credential,
    ),
    _any_case(
        "cookie",
        r"""\b(?:set-)?cookie["']?\s{0,3}[:=]\s{0,3}["']?"""
        r"""(?P<it>[\w.%-]{1,80}=[^\s"'`][^"'`\r\n]{0,4000})""",
    ),
)
_COMMANDS = (
    _rule(
        "secret",
        r"\b(?:curl|wget|http)\b[^\n]{0,300}?\s(?:-u|--user|--proxy-user|-a|--auth)[ =]?[\"']?"
        r"(?P<it>[^\s\"':]{1,100}:[^\s\"']{1,200})",
    ),
    _rule(
        "secret",
        r"\b(?:sshpass[^\n]{0,50}?\s-p|redis-cli\b[^\n]{0,100}?\s-a"
        r"|mysql\w{0,6}\b[^\n]{0,100}?\s-p)\s?[\"']?(?P<it>[^\s\"'-][^\s\"']{2,100})",
    ),
    _rule(
        "secret",
        r"\bmachine\s{1,9}\S{1,200}\s{1,9}login\s{1,9}\S{1,200}\s{1,9}password\s{1,9}"
        r"(?P<it>\S{1,200})",
    ),
    _any_case(
        "secret",
        rf"\s--?(?:{_NAMES})[ =][\"']?(?P<it>[^\s\"'`-][^\s\"'`]{{3,}})",
        checks.is_credential,
    ),
)
_ADDRESSES = (
    _rule(
        "secret",
        r"""(?<=:)//(?P<it>[^\s/:@"'<>]{0,100}:[^\s/@"'<>$\{]{1,200}@[^\s"'<>)\]]{0,500})""",
    ),
    _any_case(
        "token",
        rf"(?<=[?&#;]){_PARAMETERS}=(?P<it>[^\s&\"'`<>)\]#]{{6,}})",
        checks.is_parameter,
    ),
)
_PREFIXED = (
    _rule(
        "API key",
        rf"(?<![A-Za-z0-9])(?:{_CERTAIN}[-_.]?(?=[\w-]{{0,12}}[\dA-Z])[\w-]{{16,}}"
        r"|AIza[\w-]{30,}|ya29\.[\w.-]{20,}|SG\.[\w-]{16,}\.[\w-]{16,})",
    ),
    _rule("API key", rf"(?<![A-Za-z0-9]){_WORDLIKE}[-_][\w-]{{16,}}", checks.is_key),
    _rule("secret", r"(?<![0-9A-Za-z])[0-9a-f]{40}(?![0-9A-Za-z])", checks.is_no_commit),
)
_SETTINGS = (
    _any_case(
        "secret",
        rf"""(?<![A-Za-z0-9])(?P<name>[\w.-]{{0,40}}?(?:{_NAMES})\w{{0,20}})["'`]?\s{{0,4}}"""
        r"""(?::=|=>|->|=|:|\bis\b|\bwas\b)\s{0,4}(?P<quote>["'`])?"""
        r"""(?P<it>(?(quote)[^"'`\n]{3,400}|[^\s"'`,;<>]{4,4000}))""",
        checks.is_value,
    ),
)
_PERSONAL = (
    _rule(
        "e-mail address",
        r"(?<![\w.+%-])(?!git@)[\w.+%-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){0,8}\.[A-Za-z]{2,24}\b",
    ),
    _rule(
        "bank account",
        r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b",
        checks.is_iban,
    ),
    _rule(
        "card number",
        r"(?<![\w.-])(?:[2-6]\d{3}(?:[ -]?\d{4}){2}[ -]?\d{1,7}|3\d{3}[ -]?\d{6}[ -]?\d{5})"
        r"(?![\w-])",
        checks.is_card,
    ),
    _rule("social security number", r"(?<![\w-])\d{3}-\d{2}-\d{4}(?![\w-])"),
    _rule(
        "phone number",
        r"(?<![\w.+])\+\d{1,3}[ .-]?(?:\(?\d{1,4}\)?[ ./-]?){2,5}\d(?!\w)",
        checks.is_phone,
    ),
    _rule(
        "phone number",
        r"(?<![\w.+/=#-])(?:1[ .-])?(?:\([2-9]\d\d\)|[2-9]\d\d)[ .-]?[2-9]\d\d[ .-]?\d{4}"
        r"(?![\w-]|[.,:]\d)",
        checks.is_phone,
    ),
    _rule(
        "phone number",
        rf"{_NO_NUMBER_BEFORE}\(?(?:00[1-9]\d{{0,2}}[ /.-]?\d{{1,4}}|0[1-9]\d{{0,3}})\)?[ /.-]?"
        rf"\d{{2,8}}(?:[ .-]?\d{{2,4}}){{1,4}}{_NO_NUMBER_AFTER}",
        checks.is_national,
    ),
    _rule(
        "phone number",
        rf"{_NO_NUMBER_BEFORE}[6-9]\d{{4}} \d{{5}}{_NO_NUMBER_AFTER}",
        checks.is_phone,
    ),
    _any_case(
        "phone number",
        rf"\b{_CALLING}\b\W{{0,3}}(?:[a-z']{{1,12}}\W{{1,3}}){{0,4}}?"
        r"(?P<it>\+?\(?\d[\d ()./-]{5,18}\d)(?!\w)",
        checks.is_phone,
    ),
    _rule("IP address", r"(?<![\w.-])(?:\d{1,3}\.){3}\d{1,3}(?![\w-]|\.\d)", checks.is_public),
    _rule(
        "IP address",
        r"(?<![\w:.])[0-9A-Fa-f]{4}:(?:[0-9A-Fa-f]{0,4}:){1,6}[0-9A-Fa-f]{0,4}(?![\w:])",
        checks.is_public,
    ),
)
_GUESSED = (_rule("secret", r"[A-Za-z0-9+/_-]{32,}={0,2}", checks.is_long_and_random),)

# In this order: what is more certain before what would find a part of it.
RULES = (
    *_KEYS,
    *_TOKENS,
    *_COMMANDS,
    *_ADDRESSES,
    *_PREFIXED,
    *_SETTINGS,
    *_PERSONAL,
    *_GUESSED,
)
