"""GSM8K and MATH, train split only, as first-principles rows: what is asked, what is given, the solution in steps, a check.

A GSM8K solution's arithmetic is computed again, exactly, and must end at its answer; MATH's answer is what its solution boxes.
The texts around the solutions and how often each stands there are data: datasets/aether/framings/worked.yaml.
"""

import hashlib
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cache, partial, reduce
from pathlib import Path

from common import hub
from preprocess import mix
from preprocess.generators.exact import TextError, evaluate
from preprocess.rows import Conversation, Note, Skip, Turn

TEXTS = Path(__file__).resolve().parents[2] / "datasets" / "aether" / "framings" / "worked.yaml"
_CALCULATION = re.compile(r"<<([^<>=]*)=([^<>=]*)>>")
_TITLES = "".join(
    rf"(?<!\b{title}\.)" for title in ("Mr", "Mrs", "Ms", "Dr", "St", r"a\.m", r"p\.m")
)
_SENTENCE_END = re.compile(rf"(?:(?<=[.?!])|(?<=[.?!]\$)){_TITLES}\s+(?=[A-Z\"$\\])")
_FORMULA = re.compile(
    r"\$\$.*?\$\$|\\\[.*?\\\]|\\begin\{(\w+\*?)\}.*?\\end\{\1\}|(?<!\\)\$.*?(?<!\\)\$", re.DOTALL
)
_ASKS = re.compile(r"\?\W*$|^(?:Find|Compute|Determine|Evaluate|Simplify|Calculate|Solve)\b")
_NUMBERS = "one two three four five six seven eight nine ten eleven twelve twenty thirty forty fifty hundred thousand dozen"
_PARTS = "half halves third quarter fourth fifth sixth eighth tenth twice thrice doubled? tripled? each every"
_GIVES = re.compile(rf"\d|\$|\b(?:{'|'.join((_NUMBERS + ' ' + _PARTS).split())})s?\b", re.I)
_BRACES = reduce(
    lambda inner, _: rf"(?:[^{{}}]|\{{{inner}*\}})", range(6), "[^{}]"
)  # nested up to six deep
_BOX = re.compile(rf"\\boxed\{{({_BRACES}*)\}}")
# What a value counts: words after it, up to the end of the sentence or the first that begins another thought.
_COUNTS = r"((?: (?!(?:is|are|was|were|has|have|had|can|will|so|because|which|and|more|left)\b)[a-z][a-z/]*){1,6})?(?=\.?$)"


@dataclass(frozen=True)
class Worked:
    """A solved problem. `chain` is the arithmetic as (index of the step, expression, result)."""

    origin: str
    subject: str
    problem: str
    steps: tuple[str, ...]
    shown: str  # the final value as a text shows it
    check: dict
    chain: tuple[tuple[int, str, str], ...] = ()

    @property
    def key(self) -> str:
        return hashlib.sha256(" ".join(self.problem.split()).encode()).hexdigest()[:10]


def gsm8k(record: dict) -> Worked:
    """Raises Skip unless every calculation holds exactly and the last one gives the answer."""
    solution, _, final = record["answer"].rpartition("\n#### ")
    final, chain, steps = final.strip().replace(",", ""), [], []
    for line in solution.splitlines():
        for found in _CALCULATION.findall(line):
            expression, result = ("".join(part.replace(",", "").split()) for part in found)
            if not _equal(expression, result):
                raise Skip("a calculation of the worked solution does not hold exactly")
            if expression != result:
                chain.append((len(steps), expression, result))
        if step := _tidy(_CALCULATION.sub("", line)):
            steps.append(step)
    if not chain or not _equal(chain[-1][2], final):
        raise Skip("the worked solution does not end at its answer")
    # The value at the end of the last step, with what it counts, or else wherever it is a result there.
    ends = re.search(rf"= (\$?{re.escape(final)}(?:\.0+)?%?)(?![\d,]|\.\d){_COUNTS}", steps[-1])
    ends = ends or re.search(rf"= (\$?{re.escape(final)}(?:\.0+)?%?)(?![\d,]|\.\d)()", steps[-1])
    shown = ends[1] + (ends[2] or "") if ends else final
    return Worked(
        "gsm8k", "", record["question"].strip(), tuple(steps), shown, _number(final), tuple(chain)
    )


def _equal(left: str, right: str) -> bool:
    """Whether two calculations give the same, exactly. Only digits and + - * / ( ): the text comes from somebody else's file."""
    if "**" in left + right or not re.fullmatch(r"[\d.+\-*/()]+", left + right):
        return False
    try:
        return evaluate(left, {}) == evaluate(right, {})
    except (TextError, ZeroDivisionError):
        return False


def _number(text: str) -> dict:
    value = Fraction(text)
    return {
        "kind": "number",
        "value": int(value) if value.denominator == 1 else float(value),
        "tolerance": 1e-6,
    }


def _tidy(line: str) -> str:
    """One line of a GSM8K solution as a sentence, its operators spaced."""
    line = re.sub(r"(?<![\d.])\.(?=\d)", "0.", line.replace("–", "-").replace("−", "-"))
    line = re.sub(r" *\* *|(?<=[\w)]) x (?=\$?\d)", " × ", line)
    line = re.sub(r"(?<=\d)\+(?=\$?\d)", " + ", line)
    line = re.sub(r" *= *(?=[$\d(.])", " = ", " ".join(line.split())).strip()
    return line[:1].upper() + line[1:] + "." * (line[-1:] not in ".!?:")


def math(record: dict) -> Worked:
    """Raises Skip for a problem that needs its drawing, or without exactly one boxed answer."""
    problem, solution = record["problem"].strip(), record["solution"].strip()
    if "[asy]" in problem + solution or "\\includegraphics" in problem + solution:
        raise Skip("needs a drawing that the text only has as a program")
    solution = re.sub(r"\\(?:boxed|fbox) (\w)", r"\\boxed{\1}", solution).replace(
        "\\fbox{", "\\boxed{"
    )
    box = _BOX.search(solution)
    if not box or "\\boxed" in solution[box.end() :] or not (value := box[1].strip()):
        raise Skip("not exactly one boxed answer")
    parts = [
        part.strip()
        for part in re.split(r"\n\s*\n", solution.replace(box[0], value))
        if part.strip()
    ]
    steps = [part if "\\begin" in part else " ".join(part.split()) for part in parts]
    steps = tuple(sentences(steps[0], True) if len(steps) == 1 else steps)
    plain = re.fullmatch(r"-?\d[\d,]*(\.\d+)?", value.replace("{,}", ",").replace("\\!", ""))
    check = _number(plain[0].replace(",", "")) if plain else {"kind": "latex", "value": value}
    return Worked("math", record.get("type") or "", problem, steps, f"$\\boxed{{{value}}}$", check)


def sentences(text: str, formulas: bool) -> list[str]:
    """The sentences of a text; with `formulas`, what stands between dollar signs is TeX and is not cut."""
    if formulas:
        text = _FORMULA.sub(lambda m: m[0].replace(" ", "\0").replace("\n", "\1"), text)
    return [
        part.replace("\0", " ").replace("\1", "\n").strip()
        for part in _SENTENCE_END.split(text)
        if part.strip()
    ]


@cache
def texts() -> dict:
    return mix.load(TEXTS, dict)


def _chance(rng: random.Random, of: str) -> bool:
    return rng.random() < texts()["chances"][of]


def _say(rng: random.Random, name: str, **slots: str) -> str:
    return re.sub(r"\{(\w+)\}", lambda slot: slots[slot[1]], rng.choice(texts()[name]))


def reply(worked: Worked, rng: random.Random) -> tuple[str, str]:
    """(reasoning, answer) of a solved problem."""
    chance, say = partial(_chance, rng), partial(_say, rng)
    facts = sentences(worked.problem, worked.origin == "math")
    asked = facts.pop(
        next((at for at in reversed(range(len(facts))) if _ASKS.search(facts[at])), -1)
    )
    long = chance("long") and len(asked.split()) <= 60  # a reply repeats what was asked
    signed = (
        "" if not chance("signed") else "steps" if not long or chance("signed_steps") else "opening"
    )
    parts = []
    if long:
        parts.append(
            say("opening" + "_alone" * (not facts) + "_signed" * (signed == "opening"), asked=asked)
        )
        facts = [fact for fact in facts if _GIVES.search(fact)]
        if facts and chance("given"):
            parts.append(say("given", given="\n".join(f"- {fact}" for fact in facts)))
        if chance("assumption"):
            parts.append(say(rng.choice(("assumption", f"assumption_{worked.origin}"))))
    if signed == "steps" or (long and chance("steps")):
        parts.append(say("steps_signed" if signed == "steps" else "steps"))
    parts.append(_steps(worked, asked, rng, long))
    if long and chance("finish"):
        parts.append(
            say("finish", asked=asked, value=re.sub(r"\\boxed\{(.*)\}", r"\1", worked.shown))
        )
    answer = say("answer", value=worked.shown)
    if (
        len(worked.chain) > 1
        and len(worked.chain) == " ".join(worked.steps).count("=")
        and chance("how")
    ):
        answer += "\n\n" + say(
            "how", chain=", then ".join(f"{_spaced(e)} = {r}" for _, e, r in worked.chain)
        )
    return "\n\n".join(parts), answer


def _steps(worked: Worked, asked: str, rng: random.Random, long: bool) -> str:
    """The solution's steps. Some GSM8K replies stop at an earlier result, notice that it is not what was asked, and go on."""
    steps = list(worked.steps)
    early = [(at, result) for at, _, result in worked.chain if at < len(steps) - 1]
    if early and _chance(rng, "backtracks"):
        at, result = rng.choice(early)
        steps[at] += " " + _say(
            rng, "stopped_early", value=result, asked=asked, quoted=f'"{asked}"'
        )
    if long and worked.origin == "gsm8k" and _chance(rng, "numbered"):
        return "\n".join(f"{number}. {step}" for number, step in enumerate(steps, 1))
    return (" " if not long else "\n\n" if worked.origin == "math" else "\n").join(steps)


def _spaced(expression: str) -> str:
    spaced = re.sub(r"(?<=[\d)%])([-+*/])", lambda m: f" {m[1].replace('*', '×')} ", expression)
    return re.sub(r"(?<![\d.])\.(?=\d)", "0.", spaced)


def public(name: str, split: str, folder: Path | None) -> Iterator[dict]:
    """The records of a public set's split, from the hub or a folder in its place. Raises HubError."""

    def load(*args, **kwargs):
        import datasets  # slow to import, and not needed with a local folder

        return datasets.load_dataset(*args, **kwargs)

    return hub.records(name, split, folder, load)


def conversations(
    kind: str,
    sessions: float,
    seed: int,
    folder: Path | None,
    contaminated: Callable[[list[str]], Note | None],
) -> Iterator[Conversation | Skip | Note]:
    """One problem a conversation, in a share `sessions` of conversations 4-6 of one subject in a row. Raises HubError.

    `contaminated` looks at each problem before it may stand in a session: raises Skip, or returns a note.
    """
    rng = random.Random(f"{kind} {seed}")
    waiting: dict[
        str, tuple[int, list[Worked]]
    ] = {}  # by subject: how many make a conversation, and those that wait
    seen = set()
    for record in public(kind, "train", folder):
        try:
            worked = gsm8k(record) if kind == "gsm8k" else math(record)
            if note := contaminated([worked.problem]):
                yield note
            if worked.key in seen:
                raise Skip("the same problem twice")
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            yield (
                error
                if isinstance(error, Skip)
                else Skip("a record without the fields of its data set")
            )
            continue
        seen.add(worked.key)
        several = rng.randint(4, 6) if rng.random() < sessions else 1
        wanted, problems = waiting.setdefault(worked.subject, (several, []))
        problems.append(worked)
        if len(problems) == wanted:
            yield _conversation(waiting.pop(worked.subject)[1], seed)
    yield from (_conversation(rest, seed) for _, rest in waiting.values())


def _conversation(problems: list[Worked], seed: int) -> Conversation:
    turns = []
    for number, worked in enumerate(problems):
        rng = random.Random(f"{worked.key} {seed}")
        ask = rng.choice(texts()["next" if number else "ask"]).replace("{problem}", worked.problem)
        turns.append(Turn(ask, *reply(worked, rng), check=worked.check))
    first = problems[0]
    tags = (f"subject:{first.subject}",) * bool(first.subject)
    return Conversation(
        f"{first.origin}-{first.key}", "", first.origin, turns=tuple(turns), tags=tags
    )
