"""``SequentialModule``: modules in a chain, each on the outputs of the one before."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from symbucket import seeding
from symbucket.checks import listing
from symbucket.context import cpu
from symbucket.engine.ownership import exclusive
from symbucket.engine.parameters import ParameterStore, Writes
from symbucket.errors import InvalidArgumentError, ParameterError, UnsupportedError
from symbucket.io import DataBatch, DataDesc
from symbucket.io.desc import normalize_descs
from symbucket.module.base import BaseModule
from symbucket.module.filling import filling_of
from symbucket.module.interface import ModuleInterface, Pairs
from symbucket.module.prepared import Prepared
from symbucket.runtime import NDArray


class SequentialModule(BaseModule):
    """A chain of modules, as ``mx.mod.SequentialModule``.

    Outputs of a module are the data of the next one, by position; gradients of data go back the
    same way. Modules may be of any kind: ``Module``, ``PythonLossModule``, one of your own.
    """

    META_TAKE_LABELS = "take_labels"
    META_AUTO_WIRING = "auto_wiring"

    def __init__(self, logger: Any = logging) -> None:
        super().__init__(logger)
        self._modules: list[Any] = []
        self._metas: list[dict[str, bool]] = []
        self._labels: Any = None
        self._filled: set[int] = set()  # modules of other kinds that init_params has filled

    def add(self, module: Any, **kwargs: bool) -> SequentialModule:
        """Append a module; the chain has to be bound again.

        Args:
            module: the module.
            kwargs: ``take_labels=True``: it gets the labels of the batch. ``auto_wiring=True``: the
                outputs of the module before have other names than its data.

        Returns:
            The chain, so that calls can be written one after another.
        """
        metas = (self.META_TAKE_LABELS, self.META_AUTO_WIRING)
        unknown = [key for key in kwargs if key not in metas]
        if unknown:
            raise InvalidArgumentError(
                f"SequentialModule.add: there is no {listing(unknown)}; it takes {listing(metas)}"
            )
        if not isinstance(module, ModuleInterface):
            raise InvalidArgumentError(f"SequentialModule.add: {module!r} is no module")
        self._modules.append(module)
        self._metas.append(kwargs)
        self._set(binded=False, params_initialized=False, optimizer_initialized=False)
        return self

    def _takes_labels(self, position: int) -> bool:
        return bool(self._metas[position].get(self.META_TAKE_LABELS))

    @property
    def data_names(self) -> list[str]:
        return list(self._modules[0].data_names) if self._modules else []

    @property
    def output_names(self) -> list[str]:
        return list(self._modules[-1].output_names) if self._modules else []

    @property
    def data_shapes(self) -> Any:
        self._require()
        return self._modules[0].data_shapes

    @property
    def label_shapes(self) -> Any:
        self._require()
        return self._labels

    @property
    def output_shapes(self) -> Any:
        self._require()
        return self._modules[-1].output_shapes

    @exclusive
    def bind(
        self,
        data_shapes: Sequence[Any],
        label_shapes: Sequence[Any] | None = None,
        for_training: bool = True,
        inputs_need_grad: bool = False,
        force_rebind: bool = False,
        shared_module: Any = None,
        grad_req: Any = "write",
    ) -> None:
        """Bind all modules; every one but the first has gradients of its data."""
        if self.binded and not force_rebind:
            self.logger.warning("Already bound, ignoring bind()")
            return
        if shared_module is not None:
            raise UnsupportedError("SequentialModule.bind: shared_module is not supported")
        if not self._modules:
            raise InvalidArgumentError("SequentialModule.bind: no module was added")
        shapes: Sequence[Any] = data_shapes
        for i, (module, meta) in enumerate(zip(self._modules, self._metas)):
            if meta.get(self.META_AUTO_WIRING):
                names = module.data_names
                if len(names) != len(shapes):
                    raise InvalidArgumentError(
                        f"SequentialModule: module {i} has the data {listing(names)}, the one "
                        f"before it {len(shapes)} outputs"
                    )
                shapes = [(name, shape) for name, (_, shape) in zip(names, shapes)]
            module.bind(
                data_shapes=shapes,
                label_shapes=label_shapes if self._takes_labels(i) else None,
                for_training=for_training,
                inputs_need_grad=inputs_need_grad or (for_training and i > 0),
                force_rebind=force_rebind,
                grad_req=grad_req,
            )
            shapes = module.output_shapes
        labelled = any(self._takes_labels(i) for i in range(len(self._modules)))
        self._labels = label_shapes if labelled else None
        self._set(binded=True, for_training=for_training, inputs_need_grad=inputs_need_grad)

    @exclusive
    def init_params(
        self,
        initializer: Any = None,
        arg_params: Mapping[str, Any] | None = None,
        aux_params: Mapping[str, Any] | None = None,
        allow_missing: bool = False,
        force_init: bool = False,
        allow_extra: bool = False,
    ) -> None:
        """Fill the parameters of all modules; each takes what it has of the given ones.

        Values that no module has are passed over, with a warning unless ``allow_extra``. If a
        module cannot be filled, all stay as they were (one of your own that had no parameters
        before keeps those that it has made, until the next attempt).
        """
        if self.params_initialized and not force_init:
            return
        self._require()
        self._require_own_names()
        chance = seeding.state()
        try:
            writes: list[tuple[ParameterStore, Writes]] = []
            for i, module in enumerate(self._modules):
                if isinstance(module, Prepared) and self._is_filled_anew(i, force_init):
                    values = module._first_values(
                        initializer, arg_params, aux_params, allow_missing
                    )
                    writes.append((module.store, values))
            # Modules that write at once come before those whose values are checked and complete.
            with self._unharmed():
                for i, module in enumerate(self._modules):
                    if not isinstance(module, Prepared):
                        force = self._is_filled_anew(i, force_init)
                        module.init_params(
                            initializer,
                            arg_params,
                            aux_params,
                            allow_missing,
                            force,
                            allow_extra=True,
                        )
                self._require_own_names()
        except BaseException:
            seeding.restore(chance)
            raise
        for store, values in writes:
            store.fill(values)
        self._set(params_initialized=True)
        extra = [] if allow_extra else self._extra_names(arg_params, aux_params)
        if extra:
            self.logger.warning(
                "SequentialModule: %s given, which no module of the chain has", listing(extra)
            )

    def _is_filled_anew(self, position: int, force_init: bool) -> bool:
        """Return whether ``init_params`` fills a module, and remember that it is the chain's."""
        module = self._modules[position]
        if not module.params_initialized and not isinstance(module, Prepared):
            self._filled.add(position)
        return force_init or not module.params_initialized or position in self._filled

    @contextmanager
    def _unharmed(self) -> Iterator[None]:
        """Give modules of other kinds back what they had, if the block fails."""
        others = [m for m in self._modules if not isinstance(m, Prepared) and m.params_initialized]
        earlier = [module.get_params() for module in others]
        try:
            yield
        except BaseException:
            for module, params in zip(others, earlier):
                module.set_params(*params)
            raise

    def _require_own_names(self) -> None:
        """Raise ParameterError if two modules have a parameter of one name."""
        owners: dict[str, int] = {}
        for i, module in enumerate(self._modules):
            for name in [name for names in _names_of(module) for name in names]:
                if name in owners:
                    raise ParameterError(
                        f"SequentialModule: modules {owners[name]} and {i} both have a parameter "
                        f"{name!r}. Give layers names of their own."
                    )
                owners[name] = i

    def _extra_names(self, *given: Mapping[str, Any] | None) -> list[str]:
        """Return the names among given parameters and auxiliary states that no module has."""
        own = [set().union(*kinds) for kinds in zip(*map(_names_of, self._modules))]
        return [n for params, names in zip(given, own) for n in params or () if n not in names]

    def set_params(
        self,
        arg_params: Mapping[str, Any],
        aux_params: Mapping[str, Any] | None = None,
        allow_missing: bool = False,
        force_init: bool = True,
        allow_extra: bool = False,
    ) -> None:
        """Write parameters and auxiliary states of all modules.

        As in ``Module``, values that no module has are an error only if ``allow_missing`` is set
        and ``allow_extra`` is not; otherwise they are passed over, with a warning.
        """
        if self.params_initialized and not force_init:
            self.logger.warning("Parameters already initialized and force_init=False; ignored")
            return
        self._require()
        if allow_missing and not allow_extra and all(map(_tells_names, self._modules)):
            extra = self._extra_names(arg_params, aux_params)
            if extra:
                raise ParameterError(
                    f"The given values have {listing(extra)}, which no module of the chain has; "
                    "allow_extra=True passes over them."
                )
        super().set_params(
            arg_params, aux_params, allow_missing, force_init=force_init, allow_extra=allow_extra
        )

    def get_params(self) -> tuple[dict[str, NDArray], dict[str, NDArray]]:
        """Return copies of the parameters and auxiliary states of all modules."""
        self._require(params=True)
        both: tuple[dict[str, NDArray], dict[str, NDArray]] = ({}, {})
        for module in self._modules:
            for merged, params in zip(both, module.get_params()):
                merged.update(params)
        return both

    @exclusive
    def init_optimizer(
        self,
        kvstore: Any = "local",
        optimizer: Any = "sgd",
        optimizer_params: Pairs = (("learning_rate", 0.01),),
        force_init: bool = False,
    ) -> None:
        """Make an optimizer for each module."""
        self._require(params=True)
        if self.optimizer_initialized and not force_init:
            self.logger.warning("optimizer already initialized, ignoring.")
            return
        for module in self._modules:
            module.init_optimizer(kvstore, optimizer, optimizer_params, force_init)
        self._set(optimizer_initialized=True)

    def install_monitor(self, mon: Any) -> None:
        self._require()
        for module in self._modules:
            module.install_monitor(mon)

    # Running ---------------------------------------------------------------------------------

    @exclusive
    def forward(self, data_batch: Any, is_train: bool | None = None) -> None:
        """Run all modules, one after another."""
        self._require(params=True)
        batch = DataBatch.of(data_batch)
        filling = filling_of(batch, batch.provide_data or normalize_descs(self.data_shapes))
        for i, module in enumerate(self._modules):
            data, descs, pad, layout = batch.data, batch.provide_data, batch.pad, "N"
            if i > 0:
                data = self._modules[i - 1].get_outputs()
                if filling is not None:
                    layout, pad = filling.of_output(f"output of module {i - 1}", data[0].shape)
                descs = [
                    DataDesc(n, a.shape, a.dtype, layout) for n, a in zip(module.data_names, data)
                ]
            labelled = self._takes_labels(i)
            part = DataBatch(
                data,
                batch.label if labelled else None,
                pad,
                batch.index,
                batch.bucket_key,
                descs,
                batch.provide_label if labelled else None,
            )
            module.forward(part, is_train=is_train)

    @exclusive
    def backward(self, out_grads: Any = None) -> None:
        """Run all modules backwards, from the last one on."""
        self._require(params=True)
        for i in reversed(range(len(self._modules))):
            self._modules[i].backward(out_grads)
            if i > 0:
                out_grads = self._modules[i].get_input_grads()

    @exclusive
    def update(self) -> None:
        """Take one step of all optimizers."""
        self._require(params=True, optimizer=True)
        for module in self._modules:
            module.update()

    def get_outputs(self, merge_multi_context: bool = True) -> list[Any]:
        self._require(params=True)
        return list(self._modules[-1].get_outputs(merge_multi_context))

    def get_input_grads(self, merge_multi_context: bool = True) -> list[Any]:
        self._require(params=True)
        return list(self._modules[0].get_input_grads(merge_multi_context))

    def update_metric(self, eval_metric: Any, labels: Any, pre_sliced: bool = False) -> None:
        """Add outputs and labels to a metric, for each module that takes labels."""
        self._require(params=True)
        for i, module in enumerate(self._modules):
            if self._takes_labels(i):
                module.update_metric(eval_metric, labels, pre_sliced)

    def _unpadded(self, batch: Any) -> list[NDArray]:
        whole = DataBatch.of(batch)
        filling = filling_of(whole, whole.provide_data or normalize_descs(self.data_shapes))
        outputs = [np.asarray(output) for output in self.get_outputs()]
        return [NDArray.of(o if filling is None else filling.cut(o), cpu()) for o in outputs]

    def failures(self) -> list[str]:
        return [failure for module in self._modules for failure in module.failures()]

    def lost_parameters(self) -> list[str]:
        return [text for module in self._modules for text in module.lost_parameters()]

    def _undo(self) -> None:
        for module in self._modules:
            module._undo()


def _tells_names(module: Any) -> bool:
    """Return whether the names of a module's parameters are there before their values."""
    return isinstance(module, Prepared) or bool(module.params_initialized)


def _names_of(module: Any) -> tuple[Collection[str], Collection[str]]:
    """Return the names of a module's parameters and auxiliary states, as far as it has them yet."""
    if isinstance(module, Prepared):
        return module.store.args, module.store.aux
    if not module.params_initialized:
        return (), ()
    args, aux = module.get_params()
    return args, aux
