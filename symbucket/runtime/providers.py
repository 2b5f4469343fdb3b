"""Execution providers: what this library needs to know of each kind of device.

Everything that differs between devices is a field of ``Provider``; nothing else asks which device
it is. To support another one, add its record to ``PROVIDERS``: ``Context(device_type)`` then works.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from symbucket.context import Context
from symbucket.errors import DeviceError


@dataclass(frozen=True)
class Provider:
    """An execution provider of ONNX Runtime, and the names that the runtime has for its memory."""

    device_type: str
    """``device_type`` of the contexts that it serves."""
    name: str
    """The runtime's name, ``"...ExecutionProvider"``."""
    extra: str
    """The extra of this package that installs a runtime with it."""
    memory: str
    """The device of an OrtValue."""
    arena: str
    """The name of an OrtMemoryInfo."""
    run_device: str
    """The device in the config entries of run options."""
    host_memory: bool = False
    """Arrays lie in host memory, shared with numpy. Contexts then only have different names: they
    are one memory, and take turns."""
    missing: tuple[str, ...] = ()
    """ONNX operators that it has no kernels for, or bad ones, in alphabetical order."""
    since: tuple[int, int] = (0, 0)
    """The first version of the runtime in which it has what models need, if not all have that."""
    load_hint: str = ""
    """The usual reason why a build that has the provider cannot load it."""

    def options(self, context: Context) -> dict[str, str]:
        """Return the provider options for a context."""
        return {} if self.host_memory else {"device_id": str(context.device_id)}


_CPU = Provider(
    device_type="cpu",
    name="CPUExecutionProvider",
    extra="cpu",
    memory="cpu",
    arena="Cpu",
    run_device="cpu",
    host_memory=True,
)

# The host would compute these functions and read the condition of an If, while the device waits;
# and onnxruntime 1.31 lets the host read memory of the device if such a value is also an output
# that lies there. The recurrent operators put weights that are inputs into an order of their own in
# every run.
_MISSING_ON_CUDA = (
    *("Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "Col2Im", "Cosh", "GRU", "If", "LSTM"),
    *("RNN", "Sinh", "Tan"),
)

PROVIDERS = (
    _CPU,
    replace(_CPU, device_type="cpu_pinned"),
    replace(_CPU, device_type="cpu_shared"),
    Provider(
        device_type="gpu",
        name="CUDAExecutionProvider",
        extra="cuda",
        memory="cuda",
        arena="Cuda",
        run_device="gpu",
        missing=_MISSING_ON_CUDA,
        since=(1, 28),  # older ones compute Equal on the host, and some a Scan
        load_hint="CUDA or cuDNN libraries of another version are the usual cause",
    ),
)


def provider_of(context: Context) -> Provider:
    """Return the execution provider that serves a context, whether it is installed or not.

    Raises DeviceError if there is none for this type of device.
    """
    for provider in PROVIDERS:
        if provider.device_type == context.device_type:
            return provider
    device_types = ", ".join(provider.device_type for provider in PROVIDERS)
    raise DeviceError(f"{context}: no such type of device; the types are {device_types}")


def share_memory(a: Context, b: Context) -> bool:
    """Return whether sessions of either context read arrays of the other: CPUs are one memory."""
    return a == b or all(provider_of(context).host_memory for context in (a, b))
