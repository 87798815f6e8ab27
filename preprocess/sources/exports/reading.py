"""The files of a folder, and of the archives in it, as values: one a line, or one an element.

Nothing outside the folder is read: no link, no address, no path that leads out.
"""

import io
import json
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

from common import rows
from common.files import shown
from preprocess.rows import Skip
from preprocess.source import MixError
from preprocess.sources.exports.talk import Picture

# Bytes of a .json file, which is read whole (the others line by line), and of a picture.
LARGEST = 128 * 2**20
LARGEST_PICTURE = 64 * 2**20
_WHOLE = (".json",)
_LINES = (".jsonl", ".ndjson")
_ARCHIVE = (".zip",)
_PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff")


class Unread(Skip):
    """A value that is no conversation, or none that can be told."""


class Item(NamedTuple):
    """A value of a file, or why there is none."""

    file: str
    place: str  # the file and the line or the number, for people
    value: object | Skip


@dataclass
class Reader:
    """Reads a folder. `unread` counts the files that are of no kind it reads, by their suffix."""

    folder: Path
    unread: Counter = field(default_factory=Counter)
    archive: zipfile.ZipFile | None = None  # that is being read
    beside: PurePosixPath = PurePosixPath()  # the folder of the file that is being read

    def items(self) -> Iterator[Item]:
        """The values of all files, in the order of their names. Raises MixError naming the file."""
        for path in sorted(path for path in self.folder.rglob("*") if path.is_file()):
            name = PurePosixPath(path.relative_to(self.folder).as_posix())
            if _hidden(name):
                continue
            if _suffix(name) not in (*_WHOLE, *_LINES, *_ARCHIVE):
                self._note_unread(name)
                continue
            if path.is_symlink() or not path.resolve().is_relative_to(self.folder.resolve()):
                raise MixError(
                    f"{shown(path)}: a link; put the file itself into {self.folder.name}/"
                )
            try:
                yield from self._archive(path) if _suffix(name) in _ARCHIVE else self._file(path)
            except OSError as error:
                raise MixError(f"{shown(path)}: {error.strerror or error}") from None

    def _file(self, path: Path) -> Iterator[Item]:
        name = PurePosixPath(path.relative_to(self.folder).as_posix())
        self.beside = name.parent
        with path.open("rb") as file:
            yield from _values(file, path.stat().st_size, str(name), shown(path))

    def _note_unread(self, name: PurePosixPath) -> None:
        if _suffix(name) not in _PICTURES:
            self.unread[_suffix(name) or "no suffix"] += 1

    def _archive(self, path: Path) -> Iterator[Item]:
        try:
            with zipfile.ZipFile(path) as self.archive:
                for entry in sorted(self.archive.infolist(), key=lambda entry: entry.filename):
                    name = PurePosixPath(entry.filename)
                    if entry.is_dir() or _hidden(name):
                        continue
                    if _suffix(name) not in (*_WHOLE, *_LINES):
                        self._note_unread(name)
                        continue
                    self.beside = name.parent
                    place = f"{path.name}/{name}"
                    with self.archive.open(entry) as file:
                        yield from _values(file, entry.file_size, place, f"{shown(path)}/{name}")
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
            advice = "not a whole .zip file without a password; unpack it here"
            raise MixError(f"{shown(path)}: {error}; {advice}") from None
        finally:
            self.archive = None

    def picture(self, wanted: Picture) -> bytes:
        """What the file of a picture holds. Raises Skip."""
        if wanted.data is not None:
            return wanted.data
        if "://" in wanted.name or "\0" in wanted.name:
            raise Skip("a picture at an address; only files in the folder are read")
        if any(
            len(part.encode("utf-8", "replace")) > 255 for part in PurePosixPath(wanted.name).parts
        ):
            raise Skip("a picture that is not there")
        if self.archive is not None:
            return self._archived_picture(self.archive, wanted)
        names = [self.folder / wanted.name, self.folder / self.beside / wanted.name]
        if wanted.is_prefix:
            names = (
                sorted(self.folder.rglob(f"{wanted.name}*")) if wanted.name.isprintable() else []
            )
        for path in names:
            inside = path.resolve().is_relative_to(self.folder.resolve())
            if path.is_symlink() or not inside:
                raise Skip("a picture outside of the folder; only plain files in it are read")
            if path.is_file():
                if path.stat().st_size > LARGEST_PICTURE:
                    raise Skip("a picture's file that is too large")
                return path.read_bytes()
        raise Skip("a picture that is not there")

    def _archived_picture(self, archive: zipfile.ZipFile, wanted: Picture) -> bytes:
        names = [wanted.name, str(self.beside / wanted.name)]
        for entry in archive.infolist():
            begins = PurePosixPath(entry.filename).name.startswith(wanted.name)
            if entry.filename in names or (wanted.is_prefix and begins):
                if entry.file_size > LARGEST_PICTURE:
                    raise Skip("a picture's file that is too large")
                with archive.open(entry) as file:
                    return file.read(LARGEST_PICTURE)
        raise Skip("a picture that is not there")


def _suffix(name: PurePosixPath) -> str:
    return name.suffix.lower()


def _hidden(name: PurePosixPath) -> bool:
    return any(part.startswith((".", "__MACOSX")) for part in name.parts)


def _values(file: IO[bytes], size: int, name: str, shown_name: str) -> Iterator[Item]:
    """The values of a file. Raises MixError for a .json file that is too large or no JSON."""
    if _suffix(PurePosixPath(name)) in _LINES:
        yield from _lines(file, name)
        return
    if size > LARGEST:
        stem = PurePosixPath(name).stem
        advice = f"write one conversation a line: jq -c '.[]' {stem}.json > {stem}.jsonl"
        raise MixError(f"{shown_name}: more than {LARGEST // 2**20} MB; {advice}")
    content = file.read(LARGEST + 1)
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        if "Extra data" not in str(error):
            raise MixError(f"{shown_name}: not JSON, or cut off ({error})") from None
        yield from _lines(io.BytesIO(content), name)  # one value a line under the name of one value
        return
    for number, item in enumerate(value if isinstance(value, list) else [value], 1):
        yield Item(name, f"{name}: conversation {number}", item)


def _lines(file: IO[bytes], name: str) -> Iterator[Item]:
    for number, _, line in rows.numbered(file):
        place = f"{name}:{number}"
        if len(line) > rows.MAX_LINE:
            yield Item(name, place, Unread(f"a line longer than {rows.MAX_LINE:,} bytes"))
        elif line.strip():
            yield Item(name, place, _value(line))


def _value(line: bytes) -> object | Skip:
    try:
        return json.loads(line.removeprefix(b"\xef\xbb\xbf"))
    except (ValueError, RecursionError):
        return Unread("not JSON, or cut off")
