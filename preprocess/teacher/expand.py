"""The run: chains of jobs through the teacher, and the accepted rows as plain files.

Memory does not grow with the number of requests: a chain holds its last questions, the rest is in
the store.
"""

import asyncio
import gc
import signal
import sqlite3
import sys
from collections import Counter
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

from common import vocabulary
from common.asking import ledger, replies
from common.asking.client import Address, Client, key_of
from common.asking.database import Database
from common.asking.ledger import Ledger
from common.asking.paid import PaidClient
from common.asking.replies import Replies
from common.asking.retries import NoReply, Stop
from common.files import read_text, shown
from preprocess import mix
from preprocess.teacher import jobs, verdicts
from preprocess.teacher.jobs import Job
from preprocess.teacher.settings import Teaching
from preprocess.teacher.tally import Tally, listed
from preprocess.teacher.verdicts import Verdicts
from preprocess.teacher.writer import Writer

EVERYTHING = 10**9  # a limit that is none
STORE = ".teacher.sqlite"  # in the dataset's folder


class Run:
    """One run over everything that a dataset's teacher is asked for.

    Args:
        teaching: What is asked for.
        limit: At most so many variations of a seed and problems of a kind.
        hub: A folder with the public sets in the hub's place.
        offline: Nothing is asked; what is not stored is counted as missing.

    Raises:
        AskingError: The environment lacks a key.
        StoreError: The store cannot be opened.
        MixError: A file of the dataset cannot be used.
    """

    def __init__(self, teaching: Teaching, limit: int, hub: Path | None, offline: bool = False):
        self.teaching = teaching
        self.limit = limit
        self.hub = hub
        self.offline = offline
        settings = teaching.settings
        folder = teaching.folder
        rules = mix.read(folder).gates
        system = read_text(folder / "system" / "training.md").strip()
        wanted = sum(jobs.size(prompt, folder, limit) for prompt in teaching.prompts.values())
        clients = {} if offline else _clients(teaching)
        schema = ledger.SCHEMA + replies.SCHEMA + verdicts.SCHEMA
        self.database = Database(folder / STORE, schema)
        self.ledger = Ledger(
            self.database, settings.cap_dollars, settings.cap_tokens, "teacher.yaml"
        )
        self.verdicts = Verdicts(self.database)
        kept = Replies(self.database)
        self.clients = {
            role: PaidClient(clients.get(role), endpoint, role, kept, self.ledger)
            for role, endpoint in teaching.endpoints.items()
        }
        self.writer = Writer(teaching, system, rules, self.clients, self.verdicts)
        self.tally = Tally(wanted, self.ledger, settings.cap_dollars, self.writer.rejected)
        self.stopped = ""  # why the run could not go on

    async def run(self) -> None:
        """Run all chains. `stopped` and `tally.short` say why not all of them went to their end.

        Raises MixError, FileError, HubError or RowError.
        """
        vocabulary.tokenizer()
        gc.freeze()  # its vocabulary and the prompts stay: not to be looked through again and again
        for number in (signal.SIGINT, signal.SIGTERM):
            why = "interrupted; what was in flight is stored"
            asyncio.get_running_loop().add_signal_handler(number, self._stop, why)
        chains = self._chains()
        show = asyncio.create_task(self._show_progress())
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self.teaching.settings.concurrency):
                    group.create_task(self._work(chains))
        except* (ValueError, OSError, RuntimeError) as errors:  # every AetherError among them
            raise errors.exceptions[0] from None
        finally:
            show.cancel()
            for client in self.clients.values():
                await client.close()

    def export(self) -> str:
        """Write teacher/accepted/<category>.jsonl, aside and renamed; says in one line what was
        written.
        """
        folder = self.teaching.folder / "teacher" / "accepted"
        folder.mkdir(exist_ok=True)
        written = []
        for category in self.teaching.prompts:
            part = folder / f"{category}.jsonl.part"
            count = 0
            with part.open("w", encoding="utf-8") as file:
                for row in self.verdicts.accepted(category):
                    file.write(row + "\n")
                    count += 1
            part.replace(folder / f"{category}.jsonl")
            written.append(f"{category} {count:,}")
        return f"{folder}: {', '.join(written)} rows"

    def outcome(self) -> str:
        """Write what was accepted; says in lines how the run went."""
        return "\n".join(
            (
                str(self.tally),
                f"dropped: {listed(self.tally.dropped)}",
                f"calls: {listed(Counter(self.ledger.outcomes()))}",
                self.export(),
            )
        )

    def _stop(self, why: str) -> None:
        self.stopped = self.stopped or why

    def _chains(self) -> Iterator[Iterator[Job]]:
        """One chain of each category in turn, so that a cap cuts all of them alike."""
        by_category = [
            jobs.chains(self.teaching, category, self.limit, self.hub)
            for category in self.teaching.prompts
        ]
        for turn in zip_longest(*by_category):
            for chain in turn:
                if chain is not None:
                    yield chain

    async def _work(self, chains: Iterator[Iterator[Job]]) -> None:
        """Write the rows of one chain after the other, until none is left or the run is stopped."""
        for chain in chains:
            try:
                await self._write(chain)
            except Stop as stop:
                self._stop(str(stop))
            except sqlite3.Error as error:
                kept = "what was paid for before is stored, make room and run it again"
                self._stop(f"{shown(self.database.path)}: {error}; {kept}")
            if self.stopped:
                return

    async def _write(self, chain: Iterator[Job]) -> None:
        """Write the rows of a chain. Raises Stop or sqlite3.Error."""
        told: list[str] = []
        for job in chain:
            if self.stopped:
                return
            try:
                row = await self.writer.row(job, told)
            except NoReply as error:  # what comes after depends on this reply
                self.tally.cut(job, 1 + sum(1 for _ in chain), str(error))
                return
            self.tally.count(row)
            if row.question:
                told = [*told, row.question][-jobs.SHOWN :]

    async def _show_progress(self) -> None:
        """The tally on one line that is rewritten on a terminal, or a line every half minute
        elsewhere.
        """
        terminal = sys.stderr.isatty()
        while not self.offline:
            await asyncio.sleep(2 if terminal else 30)
            end = "\r" if terminal else "\n"
            print(f"  {self.tally}", file=sys.stderr, end=end, flush=True)


def _clients(teaching: Teaching) -> dict[str, Client]:
    """The endpoints as clients, by role. Raises AskingError where the environment lacks a key."""
    settings = teaching.settings
    clients = {}
    for role, endpoint in teaching.endpoints.items():
        key = key_of(endpoint.key_env, f"teacher.yaml: {role}")
        clients[role] = Client(
            Address(endpoint.url.rstrip("/"), endpoint.model, key, endpoint.provider),
            f"url, model and key_env of {role} in teacher.yaml",
            settings.concurrency,
            settings.timeout_seconds,
            settings.backoff_seconds,
        )
    return clients
