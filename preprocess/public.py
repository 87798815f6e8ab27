"""The records of public data sets, from the hub or from a folder in its place."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from common import hub


def records(name: str, split: str, folder: Path | None) -> Iterator[dict]:
    """The records of a split of the public set `name`, one in memory at a time. Raises HubError."""
    return hub.records(name, split, folder, _load)


def _load(*args: str, **options: str) -> Iterable[dict]:
    import datasets  # slow to import, and not needed with a local folder

    return datasets.load_dataset(*args, **options)
