"""The base of all optimizers: hyperparameters, multipliers, counts, and the registry."""

from __future__ import annotations

import inspect
import logging
import math
import numbers
from collections.abc import Callable, Hashable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, ClassVar, TypeVar

import onnx_ir as ir

from symbucket.errors import InvalidArgumentError, StateError, UnsupportedError
from symbucket.ir import Builder
from symbucket.registry import Registry

Index = int | str
"""How an optimizer knows a parameter: by position, or by name."""

_C = TypeVar("_C", bound="type[Optimizer]")


class Optimizer:
    """Base of all optimizers; arguments and attributes are those of ``mx.optimizer.Optimizer``.

    Args:
        rescale_grad: every gradient is multiplied by it first (1 / batch size, as a rule).
        param_idx2name: names of the parameters by index. Where given, weight decay applies only to
            names that end in ``_weight`` or ``_gamma``, unless ``set_wd_mult`` says otherwise.
        wd: weight decay.
        clip_gradient: gradients are clipped to ``[-clip_gradient, clip_gradient]``; None or a
            negative number means no clipping.
        learning_rate: None means the scheduler's ``base_lr``, or 0.01 without a scheduler.
        lr_scheduler: a callable from the number of updates to the learning rate.
        sym: a symbol whose attributes ``__lr_mult__`` and ``__wd_mult__`` give multipliers.
        begin_num_update: the number of updates that count as made already.
        multi_precision: accepted for MXNet's sake; parameters are float32 in any case.
        param_dict: objects with ``lr_mult`` and ``wd_mult`` by index; they come before all else.

    A subclass gives ``state_values``, ``scalars`` and ``emit``. ``emit`` runs once, when the graph
    is built, so what it reads from ``self`` is frozen into the graph: values that change from step
    to step go through ``scalars``. Where an attribute named in ``structural`` changes, the graph
    is built again; by default those are all public attributes that hold a number, a text, a
    boolean or None.
    """

    structural: ClassVar[tuple[str, ...] | None] = None
    """Attributes that ``emit`` reads; None stands for all public plain ones."""

    per_parameter: ClassVar[bool] = False
    """Whether ``scalars`` differs between parameters of equal count, lr and wd."""

    _by_value = ("rescale_grad", "lr", "wd", "clip_gradient", "begin_num_update", "num_update")

    def __init__(
        self,
        rescale_grad: float = 1.0,
        param_idx2name: Mapping[Any, str] | None = None,
        wd: float = 0.0,
        clip_gradient: float | None = None,
        learning_rate: float | None = None,
        lr_scheduler: Callable[[int], float] | None = None,
        sym: Any = None,
        begin_num_update: int = 0,
        multi_precision: bool = False,
        param_dict: Mapping[int, Any] | None = None,
    ) -> None:
        self.rescale_grad = rescale_grad
        self.clip_gradient = clip_gradient
        self.multi_precision = multi_precision
        self._preprocessing()
        self.wd = self._number("wd", wd)
        if lr_scheduler is not None and not callable(lr_scheduler):
            raise InvalidArgumentError(
                f"{self._name()}: lr_scheduler must be a callable from the number of updates to a "
                f"learning rate, found {lr_scheduler!r}."
            )
        self.lr_scheduler = lr_scheduler
        if learning_rate is None:
            learning_rate = getattr(lr_scheduler, "base_lr", 0.01)
        self.lr = self._number("learning_rate", learning_rate, 0)
        base_lr = getattr(lr_scheduler, "base_lr", self.lr)
        if base_lr != self.lr:
            logging.warning(
                "%s: learning_rate=%g replaces the scheduler's base_lr=%g, as in MXNet.",
                self._name(),
                self.lr,
                base_lr,
            )
            lr_scheduler.base_lr = self.lr  # type: ignore[union-attr]
        self.begin_num_update = int(begin_num_update)
        self.num_update = self.begin_num_update
        self._index_update_count: dict[Index, int] = {}
        self.idx2name: dict[Index, str] = dict(param_idx2name or {})
        self.param_dict = dict(param_dict or {})
        self.sym_info: tuple[Mapping[str, Mapping[str, str]], Sequence[str]] | None = None
        if sym is not None:
            self.sym_info = (sym.attr_dict(), sym.list_arguments())
        self.lr_mult: dict[Index, float] = {}
        self.wd_mult: dict[Index, float] = {}
        self.set_lr_mult({})
        self.set_wd_mult({})

    # What a subclass gives.

    def state_values(self) -> dict[str, float]:
        """The states of a parameter and what they start from; each has the weight's shape."""
        return {}

    def scalars(self, t: int, lr: float, wd: float) -> dict[str, float]:
        """The numbers that update ``t`` (from 1) of a parameter needs, computed in float64.

        ``lr`` and ``wd`` include schedule and multipliers. Which names there are is part of the
        graph's structure: leave one out and ``emit`` may leave out its nodes.
        """
        return {"lr": lr, "wd": wd, **self._preprocessing()}

    def rows_suffice(self, index: Index) -> bool:
        """Whether a parameter's update is no more than ``w -= step * gradient`` now.

        Otherwise, as with momentum or decay, rows without a gradient change as well, and a
        row-sparse update would not be exact.
        """
        return False

    def row_step(self, index: Index) -> float:
        """The step of the counted update, where ``rows_suffice``."""
        rows, _ = self.table([index])
        return rows[0]["step"]

    def emit(
        self,
        g: Builder,
        weight: ir.Value,
        grad: ir.Value,
        states: dict[str, ir.Value],
        scalars: dict[str, ir.Value],
    ) -> tuple[ir.Value, dict[str, ir.Value]]:
        """Append the nodes of one parameter's update; give its new value and new states.

        Scalars have shape (1,). Call ``self.gradient`` for the rescaled and clipped gradient.
        """
        raise UnsupportedError(
            f"{type(self).__name__} has no emit(g, weight, grad, states, scalars); an optimizer "
            "must define it."
        )

    # What subclasses share.

    def _preprocessing(self, l2: float = 0.0, folded: bool = False) -> dict[str, float]:
        """The scalars that ``gradient`` reads.

        ``l2``: a weight decay that is added to the gradient before clipping. ``folded``: the rule
        multiplies by ``rescale_grad`` in its own coefficients, which saves a pass: ``gradient``
        then gives the wanted gradient divided by ``rescale_grad``.
        """
        rescale = self._number("rescale_grad", self.rescale_grad)
        if rescale == 0:
            raise InvalidArgumentError(
                f"{self._name()}: rescale_grad is 0, so no gradient would count. Expected 1 / "
                "batch size or another number other than 0; use learning_rate=0 to freeze."
            )
        found: dict[str, float] = {}
        if rescale != 1 and not folded:
            found["rescale"] = rescale
        if l2 != 0:
            found["l2"] = l2 / rescale if folded else l2
        if self.clip_gradient is not None:
            clip = self._number("clip_gradient", self.clip_gradient)
            if clip == 0:
                raise InvalidArgumentError(
                    f"{self._name()}: clip_gradient is 0, which would make every gradient 0. "
                    "Expected a number above 0, or None for no clipping."
                )
            if clip > 0:
                found["clip"] = clip / abs(rescale) if folded else clip
        return found

    def gradient(
        self, g: Builder, weight: ir.Value, grad: ir.Value, scalars: Mapping[str, ir.Value]
    ) -> ir.Value:
        """The gradient as the rule wants it: rescaled, with L2 decay if asked for, clipped."""
        if "rescale" in scalars:
            grad = g.op("Mul", grad, scalars["rescale"])
        if "l2" in scalars:
            grad = g.op("Add", grad, g.op("Mul", weight, scalars["l2"]))
        if "clip" in scalars:
            high = g.op("Squeeze", scalars["clip"], g.ints(0))
            grad = g.op("Clip", grad, g.op("Neg", high), high)
        return grad

    def _name(self) -> str:
        return f"optimizer {type(self).__name__.lower()}"

    def _number(
        self, name: str, value: Any, least: float = -math.inf, below: float = math.inf
    ) -> float:
        """``value`` as a float in [least, below); InvalidArgumentError otherwise."""
        real = isinstance(value, numbers.Real) and not isinstance(value, bool)
        if not real or not math.isfinite(value) or not least <= value < below:
            span = "a finite number"
            if least != -math.inf:
                span += f" >= {least:g}"
            if below != math.inf:
                span += f" and < {below:g}"
            raise InvalidArgumentError(f"{self._name()}: {name} must be {span}, found {value!r}.")
        return float(value)

    def structure(self) -> Hashable:
        """What ``emit`` may have frozen into a graph; another value means another graph."""
        if self.structural is not None:
            return tuple(getattr(self, name) for name in self.structural)
        return tuple(
            (name, value)
            for name, value in sorted(vars(self).items())
            if not name.startswith("_")
            and name not in self._by_value
            and isinstance(value, (numbers.Number, str, type(None)))
        )

    # Learning rate, multipliers, counts.

    @property
    def learning_rate(self) -> float:
        """The current learning rate, before multipliers."""
        if self.lr_scheduler is not None:
            return self._number(
                f"lr_scheduler({self.num_update})", self.lr_scheduler(self.num_update), 0
            )
        return self.lr

    def set_learning_rate(self, lr: float) -> None:
        """Set the learning rate; StateError where a scheduler decides it."""
        if self.lr_scheduler is not None:
            raise StateError(
                f"{self._name()}: set_learning_rate({lr!r}) would have no effect, because "
                f"lr_scheduler={type(self.lr_scheduler).__name__} decides the learning rate. "
                "Change the scheduler's base_lr, or make the optimizer without a scheduler."
            )
        self.lr = self._number("learning_rate", lr, 0)

    def set_lr_mult(self, args_lr_mult: Mapping[Index, float]) -> None:
        """Factors of the learning rate by name or index; replaces those set before.

        Attributes ``__lr_mult__`` of the symbol stay beneath them.
        """
        self.lr_mult = {**self._attributes("__lr_mult__"), **self._mults("lr", args_lr_mult)}

    def set_wd_mult(self, args_wd_mult: Mapping[Index, float]) -> None:
        """Factors of the weight decay by name or index; replaces those set before.

        Beneath them lie the symbol's attributes ``__wd_mult__``, and beneath those 0 for every
        known name that ends in neither ``_weight`` nor ``_gamma``.
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
            name: self._number(f"attribute {key} of {name!r}", float(attributes[name][key]))
            for name in names
            if key in attributes.get(name, {})
        }

    def _mults(self, kind: str, given: Mapping[Index, float]) -> dict[Index, float]:
        if not isinstance(given, Mapping):
            raise InvalidArgumentError(
                f"{self._name()}: set_{kind}_mult wants a dict from parameter name (or index) to "
                f"factor, found {given!r}."
            )
        known = {*self.idx2name, *self.idx2name.values()}
        for name in given:
            if self.idx2name and name not in known:
                near = get_close_matches(str(name), [str(k) for k in known], n=1)
                logging.warning(
                    "%s: set_%s_mult names %r, which is no parameter.%s",
                    self._name(),
                    kind,
                    name,
                    f" Did you mean {near[0]!r}?" if near else "",
                )
        return {n: self._number(f"{kind}_mult of {n!r}", value) for n, value in given.items()}

    def _mult(self, kind: str, index: Index) -> float:
        if index in self.param_dict:
            return float(getattr(self.param_dict[index], f"{kind}_mult"))
        mults = self.lr_mult if kind == "lr" else self.wd_mult
        if index in mults:
            return mults[index]
        return mults.get(self.idx2name.get(index, index), 1.0)

    def _update_count(self, index: Index | Sequence[Index]) -> None:
        """Count one more update of one or several parameters."""
        for i in [index] if isinstance(index, (int, str)) else index:
            count = self._index_update_count.get(i, self.begin_num_update) + 1
            self._index_update_count[i] = count
            self.num_update = max(self.num_update, count)

    def table(self, indices: Sequence[Index]) -> tuple[list[dict[str, float]], list[int]]:
        """Scalars of the counted update: distinct rows, and the row of each parameter."""
        base = self.learning_rate
        rows: list[dict[str, float]] = []
        places: dict[Hashable, int] = {}
        chosen = []
        for i, index in enumerate(indices):
            t = self._index_update_count[index]
            lr, wd = base * self._mult("lr", index), self.wd * self._mult("wd", index)
            key = (t, lr, wd, i if self.per_parameter else None)
            if key not in places:
                places[key] = len(rows)
                rows.append(self.scalars(t, lr, wd))
            chosen.append(places[key])
        return rows, chosen

    def counters(self) -> dict[str, Any]:
        """What Python counts while training, ready for JSON; ``set_counters`` takes it back."""
        return {
            "num_update": self.num_update,
            "index_update_count": [[i, n] for i, n in self._index_update_count.items()],
        }

    def set_counters(self, counters: Mapping[str, Any]) -> None:
        """Go on from ``counters``."""
        self.num_update = int(counters["num_update"])
        self._index_update_count = {i: int(n) for i, n in counters["index_update_count"]}

    @staticmethod
    def register(klass: _C) -> _C:
        """Class decorator: make an optimizer known under its lower-cased class name."""
        return _REGISTRY.register(klass)

    @staticmethod
    def create_optimizer(name: str | type[Optimizer] | Optimizer, **kwargs: Any) -> Optimizer:
        """The same as ``create``."""
        return create(name, **kwargs)


_REGISTRY = Registry(Optimizer, "optimizer")


def register(klass: _C) -> _C:
    """Class decorator: make an optimizer known under its lower-cased class name."""
    return _REGISTRY.register(klass)


def create(name: str | type[Optimizer] | Optimizer, **kwargs: Any) -> Optimizer:
    """An optimizer by name (any case), class, config text, or as it is.

    InvalidArgumentError for an unknown name or argument says which ones there are.
    """
    klass = name if isinstance(name, type) else None
    if isinstance(name, str) and name.lstrip()[:1] not in ("[", "{"):
        klass = _REGISTRY.find(name)
    if klass is None:
        return _REGISTRY.create(name, **kwargs)
    if not issubclass(klass, Optimizer):
        raise InvalidArgumentError(f"{klass!r} is no subclass of symbucket.optimizer.Optimizer.")
    known = _arguments(klass)
    for argument in kwargs:
        if known is not None and argument not in known:
            near = get_close_matches(argument, known, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise InvalidArgumentError(
                f"optimizer {klass.__name__.lower()} has no argument {argument!r}.{hint} "
                f"Known: {', '.join(known)}."
            )
    return klass(**kwargs)


def _arguments(klass: type[Optimizer]) -> list[str] | None:
    """Names of the arguments of a class, those passed on to its bases too; None where unknown."""
    known: list[str] = []
    for cls in klass.__mro__:
        if "__init__" not in vars(cls):
            continue
        parameters = list(inspect.signature(vars(cls)["__init__"]).parameters.values())[1:]
        known += [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            return known
    return None
