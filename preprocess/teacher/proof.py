"""Whether a reply is a row: its structure, the gates of every row, and its proof.

A reply that fails says why in words that a teacher can act on; what stands before the colon is what is counted.
"""

import ast
import hashlib
import json
import re
import textwrap
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from pydantic import ValidationError

from common import behaviour, chat, rows, sandbox
from preprocess import gates, mix
from preprocess.rows import Conversation, Skip, Turn, to_rows
from preprocess.sources import worked
from preprocess.teacher import accepted
from preprocess.teacher.plan import Draft, Endpoint, Job, Scores

SECONDS, MEGABYTES = 10, 512  # for Python with asserts
_PYTHON = re.compile(r"^ *```(?:python|py)\b[^\n]*\n(.*?)^ *```", re.DOTALL | re.MULTILINE)
_REFUSAL = re.compile(
    r"(?i)\W*(?:i'?m sorry|i am sorry|sorry|i can(?:no|')t|i am unable|i'?m unable)\b"
)
_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")


@dataclass(frozen=True)
class Verdict:
    """`reason` is None where the reply may be accepted."""

    reason: str | None
    question: str = ""  # the first user turn, to be shown as "not again"
    text: str = ""  # what the reply said
    shown: str = ""  # the row as a judge reads it
    row: str = ""  # and as it is kept
    signed: bytes = (
        b""  # signatures of the user's turns, where the teacher wrote them, and of the reasoning
    )
    bands: tuple[
        int, ...
    ] = ()  # 64-bit names of the signatures' bands: rows that share none are not compared


class _Failed(Exception):
    pass


def judge_reply(job: Job, body: str, of: mix.Gates, prompt: str, by: Endpoint) -> Verdict:
    """The verdict on a reply's body as it came. `prompt`: the system prompt the row will have; `by`: who was asked."""
    turns, text = (), ""
    try:
        reply, text, thought = _said(body)
        turns, claim = ((_own(job, text, thought),), None) if job.replay else _drafted(job, text)
        _prove(job, turns, claim)
        _gate(job, turns, of, prompt)
    except _Failed as failed:
        return Verdict(str(failed), turns[0].user if turns else "", text)
    signed = [gates.signature("\n".join(turn.user for turn in turns))] if not job.given else []
    signed.append(gates.signature("\n".join(turn.reasoning for turn in turns)))
    shown = "\n\n".join(
        f"USER\n{t.user}\n\nREASONING\n{t.reasoning}\n\nANSWER\n{t.answer}" for t in turns
    )
    row = accepted.line(job, turns, f"{by.name}, model {reply.get('model') or by.model}")
    return Verdict(None, turns[0].user, text, shown, row, b"".join(signed), tuple(_bands(signed)))


def _said(body: str) -> tuple[dict, str, str]:
    """(the reply, its text, its thoughts where they stand apart)."""
    try:
        reply = json.loads(body)
        choice, message = reply["choices"][0], reply["choices"][0]["message"]
        text, thought = (
            message.get("content") or "",
            message.get("reasoning_content") or message.get("reasoning") or "",
        )
        (text + thought).encode()  # they are text, and text that a file can hold
        ended, refused = choice.get("finish_reason"), message.get("refusal")
    except (ValueError, KeyError, TypeError, IndexError, AttributeError):
        raise _Failed("half a reply: the body is not a chat completion") from None
    if refused or ended == "content_filter":
        raise _Failed("refused")
    if ended == "length":
        raise _Failed("cut off: it ran into max_tokens; write less")
    return reply, text, thought


def _bands(signed: list[bytes]) -> Iterator[int]:
    step = 4 * gates.BAND
    for half, text in enumerate(reversed(signed)):
        for at in range(0, len(text), step):
            named = f"{half} {at} ".encode() + text[at : at + step]
            yield int.from_bytes(hashlib.blake2b(named, digest_size=8).digest(), signed=True)


def json_object(text: str) -> str:
    """The JSON object in a text: without a fence, without thoughts before it."""
    text = text.rpartition("</think>")[2]
    text = chat.split(text).answer or text if chat.BEGIN_FINAL in text else text
    return text[text.find("{") : text.rfind("}") + 1]


def scores(body: str) -> Scores | None:
    """What a judge's reply gives, where it is one."""
    with suppress(_Failed, ValidationError):
        return Scores.model_validate_json(json_object(_said(body)[1]))
    return None


def _drafted(job: Job, text: str) -> tuple[tuple[Turn, ...], str]:
    try:
        draft = Draft.model_validate_json(json_object(text))
    except ValidationError as error:
        if _REFUSAL.match(text):
            raise _Failed("refused") from None
        first = error.errors()[0]
        raise _Failed(
            f"broken JSON: {'.'.join(map(str, first['loc'])) or 'the text'}: {first['msg']}"[:300]
        ) from None
    if len(draft.turns) != job.turns:
        raise _Failed(f"wrong number of turns: {len(draft.turns)} instead of {job.turns}")
    turns = []
    for at, said in enumerate(draft.turns):
        given = job.given[at] if job.given else None
        user = given.user if given else said.user
        reply = (
            (given and given.reasoning) or said.reasoning,
            (given and given.answer) or said.answer,
        )
        if not all(text.strip() for text in (user, *reply)):
            raise _Failed("blank text: a user turn, a reasoning or an answer is blank")
        turns.append(
            Turn(user, *reply, images=job.images, check=job.check if at == job.turns - 1 else None)
        )
    return tuple(turns), draft.claim.strip()


def _own(job: Job, text: str, thought: str) -> Turn:
    """The base model's own reply, taken apart."""
    reply = chat.split(text)
    if thought.strip():
        reasoning, answer = thought, reply.answer or text
    elif reply.status == chat.COMPLETE:
        reasoning, answer = reply.reasoning, reply.answer
    elif "</think>" in text:
        reasoning, _, answer = text.partition("</think>")
    else:
        raise _Failed("no reasoning or no final response")
    reasoning = reasoning.strip().removeprefix("<think>").removeprefix(chat.REASONING).strip()
    return Turn(job.given[0].user, reasoning, answer.strip(), job.images, job.check)


def _prove(job: Job, turns: tuple[Turn, ...], claim: str | None) -> None:
    """Raise _Failed unless the row proves what can be proved of it."""
    answer = turns[-1].answer
    if job.check and (call := job.check.get("call")):
        called = re.search(r"<tool_calls>\s*(\[.*?\])\s*</tool_calls>", answer, re.DOTALL)
        with suppress(ValueError):
            called = called and json.loads(called[1])
        if called != [call]:
            raise _Failed("wrong tool call")
    elif job.check and not ends_at(job.check, answer, claim):
        raise _Failed(
            "wrong answer: the final value is not right, or `claim` and `answer` do not both say it; work it out anew"
        )
    if job.target and (routed := behaviour.routed(answer)) != job.target:
        said = "several members" if routed is None else routed
        raise _Failed(
            f"wrong route: the last answer routes to {said}, the scenario calls for {job.target}; name it and no other"
        )
    if job.category == "nudge" or "nudge" in job.tags:
        for at, turn in enumerate(turns, 1):
            if why := behaviour.not_a_nudge(turn.answer):
                raise _Failed(f"not a nudge: the answer of turn {at} {why}")
    for code in (code for turn in turns for code in _PYTHON.findall(turn.answer)):
        _run(textwrap.dedent(code))


def ends_at(check: dict, answer: str, claim: str | None) -> bool:
    """Whether an answer ends at the known value: what it boxes and what it claims, where it does, and what it says."""
    boxed = worked._BOX.findall(answer)
    said = [*boxed[-1:], *([claim] if claim is not None else [])]
    if check["kind"] == "number":
        return all(_is(check, text) for text in said) and gates.stands(check, answer)
    plain = _plain(str(check["value"]))
    return all(_plain(text) == plain for text in said) and plain in _plain(answer)


def _is(check: dict, text: str) -> bool:
    """Whether a text holds exactly one number, and it is the known one."""
    numbers = _NUMBER.findall(text.replace("{,}", ",").replace("\\!", "").replace("−", "-"))
    return len(numbers) == 1 and gates.stands(check, numbers[0])


def _plain(latex: str) -> str:
    """A formula without what changes only its looks."""
    latex = re.sub(
        r"\\(?:left|right|displaystyle|!|,|;| )|[$\s]|\\text\{\s*\}",
        "",
        latex.replace("dfrac", "frac").replace("tfrac", "frac"),
    )
    return latex.rstrip(".")


def _run(code: str) -> None:
    try:
        tree = ast.parse(code)
        compile(tree, "<reply>", "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise _Failed(f"Python does not compile: {error}"[:200]) from None
    if any(isinstance(node, ast.Assert) for node in ast.walk(tree)):
        outcome = sandbox.run(code, seconds=SECONDS, megabytes=MEGABYTES)
        if not outcome.ok:
            raise _Failed(f"Python does not run: {outcome.reason}"[:300])


def _gate(job: Job, turns: tuple[Turn, ...], of: mix.Gates, prompt: str) -> None:
    """The gates of `make data`, so that a row that cannot be used is not accepted."""
    made = Conversation(job.id, job.category, "teacher", prompt, turns, job.tags, job.check)
    try:
        for row in to_rows(made, lambda png: f"images/{'0' * 64}.png"):
            rows.check(row)
            gates.check(row, gates.tokens(row, ()), of)
    except (Skip, rows.RowError) as error:
        raise _Failed(f"a gate: {error}"[:300]) from None
