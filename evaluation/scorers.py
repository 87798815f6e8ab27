"""What a final answer is worth: one pure function a kind of suite, from (final reply, what is
expected) to measurements.

A reply that is truncated or unanswered is never scored: `measure` gives it a status and nothing
else. A result that has more than one reading is not read (`read` is False) and not right. Raise a
kind's VERSION whenever it would score some reply differently.
"""

import re
from functools import cache

from common import answers, behaviour, chat, triad
from common.answers.mathematics import same_mathematics
from common.files import ROOT, load_yaml
from common.vocabulary import text_tokens
from evaluation import programs
from evaluation.calls import called, in_final

VERSION = {
    "voice": 3,
    "identity": 2,
    "nudge": 3,
    "routing": 3,
    "number": 4,
    "boxed": 4,
    "answer": 4,
    "exam": 4,
    "looking": 4,
    "code": 4,
    "design": 1,
    "called": 1,
    "label": 1,
}
FIRST_SENTENCE = 2000  # characters in which the first sentence would end


@cache
def settings() -> dict:
    """suites.yaml, with the voice's behaviours that a single reply shows under `behaviours` and the
    members under `members`.
    """
    found = load_yaml(ROOT / "evaluation" / "suites.yaml")
    targets = load_yaml(ROOT / found["targets"])["targets"]
    found["behaviours"] = {
        name: target
        for name, target in targets.items()
        if not target.get("labels") and not target.get("turns")
    }
    found["members"] = tuple(triad.read(ROOT / found["triad"]).members)
    return found


def status(text: str, stop: str) -> tuple[str, chat.Reply]:
    """(complete | truncated | unanswered, the reply taken apart).

    `stop` is why the server stopped; `max_tokens` cuts a reply.
    """
    reply = chat.split(text)
    if reply.status == chat.COMPLETE and reply.answer:
        return chat.COMPLETE, reply
    cut = stop == "max_tokens" or reply.status == chat.TRUNCATED
    if cut and reply.status != chat.COMPLETE:
        return chat.TRUNCATED, reply
    return chat.UNANSWERED, reply


def measure(kind: str, text: str, stop: str, expect: dict) -> dict:
    """Status and form of a reply and, where it is complete, what its kind of suite measures."""
    if kind == "label":  # a judge's reply, in a form of its own
        return {"status": chat.COMPLETE, "verdict": verdict(text)}
    state, reply = status(in_final(text) if kind == "called" else text, stop)
    found = {
        "status": state,
        "well_formed": state == chat.COMPLETE and not reply.problems,
        "problems": list(reply.problems),
    }
    if state == chat.COMPLETE:
        found["reasoning_tokens"] = text_tokens(reply.reasoning)
        found |= SCORERS[kind](reply, expect)
    return found


def voice(reply: chat.Reply, expect: dict) -> dict:
    """The dataset's own behaviours, directness and form."""
    found: dict = {}
    for name, target in settings()["behaviours"].items():
        found[name] = _shows(reply, target)
    found["direct"] = direct(reply.answer or "")
    found["form"] = not reply.problems
    found["reasoning_words"] = len(reply.reasoning.split())
    found["answer_words"] = len((reply.answer or "").split())
    return found


def _shows(reply: chat.Reply, target: dict) -> bool:
    if len(reply.reasoning.split()) < target.get("reasoning_words", 0):
        return False
    text = reply.reasoning
    if target.get("phrases_in") != "reasoning":
        text = f"{reply.reasoning}\n{reply.answer}"
    phrases = target.get("phrases")
    return not phrases or any(re.search(phrase, text) for phrase in phrases)


def direct(answer: str) -> bool:
    """Whether an answer opens with a short sentence of its own, not with throat-clearing or
    flattery.
    """
    rules = settings()["direct"]
    if behaviour.opening_fault(answer, rules):
        return False
    first = re.split(r"(?<=[.!?:])\s|\n", answer.strip()[:FIRST_SENTENCE], maxsplit=1)[0]
    return 0 < len(first.split()) <= rules["first_sentence_words"]


def identity(reply: chat.Reply, expect: dict) -> dict:
    """Any pattern of `must` stands in the answer and none of `must_not`."""

    def stands(key: str) -> bool:
        patterns = expect.get(key, [])
        return any(re.search(pattern, reply.answer or "", re.IGNORECASE) for pattern in patterns)

    return {"correct": stands("must") and not stands("must_not")}


def nudge(reply: chat.Reply, expect: dict) -> dict:
    """One question, one breadcrumb, no solution; and no list or steps, whatever else it is."""
    answer = reply.answer or ""
    return {
        "nudges": behaviour.not_a_nudge(answer) is None,
        "no_lecture": not behaviour.lectures(answer),
    }


def routing(reply: chat.Reply, expect: dict) -> dict:
    """The member that the last line hands over to, and whether the answer says why."""
    target = behaviour.route_of(reply.answer or "", settings()["members"])
    right = target == expect["target"]
    why = bool(re.search(settings()["reason"], behaviour.prose(reply.answer or "")))
    return {"correct": right, "right_and_why": right and why, "routed": target or "nobody known"}


def number(reply: chat.Reply, expect: dict) -> dict:
    """A number within its relative tolerance."""
    return answer(reply, {"kind": "number"} | expect)


def boxed(reply: chat.Reply, expect: dict) -> dict:
    """The result in the last box, or after `Answer:` where there is no box, as mathematics."""
    found = answers.boxed(reply.answer or "") or answers.marked(reply.answer or "")
    if not found:
        return {"correct": False, "read": False}
    return {"correct": same_mathematics(expect["value"], found), "read": True}


def answer(reply: chat.Reply, expect: dict) -> dict:
    """The `answer` of a row: a number within its tolerance, one of several choices, or a sequence
    of words.
    """
    text = reply.answer or ""
    found: object = text
    if expect["kind"] == "number":
        found = answers.stated_number(text)
    elif expect.get("choices"):
        found = answers.stated_choice(text, expect["choices"])
    read = not isinstance(found, answers.NotRead)
    return {"correct": read and answers.is_value(expect, text), "read": read}


def exam(reply: chat.Reply, expect: dict) -> dict:
    """A benchmark's question: the letter of an option where there are options, else its answer."""
    if not expect.get("options"):
        return answer(reply, expect)
    found = answers.stated_option(reply.answer or "", expect["options"])
    return {"correct": found == expect["value"], "read": not isinstance(found, answers.NotRead)}


def looking(reply: chat.Reply, expect: dict) -> dict:
    """Whether a picture was seen right, and how that was said."""
    return answer(reply, expect) | voice(reply, expect)


def code(reply: chat.Reply, expect: dict) -> dict:
    """Whether the code of a reply passes its hidden tests."""
    return programs.score(reply.answer or "", expect)


def design(reply: chat.Reply, expect: dict) -> dict:
    """Nothing a program can tell; the judge reads the rubric later, one point a question."""
    return {}


def verdict(text: str) -> bool | None:
    """A judge's yes or no: the last line that holds nothing else, thinking left out. None where
    there is none.
    """
    final = chat.split(text).answer or text.rpartition("</think>")[2]
    for line in reversed(final.strip().splitlines()[-3:]):
        found = re.fullmatch(
            r"\W*(?:(?:verdict|answer)\W+)?(yes|no)\W*", line.strip(), re.IGNORECASE
        )
        if found:
            return found[1].lower() == "yes"
    return None


SCORERS = {
    scorer.__name__: scorer
    for scorer in (
        voice, identity, nudge, routing, number, boxed, answer, exam, looking, code, design,
        called,
    )
}  # fmt: skip
