"""What was found of an export, tensor by tensor, and the formats that there are."""

import math
from dataclasses import dataclass, field

from common.errors import AetherError

FORMATS = ("gguf", "gguf-q8_0", "gguf-q4_k_m", "fp8", "w4", "awq")
TEXT_FILE = "model.gguf"
EYES_FILE = "mmproj.gguf"


class ExportError(AetherError):
    """A model that cannot be exported, or an export that is not what it claims."""


def is_gguf(form: str) -> bool:
    return form.startswith("gguf")


@dataclass
class Proof:
    """What an export was found to be.

    Args:
        form: One of FORMATS.
        equal: Tensors that hold the same values, bit by bit.
        within: By stored type, the worst error of a tensor whose type has a bound: at most 1 of
            what its own step allows.
        relative: By stored type, the worst error of a tensor whose type has none: its root mean
            square over the tensor's, held to a threshold.
        stored: How many tensors there are of each stored type.
        wrong: What is not as it should be, one line each.
    """

    form: str
    equal: int = 0
    within: dict[str, float] = field(default_factory=dict)
    relative: dict[str, float] = field(default_factory=dict)
    stored: dict[str, int] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        parts = [f"{self.equal} tensors equal"]
        for kind, worst in sorted(self.within.items()):
            count = self.stored[kind]
            parts.append(f"{count} {kind} within their step (worst {worst:.3f} of it)")
        for kind, worst in sorted(self.relative.items()):
            parts.append(f"{self.stored[kind]} {kind} under a threshold (worst {worst:.4f})")
        return f"{self.form}: {', '.join(parts)}; nothing missing, nothing else there"

    def add_equal(self, name: str, same: bool) -> None:
        """A tensor that must not have changed."""
        self.equal += same
        if not same:
            self.wrong.append(f"{name}: changed, though its type keeps every value")

    def add_step(self, name: str, kind: str, off: float) -> None:
        """A quantised tensor; `off` in units of what its type's step allows."""
        self._count(self.within, kind, off)
        if not off <= 1:
            self.wrong.append(f"{name}: {kind}, off by {off:.3g} of what its step allows")

    def add_threshold(self, name: str, kind: str, error: float, threshold: float) -> None:
        """A quantised tensor of a type without a bound; its relative error and the threshold."""
        self._count(self.relative, kind, error)
        if not error <= threshold:
            text = f"{name}: {kind}, relative error {error:.3g}, over the threshold of {threshold}"
            self.wrong.append(text)

    def _count(self, worst: dict[str, float], kind: str, value: float) -> None:
        self.stored[kind] = self.stored.get(kind, 0) + 1
        worst[kind] = max(worst.get(kind, 0.0), math.inf if math.isnan(value) else value)

    def require(self, what: str, found: object, wanted: object) -> None:
        """Something beside the tensors that must be as in the merged model."""
        if found != wanted:
            shown = [_short(value) for value in (found, wanted)]
            self.wrong.append(f"{what}: {shown[0]}, the merged model has {shown[1]}")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
