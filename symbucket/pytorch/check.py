"""``check``: outputs and gradients of a symbol against those of the module that it was made of."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from symbucket.context import cpu
from symbucket.errors import ParameterError, UnsupportedError
from symbucket.pytorch.examples import Call, import_torch
from symbucket.symbol.symbol import Group, Symbol
from symbucket.types import Array


def check(
    symbol: Symbol,
    module: Any,
    call: Call,
    data_names: list[str],
    values: Mapping[str, Array],
    trained: Collection[str],
    tolerance: float,
) -> None:
    """Compare a symbol with a module on example inputs, without dropout.

    Outputs are compared as in prediction, and outputs and gradients of the parameters as in
    training.

    Args:
        symbol: the network, without nodes that draw random numbers.
        module: the module; a copy of it runs.
        call: the example inputs.
        data_names: the names of the symbol's data, of all inputs.
        values: values of parameters and auxiliary states.
        trained: the names of trained parameters.
        tolerance: the largest difference, relative to the largest value if that is over 1.

    Raises ParameterError with the largest difference if it is over ``tolerance``.
    """
    if any(node.op is not None and node.op.draws(training=True) for node in symbol.nodes()):
        raise UnsupportedError(
            "from_torch: forward draws random numbers besides dropout, so its outputs cannot be "
            "compared; check=False leaves that out"
        )
    arrays = call.arrays(data_names)
    predicting = copy.deepcopy(module).eval()
    references = [tensor.detach().numpy() for tensor in call.run(predicting)]
    _compare("in prediction, output", _predict(symbol, arrays, values), references, tolerance)
    _check_training(symbol, _without_dropout(module), call, arrays, values, trained, tolerance)


def _predict(
    symbol: Symbol, arrays: Mapping[str, Array], values: Mapping[str, Array]
) -> dict[str, Array]:
    executor = _bind(symbol, arrays, values, "null")
    outputs = executor.forward(is_train=False, **arrays)
    return {str(i): output.asnumpy() for i, output in enumerate(outputs)}


def _check_training(
    symbol: Symbol,
    module: Any,
    call: Call,
    arrays: Mapping[str, Array],
    values: Mapping[str, Array],
    trained: Collection[str],
    tolerance: float,
) -> None:
    tensors = call.run(module)
    smooth = [i for i, tensor in enumerate(tensors) if tensor.requires_grad]
    if not smooth or not trained:
        return
    losses = Group([symbol[i] for i in smooth]) if len(smooth) < len(tensors) else symbol
    generator = np.random.default_rng(0)
    heads = [
        generator.normal(size=tuple(tensors[i].shape)).astype(tensors[i].detach().numpy().dtype)
        for i in smooth
    ]
    torch = import_torch()
    torch.autograd.backward([tensors[i] for i in smooth], [torch.from_numpy(h) for h in heads])
    of_module = dict(module.named_parameters(remove_duplicate=False))
    request = {name: "write" if name in trained else "null" for name in losses.list_arguments()}
    executor = _bind(losses, arrays, values, request)
    outputs = executor.forward(is_train=True, **arrays)
    references = [tensors[i].detach().numpy() for i in smooth]
    numbered = {str(i): output.asnumpy() for i, output in zip(smooth, outputs)}
    _compare("in training, output", numbered, references, tolerance)
    executor.backward(heads)
    for name in trained:
        if name not in executor.grad_dict:
            continue
        gradient = executor.grad_dict[name].asnumpy()
        slope = of_module[name].grad
        reference = np.zeros_like(gradient) if slope is None else slope.to_dense().numpy()
        _compare(
            "the gradient of", {name: gradient}, [reference.reshape(gradient.shape)], tolerance
        )


def _bind(
    symbol: Symbol, arrays: Mapping[str, Array], values: Mapping[str, Array], grad_req: Any
) -> Any:
    names = symbol.list_arguments()
    shapes = {name: array.shape for name, array in arrays.items() if name in names}
    executor = symbol.simple_bind(cpu(), grad_req, **shapes)
    executor.copy_params_from(
        {name: value for name, value in values.items() if name in executor.arg_dict},
        {name: value for name, value in values.items() if name in executor.aux_dict},
    )
    return executor


def _without_dropout(module: Any) -> Any:
    """Return a copy of a module in which BatchNorm alone may be in training mode."""
    torch = import_torch()
    clone = copy.deepcopy(module)
    for part in clone.modules():
        if not isinstance(part, torch.nn.modules.batchnorm._BatchNorm):
            part.training = False
    return clone


def _compare(
    what: str, values: Mapping[str, Array], references: list[Array], tolerance: float
) -> None:
    if len(values) != len(references):
        raise ParameterError(
            f"from_torch: the network has {len(values)} outputs, the module {len(references)}"
        )
    for (name, value), reference in zip(values.items(), references):
        if value.shape != reference.shape:
            raise ParameterError(
                f"from_torch: {what} {name} has the shape {value.shape}, the module's "
                f"{reference.shape}"
            )
        difference = _difference(value, reference)
        bound = tolerance * max(1.0, _largest(reference))
        if not difference <= bound:
            raise ParameterError(
                f"from_torch: {what} {name} differs from the module's by {difference:.3g}; "
                f"expected {bound:.3g} or less. Either PyTorch exports this module as something "
                "else, or it computes something that a graph cannot (branches on values); "
                "tolerance= permits larger differences."
            )


def _difference(value: Array, reference: Array) -> float:
    """Return the largest difference; equal infinities and NaN do not differ."""
    same = (value == reference) | (np.isnan(value) & np.isnan(reference))
    with np.errstate(invalid="ignore"):
        distance = np.abs(value.astype(np.float64) - reference.astype(np.float64))
    return float(np.max(np.where(same, 0.0, distance), initial=0.0))


def _largest(reference: Array) -> float:
    finite = np.abs(reference[np.isfinite(reference)].astype(np.float64))
    return float(np.max(finite, initial=0.0))
