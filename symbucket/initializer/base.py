"""The base of all initializers, the rules by name, and the registry."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from symbucket import seeding
from symbucket.errors import ParameterError, UnsupportedError
from symbucket.registry import Registry
from symbucket.types import Array


class InitDesc(str):
    """A parameter's name together with what its variable says about it.

    Attributes:
        attrs: the variable's attributes; ``attrs["__init__"]`` names its own initializer, as
            MXNet's JSON text (``'["lstmbias", {"forget_bias": 1.0}]'``) or as a registered name.
        global_init: the initializer of the whole network, for an initializer that fills only a
            part of the parameter itself.
    """

    attrs: dict[str, Any]
    global_init: Initializer | None

    def __new__(
        cls,
        name: str,
        attrs: Mapping[str, Any] | None = None,
        global_init: Initializer | None = None,
    ) -> InitDesc:
        """A name with a copy of ``attrs``."""
        self = super().__new__(cls, name)
        self.attrs = dict(attrs or {})
        self.global_init = global_init
        return self


class Initializer:
    """Base of all initializers.

    A subclass defines ``_init_weight(desc, arr)``, and may define ``_init_bias``, ``_init_gamma``,
    ``_init_beta``, ``_init_zero``, ``_init_one`` and ``_init_default``. The keyword arguments given
    here are what :meth:`dumps` writes.
    """

    def __init__(self, *, seed: int | None = None, **kwargs: Any) -> None:
        self.seed = None if seed is None else seeding.check_seed(seed)
        self._kwargs = kwargs if seed is None else {**kwargs, "seed": self.seed}
        self._describe: Callable[[Array], str] | None = None

    def set_verbosity(
        self, verbose: bool = False, print_func: Callable[[Array], str] | None = None
    ) -> Initializer:
        """Log each parameter that is filled, with ``print_func(arr)`` (its root mean square)."""
        self._describe = (print_func or _root_mean_square) if verbose else None
        return self

    def dumps(self) -> str:
        """Return MXNet's JSON text of this initializer, which :func:`create` reads."""
        try:
            return json.dumps([type(self).__name__.lower(), self._kwargs])
        except TypeError as error:
            raise UnsupportedError(
                f"{type(self).__name__} cannot be written as JSON text ({error}); pass numbers and "
                "lists, or give it to init_params instead of to a variable."
            ) from error

    def __repr__(self) -> str:
        arguments = ", ".join(f"{key}={value!r}" for key, value in self._kwargs.items())
        return f"{type(self).__name__}({arguments})"

    def __call__(self, desc: str, arr: Array) -> None:
        """Fill ``arr`` in place by the rules for the parameter ``desc``.

        Args:
            desc: the parameter's name, an :class:`InitDesc` if its attributes matter.
            arr: the array to fill, of any shape and dtype that the rule can serve.

        Raises:
            ParameterError: the name fits no rule.
            ShapeError: the rule cannot serve the array's shape or dtype. ``arr`` is unchanged.
        """
        if not isinstance(desc, InitDesc):
            desc = InitDesc(desc)
        if desc.global_init is None:
            desc.global_init = self
        own = desc.attrs.get("__init__")
        if own:
            rule_of = create(own)
            if rule_of.seed is None:
                rule_of.seed = self.seed
            rule_of._init_weight(desc, arr)
        else:
            self._by_name(desc, arr)
        if self._describe is not None:
            logging.info("Initialized %s by %s: %s", desc, own or self, self._describe(arr))

    def _by_name(self, desc: InitDesc, arr: Array) -> None:
        for endings, rule in _RULES:
            if desc.endswith(endings):
                getattr(self, rule)(desc, arr)
                return
        self._init_default(desc, arr)

    def _stream(self, desc: str) -> np.random.Generator:
        """Return the random generator of the parameter ``desc``."""
        if self.seed is not None:
            return seeding.stream("init", str(desc), seed=self.seed)
        return seeding.next_stream("init", str(desc))

    def _init_zero(self, desc: str, arr: Array) -> None:
        arr[...] = 0

    def _init_one(self, desc: str, arr: Array) -> None:
        arr[...] = 1

    def _init_bias(self, desc: str, arr: Array) -> None:
        self._init_zero(desc, arr)

    def _init_gamma(self, desc: str, arr: Array) -> None:
        self._init_one(desc, arr)

    def _init_beta(self, desc: str, arr: Array) -> None:
        self._init_zero(desc, arr)

    def _init_weight(self, desc: str, arr: Array) -> None:
        raise UnsupportedError(
            f"{type(self).__name__} has no rule for weights, asked for by parameter "
            f"{str(desc)!r}; define _init_weight(desc, arr) that fills arr in place."
        )

    def _init_default(self, desc: str, arr: Array) -> None:
        patterns = ", ".join(f"*{ending}" for endings, _ in _RULES for ending in endings)
        raise ParameterError(
            f"{type(self).__name__} does not know how to initialise parameter {str(desc)!r} of "
            f"shape {arr.shape}: its name fits none of {patterns}. Say it at the variable, "
            f"Variable({str(desc)!r}, init=...), or use Mixed with a pattern for it."
        )


# The first ending that fits decides.
_RULES: tuple[tuple[tuple[str, ...], str], ...] = (
    (("weight",), "_init_weight"),
    (("bias",), "_init_bias"),
    (("gamma",), "_init_gamma"),
    (("beta",), "_init_beta"),
    (("running_mean", "moving_mean", "moving_inv_var", "moving_avg"), "_init_zero"),
    (("running_var", "moving_var"), "_init_one"),
)

_registry: Registry[Initializer] = Registry(Initializer, "initializer")
register = _registry.register
alias = _registry.alias


def create(initializer: object, *args: Any, **kwargs: Any) -> Initializer:
    """Return an initializer, given an instance, a registered name or MXNet's JSON text."""
    return _registry.create(initializer, *args, **kwargs)


def _root_mean_square(arr: Array) -> str:
    return f"{np.sqrt(np.mean(np.square(np.asarray(arr, dtype=np.float64)))):g}"
