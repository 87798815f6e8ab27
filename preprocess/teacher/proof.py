"""Whether a reply is a row: its structure, the gates of every row, and its proof.

A reply that fails says why in words that a teacher can act on; what stands before the colon is what
is counted.
"""

import ast
import hashlib
import re
import textwrap
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from pydantic import Field, ValidationError

from common import behaviour, chat, rows, sandbox, tools
from common.asking.replies import CUT_OFF, REFUSED, Completion, NoCompletion, completion_of
from common.schema import Part
from preprocess import gates
from preprocess.duplicates import BAND, minhash
from preprocess.mix import Gates
from preprocess.rows import Conversation, Skip, Turn, to_rows
from preprocess.sources import accepted
from preprocess.teacher.answers import ends_at
from preprocess.teacher.jobs import Job
from preprocess.teacher.settings import Endpoint

SECONDS = 10  # for Python with asserts
MEGABYTES = 512
SHOWN_CHARACTERS = 300  # of a reason that a program gives
SHOWN_OF_COMPILER = 200
_PYTHON = re.compile(
    r"^ *```(?:python|py)\b(?!\s+no-run)[^\n]*\n(.*?)^ *```", re.DOTALL | re.MULTILINE
)
_REFUSAL = re.compile(
    r"(?i)\W*(?:i'?m sorry|i am sorry|sorry|i can(?:no|')t|i am unable|i'?m unable)\b"
)


# Draft and Scores are sent as JSON schemas, their docstrings too: another word in them is another
# request, and is paid for again.


class Exchange(Part):
    user: str
    reasoning: str
    answer: str


class Draft(Part):
    """What a teacher replies with."""

    turns: list[Exchange]
    claim: str  # the final value, where the row has one


class Scores(Part):
    """What a judge replies with, 1-5 each."""

    why: str
    voice: int = Field(ge=1, le=5)
    correctness: int = Field(ge=1, le=5)
    helpfulness: int = Field(ge=1, le=5)

    @property
    def lowest(self) -> int:
        return min(self.voice, self.correctness, self.helpfulness)


@dataclass(frozen=True)
class Verdict:
    """What a program finds of a reply.

    Args:
        reason: Why it is no row; None where it may be accepted.
        question: The first user turn, to be shown as "not again".
        text: What the reply said.
        shown: The row as a judge reads it.
        row: The row as it is kept.
        signatures: uint32 of the user's turns, where the teacher wrote them, and of the reasoning.
        bands: 64-bit names of the signatures' bands: rows that share none are not compared.
    """

    reason: str | None
    question: str = ""
    text: str = ""
    shown: str = ""
    row: str = ""
    signatures: bytes = b""
    bands: tuple[int, ...] = ()


class _Failed(Exception):
    """The reply is no row, for the reason in the text."""


def prove(job: Job, body: str, of: Gates | None, system: str, by: Endpoint) -> Verdict:
    """The verdict on a reply's body as it came.

    Args:
        of: The gates of the dataset.
        system: The system prompt that the row will have.
        by: Who was asked.
    """
    turns: tuple[Turn, ...] = ()
    text = ""
    try:
        completion = _completed(body)
        text = completion.text
        claim = None
        if job.replay:
            turns = (_own_reply(job, completion),)
        else:
            turns, claim = _drafted(job, text)
        _check_proof(job, turns, claim)
        _check_gates(job, turns, of, system)
    except _Failed as failed:
        return Verdict(str(failed), turns[0].user if turns else "", text)
    signed = []
    if not job.given:
        signed.append(minhash("\n".join(turn.user for turn in turns)))
    signed.append(minhash("\n".join(turn.reasoning for turn in turns)))
    return Verdict(
        reason=None,
        question=turns[0].user,
        text=text,
        shown="\n\n".join(map(_as_read, turns)),
        row=accepted.line(job, turns, f"{by.name}, model {completion.model or by.model}"),
        signatures=b"".join(signed),
        bands=tuple(_bands(signed)),
    )


def scores_in(body: str) -> Scores | None:
    """The scores in a judge's reply; None where it gives none."""
    with suppress(_Failed, ValidationError):
        return Scores.model_validate_json(json_object(_completed(body).text))
    return None


def json_object(text: str) -> str:
    """The JSON object in a text: without a fence, without thoughts before it."""
    text = text.rpartition("</think>")[2]
    if chat.BEGIN_FINAL in text:
        text = chat.split(text).answer or text
    return text[text.find("{") : text.rfind("}") + 1]


def _completed(body: str) -> Completion:
    """The completion in a body. Raises _Failed where it is none, refused or cut off."""
    try:
        completion = completion_of(body)
    except NoCompletion as error:
        raise _Failed(f"half a reply: {error}") from None
    if completion.ended == REFUSED:
        raise _Failed("refused")
    if completion.ended == CUT_OFF:
        raise _Failed("cut off: it ran into max_tokens; write less")
    return completion


def _drafted(job: Job, text: str) -> tuple[tuple[Turn, ...], str]:
    """(the turns of a draft, what it claims). Raises _Failed."""
    try:
        draft = Draft.model_validate_json(json_object(text))
    except ValidationError as error:
        if _REFUSAL.match(text):
            raise _Failed("refused") from None
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the text"
        raise _Failed(f"broken JSON: {place}: {first['msg']}"[:SHOWN_CHARACTERS]) from None
    if len(draft.turns) != job.turns:
        raise _Failed(f"wrong number of turns: {len(draft.turns)} instead of {job.turns}")
    turns = []
    for number, exchange in enumerate(draft.turns):
        last = number == job.turns - 1
        turns.append(_turn(job, number, exchange, job.check if last else None))
    return tuple(turns), draft.claim.strip()


def _turn(job: Job, number: int, exchange: Exchange, check: dict | None) -> Turn:
    """A turn of a draft; what the job gives stands. Raises _Failed where a part of it is blank."""
    user = exchange.user
    reasoning = exchange.reasoning
    answer = exchange.answer
    if job.given:
        stands = job.given[number]
        user = stands.user
        reasoning = stands.reasoning or reasoning
        answer = stands.answer or answer
    if not (user.strip() and reasoning.strip() and answer.strip()):
        raise _Failed("blank text: a user turn, a reasoning or an answer is blank")
    return Turn(user, reasoning, answer, images=job.images, check=check)


def _own_reply(job: Job, completion: Completion) -> Turn:
    """The base model's own reply, taken apart. Raises _Failed."""
    text = completion.text
    reply = chat.split(text)
    if completion.reasoning.strip():
        reasoning = completion.reasoning
        answer = reply.answer or text
    elif reply.status == chat.COMPLETE:
        reasoning = reply.reasoning or ""
        answer = reply.answer or ""
    elif "</think>" in text:
        reasoning, _, answer = text.partition("</think>")
    else:
        raise _Failed("no reasoning or no final response")
    reasoning = reasoning.strip().removeprefix("<think>").removeprefix(chat.REASONING).strip()
    return Turn(job.given[0].user, reasoning, answer.strip(), job.images, job.check)


def _check_proof(job: Job, turns: tuple[Turn, ...], claim: str | None) -> None:
    """Raise _Failed unless the row proves what can be proved of it."""
    answer = turns[-1].answer
    if job.check and "call" in job.check:
        _check_call(job.check["call"], answer)
    elif job.check and not ends_at(job.check, answer, claim):
        problem = (
            "the final value is not right, or `claim` and `answer` do not both say it and no other "
            "(where there are several numbers, in bold)"
        )
        raise _Failed(f"wrong answer: {problem}; work it out anew")
    if job.target:
        _check_route(job.target, answer, claim)
    if job.category == "nudge" or "nudge" in job.tags:
        for number, turn in enumerate(turns, 1):
            why = behaviour.not_a_nudge(turn.answer)
            if why:
                raise _Failed(f"not a nudge: the answer of turn {number} {why}")
    for turn in turns:
        for code in _PYTHON.findall(turn.answer):
            _check_python(textwrap.dedent(code))


def _check_call(wanted: dict, answer: str) -> None:
    try:
        called = tools.read(answer)
    except tools.ToolError:
        called = []
    if called != [tools.Call(**wanted)]:
        raise _Failed("wrong tool call")


def _check_route(target: str, answer: str, claim: str | None) -> None:
    """The claim is the target, and the answer ends in no line of its own that hands over to
    another: the build writes that line. Prose decides nothing."""
    if claim is not None and claim.strip() != target:
        where = claim.strip() or "nobody"
        problem = f"the claim is {where}, the scenario calls for {target}"
        raise _Failed(f"wrong route: {problem}; claim it, name it and no other")
    if behaviour.route_of(answer, [target]) not in (behaviour.SELF, target):
        raise _Failed(f"wrong route: the last line hands over to another member than {target}")


def _check_python(code: str) -> None:
    try:
        tree = ast.parse(code)
        compile(tree, "<reply>", "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise _Failed(f"Python does not compile: {error}"[:SHOWN_OF_COMPILER]) from None
    if any(isinstance(node, ast.Assert) for node in ast.walk(tree)):
        outcome = sandbox.run(code, seconds=SECONDS, megabytes=MEGABYTES)
        if not outcome.ok:
            raise _Failed(f"Python does not run: {outcome.reason}"[:SHOWN_CHARACTERS])


def _check_gates(job: Job, turns: tuple[Turn, ...], of: Gates | None, system: str) -> None:
    """The gates of `make data`, so that a row that cannot be used is not accepted.

    Raises _Failed.
    """
    made = Conversation(job.id, job.category, "teacher", system, turns, job.tags, job.check)
    try:
        for row in to_rows(made, _any_image):
            rows.check(row)
            if of is not None:
                gates.check(row, gates.tokens(row, ()), of)
    except (Skip, rows.RowError) as error:
        raise _Failed(f"a gate: {error}"[:SHOWN_CHARACTERS]) from None


def _any_image(png: bytes) -> str:
    """A path in the place of a picture's: the gates of a text do not look at it."""
    return f"images/{'0' * 64}.png"


def _as_read(turn: Turn) -> str:
    return f"USER\n{turn.user}\n\nREASONING\n{turn.reasoning}\n\nANSWER\n{turn.answer}"


def _bands(signed: list[bytes]) -> Iterator[int]:
    """A name for each band of each signature, those of the reasoning first."""
    step = 4 * BAND  # bytes
    for number, signature in enumerate(reversed(signed)):
        for start in range(0, len(signature), step):
            named = f"{number} {start} ".encode() + signature[start : start + step]
            digest = hashlib.blake2b(named, digest_size=8).digest()
            yield int.from_bytes(digest, signed=True)
