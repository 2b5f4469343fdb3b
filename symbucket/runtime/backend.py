"""Finding ONNX Runtime: which build it is, and which execution provider serves a context."""

from __future__ import annotations

import logging
from typing import Any

from symbucket.context import Context
from symbucket.errors import DeviceError, RuntimeMissingError

MINIMUM = (1, 19)
_MEND = (
    'Install one of them: pip install "symbucket[training]" (onnxruntime-training, Python 3.10 to '
    '3.12), pip install "symbucket[cpu]" (onnxruntime) or pip install "symbucket[cuda]" '
    "(onnxruntime-gpu)."
)


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.partition("+")[0].split(".")[:2] if part.isdigit())


def load_runtime() -> Any:
    """The module ``onnxruntime``; RuntimeMissingError where there is none or it is too old."""
    before = list(logging.root.handlers)
    try:
        import onnxruntime
    except ImportError as error:
        raise RuntimeMissingError(
            f"symbucket needs an ONNX Runtime and found none ({error}). {_MEND}"
        ) from error
    finally:
        # onnxruntime-training configures the root logger when imported, and the logging.basicConfig
        # of a user's script would do nothing after that.
        for handler in [h for h in logging.root.handlers if h not in before]:
            logging.root.removeHandler(handler)
    version = getattr(onnxruntime, "__version__", None)
    if version is None:
        # Two of the wheels installed over each other and one removed leave an empty package.
        raise RuntimeMissingError(
            "The package onnxruntime is there but empty, as after two of its builds were installed "
            f"over each other. Uninstall them all, then install one again. {_MEND}"
        )
    if _version(version) < MINIMUM:
        raise RuntimeMissingError(
            f"symbucket needs onnxruntime {'.'.join(map(str, MINIMUM))} or newer and found "
            f"{version}. {_MEND}"
        )
    return onnxruntime


ort = load_runtime()


def is_training_build() -> bool:
    """Whether the runtime has onnxruntime-training's kernels and its GradientGraphBuilder."""
    return hasattr(ort.capi._pybind_state, "GradientGraphBuilder")


def provider_of(context: Context) -> tuple[str, dict[str, str]]:
    """Execution provider and options of a context; DeviceError where it is not available."""
    if context.device_type == "cpu":
        return "CPUExecutionProvider", {}
    available = ort.get_available_providers()
    if "CUDAExecutionProvider" not in available:
        raise DeviceError(
            f"{context} needs the CUDAExecutionProvider; onnxruntime {ort.__version__} here has "
            f"{', '.join(available)}. Install symbucket[cuda] in place of the other runtime, or "
            "use context=symbucket.cpu()."
        )
    return "CUDAExecutionProvider", {"device_id": str(context.device_id)}
