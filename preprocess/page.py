"""report.html: a build as one page that needs no server and no network, its pictures beside it.

Whatever a row holds reaches the page as data and is shown as text; nothing of it can run.
"""

import json
from collections import defaultdict
from pathlib import Path

from common import chat, rows, tools
from common.files import read_text, write_text
from preprocess.candidates import Candidate, draw

TEMPLATE = Path(__file__).with_name("report.template.html")
SHOWN = 100  # rows of each category and origin at most, so that a browser can hold the page
LONGEST = 20_000  # characters of a message


def write(
    aside: Path,
    title: str,
    seed: int,
    tables: dict[str, tuple[list[str], list]],
    chosen: list[Candidate],
) -> None:
    """The page of a build into `aside`, with its tables by their titles and a draw of its rows."""
    groups: dict[tuple[str, str], list[str]] = defaultdict(list)
    for candidate in sorted(chosen, key=lambda c: draw(seed, f"page {c.id}")):
        groups[candidate.category, candidate.origin].append(candidate.id)
    ids = {id_ for group in groups.values() for id_ in group[:SHOWN]}
    picked = [
        _shown(row, split)
        for split in ("train", "val")
        for row in rows.read(aside / f"{split}.jsonl")
        if row["id"] in ids
    ]
    bound = f"{len(picked):,} of {len(chosen):,} rows, {SHOWN} of each category and origin at most"
    shown = {"title": title, "bound": bound, "tables": tables, "rows": picked}
    data = json.dumps(shown, ensure_ascii=False)
    # In JSON a < stands only inside a string; escaped, no text can end the page's script element.
    text = read_text(TEMPLATE).replace("{data}", data.replace("<", "\\u003c"))
    write_text(aside / "report.html", text)


def _shown(row: dict, split: str) -> dict:
    """What the page shows of a row."""
    about = {name: row[name] for name in ("id", "category", "origin", "tags")}
    answer = row.get("answer")
    checked = f"{answer['kind']} {answer['value']} {answer['unit']}".strip() if answer else ""
    messages = [_message(message) for message in row["messages"]]
    if "tools" in row:
        offered = json.dumps(row["tools"], ensure_ascii=False, indent=1)[:LONGEST]
        messages.insert(0, {"role": "tools", "text": offered, "trained": False, "images": []})
    return about | {"split": split, "checked": checked, "messages": messages}


def _message(message: dict) -> dict:
    """A message's role, its pictures, its text; of a trained reply reasoning and answer apart."""
    text = rows.text_of(message)
    trained = message.get("weight") == 1
    if calls := message.get("tool_calls"):
        text = f"{text}\n{tools.written(map(tools.of_openai, calls))}".strip()
    parts = {"text": text}
    if trained:
        reply = chat.split(text)
        parts = {"reasoning": reply.reasoning, "text": reply.answer or ""}
    images = [part["path"] for part in message["content"] if part["type"] == "image"]
    cut = {name: part[:LONGEST] for name, part in parts.items()}
    return cut | {"role": message["role"], "trained": trained, "images": images}
