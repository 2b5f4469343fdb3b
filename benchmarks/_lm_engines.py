"""The driver's side: which engines there are, and one worker process for each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from _worker_process import WorkerProcess

# Engine -> worker file and variant. Each has a second form with "-padded" behind its name.
# "all-rows" is symbucket without the pass that leaves ignored rows out of the output layer, which
# makes padding far cheaper than it is elsewhere.
KINDS = {
    "symbucket": ("_symbucket_lm.py", "plain"),
    "torch": ("_torch_lm.py", "plain"),
    "torch-tuned": ("_torch_lm.py", "tuned"),
    "mxnet": ("_mxnet_lm.py", "plain"),
    "jax": ("_jax_lm.py", "plain"),
    "symbucket-all-rows": ("_symbucket_lm.py", "all-rows"),
}
PADDED = "-padded"
NAMES = (*KINDS, *(kind + PADDED for kind in KINDS))


@dataclass(frozen=True)
class EngineSpec:
    """An engine under an interpreter."""

    name: str
    python: str

    @property
    def kind(self) -> str:
        """The name without "-padded"."""
        return self.name[: -len(PADDED)] if self.padded else self.name

    @property
    def padded(self) -> bool:
        """Whether all batches are padded to the largest bucket."""
        return self.name.endswith(PADDED)


class Worker(WorkerProcess):
    """The process of an engine."""

    def __init__(self, spec: EngineSpec, folder: Path, threads: int) -> None:
        self.spec = spec
        script, variant = KINDS[spec.kind]
        arguments = [str(folder), variant, "padded" if spec.padded else ""]
        super().__init__(spec.name, spec.python, script, arguments, threads)
