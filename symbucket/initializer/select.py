"""Initializers that look a parameter up by its name."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from symbucket.errors import InvalidArgumentError, ParameterError, UnsupportedError
from symbucket.files import read_arrays
from symbucket.initializer.base import Initializer, create, register
from symbucket.initializer.checks import want_held
from symbucket.types import Array


@register
class Mixed(Initializer):
    """An initializer that is chosen by the parameter's name.

    Args:
        patterns: regular expressions, tried in order from the start of the name (``re.match``).
        initializers: as many initializers (instances or names); the first match is used. None
            stands for parameters that must be given: asking for one is an error.

    A variable's own ``init=`` precedes its chosen initializer.
    """

    def __init__(self, patterns: Sequence[str], initializers: Sequence[Any]) -> None:
        if isinstance(patterns, str) or len(patterns) != len(initializers):
            raise InvalidArgumentError(
                f"Mixed needs one initializer for each pattern; found patterns {patterns!r} and "
                f"{len(initializers)} initializers."
            )
        super().__init__()
        self.map: list[tuple[re.Pattern[str], Initializer | None]] = []
        for pattern, initializer in zip(patterns, initializers):
            try:
                compiled = re.compile(pattern)
            except re.error as error:
                raise InvalidArgumentError(
                    f"Mixed: pattern {pattern!r} is not a regular expression: {error}."
                ) from error
            self.map.append((compiled, None if initializer is None else create(initializer)))

    def dumps(self) -> str:
        """Raises: a Mixed speaks of names, so it belongs to a network, not to one variable."""
        raise UnsupportedError(
            "Mixed cannot be one variable's init; pass it to init_params, or give the variable the "
            "initializer that fits it."
        )

    def __call__(self, desc: str, arr: Array) -> None:
        """Fill ``arr`` by the first initializer whose pattern fits ``desc``."""
        for pattern, initializer in self.map:
            if pattern.match(desc):
                if initializer is None:
                    raise ParameterError(
                        f"parameter {str(desc)!r} fits Mixed's pattern {pattern.pattern!r}, which "
                        "has None in place of an initializer; give its value in arg_params."
                    )
                initializer(desc, arr)
                return
        raise ParameterError(
            f"parameter {str(desc)!r} fits none of Mixed's patterns "
            f"{[pattern.pattern for pattern, _ in self.map]!r}; add '.*' with a default "
            "initializer at the end."
        )


@register
class Load(Initializer):
    """Parameters from a dict or a file, and those that it lacks from ``default_init``.

    Args:
        param: arrays by name, or the path of a file of them (a checkpoint's ``.params``, what
            ``nd.save`` or MXNet wrote); MXNet's prefixes ``arg:`` and ``aux:`` are dropped.
        default_init: initializer (or its name) for all other parameters.
        verbose: log the source of every parameter.
    """

    def __init__(
        self,
        param: Mapping[str, Any] | str | os.PathLike[str],
        default_init: Any = None,
        verbose: bool = False,
    ) -> None:
        if isinstance(param, (str, os.PathLike)):
            param = read_arrays(param).arrays
        if not isinstance(param, Mapping):
            raise InvalidArgumentError(
                f"Load takes a dict of arrays by name or a file's path, found "
                f"{type(param).__name__}."
            )
        super().__init__()
        self.param: dict[str, Array] = {}
        for key, value in param.items():
            name = key[4:] if key.startswith(("arg:", "aux:")) else key
            if name in self.param:
                raise ParameterError(
                    f"Load was given {name!r} twice (with and without, or with two, prefixes "
                    "arg:/aux:); keep one."
                )
            self.param[name] = np.asarray(value)
        self.default_init = None if default_init is None else create(default_init)
        self.verbose = verbose

    def dumps(self) -> str:
        """Raises: arrays do not belong into a variable's attribute."""
        raise UnsupportedError("Load cannot be one variable's init; pass it to init_params.")

    def __call__(self, desc: str, arr: Array) -> None:
        """Copy the parameter ``desc`` into ``arr``, or let ``default_init`` fill it."""
        name = str(desc)
        if name not in self.param:
            if self.default_init is None:
                raise ParameterError(
                    f"parameter {name!r} is not among the {len(self.param)} loaded ones "
                    f"({', '.join(sorted(self.param)) or 'none'}), and Load has no default_init. "
                    "Load the right file, or pass default_init=Xavier() or the like."
                )
            self.default_init(desc, arr)
        else:
            loaded = self.param[name]
            if loaded.shape != arr.shape:
                raise ParameterError(
                    f"parameter {name!r} has shape {arr.shape} in the network, but {loaded.shape} "
                    "among the loaded ones; the two are not the same network."
                )
            want_held(self, name, loaded, arr)
            arr[...] = loaded
        if self.verbose:
            source = "loading" if name in self.param else "default_init"
            logging.info("Initialized %s by %s", name, source)
