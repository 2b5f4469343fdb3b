"""Devices: ``cpu()`` and ``gpu(i)``, as in MXNet.

A context is only a name. Whether ONNX Runtime can use it is checked when something is bound to it;
the types of devices are those of ``symbucket.runtime.providers``.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Context", "cpu", "gpu"]


@dataclass(frozen=True)
class Context:
    """A device: ``device_type`` such as ``"cpu"`` or ``"gpu"``, and ``device_id`` from 0."""

    device_type: str
    device_id: int = 0

    def __str__(self) -> str:
        return f"{self.device_type}({self.device_id})"

    __repr__ = __str__


def cpu(device_id: int = 0) -> Context:
    """Return the context of the CPU. ``device_id`` only tells contexts apart; there is one CPU."""
    return Context("cpu", device_id)


def gpu(device_id: int = 0) -> Context:
    """Return the context of GPU number ``device_id``, used through CUDA."""
    return Context("gpu", device_id)
