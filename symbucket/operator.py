"""Operators of one's own in Python, and what operators there are, as ``mx.operator``.

An operator of one's own is two classes: a ``CustomOp`` computes, and a ``CustomOpProp``, registered
under a name, says what it takes and returns. ``sym.Custom(data, op_type=NAME)`` applies it.
"""

from __future__ import annotations

import itertools
import typing
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np

from symbucket import ops
from symbucket import symbol as sym
from symbucket.errors import InvalidArgumentError, UnsupportedError
from symbucket.ops.attributes import describe
from symbucket.ops.custom import register_properties
from symbucket.runtime import NDArray
from symbucket.symbol import Symbol

__all__ = [
    "CustomOp",
    "CustomOpProp",
    "NDArrayOp",
    "NumpyOp",
    "OperatorArguments",
    "get_all_registered_operators",
    "get_operator_arguments",
    "register",
]

Shapes = Sequence[Sequence[int]]


class CustomOp:
    """What an operator computes, as ``mx.operator.CustomOp``; a subclass defines both methods.

    An executor makes one with ``CustomOpProp.create_operator``, and calls ``forward`` and
    ``backward`` between the models of the network. Arrays are NDArrays in host memory.
    """

    def forward(
        self,
        is_train: bool,
        req: Sequence[str],
        in_data: Sequence[NDArray],
        out_data: Sequence[NDArray],
        aux: Sequence[NDArray],
    ) -> None:
        """Write the outputs, by ``self.assign(out_data[i], req[i], values)``.

        Args:
            is_train: whether it is a forward in training mode.
            req: "write" for each output.
            in_data: the arguments. out_data: the outputs, which are there to be written.
            aux: the auxiliary states, which may be changed in place.
        """
        raise UnsupportedError(f"{type(self).__name__} defines no forward")

    def backward(
        self,
        req: Sequence[str],
        out_grad: Sequence[NDArray],
        in_data: Sequence[NDArray],
        out_data: Sequence[NDArray],
        in_grad: Sequence[NDArray],
        aux: Sequence[NDArray],
    ) -> None:
        """Write the gradients of the arguments, by ``self.assign(in_grad[i], req[i], values)``.

        Args:
            req: "write", or "null" for an argument whose gradient nobody needs.
            out_grad: the head gradients; zeros if ``need_top_grad`` is False and there are none.
            in_data, out_data, aux: as of the last ``forward``.
            in_grad: the gradients to write.
        """
        raise UnsupportedError(
            f"{type(self).__name__} defines no backward, and its gradients are needed"
        )

    def assign(self, dst: NDArray, req: str, src: Any) -> None:
        """Write or add ``src`` (an array or number) into ``dst``, as ``req`` says."""
        if req in ("write", "inplace"):
            dst[...] = np.asarray(src)
        elif req == "add":
            dst += np.asarray(src)


class CustomOpProp:
    """What an operator takes and returns, as ``mx.operator.CustomOpProp``.

    A subclass overrides what differs from one argument ``data`` and one output of its shape. Its
    ``__init__`` gets the keyword arguments of ``sym.Custom`` as strings.

    Args:
        need_top_grad: whether its gradient depends on the head gradient; False for a loss.
    """

    def __init__(self, need_top_grad: bool = True) -> None:
        self.need_top_grad_ = need_top_grad

    def list_arguments(self) -> list[str]:
        """Return the names of the arguments; those left out become variables."""
        return ["data"]

    def list_outputs(self) -> list[str]:
        """Return the names of the outputs."""
        return ["output"]

    def list_auxiliary_states(self) -> list[str]:
        """Return the names of the auxiliary states."""
        return []

    def infer_shape(self, in_shape: Shapes) -> tuple[Shapes, Shapes, Shapes]:
        """Return the shapes of arguments, outputs and auxiliary states.

        ``in_shape`` has a shape for each argument; [] is one that is not known yet.
        """
        return in_shape, [in_shape[0]] * len(self.list_outputs()), []

    def infer_type(self, in_type: Sequence[Any]) -> tuple[Sequence[Any], ...]:
        """Return the dtypes of arguments, outputs and auxiliary states."""
        outputs, states = self.list_outputs(), self.list_auxiliary_states()
        return in_type, [in_type[0]] * len(outputs), [in_type[0]] * len(states)

    def declare_backward_dependency(
        self, out_grad: Sequence[int], in_data: Sequence[int], out_data: Sequence[int]
    ) -> list[int]:
        """Return what ``backward`` reads; it gets everything in any case."""
        return [*(out_grad if self.need_top_grad_ else ()), *in_data, *out_data]

    def create_operator(self, ctx: Any, in_shapes: Shapes, in_dtypes: Sequence[Any]) -> CustomOp:
        """Return the operator for these shapes and dtypes."""
        raise UnsupportedError(f"{type(self).__name__} defines no create_operator")


_P = TypeVar("_P", bound="type[CustomOpProp]")


def register(reg_name: str) -> Callable[[_P], _P]:
    """Class decorator: make the properties of an operator known as ``op_type=reg_name``.

    A name may be registered again; nodes that exist keep what they were made with.
    """

    def decorate(prop_cls: _P) -> _P:
        if not (isinstance(prop_cls, type) and issubclass(prop_cls, CustomOpProp)):
            raise InvalidArgumentError(
                f"operator.register({reg_name!r}): {prop_cls!r} is no subclass of CustomOpProp"
            )
        register_properties(reg_name, prop_cls)
        return prop_cls

    return decorate


class PythonOp:
    """An operator in MXNet's older form: one object computes and says what it takes.

    Calling it with symbols applies it. Subclass ``NumpyOp`` or ``NDArrayOp``.

    Args:
        need_top_grad: whether its gradient depends on the head gradient; False for a loss.
    """

    _count = itertools.count()

    def __init__(self, need_top_grad: bool = True) -> None:
        self.need_top_grad_ = need_top_grad

    def __call__(self, *args: Symbol, **kwargs: Any) -> Symbol:
        """Return ``get_symbol(...)``."""
        return self.get_symbol(*args, **kwargs)

    def get_symbol(self, *args: Symbol, **kwargs: Any) -> Symbol:
        """Return the operator applied to symbols; a file of it cannot be loaded elsewhere."""
        name = f"_{type(self).__name__}_{next(PythonOp._count)}"
        register_properties(name, lambda: _OldProperties(self))
        symbol: Symbol = sym.Custom(*args, op_type=name, **kwargs)
        return symbol

    def forward(self, in_data: Sequence[Any], out_data: Sequence[Any]) -> None:
        """Write the outputs in place; by default the first argument."""
        out_data[0][:] = in_data[0]

    def backward(
        self,
        out_grad: Sequence[Any],
        in_data: Sequence[Any],
        out_data: Sequence[Any],
        in_grad: Sequence[Any],
    ) -> None:
        """Write the gradients in place; by default ones."""
        in_grad[0][:] = 1.0

    def infer_shape(self, in_shape: Shapes) -> tuple[Shapes, Shapes]:
        """Return the shapes of arguments and outputs."""
        return in_shape, [in_shape[0]]

    def list_outputs(self) -> list[str]:
        """Return the names of the outputs."""
        return ["output"]

    def list_arguments(self) -> list[str]:
        """Return the names of the arguments."""
        return ["data"]

    def need_top_grad(self) -> bool:
        """Return whether its gradient depends on the head gradient."""
        return self.need_top_grad_

    def _array(self, array: NDArray) -> Any:
        """Return an array in the form in which ``forward`` and ``backward`` take it."""
        return array


class NDArrayOp(PythonOp):
    """An operator in MXNet's older form, over NDArrays."""


class NumpyOp(PythonOp):
    """An operator in MXNet's older form, over numpy arrays."""

    def _array(self, array: NDArray) -> Any:
        return array.view()


class _OldProperties(CustomOpProp):
    """A PythonOp as the properties of a custom operator, and as the operator itself."""

    def __init__(self, old: PythonOp) -> None:
        super().__init__(old.need_top_grad())
        self._old = old
        self.list_arguments, self.list_outputs = old.list_arguments, old.list_outputs  # type: ignore[method-assign]

    def infer_shape(self, in_shape: Shapes) -> tuple[Shapes, Shapes, Shapes]:
        arguments, outputs = self._old.infer_shape(in_shape)
        return arguments, outputs, []

    def create_operator(self, ctx: Any, in_shapes: Shapes, in_dtypes: Sequence[Any]) -> CustomOp:
        return _OldOperator(self._old)


class _OldOperator(CustomOp):
    def __init__(self, old: PythonOp) -> None:
        self._old = old

    def forward(self, is_train: bool, req: Any, in_data: Any, out_data: Any, aux: Any) -> None:
        form = self._old._array
        self._old.forward([form(a) for a in in_data], [form(a) for a in out_data])

    def backward(
        self, req: Any, out_grad: Any, in_data: Any, out_data: Any, in_grad: Any, aux: Any
    ) -> None:
        groups = (out_grad, in_data, out_data, in_grad)
        self._old.backward(*([self._old._array(a) for a in group] for group in groups))


class OperatorArguments(NamedTuple):
    """The inputs and attributes of an operator: how many, their names, and what each may be."""

    narg: int
    names: list[str]
    types: list[str]


def get_all_registered_operators() -> list[str]:
    """Return the names of all operators, aliases included, sorted."""
    return ops.names()


def get_operator_arguments(op_name: str) -> OperatorArguments:
    """Return the inputs of an operator, with its attributes at their defaults, then its attributes.

    Raises InvalidArgumentError, with a suggestion, if there is no such operator.
    """
    record = ops.find(op_name)
    attributes, required = record.fields(), record.required()
    if record.holds_graphs:
        return OperatorArguments(1, ["args"], ["NDArray-or-Symbol[]"])
    # Which inputs there are depends on the attributes (no_bias). These are at their defaults, or
    # where there is none at any value of their type, so the record's own checks are left out.
    instance = object.__new__(record)
    for name in required:
        object.__setattr__(instance, name, _value_of(attributes[name]))
    if record.variadic:
        object.__setattr__(instance, "num_args", 1)
    # Those of an operator in Python are known once it is chosen.
    inputs = [] if record.runs_python else [*instance.arguments(), *instance.auxiliary()]
    types = ["NDArray-or-Symbol[]" if record.variadic else "NDArray-or-Symbol"] * len(inputs)
    types += [
        f"{_type_name(kind)}, required"
        if name in required
        else f"{_type_name(kind)}, optional, default={getattr(record, name)!r}"
        for name, kind in attributes.items()
    ]
    arguments = [*inputs, *attributes]
    return OperatorArguments(len(arguments), arguments, types)


def _type_name(kind: Any) -> str:
    """Return MXNet's word for the type of an attribute."""
    choices = typing.get_args(kind)
    if typing.get_origin(kind) is typing.Literal:
        return "{" + ", ".join(sorted(map(repr, choices))) + "}"
    if typing.get_origin(kind) is tuple:
        return "Shape(tuple)"
    if type(None) in choices:
        return " or ".join([*(_type_name(c) for c in choices if c is not type(None)), "None"])
    words = {int: "int", float: "float", bool: "boolean", str: "string"}
    return words.get(kind) or describe(kind)


def _value_of(kind: Any) -> Any:
    """Return a value of an attribute's type, to make an instance of a record with."""
    if typing.get_origin(kind) is tuple:
        return (1, 1)
    choices = typing.get_args(kind)
    if choices:
        is_union = typing.get_origin(kind) is not typing.Literal
        return _value_of(choices[0]) if is_union else choices[0]
    return {int: 1, float: 1.0, bool: False}.get(kind, "float32")
