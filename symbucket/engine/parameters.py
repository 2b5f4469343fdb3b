"""The one set of parameters, gradients and auxiliary states that all bucket keys share."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from symbucket.context import Context, cpu
from symbucket.errors import ParameterError
from symbucket.initializer import InitDesc, Initializer
from symbucket.runtime import NDArray


@dataclass(frozen=True)
class ParameterSpec:
    """What one network says of one parameter (or auxiliary state)."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    grad_req: str
    attrs: Mapping[str, str]


class ParameterStore:
    """Buffers by name; their addresses never change, so every session stays bound to them.

    ``owner`` of a parameter is the network (bucket key) that introduced it; messages name it.
    """

    def __init__(self, context: Context) -> None:
        self.context = context
        self.args: dict[str, NDArray] = {}
        self.grads: dict[str, NDArray] = {}
        self.aux: dict[str, NDArray] = {}
        self.attrs: dict[str, Mapping[str, str]] = {}
        self.requests: dict[str, str] = {}
        self._owner = ""

    def admit(self, owner: str, params: list[ParameterSpec], aux: list[ParameterSpec]) -> None:
        """Add the first network's parameters; check that a later network has the same ones.

        A later network may leave parameters out; it must not bring new ones, since the optimizer
        and the checkpoints would not know them. Raises ParameterError with both networks, the
        parameter and both shapes; nothing is changed then.
        """
        first = not self._owner
        for kind, specs, have in (("parameter", params, self.args), ("aux state", aux, self.aux)):
            for spec in specs:
                found = have.get(spec.name)
                if found is None and not first:
                    raise ParameterError(
                        f"{owner} has a {kind} {spec.name!r} {spec.shape} that {self._owner} does "
                        f"not have; its {kind}s are {_short(have)}. All keys must use parameters "
                        "of the default bucket key: check names (and name= or prefix= of layers). "
                        "Where keys mean to have different ones, as several tasks do, let the "
                        "default key's network be a sym.Group of one network of each; it need "
                        "never run."
                    )
                if found is not None and found.shape != spec.shape:
                    raise ParameterError(
                        f"{kind} {spec.name!r} has shape {found.shape} for {self._owner} and "
                        f"{spec.shape} for {owner}. A shared parameter must not depend on the "
                        "bucket key; look for a layer that sees the bucket's length in its input "
                        "width (flatten=, Reshape)."
                    )
                if found is not None and found.dtype != spec.dtype:
                    raise ParameterError(
                        f"{kind} {spec.name!r} has dtype {found.dtype} for {self._owner} and "
                        f"{spec.dtype} for {owner}."
                    )
        for spec in [] if first else params:
            # A network that trains what the first one only used (bound for inference, or fixed).
            if spec.grad_req != "null" and spec.name not in self.grads:
                self.grads[spec.name] = NDArray.zeros(spec.shape, spec.dtype, self.context)
        if not first:
            return
        self._owner = owner
        for spec in params:
            self.args[spec.name] = NDArray.zeros(spec.shape, spec.dtype, self.context)
            self.attrs[spec.name] = spec.attrs
            self.requests[spec.name] = spec.grad_req
            if spec.grad_req != "null":
                self.grads[spec.name] = NDArray.zeros(spec.shape, spec.dtype, self.context)
        for spec in aux:
            self.aux[spec.name] = NDArray.zeros(spec.shape, spec.dtype, self.context)
            self.attrs[spec.name] = spec.attrs

    def initialize(
        self,
        initializer: Initializer | None,
        arg_params: Mapping[str, Any] | None,
        aux_params: Mapping[str, Any] | None,
        allow_missing: bool,
        allow_extra: bool,
    ) -> None:
        """Fill every buffer from the given values, else from the initializer.

        All values are made and checked before the first buffer is written.
        """
        ready: list[tuple[NDArray, np.ndarray[Any, Any]]] = []
        for kind, have, given in (
            ("parameter", self.args, arg_params),
            ("auxiliary state", self.aux, aux_params),
        ):
            if given is not None and not allow_extra:
                self._refuse_extra(kind, have, given)
            for name, array in have.items():
                if given is not None and name in given:
                    ready.append((array, self._fitting(kind, name, array, given[name])))
                    continue
                if given is not None and not allow_missing:
                    missing = [n for n in have if n not in given]
                    raise ParameterError(
                        f"The given {kind}s lack {_short(missing)}. allow_missing=True lets the "
                        "initializer fill them."
                    )
                if initializer is not None:
                    values = np.zeros(array.shape, array.dtype)
                    desc = InitDesc(name, dict(self.attrs[name]), global_init=initializer)
                    initializer(desc, values)
                    ready.append((array, values))
        for array, values in ready:
            array[...] = values

    def set(
        self,
        arg_params: Mapping[str, Any],
        aux_params: Mapping[str, Any],
        allow_missing: bool,
        allow_extra: bool,
    ) -> None:
        """Write given values; what is missing stays as it is where that is allowed."""
        self.initialize(None, arg_params or {}, aux_params or {}, allow_missing, allow_extra)

    @staticmethod
    def _refuse_extra(kind: str, have: Mapping[str, Any], given: Mapping[str, Any]) -> None:
        extra = [n for n in given if n not in have]
        if extra:
            raise ParameterError(
                f"The given {kind}s have {_short(extra)}, which the network does not have; its "
                f"{kind}s are {_short(have)}. allow_extra=True passes over them."
            )

    @staticmethod
    def _fitting(kind: str, name: str, array: NDArray, values: Any) -> np.ndarray[Any, Any]:
        found = np.asarray(values)
        if found.shape != array.shape:
            raise ParameterError(
                f"{kind} {name!r} has shape {array.shape}, the given value {found.shape}."
            )
        if not np.isfinite(found).all():
            logging.warning("%s %r: the given values contain NaN or infinity", kind, name)
        return found

    def copies(self) -> tuple[dict[str, NDArray], dict[str, NDArray]]:
        """Copies of parameters and auxiliary states in host memory."""
        return (
            {n: a.copyto(cpu()) for n, a in self.args.items()},
            {n: a.copyto(cpu()) for n, a in self.aux.items()},
        )


def _short(names: Any) -> str:
    listed = list(names)
    return ", ".join(listed[:10]) + (f", ... ({len(listed)})" if len(listed) > 10 else "")
