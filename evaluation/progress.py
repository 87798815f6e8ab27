"""How far the asking is."""

import sys
import time
from dataclasses import dataclass, field


@dataclass
class Progress:
    """One line that is rewritten on a terminal, or a line every half minute elsewhere: how many,
    and when it ends.
    """

    note: str
    total: int
    done: int = 0
    asked: int = 0
    started: float = field(default_factory=time.monotonic)
    printed: float = field(default_factory=time.monotonic)

    def tick(self, asked: bool) -> None:
        """One more reply, asked now or kept."""
        now = time.monotonic()
        self.done += 1
        self.asked += asked
        terminal = sys.stderr.isatty()
        if now - self.printed < (1 if terminal else 30):
            return
        self.printed = now
        left = 0.0
        if self.asked:
            left = (self.total - self.done) * (now - self.started) / self.asked
        print(
            f"{self.note}: {self.done} of {self.total} replies, {left / 60:.1f} min left  ",
            end="\r" if terminal else "\n",
            file=sys.stderr,
            flush=True,
        )

    def end(self) -> None:
        """One line at the end."""
        seconds = time.monotonic() - self.started
        print(
            f"{self.note}: {self.done} replies, {self.asked} of them asked now, {seconds:.0f} s",
            file=sys.stderr,
            flush=True,
        )
