"""Replies to solved problems, in words that are a dataset's: what is asked, what is given, the
solution in steps, a check.

The YAML file of framings holds lists of texts by their name, and under `chances` how often each of
the optional ones stands there.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass

from preprocess.sources.worked.solutions import Worked, sentences

LONGEST_QUESTION = 60  # words; a reply in full repeats what was asked
_ASKS = re.compile(r"\?\W*$|^(?:Find|Compute|Determine|Evaluate|Simplify|Calculate|Solve)\b")
_NUMBERS = """one two three four five six seven eight nine ten eleven twelve twenty thirty forty
fifty hundred thousand dozen half halves third quarter fourth fifth sixth eighth tenth twice thrice
doubled? tripled? each every"""
_GIVES = re.compile(rf"\d|\$|\b(?:{'|'.join(_NUMBERS.split())})s?\b", re.I)


@dataclass(frozen=True)
class Writer:
    """Writes one reply with the texts of a framings file."""

    texts: dict
    rng: random.Random

    def chance(self, of: str) -> bool:
        """Whether an optional part stands in this reply."""
        return self.rng.random() < self.texts["chances"][of]

    def say(self, name: str, **slots: str) -> str:
        """One of the texts of that name, its slots filled."""
        text = self.rng.choice(self.texts[name])
        return re.sub(r"\{(\w+)\}", lambda slot: slots[slot[1]], text)

    def reply(self, worked: Worked) -> tuple[str, str]:
        """(reasoning, answer) of a solved problem."""
        facts, asked = _facts_and_question(worked)
        long = self.chance("long") and len(asked.split()) <= LONGEST_QUESTION
        signed_at = self._signed_at(long)
        parts = []
        if long:
            parts += self._opening(worked, facts, asked, signed_at == "opening")
        if signed_at == "steps":
            parts.append(self.say("steps_signed"))
        elif long and self.chance("steps"):
            parts.append(self.say("steps"))
        parts.append(self._steps(worked, asked, long))
        if long and self.chance("finish"):
            value = re.sub(r"\\boxed\{(.*)\}", r"\1", worked.shown)
            parts.append(self.say("finish", asked=asked, value=value))
        return "\n\n".join(parts), self._answer(worked)

    def _signed_at(self, long: bool) -> str:
        """Where a phrase of the voice stands: in the opening, before the steps, or nowhere."""
        if not self.chance("signed"):
            return "nowhere"
        if not long or self.chance("signed_steps"):
            return "steps"
        return "opening"

    def _opening(self, worked: Worked, facts: list[str], asked: str, signed: bool) -> list[str]:
        """What is asked, what is given, and what is assumed."""
        alone = "" if facts else "_alone"
        parts = [self.say(f"opening{alone}{'_signed' if signed else ''}", asked=asked)]
        given = [f"- {fact}" for fact in facts if _GIVES.search(fact)]
        if given and self.chance("given"):
            parts.append(self.say("given", given="\n".join(given)))
        if self.chance("assumption"):
            name = self.rng.choice(("assumption", f"assumption_{worked.origin}"))
            parts.append(self.say(name))
        return parts

    def _steps(self, worked: Worked, asked: str, long: bool) -> str:
        """The solution's steps.

        Some replies stop at an earlier result, notice that it is not what was asked, and go on.
        """
        steps = list(worked.steps)
        early = [(step, result) for step, _, result in worked.chain if step < len(steps) - 1]
        if early and self.chance("backtracks"):
            step, result = self.rng.choice(early)
            slots = {"value": result, "asked": asked, "quoted": f'"{asked}"'}
            steps[step] += " " + self.say("stopped_early", **slots)
        in_lines = worked.origin == "gsm8k"
        if long and in_lines and self.chance("numbered"):
            return "\n".join(f"{number}. {step}" for number, step in enumerate(steps, 1))
        if not long:
            return " ".join(steps)
        return ("\n" if in_lines else "\n\n").join(steps)

    def _answer(self, worked: Worked) -> str:
        """The final value, sometimes with the whole calculation where the steps say nothing
        else."""
        answer = self.say("answer", value=worked.shown)
        calculations = " ".join(worked.steps).count("=")
        if len(worked.chain) > 1 and len(worked.chain) == calculations and self.chance("how"):
            chain = ", then ".join(
                f"{_spaced(expression)} = {result}" for _, expression, result in worked.chain
            )
            answer += "\n\n" + self.say("how", chain=chain)
        return answer


def _facts_and_question(worked: Worked) -> tuple[list[str], str]:
    """The sentences of a problem, and among them the one that asks: the last that does so, or the
    last of all."""
    facts = sentences(worked.problem, worked.origin == "math")
    asking = [number for number, fact in enumerate(facts) if _ASKS.search(fact)]
    asked = facts.pop(asking[-1] if asking else -1)
    return facts, asked


def _spaced(expression: str) -> str:
    """An expression with blanks around its operators."""
    spaced = re.sub(
        r"(?<=[\d)%])([-+*/])", lambda sign: f" {sign[1].replace('*', '×')} ", expression
    )
    return re.sub(r"(?<![\d.])\.(?=\d)", "0.", spaced)
