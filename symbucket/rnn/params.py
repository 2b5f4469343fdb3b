"""``RNNParams``: the parameter variables of cells, made once and shared by name."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

from symbucket import symbol as sym
from symbucket.errors import ParameterError
from symbucket.symbol import Symbol


class RNNParams:
    """Variables by name; two cells that are given the same ``RNNParams`` share their weights.

    Args:
        prefix: stands before every name.
    """

    def __init__(self, prefix: str = "") -> None:
        self._prefix = prefix
        self._params: dict[str, Symbol] = {}
        # Full name -> (what is known of the shape, who said so). The variables carry no shape
        # themselves, so that symbol files look as MXNet's do.
        self._claims: dict[str, tuple[tuple[int, ...], str]] = {}

    @property
    def prefix(self) -> str:
        """What stands before every name."""
        return self._prefix

    def get(self, name: str, **kwargs: Any) -> Symbol:
        """The variable ``prefix + name``; made with ``kwargs`` (as ``sym.Variable``) at first."""
        full = self._prefix + name
        if full not in self._params:
            self._params[full] = sym.Variable(full, **kwargs)
        return self._params[full]

    def claim(self, name: str, shape: tuple[int, ...], owner: str, **kwargs: Any) -> Symbol:
        """``get`` by a cell that needs ``shape`` (0: not known yet).

        Raises ParameterError where another cell uses the variable with another shape.
        """
        full = self._prefix + name
        before, other = self._claims.setdefault(full, (shape, owner))
        if before != shape:
            raise ParameterError(
                f"{owner} needs {full!r} with shape {_said(shape)}, but {other} uses it with shape "
                f"{_said(before)}. Only cells of one kind and size can share RNNParams; give one "
                "of them another prefix or no params=."
            )
        return self.get(name, **kwargs)

    def merge(self, other: RNNParams, owner: str) -> None:
        """Take over the variables of ``other``.

        If both have a variable of one name that is not the same one, that is logged: as in MXNet,
        such cells unroll, and binding the network refuses it.
        """
        for name, variable in other._params.items():
            if self._params.get(name, variable) is not variable:
                logging.warning(
                    "%s: two of its cells have a parameter %r of their own, so the network cannot "
                    "be bound. Give each cell its own prefix=, or the same params= where they "
                    "shall share it.",
                    owner,
                    name,
                )
        self._params.update(other._params)
        self._claims.update(other._claims)

    def replace_from(self, other: RNNParams) -> None:
        """Use the variables of ``other`` in place of own ones with the same names.

        Raises ParameterError, with nothing replaced, where their shapes contradict each other.
        """
        shared = [name for name in self._params if name in other._params]
        for name in shared:
            ours, theirs = self._claims.get(name), other._claims.get(name)
            if ours and theirs and ours[0] != theirs[0]:
                raise ParameterError(
                    f"{ours[1]} needs {name!r} with shape {_said(ours[0])}, but {theirs[1]} uses "
                    f"it with shape {_said(theirs[0])}."
                )
        self._params.update({name: other._params[name] for name in shared})

    def __iter__(self) -> Iterator[str]:
        return iter(self._params)

    def __contains__(self, name: object) -> bool:
        return name in self._params

    def __repr__(self) -> str:
        return f"<RNNParams {self._prefix!r}: {', '.join(self._params) or 'empty'}>"


def _said(shape: tuple[int, ...]) -> str:
    return "(" + ", ".join("?" if d == 0 else str(d) for d in shape) + ")"
