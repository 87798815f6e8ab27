"""The run: chains of jobs through the teacher, their proof, the judge and the store; then the accepted rows as plain files.

Memory does not grow with the number of requests: a chain holds its last questions, the rest is in the store.
"""

import asyncio
import multiprocessing
import os
import signal
import sqlite3
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path

from preprocess import gates, mix
from preprocess.teacher import accepted, plan, proof
from preprocess.teacher.endpoint import Endpoint, GaveUp, Stop, Unpaid
from preprocess.teacher.store import DOLLAR, CapReached, Store

TRIES = 3  # of a row: once, and twice more with the reason
WORKERS = 2  # processes that look at replies
SECONDS_A_TOKEN = 1 / 40  # of one request, until some are measured
IMAGE = 4160  # tokens, at most


class Run:
    def __init__(self, folder: Path, only: list[str] | None, limit: int | None, hub: Path | None, offline: bool = False):
        """Raises MixError. `offline`: nothing is paid for; what is not stored is counted as missing."""
        self.folder, self.offline = folder, offline
        self.settings, self.prompts = plan.load(folder, only)
        self.judging = self.prompts.pop("judge")
        self.mix: mix.Mix = mix.load(folder / "mix.yaml")
        self.system = (folder / "system" / "training.md").read_text(encoding="utf-8").strip()
        make = partial(Endpoint, settings=self.settings, offline=offline)
        uses = {"base" if prompt.replay else "teacher" for prompt in self.prompts.values()} | {"judge"}
        named = {role: getattr(self.settings, role) for role in ("teacher", "judge", "base")}
        self.endpoints = {role: make(of, role) for role, of in named.items() if of and role in uses}
        self.of = limit, hub
        self.store = Store(folder / ".teacher.sqlite", self.settings.cap_dollars, self.settings.cap_tokens)
        for endpoint in self.endpoints.values():
            endpoint.store = self.store
        self.wanted = sum(plan.size(prompt, folder, limit) for prompt in self.prompts.values())
        self.rows, self.rejected, self.dropped = 0, Counter(), Counter()
        self.missing: dict[str, list[plan.Job]] = defaultdict(list)  # offline: of each cut chain the job it was cut at
        self.short: Counter[str] = Counter()  # offline: rows behind those
        self.stopped, self.gave_up, self.recheck, self.done = "", False, False, 0
        self.started, self.paid_before = time.monotonic(), self.store.tokens

    def run(self, recheck: bool = False) -> None:
        """Run all chains. Raises MixError; `stopped` says why not all of them went to their end."""
        self.recheck = recheck
        gates.tokenizer()
        with ProcessPoolExecutor(WORKERS, multiprocessing.get_context("fork"), _end_with_parent) as self.pool:
            self.pool.submit(int).result()  # forked here, before there are threads and connections
            asyncio.run(self._all())

    async def _all(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, self._stop, "interrupted; what was in flight is stored")
        chains, show = self._chains(), asyncio.create_task(self._progress())
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self.settings.concurrency):
                    group.create_task(self._worker(chains))
        except* mix.MixError as errors:
            raise errors.exceptions[0] from None
        finally:
            show.cancel()
            for client in (client for endpoint in self.endpoints.values() for client in endpoint.clients):
                await client.close()

    def _stop(self, why: str) -> None:
        self.stopped = self.stopped or why

    def _chains(self) -> Iterator[Iterator[plan.Job]]:
        """One chain of each category in turn, so that a cap cuts all of them alike."""
        left = [plan.chains(name, prompt, self.folder, self.settings, self.of) for name, prompt in self.prompts.items()]
        while left:
            for chains in list(left):
                if (chain := next(chains, None)) is None:
                    left.remove(chains)
                else:
                    yield chain

    async def _worker(self, chains: Iterator) -> None:
        for chain in chains:
            told: list[str] = []
            for job in chain:
                if self.stopped:
                    return
                try:
                    question, why = await self._row(job, told)
                except Unpaid:
                    self.missing[job.category].append(job)
                    self.short[job.category] += 1 + sum(1 for _ in chain)
                    break
                except GaveUp as error:  # the chain ends here: what comes after depends on this reply
                    self.gave_up = True
                    self.dropped[f"no reply ({error}); the next run asks again"] += 1 + sum(1 for _ in chain)
                    break
                except CapReached:
                    cap = f"${self.settings.cap_dollars:g} or {self.settings.cap_tokens:,} tokens"
                    return self._stop(f"the cap of {cap} is reached: the next request could pass it")
                except Stop as error:
                    return self._stop(str(error))
                except BrokenProcessPool:
                    return self._stop("a process that looks at replies was killed; what was paid for is stored, run it again")
                except sqlite3.Error as error:
                    return self._stop(f"{self.store.path}: {error}")
                self.done += 1
                if why:
                    self.dropped[why.partition(":")[0]] += 1
                else:
                    self.rows += 1
                told = [*told, question][-plan.SHOWN :] if question else told

    async def _row(self, job: plan.Job, told: list[str]) -> tuple[str, str | None]:
        """(the question first drafted, why the row was dropped or None). Raises what Endpoint.ask raises."""
        endpoint, failed, longer, first = self.endpoints["base" if job.replay else "teacher"], None, False, None
        for attempt in range(1, 2 if job.replay else TRIES + 1):
            body = endpoint.body(job.messages(told, failed), None if job.replay else plan.Draft, longer)
            key, reply = await endpoint.ask(body, job.version, job.category, job.id)
            decided = None if self.recheck else self.store.verdict(key)
            if decided and decided[0] is None:
                return (decided[1] if first is None else first), None
            # Whatever is decided already, the text of a failed reply is needed to ask again.
            verdict = await self._looked_at(job, reply)
            first = verdict.question if first is None else first
            reason, final = verdict.reason, verdict.final
            if decided:
                reason, final = decided[0], final or decided[0].startswith("judge")
            else:
                reason, final = await self._decide(job, key, verdict)
            if reason is None:
                return first, None
            self.rejected[reason.partition(":")[0]] += 1
            if final:
                break
            failed, longer = (verdict.text, f"{reason} (try {attempt} of {TRIES})"), verdict.cut_off
        return first or "", reason

    async def _looked_at(self, job: plan.Job, reply: str) -> proof.Verdict:
        work = partial(proof.judge_reply, job, reply, self.mix.gates, job.system if job.replay else self.system)
        return await asyncio.get_running_loop().run_in_executor(self.pool, work)

    async def _decide(self, job: plan.Job, key: bytes, verdict: proof.Verdict) -> tuple[str | None, bool]:
        """(why it is rejected or None, whether for good), kept in the store."""
        reason, scores, row, final = verdict.reason, "", "", verdict.final
        if reason is None:
            reason = self._twin(job, verdict)
        if reason is None and not job.replay and "judge" in self.endpoints:
            reason, scores = await self._judged(job, verdict)
            final = reason is not None
        reason = reason or (None if verdict.reason else self._twin(job, verdict))  # another may have come in meanwhile
        if reason is None:
            endpoint = self.endpoints["base" if job.replay else "teacher"].of
            teacher = f"{endpoint.name}, model {verdict.model or endpoint.model}"
            row = accepted.line(job, verdict.turns, teacher, job.system if job.replay else "")
        self.store.decide(key, job.id, job.category, reason, verdict.question, scores, row, verdict.signed)
        return reason, final

    def _twin(self, job: plan.Job, verdict: proof.Verdict) -> str | None:
        if self.mix.gates and (twin := self.store.twin(job.id, verdict.signed, self.mix.gates.near_duplicate)):
            return f"near-duplicate: of {twin}; take another situation and other words"
        return None

    async def _judged(self, job: plan.Job, verdict: proof.Verdict) -> tuple[str | None, str]:
        """(why the judge drops it or None, its scores as it gave them)."""
        judge, said = (
            self.endpoints["judge"],
            [f"USER\n{t.user}\n\nREASONING\n{t.reasoning}\n\nANSWER\n{t.answer}" for t in verdict.turns],
        )
        route = f"It must route to {job.target}." if job.target else ""
        asked = "\n\n".join([f"Category: {job.category}. {route}", *said])
        messages = [{"role": "system", "content": self.judging.prompt}, {"role": "user", "content": asked}]
        for _ in range(2):
            _, reply = await judge.ask(judge.body(messages, plan.Scores), self.judging.version, job.category, job.id)
            if scores := proof.scores(reply):
                low = min(scores.voice, scores.correctness, scores.helpfulness) < self.settings.bar
                return f"judged below the bar: {scores.model_dump_json()}" if low else None, scores.model_dump_json()
            messages = [*messages, {"role": "user", "content": "Reply with the JSON object alone."}]
        return "judge gave no scores", ""

    def export(self) -> str:
        """Write teacher/accepted/<category>.jsonl, aside and renamed; says in one line what was written."""
        (to := self.folder / "teacher" / "accepted").mkdir(exist_ok=True)
        written = []
        for category in self.prompts:
            count, part = 0, to / f"{category}.jsonl.part"
            with part.open("w", encoding="utf-8") as file:
                for row in self.store.accepted(category):
                    count += 1
                    file.write(row + "\n")
            part.replace(to / f"{category}.jsonl")
            written.append(f"{category} {count:,}")
        return f"{to}: {', '.join(written)} rows"

    def status(self) -> str:
        store, seconds = self.store, max(time.monotonic() - self.started, 1e-3)
        why = ", ".join(f"{reason} {count:,}" for reason, count in self.rejected.most_common())
        left = (self.wanted - self.done) * seconds / max(self.done, 1) / 60
        return (
            f"{self.done:,} of {self.wanted:,} rows: {self.rows:,} accepted, {sum(self.dropped.values()):,} dropped; "
            f"replies rejected: {why or 'none'}; {(store.tokens - self.paid_before) / seconds:,.0f} tokens/s, "
            f"${store.spent / DOLLAR:.4f} of ${self.settings.cap_dollars:g}, {left:.0f} min left"
        )

    async def _progress(self) -> None:
        while not self.offline:
            await asyncio.sleep(2 if sys.stderr.isatty() else 30)
            print(f"  {self.status()}", file=sys.stderr, end="\r" if sys.stderr.isatty() else "\n", flush=True)

    def estimate(self) -> Iterator[list]:
        """[category, rows, rows to write, requests, tokens in, tokens out, dollars, minutes, what it rests on] of what is missing."""
        for name, prompt in self.prompts.items():
            short, sums, basis = self.short[name], [0.0] * 5, set()
            for role in ["base"] if prompt.replay else [role for role in ("teacher", "judge") if role in self.endpoints]:
                of, endpoint = self.judging if role == "judge" else prompt, self.endpoints[role]
                measured = self.store.measured(name, role)
                out, seconds = measured or (of.reply_tokens, of.reply_tokens * SECONDS_A_TOKEN)
                sent = [_tokens(job.system, job.ask) + IMAGE * len(job.images) for job in self.missing[name]]
                into = _tokens(of.prompt) + prompt.reply_tokens if role == "judge" else sum(sent) / max(len(sent), 1)
                dollars, minutes = endpoint.price(into, out) / DOLLAR, seconds / self.settings.concurrency / 60
                sums = [have + short * one for have, one in zip(sums, (1, into, out, dollars, minutes), strict=True)]
                basis.add("measured" if measured else "assumed")
            yield [name, plan.size(prompt, self.folder, self.of[0]), short, *sums, " and ".join(sorted(basis))]


def _end_with_parent() -> None:
    """A worker whose parent was killed would wait for work for ever; Ctrl-C, which reaches it too, is the parent's to answer."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()


def _tokens(*texts: str) -> int:
    return sum(map(gates._tokens, texts))
