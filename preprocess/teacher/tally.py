"""How far a run is, and what the rest would cost."""

import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from common.asking.ledger import PICODOLLARS, Ledger
from common.asking.paid import IMAGE_TOKENS, PaidClient
from common.vocabulary import text_tokens
from preprocess.teacher import jobs
from preprocess.teacher.jobs import Job
from preprocess.teacher.settings import JUDGE, Teaching
from preprocess.teacher.writer import Written

SECONDS_A_TOKEN = 1 / 40  # of one request, as a dry run expects it


class Tally:
    """The counts of a run.

    Args:
        wanted: Rows that all prompts ask for.
        rejected: Replies that were no row, by reason; counted elsewhere.
    """

    def __init__(self, wanted: int, ledger: Ledger, cap_dollars: float, rejected: Counter):
        self.wanted = wanted
        self.ledger = ledger
        self.cap_dollars = cap_dollars
        self.rejected = rejected
        self.accepted = 0
        self.dropped: Counter = Counter()  # rows, by reason
        self.short: Counter = Counter()  # rows of each category that no reply came for
        self.missing: dict[str, list[Job]] = defaultdict(list)  # the job each chain was cut at
        self._started = time.monotonic()
        self._tokens_before = ledger.tokens

    def count(self, row: Written) -> None:
        """Count a row that was written or dropped."""
        if row.reason is None:
            self.accepted += 1
        else:
            self.dropped[row.reason.partition(":")[0]] += 1

    def cut(self, job: Job, rows: int, why: str) -> None:
        """Count the rows of a chain from the job on that got no reply."""
        self.missing[job.category].append(job)
        self.short[job.category] += rows
        self.dropped[f"no reply ({why}), the next run asks again"] += rows

    def __str__(self) -> str:
        dropped = sum(self.dropped.values())
        done = self.accepted + dropped
        seconds = max(time.monotonic() - self._started, 1e-3)
        minutes_left = (self.wanted - done) * seconds / max(done, 1) / 60
        tokens_a_second = (self.ledger.tokens - self._tokens_before) / seconds
        return (
            f"{done:,} of {self.wanted:,} rows: {self.accepted:,} accepted, {dropped:,} dropped; "
            f"replies rejected: {listed(self.rejected)}; {tokens_a_second:,.0f} tokens/s, "
            f"${self.ledger.dollars:.4f} of ${self.cap_dollars:g}, {minutes_left:.0f} min left"
        )


def listed(counts: Counter) -> str:
    """The counts in one line, the largest first; "none" where there are none."""
    return ", ".join(f"{name} {count:,}" for name, count in counts.most_common()) or "none"


@dataclass
class Estimate:
    """What is missing of a category, and what it would cost at one try a row."""

    category: str
    rows: int
    to_write: int
    requests: float = 0
    tokens_in: float = 0
    tokens_out: float = 0
    dollars: float = 0
    minutes: float = 0

    def add(
        self, client: PaidClient, tokens_in: float, tokens_out: float, concurrency: int
    ) -> None:
        """Add one request a missing row, of so many tokens."""
        rows = self.to_write
        self.requests += rows
        self.tokens_in += rows * tokens_in
        self.tokens_out += rows * tokens_out
        self.dollars += rows * client.priced.price(tokens_in, tokens_out) / PICODOLLARS
        self.minutes += rows * tokens_out * SECONDS_A_TOKEN / concurrency / 60


def estimates(
    teaching: Teaching, clients: dict[str, PaidClient], tally: Tally, limit: int
) -> Iterator[Estimate]:
    """The estimate of each category, after a run that asked nothing."""
    concurrency = teaching.settings.concurrency
    judging = teaching.judge
    for category, prompt in teaching.prompts.items():
        rows = jobs.size(prompt, teaching.folder, limit)
        estimate = Estimate(category, rows, tally.short[category])
        asked = _mean_prompt_tokens(tally.missing[category])
        estimate.add(clients[prompt.role], asked, prompt.reply_tokens, concurrency)
        if JUDGE in clients and not prompt.replay:
            judged = text_tokens(judging.prompt) + prompt.reply_tokens
            estimate.add(clients[JUDGE], judged, judging.reply_tokens, concurrency)
        yield estimate


def _mean_prompt_tokens(missing: list[Job]) -> float:
    if not missing:
        return 0.0
    tokens = 0
    for job in missing:
        tokens += text_tokens(job.system) + text_tokens(job.ask)
        tokens += IMAGE_TOKENS * len(job.images)
    return tokens / len(missing)
