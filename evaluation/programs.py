"""Questions that are answered in code: a folder a problem, the block of a reply that is meant, and
its run in the cage.

A folder `code_<number>_<name>` holds prompt.md, hidden.py (the tests), reference.py and wrong_1.py,
... (solutions that pass and that do not), and meta.yaml with the topic and the `entry`, the name
that a solution must define. hidden.py imports from `harness`, beside the folders, and from
`solution`, which stands for the code under test. The values that the tests expect stay out of the
process in which a solution runs (hidden.py).
"""

import ast
import re
import secrets
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from common import sandbox
from common.files import load_yaml, read_text, shown
from common.sandbox import Outcome
from evaluation.hidden import Halves, Wanted, objection

SECONDS = 10
MEGABYTES = 512
HARNESS = "harness"
SOLUTION = "solution"
_FENCE = re.compile(
    r"^(?P<indent>(?:[ \t>*+-]|\d{1,3}[.)])*?)(?P<fence>`{3,}|~{3,})[ \t]*(?P<language>[^`\n]*)$"
)
_BAD = re.compile(
    r"\b(?:bad|wrong|incorrect|broken|buggy|naive|do(?:n't| not)|avoid|never|not this"
    r"|anti-?pattern)\b",
    re.IGNORECASE,
)
_PYTHON = re.compile(r"(?:|py(?:thon)?(?:[ -]?3(?:\.\d+)?)?)", re.IGNORECASE)


@dataclass(frozen=True)
class Program:
    """A programming problem; see the module's text."""

    id: str
    topic: str
    entry: str
    prompt: str
    tests: str  # the harness and what of the hidden tests runs beside a solution, as one text
    needs: tuple[str, ...]  # what the tests use of a solution
    wanted: tuple[Wanted, ...]  # what the solution must hand out
    reference: str
    wrong: tuple[str, ...]

    @property
    def expect(self) -> dict:
        """What the scorer needs."""
        wanted = [list(about) for about in self.wanted]
        about = {"entry": self.entry, "needs": list(self.needs)}
        return {**about, "tests": self.tests, "wanted": wanted}


def load(folder: Path) -> list[Program]:
    """The problems of a folder, in the order of their names. Raises FileError."""
    harness = read_text(folder / f"{HARNESS}.py")
    return [_program(path.parent, harness) for path in sorted(folder.glob("code_*/meta.yaml"))]


def _program(folder: Path, harness: str) -> Program:
    meta = load_yaml(folder / "meta.yaml")
    number = folder.name.split("_")[1]
    hidden = ast.parse(read_text(folder / "hidden.py"), shown(folder))
    imports = [node for node in hidden.body if isinstance(node, ast.ImportFrom)]
    own = [node for node in imports if node.module in (HARNESS, SOLUTION)]
    needs = [name.name for node in own if node.module == SOLUTION for name in node.names]
    hidden.body = [node for node in hidden.body if node not in own]
    halves = Halves()
    beside = ast.unparse(ast.fix_missing_locations(halves.visit(hidden)))
    wrong = sorted(folder.glob("wrong_*.py"))
    return Program(
        id=f"code-{number}",
        topic=meta["topic"],
        entry=meta["entry"],
        prompt=read_text(folder / "prompt.md").strip(),
        tests=f"{harness}\n\n{beside}\n",
        needs=tuple(needs),
        wanted=tuple(halves.wanted),
        reference=read_text(folder / "reference.py"),
        wrong=tuple(read_text(path) for path in wrong),
    )


def score(answer: str, expect: dict) -> dict:
    """Whether the code of an answer passes its tests. Raises NoSandbox where this machine grants no
    cage.
    """
    block = code_block(answer, expect["entry"])
    if block is None:
        return {"correct": False, "why": "no Python code"}
    wanted = tuple(Wanted(*about) for about in expect.get("wanted", ()))
    outcome = run(block, expect["tests"], tuple(expect["needs"]), wanted)
    return {"correct": outcome.ok, "why": outcome.reason[:200]}


@lru_cache(maxsize=256)
def run(
    solution: str, tests: str, needs: tuple[str, ...], wanted: tuple[Wanted, ...] = ()
) -> Outcome:
    """Run tests on a solution; the helpers of the one do not hide those of the other.

    It passes when its process ran to the end and handed out what is wanted, no more and no less.
    """
    mark = secrets.token_hex(16)
    seen = f"{{name: globals()[name] for name in {list(needs)!r} if name in globals()}}"
    names = f"{{'__name__': 'hidden', 'MARK': {mark!r}, **{seen}}}"
    outcome = sandbox.run(
        f"{solution}\n\n\nexec({tests!r}, {names})\n", SECONDS, MEGABYTES, sandbox.PRINTED
    )
    reason = objection(wanted, outcome.output, mark, outcome.ok)
    return replace(outcome, ok=False, reason=reason) if reason else outcome


def code_block(text: str, entry: str) -> str | None:
    """The last fenced Python block that defines `entry` and is not shown as a bad example.

    Where none defines it, the only block there is. None where there is neither.
    """
    blocks = [block for block in _blocks(text) if block.code.strip()]
    definition = re.compile(
        rf"^(?:async +def|def|class) +{re.escape(entry)}\b|^{re.escape(entry)}\b *(?::[^=\n]+)?=",
        re.MULTILINE,
    )
    defining = [block for block in blocks if definition.search(block.code)]
    good = [block for block in defining if not block.is_bad]
    for found in (good, defining):
        if found:
            return found[-1].code
    return blocks[0].code if len(blocks) == 1 else None


@dataclass(frozen=True)
class _Block:
    code: str
    before: str  # the last line of text before the fence

    @property
    def is_bad(self) -> bool:
        first = self.code.strip().partition("\n")[0]
        return bool(_BAD.search(self.before) or (first.startswith("#") and _BAD.search(first)))


def _blocks(text: str) -> Iterator[_Block]:
    """The fenced Python blocks of a Markdown text, without their indent; an unclosed fence runs to
    the end.
    """
    fence = indent = ""
    before = ""
    lines: list[str] = []
    python = False
    for line in text.splitlines():
        found = _FENCE.match(line)
        if not fence and found:
            fence, indent = found["fence"], found["indent"]
            lines = []
            python = bool(_PYTHON.fullmatch(_language(found["language"])))
        elif not fence:
            before = line if line.strip() else before
        elif (
            found
            and not found["language"].strip()
            and found["fence"].startswith(fence)
            and len(found["indent"].expandtabs(4)) < len(indent.expandtabs(4)) + 4
        ):
            if python:
                yield _Block(textwrap.dedent("\n".join(lines)), before)
            fence = ""
            before = ""
        else:
            lines.append(re.sub(r"^\s*>[ ]?", "", line) if ">" in indent else line)
    if fence and python:
        yield _Block(textwrap.dedent("\n".join(lines)), before)


def _language(info: str) -> str:
    """The language of a fence's info string: ` Python title="a.py"` and `{.python}` are python."""
    words = info.strip().strip("{}. ").split()
    return words[0].strip(".,:") if words and "=" not in words[0] else ""
