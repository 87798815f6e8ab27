"""Hidden tests in two halves: what runs beside a solution, and the values that stay here.

Where a test says `assert <what the solution did> == <a value that is known>`, the solution's
process hands out the left side (harness.py) and this one compares: the value, and the verdict on
it, never lie in the memory of the code under test. An assertion on names of the tests' own (an
exception that was raised, a clock that is read twice) stays an assertion beside the solution.
"""

import ast
import builtins
from collections.abc import Sequence
from typing import Any, NamedTuple


class Wanted(NamedTuple):
    """A value that the tests expect.

    Args:
        of: What must have it, as the tests write it.
        value: The value, as Python writes it.
        exact: Whether its type counts too: the tests say `is`.
        always: Whether every right solution hands it out: it stands under no condition.
    """

    of: str
    value: str
    exact: bool
    always: bool


class Halves(ast.NodeTransformer):
    """Takes the known values out of a parsed test: `wanted` holds them, in the order of the calls
    `hand_out(<place in wanted>, ...)` that stand where the assertions stood.
    """

    def __init__(self) -> None:
        self.wanted: list[Wanted] = []
        self._conditions = 0

    def visit_If(self, node: ast.If) -> ast.AST:
        return self._under_a_condition(node)

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> ast.AST:
        return self._under_a_condition(node)

    def _under_a_condition(self, node: ast.AST) -> ast.AST:
        self._conditions += 1
        self.generic_visit(node)
        self._conditions -= 1
        return node

    def visit_Assert(self, node: ast.Assert) -> list[ast.stmt]:
        test = node.test
        joined = isinstance(test, ast.BoolOp) and isinstance(test.op, ast.And)
        parts = test.values if joined else [test]  # type: ignore[attr-defined]
        return [self._handed_out(part) or ast.Assert(part, node.msg) for part in parts]

    def _handed_out(self, part: ast.expr) -> ast.stmt | None:
        if not isinstance(part, ast.Compare) or len(part.ops) != 1:
            return None
        exact = isinstance(part.ops[0], ast.Is)
        value = _known(part.comparators[0])
        if value is None or not (exact or isinstance(part.ops[0], ast.Eq)):
            return None
        wanted = Wanted(ast.unparse(part.left), value, exact, not self._conditions)
        self.wanted.append(wanted)
        place = ast.Constant(len(self.wanted) - 1)
        return ast.Expr(ast.Call(ast.Name("hand_out", ast.Load()), [place, part.left], []))


def _known(node: ast.expr) -> str | None:
    """A value that follows from the text alone, as Python writes it; None for any other. The text
    is our own.
    """
    try:
        value = eval(ast.unparse(node), {"__builtins__": vars(builtins)})
        written = repr(value)
        return written if ast.literal_eval(written) == value else None
    except (NameError, SyntaxError, ValueError):
        return None


def objection(wanted: Sequence[Wanted], output: str, mark: str, ended: bool) -> str:
    """What of that which a solution's process handed out is not as wanted; empty where all is.

    Args:
        output: All that the process printed; a line that hands out holds `mark`.
        ended: Whether it ran to its end, so that nothing may be missing.
    """
    seen = set()
    for line in output.splitlines():
        _, found, text = line.partition(mark)
        if not found:
            continue
        try:
            place, value = ast.literal_eval(text)
            about = wanted[place]
        except (ValueError, TypeError, IndexError, SyntaxError, RecursionError, MemoryError):
            return "handed out what is no value"
        seen.add(place)
        if not _same(value, ast.literal_eval(about.value), about.exact):
            return f"{about.of} is {value!r}"
    unseen = [about.of for place, about in enumerate(wanted) if about.always and place not in seen]
    return f"{unseen[0]} was never reached" if ended and unseen else ""


def _same(value: Any, wanted: Any, exact: bool) -> bool:
    return value == wanted and (not exact or type(value) is type(wanted))
