"""Whether what a pattern found is one: each check is told the text and the match it is of."""

import base64
import ipaddress
import math
import re
from collections import Counter
from itertools import pairwise


def is_random(text: str, _: re.Match | None = None) -> bool:
    """Whether a text looks drawn by lot: digits and letters mixed, and few words in it."""
    counts = Counter(text)
    entropy = -sum(n / len(text) * math.log2(n / len(text)) for n in counts.values())
    has_digit = any(character.isdigit() for character in text)
    mixed = text.lower() != text and text.upper() != text
    words = re.findall("[A-Z]?[a-z]{3,}" if mixed else "[a-z]{5,}|[A-Z]{5,}", text)
    return entropy > 2.8 and 2 * sum(map(len, words)) < len(text) and (has_digit or mixed)


def is_long_and_random(text: str, _: re.Match) -> bool:
    """As `is_random`, in one piece without slashes: a path is none."""
    longest = max(text.strip("=").split("/"), key=len)
    wanted = (r"\d", "[a-z]", "[A-Z]")
    return len(longest) >= 24 and is_random(longest) and all(re.search(w, longest) for w in wanted)


def is_no_commit(text: str, match: re.Match) -> bool:
    """Whether 40 hex digits are a key: nothing before them speaks of a commit or a hash."""
    before = match.string[max(match.start() - 60, 0) : match.start()].lower()
    key = re.search(r"wandb|api|key|token|secret|login|password", before)
    commit = re.search(
        r"commit|git|sha|rev|hash|tree|blob|merge|head|checkout|index|pick|digest|parent|@|/$",
        before,
    )
    return len(set(text)) > 6 and (bool(key) or not commit)


# What stands where a secret would, and is none: a type, a call, a name to look it up by.
_WORDS_OF_CODE = """none null nil undefined true false str string int integer bytes bool boolean
float number any object optional required char text varchar await new self this input lambda os
process getenv config settings env secrets? your my the an? in is not"""
_NO_SECRET = re.compile(
    r"[$<{(\[*%#@!&|]|\.{3}|x{3,}|\w+\(|\d{1,7}\b(?![\w.+/-])"
    r"|[A-Za-z_]+(?:\.[A-Za-z_]+)+\b(?!\d)"
    rf"|(?:{'|'.join(_WORDS_OF_CODE.split())})\b(?!\d)",
    re.IGNORECASE,
)


def is_credential(text: str, _: re.Match | None = None) -> bool:
    """Whether a value is given as it is, and not by a name, a call or an example."""
    return not _NO_SECRET.match(text)


_SETTING = re.compile(
    r"(?:TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|PASS|PWD|CREDENTIALS?"
    r"|(?:API|SECRET|PRIVATE|ACCESS|AUTH)_?KEY)(?:_?\d+)?$"
)


_KEY_OF_DATA = re.compile(
    r"(?:foreign|primary|partition|sort|routing|cache|group|hash|range|index|shard|unique)_?key$",
    re.IGNORECASE,
)


def is_value(text: str, match: re.Match) -> bool:
    """Whether the value given to a name is a secret. A name in capitals is a setting, and what it
    is set to is one unless it is a plain word of code; any other must look like one.
    """
    if not is_credential(text) or "(" in text or "[" in text:
        return False
    name = match["name"]
    if _KEY_OF_DATA.search(name):
        return False
    setting = name == name.upper() and _SETTING.search(name)
    quoted = match["quote"] is not None
    if " " in text:
        return bool(setting)
    has_both = bool(re.search(r"\d", text) and re.search(r"[A-Za-z]", text))
    password = re.search(r"pass|pwd|secret", name, re.IGNORECASE)
    if setting or (has_both and len(text) >= 8 and name.endswith("_KEY")):
        return True
    if has_both and len(text) >= 6 and (password or quoted or is_random(text)):
        return True
    return bool(password and quoted) or len(text) >= 16 and is_random(text)


def is_parameter(text: str, _: re.Match) -> bool:
    """Whether the value of a parameter in an address is a secret and no example."""
    return not re.match(r"[$<{\[*.%]|your|x{3}", text) and (len(text) >= 8 or not text.isalpha())


def is_basic(text: str, _: re.Match) -> bool:
    """Whether a text is the base64 of a name and a password."""
    try:
        return b":" in base64.b64decode(text, validate=True)
    except ValueError:
        return False


def is_card(text: str, _: re.Match) -> bool:
    """Whether the check digit is right (Luhn)."""
    digits = [int(character) for character in text if character.isdigit()][::-1]
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[1::2]]
    return 13 <= len(digits) <= 19 and (sum(digits[::2]) + sum(doubled)) % 10 == 0


def is_iban(text: str, _: re.Match) -> bool:
    """Whether the check digits are right (ISO 13616)."""
    plain = text.replace(" ", "")
    number = "".join(str(int(character, 36)) for character in plain[4:] + plain[:4])
    return int(number) % 97 == 1


def is_public(text: str, match: re.Match) -> bool:
    """Whether an address is one that the whole net reaches, and no number of a version."""
    before = match.string[max(match.start() - 10, 0) : match.start()].lower()
    if ":" in text:  # of IPv6 only what is given to hosts
        first = text.partition(":")[0]
        if len(first) < 4 or first[0] not in "23":
            return False
    elif "version" in before or "release" in before:
        return False
    try:
        plain = text if ":" in text else ".".join(str(int(part)) for part in text.split("."))
        return ipaddress.ip_address(plain).is_global
    except ValueError:
        return False


_COUNTED = re.compile(
    r"\s*(?:[kmg]?i?b(?:ytes?)?\b|[mnuµ]?s\b|%|(?:nano|micro|milli)?sec(?:ond)?s?\b|(?:minute|hour|day|cycle|bit)s?\b|(?:rows|tokens|requests|times|calls|characters|chars"
    r"|words|lines|items|users|records|messages|events|entries|operations|steps|points)\b)"
)
_DUMP = r"(?: [0-9a-f]{2}\b){2}"
_DATE = re.compile(r"\d{1,2}[./-]\d{1,2}[./-](?:19|20)\d\d\b|\d{4}[./-]\d\d[./-]\d\d\b")


def is_phone(text: str, match: re.Match) -> bool:
    """Whether digits are a phone number and not a date, a size, a count or a list of numbers."""
    digits = re.sub(r"\D", "", text)
    before = match.string[max(match.start() - 7, 0) : match.start()].lower()
    after = match.string[match.end() : match.end() + 14].lower()
    if not 7 <= len(digits) <= 15 or len(set(digits)) < 3 or _DATE.match(text):
        return False
    if re.search(_DUMP, f" {before.strip()}") or re.match(_DUMP, after) or _COUNTED.match(after):
        return False
    groups = [int(group) for group in re.findall(r"\d+", text)]
    steps = {right - left for left, right in pairwise(groups)}
    if len(groups) > 3 and len(steps) == 1:
        return False
    # What is counted in powers of two, in tens or in thousands.
    number = int(digits)
    if text.isdigit():
        return number % 1000 != 0 and (number + 1) % 1024 > 1
    return not all(group % 8 == 0 or group % 50 == 0 for group in groups)


def is_key(text: str, _: re.Match) -> bool:
    """Whether what follows the prefix of a key is drawn by lot, and no words."""
    longest = max(re.split("[-_]", text), key=len)
    return len(longest) >= 12 and is_random(longest)


def is_national(text: str, match: re.Match) -> bool:
    """As `is_phone`, for a number without the code of its country."""
    return is_phone(text, match) and sum(character.isdigit() for character in text) >= 9
