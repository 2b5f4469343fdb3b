"""Find ONNX Runtime, and say which build it is and which execution providers it has."""

from __future__ import annotations

import ctypes
import logging
import sys
from functools import cache
from typing import Any

from symbucket.checks import one_line
from symbucket.context import Context
from symbucket.errors import DeviceError, RuntimeMissingError
from symbucket.runtime.providers import provider_of

MINIMUM_VERSION = (1, 19)
_TRAINING = 'pip install "symbucket[training]" (onnxruntime-training), '
_INSTALL_HINT = (
    "Install one: "
    # onnxruntime-training has no wheels for later versions of Python.
    f"{_TRAINING if sys.version_info < (3, 13) else ''}"
    'pip install "symbucket[cpu]" (onnxruntime) or pip install "symbucket[cuda]" (onnxruntime-gpu).'
)


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.partition("+")[0].split(".")[:2] if part.isdigit())


@cache
def load_runtime() -> Any:
    """Import ``onnxruntime``; raise RuntimeMissingError if there is none that can be used."""
    handlers = list(logging.root.handlers)
    try:
        import onnxruntime
    except ImportError as error:
        if isinstance(error, ModuleNotFoundError) and error.name == "onnxruntime":
            raise RuntimeMissingError(
                f"symbucket needs an ONNX Runtime and found none ({error}). {_INSTALL_HINT}"
            ) from error
        raise RuntimeMissingError(
            "The package onnxruntime is there, but importing it fails "
            f"({one_line(error) or type(error).__name__}), as it does before 1.19 beside numpy 2, "
            f"or if a package that it needs is missing. Uninstall it first. {_INSTALL_HINT}"
        ) from error
    finally:
        # onnxruntime-training configures the root logger when imported, and the logging.basicConfig
        # of a user's script would do nothing after that.
        for handler in [h for h in logging.root.handlers if h not in handlers]:
            logging.root.removeHandler(handler)
    version = getattr(onnxruntime, "__version__", None)
    if version is None:
        # Two of the wheels installed over each other and one removed leave an empty package.
        raise RuntimeMissingError(
            "The package onnxruntime is there but empty, as after two of its builds were installed "
            f"over each other. Uninstall them all first. {_INSTALL_HINT}"
        )
    if _version(version) < MINIMUM_VERSION:
        raise RuntimeMissingError(
            f"symbucket needs onnxruntime {'.'.join(map(str, MINIMUM_VERSION))} or newer and found "
            f"{version}. {_INSTALL_HINT}"
        )
    return onnxruntime


class _Runtime:
    """The module ``onnxruntime``, imported when it is first used.

    So ``symbucket info`` can say that it is missing, and symbols can be built without one.
    """

    def __getattr__(self, name: str) -> Any:
        return getattr(load_runtime(), name)


ort: Any = _Runtime()


def runtime_version() -> tuple[int, ...]:
    """Return major and minor version of the installed runtime."""
    return _version(ort.__version__)


def is_training_build() -> bool:
    """Return whether the runtime has the kernels and gradient builder of onnxruntime-training."""
    return hasattr(ort.capi._pybind_state, "GradientGraphBuilder")


def is_available(provider: str) -> bool:
    """Return whether the installed runtime has an execution provider, by its name."""
    return provider in ort.get_available_providers()


def session_provider(context: Context) -> tuple[str, dict[str, str]]:
    """Return name and options of the execution provider of a context, as a session takes them.

    Raises DeviceError if the installed runtime does not have it.
    """
    provider = provider_of(context)
    if not is_available(provider.name):
        raise DeviceError(
            f"{context} needs the {provider.name}; onnxruntime {ort.__version__} here has "
            f"{', '.join(ort.get_available_providers())}. Install symbucket[{provider.extra}] in "
            "place of the other runtime, or compute on the CPU, context=symbucket.cpu()."
        )
    if runtime_version() < provider.since:
        raise DeviceError(
            f"{context} needs onnxruntime {'.'.join(map(str, provider.since))} or newer, here is "
            f"{ort.__version__}, whose {provider.name} lacks kernels that networks need. Install "
            f"a newer symbucket[{provider.extra}], or compute on the CPU, context=symbucket.cpu()."
        )
    return provider.name, provider.options(context)


_CUDA_DRIVERS = ("libcuda.so.1", "nvcuda.dll")


def num_gpus() -> int:
    """Return how many GPUs the runtime can use: those of the CUDA driver, if it has the provider.

    The runtime itself has no call that counts devices.
    """
    if not is_available(provider_of(Context("gpu")).name):
        return 0
    for name in _CUDA_DRIVERS:
        try:
            driver = ctypes.CDLL(name)
        except OSError:
            continue
        count = ctypes.c_int()
        if driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0:
            return count.value
    return 0
