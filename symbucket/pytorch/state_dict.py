"""``torch_state_dict``: trained parameters as a PyTorch module loads them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from symbucket.checks import listing
from symbucket.errors import ParameterError
from symbucket.pytorch.examples import import_torch
from symbucket.symbol.onnx.torch_notes import placeholder_of


def torch_state_dict(module: Any, trained: Any) -> dict[str, Any]:
    """Return trained parameters and states as ``module.load_state_dict`` takes them.

    Args:
        module: the ``torch.nn.Module`` that ``from_torch`` was called with.
        trained: what has them: a module of symbucket (``get_params`` is called), the pair
            (arguments, auxiliary states), or one mapping from names to arrays. Names that the
            module does not have (layers added after it) are ignored.

    What was not trained keeps the module's value; parameters that share a tensor get one value.

    Raises ParameterError if no name is the module's, or a shape is another.
    """
    torch = import_torch()
    values = _values(trained)
    state = {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}
    groups = _shared_names(module, state)
    spelled = {placeholder_of(name): name for name in groups}
    used = 0
    for spelling, value in values.items():
        # A file of PyTorch's exporter may not tell "out.proj" from "out_proj".
        name = spelling if spelling in groups else spelled.get(placeholder_of(spelling), spelling)
        if name not in groups:
            continue
        array = np.asarray(value.asnumpy() if hasattr(value, "asnumpy") else value)
        used += 1
        for key in groups[name]:
            state[key] = _converted(torch, key, array, state[key])
    if not used:
        raise ParameterError(
            f"torch_state_dict: none of {listing(values) or 'no parameters'} is in "
            f"{type(module).__name__}, which has {listing(state)}"
        )
    return state


def _values(trained: Any) -> dict[str, Any]:
    if hasattr(trained, "get_params"):
        trained = trained.get_params()
    parts: Iterable[Mapping[str, Any]] = [trained] if isinstance(trained, Mapping) else trained
    return {name: value for part in parts for name, value in part.items()}


def _shared_names(module: Any, state: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return for each parameter and buffer the names in the state that have the same tensor."""
    by_tensor: dict[int, list[str]] = {}
    tensors = [
        *module.named_parameters(remove_duplicate=False),
        *module.named_buffers(remove_duplicate=False),
    ]
    for name, tensor in tensors:
        by_tensor.setdefault(id(tensor), []).append(name)
    return {
        name: [other for other in names if other in state]
        for names in by_tensor.values()
        for name in names
    }


def _converted(torch: Any, name: str, array: Any, old: Any) -> Any:
    shape = tuple(old.shape)
    if array.shape != (shape or (1,)):
        raise ParameterError(
            f"torch_state_dict: {name!r} has the shape {array.shape}, the module's is {shape}"
        )
    return torch.from_numpy(np.array(array)).reshape(shape).to(old.dtype).to(old.device)
