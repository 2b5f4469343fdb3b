"""Functions that lower layers offer and higher ones carry out; the package connects the two."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from symbucket.errors import StateError


class Hook:
    """A function of a higher layer, which a lower one calls without importing it."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._function: Callable[..., Any] | None = None

    def connect(self, function: Callable[..., Any]) -> None:
        """Call ``function`` from now on."""
        self._function = function

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function."""
        if self._function is None:
            raise StateError(f"{self._name} works once symbucket is imported as a whole")
        return self._function(*args, **kwargs)


bind = Hook("Symbol.bind")
simple_bind = Hook("Symbol.simple_bind")
export_module = Hook("module.export")
export_onnx = Hook("module.export_onnx")
export_training = Hook("module.export_training")
check_run_page = Hook("the report of fit")
read_run_page = Hook("the report of fit")
write_run_page = Hook("the report of fit")
image_record_iter = Hook("ImageRecordIter")
inline_svg = Hook("a picture of a Symbol")
from_torch = Hook("sym.from_torch")
torch_state_dict = Hook("sym.torch_state_dict")
num_gpus = Hook("num_gpus")
array_function = Hook("an operator of NDArray")
