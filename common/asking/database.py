"""One SQLite file that survives a kill at any moment, with many small writes in one commit.

WAL with synchronous=NORMAL: a kill loses nothing that was committed; a power cut may lose the last
moments. A commit costs the same for one row as for fifty: what is written within a few milliseconds
is committed together, and each writer goes on only after its commit.
"""

import asyncio
import sqlite3
from pathlib import Path

from common.errors import AetherError
from common.files import shown

GATHER_SECONDS = 0.005  # of writes in one commit
OPEN_SECONDS = 2  # to wait for another process that has the file open
_PRAGMAS = """
PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;
PRAGMA cache_size = -32000; PRAGMA wal_autocheckpoint = 8000;
"""


class StoreError(AetherError):
    """A store that cannot be opened or written."""


class Database:
    """The file, held by this process alone.

    Args:
        path: The file; it is made where it is not there.
        schema: SQL that makes the tables where they are not there.

    Raises:
        StoreError: Another run has it open, it is no database, or the disk is full.
    """

    def __init__(self, path: Path, schema: str):
        self.path = path
        self._committed: asyncio.Future | None = None  # of the transaction that is being filled
        try:
            self.connection = sqlite3.connect(path, timeout=OPEN_SECONDS, isolation_level=None)
        except sqlite3.Error as error:
            raise StoreError(f"{shown(path)}: {error}") from None
        try:
            self.connection.executescript(_PRAGMAS + schema)
        except sqlite3.Error as error:
            self.connection.close()
            raise StoreError(f"{shown(path)}: {_remedy(error)}") from None

    def close(self) -> None:
        """Close the file; other runs may open it then."""
        self.connection.close()

    def read(self, sql: str, values: tuple = ()) -> sqlite3.Cursor:
        """The rows of a query."""
        return self.connection.execute(sql, values)

    def write(self, sql: str, values: tuple) -> int:
        """Write one row in the transaction that is being filled and return its id; `written` tells
        when it is on disk.

        Must be called in a running event loop. What is written without an `await` in between is on
        disk together or not at all.
        """
        self._begin()
        return self.connection.execute(sql, values).lastrowid or 0

    async def written(self) -> None:
        """Return when all that was written until now is on disk.

        Raises sqlite3.Error where it could not be.
        """
        if self._committed is not None:
            await asyncio.shield(self._committed)  # one of many waiters may be cancelled

    def _begin(self) -> None:
        if self._committed is None:
            self.connection.execute("BEGIN")
            loop = asyncio.get_running_loop()
            self._committed = loop.create_future()
            loop.call_later(GATHER_SECONDS, self._commit)

    def _commit(self) -> None:
        committed = self._committed
        self._committed = None
        assert committed is not None
        try:
            self.connection.execute("COMMIT")
        except sqlite3.Error as error:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
            committed.set_exception(error)
        else:
            committed.set_result(None)


def _remedy(error: sqlite3.Error) -> str:
    if "locked" in str(error):
        return "another run has it open; wait for it"
    if "full" in str(error):
        return f"{error}; make room"
    return f"{error}; move it away to start anew"
