"""What a final answer is worth: one pure function a kind of suite, from (final reply, what is expected) to named measurements.

A reply that is truncated or unanswered is never scored: `measure` gives it a status and nothing else. Raise a kind's VERSION
whenever it would score some reply differently.
"""

from __future__ import annotations

import re
from functools import cache, lru_cache

import yaml

from common import answers, behaviour, chat, sandbox
from common.answers.mathematics import same_mathematics
from common.files import ROOT

VERSION = {
    "voice": 1,
    "identity": 2,
    "nudge": 1,
    "routing": 1,
    "number": 2,
    "boxed": 2,
    "answer": 2,
    "exam": 2,
    "looking": 2,
    "code": 1,
    "design": 1,
    "label": 1,
}
CODE_SECONDS, CODE_MEGABYTES = 10, 512
_FENCE = re.compile(r"^[ \t]*```([^\n`]*)\n(.*?)^[ \t]*```", re.DOTALL | re.MULTILINE)


@cache
def settings() -> dict:
    """suites.yaml, with the behaviours of the voice that are seen in a single reply under `behaviours`."""
    found = yaml.safe_load((ROOT / "evaluation" / "suites.yaml").read_text(encoding="utf-8"))
    targets = yaml.safe_load((ROOT / found["targets"]).read_text(encoding="utf-8"))["targets"]
    seen = {
        name: target
        for name, target in targets.items()
        if not target.get("labels") and not target.get("turns")
    }
    return found | {"behaviours": seen}


def status(text: str, stop: str) -> tuple[str, chat.Reply]:
    """(complete | truncated | unanswered, the reply taken apart). `stop` is why the server stopped; max_tokens cuts a reply."""
    reply = chat.split(text)
    if reply.status == chat.COMPLETE and reply.answer:
        return chat.COMPLETE, reply
    cut = stop == "max_tokens" or reply.status == chat.TRUNCATED
    return chat.TRUNCATED if cut and reply.status != chat.COMPLETE else chat.UNANSWERED, reply


def measure(kind: str, text: str, stop: str, expect: dict) -> dict:
    """Status and form of a reply and, where it is complete, what its kind of suite measures."""
    if kind == "label":  # a judge's reply, in a form of its own
        return {"status": chat.COMPLETE, "verdict": verdict(text)}
    state, reply = status(text, stop)
    found = {
        "status": state,
        "well_formed": state == chat.COMPLETE and not reply.problems,
        "problems": list(reply.problems),
    }
    return found | (SCORERS[kind](reply, expect) if state == chat.COMPLETE else {})


def voice(reply: chat.Reply, expect: dict) -> dict:
    """The dataset's own behaviours, directness and form."""
    text = f"{reply.reasoning}\n{reply.answer}"
    found = {}
    for name, target in settings()["behaviours"].items():
        where = reply.reasoning if target.get("phrases_in") == "reasoning" else text
        long_enough = len(reply.reasoning.split()) >= target.get("reasoning_words", 0)
        found[name] = long_enough and (
            not target.get("phrases") or any(re.search(p, where) for p in target["phrases"])
        )
    words = {
        "reasoning_words": len(reply.reasoning.split()),
        "answer_words": len(reply.answer.split()),
    }
    return found | {"direct": direct(reply.answer), "form": not reply.problems} | words


def direct(answer: str) -> bool:
    """Whether an answer opens with a short sentence of its own, not with throat-clearing or flattery."""
    rules = settings()["direct"]
    first = re.split(r"(?<=[.!?:])\s|\n", answer.strip()[:2000], maxsplit=1)[0]
    return (
        not re.search(rules["not_opening"], answer[:200])
        and 0 < len(first.split()) <= rules["first_sentence_words"]
    )


def identity(reply: chat.Reply, expect: dict) -> dict:
    """Any pattern of `must` stands in the answer and none of `must_not`."""

    def found(key: str) -> bool:
        return any(
            re.search(pattern, reply.answer, re.IGNORECASE) for pattern in expect.get(key, [])
        )

    return {"correct": found("must") and not found("must_not")}


def nudge(reply: chat.Reply, expect: dict) -> dict:
    return {"nudges": behaviour.not_a_nudge(reply.answer) is None}


def routing(reply: chat.Reply, expect: dict) -> dict:
    target = behaviour.routed(reply.answer)
    right = target == expect["target"]
    why = right and bool(re.search(settings()["reason"], behaviour.prose(reply.answer)))
    return {"correct": right, "right_and_why": why, "routed": target or "several"}


def number(reply: chat.Reply, expect: dict) -> dict:
    """A number within its relative tolerance."""
    return _stated(answers.stated_number(reply.answer), expect | {"kind": "number"}, reply.answer)


def boxed(reply: chat.Reply, expect: dict) -> dict:
    """The result in the last box, or after `Answer:` where there is no box, as mathematics."""
    found = answers.boxed(reply.answer)
    if found is None:
        found = answers.marked(reply.answer)
    if found is None:
        return {"correct": False, "read": False}
    return {"correct": same_mathematics(expect["value"], found), "read": True}


def answer(reply: chat.Reply, expect: dict) -> dict:
    """The `answer` of a row: a number within its tolerance, one of several choices, or a sequence of words."""
    if expect["kind"] == "number":
        return number(reply, expect)
    if expect.get("choices"):
        found = answers.stated_choice(reply.answer, expect["choices"])
        return _stated(found, expect, reply.answer)
    return {"correct": answers.states_text(reply.answer, expect["value"]), "read": True}


def exam(reply: chat.Reply, expect: dict) -> dict:
    """A benchmark's question: the letter of an option where there are options, else its answer."""
    if not expect.get("options"):
        return answer(reply, expect)
    found = answers.stated_option(reply.answer, expect["options"])
    return {"correct": found == expect["value"], "read": not isinstance(found, answers.NotRead)}


def _stated(found: object, expect: dict, text: str) -> dict:
    read = not isinstance(found, answers.NotRead)
    return {"correct": read and answers.is_value(expect, text), "read": read}


def looking(reply: chat.Reply, expect: dict) -> dict:
    """Whether a picture was seen right, and how that was said."""
    return answer(reply, expect) | voice(reply, expect)


def code(reply: chat.Reply, expect: dict) -> dict:
    block = code_block(reply.answer, expect.get("entry"))
    if block is None:
        return {"correct": False, "why": "no Python code"}
    outcome = _run(f"{block}\n\n{expect['tests']}")
    return {"correct": outcome.ok, "why": outcome.reason[:200]}


@lru_cache(maxsize=256)
def _run(source: str) -> sandbox.Outcome:
    return sandbox.run(source, CODE_SECONDS, CODE_MEGABYTES)


def code_block(text: str, entry: str | None) -> str | None:
    """The last fenced Python block that defines `entry`; without one, the longest. None where there is no block."""
    blocks = [
        body
        for language, body in _FENCE.findall(text)
        if language.strip().lower() in ("", "python", "py", "python3")
    ]
    defines = [
        b
        for b in blocks
        if entry
        and re.search(
            rf"^(?:async +def|def|class) +{re.escape(entry)}\b|^{re.escape(entry)} *=", b, re.M
        )
    ]
    return defines[-1] if defines else max(blocks, key=len, default=None)


def design(reply: chat.Reply, expect: dict) -> dict:
    """Nothing a program can tell; the judge reads `expect['rubric']` later, one point a question."""
    return {}


def verdict(text: str) -> bool | None:
    """A judge's yes or no: the last line that holds nothing else, thinking of any kind left out. None where there is none."""
    final = chat.split(text).answer or text.rpartition("</think>")[2]
    for line in reversed(final.strip().splitlines()[-3:]):
        if match := re.fullmatch(
            r"\W*(?:(?:verdict|answer)\W+)?(yes|no)\W*", line.strip(), re.IGNORECASE
        ):
            return match[1].lower() == "yes"
    return None


SCORERS = {
    f.__name__: f
    for f in (voice, identity, nudge, routing, number, boxed, answer, exam, looking, code, design)
}
