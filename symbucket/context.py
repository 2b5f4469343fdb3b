"""Devices: ``cpu()`` and ``gpu(i)``, as in MXNet.

A context is only a name; whether ONNX Runtime can use it is asked when something is bound to it.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Context", "cpu", "gpu"]


@dataclass(frozen=True)
class Context:
    """A device: ``device_type`` is ``"cpu"`` or ``"gpu"``, ``device_id`` counts from 0."""

    device_type: str
    device_id: int = 0

    def __str__(self) -> str:
        return f"{self.device_type}({self.device_id})"

    __repr__ = __str__


def cpu(device_id: int = 0) -> Context:
    """The CPU execution provider. ``device_id`` only tells contexts apart; there is one CPU."""
    return Context("cpu", device_id)


def gpu(device_id: int = 0) -> Context:
    """The CUDA execution provider on GPU number ``device_id``."""
    return Context("gpu", device_id)
