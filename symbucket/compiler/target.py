"""Targets that a model is compiled for: the operators that its runtime runs well."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """An execution provider, or whatever reads a file.

    Attributes:
        name: what messages call it.
        missing: ONNX operators that it does not have, or runs badly, in alphabetical order.
        binds_noise: random numbers are inputs, which whoever runs the model draws for each run;
            otherwise the model draws them itself.
        unrolls_loops: recurrences are compiled as loops although there is no Scan; those that are
            no recurrent operator are written out step by step in the end.
        copies_weights: its products copy the right operand, as a rule a weight, in every run.
        casts_booleans_slowly: a cast from booleans takes a multiple of one from bytes.
        channel_block: channels in a block of the runtime's blocked convolutions, which depends on
            the processor; 0 if it has none.
        shards: parts of a batch's rows that may run at the same time; 1: only all of them together.

    A target says what passes may introduce; a node of the user's own network stays, unless a pass
    knows another form of it.
    """

    name: str
    missing: tuple[str, ...] = ()
    binds_noise: bool = True
    unrolls_loops: bool = False
    copies_weights: bool = True
    casts_booleans_slowly: bool = False
    channel_block: int = 0
    shards: int = 1

    def runs(self, op_types: Collection[str]) -> bool:
        """Return whether the target has all of these operators."""
        return not any(op_type in self.missing for op_type in op_types)

    @property
    def compiles_loops(self) -> bool:
        """Whether equal steps are compiled as one."""
        return self.supports_scan or self.unrolls_loops

    @property
    def supports_scan(self) -> bool:
        """Whether recurrent steps may become a loop."""
        return self.runs(("Scan",))


CPU = Target("CPUExecutionProvider")

# As CPU, for a caller that draws no numbers.
SERVING = Target("CPUExecutionProvider", binds_noise=False)

# Not every runtime that reads a file knows Scan and If; their graphs hide what a picture shows.
PORTABLE = Target("any ONNX runtime", ("If", "Scan"), binds_noise=False)

# Recurrences are LSTM, GRU or RNN, which every runtime has.
INFERENCE_FILE = Target("any ONNX runtime", ("If", "Scan"), binds_noise=False, unrolls_loops=True)
