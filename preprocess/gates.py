"""What a row must pass, each with a reason that is counted: length, language, repetition, contamination, near-duplicates.

Schema, format and marker hygiene are the row contract's own (common.rows, common.chat) and are checked as a row is made.
"""

import io
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

import mistral_common
import numpy as np
from datasketch import MinHash
from mistral_common.tokens.tokenizers.tekken import Tekkenizer
from PIL import Image

from common import chat, facts, rows
from preprocess.mix import Gates
from preprocess.rows import Skip

PERMUTATIONS, BAND = (
    128,
    8,
)  # of a signature; values that must all agree before two rows are compared
SHINGLE, GRAM, RUN = 5, 8, 6  # words
DROP, REPORT = 0.8, 0.5  # share of a benchmark's problem that stands in a row
SHORT = 40  # words under which a language or a repetition cannot be told
_WORD = re.compile(r"\w+")
# Code and formulas.
_NOT_PROSE = re.compile(
    r"```.*?(?:```|\Z)|\$\$.*?\$\$|\$.*?\$|\\\[.*?\\\]|\\begin\{(\w+\*?)\}.*?\\end\{\1\}", re.DOTALL
)
# Common English words that are no common words of the neighbouring languages.
_COMMON = """the and of to is that it for are with this be by from have or which what you not can has if at each how but we they
one its than then were she his there when would do does find let"""
_ENGLISH = set(_COMMON.split())
_EMPTY = MinHash(num_perm=PERMUTATIONS, seed=1)


@lru_cache(maxsize=1)
def tokenizer() -> Tekkenizer:
    """Pixtral's own vocabulary, which mistral-common carries: lengths in it need no hub."""
    return Tekkenizer.from_file(Path(mistral_common.__path__[0]) / "data" / "tekken_240911.json")


@lru_cache(maxsize=256)
def text_tokens(text: str) -> int:
    """How long a text is in Pixtral's vocabulary."""
    return len(tokenizer().encode(text, bos=False, eos=False))


def tokens(row: dict, images: Iterable[rows.Image]) -> int:
    """About how long the row is in Pixtral's vocabulary: its texts and its images, without the turn markers."""
    text = sum(text_tokens(rows.text_of(message)) for message in row["messages"])
    return text + sum(facts.image_tokens(image.width, image.height) for image in images)


def check(row: dict, length: int, gates: Gates) -> None:
    """Raise Skip for a row that is too long, not English, repeats itself, or does not say the value a program would look for."""
    user, reply = rows.text_of(row["messages"][-2]), rows.text_of(row["messages"][-1])
    if length > gates.max_tokens:
        raise Skip(f"longer than {gates.max_tokens:,} tokens")
    words = [
        word
        for word in _WORD.findall(_NOT_PROSE.sub(" ", f"{user} {reply}").lower())
        if word.isalpha()
    ]
    if len(words) >= SHORT and sum(word in _ENGLISH for word in words) < gates.english * len(words):
        raise Skip("not English")
    words = _NOT_PROSE.sub(" ", reply).split()
    runs = [tuple(words[at : at + RUN]) for at in range(len(words) - RUN + 1)]
    if len(words) >= SHORT and len(runs) - len(set(runs)) > gates.repetition * len(runs):
        raise Skip("repeats itself")
    if "answer" in row and not stands(row["answer"], chat.split(reply).answer or ""):
        raise Skip("the answer does not say its checkable value")


def stands(answer: dict, text: str) -> bool:
    """Whether a reply's final text says the value of `answer`: a number within its relative tolerance, or the very text."""
    if answer["kind"] != "number":
        return bool(
            re.search(rf"(?<!\w){re.escape(str(answer['value']))}(?!\w)", text, re.IGNORECASE)
        )
    value = float(answer["value"])
    near = max(abs(value) * answer.get("tolerance", 0), 1e-9)
    found = re.findall(
        r"-?\d[\d,]*(?:\.\d+)?", text.replace("{,}", ",").replace("\\!", "").replace("−", "-")
    )
    return any(abs(float(number.replace(",", "")) - value) <= near for number in found)


class Benchmark:
    """The problems no row may hold. A problem is held when 0.8 of its eight-word runs stand in the row.

    The public sets are compared with every number masked, since GSM-Hard is GSM8K with other numbers; our own held-out problems
    share framings with what is trained and differ in numbers, so those count. A problem under eight words must match whole.
    """

    def __init__(self, problems: Iterable[tuple[str, str, bool]]):
        """`problems`: (name of the set, text, whether its numbers are masked)."""
        self._sizes: list[tuple[str, int]] = []
        self._holders: dict[str, list[int]] = defaultdict(list)
        for name, text, masked in problems:
            runs = _runs(text, masked)
            for run in runs:
                self._holders[run].append(len(self._sizes))
            self._sizes.append((name, len(runs)))

    def covered(self, text: str) -> tuple[float, str]:
        """The largest share of a problem that stands in `text`, and the set the problem is of."""
        hits = Counter(
            at
            for run in _runs(text, True) | _runs(text, False)
            for at in self._holders.get(run, ())
        )
        return max(
            ((count / self._sizes[at][1], self._sizes[at][0]) for at, count in hits.items()),
            default=(0.0, ""),
        )


def _runs(text: str, masked: bool) -> set[str]:
    words = _WORD.findall(text.lower())
    if len(words) < GRAM:
        return {"whole: " + " ".join(words)}
    if masked:
        words = _WORD.findall(re.sub(r"\d+(?:[.,]\d+)*", "0", text.lower()))
    return {f"{masked:d} " + " ".join(words[at : at + GRAM]) for at in range(len(words) - GRAM + 1)}


def signature(text: str, salt: str = "") -> bytes:
    """The MinHash of a text's five-word runs, PERMUTATIONS uint32. Texts with another salt have nothing in common."""
    words = _WORD.findall(text.lower())
    shingles = {
        " ".join([salt, *words[at : at + SHINGLE]])
        for at in range(max(len(words) - SHINGLE + 1, 1))
    }
    minhash = _EMPTY.copy()
    minhash.update_batch([shingle.encode() for shingle in shingles])
    return minhash.hashvalues.astype(np.uint32).tobytes()


def duplicates(signatures: np.ndarray, threshold: float) -> np.ndarray:
    """bool (rows,): whether a row before it is kept whose estimated Jaccard similarity is `threshold` or more.

    `signatures` is uint32 (rows, PERMUTATIONS). Only rows that agree in a whole band are compared.
    """
    dropped = np.zeros(len(signatures), bool)
    for first in range(0, PERMUTATIONS, BAND):
        kept: dict[bytes, list[int]] = defaultdict(list)
        for at in np.flatnonzero(~dropped):
            alike = kept[signatures[at, first : first + BAND].tobytes()]
            if alike and (signatures[alike] == signatures[at]).mean(axis=1).max() >= threshold:
                dropped[at] = True
            else:
                alike.append(at)
    return dropped


def look(png: bytes) -> bytes:
    """How a picture looks, as 32 bytes: whether each of 16x16 cells is lighter than the next; any encoding looks the same."""
    with Image.open(io.BytesIO(png)) as picture:
        grey = np.asarray(picture.convert("L").resize((17, 16), Image.Resampling.BOX), np.int16)
    return np.packbits(grey[:, 1:] > grey[:, :-1]).tobytes()
