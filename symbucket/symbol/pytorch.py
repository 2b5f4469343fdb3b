"""``from_torch`` and ``torch_state_dict``, which ``symbucket.pytorch`` carries out."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, overload

from symbucket import hooks
from symbucket.symbol.onnx.report import ParameterReport
from symbucket.symbol.symbol import Symbol

if TYPE_CHECKING:
    from symbucket.pytorch.network import TorchNetwork

Inputs = Sequence[Symbol] | Mapping[str, Symbol] | None
"""Symbols for the inputs of a module: in their order, or by name."""


@overload
def from_torch(
    module: Any,
    example_inputs: Callable[[Any], Any],
    inputs: Inputs = None,
    *,
    head: Callable[[Symbol], Symbol] | None = None,
    name: str = "torch",
    fixed: str | Collection[str] = (),
    dynamic: bool = True,
    check: bool = True,
    tolerance: float = 1e-4,
) -> TorchNetwork: ...


@overload
def from_torch(
    module: Any,
    example_inputs: Any,
    inputs: Inputs = None,
    *,
    name: str = "torch",
    fixed: str | Collection[str] = (),
    dynamic: bool = True,
    check: bool = True,
    tolerance: float = 1e-4,
    report: Literal[False] = False,
) -> Symbol: ...


@overload
def from_torch(
    module: Any,
    example_inputs: Any,
    inputs: Inputs = None,
    *,
    name: str = "torch",
    fixed: str | Collection[str] = (),
    dynamic: bool = True,
    check: bool = True,
    tolerance: float = 1e-4,
    report: Literal[True],
) -> tuple[Symbol, ParameterReport]: ...


def from_torch(
    module: Any,
    example_inputs: Any,
    inputs: Inputs = None,
    *,
    head: Callable[[Symbol], Symbol] | None = None,
    name: str = "torch",
    fixed: str | Collection[str] = (),
    dynamic: bool = True,
    check: bool = True,
    tolerance: float = 1e-4,
    report: bool = False,
) -> TorchNetwork | Symbol | tuple[Symbol, ParameterReport]:
    """A ``torch.nn.Module`` as a symbol, or as a ``sym_gen``, that trains as the module does.

    Args:
        module: the module, on the CPU. Each of its parts is read in the mode it is in
            (``module.train()``, ``part.eval()``), and trains here as it would train there.
        example_inputs: what ``forward`` takes: a tensor, a tuple of tensors, or a mapping from
            argument names to tensors; numpy arrays are taken as tensors. A function of a bucket
            key that returns such inputs makes a ``TorchNetwork``, which is a ``sym_gen``.
        inputs: symbols for the inputs, in their order or by name. Inputs that are left out become
            variables with the names of ``forward``'s arguments.
        head: for a ``sym_gen``: a function that puts the loss on the network's outputs. What it
            adds as variables are the labels, but for parameters with an initial value.
        name: of the node; its outputs are ``NAME_output``, or ``NAME_output0`` and so on.
        fixed: names or patterns of parameters that keep their values, besides those with
            ``requires_grad=False``.
        dynamic: leave sizes open that ``forward`` does not fix. Sizes of 0 and 1 in the example
            are fixed, so take batches of 2 or more.
        check: compare outputs and gradients of all parameters with the module's on the example.
        tolerance: the largest difference, relative to the largest value if that is over 1.
        report: return (symbol, ``ParameterReport``); not for a ``sym_gen``.

    Parameters are variables with the module's names that start at its values; shared ones are one
    variable. Buffers are fixed, but for the running statistics of BatchNorm in training mode, which
    are auxiliary states and follow the batches as in PyTorch. Dropout drops in training. The row
    ``padding_idx`` of an embedding gets no gradient. ``torch_state_dict`` gives the trained
    parameters back to PyTorch.

    Raises:
        RuntimeMissingError: PyTorch is not installed.
        UnsupportedError: PyTorch cannot export the module, or not as it is; or an operator, or its
            gradient, is missing here.
        ParameterError: outputs or gradients differ from the module's.
    """
    read: TorchNetwork | Symbol | tuple[Symbol, ParameterReport] = hooks.from_torch(
        module,
        example_inputs,
        inputs,
        head=head,
        name=name,
        fixed=fixed,
        dynamic=dynamic,
        check=check,
        tolerance=tolerance,
        report=report,
    )
    return read


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
    state: dict[str, Any] = hooks.torch_state_dict(module, trained)
    return state
