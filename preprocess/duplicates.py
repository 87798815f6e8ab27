"""What is nearly the same: texts by the MinHash of their five-word runs, pictures by how they
look."""

import io
import re
from collections import defaultdict

import numpy as np
from datasketch import MinHash
from PIL import Image

# Values of a MinHash; values that must all agree before two texts are compared.
PERMUTATIONS = 128
BAND = 8
SIZE = 4 * PERMUTATIONS  # bytes of a MinHash
SHINGLE = 5  # words
_WORD = re.compile(r"\w+")
_EMPTY = MinHash(num_perm=PERMUTATIONS, seed=1)


def minhash(text: str, salt: str = "") -> bytes:
    """The MinHash of a text's five-word runs, PERMUTATIONS uint32. Texts with another salt have
    nothing in common."""
    words = _WORD.findall(text.lower())
    starts = range(max(len(words) - SHINGLE + 1, 1))
    shingles = {" ".join([salt, *words[start : start + SHINGLE]]) for start in starts}
    hashed = _EMPTY.copy()
    hashed.update_batch([shingle.encode() for shingle in shingles])
    return hashed.hashvalues.astype(np.uint32).tobytes()


def duplicates(hashes: np.ndarray, threshold: float) -> np.ndarray:
    """bool (rows,): whether a row before it is kept whose estimated Jaccard similarity is
    `threshold` or more.

    `hashes` is uint32 (rows, PERMUTATIONS). Only rows that agree in a whole band are compared.
    """
    dropped = np.zeros(len(hashes), bool)
    for first in range(0, PERMUTATIONS, BAND):
        kept: dict[bytes, list[int]] = defaultdict(list)
        for row in np.flatnonzero(~dropped):
            alike = kept[hashes[row, first : first + BAND].tobytes()]
            if alike and (hashes[alike] == hashes[row]).mean(axis=1).max() >= threshold:
                dropped[row] = True
            else:
                alike.append(row)
    return dropped


def look(png: bytes) -> bytes:
    """How a picture looks, as 32 bytes: whether each of 16x16 cells is lighter than the next; any
    encoding looks the same."""
    with Image.open(io.BytesIO(png)) as picture:
        small = picture.convert("L").resize((17, 16), Image.Resampling.BOX)
    grey = np.asarray(small, np.int16)
    return np.packbits(grey[:, 1:] > grey[:, :-1]).tobytes()
