"""Numbers that users set: their checks, and factors of learning rate and weight decay."""

from __future__ import annotations

import logging
import math
import numbers
from collections.abc import Mapping, Sequence
from typing import Any

from symbucket.checks import did_you_mean, is_finite
from symbucket.errors import InvalidArgumentError
from symbucket.symbol import Symbol

Index = int | str
"""How an optimizer knows a parameter: by position, or by name."""


class Hyperparameters:
    """Factors of the learning rate and of the weight decay for each parameter.

    Attributes:
        idx2name: names of the parameters by index.
        param_dict: objects with ``lr_mult`` and ``wd_mult`` by index; they precede all others.
        sym_info: the attributes and the arguments of a symbol, or None.
        lr_mult, wd_mult: factors by name or index; 1 for every other parameter.
    """

    idx2name: dict[Index, str]
    param_dict: dict[int, Any]
    sym_info: tuple[Mapping[str, Mapping[str, str]], Sequence[str]] | None
    lr_mult: dict[Index, float]
    wd_mult: dict[Index, float]

    def set_lr_mult(self, args_lr_mult: Mapping[Index, float]) -> None:
        """Set factors of the learning rate by name or index, in place of those set before.

        They precede the attributes ``__lr_mult__`` of the symbol.
        """
        self.lr_mult = {**self._attributes("__lr_mult__"), **self._mults("lr", args_lr_mult)}

    def set_wd_mult(self, args_wd_mult: Mapping[Index, float]) -> None:
        """Set factors of the weight decay by name or index, in place of those set before.

        They precede the symbol's attributes ``__wd_mult__``, and those the default, which is 0 for
        every name in ``idx2name`` that ends in neither ``_weight`` nor ``_gamma``.
        """
        self.wd_mult = {
            **{n: 0.0 for n in self.idx2name.values() if not n.endswith(("_weight", "_gamma"))},
            **self._attributes("__wd_mult__"),
            **self._mults("wd", args_wd_mult),
        }

    def _attributes(self, key: str) -> dict[Index, float]:
        if self.sym_info is None:
            return {}
        attributes, names = self.sym_info
        return {
            name: self._factor(f"attribute {key} of {name!r}", attributes[name][key])
            for name in names
            if key in attributes.get(name, {})
        }

    def _factor(self, what: str, text: str) -> float:
        try:
            return self._number(what, float(text))
        except (TypeError, ValueError, OverflowError):
            raise InvalidArgumentError(
                f"{self._name()}: {what} must be a finite number, found {text!r}."
            ) from None

    def _mults(self, kind: str, factors: Mapping[Index, float]) -> dict[Index, float]:
        if not isinstance(factors, Mapping):
            raise InvalidArgumentError(
                f"{self._name()}: set_{kind}_mult expects a dict from parameter name (or index) to "
                f"factor, found {factors!r}."
            )
        parameters = {*self.idx2name, *self.idx2name.values()}
        for name in factors:
            if self.idx2name and name not in parameters:
                logging.warning(
                    "%s: set_%s_mult names %r, which is no parameter%s",
                    self._name(),
                    kind,
                    name,
                    did_you_mean(name, map(str, parameters)) or ".",
                )
        return {n: self._number(f"{kind}_mult of {n!r}", value) for n, value in factors.items()}

    def _mult(self, kind: str, index: Index) -> float:
        if index in self.param_dict:
            return float(getattr(self.param_dict[index], f"{kind}_mult"))
        mults = self.lr_mult if kind == "lr" else self.wd_mult
        if index in mults:
            return mults[index]
        return mults.get(self.idx2name.get(index, index), 1.0)

    def _name(self) -> str:
        return f"optimizer {type(self).__name__.lower()}"

    def _number(
        self, name: str, value: Any, least: float = -math.inf, below: float = math.inf
    ) -> float:
        """Return ``value`` as a float; raise unless it lies in [least, below)."""
        real = isinstance(value, numbers.Real) and not isinstance(value, bool)
        if not real or not is_finite(value) or not least <= value < below:
            span = "a finite number"
            if least != -math.inf:
                span += f" >= {least:g}"
            if below != math.inf:
                span += f" and < {below:g}"
            raise InvalidArgumentError(f"{self._name()}: {name} must be {span}, found {value!r}.")
        return float(value)

    def _momentum(self, value: Any) -> float:
        """Return a momentum; one of 1 or more lets the weights run away, whatever the gradient."""
        return self._number("momentum", value, -1, 1)

    def _epsilon(self, value: Any) -> float:
        """Return what keeps a division by a running size of gradients finite."""
        epsilon = self._number("epsilon", value, 0)
        if not epsilon:
            logging.warning(
                "%s: epsilon is 0, so a weight whose gradients are all 0 becomes NaN (0 / 0)",
                self._name(),
            )
        return epsilon


def argument_attributes(symbol: Any) -> Mapping[str, Mapping[str, str]]:
    """Return what ``attr_dict`` of a symbol has, without the nodes of a thousand steps."""
    if not isinstance(symbol, Symbol):
        attributes: Mapping[str, Mapping[str, str]] = symbol.attr_dict()
        return attributes
    arguments, _ = symbol.variables()
    return {node.name: node.attrs for node in arguments if node.attrs}
