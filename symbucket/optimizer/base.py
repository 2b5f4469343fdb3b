"""The base of all optimizers: hyperparameters, multipliers, counts, and the registry."""

from __future__ import annotations

import inspect
import logging
import math
import numbers
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, ClassVar, TypeVar

import onnx_ir as ir

from symbucket.checks import did_you_mean
from symbucket.compiler.update import MAX_NORM
from symbucket.errors import InvalidArgumentError, UnsupportedError
from symbucket.ir import Builder, Expr
from symbucket.optimizer.host_interface import HostInterface
from symbucket.optimizer.hyperparameters import Index, argument_attributes
from symbucket.optimizer.operands import Operands, Step, limit
from symbucket.optimizer.update_counts import UpdateCounts
from symbucket.registry import Registry

EMA = "ema"
"""The state that is a weight's moving average."""

_C = TypeVar("_C", bound="type[Optimizer]")


class Optimizer(UpdateCounts, HostInterface):
    """Base of all optimizers; arguments and attributes are those of ``mx.optimizer.Optimizer``.

    Args:
        rescale_grad: every gradient is multiplied by it first (1 / batch size, as a rule).
            ``"batch"``: a module sets it to 1 / the size of the batch at each update, for buckets
            whose batches have different sizes.
        param_idx2name: names of the parameters by index. With them, weight decay applies only to
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
        clip_global_norm: the L2 norm of all gradients together, after ``rescale_grad``, is limited
            to this: beyond it all of them are scaled down by one factor.
        ema_decay: keep an exponential moving average of each weight, ``ema = ema_decay * ema + (1 -
            ema_decay) * weight``, as a further state (see ``averages``).

    A subclass of your own overrides ``update`` (and ``create_state``), as in MXNet: then it
    computes in Python. The library's define ``state_values``, ``scalars`` and ``step``. ``step``
    runs once, while the graph is built, so what it reads from ``self`` is frozen into the graph:
    values that change from update to update go through ``scalars``. If an attribute named in
    ``structural`` changes, the graph is built again; by default those are all public attributes
    that hold a number, a string, a boolean or None. A subclass may override ``emit`` to append
    nodes itself.
    """

    structural: ClassVar[tuple[str, ...] | None] = None
    """Attributes that ``emit`` reads; None stands for all public plain ones."""

    per_parameter: ClassVar[bool] = False
    """Whether ``scalars`` differs between parameters of equal count, lr and wd."""

    _by_value = (
        "rescale_grad",
        "lr",
        "wd",
        "clip_gradient",
        "begin_num_update",
        "num_update",
        "initial_lr",
        "clip_global_norm",
        "ema_decay",
    )

    def __init__(
        self,
        rescale_grad: float | str = 1.0,
        param_idx2name: Mapping[Any, str] | None = None,
        wd: float = 0.0,
        clip_gradient: float | None = None,
        learning_rate: float | None = None,
        lr_scheduler: Callable[[int], float] | None = None,
        sym: Any = None,
        begin_num_update: int = 0,
        multi_precision: bool = False,
        param_dict: Mapping[int, Any] | None = None,
        clip_global_norm: float | None = None,
        ema_decay: float | None = None,
    ) -> None:
        self.rescale_by_batch = rescale_grad == "batch"
        self.rescale_grad: Any = 1.0 if self.rescale_by_batch else rescale_grad
        self.clip_gradient = clip_gradient
        self.clip_global_norm = self._limit("clip_global_norm", clip_global_norm, math.inf)
        self.ema_decay = self._limit("ema_decay", ema_decay, 1.0)
        self.multi_precision = multi_precision
        self._preprocessing()
        self.wd = self._number("wd", wd, 0)
        if lr_scheduler is not None and not callable(lr_scheduler):
            raise InvalidArgumentError(
                f"{self._name()}: lr_scheduler must be a callable from the number of updates to a "
                f"learning rate, found {lr_scheduler!r}."
            )
        self.lr_scheduler = lr_scheduler
        if learning_rate is None:
            learning_rate = getattr(lr_scheduler, "base_lr", 0.01)
        self.lr = self._number("learning_rate", learning_rate, 0)
        self.initial_lr = self.lr  # by which resuming tells a new rate from one that has changed
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
        self._index_begin: dict[Index, int] = {}
        self.idx2name: dict[Index, str] = dict(param_idx2name or {})
        self.param_dict = dict(param_dict or {})
        self.sym_info: tuple[Mapping[str, Mapping[str, str]], Sequence[str]] | None = None
        if sym is not None:
            self.sym_info = (argument_attributes(sym), sym.list_arguments())
        self.lr_mult: dict[Index, float] = {}
        self.wd_mult: dict[Index, float] = {}
        self.set_lr_mult({})
        self.set_wd_mult({})

    # What a subclass defines.

    def state_values(self) -> dict[str, float]:
        """Return the initial value of each state by name; states have the weight's shape."""
        return {}

    def _states(self) -> dict[str, float]:
        return self.update_states()

    def scalars(self, t: int, lr: float, wd: float) -> dict[str, float]:
        """Return the numbers that update ``t`` (from 1) of a parameter needs, in float64.

        ``lr`` and ``wd`` include schedule and multipliers. Which names there are is part of the
        graph's structure: without a name, ``step`` may leave out its nodes.
        """
        return {"lr": lr, "wd": wd, **self._preprocessing()}

    def update_states(self) -> dict[str, float]:
        """Return the initial value of every state: those of the formula, and the average."""
        return self.state_values() | ({} if self.ema_decay is None else {EMA: 0.0})

    def update_scalars(
        self, t: int, lr: float, wd: float, index: Index | None = None
    ) -> dict[str, float]:
        """Return all numbers that an update reads: those of the formula, and those around it."""
        own = self.scalars(t, lr, wd) if index is None else self.scalars_of(index, t, lr, wd)
        numbers = dict(own)
        if self.clip_global_norm is not None:  # of gradients that are not rescaled yet
            rescale = self._number("rescale_grad", self.rescale_grad)
            numbers[MAX_NORM] = self.clip_global_norm / abs(rescale)
        if self.ema_decay is not None:
            numbers |= {"ema_keep": self.ema_decay, "ema_take": 1 - self.ema_decay}
        return numbers

    def emit_update(
        self,
        g: Builder,
        weight: ir.Value,
        grad: ir.Value,
        states: dict[str, ir.Value],
        scalars: dict[str, ir.Value],
    ) -> tuple[ir.Value, dict[str, ir.Value]]:
        """Append the nodes of ``emit``, and those of the average of the weight if there is one."""
        ema = states.pop(EMA, None)
        around = {MAX_NORM, "ema_keep", "ema_take"}
        own = {name: value for name, value in scalars.items() if name not in around}
        new, new_states = self.emit(g, weight, grad, states, own)
        if ema is not None:
            decayed = Expr(g, ema) * Expr(g, scalars["ema_keep"])
            new_states = {**new_states, EMA: (decayed + Expr(g, new) * scalars["ema_take"]).value}
        return new, new_states

    def average_scale(self, index: Index) -> float:
        """Return what the average of a weight is multiplied by: it began with 0.

        As in Adam (Kingma & Ba, 2015), the bias of the first updates is taken out by it.
        """
        assert self.ema_decay is not None
        return 1 / (1 - self.ema_decay ** self.updates_of(index))

    def updates_rows(self, index: Index) -> bool:
        """Return whether a row-sparse gradient may update its rows alone, exactly."""
        whole = self.clip_global_norm is not None or self.ema_decay is not None
        return not whole and self.rows_suffice(index)

    def scalars_of(self, index: Index, t: int, lr: float, wd: float) -> dict[str, float]:
        """Return ``scalars``; a subclass may add to them for some parameters."""
        return self.scalars(t, lr, wd)

    def rows_suffice(self, index: Index) -> bool:
        """Return whether a parameter's update is now no more than ``w -= step * gradient``.

        Otherwise, as with momentum or decay, rows without a gradient change as well, and a
        row-sparse update would not be exact.
        """
        return False

    def row_step(self, index: Index) -> float:
        """Return the step of the counted update, if ``rows_suffice``."""
        rows, _ = self.table([index])
        return rows[0]["step"]

    def step(self, w: Expr, g: Expr, s: Operands, k: Operands) -> Step:
        """Return the new weight and the new states of one parameter: the optimizer's formula.

        Args:
            w: the weight.
            g: the gradient, rescaled and clipped (see ``preprocessed``), of the weight's shape.
            s: the states by name (``s.mom``), of the weight's shape.
            k: what ``scalars`` returns by name (``k.lr``), each of shape (1,).
        """
        raise UnsupportedError(
            f"{type(self).__name__} has no step(w, g, s, k) and no update(index, weight, grad, "
            "state); an optimizer must define one of them."
        )

    def emit(
        self,
        g: Builder,
        weight: ir.Value,
        grad: ir.Value,
        states: dict[str, ir.Value],
        scalars: dict[str, ir.Value],
    ) -> tuple[ir.Value, dict[str, ir.Value]]:
        """Append the nodes of one parameter's update: those of ``preprocessed`` and ``step``."""
        w, s, k = Expr(g, weight), Operands(g, "state", states), Operands(g, "scalar", scalars)
        new, new_states = self.step(w, self.preprocessed(w, Expr(g, grad), k), s, k)
        return new.value, {name: value.value for name, value in new_states.items()}

    # What subclasses share.

    def _limit(self, name: str, value: float | None, below: float) -> float | None:
        if value is not None and not 0 < self._number(name, value) < below:
            end = "" if below == math.inf else f" and below {below:g}"
            raise InvalidArgumentError(
                f"{self._name()}: {name} is {value!r}; expected a number above 0{end}, or None"
            )
        return None if value is None else float(value)

    def _preprocessing(self, l2: float = 0.0, folded: bool = False) -> dict[str, float]:
        """Return the scalars that ``preprocessed`` reads.

        ``l2``: a weight decay that is added to the gradient before clipping. ``folded``: the
        formula multiplies by ``rescale_grad`` in its own coefficients, which saves a pass over
        memory: ``preprocessed`` then returns the gradient divided by ``rescale_grad``.
        """
        rescale = self._number("rescale_grad", self.rescale_grad)
        if rescale == 0:
            raise InvalidArgumentError(
                f"{self._name()}: rescale_grad is 0, so no gradient would count. Expected 1 / "
                "batch size or another number other than 0; use learning_rate=0 to freeze."
            )
        scalars: dict[str, float] = {}
        if rescale != 1 and not folded:
            scalars["rescale"] = rescale
        if l2 != 0:
            scalars["l2"] = l2 / rescale if folded else l2
        if self.clip_gradient is not None:
            clip = self._number("clip_gradient", self.clip_gradient)
            if clip == 0:
                raise InvalidArgumentError(
                    f"{self._name()}: clip_gradient is 0, which would make every gradient 0. "
                    "Expected a number above 0, or None for no clipping."
                )
            if clip > 0:
                scalars["clip"] = clip / abs(rescale) if folded else clip
        return scalars

    def preprocessed(self, w: Expr, g: Expr, k: Operands) -> Expr:
        """Return the gradient that ``step`` gets: rescaled, with L2 decay if any, clipped."""
        if "rescale" in k:
            g = g * k.rescale
        if "l2" in k:
            g = g + w * k.l2
        return limit(g, k.clip) if "clip" in k else g

    def gradient(
        self, g: Builder, weight: ir.Value, grad: ir.Value, scalars: Mapping[str, ir.Value]
    ) -> ir.Value:
        """Return the preprocessed gradient, for a subclass that overrides ``emit``."""
        w, k = Expr(g, weight), Operands(g, "scalar", scalars)
        return self.preprocessed(w, Expr(g, grad), k).value

    def structure(self) -> Hashable:
        """Return what ``step`` may have frozen into a graph; another value means another graph."""
        if self.structural is not None:
            return tuple(getattr(self, name) for name in self.structural)
        return tuple(
            (name, value)
            for name, value in sorted(vars(self).items())
            if not name.startswith("_")
            and name not in self._by_value
            and isinstance(value, (numbers.Number, str, type(None)))
        )

    # What an update reads, and the registry.

    def table(self, indices: Sequence[Index]) -> tuple[list[dict[str, float]], list[int]]:
        """Return the scalars of the counted update: distinct rows, and each parameter's row."""
        base, decay = self.learning_rate, self.wd
        factors = bool(self.param_dict or self.lr_mult)
        rows: list[dict[str, float]] = []
        row_of_key: dict[Hashable, int] = {}
        row_of_parameter = []
        for i, index in enumerate(indices):
            t = self._index_update_count[index]
            lr = base * self._mult("lr", index) if factors else base
            wd = decay * self._mult("wd", index) if decay else 0.0
            key = (t, lr, wd, i if self.per_parameter else None)
            if key not in row_of_key:
                row_of_key[key] = len(rows)
                rows.append(self.update_scalars(t, lr, wd, index))
            row_of_parameter.append(row_of_key[key])
        return rows, row_of_parameter

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
    """Return an optimizer given its name (in any case), class or JSON config, or itself.

    Raises InvalidArgumentError for an unknown name or argument, with those that exist.
    """
    klass = name if isinstance(name, type) else None
    if isinstance(name, str) and name.lstrip()[:1] not in ("[", "{"):
        klass = _REGISTRY.find(name)
    if klass is None:
        return _REGISTRY.create(name, **kwargs)
    if not issubclass(klass, Optimizer):
        raise InvalidArgumentError(f"{klass!r} is no subclass of symbucket.optimizer.Optimizer.")
    arguments = _arguments(klass)
    for argument in kwargs:
        if arguments is not None and argument not in arguments:
            raise InvalidArgumentError(
                f"optimizer {klass.__name__.lower()} has no argument {argument!r}"
                f"{did_you_mean(argument, arguments) or '.'} Known: {', '.join(arguments)}."
            )
    return klass(**kwargs)


def _arguments(klass: type[Optimizer]) -> list[str] | None:
    """Return the names of a class's arguments, with those of its bases; None if unknown."""
    names: list[str] = []
    for cls in klass.__mro__:
        if "__init__" not in vars(cls):
            continue
        parameters = list(inspect.signature(vars(cls)["__init__"]).parameters.values())[1:]
        names += [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            return names
    return None
