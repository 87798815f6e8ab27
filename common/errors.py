"""What may go wrong in words: one base class, and the one place that turns it into a line and an
exit code.
"""

import sys
from collections.abc import Callable

FAILED = 1
COULD_NOT_START = 2
INTERRUPTED = 130


class AetherError(ValueError):
    """Something a person can mend. The text names the file, the line or key, what is wrong and what
    to do.
    """


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
