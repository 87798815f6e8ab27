"""Pairs of a built dataset: a row, and a reply to it that is worse, with the reason.

Written by hand, an entry names a row of the build by its id and holds an answer alone: it is put
behind the row's own reasoning, so that the answers are what a preference is learnt from. Whole
pairs (common.rows), of `make pairs`, of `make chat` or of a person, stand in files of their own,
their pictures beside them in images/.
"""

import json
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from common import chat, rows
from common.files import shown
from preprocess.candidates import draw
from preprocess.mix import Mix
from preprocess.source import MixError, Part, load, matching

LENGTHS = (0.5, 2.0)  # words of the rejected answer for one of the chosen: within these
SAME = "nearly the same"
ALIKE = 0.8  # share of words in common from which two replies are one


class Entry(Part):
    """An entry written by hand."""

    id: str  # of the row, as it stands in the build: <conversation>, or <conversation>#<turn>
    why: str
    answer: str


@dataclass(frozen=True)
class Found:
    """A pair before it is looked at, and where its pictures may lie besides the build."""

    pair: dict
    folder: Path


def write(aside: Path, folder: Path, plan: Mix, groups: dict[str, str]) -> dict:
    """Write pairs.jsonl and pairs_val.jsonl of the rows that are built in `aside`; what the
    manifest says of them.

    `groups` tells a built row's group by its id: a pair is held out with the row's own split, and
    so are others up to the mix's share, whole groups.

    Raises MixError, FileError and RowError, naming file and entry.
    """
    if plan.pairs is None:
        return {}
    built = {}
    for split in ("train", "val"):
        for _, _, line in rows.lines(aside / f"{split}.jsonl"):
            row = json.loads(line)
            built[row["id"]] = row
    skipped: Counter = Counter()
    splits: dict[str, list[dict]] = {"train": [], "val": []}
    known = set()
    for found in [*_written(folder, plan, built, skipped), *_whole(folder, plan)]:
        pair = found.pair
        text = rows.text_of(pair["rejected"])
        reason = _unfit(pair, built) or ("twice the same" if (pair["id"], text) in known else None)
        if reason is None and not _with_pictures(found, aside):
            reason = "a picture that is not there"
        if reason:
            skipped[reason] += 1
            continue
        known.add((pair["id"], text))
        group = groups.get(pair["id"], pair["id"].partition("#")[0])
        share = max(plan.val_share, plan.pairs.val_share)
        splits["val" if draw(plan.seed, group) < share else "train"].append(pair)
    for split, pairs in splits.items():
        pairs.sort(key=lambda pair: draw(plan.seed, f"pair {pair['id']} {pair['rejected']}"))
        lines = (json.dumps(pair, ensure_ascii=False, sort_keys=True) + "\n" for pair in pairs)
        (aside / rows.file_of(split, pairs=True)).write_text("".join(lines), encoding="utf-8")
    every = [*splits["train"], *splits["val"]]
    return {
        "pairs": {
            "rows": {split: len(pairs) for split, pairs in splits.items()},
            "categories": dict(Counter(pair["category"] for pair in every)),
            "why": dict(Counter(pair["rejected"]["why"] for pair in every).most_common(50)),
            "skipped": dict(sorted(skipped.items())),
        }
    }


def _written(folder: Path, plan: Mix, built: dict, skipped: Counter) -> Iterator[Found]:
    """The entries written by hand whose row is built."""
    assert plan.pairs is not None
    for pattern in plan.pairs.written:
        for path in matching(folder, pattern):
            for entry in load(path, list[Entry]):
                row = built.get(entry.id)
                if row is None:
                    skipped["its row is not in this build"] += 1
                    continue
                chosen = chat.split(rows.text_of(row["messages"][-1]))
                try:
                    text = chat.compose(chosen.reasoning, entry.answer)
                except ValueError as error:
                    raise MixError(f"{shown(path)}: {entry.id}: answer: {error}") from None
                rejected = {"content": rows.text_parts(text), "why": entry.why}
                pair = row | {"rejected": rejected}
                try:
                    rows.check(pair)
                except rows.RowError as error:
                    raise MixError(f"{shown(path)}: {entry.id}: {error}") from None
                yield Found(pair, folder)


def _whole(folder: Path, plan: Mix) -> Iterator[Found]:
    """The pairs of files that need not be there."""
    assert plan.pairs is not None
    for pattern in plan.pairs.whole:
        for path in sorted(folder.glob(pattern)):
            for number, _, line in rows.lines(path):
                try:
                    pair = rows.parse(line)
                    if "rejected" not in pair:
                        raise rows.RowError("rejected: missing; a row of this file is a pair")
                except rows.RowError as error:
                    raise rows.RowError(f"{shown(path)}:{number}: {error}") from None
                yield Found(pair, path.parent)


def _unfit(pair: dict, built: dict) -> str | None:
    """Why a pair is left out, or None."""
    row = built.get(pair["id"])
    if row is not None and row["messages"] != pair["messages"]:
        return "its row reads otherwise now"
    return unlike(rows.text_of(pair["messages"][-1]), rows.text_of(pair["rejected"]))


def unlike(chosen: str, rejected: str) -> str | None:
    """Why two replies make no pair, or None: their length alone would tell them apart, or hardly
    anything does.
    """
    answers = [chat.split(text).answer or text for text in (chosen, rejected)]
    words = [answer.casefold().split() for answer in answers]
    low, high = LENGTHS
    if not low <= len(words[1]) / max(len(words[0]), 1) <= high:
        return "of another length"
    ours, theirs = Counter(words[0]), Counter(words[1])
    common = (ours & theirs).total() / max((ours | theirs).total(), 1)
    return SAME if common >= ALIKE else None


def _with_pictures(found: Found, aside: Path) -> bool:
    """Whether all its pictures are in the build, those beside the pair's file copied to it."""
    for message in found.pair["messages"]:
        for part in message["content"]:
            if part["type"] != "image" or (aside / part["path"]).exists():
                continue
            source = found.folder / part["path"]
            if not source.is_file() or source.is_symlink():
                return False
            shutil.copyfile(source, aside / part["path"])
    return True
