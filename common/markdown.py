"""Tables in Markdown, as every report of the house writes them."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from common.files import read_text


def table(head: Sequence[str], lines: Iterable[Sequence[object]]) -> str:
    """A Markdown table. None is an empty cell, whole numbers get thousands commas, bars and line
    breaks are escaped."""
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join(f"| {' | '.join(map(_cell, row))} |" for row in rows)


def filled(template: Path, slots: Mapping[str, str]) -> str:
    """A page whose `{slots}` are filled. Raises FileError."""
    text = read_text(template)
    for slot, words in slots.items():
        text = text.replace(f"{{{slot}}}", words)
    return text


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return str(value).replace("|", "\\|").replace("\n", " ")
