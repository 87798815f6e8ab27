"""Writing one row: ask for it, prove it, compare it, have it judged, and ask again with the reason
where it failed.
"""

import asyncio
from collections import Counter
from dataclasses import dataclass, field, replace
from functools import partial

from common.asking.paid import PaidClient, Request
from preprocess.mix import Gates
from preprocess.teacher.jobs import Job
from preprocess.teacher.proof import Draft, Scores, Verdict, prove, scores_in
from preprocess.teacher.settings import JUDGE, Teaching
from preprocess.teacher.verdicts import Decided, Verdicts

TRIES = 3  # of a row: once, and twice more with the reason
ASKED_ONCE = ("refused", "judge")  # how reasons begin after which a row is not asked again
CUT_OFF = "cut off"


@dataclass(frozen=True)
class Written:
    """How the writing of a row ended: the question that was drafted first, and why the row was
    dropped, if it was.
    """

    question: str
    reason: str | None


@dataclass
class Writer:
    """Writes the rows of a teacher.

    Args:
        teaching: The prompts.
        system: The system prompt that the rows will have.
        gates: What every row must pass; None for a dataset without gates.
        clients: By role: teacher, judge, base.
        verdicts: Where what was decided is kept.
    """

    teaching: Teaching
    system: str
    gates: Gates | None
    clients: dict[str, PaidClient]
    verdicts: Verdicts
    # Replies, by the first words of the reason.
    rejected: Counter = field(default_factory=Counter)

    async def row(self, job: Job, told: list[str]) -> Written:
        """Write the row of a job;

        `told`: earlier questions of its chain. Raises what PaidClient.ask raises.
        """
        client = self.clients["base" if job.replay else "teacher"]
        schema = None if job.replay else Draft
        tries = 1 if job.replay else TRIES
        first_question = ""
        failed = None
        for attempt in range(1, tries + 1):
            longer = failed is not None and failed[1].startswith(CUT_OFF)
            messages = job.messages(told, failed)
            request = Request(messages, job.version, job.category, schema, longer)
            key, body = await client.ask(request)
            decided = self.verdicts.find(key) or await self._decide(job, key, body)
            first_question = first_question or decided.question
            if decided.reason is None:
                return Written(first_question, None)
            self.rejected[decided.reason.partition(":")[0]] += 1
            if decided.reason.startswith(ASKED_ONCE):
                break
            failed = (decided.text, f"{decided.reason} (try {attempt} of {TRIES})")
        return Written(first_question, decided.reason)

    async def _decide(self, job: Job, key: bytes, body: str) -> Decided:
        """The verdict on a reply, kept in the store."""
        endpoint = self.teaching.endpoints["base" if job.replay else "teacher"]
        system = job.system if job.replay else self.system
        look = partial(prove, job, body, self.gates, system, endpoint)
        # To run Python or to compare formulas takes seconds, all else less than a thread does.
        formula = job.check is not None and job.check["kind"] == "latex"
        slow = formula or "```py" in body
        verdict = await asyncio.to_thread(look) if slow else look()
        reason = verdict.reason or self._twin(job, verdict)
        scores = ""
        if reason is None and not job.replay and JUDGE in self.clients:
            reason, scores = await self._judge(job, verdict)
            reason = reason or self._twin(job, verdict)  # another may have come in meanwhile
        verdict = replace(verdict, reason=reason)
        return await self.verdicts.keep(key, job.id, job.category, verdict, scores)

    def _twin(self, job: Job, verdict: Verdict) -> str | None:
        if self.gates is None:
            return None
        twin = self.verdicts.twin(job.id, verdict, self.gates.near_duplicate)
        if twin is None:
            return None
        return f"near-duplicate: of {twin}; take another situation and other words"

    async def _judge(self, job: Job, verdict: Verdict) -> tuple[str | None, str]:
        """(why the judge drops the row or None, its scores as it gave them)."""
        judging = self.teaching.judge
        route = f"It must route to {job.target}." if job.target else ""
        asked = f"Category: {job.category}. {route}\n\n{verdict.shown}"
        messages = [
            {"role": "system", "content": judging.prompt},
            {"role": "user", "content": asked},
        ]
        for _ in range(2):
            request = Request(messages, judging.version, job.category, Scores)
            _, body = await self.clients[JUDGE].ask(request)
            scores = scores_in(body)
            if scores is not None:
                told = scores.model_dump_json()
                low = scores.lowest < self.teaching.settings.bar
                return (f"judged below the bar: {told}" if low else None), told
            messages = [*messages, {"role": "user", "content": "Reply with the JSON object alone."}]
        return "judge gave no scores", ""
