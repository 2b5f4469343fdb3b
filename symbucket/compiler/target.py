"""What a model is compiled for: the operators that its runtime runs well."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """An execution provider, or whatever reads a file.

    Attributes:
        name: what messages call it.
        missing: ONNX operators that it does not have, or runs badly.
        binds_noise: random numbers are inputs, which whoever runs the model draws for each run;
            otherwise the model draws them itself.

    A target says what passes may introduce; a node of the user's own network stays.
    """

    name: str
    missing: frozenset[str] = frozenset()
    binds_noise: bool = True

    def runs(self, op_types: Collection[str]) -> bool:
        """Return whether the target has all of these operators."""
        return self.missing.isdisjoint(op_types)

    @property
    def supports_scan(self) -> bool:
        """Whether recurrent steps may become a loop."""
        return self.runs(("Scan",))


CPU = Target("CPUExecutionProvider")

# Not every runtime that reads a file knows Scan, and its body hides what a picture shows.
PORTABLE = Target("any ONNX runtime", frozenset({"Scan"}), binds_noise=False)
