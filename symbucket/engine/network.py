"""What the arguments of a symbol are for, and which shapes and types they have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from symbucket.compiler import check_gradients, holds_foreign
from symbucket.engine.bind import grad_requests
from symbucket.engine.parameters import ParameterSpec
from symbucket.errors import DataError, InvalidArgumentError, ShapeError
from symbucket.io import DataDesc
from symbucket.io.desc import normalize_descs
from symbucket.symbol import Symbol

Descs = list[DataDesc]
Signature = tuple[tuple[str, tuple[int, ...], str], ...]
Types = dict[str, tuple[tuple[int, ...], np.dtype[Any]]]
"""(shape, dtype) by name."""


@dataclass(frozen=True)
class Shapes:
    """Descriptions of the data and labels that are bound, or that a batch has."""

    data: Descs
    labels: Descs

    @property
    def all(self) -> Descs:
        """Those of data, then those of labels."""
        return [*self.data, *self.labels]

    @cached_property
    def signature(self) -> Signature:
        """What an executor is built for; equal for equal shapes."""
        return tuple((d.name, d.shape, d.dtype.name) for d in self.all)


class Network:
    """A symbol whose arguments are data, labels, states, or else parameters.

    Args: as of ``Module``. ``name`` is how messages call the network.
    """

    def __init__(
        self,
        symbol: Symbol,
        name: str,
        data_names: Sequence[str] | None,
        label_names: Sequence[str] | None,
        state_names: Sequence[str] | None,
        fixed_param_names: Sequence[str] | None,
    ) -> None:
        self.symbol = symbol
        self.name = name
        self.arguments = symbol.list_arguments()
        self.data_names = list(data_names or [])
        self.label_names = [n for n in label_names or [] if n in self.arguments]
        self.state_names = list(state_names or [])
        self.fixed = list(fixed_param_names or [])
        for kind, names in (
            ("data_names", self.data_names),
            ("state_names", self.state_names),
            ("fixed_param_names", self.fixed),
        ):
            unknown = [n for n in names if n not in self.arguments]
            if unknown:
                raise InvalidArgumentError(
                    f"{name}: {kind} has {', '.join(map(repr, unknown))}, but the symbol's "
                    f"arguments are {', '.join(self.arguments)}"
                )
        inputs = {*self.data_names, *self.label_names, *self.state_names}
        self.param_names = [n for n in self.arguments if n not in inputs]
        self.aux_names = symbol.list_auxiliary_states()
        self.output_names = symbol.list_outputs()

    def described(self, data_shapes: Sequence[Any], label_shapes: Sequence[Any] | None) -> Shapes:
        """The shapes that a caller gives, checked against the names."""
        data = normalize_descs(data_shapes, "data_shapes")
        labels = normalize_descs(label_shapes or [], "label_shapes")
        names = [d.name for d in data]
        if sorted(names) != sorted(self.data_names):
            raise DataError(
                f"{self.name}: data_shapes describe {', '.join(names)}, but the data inputs are "
                f"{', '.join(self.data_names)} (data_names)"
            )
        return Shapes(data, [d for d in labels if d.name in self.label_names])

    def infer(self, shapes: Shapes) -> tuple[Types, Types]:
        """(shape, dtype) of every argument and of every auxiliary state."""
        given = shapes.all
        try:
            arg_shapes, _, aux_shapes = self.symbol.infer_shape(**{d.name: d.shape for d in given})
        except ShapeError as error:
            hint = ""
            if "cannot be inferred" in str(error) and len(shapes.labels) < len(self.label_names):
                absent = set(self.label_names) - {d.name for d in shapes.labels}
                hint = (
                    f" (The shape of the label {', '.join(sorted(absent))} was not given: "
                    "label_shapes of bind, provide_label of a batch.)"
                )
            raise ShapeError(f"{self.name}: {error}{hint}") from None
        arg_types, _, aux_types = self.symbol.infer_type(**{d.name: d.dtype for d in given})
        return (
            dict(zip(self.arguments, zip(arg_shapes, arg_types))),
            dict(zip(self.aux_names, zip(aux_shapes, aux_types))),
        )

    def output_shapes(self, shapes: Shapes) -> list[tuple[str, tuple[int, ...]]]:
        """(name, shape) of the outputs."""
        _, found, _ = self.symbol.infer_shape(**{d.name: d.shape for d in shapes.all})
        return list(zip(self.output_names, found))

    # Gradients -------------------------------------------------------------------------------

    def check_grad_req(self, grad_req: Any) -> None:
        """Refuse a dict with names that are no arguments."""
        if isinstance(grad_req, Mapping):
            unknown = [n for n in grad_req if n not in self.arguments]
            if unknown:
                raise InvalidArgumentError(
                    f"{self.name}: grad_req names {', '.join(map(repr, unknown))}, but the "
                    f"arguments are {', '.join(self.arguments)}"
                )

    def requests(self, grad_req: Any, for_training: bool, inputs_need_grad: bool) -> dict[str, str]:
        """What every argument's gradient is for; names that a dict leaves out are written."""
        if isinstance(grad_req, Mapping):
            grad_req = {n: grad_req.get(n, "write") for n in self.arguments}
        found = grad_requests(self.arguments, grad_req)
        data = self.data_names if inputs_need_grad else []
        for name in found:
            trained = name in self.param_names and name not in self.fixed
            if not for_training or not (trained or name in data):
                found[name] = "null"
        return found

    def check_gradients(self, shapes: Shapes, requests: Mapping[str, str]) -> None:
        """Say now what a graph from elsewhere has no gradient for, not at the first step."""
        if not holds_foreign(self.symbol):
            return
        types = {n: both for group in self.infer(shapes) for n, both in group.items()}
        check_gradients(
            self.symbol,
            {n: shape for n, (shape, _) in types.items()},
            {n: dtype for n, (_, dtype) in types.items()},
            [n for n, request in requests.items() if request != "null"],
            self.name,
        )

    def specs(
        self, shapes: Shapes, requests: Mapping[str, str]
    ) -> tuple[list[ParameterSpec], list[ParameterSpec]]:
        """What the network says of its parameters and of its auxiliary states."""
        args, aux = self.infer(shapes)
        attrs = self.symbol.attr_dict()
        return (
            [ParameterSpec(n, *args[n], requests[n], attrs.get(n, {})) for n in self.param_names],
            [ParameterSpec(n, *aux[n], "null", attrs.get(n, {})) for n in self.aux_names],
        )
