"""The formulas behind the problems, one function a family: the parameters in, the one asked number out.

Rates are per second, `_ms` milliseconds, `_s` seconds, `_pct` percent; a month has 30 days. Given exact numbers (int or Fraction)
they compute exactly. The worked solutions derive the same numbers another way; see problems.py.
"""

from __future__ import annotations

from math import ceil

MONTH_MINUTES = 30 * 24 * 60
DAY_SECONDS = 86_400


def littles_law(rate, wait_ms, work_ms):
    """Mean number in flight: L = λ·W (Little 1961)."""
    return rate * (wait_ms + work_ms) / 1000


def pool_per_pod(rate, hold_ms, busy_pct, pods):
    """Connections each pod's pool needs so that no more than `busy_pct` of them are in use on average."""
    return ceil(rate * hold_ms / 10 / busy_pct / pods)


def fanout_tail(shards, slow_pct):
    """Percent of requests that meet at least one slow answer among independent shards."""
    return 100 * (1 - (1 - slow_pct / 100) ** shards)


def retry_layers(rate, client, gateway, service):
    """Worst-case calls/s at the bottom when each layer makes up to so many attempts: attempts multiply."""
    return rate * client * gateway * service


def retry_load(rate, failure_pct, retries):
    """Mean calls/s with independent failures and at most `retries` retries: λ·(1 + p + … + p^retries)."""
    return sum(rate * (failure_pct / 100) ** attempt for attempt in range(int(retries) + 1))


def backlog_drain(rate, capacity, outage_min):
    """Minutes from the end of an outage until the queue is empty, while new work keeps arriving."""
    return outage_min * rate / (capacity - rate)


def buffer_fill(buffer_mb, item_kb, inflow, outflow):
    """Seconds until a buffer of whole-item slots overflows (1 MB = 1,000 kB)."""
    return buffer_mb * 1000 / item_kb / (inflow - outflow)


def token_bucket(burst, refill, sent, seconds):
    """Requests rejected in a steady burst against a bucket that starts full."""
    return (sent - refill) * seconds - burst


def timeout_budget(deadline_ms, overhead_ms, backoff_ms, attempts):
    """Largest timeout (ms) for each attempt, with a doubling pause between attempts, inside one deadline."""
    pauses = sum(backoff_ms * 2**pause for pause in range(int(attempts) - 1))
    return (deadline_ms - overhead_ms - pauses) / attempts


def smallest_batch(rate, fixed_ms, item_ms):
    """Smallest batch whose throughput 1000·n / (fixed + n·item) is at least the arrival rate."""
    return ceil(rate * fixed_ms / (1000 - rate * item_ms))


def cache_break_even(reads_m, read_price, rent):
    """Hit ratio (percent) at which a cache's monthly rent equals the reads it saves (price per million reads)."""
    return 100 * rent / (reads_m * read_price)


def cache_miss_load(rate, hit_pct, drop):
    """Factor by which reads behind a cache grow when the hit ratio falls by `drop` percentage points."""
    return (rate * (100 - hit_pct + drop)) / (rate * (100 - hit_pct))


def event_loop_ceiling(work_ms, blocking_ms, share_pct):
    """Requests/s one event loop can take when a share of requests blocks it."""
    return 100_000 / (100 * work_ms + share_pct * blocking_ms)


def semaphore_waves(jobs, limit, each_ms):
    """Seconds for equal jobs under a concurrency limit."""
    return -(-jobs // limit) * each_ms / 1000


def partition_count(rate, growth_pct, handle_ms, pods):
    """Partitions so that one consumer each keeps up after growth, rounded up to a multiple of the pods."""
    return pods * ceil(rate * (100 + growth_pct) * handle_ms / 100_000 / pods)


def consumer_lag(lag, consumers, partitions, each, rate):
    """Minutes until a consumer group has caught up; a partition feeds one consumer."""
    return lag / (each * min(consumers, partitions) - rate) / 60


def availability_chain(services, each_pct, own_pct):
    """Minutes down a month when every one of the services, and our own, must be up."""
    return MONTH_MINUTES * (1 - own_pct * each_pct**services / 100 ** (services + 1))


def redundant_shared(copies, copy_pct, shared_pct):
    """Minutes down a month of independent copies, any one of which suffices, behind one shared part."""
    return MONTH_MINUTES * (1 - shared_pct / 100 * (1 - (1 - copy_pct / 100) ** copies))


def queue_response(rate, service_ms):
    """Mean response time (ms) of an M/M/1 queue: 1 / (μ - λ)."""
    return 1000 / (1000 / service_ms - rate)


def cost_per_million(price_hour, rate, busy_pct):
    """Dollars per million requests of an instance that is busy only part of its paid time."""
    return price_hour * 10**6 / (3600 * rate * busy_pct / 100)


def polling_waste(clients, interval_s, updates_day):
    """Polls/s that bring nothing, when every update is met by one poll."""
    return clients * (DAY_SECONDS / interval_s - updates_day) / DAY_SECONDS


def pipeline_bottleneck(a_workers, a_ms, b_workers, b_ms, c_workers, c_ms):
    """Items/s of three stages in a row: the least of workers / time."""
    return 1000 * min(a_workers / a_ms, b_workers / b_ms, c_workers / c_ms)


def await_graph(first_ms, b_ms, after_b_ms, c_ms, last_ms):
    """Milliseconds of: first, then (b followed by after_b) beside c, then last: the longest path."""
    return max(first_ms + b_ms + after_b_ms + last_ms, first_ms + c_ms + last_ms)


def error_budget(slo_pct, spent_pct, error_pct):
    """Minutes until the rest of a 30-day error budget is gone at a constant error share and constant traffic."""
    return MONTH_MINUTES * (100 - slo_pct) * (100 - spent_pct) / 100 / error_pct


def hedged_fanout(shards, slow_pct):
    """Percent of requests still slow when every slow shard call is answered by an independent second try."""
    return 100 * (1 - (1 - (slow_pct / 100) ** 2) ** shards)


def pooled_queue(rate, service_ms):
    """Mean response time (ms) of M/M/2, one queue for two servers: s / (1 - ρ²)."""
    load = rate * service_ms / 2000
    return service_ms / (1 - load**2)


def hot_key(shards, shard_capacity, hot_pct):
    """Total requests/s when one key's shard fills first: it serves the key and its even part of the rest."""
    return shard_capacity * 100 * shards / (hot_pct * shards + 100 - hot_pct)


def bandwidth_delay(mbit, rtt_ms, chunk_kb):
    """Chunks in flight that keep a link full: bandwidth times round trip (1 kB = 1,000 bytes)."""
    return ceil(mbit * rtt_ms / 8 / chunk_kb)


def serverless_break_even(rent, call_price, run_ms, memory_gb, gb_second):
    """Million calls a month at which paying per call costs as much as the rent (call price per million)."""
    return rent / (call_price + 1000 * run_ms * memory_gb * gb_second)


def autoscale_headroom(ramp, boot_s, each):
    """Spare instances that carry a ramp (requests/s gained per minute) while the next ones boot."""
    return ceil(ramp * boot_s / 60 / each)
