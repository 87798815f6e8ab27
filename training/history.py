"""history.jsonl: what a run logged, one JSON object a line, as it went.

Nothing of W&B is needed to read it.
"""

import json
from pathlib import Path

from transformers import TrainerCallback

from common.runs import HISTORY


class HistoryWriter(TrainerCallback):
    """Appends each log of the Trainer to a run's history: its step and the logged names, as in
    trainer_state.json.
    """

    def __init__(self, folder: Path):
        self.path = folder / HISTORY

    def on_log(self, args, state, control, logs: dict | None = None, **kwargs) -> None:
        if not state.is_world_process_zero or not logs:
            return
        line = json.dumps({"step": state.global_step, **logs}, default=float)
        with self.path.open("a+b") as file:
            file.write(_ending(file) + line.encode() + b"\n")


def _ending(file) -> bytes:
    """A line break where the last line was cut short by a kill."""
    if file.seek(0, 2) == 0:
        return b""
    file.seek(-1, 2)
    return b"" if file.read(1) == b"\n" else b"\n"
