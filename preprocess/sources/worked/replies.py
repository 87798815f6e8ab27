"""Replies to solved problems: the solution as it is, and its value. Nothing is glued around it: the
problem in the voice is a teacher's to write (preprocess.teacher).
"""

import random
import re

from preprocess.sources.worked.solutions import Worked


def reply(worked: Worked, texts: dict, rng: random.Random) -> tuple[str, str]:
    """(reasoning, answer) of a solved problem; `texts` are those of a framings file, by name."""
    bare = re.fullmatch(r"-?[\d.,]+", worked.shown)
    answer = rng.choice(texts["bare" if bare else "answer"]).replace("{value}", worked.shown)
    if worked.origin == "math":
        return "\n\n".join(worked.steps), answer
    # The whole calculation, where the steps say nothing else.
    calculations = " ".join(worked.steps).count("=")
    shows_all = len(worked.chain) > 1 and len(worked.chain) == calculations
    if shows_all and rng.random() < texts["chances"]["how"]:
        done = [f"{_spaced(expression)} = {result}" for _, expression, result in worked.chain]
        how = rng.choice(texts["how"]).replace("{chain}", ", then ".join(done))
        answer = f"{answer}\n\n{how}"
    numbered = rng.random() < texts["chances"]["numbered"]
    lines = [f"{n}. {step}" if numbered else step for n, step in enumerate(worked.steps, 1)]
    return "\n".join(lines), answer


def _spaced(expression: str) -> str:
    """An expression with blanks around its operators."""
    spaced = re.sub(
        r"(?<=[\d)%])([-+*/])", lambda sign: f" {sign[1].replace('*', '×')} ", expression
    )
    return re.sub(r"(?<![\d.])\.(?=\d)", "0.", spaced)
