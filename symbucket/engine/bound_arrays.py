"""``BoundArrays``: the arrays of a bound symbol, and what all executors do with them."""

from __future__ import annotations

import abc
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from symbucket.casts import check_unmasked, lost_numbers
from symbucket.compiler import CompilerOptions, bounds_of_inputs, output_names
from symbucket.context import Context
from symbucket.engine.inner_values import Callback, Watcher
from symbucket.errors import DataError, InvalidArgumentError, ShapeError
from symbucket.metric import GraphMetric
from symbucket.runtime import RowSparse
from symbucket.runtime.ndarray import NDArray
from symbucket.symbol.symbol import Symbol
from symbucket.types import DType, Shape


@dataclass(frozen=True)
class ExecutorArrays:
    """The arrays of one executor, and what every argument's gradient is for."""

    args: dict[str, NDArray]
    grads: dict[str, NDArray]
    requests: dict[str, str]
    aux: dict[str, NDArray]


A = TypeVar("A", bound=NDArray | None)


class BoundDict(dict[str, A]):
    """Arrays by name that a network is bound to: written into, and never replaced."""

    def __setitem__(self, name: str, array: A) -> None:
        """Accept the array that is there, which ``d[name] += 1`` assigns; else raise an error."""
        if name not in self or self[name] is not array:
            raise InvalidArgumentError(
                f"the network is bound to its arrays and would not see another one for {name!r}. "
                f"Write into the array that is there: [{name!r}][:] = ..."
            )

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Assign one by one."""
        for name, array in dict(*args, **kwargs).items():
            self[name] = array

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self),)  # a copy is bound to nothing


class BoundArrays(abc.ABC):
    """Base of executors: arguments, gradients and auxiliary states by name, checked when written.

    ``arg_dict``, ``grad_dict`` (None for arguments without a gradient) and ``aux_dict`` map names
    to NDArrays; write into them with ``arg_dict["data"][:] = x``. Arrays may be shared with other
    executors: a parameter that one of them (or an optimizer) updates is updated for all.
    """

    def __init__(
        self,
        symbol: Symbol,
        context: Context,
        args: Mapping[str, NDArray],
        grads: Mapping[str, NDArray],
        grad_req: Mapping[str, str],
        aux: Mapping[str, NDArray],
        name: str,
        options: CompilerOptions | None,
    ) -> None:
        self.symbol = symbol
        self.context = context
        self.name = name
        self.arg_dict = BoundDict(args)
        self.grads = dict(grads)
        """The gradients that are computed, by the argument's name."""
        self.aux_dict = BoundDict(aux)
        self.grad_req = dict(grad_req)
        self.options = options or CompilerOptions()
        self.types = {
            n: (a.shape, a.dtype) for n, a in [*self.arg_dict.items(), *self.aux_dict.items()]
        }
        """(shape, dtype) of all arguments and auxiliary states."""
        self.unique_output_names = output_names(symbol)
        """Names of the outputs; a suffix tells apart outputs of one name."""
        shapes = {n: shape for n, (shape, _) in self.types.items()}
        self._bounds = bounds_of_inputs(symbol, shapes)
        self.watchers: list[Watcher] = []
        """Who sees the values of forward runs."""
        self._checked: set[str] = set()  # arguments whose bounds were checked since the last run

    @property
    def arg_arrays(self) -> list[NDArray]:
        """Arguments in the order of ``list_arguments``."""
        return [self.arg_dict[n] for n in self.symbol.list_arguments()]

    @property
    def grad_arrays(self) -> list[NDArray | None]:
        """Gradients in the order of ``list_arguments``; None if grad_req is "null"."""
        return list(self.grad_dict.values())

    @property
    def grad_dict(self) -> dict[str, NDArray | None]:
        """Gradients by name, in the order of ``list_arguments``; None if grad_req is "null"."""
        return BoundDict({n: self.grads.get(n) for n in self.symbol.list_arguments()})

    @property
    def aux_arrays(self) -> list[NDArray]:
        """Auxiliary states in the order of ``list_auxiliary_states``."""
        return [self.aux_dict[n] for n in self.symbol.list_auxiliary_states()]

    @property
    @abc.abstractmethod
    def outputs(self) -> list[NDArray]:
        """The outputs of the last forward; the next one writes into the same memory."""

    @property
    @abc.abstractmethod
    def outputs_by_context(self) -> list[list[NDArray]]:
        """The outputs of the last forward: for each output, its part on each context."""

    @property
    def output_dict(self) -> dict[str, NDArray]:
        """The outputs by name; a suffix tells apart outputs of one name."""
        listed = self.symbol.list_outputs()
        unique = len(set(listed)) == len(listed)
        return dict(zip(listed if unique else self.unique_output_names, self.outputs))

    @property
    def output_types(self) -> dict[str, tuple[Shape, DType]]:
        """(shape, dtype) of the outputs by their unique names."""
        names = self.symbol.list_arguments()
        shapes = self.symbol.complete_shapes(**{n: self.types[n][0] for n in names})[1]
        dtypes = self.symbol.complete_types(**{n: self.types[n][1] for n in names})[1]
        return dict(zip(self.unique_output_names, zip(shapes, dtypes)))

    def set_monitor_callback(
        self, callback: Callable[[str, NDArray], object] | None, monitor_all: bool = False
    ) -> None:
        """Call ``callback(name, array)`` for the outputs of all operators after each ``forward``.

        A second program computes them, so a forward takes twice as long. Arrays are valid until
        the next one. None ends it.

        Args:
            callback: takes a name such as ``fc_output``, and an NDArray.
            monitor_all: also for variables, and for inputs of operators (``fc_data``).
        """
        self.watchers[:] = [w for w in self.watchers if not isinstance(w, Callback)]
        if callback is not None:
            self.watchers.append(Callback(callback, monitor_all))

    @property
    def _ctx(self) -> Context:
        return self.context  # the name by which MXNet's own tests know it

    def debug_str(self) -> str:
        """Return the network as text, and an estimate of the bytes that the executor takes."""
        megabytes = math.ceil(self.nbytes / 2**20)
        return f"{self.symbol.debug_str()}\nTotal {megabytes} MB allocated\n"

    # Writing ---------------------------------------------------------------------------------

    def feed(self, data: Mapping[str, Any], training: bool = True) -> None:
        """Copy arrays into arguments by name; all are checked before the first is written.

        ``training``: also for ids and labels that only training refuses.
        """
        for name, values in data.items():
            target = self.arg_dict.get(name)
            if target is None:
                raise InvalidArgumentError(
                    f"{self.name}: the symbol has no argument {name!r}; it has "
                    f"{', '.join(self.arg_dict)}"
                )
            try:
                shape = np.shape(values)
            except ValueError as error:
                raise DataError(f"{self.name}: {name} is no array: {error}") from None
            if shape != target.shape:
                raise ShapeError(
                    f"{self.name}: {name} has shape {shape}, it is bound with {target.shape}"
                )
        self.write(data, training)

    def write(self, data: Mapping[str, Any], training: bool = True) -> None:
        """Copy arrays into arguments of their shapes; types and values are checked first."""
        writes, lenient = [], self._is_lenient(training)
        for name, values in data.items():
            check_unmasked(values, f"{self.name}: {name}")
            array = values.view() if isinstance(values, NDArray) else np.asarray(values)
            target = self.arg_dict[name]
            kinds = "iufcb" if target.dtype.kind == "c" else "iufb"
            if array.dtype.kind not in kinds and array.dtype != target.dtype:
                raise DataError(
                    f"{self.name}: {name} has dtype {array.dtype}, not numbers as {target.dtype} "
                    "holds"
                )
            for bounds in self._bounds:
                if bounds.name == name:
                    bounds.check(array, self.name, lenient)
            lost, example = lost_numbers(array, target.dtype)
            if lost:
                raise DataError(
                    f"{self.name}: {name} has numbers that {target.dtype} cannot hold, {lost} of "
                    f"{array.dtype} such as {example}; it is bound as {target.dtype}. Scale or "
                    "round them, or describe the input with a wider dtype, DataDesc(name, shape, "
                    "dtype)"
                )
            writes.append((target, array))
        for target, array in writes:
            target[...] = array
        if training:
            self._checked.update(data)

    def _is_lenient(self, training: bool) -> bool:
        """Return whether ids and labels may lie outside their ranges."""
        return not training or self.options.out_of_range == "mxnet"

    def _check_bounds(self, training: bool) -> None:
        """Check labels and row numbers that were written into ``arg_dict`` by other means."""
        for bounds in self._bounds:
            if bounds.name not in self._checked:
                values = self.arg_dict[bounds.name].view()
                bounds.check(values, self.name, self._is_lenient(training))
        self._checked.clear()

    def copy_params_from(
        self,
        arg_params: Mapping[str, Any],
        aux_params: Mapping[str, Any] | None = None,
        allow_extra_params: bool = False,
    ) -> None:
        """Copy parameters (and auxiliary states) by name; checked before any is written."""
        writes = []
        for kind, params, arrays in (
            ("argument", arg_params, self.arg_dict),
            ("auxiliary state", aux_params or {}, self.aux_dict),
        ):
            for name, values in params.items():
                if name not in arrays:
                    if allow_extra_params:
                        continue
                    raise InvalidArgumentError(f"{self.name}: there is no {kind} {name!r}")
                array = np.asarray(values)
                if array.shape != arrays[name].shape:
                    raise ShapeError(
                        f"{self.name}: {kind} {name!r} has shape {arrays[name].shape}, not "
                        f"{array.shape}"
                    )
                writes.append((arrays[name], array))
        for target, array in writes:
            target[...] = array

    # Running ---------------------------------------------------------------------------------

    @abc.abstractmethod
    def forward(self, is_train: bool = False, **data: Any) -> list[NDArray]:
        """Run the symbol; keyword arguments are copied into the arguments of those names first."""

    @abc.abstractmethod
    def measure(
        self, is_train: bool, metrics: Sequence[GraphMetric], row_sparse: Iterable[str] = ()
    ) -> dict[str, float]:
        """Run the symbol for sums over the batch instead of outputs, which are not kept.

        Returns the total and the count of every metric by name. In training, gradients are computed
        as by ``forward``; those named in ``row_sparse`` may come in ``row_gradients`` instead.
        """

    @property
    @abc.abstractmethod
    def row_gradients(self) -> dict[str, RowSparse]:
        """The gradients of the last run that came by rows; ``grad_dict`` has the others."""

    @abc.abstractmethod
    def backward(self, out_grads: Any = None, is_train: bool = True) -> None:
        """Put the gradients of the last ``forward`` into ``grad_dict``.

        After ``forward(is_train=True)`` auxiliary states change too. After a plain ``forward`` they
        stay, and gradients are those of what inference computes: without Dropout, and with the
        moving statistics of BatchNorm.

        Args:
            out_grads: head gradients: one array, or a list with one for every output (None for
                outputs that are losses). May be left out if all outputs are losses.
            is_train: MXNet's; the mode of ``forward`` decides.
        """

    @abc.abstractmethod
    def first_failure(self) -> str | None:
        """Return the first node of the last training step that gives NaN or infinity, in words."""

    def _head_list(self, out_grads: Any) -> list[Any]:
        """Return one head gradient (or None) for every output."""
        names = self.unique_output_names
        if out_grads is None:
            return [None] * len(names)
        heads = list(out_grads) if isinstance(out_grads, (list, tuple)) else [out_grads]
        # As in MXNet, more are ignored, and the last outputs may have none if they need none.
        return [*heads, *[None] * len(names)][: len(names)]

    @property
    @abc.abstractmethod
    def builds(self) -> Counter[str]:
        """How often models were compiled, by kind ("training", "inference")."""

    @property
    @abc.abstractmethod
    def nbytes(self) -> int:
        """An estimate of the bytes beside the arrays that the executor was given."""
