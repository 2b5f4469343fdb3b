"""Roles, shapes and types of the arguments of a symbol."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from symbucket.checks import listing
from symbucket.compiler import check_gradients, holds_foreign, infer_interface
from symbucket.compiler.inference import Inferred
from symbucket.engine.bind import grad_requests
from symbucket.engine.parameters import ParameterSpec
from symbucket.errors import DataError, InvalidArgumentError, ShapeError
from symbucket.io import DataDesc
from symbucket.io.desc import normalize_descs
from symbucket.ops import Operator
from symbucket.ops.graph import OnnxGraph
from symbucket.symbol import Symbol
from symbucket.symbol.brief import brief
from symbucket.types import Array, DType, Shape

Descs = list[DataDesc]
Signature = tuple[tuple[str, Shape, str], ...]
Types = dict[str, tuple[Shape, DType]]
"""(shape, dtype) by name."""


@dataclass(frozen=True)
class BatchShapes:
    """Descriptions of the data and labels that are bound, or that a batch has."""

    data: Descs
    labels: Descs

    @property
    def all(self) -> Descs:
        """Those of the data, then those of the labels."""
        return [*self.data, *self.labels]

    @property
    def batch_axes(self) -> dict[str, int]:
        """The batch axis of each array that has one."""
        return {d.name: d.batch_axis for d in self.all if d.batch_axis >= 0}

    @cached_property
    def signature(self) -> Signature:
        """What an executor is built for: equal for equal names, shapes and dtypes."""
        return tuple([(d.name, d.shape, d.dtype.str) for d in self.all])


@dataclass(frozen=True)
class GradientRequest:
    """Arguments of ``bind``: gradients or none, also of the data, and how they are written."""

    for_training: bool = False
    inputs_need_grad: bool = False
    grad_req: Any = "write"


def _listed(names: Sequence[str] | None, kind: str, network: str) -> list[str]:
    """Return names as a list; InvalidArgumentError for a text, whose letters are no names."""
    if names is None:
        return []
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise InvalidArgumentError(
            f"{network}: {kind} is {names!r}; expected a list or tuple of names, such as "
            f"[{names!r}]"
        )
    return list(names)


class NetworkInterface:
    """A symbol with its arguments sorted into data, labels, states and parameters.

    Args:
        symbol: the network.
        name: how messages call it.
        data_names, label_names, state_names, fixed_param_names: as of ``Module``. Labels that the
            symbol does not have are left out.

    Raises:
        InvalidArgumentError: a name is not an argument of the symbol, or names are no list.
    """

    def __init__(
        self,
        symbol: Symbol,
        name: str,
        data_names: Sequence[str] | None,
        label_names: Sequence[str] | None,
        state_names: Sequence[str] | None = None,
        fixed_param_names: Sequence[str] | None = None,
    ) -> None:
        self.symbol = symbol
        self.name = name
        self.arguments = symbol.list_arguments()
        labels = _listed(label_names, "label_names", name)
        self.data_names = _listed(data_names, "data_names", name)
        self.label_names = [n for n in labels if n in self.arguments]
        self.state_names = _listed(state_names, "state_names", name)
        self.fixed_param_names = _listed(fixed_param_names, "fixed_param_names", name)
        for kind, names in (
            ("data_names", self.data_names),
            ("state_names", self.state_names),
            ("fixed_param_names", self.fixed_param_names),
        ):
            unknown = [n for n in names if n not in self.arguments]
            if unknown:
                raise InvalidArgumentError(
                    f"{name}: {kind} has {', '.join(map(repr, unknown))}, but the symbol's "
                    f"arguments are {', '.join(self.arguments)}"
                )
        inputs = {*self.data_names, *self.label_names, *self.state_names}
        self.param_names = [n for n in self.arguments if n not in inputs]
        self._check_labels([n for n in labels if n not in self.arguments])
        self.aux_names = symbol.list_auxiliary_states()
        self.output_names = symbol.list_outputs()

    def _check_labels(self, absent: list[str]) -> None:
        """Raise InvalidArgumentError if a label has another name than those that are declared.

        ``absent`` are declared labels that the network does not have, as one for prediction, which
        is refused only if an operator reads as its label what would be a parameter.
        """
        if not absent:
            return
        labels = {
            variable.name
            for node in brief(self.symbol).nodes
            if node.op is not None and "label" in node.op.arguments()
            for name, (variable, _) in zip(node.op.arguments(), node.inputs)
            if name == "label" and variable.op is None and variable.name in self.param_names
        }
        if labels:
            raise InvalidArgumentError(
                f"{self.name}: label_names has {listing(map(repr, absent))}, which is no input of "
                f"the network; its labels are {listing(map(repr, sorted(labels)))}. Declare these "
                "names, or give the loss a variable of your name"
            )

    def batch_shapes(
        self, data_shapes: Sequence[Any], label_shapes: Sequence[Any] | None
    ) -> BatchShapes:
        """Return the descriptions that a caller of ``bind`` gives, checked against the names."""
        labels = normalize_descs(label_shapes or [], "label_shapes")
        return self.select(normalize_descs(data_shapes, "data_shapes"), labels)

    def select(self, data: Descs, labels: Descs) -> BatchShapes:
        """Return the descriptions of all data and of the labels that the network has.

        Raises DataError if ``data`` are not the data inputs.
        """
        names = [d.name for d in data]
        if sorted(names) != sorted(self.data_names):
            raise DataError(
                f"{self.name}: data_shapes describe {', '.join(names) or 'none'}, but the data "
                f"inputs are {', '.join(self.data_names) or 'none'} (data_names)"
            )
        return BatchShapes(data, [d for d in labels if d.name in self.label_names])

    def require_labels(self, present: Mapping[str, Any]) -> None:
        """Raise DataError if a training batch lacks a label."""
        absent = [n for n in self.label_names if n not in present]
        if absent:
            raise DataError(
                f"{self.name}: the batch has no label {', '.join(map(repr, absent))}, and "
                "training needs it (label= and provide_label= of DataBatch)"
            )

    def infer(self, shapes: BatchShapes) -> tuple[Types, Types]:
        """Return (shape, dtype) of every argument and of every auxiliary state."""
        inferred = self._inferred(shapes)
        (arg_shapes, _, aux_shapes), (arg_types, _, aux_types) = inferred.shapes, inferred.dtypes
        return (
            dict(zip(self.arguments, zip(arg_shapes, arg_types))),
            dict(zip(self.aux_names, zip(aux_shapes, aux_types))),
        )

    def _inferred(self, shapes: BatchShapes) -> Inferred:
        descs = shapes.all
        try:
            return infer_interface(
                self.symbol, {d.name: d.shape for d in descs}, {d.name: d.dtype for d in descs}
            )
        except ShapeError as error:
            hint = ""
            if "cannot be inferred" in str(error) and len(shapes.labels) < len(self.label_names):
                absent = set(self.label_names) - {d.name for d in shapes.labels}
                hint = (
                    f" (The shape of the label {', '.join(sorted(absent))} was not given: "
                    "label_shapes of bind, provide_label of a batch.)"
                )
            raise ShapeError(f"{self.name}: {error}{hint}") from None

    def output_shapes(self, shapes: BatchShapes) -> list[tuple[str, Shape]]:
        """Return (name, shape) of the outputs."""
        return list(zip(self.output_names, self._inferred(shapes).shapes[1]))

    # Gradients -------------------------------------------------------------------------------

    def check_grad_req(self, grad_req: Any) -> None:
        """Raise InvalidArgumentError if ``grad_req`` is a dict with names that are no arguments."""
        if isinstance(grad_req, Mapping):
            unknown = [n for n in grad_req if n not in self.arguments]
            if unknown:
                raise InvalidArgumentError(
                    f"{self.name}: grad_req names {', '.join(map(repr, unknown))}, but the "
                    f"arguments are {', '.join(self.arguments)}"
                )

    @cached_property
    def constants(self) -> dict[str, float]:
        """Parameters that every operator takes for one number, whatever they hold."""
        numbers: dict[str, set[float | None]] = {}
        usual = Operator.constant_inputs
        ops = [(node.op, node.inputs) for node in brief(self.symbol).nodes if node.op is not None]
        if all(type(op).constant_inputs is usual for op, _ in ops):
            return {}
        for op, inputs in ops:
            constant = op.constant_inputs()
            for key, (child, _) in zip(op.arguments(), inputs):
                if child.op is None:
                    numbers.setdefault(child.name, set()).add(constant.get(key))
        return {n: v for n, (v, *more) in numbers.items() if v is not None and not more}

    def grad_requests(self, request: GradientRequest) -> dict[str, str]:
        """Return "write", "add" or "null" for every argument.

        Arguments that a dict leaves out are written. Only parameters that are not fixed have
        gradients, and data if ``inputs_need_grad``.
        """
        grad_req = request.grad_req
        if isinstance(grad_req, Mapping):
            grad_req = {n: grad_req.get(n, "write") for n in self.arguments}
        requests = grad_requests(self.arguments, grad_req)
        data = self.data_names if request.inputs_need_grad else []
        for name in requests:
            trained = name in self.param_names and name not in self.fixed_param_names
            trained = trained and name not in self.constants
            if not request.for_training or not (trained or name in data):
                requests[name] = "null"
        return requests

    def check_gradients(self, shapes: BatchShapes, requests: Mapping[str, str]) -> None:
        """Raise UnsupportedError if a graph from elsewhere has operators without a gradient.

        They are all named, at ``bind`` and not at the first step.
        """
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

    def file_constant(self, name: str) -> Array | None:
        """Return what an ONNX file fixes under a name; None if there is no such constant."""
        if not holds_foreign(self.symbol):
            return None
        ops = [node.op for node in brief(self.symbol).nodes if isinstance(node.op, OnnxGraph)]
        constants = (op.constant(name) for op in ops)
        return next((value for value in constants if value is not None), None)

    def specs(
        self, shapes: BatchShapes, requests: Mapping[str, str]
    ) -> tuple[list[ParameterSpec], list[ParameterSpec]]:
        """Return what the network says of its parameters and of its auxiliary states."""
        args, aux = self.infer(shapes)
        attrs = {n.name: n.attrs for group in self.symbol.variables() for n in group}
        return (
            [
                ParameterSpec(n, *args[n], requests[n], attrs[n], self.constants.get(n))
                for n in self.param_names
            ],
            [ParameterSpec(n, *aux[n], "null", attrs[n]) for n in self.aux_names],
        )
