"""Options, choices and texts that a reply states: exactly one, or a reason why none is read."""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import lru_cache

from common.answers import marks
from common.answers.numbers import HYPHENS, LONGEST, NotRead, normalised
from common.answers.value import read_number

NONE_OF_THEM = NotRead("none of the choices")
SEVERAL = NotRead("several of the choices")
JOINING = ("and", "then", "the", "first", "next", "finally", "lastly")
_DRESS = " \t*_`$\"'“”‘’.!,;:"
_LETTER = re.compile(
    r"(?:(?:so|thus|therefore|hence)[\s,]+)?"
    r"(?:(?:it(?:'s| is)|that(?:'s| is)|i (?:choose|pick|think|say)|correct(?: is)?)[\s:,]+)?"
    r"(?:(?:the\s)?(?:correct\s)?(?:option|choice|letter|answer)(?:\sis)?[\s:]*)?"
    r"(?P<open>[(\[{<]?)\s?(?P<letter>[A-Za-z])\s?(?P<close>[)\]}>]?)(?P<rest>.*)",
    re.IGNORECASE | re.DOTALL,
)
_AFTER_A_LETTER = re.compile(
    r"\s*(?:[-–—:.,;)(]|\b(?=(?:is|because|since|as|rather|instead|not)\b))\s*(?P<text>.*)",
    re.DOTALL,
)
_DENIED = re.compile(
    r"(?:\b(?:not|never|neither|nor|instead of|(?:rather )?than)|n't|n’t)\s(?:in |the |an? )*"
    r"(?:\(?[A-Z]\)?(?:\s(?:or|nor|and)\s|,\s(?:or\s|nor\s)?))*\(?$",
    re.I,
)
_DENIED_AFTER = re.compile(
    r"[*_`\"'”)]*\s(?:is|was)(?:n't|n’t|\snot)"
    r"(?:\s(?:it|right|correct|the (?:one|answer)))?[\s*]*(?:[.,;!]|$)",
    re.I,
)
_TAKEN_BACK = re.compile(
    r"(?:is )?(?:wrong|incorrect|false)\b|is not\b|no\b|not (?:that|this|sure)\b|or\b|and\b|\?",
    re.IGNORECASE,
)
_NOT_ANOTHER = re.compile(r"[\s,;(]+(?:and |but )?not\b")
_SIGNS = ("So", "Sk", "Mn", "Cf")  # pictures, and what changes how they look
_CROSS = re.compile(r"[✗✘✕✖❌❎]")
_ARTICLE = re.compile(rf"\ban?\s+(?=[\w-]{{2}})(?!(?:{'|'.join(JOINING)})\b)", re.IGNORECASE)
_LATEX_TEXT = re.compile(r"\\(?:text|mathrm|textbf|mbox|mathbf)\{([^{}]*)\}")


def stated_option(text: str, options: Sequence[str]) -> str | NotRead:
    """The letter of the option a reply gives, in what it marks or else its last line: as a letter,
    or as the option's own text.

    `B`, `b`, `(b)`, `[B]`, `Option B`, `B!`, `B - a square` are read; `B, C` and a letter with
    another option's text are not.
    """
    mark = marks.marked(text)
    last = next(iter(reversed(text[-marks.READ :].strip().splitlines())), "")
    parts = [mark] if mark is not None else [*marks.answer_words(text), last]
    read = (_option(part, options) for part in parts if part.strip())
    return next((found for found in read if found != NONE_OF_THEM), NONE_OF_THEM)


def _option(part: str, options: Sequence[str]) -> str | NotRead:
    part = marks.boxed(part) or part
    part = _LATEX_TEXT.sub(r"\1", part[:LONGEST]).replace("\\", "")
    if _CROSS.search(part):
        return SEVERAL
    part = _without_signs(part).strip(_DRESS)
    alone = _NOT_ANOTHER.split(part)[0]
    named = _with_text(part, options) or (alone != part and _with_text(alone, options))
    if named:
        return named
    found = _LETTER.fullmatch(part.replace("**", ""))
    if not found:
        return NONE_OF_THEM
    return _lettered(found, options)


def _without_signs(part: str) -> str:
    """The text with plain letters and without ticks and pictures (`Ｂ ✓` is `B`)."""
    kept = [sign for sign in part if sign.isascii() or unicodedata.category(sign) not in _SIGNS]
    return unicodedata.normalize("NFKC", "".join(kept))


def _lettered(found: re.Match, options: Sequence[str]) -> str | NotRead:
    letter = found["letter"].upper()
    rest = found["rest"].strip(_DRESS)
    if ord(letter) - ord("A") >= len(options):
        return NONE_OF_THEM
    if not rest:
        return letter
    if _with_text(rest.strip(" ()[]-–—→=>"), options) == letter:
        return letter
    after = _AFTER_A_LETTER.fullmatch(found["rest"])
    sure = bool(found["close"]) or found["letter"].isupper() or rest.lower().startswith("(not ")
    if not sure or not (after or found["close"]):
        return NONE_OF_THEM
    explained = (after["text"] if after else rest).strip(_DRESS)
    return SEVERAL if _names_another(explained, letter, options) else letter


def _names_another(text: str, letter: str, options: Sequence[str]) -> bool:
    """Whether the words after a letter are another option, name another letter, or take the first
    one back.
    """
    if _with_text(text, options) not in (None, letter):
        return True
    if _TAKEN_BACK.match(text):
        return True
    last = max("H", chr(ord("A") + len(options) - 1))  # not I, which is a word
    lettered = re.finditer(rf"(?<![\w'’])\(?([A-{last}])(?![\w'’])\)?(?!\s[a-z]+\s[a-z])", text)
    return any(
        other[1] != letter and not _DENIED.search(text[: other.start()]) for other in lettered
    )


def _with_text(part: str, options: Sequence[str]) -> str | None:
    """The letter of the only option with this text, or with this number."""
    wanted = words(part)
    texts = map(_words_of_option, options)
    same = [at for at, text in enumerate(texts) if wanted and text == wanted]
    if not same and isinstance(number := read_number(part), Fraction):
        values = [read_number(option) for option in options]
        if all(isinstance(value, Fraction) for value in values):
            same = [at for at, value in enumerate(values) if value == number]
    return chr(ord("A") + same[0]) if len(same) == 1 else None


def stated_choice(text: str, choices: Sequence[str]) -> str | NotRead:
    """The one of the choices a reply gives: in what it marks, else in its bold words, else
    anywhere.

    A blank, a hyphen and an underscore inside a name are the same; a name that is denied ("not the
    queue") is not given; `yes` and `no` count where they begin or stand alone, since "no timeout"
    is not the answer no.
    """
    text = re.sub(r"[-=]>|→|⇒", ", ", text.translate(HYPHENS))
    finder = _finder(tuple(choices))
    mark = marks.marked(text)
    unmarked = [*marks.answer_words(text), *marks.bold(text), text[-marks.READ :]]
    for part in unmarked if mark is None else [mark]:
        named = {*_named(part, finder)}
        if len(named) > 1:
            named = {*_named(marks.statement(part), finder)}
        if len(named) == 1:
            (name,) = named
            return next(choice for choice in choices if _key(choice) == name)
        if named:
            return SEVERAL
    return NONE_OF_THEM


def _key(name: str) -> str:
    return re.sub(r"[\s_-]+", "-", name.strip().lower())


def _finder(choices: tuple[str, ...]) -> re.Pattern:
    names = sorted({_key(choice) for choice in choices}, key=len, reverse=True)
    spelled = "|".join(re.escape(name).replace(r"\-", r"[\s_-]+") for name in names)
    return re.compile(rf"(?<![\w-])(?P<name>{spelled})(?:s|es)?(?![\w-])", re.IGNORECASE)


def _named(part: str, finder: re.Pattern) -> Iterator[str]:
    for found in finder.finditer(part):
        name = _key(found["name"])
        before = part[max(0, found.start() - 30) : found.start()]
        if name in ("yes", "no") and not _answers(before, part[found.end() :]):
            continue
        denied = _DENIED.search(before.replace("*", "")) or _DENIED_AFTER.match(part[found.end() :])
        if not denied:
            yield name


def _answers(before: str, after: str) -> bool:
    """Whether a yes or no is an answer: it begins a sentence or ends one."""
    begins = re.search(r"(?:^|[.:!?\n]|\banswer is)[\s*_`\"'(]*$", before)
    goes_on = re.match(
        r"[*_`\"')]*\s*(?:[,:/(—–-]|(?:because|since|as|it|and|or|but|yes|no|that|this|there|they|you|we)\b)",
        after,
    )
    ends = re.match(r"[*_`\"')]*\s*(?:$|[.!;\n])", after)
    return bool(ends or (begins and goes_on))


def words(text: str) -> list[str]:
    """The words of a text in lower case, without articles and what only joins them; names keep
    their inner points, slashes and hyphens, and `a` alone is a name.
    """
    text = _ARTICLE.sub("", normalised(text).lower())
    found = [word.strip("./-") for word in re.findall(r"[\w./-]+", text)]
    return [word for word in found if word and word not in JOINING]


_words_of_option = lru_cache(maxsize=256)(words)  # the same for every sentence of a reply


def states_text(text: str, value: str) -> bool:
    """Whether what a reply marks (or, where it marks nothing, its bold words or a sentence) is that
    sequence of words.
    """
    wanted = words(value)
    mark = marks.marked(text)
    if mark is not None:
        stated = marks.statement(mark)
        readings = [mark, stated, re.sub(r"\s\([^()]*\)\W*$", "", stated)]
        readings += [re.sub(r"^\W*(?:it|this|that)(?:'s|’s| is)\s", "", stated, flags=re.I)]
        return any(words(reading) == wanted for reading in readings)
    if any(words(marks.statement(part)) == wanted for part in marks.answer_words(text)):
        return True
    parts = (*marks.bold(text), *marks.sentences(text))
    found = [words(part) for part in parts if not part.rstrip("*_ ").endswith("?")]
    return any(
        part[at : at + len(wanted)] == wanted
        and not {"not", "never", "no", "t"} & {*part[:at][-1:]}
        for part in found
        for at in range(len(part) - len(wanted) + 1)
    )
