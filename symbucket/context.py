"""Devices: ``cpu()`` and ``gpu(i)``, as in MXNet.

A context is only a name. Whether ONNX Runtime can use it is checked when something is bound to it;
the types of devices are those of ``symbucket.runtime.providers``.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any, ClassVar

from symbucket import hooks

__all__ = ["Context", "cpu", "cpu_pinned", "current_context", "gpu", "num_gpus"]


@dataclass(frozen=True)
class Context:
    """A device: ``device_type`` such as ``"cpu"`` or ``"gpu"``, and ``device_id`` from 0.

    In ``with context:`` new arrays of this thread lie there, unless they are given another one.
    """

    device_type: str
    device_id: int = 0

    devtype2str: ClassVar[dict[int, str]] = {
        1: "cpu",
        2: "gpu",
        3: "cpu_pinned",
        5: "cpu_shared",
    }
    """MXNet's numbers of the types of devices."""
    default_ctx: ClassVar[Context]
    """The context that is current where no block is open."""
    devstr2type: ClassVar[dict[str, int]] = {name: i for i, name in devtype2str.items()}

    def __post_init__(self) -> None:
        other: Any = self.device_type
        if isinstance(other, Context):  # a copy, as MXNet makes it
            object.__setattr__(self, "device_type", other.device_type)
            object.__setattr__(self, "device_id", other.device_id)

    @property
    def device_typeid(self) -> int:
        """MXNet's number of the type of device; 0 if it has none."""
        return self.devstr2type.get(self.device_type, 0)

    def empty_cache(self) -> None:
        """Do nothing: memory of arrays goes back to the system when they are gone."""

    def __enter__(self) -> Context:
        _entered.contexts.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        _entered.contexts.pop()

    def __str__(self) -> str:
        return f"{self.device_type}({self.device_id})"

    __repr__ = __str__


class _Entered(threading.local):
    """The contexts whose ``with`` blocks are open in this thread, the innermost last."""

    def __init__(self) -> None:
        self.contexts: list[Context] = []


_entered = _Entered()
Context.default_ctx = Context("cpu")


def current_context() -> Context:
    """Return the context of the innermost open ``with context:`` block, else ``cpu()``."""
    return _entered.contexts[-1] if _entered.contexts else Context.default_ctx


def cpu(device_id: int = 0) -> Context:
    """Return the context of the CPU. ``device_id`` only tells contexts apart; there is one CPU."""
    return Context("cpu", device_id)


def cpu_pinned(device_id: int = 0) -> Context:
    """Return another name of the CPU's memory, which is not pinned here."""
    return Context("cpu_pinned", device_id)


def gpu(device_id: int = 0) -> Context:
    """Return the context of GPU number ``device_id``, used through CUDA."""
    return Context("gpu", device_id)


def num_gpus() -> int:
    """Return how many GPUs there are that the installed runtime can use."""
    count: int = hooks.num_gpus()
    return count
