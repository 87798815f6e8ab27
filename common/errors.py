"""What may go wrong in words: one base class, and the one place that turns it into a line and an
exit code.
"""

import difflib
import sys
from collections.abc import Callable, Iterable

FAILED = 1
COULD_NOT_START = 2
INTERRUPTED = 130
SHOWN = 20  # lines of what is wrong that are printed


class AetherError(ValueError):
    """Something a person can mend. The text names the file, the line or key, what is wrong and what
    to do.
    """


def one_line(problem: object) -> str:
    """What an error of somebody else's code says, in one line that is not too long."""
    return " ".join(str(problem).split())[:200]


def did_you_mean(word: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """The end of a sentence on a word that is unknown: the one that is nearest, if any is."""
    close = difflib.get_close_matches(word, list(known), 1, cutoff)
    return f"; did you mean {close[0]}?" if close else ""


def say_wrong(wrong: list[str]) -> None:
    """Print what a proof found wrong, the first lines of it, as errors."""
    more = len(wrong) - SHOWN
    for line in [*wrong[:SHOWN], *([f"… and {more} more"] if more > 0 else [])]:
        print(f"error: {line}", file=sys.stderr)


def command(main: Callable[[], int | None], failed: int = FAILED) -> int:
    """Run a command's `main` and return its exit code.

    An AetherError becomes one line on stderr and the code `failed`; Ctrl-C becomes one line and
    130; a closed pipe ends in silence. Anything else is a fault of ours and keeps its traceback.
    """
    try:
        return main() or 0
    except AetherError as error:
        print(f"error: {error}", file=sys.stderr)
        return failed
    except KeyboardInterrupt:
        print("\nstopped by Ctrl-C", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()
        return FAILED
