"""Files as every room reads and writes them: hashed, written aside and renamed, locked, YAML
without a key given twice."""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from common.errors import AetherError

ROOT = Path(__file__).resolve().parents[1]


class FileError(AetherError):
    """A file that cannot be read as what it should be, or a folder that another process holds."""


def shown(path: Path) -> str:
    """The path as a person should read it: relative to the repository where it lies inside."""
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


def sha256_of(path: Path) -> str:
    """Hex digest of a file's content, read once and in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_text(path: Path, text: str) -> None:
    """As `write_bytes`, in UTF-8."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole or as it was, also when the machine stops."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with aside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """As `write_text`, one JSON value indented by one."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


@contextlib.contextmanager
def written_aside(target: Path) -> Iterator[Path]:
    """An empty folder beside `target` that takes its place when the block ends, and is removed when
    the block fails.

    Until then `target` stays as it was.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.with_name(f".{target.name}-aside")
    old = target.with_name(f".{target.name}-old")
    if old.exists() and not target.exists():  # killed between the two renames
        old.rename(target)
    for left in (aside, old):
        shutil.rmtree(left, ignore_errors=True)
    aside.mkdir()
    try:
        yield aside
        if target.exists():
            target.rename(old)
        aside.rename(target)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


@contextlib.contextmanager
def only_writer(folder: Path, doing: str = "being written") -> Iterator[None]:
    """Hold a folder for this process; the system lets go of it however the process ends.

    Raises FileError when another process has it.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f".{folder.name}.lock").open("a") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise FileError(
                f"{shown(folder)} is {doing} by another process; wait for it, or stop it"
            ) from None
        yield


@contextlib.contextmanager
def held(path: Path, doing: str) -> Iterator[None]:
    """Hold what a file describes for this process, leaving no file of its own behind.

    Raises FileError when another process has it.
    """
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            problem = f"{shown(path.parent)} is {doing} by another process"
            raise FileError(f"{problem}; wait for it, or stop it") from None
        yield


class _UniqueKeys(yaml.CSafeLoader):
    """A safe loader that refuses a mapping with a key given twice: YAML would keep the last in
    silence. A key `yes:` or `true:` is that word: a table's heading is no truth value."""


def _mapping(loader: _UniqueKeys, node: yaml.MappingNode) -> dict:
    seen = set()
    for key, _ in node.value:
        if key.tag == "tag:yaml.org,2002:merge":
            continue
        if key.tag == "tag:yaml.org,2002:bool":
            key.tag = "tag:yaml.org,2002:str"
        name = (key.tag, key.value) if isinstance(key, yaml.ScalarNode) else id(key)
        if name in seen:
            text = f"{key.value}: given twice; the last one would win in silence"
            raise yaml.constructor.ConstructorError(problem=text, problem_mark=key.start_mark)
        seen.add(name)
    loader.flatten_mapping(node)
    return loader.construct_mapping(node, deep=True)


_UniqueKeys.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def read_text(path: Path) -> str:
    """The text of a UTF-8 file. Raises FileError."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise FileError(f"{shown(path)}: no such file") from None
    except UnicodeDecodeError as error:
        raise FileError(
            f"{shown(path)}: byte {error.start} is not UTF-8; save the file as UTF-8"
        ) from None
    except OSError as error:
        raise FileError(f"{shown(path)}: {error.strerror}") from None


def load_yaml(path: Path) -> Any:
    """What a YAML file holds. Raises FileError with file:line for what is no YAML and for a key
    given twice."""
    try:
        return yaml.load(read_text(path), _UniqueKeys)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or " ".join(str(error).split())
        raise FileError(f"{shown(path)}{line}: {problem}") from None


def json_if_there(path: Path) -> dict:
    """What a JSON file holds, an object; {} where there is no file. Raises as `load_json`."""
    return load_json(path) if path.exists() else {}


def load_json(path: Path) -> Any:
    """What a JSON file holds. Raises FileError for one that is cut short or no JSON."""
    try:
        return json.loads(read_text(path))
    except ValueError as error:
        raise FileError(f"{shown(path)}: not JSON, or cut short ({error})") from None
