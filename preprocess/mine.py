"""Pairs from a model's own replies: python -m preprocess.mine RECIPE [--samples N] [--limit N]
                                                     [--endpoint URL --model ID]   (make pairs)

Serves the recipe's merged model and asks it the prompts of its dataset, several times each; kept
replies are not asked again. Where a program faults a reply (preprocess.faults), it is the rejected
one of a pair whose chosen reply is the row's own. Some pairs are of abilities: wrong answers, and
right replies to another picture, so that short questions are not all that is learnt. They are
written to datasets/<name>/kept/pairs-<recipe>.jsonl, which `make data` reads.
"""

import argparse
import asyncio
import contextlib
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

from common import rows, servers, triad
from common.asking.kept import Replies
from common.bases import model_hash
from common.errors import AetherError, command
from common.files import ROOT, load_yaml, shown, write_json, write_text
from common.options import parser_of
from common.processes import exit_on_sigterm
from common.recipes import Recipe, find
from preprocess.candidates import draw
from preprocess.faults import CUT_OFF, fault
from preprocess.pairs import SAME, unlike
from preprocess.prompting import Asked, ask_all

A_PROMPT = 2  # pairs of one prompt at most
ABILITIES = 0.2  # of the pairs at most
FEWEST_ABILITIES = 0.1
VOICE_ORIGINS = ("seed", "teacher", "conversation", "kept")  # written or accepted, not by a program


def pairs_of(row: dict, replies: list[dict], rules: dict, left_out: Counter) -> list[dict]:
    """The pairs that a prompt's replies give, A_PROMPT at most; the rest is counted."""
    chosen = rows.text_of(row["messages"][-1])
    found: list[dict] = []
    for reply in replies:
        text = reply["text"].strip()
        why = fault(row, text, reply["stop"], rules["members"], rules["direct"])
        reason = None
        if why is None:
            reason = "cut off" if reply["stop"] == CUT_OFF else "no fault found"
        elif any(unlike(rows.text_of(pair["rejected"]), text) == SAME for pair in found):
            reason = f"{SAME} as another"
        else:
            reason = unlike(chosen, text)
        if reason is None and len(found) == A_PROMPT:
            reason = f"more than {A_PROMPT} of a prompt"
        if reason is None:
            found.append(_pair(row, text, str(why)))
        else:
            left_out[reason] += 1
    return found


def _pair(row: dict, text: str, why: str) -> dict:
    return row | {"rejected": {"content": rows.text_parts(text), "why": why}}


def exchanged(found: list[dict], rules: dict, seed: int) -> Iterator[dict]:
    """Pairs whose picture was changed: the reply to another row's picture, at the same question,
    which is wrong here.
    """
    alike = defaultdict(list)
    for row in found:
        texts = tuple(rows.text_of(message) for message in row["messages"][:-1])
        alike[texts].append(row)
    for same in alike.values():
        same.sort(key=lambda row: draw(seed, f"exchange {row['id']}"))
        for row, other in zip(same, same[1:] + same[:1], strict=True):
            text = rows.text_of(other["messages"][-1])
            why = fault(row, text, "stop", rules["members"], rules["direct"])
            if why and unlike(rows.text_of(row["messages"][-1]), text) is None:
                yield _pair(row, text, f"what another picture shows: {why}")


def standing(build: Path, mined: list[dict]) -> int:
    """How many pairs without a checkable answer the build holds beside those that are mined now."""
    now = {(pair["id"], rows.text_of(pair["rejected"])) for pair in mined}
    files = [build / rows.file_of(split, pairs=True) for split in ("train", "val")]
    found = [pair for path in files if path.exists() for pair in rows.read(path)]
    others = [pair for pair in found if (pair["id"], rows.text_of(pair["rejected"])) not in now]
    return sum("answer" not in pair for pair in others)


def balanced(
    voice: list[dict], wrong: list[dict], other: list[dict], seed: int, beside: int = 0
) -> list[dict]:
    """All the voice's pairs, and of abilities as many as make ABILITIES of all: half of them
    wrong answers, half changed pictures, where there are as many. `beside`: pairs of the voice
    that stand in the dataset besides.
    """
    room = round((len(voice) + beside) * ABILITIES / (1 - ABILITIES))

    def drawn(pairs: list[dict], count: int) -> list[dict]:
        return sorted(pairs, key=lambda pair: draw(seed, f"ability {pair['id']}"))[:count]

    taken = drawn(wrong, max(room - room // 2, room - len(other)))
    return [*voice, *taken, *drawn(other, room - len(taken))]


def prompts(
    build: Path, categories: list[str] | None, limit: int, seed: int
) -> tuple[list[dict], list[dict]]:
    """(the rows to ask, those with pictures and an answer that a program can check).

    Asked are `limit` of the voice at most, and half as many whose answer can be checked. Rows whose
    history holds calls of tools are passed over.
    """
    voice, abilities = [], []
    for split in ("train", "val"):
        for row in rows.read(build / f"{split}.jsonl"):
            called = any("tool_calls" in message for message in row["messages"])
            if called or (categories and row["category"] not in categories):
                continue
            if "answer" in row:
                abilities.append(row)
            elif row["origin"] in VOICE_ORIGINS:
                voice.append(row)

    def first(found: list[dict], count: int) -> list[dict]:
        return sorted(found, key=lambda row: draw(seed, f"ask {row['id']}"))[:count]

    pictured = [row for row in abilities if rows.images(row, build)]
    return [*first(voice, limit), *first(abilities, limit // 2)], pictured


def mine(options: argparse.Namespace) -> Path:
    """Ask, judge, write; the file of the pairs. Raises AetherError."""
    recipe = find(options.recipe)
    build = ROOT / recipe.data["rows"]["path"]
    if not (build / "manifest.json").exists():
        raise AetherError(f"{shown(build)}: not built; make data DATASET={build.parent.name}")
    settings = load_yaml(ROOT / "evaluation" / "suites.yaml")
    members = tuple(triad.read(ROOT / settings["triad"]).members)
    rules = {"members": members, "direct": settings["direct"]}
    seed = recipe.data["seed"]
    categories = recipe.data["rows"].get("categories")
    found, pictured = prompts(build, categories, options.limit, seed)
    asked = [Asked(row, sample) for row in found for sample in range(options.samples)]
    sampling = {"temperature": options.temperature}
    folder = recipe.output / "pairs"
    with contextlib.ExitStack() as stack:
        if options.endpoint:
            endpoint = servers.given(options.endpoint, options.model)
            identity = f"endpoint {options.model}"
        else:
            served = servers.merged_of(recipe)
            identity = model_hash(Path(served.where))
            log = folder / "server.log"
            endpoint = stack.enter_context(servers.serving(served, log))
        replies = stack.enter_context(contextlib.closing(Replies(folder / "replies.sqlite")))
        got = asyncio.run(ask_all(asked, build, endpoint, identity, sampling, replies))
    voice, wrong, left_out = judged(found, got, rules)
    other = list(exchanged(pictured, rules, seed))
    pairs = balanced(voice, wrong, other, seed, standing(build, voice))
    if not pairs:
        raise AetherError(f"{recipe.id}: no reply was at fault: {dict(left_out)}; raise SAMPLES=")
    return write(recipe, build, pairs, len(got), left_out)


def judged(found: list[dict], got: list[dict], rules: dict) -> tuple[list, list, Counter]:
    """(pairs of the voice, pairs of wrong answers, what was left out) of rows and their replies,
    which are as many for each row.
    """
    left_out: Counter = Counter()
    voice: list[dict] = []
    wrong: list[dict] = []
    samples = len(got) // len(found)
    for number, row in enumerate(found):
        replies = got[number * samples : (number + 1) * samples]
        pairs = pairs_of(row, replies, rules, left_out)
        (wrong if "answer" in row else voice).extend(pairs)
    return voice, wrong, left_out


def write(recipe: Recipe, build: Path, pairs: list[dict], asked: int, left_out: Counter) -> Path:
    """Write pairs and report, and print it."""
    abilities = sum("answer" in pair for pair in pairs)
    why = Counter(pair["rejected"]["why"].partition(" where ")[0] for pair in pairs)
    about = {
        "asked": asked,
        "pairs": len(pairs),
        "abilities": abilities,
        "why": dict(why.most_common()),
        "left_out": dict(left_out.most_common()),
    }
    path = build.parent / "kept" / f"pairs-{recipe.id.replace('/', '-')}.jsonl"
    path.parent.mkdir(exist_ok=True)
    write_text(path, "".join(json.dumps(pair, ensure_ascii=False) + "\n" for pair in pairs))
    write_json(recipe.output / "pairs" / "report.json", about)
    print(json.dumps(about, indent=1, ensure_ascii=False))
    if abilities < FEWEST_ABILITIES * len(pairs):
        print(f"note: {abilities} of {len(pairs)} pairs are of abilities; 10 to 20 % are wanted")
    return path


def main() -> None:
    parser = parser_of(__doc__, "recipe", "--endpoint", "--model")
    parser.add_argument("--samples", type=int, default=4, help="replies a prompt")
    parser.add_argument("--limit", type=int, default=1000, help="the voice's prompts at most")
    parser.add_argument("--temperature", type=float, default=0.8)
    exit_on_sigterm()
    path = mine(parser.parse_args())
    print(f"written: {shown(path)}; make data DATASET={path.parents[1].name} takes them in")


if __name__ == "__main__":
    sys.exit(command(main))
