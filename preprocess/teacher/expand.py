"""The run: chains of jobs through the teacher, their proof, the judge and the store; then the accepted rows as plain files.

Memory does not grow with the number of requests: a chain holds its last questions, the rest is in the store.
"""

import asyncio
import gc
import signal
import sqlite3
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import zip_longest
from pathlib import Path

from preprocess import gates, mix
from preprocess.teacher import plan, proof
from preprocess.teacher.endpoint import IMAGE, Endpoint, NoReply
from preprocess.teacher.store import DOLLAR, Stop, Store

TRIES = 3  # of a row: once, and twice more with the reason
SECONDS_A_TOKEN = 1 / 40  # of one request, as --dry-run expects it
SAID_ONCE = ("refused", "judge")  # how reasons begin after which a row is not asked again


class Run:
    def __init__(self, folder: Path, limit: int, hub: Path | None, offline: bool = False):
        """Raises MixError. `offline`: nothing is paid for; what is not stored is counted as missing."""
        self.folder, self.limit, self.hub, self.offline = folder, limit, hub, offline
        self.settings, self.prompts = plan.load(folder)
        self.judging = self.prompts.pop("judge")
        self.mix: mix.Mix = mix.load(folder / "mix.yaml")
        self.system = (folder / "system" / "training.md").read_text(encoding="utf-8").strip()
        uses = {"base" if prompt.replay else "teacher" for prompt in self.prompts.values()} | {
            "judge"
        }
        named = {role: getattr(self.settings, role) for role in sorted(uses)}
        self.endpoints = {
            role: Endpoint(of, role, self.settings, offline) for role, of in named.items() if of
        }
        self.wanted = sum(plan.size(prompt, folder, limit) for prompt in self.prompts.values())
        self.store = Store(
            folder / ".teacher.sqlite", self.settings.cap_dollars, self.settings.cap_tokens
        )
        for endpoint in self.endpoints.values():
            endpoint.store = self.store
        self.rows, self.rejected, self.dropped = 0, Counter(), Counter()
        self.missing: dict[str, list[plan.Job]] = defaultdict(
            list
        )  # of each chain that was cut the job it was cut at
        self.short: Counter[str] = Counter()  # rows behind those
        self.stopped, self.started, self.paid_before = "", time.monotonic(), self.store.tokens

    async def run(self) -> None:
        """Run all chains. Raises MixError; `stopped` and `short` say why not all of them went to their end."""
        gates.tokenizer()
        gc.freeze()  # its vocabulary and the prompts stay: not to be looked through again and again
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(
                number, self._stop, "interrupted; what was in flight is stored"
            )
        chains, show = self._chains(), asyncio.create_task(self._progress())
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self.settings.concurrency):
                    group.create_task(self._worker(chains))
        except* (ValueError, OSError, RuntimeError) as errors:  # MixError and RowError among them
            raise errors.exceptions[0] from None
        finally:
            show.cancel()
            for endpoint in self.endpoints.values():
                await endpoint.client.close()

    def _stop(self, why: str) -> None:
        self.stopped = self.stopped or why

    def _chains(self) -> Iterator[Iterator[plan.Job]]:
        """One chain of each category in turn, so that a cap cuts all of them alike."""
        of = self.folder, self.settings, self.limit, self.hub
        for turn in zip_longest(
            *(plan.chains(name, prompt, *of) for name, prompt in self.prompts.items())
        ):
            yield from (chain for chain in turn if chain)

    async def _worker(self, chains: Iterator) -> None:
        for chain in chains:
            told: list[str] = []
            for job in chain:
                if self.stopped:
                    return
                try:
                    question, why = await self._row(job, told)
                except (
                    NoReply
                ) as error:  # the chain ends here: what comes after depends on this reply
                    self.missing[job.category].append(job)
                    left = 1 + sum(1 for _ in chain)
                    self.short[job.category] += left
                    self.dropped[f"no reply ({error}), the next run asks again"] += left
                    break
                except Stop as error:
                    return self._stop(str(error))
                except sqlite3.Error as error:
                    return self._stop(
                        f"{self.store.path}: {error}; what was paid for before is stored, make room and run it again"
                    )
                self.rows += why is None
                self.dropped.update([why.partition(":")[0]] if why else [])
                told = [*told, question][-plan.SHOWN :] if question else told

    async def _row(self, job: plan.Job, told: list[str]) -> tuple[str, str | None]:
        """(the question first drafted, why the row was dropped or None). Raises what Endpoint.ask raises."""
        endpoint, schema, first, failed = (
            self.endpoints["base" if job.replay else "teacher"],
            plan.Draft,
            "",
            None,
        )
        for attempt in range(1, 2 if job.replay else TRIES + 1):
            longer = failed is not None and failed[1].startswith("cut off")
            body = endpoint.body(job.messages(told, failed), None if job.replay else schema, longer)
            key, reply = await endpoint.ask(body, job.version, job.category)
            reason, question, text = self.store.verdict(key) or await self._decide(
                job, key, reply, endpoint.of
            )
            first = first or question
            if reason is None:
                return first, None
            self.rejected[reason.partition(":")[0]] += 1
            if reason.startswith(SAID_ONCE):
                break
            failed = text, f"{reason} (try {attempt} of {TRIES})"
        return first, reason

    async def _decide(
        self, job: plan.Job, key: bytes, reply: str, by: plan.Endpoint
    ) -> tuple[str | None, str, str]:
        """(why it is rejected or None, its first question, its text), kept in the store."""
        look = partial(
            proof.judge_reply,
            job,
            reply,
            self.mix.gates,
            job.system if job.replay else self.system,
            by,
        )
        # To run Python takes seconds, all else less than to hand it to another thread or process.
        verdict, scores = await asyncio.to_thread(look) if "```py" in reply else look(), ""
        reason = verdict.reason or self._twin(job, verdict)
        if not reason and not job.replay and "judge" in self.endpoints:
            reason, scores = await self._judged(job, verdict)
            reason = reason or self._twin(job, verdict)  # another may have come in meanwhile
        await self.store.decide(key, job.id, job.category, replace(verdict, reason=reason), scores)
        return reason, verdict.question, verdict.text

    def _twin(self, job: plan.Job, verdict: proof.Verdict) -> str | None:
        if self.mix.gates and (
            twin := self.store.twin(
                job.id, verdict.signed, verdict.bands, self.mix.gates.near_duplicate
            )
        ):
            return f"near-duplicate: of {twin}; take another situation and other words"
        return None

    async def _judged(self, job: plan.Job, verdict: proof.Verdict) -> tuple[str | None, str]:
        """(why the judge drops it or None, its scores as it gave them)."""
        judge, route = (
            self.endpoints["judge"],
            f"It must route to {job.target}." if job.target else "",
        )
        asked = f"Category: {job.category}. {route}\n\n{verdict.shown}"
        messages = [
            {"role": "system", "content": self.judging.prompt},
            {"role": "user", "content": asked},
        ]
        for _ in range(2):
            _, reply = await judge.ask(
                judge.body(messages, plan.Scores), self.judging.version, job.category
            )
            if scores := proof.scores(reply):
                low = min(scores.voice, scores.correctness, scores.helpfulness) < self.settings.bar
                return (
                    f"judged below the bar: {scores.model_dump_json()}" if low else None,
                    scores.model_dump_json(),
                )
            messages = [*messages, {"role": "user", "content": "Reply with the JSON object alone."}]
        return "judge gave no scores", ""

    def export(self) -> str:
        """Write teacher/accepted/<category>.jsonl, aside and renamed; says in one line what was written."""
        (to := self.folder / "teacher" / "accepted").mkdir(exist_ok=True)
        written = []
        for category in self.prompts:
            part = to / f"{category}.jsonl.part"
            with part.open("w", encoding="utf-8") as file:
                count = sum(1 for row in self.store.accepted(category) if file.write(row + "\n"))
            part.replace(to / f"{category}.jsonl")
            written.append(f"{category} {count:,}")
        return f"{to}: {', '.join(written)} rows"

    def status(self) -> str:
        store, seconds, dropped = (
            self.store,
            max(time.monotonic() - self.started, 1e-3),
            sum(self.dropped.values()),
        )
        why = ", ".join(f"{reason} {count:,}" for reason, count in self.rejected.most_common())
        left = (self.wanted - self.rows - dropped) * seconds / max(self.rows + dropped, 1) / 60
        return (
            f"{self.rows + dropped:,} of {self.wanted:,} rows: {self.rows:,} accepted, {dropped:,} dropped; "
            f"replies rejected: {why or 'none'}; {(store.tokens - self.paid_before) / seconds:,.0f} tokens/s, "
            f"${store.spent / DOLLAR:.4f} of ${self.settings.cap_dollars:g}, {left:.0f} min left"
        )

    async def _progress(self) -> None:
        while not self.offline:
            await asyncio.sleep(2 if sys.stderr.isatty() else 30)
            print(
                f"  {self.status()}",
                file=sys.stderr,
                end="\r" if sys.stderr.isatty() else "\n",
                flush=True,
            )

    def estimate(self) -> Iterator[list]:
        """[category, rows, rows to write, requests, tokens in, tokens out, dollars, minutes] of what is missing, at one try a row."""
        seconds = SECONDS_A_TOKEN / self.settings.concurrency
        for name, prompt in self.prompts.items():
            short, sums = self.short[name], [0.0] * 5
            sent = [
                gates._tokens(job.system) + gates._tokens(job.ask) + IMAGE * len(job.images)
                for job in self.missing[name]
            ]
            asked = {
                "base" if prompt.replay else "teacher": (
                    sum(sent) / max(len(sent), 1),
                    prompt.reply_tokens,
                )
            }
            if "judge" in self.endpoints and not prompt.replay:
                asked["judge"] = (
                    gates._tokens(self.judging.prompt) + prompt.reply_tokens,
                    self.judging.reply_tokens,
                )
            for role, (into, out) in asked.items():
                dollars, minutes = (
                    self.endpoints[role].price(into, out) / DOLLAR,
                    out * seconds / 60,
                )
                sums = [
                    have + short * one
                    for have, one in zip(sums, (1, into, out, dollars, minutes), strict=True)
                ]
            yield [name, plan.size(prompt, self.folder, self.limit), short, *sums]
