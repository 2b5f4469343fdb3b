"""Example inputs of a module: what ``forward`` is called with."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from symbucket.errors import InvalidArgumentError, RuntimeMissingError
from symbucket.types import Array


def import_torch() -> Any:
    """Return the module ``torch``; raise RuntimeMissingError if it is not installed."""
    try:
        return importlib.import_module("torch")
    except ImportError as error:
        raise RuntimeMissingError(
            f"from_torch needs PyTorch ({error}): pip install 'symbucket[torch]' installs it with "
            "onnxscript, which its exporter needs"
        ) from error


class Call:
    """The arguments of one call of ``forward``, as tensors.

    ``arguments`` is a tensor, a tuple of tensors (by position) or a mapping (by name); numpy
    arrays are taken as tensors.
    """

    def __init__(self, arguments: Any) -> None:
        torch = import_torch()
        if isinstance(arguments, Mapping):
            positional: Sequence[Any] = ()
            named = dict(arguments)
        else:
            positional = arguments if isinstance(arguments, (tuple, list)) else (arguments,)
            named = {}
        self.args = tuple(_tensor(torch, value, i) for i, value in enumerate(positional))
        self.kwargs = {name: _tensor(torch, value, name) for name, value in named.items()}
        if not self.args and not self.kwargs:
            raise InvalidArgumentError(
                "from_torch: there are no example inputs; give the tensors that forward takes"
            )

    def tensors(self) -> list[Any]:
        """Return all tensors."""
        return [*self.args, *self.kwargs.values()]

    def by_name(self, names: Sequence[str]) -> dict[str, Any]:
        """Return the tensors by name, given the names of the exported graph's inputs."""
        return dict(self.kwargs) if self.kwargs else dict(zip(names, self.args))

    def arrays(self, names: Sequence[str]) -> dict[str, Array]:
        """Return copies of the tensors as arrays, by name."""
        return {name: np.array(tensor.numpy()) for name, tensor in self.by_name(names).items()}

    def dynamic_shapes(self, axis: Any) -> Any:
        """Return the description of all axes as dynamic that ``torch.export.export`` takes."""
        if self.kwargs:
            return {name: dict.fromkeys(range(t.dim()), axis) for name, t in self.kwargs.items()}
        return tuple(dict.fromkeys(range(t.dim()), axis) for t in self.args)

    def run(self, module: Any) -> list[Any]:
        """Return the tensors that the module computes, in the order of the graph's outputs."""
        torch = import_torch()
        with _slow_path(torch):
            outputs = module(*self.args, **self.kwargs)
        leaves = torch.utils._pytree.tree_leaves(outputs)
        return [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]


def _tensor(torch: Any, value: Any, name: object) -> Any:
    if isinstance(value, np.ndarray):
        return torch.from_numpy(np.array(value))
    if not isinstance(value, torch.Tensor):
        raise InvalidArgumentError(
            f"from_torch: example input {name!r} is {type(value).__name__}; expected a tensor or a "
            "numpy array. Bind other arguments in a module whose forward takes tensors alone."
        )
    return value.detach().clone()


@contextmanager
def _slow_path(torch: Any) -> Iterator[None]:
    """Let nn.TransformerEncoder compute as in training.

    In evaluation its fast path writes zeros at masked positions.
    """
    mha = getattr(torch.backends, "mha", None)
    if mha is None:
        yield
        return
    enabled = mha.get_fastpath_enabled()
    mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        mha.set_fastpath_enabled(enabled)
