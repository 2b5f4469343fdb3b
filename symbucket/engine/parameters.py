"""The one set of parameters, gradients and auxiliary states that all bucket keys share."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from symbucket import seeding
from symbucket.casts import check_unmasked, lost_numbers
from symbucket.checks import listing
from symbucket.context import Context, cpu
from symbucket.errors import ParameterError, StateError
from symbucket.file_values import digest_in, digest_of
from symbucket.initializer import InitDesc, Initializer
from symbucket.optimizer import Optimizer
from symbucket.runtime import NDArray
from symbucket.runtime.providers import provider_of
from symbucket.types import Array, DType, Shape

_FILE_ADVICE = (
    "Exporters give names such as val_17 or onnx::MatMul_23 by order of appearance, merge equal "
    "initializers under the name of one, and compute constants for each length. Export the keys "
    "from one model with its own names (torch.onnx.export(..., dynamo=True, optimize=False)), or "
    "one file with dynamic dimensions for all keys; if it is no parameter, "
    "sym.from_onnx(..., fixed=[...]) keeps each file's value."
)


Writes = list[tuple[NDArray, Array]]
"""Values, each with the buffer that they are for."""


@dataclass(frozen=True)
class ParameterSpec:
    """Declaration of one parameter (or auxiliary state) by one network."""

    name: str
    shape: Shape
    dtype: DType
    grad_req: str
    attrs: Mapping[str, str]
    constant: float | None = None
    """What it always is: the network takes it for this number, whatever it holds."""


class ParameterStore:
    """Parameters, gradients and auxiliary states by name, in buffers that never move.

    Every session stays bound to them. ``owner`` of the parameters is the network (bucket key) that
    introduced them; messages name it.
    """

    def __init__(self, context: Context) -> None:
        self.context = context
        self.lock = threading.RLock()
        """Held by whoever uses the parameters; nobody waits for it."""
        self.args: dict[str, NDArray] = {}
        self.grads: dict[str, NDArray] = {}
        self.aux: dict[str, NDArray] = {}
        self.attrs: dict[str, Mapping[str, str]] = {}
        self.constants: dict[str, float] = {}
        """Parameters that always hold one number (gamma under ``fix_gamma``)."""
        self.filled = False
        """Whether ``initialize`` has given every buffer a value."""
        self._owner = ""

    def admit(self, owner: str, params: list[ParameterSpec], aux: list[ParameterSpec]) -> None:
        """Add the first network's parameters; check that a later network has the same ones.

        A later network may leave parameters out; it must not bring new ones, since the optimizer
        and the checkpoints would not know them. Raises ParameterError with both networks, the
        parameter and both shapes; nothing is changed then.
        """
        self._check("parameter", owner, params, self.args)
        self._check("aux state", owner, aux, self.aux)
        # A later network may train what the first one only used (bound for inference, fixed).
        grads = {
            s.name: self._zeros(s)
            for s in params
            if s.grad_req != "null" and s.name not in self.grads
        }
        if not self._owner:
            args, states = ({s.name: self._zeros(s) for s in specs} for specs in (params, aux))
            self.args, self.aux = args, states
            self.attrs = {s.name: s.attrs for s in (*params, *aux)}
            self.constants = {s.name: s.constant for s in params if s.constant is not None}
            self._owner = owner
        self.grads.update(grads)

    def _zeros(self, spec: ParameterSpec) -> NDArray:
        return NDArray.zeros(spec.shape, spec.dtype, self.context)

    def _check(
        self, kind: str, owner: str, specs: Iterable[ParameterSpec], arrays: Mapping[str, NDArray]
    ) -> None:
        for spec in specs if self._owner else ():
            array = arrays.get(spec.name)
            if array is None:
                raise ParameterError(
                    f"{owner} has a {kind} {spec.name!r} {spec.shape} that {self._owner} does "
                    f"not have; its {kind}s are {listing(arrays)}. All keys must use parameters "
                    "of the default bucket key: check names (and name= or prefix= of layers). "
                    "If keys mean to have different ones, as several tasks do, let the default "
                    "key's network be a sym.Group of one network of each; it need never run."
                )
            if array.shape != spec.shape:
                raise ParameterError(
                    f"{kind} {spec.name!r} has shape {array.shape} for {self._owner} and "
                    f"{spec.shape} for {owner}. A shared parameter must not depend on the "
                    "bucket key; look for a layer that sees the bucket's length in its input "
                    f"width (flatten=, Reshape).{self._file_hint(spec)}"
                )
            if array.dtype != spec.dtype:
                raise ParameterError(
                    f"{kind} {spec.name!r} has dtype {array.dtype} for {self._owner} and "
                    f"{spec.dtype} for {owner}."
                )
            self._check_file_value(kind, owner, spec)

    def check_file_constants(
        self, owner: str, params: Collection[str], constant: Callable[[str], Array | None]
    ) -> None:
        """Raise ParameterError if a parameter from an ONNX file is fixed in another key's file.

        Args:
            owner: the later network. params: its parameters.
            constant: returns the constant that the network's files have under a name, or None.
        """
        for name in self.args:
            digest = digest_in(self.attrs[name])
            value = None if digest is None or name in params else constant(name)
            if value is not None and digest_of(np.atleast_1d(value)) == digest:
                raise ParameterError(
                    f"{name!r} {value.shape} is a parameter of {self._owner} and a constant of "
                    f"{owner}, with one value in both ONNX files. Give sym.from_onnx the same "
                    "params= and fixed= for all keys."
                )

    def _file_hint(self, spec: ParameterSpec) -> str:
        from_files = digest_in(self.attrs[spec.name]) and digest_in(spec.attrs)
        return f" Both come from ONNX files. {_FILE_ADVICE}" if from_files else ""

    def _check_file_value(self, kind: str, owner: str, spec: ParameterSpec) -> None:
        """Raise ParameterError if both networks come from ONNX files with different values."""
        first, later = digest_in(self.attrs[spec.name]), digest_in(spec.attrs)
        if first is None or later is None or first == later:
            return
        raise ParameterError(
            f"{kind} {spec.name!r} {spec.shape} has one value in the ONNX file of {self._owner} "
            f"and another in that of {owner}; keys share what has the same name. {_FILE_ADVICE}"
        )

    def initialize(
        self,
        initializer: Initializer | None,
        arg_params: Mapping[str, Any] | None,
        aux_params: Mapping[str, Any] | None,
        allow_missing: bool,
        allow_extra: bool,
    ) -> None:
        """Fill every buffer from the given values, else from the initializer.

        All values are computed and checked before the first buffer is written.
        """
        self.fill(
            self.first_values(initializer, arg_params, aux_params, allow_missing, allow_extra)
        )

    def first_values(
        self,
        initializer: Initializer | None,
        arg_params: Mapping[str, Any] | None,
        aux_params: Mapping[str, Any] | None,
        allow_missing: bool,
        allow_extra: bool,
    ) -> Writes:
        """Return what ``initialize`` writes, checked; nothing is written yet.

        Without an initializer, buffers without a given value stay as they are. If it fails, a
        repetition draws the same random numbers.
        """
        chance = seeding.state()
        try:
            writes: Writes = []
            for kind, arrays, params in (
                ("parameter", self.args, arg_params),
                ("auxiliary state", self.aux, aux_params),
            ):
                if params is not None:
                    _check_names(kind, arrays, params, allow_missing, allow_extra)
                writes += self._values(kind, arrays, params or {}, initializer)
        except BaseException:
            seeding.restore(chance)
            raise
        return writes

    def fill(self, writes: Writes) -> None:
        """Write what ``first_values`` returned."""
        for array, values in writes:
            array[...] = values
        self.filled = True

    def extra_names(self, *given: Mapping[str, Any] | None) -> list[str]:
        """Return the names among given parameters and auxiliary states that are not here."""
        pairs = zip(given, (self.args, self.aux))
        return [n for params, own in pairs for n in params or () if n not in own]

    def require_filled(self) -> None:
        """Raise StateError unless the buffers have values."""
        if not self.filled:
            raise StateError("call init_params() first (after bind)")

    def _values(
        self,
        kind: str,
        arrays: Mapping[str, NDArray],
        params: Mapping[str, Any],
        initializer: Initializer | None,
    ) -> Iterator[tuple[NDArray, Array]]:
        """Yield what ``initialize`` writes into which arrays."""
        for name, array in arrays.items():
            if name in params:
                values = _checked_value(kind, name, array, params[name])
            if name in self.constants:
                yield array, np.full(array.shape, self.constants[name], array.dtype)
            elif name in params:
                yield array, values
            elif initializer is not None:
                blank: Any = NDArray.zeros(
                    array.shape, array.dtype
                )  # what MXNet's initializers get
                desc = InitDesc(name, dict(self.attrs[name]), global_init=initializer)
                initializer(desc, blank)
                yield array, blank.view()

    def row_sparse_names(self, optimizer: Optimizer | None) -> list[str]:
        """Return the parameters whose gradients a step may return by rows.

        The optimizer updates those rows, or, if it needs all of them, they are added to zeros
        before: outside of the step, where a faster kernel may do it (`RowUpdate`). On other devices
        that would take the zeros there in every step.
        """
        if optimizer is None:
            return []
        return [
            name
            for i, (name, grad) in enumerate(self.grads.items())
            if provider_of(grad.context).host_memory or optimizer.updates_rows(i)
        ]

    def copies(self) -> tuple[dict[str, NDArray], dict[str, NDArray]]:
        """Return copies of parameters and auxiliary states in host memory."""
        return (
            {n: a.copyto(cpu()) for n, a in self.args.items()},
            {n: a.copyto(cpu()) for n, a in self.aux.items()},
        )


def _check_names(
    kind: str,
    arrays: Collection[str],
    params: Collection[str],
    allow_missing: bool,
    allow_extra: bool,
) -> None:
    extra = [n for n in params if n not in arrays]
    if extra and not allow_extra:
        raise ParameterError(
            f"The given {kind}s have {listing(extra)}, which the network does not have; its "
            f"{kind}s are {listing(arrays)}. allow_extra=True passes over them."
        )
    missing = [n for n in arrays if n not in params]
    if missing and not allow_missing:
        raise ParameterError(
            f"The given {kind}s lack {listing(missing)}. allow_missing=True lets the "
            "initializer fill them."
        )


def _checked_value(kind: str, name: str, array: NDArray, value: Any) -> Array:
    check_unmasked(value, f"{kind} {name!r}", ParameterError)
    values = np.asarray(value)
    if values.shape != array.shape:
        raise ParameterError(
            f"{kind} {name!r} has shape {array.shape}, the given value {values.shape}."
        )
    values = _in_dtype(kind, name, array, values)
    if not np.isfinite(values).all():
        logging.warning("%s %r: the given values contain NaN or infinity", kind, name)
    return values


def _in_dtype(kind: str, name: str, array: NDArray, values: Array) -> Array:
    """Return values in the dtype of their buffer.

    Floats are rounded to it. Raises ParameterError if a number cannot be held: one too large, a
    whole number that would be another one, a fraction in an array of integers.
    """
    if values.dtype == array.dtype:
        return values
    if values.dtype.kind not in "biuf":
        raise ParameterError(
            f"{kind} {name!r} is {array.dtype}; the given value holds {values.dtype}, no numbers "
            "that it can hold"
        )
    lost, example = lost_numbers(values, array.dtype)
    if lost:
        raise ParameterError(
            f"{kind} {name!r} is {array.dtype}, which cannot hold {lost} of the given "
            f"{values.dtype} numbers, such as {example}. Scale or round them first"
        )
    return values.astype(array.dtype)
