"""Solved problems of public sets, taken apart and checked.

A GSM8K solution's arithmetic is computed again, exactly, and must end at its answer; MATH's answer
is what its solution boxes.
"""

import hashlib
import re
from dataclasses import dataclass
from fractions import Fraction
from functools import reduce

from preprocess.generators.exact import TextError, evaluate
from preprocess.rows import Skip

_CALCULATION = re.compile(r"<<([^<>=]*)=([^<>=]*)>>")
_JOINS = re.compile(r"\b(?:and|or|per|of|the|an)\s*$")  # no sentence ends in these
_TITLES = ("Mr", "Mrs", "Ms", "Dr", "St", r"a\.m", r"p\.m")
_NO_TITLE = "".join(rf"(?<!\b{title}\.)" for title in _TITLES)
_SENTENCE_END = re.compile(rf"(?:(?<=[.?!])|(?<=[.?!]\$)){_NO_TITLE}\s+(?=[A-Z\"$\\])")
_FORMULA = re.compile(
    r"\$\$.*?\$\$|\\\[.*?\\\]|\\begin\{(\w+\*?)\}.*?\\end\{\1\}|(?<!\\)\$.*?(?<!\\)\$", re.DOTALL
)
# What stands between braces, nested up to six deep.
_BRACES = reduce(lambda inner, _: rf"(?:[^{{}}]|\{{{inner}*\}})", range(6), "[^{}]")
_BOX = re.compile(rf"\\boxed\{{({_BRACES}*)\}}")
# What a value counts: words after it, up to the end of the sentence or the first that begins
# another thought.
_OTHER_THOUGHT = "is|are|was|were|has|have|had|can|will|so|because|which|and|more|left"
_COUNTS = rf"((?: (?!(?:{_OTHER_THOUGHT})\b)[a-z][a-z/]*){{1,6}})?(?=\.?$)"
# What a question asks for, where it says so in words that leave no doubt.
_UNITS = (
    "cents|dollars|seconds|minutes|hours|days|weeks|months|years|inches|feet|yards|miles|meters|"
    "kilometers|ounces|pounds|grams|kilograms|gallons|liters"
)
_HOW_MANY = re.compile(
    r"how many (?:more |fewer |total |additional )?(?!does|was|has)([a-z]+s)\b"
    r"(?!'|’|-| per\b| and\b| or\b)",
    re.I,
)
_IN_UNITS = re.compile(rf"\bin ({_UNITS})\b", re.I)
_MONEY = re.compile(r"\bhow much money\b", re.I)


@dataclass(frozen=True)
class Worked:
    """A solved problem."""

    origin: str
    subject: str
    problem: str
    steps: tuple[str, ...]
    shown: str  # the final value as a text shows it
    check: dict
    # The arithmetic as (index of the step, expression, result).
    chain: tuple[tuple[int, str, str], ...] = ()

    @property
    def key(self) -> str:
        """Names the problem by its text."""
        return hashlib.sha256(" ".join(self.problem.split()).encode()).hexdigest()[:10]


def gsm8k(record: dict) -> Worked:
    """A record of GSM8K. Raises Skip unless every calculation holds exactly and the last one gives
    the answer."""
    solution, _, final = record["answer"].rpartition("\n#### ")
    final = final.strip().replace(",", "")
    steps: list[str] = []
    chain = []
    for line in _whole_lines(solution):
        for expression, result in _calculations(line):
            if not _equal(expression, result):
                raise Skip("a calculation of the worked solution does not hold exactly")
            if expression != result:
                chain.append((len(steps), expression, result))
        step = _tidy(_CALCULATION.sub("", line))
        if step.count("(") != step.count(")"):
            raise Skip("a bracket of the worked solution is not closed")
        if step:
            steps.append(step)
    if not chain or not _equal(chain[-1][2], final):
        raise Skip("the worked solution does not end at its answer")
    return Worked(
        origin="gsm8k",
        subject="",
        problem=record["question"].strip(),
        steps=tuple(steps),
        shown=_shown(final, steps[-1], record["question"]),
        check=_number(final),
        chain=tuple(chain),
    )


def _calculations(line: str) -> list[tuple[str, str]]:
    """(expression, result) of each calculation that a line marks, without spaces and thousands
    commas."""
    return [
        ("".join(expression.replace(",", "").split()), "".join(result.replace(",", "").split()))
        for expression, result in _CALCULATION.findall(line)
    ]


def _shown(final: str, last_step: str, question: str) -> str:
    """The value at the end of the last step, with what it counts, or else wherever it is a result
    there, or else with what the question asks for; five digits and more are grouped."""
    last_step = re.sub(r"(?<=\d),(?=\d{3})", "", last_step)
    value = rf"= (\$?{re.escape(final)}(?:\.0+)?%?)(?![\d,]|\.\d)"
    found = re.search(f"{value}{_COUNTS}", last_step) or re.search(f"{value}()", last_step)
    shown = found[1] + (found[2] or "") if found else final
    if shown == final:
        said = re.search(rf"(\$?{re.escape(final)}(?: (?:{_UNITS}))?)\b[^=\d]* because ", last_step)
        shown = said[1] if said else final
    if shown == final:
        shown = _with_unit(final, question)
    return re.sub(r"(?<![\d.])\d{5,}", lambda digits: f"{int(digits[0]):,}", shown, count=1)


def _with_unit(final: str, question: str) -> str:
    """The value with what a question asks for, where it asks for one thing and names it."""
    *_, asked = sentences(question.strip())
    if _MONEY.search(asked) and "$" in question and "cent" not in question:
        return f"${final}"
    units = _HOW_MANY.findall(asked) or _IN_UNITS.findall(asked)
    if len(units) != 1 or asked.count("?") > 1 or Fraction(final) == 1:
        return final
    return f"{final} {units[0].lower()}"


def _equal(left: str, right: str) -> bool:
    """Whether two calculations give the same, exactly. Only digits and + - * / ( ): the text comes
    from somebody else's file."""
    if "**" in left + right or not re.fullmatch(r"[\d.+\-*/()]+", left + right):
        return False
    try:
        return evaluate(left, {}) == evaluate(right, {})
    except (TextError, ZeroDivisionError):
        return False


def _number(text: str) -> dict:
    exact = Fraction(text)
    value = int(exact) if exact.denominator == 1 else float(exact)
    return {"kind": "number", "value": value, "tolerance": 1e-6}


def _whole_lines(solution: str) -> list[str]:
    """The lines of a GSM8K solution; one that was cut in the middle of a sentence, whole again."""
    lines: list[str] = []
    for line in filter(str.strip, solution.splitlines()):
        # It begins with a word in small letters that is no variable, or ends in a word that joins.
        cut = lines and lines[-1].rstrip()[-1] not in ".!?:"
        if cut and (re.match(r"\s*[a-z]{2}", line) or _JOINS.search(lines[-1])):
            lines[-1] = f"{lines[-1].rstrip()} {line.strip()}"
        else:
            lines.append(line)
    return lines


def _tidy(line: str) -> str:
    """One line of a GSM8K solution as a sentence, its operators spaced, what is left over at its
    end removed."""
    line = re.sub(r"(?<![\d.])\.(?=\d)", "0.", line.replace("–", "-").replace("−", "-"))
    line = re.sub(r" *\* *|(?<=[\w)]) x (?=\$?\d)", " × ", line)
    line = re.sub(r"(?<=\d)\+(?=\$?\d)", " + ", line)
    line = re.sub(r" *= *(?=[$\d(.])", " = ", " ".join(line.split())).strip()
    line = re.sub(r" +([.,;])(?!\S)", r"\1", line)
    line = line.rstrip('"' if line.count('"') % 2 else "").rstrip(" .,;")
    end = "" if line[-1:] in "!?:" else "."
    return line[:1].upper() + line[1:] + end


def math(record: dict) -> Worked:
    """A record of MATH. Raises Skip for a problem that needs its drawing, or without exactly one
    boxed answer."""
    problem = record["problem"].strip()
    solution = record["solution"].strip()
    if "[asy]" in problem + solution or "\\includegraphics" in problem + solution:
        raise Skip("needs a drawing that the text only has as a program")
    solution = re.split(r"-\s*OR\s*-", solution)[0].rstrip()  # the second of two ways
    solution = re.sub(r"\\(?:boxed|fbox) (\w)", r"\\boxed{\1}", solution)
    solution = re.sub(r"\\(?:boxed|fbox)\s*\{", r"\\boxed{", solution)
    box = _BOX.search(solution)
    if not box or not box[1].strip() or "\\boxed" in solution[box.end() :]:
        raise Skip("not exactly one boxed answer")
    value = box[1].strip()
    # Commas part thousands; in 0,1,2 they part the numbers of a list.
    unmarked = value.replace("{,}", ",").replace("\\!", "")
    plain = re.fullmatch(r"-?(?:\d+|\d{1,3}(?:,\d{3})+)(\.\d+)?", unmarked)
    check = _number(plain[0].replace(",", "")) if plain else {"kind": "latex", "value": value}
    return Worked(
        origin="math",
        subject=record.get("type") or "",
        problem=problem,
        steps=_paragraphs(solution.replace(box[0], value)),
        shown=f"$\\boxed{{{value}}}$",
        check=check,
    )


def _paragraphs(solution: str) -> tuple[str, ...]:
    """The paragraphs of a MATH solution, or the sentences of its only one."""
    parts = [part.strip() for part in re.split(r"\n\s*\n", solution) if part.strip()]
    steps = [part if "\\begin" in part else " ".join(part.split()) for part in parts]
    return tuple(sentences(steps[0]) if len(steps) == 1 else steps)


def sentences(text: str) -> list[str]:
    """The sentences of a text in which what stands between dollar signs is TeX, and is not cut."""
    parts = _SENTENCE_END.split(_FORMULA.sub(_without_blanks, text))
    return [part.replace("\0", " ").replace("\1", "\n").strip() for part in parts if part.strip()]


def _without_blanks(formula: re.Match) -> str:
    """A formula in which no sentence can end."""
    return formula[0].replace(" ", "\0").replace("\n", "\1")
