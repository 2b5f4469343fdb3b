"""``BucketingModule``: one network for every bucket key, all with the same parameters."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any

from symbucket.compiler import CompilerOptions
from symbucket.compiler.memory import PoolPlan
from symbucket.context import Context
from symbucket.engine.data_parallel import contexts_of
from symbucket.engine.eviction import ExecutorCache, ExecutorStats
from symbucket.engine.network import Shapes
from symbucket.engine.parameters import ParameterStore
from symbucket.engine.plan import (
    KeyPlan,
    optimizer_of,
    plan_model,
    pool_of,
    rows_of,
    shapes_of_key,
)
from symbucket.errors import DataError, InvalidArgumentError
from symbucket.initializer import Initializer
from symbucket.io import DataBatch, DataDesc
from symbucket.module.base import BaseModule
from symbucket.module.lifecycle import Pairs
from symbucket.module.module import Module
from symbucket.module.terminals import Terminal, Terminals
from symbucket.optimizer import Updater
from symbucket.runtime import NDArray
from symbucket.symbol import Symbol
from symbucket.symbol.onnx_import import as_symbol

SymGen = Callable[[Any], Any]
ShapesOf = Callable[[Any], Any] | Mapping[Any, Any]


class BucketingModule(BaseModule):
    """Trains "different but similar" networks that share one set of parameters.

    Args:
        sym_gen: ``sym_gen(bucket_key)`` gives the network for a key: a Symbol, or (symbol,
            data_names, label_names). In place of the symbol it may give an ONNX model or the path
            of one (see ``sym.from_onnx``). Called once for each key.
        default_bucket_key: the key whose network has all parameters, as a rule the largest. Where
            keys differ in their parameters (several tasks), a key of its own whose network is a
            ``sym.Group`` of one network of each; it is compiled only if a batch of it comes.
        logger, context, work_load_list, fixed_param_names, state_names, options: as in
            ``Module``.
        max_executors, max_executors_bytes: as in ``Module``, over all keys; the default key stays.

    A key is any hashable object. Each key is built once, when its first batch comes (or when
    ``prepare`` or ``switch_bucket`` asks for it); a step on one key trains all of them.
    """

    def __init__(
        self,
        sym_gen: SymGen,
        default_bucket_key: Hashable = None,
        logger: Any = logging,
        context: Context | Sequence[Context] | None = None,
        work_load_list: Any = None,
        fixed_param_names: Sequence[str] | None = None,
        state_names: Sequence[str] | None = None,
        group2ctxs: Any = None,
        compression_params: Any = None,
        options: CompilerOptions | None = None,
        max_executors: int | None = None,
        max_executors_bytes: int | None = None,
    ) -> None:
        super().__init__(logger)
        if not callable(sym_gen):
            raise InvalidArgumentError(
                f"sym_gen must be a function of the bucket key, not {sym_gen!r}. For one fixed "
                "symbol use Module."
            )
        if default_bucket_key is None:
            raise InvalidArgumentError(
                "BucketingModule needs default_bucket_key: the key of the network that has all "
                "parameters, as a rule the largest bucket (iterator.default_bucket_key)"
            )
        self._sym_gen = sym_gen
        self._default_key = default_bucket_key
        self._context = contexts_of(context)
        self._loads = work_load_list
        self._fixed = fixed_param_names
        self._options = options
        self._state_names = state_names
        self._limits = max_executors, max_executors_bytes
        self._cache = ExecutorCache(*self._limits)
        self._last: Module | None = None  # whose forward was the last one
        self._modules: dict[Hashable, Module] = {}
        self._current: Module | None = None
        self._current_key: Hashable = None

    @classmethod
    def from_terminals(
        cls,
        group: Symbol,
        terminals: Mapping[Any, Terminal] | None = None,
        default_bucket_key: Hashable = None,
        inputs: Mapping[Any, tuple[Sequence[str], Sequence[str]]] | None = None,
        **kwargs: Any,
    ) -> BucketingModule:
        """A module over one symbol that holds the network of every key as a terminal.

        ``terminals`` maps keys to outputs of ``group`` (default: every output is a key by its
        name); see ``Terminals``. A step runs the subgraph of the batch's key only. The default
        key is that of the largest subgraph. ``kwargs`` go to ``BucketingModule``.
        """
        made = Terminals(group, terminals, inputs)
        default = made.default_bucket_key if default_bucket_key is None else default_bucket_key
        return cls(made, default, **kwargs)

    # Descriptions ----------------------------------------------------------------------------

    @property
    def default_bucket_key(self) -> Hashable:
        """The key of the network that has all parameters."""
        return self._default_key

    @property
    def bucket_key(self) -> Hashable:
        """The key of the current network."""
        self._require()
        return self._current_key

    @property
    def bucket_keys(self) -> list[Hashable]:
        """The keys that have been bound, in the order in which they came."""
        return list(self._modules)

    def module_of(self, bucket_key: Hashable) -> Module:
        """The module of a key that has been bound."""
        self._require()
        if bucket_key not in self._modules:
            raise InvalidArgumentError(
                f"bucket key {bucket_key!r} is not bound; bound are "
                f"{', '.join(map(repr, self._modules))}"
            )
        return self._modules[bucket_key]

    @property
    def default_module(self) -> Module:
        """The module of the default bucket key."""
        self._require()
        return self._modules[self._default_key]

    @property
    def current_module(self) -> Module:
        """The module of the current bucket key."""
        self._require()
        assert self._current is not None
        return self._current

    @property
    def symbol(self) -> Symbol:
        if self._current is None:
            return self._generate(self._default_key)[0]
        return self._current.symbol

    @property
    def data_names(self) -> list[str]:
        if self._current is None:
            return list(self._generate(self._default_key)[1] or [])
        return self._current.data_names

    @property
    def label_names(self) -> list[str]:
        return self.current_module.label_names

    @property
    def output_names(self) -> list[str]:
        return self.symbol.list_outputs()

    @property
    def data_shapes(self) -> list[DataDesc]:
        return self.current_module.data_shapes

    @property
    def label_shapes(self) -> list[DataDesc]:
        return self.current_module.label_shapes

    @property
    def output_shapes(self) -> list[tuple[str, tuple[int, ...]]]:
        return self.current_module.output_shapes

    @property
    def store(self) -> ParameterStore:
        return self.default_module.store

    @property
    def updater(self) -> Updater:
        return self.default_module.updater

    def builds(self) -> dict[Hashable, Counter[str]]:
        """How often each key's models were compiled, by kind ("training", "inference")."""
        return {key: module.builds() for key, module in self._modules.items()}

    def executor_stats(self) -> ExecutorStats:
        """Which keys' executors are alive, what they cost, and how often they had to be built."""
        return self._cache.stats()

    # Binding ---------------------------------------------------------------------------------

    def _generate(self, key: Hashable) -> tuple[Symbol, Sequence[str] | None, Sequence[str] | None]:
        made = as_symbol(self._sym_gen(key))
        if isinstance(made, Symbol):
            return made, None, None
        if isinstance(made, tuple) and len(made) == 3:
            symbol, data_names, label_names = as_symbol(made[0]), *made[1:]
            if isinstance(symbol, Symbol):
                return symbol, data_names, label_names
        raise InvalidArgumentError(
            f"sym_gen({key!r}) must give a Symbol or (symbol, data_names, label_names), not "
            f"{made!r}. In place of the symbol, an ONNX model or the path of a file *.onnx will do."
        )

    def _make(
        self, key: Hashable, data_shapes: Sequence[Any], label_shapes: Sequence[Any] | None
    ) -> Module:
        symbol, data_names, label_names = self._generate(key)
        if data_names is None:
            data_names = [d[0] for d in data_shapes]
            # Without label shapes (as when predicting) a label is known by its name alone.
            label_names = [d[0] for d in label_shapes or []] or [
                n for n in symbol.list_arguments() if n.endswith("label")
            ]
        made = Module(
            symbol,
            data_names,
            label_names,
            self.logger,
            self._context,
            self._loads,
            fixed_param_names=self._fixed,
            state_names=self._state_names,
            name=f"bucket key {key!r}",
            options=self._options,
        )
        made._cache, made._cache_key, made._pins = self._cache, key, key == self._default_key
        return made

    def _bind(
        self, data_shapes: Sequence[Any], label_shapes: Sequence[Any] | None, shared_module: Any
    ) -> None:
        made = self._make(self._default_key, data_shapes, label_shapes)
        made._cache = cache = ExecutorCache(*self._limits)
        share = shared_module
        if isinstance(share, BucketingModule):
            share = share.default_module
        if share is None and self.binded:
            share = self.default_module
        self._bind_key(made, data_shapes, label_shapes, share)
        self._cache, self._last = cache, None
        self._modules = {self._default_key: made}
        self._current, self._current_key = made, self._default_key
        self.params_initialized |= made.params_initialized
        self.optimizer_initialized |= made.optimizer_initialized

    def _bind_key(
        self,
        module: Module,
        data_shapes: Sequence[Any],
        label_shapes: Sequence[Any] | None,
        share: Module | None,
    ) -> None:
        """Bind a key's module as this one is bound."""
        module.bind(
            data_shapes,
            label_shapes,
            self.for_training,
            self.inputs_need_grad,
            shared_module=share,
            grad_req=self._grad_req,
        )

    def switch_bucket(
        self,
        bucket_key: Hashable,
        data_shapes: Sequence[Any] | None,
        label_shapes: Sequence[Any] | None = None,
    ) -> None:
        """Make a key's network the current one; it is bound first where it is new.

        Raises ParameterError where its parameters are not those of the default key, ShapeError
        where its shapes cannot be inferred; the current network stays then.
        """
        self._require()
        module = self._modules.get(bucket_key)
        if module is None:
            if not data_shapes:
                raise DataError(
                    f"bucket key {bucket_key!r} is new and the batch says no shapes: give the "
                    "DataBatch provide_data (and provide_label)"
                )
            module = self._make(bucket_key, data_shapes, label_shapes)
            self._bind_key(module, data_shapes, label_shapes, self.default_module)
            self._modules[bucket_key] = module
        self._current, self._current_key = module, bucket_key

    def plan_memory(
        self,
        keys: Iterable[Any],
        shapes: ShapesOf | None = None,
        eval_metric: Any = None,
        optimizer: Any = None,
        optimizer_params: Pairs = (),
    ) -> PoolPlan:
        """What training on these keys takes, in whatever order they come, before anything runs.

        Args:
            keys: bucket keys, or batches that have one and their shapes.
            shapes: ``shapes(key)`` (or ``shapes[key]``) gives (data_shapes, label_shapes). Without
                it, the bound shapes with the default key's length replaced by the key's; that
                needs keys that are integers.
            eval_metric: as for ``fit``: the step returns its sums where it can; else all outputs.
            optimizer, optimizer_params: as for ``init_optimizer``; by default the one that is
                there.

        Every key's models are compiled to know. Raises MemoryLimitError where a key does not fit
        under ``options.memory_limit``.
        """
        self._require()
        default = self.default_module
        default._one_context("plan_memory")
        made = optimizer_of(default, optimizer, optimizer_params)
        rows = rows_of(default, made)
        plans: dict[Hashable, KeyPlan] = {}
        for given in keys:
            batch = given if isinstance(given, DataBatch) else None
            key = given if batch is None else batch.bucket_key
            if batch is not None and batch.provide_data:
                data, labels = batch.provide_data, batch.provide_label
            else:
                data, labels = self._shapes_of(key, shapes)
            module = self._modules.get(key) or self._make(key, data, labels)
            network, requests = module.network, None
            if self.for_training:
                requests = network.requests(self._grad_req, True, self.inputs_need_grad)
            described = network.described(data, labels)
            plans[key] = plan_model(network, described, requests, module.options, eval_metric, rows)
        return pool_of(plans, default, made)

    def _shapes_of(self, key: Any, shapes: ShapesOf | None) -> tuple[Any, Any]:
        if shapes is not None:
            data, labels = shapes(key) if callable(shapes) else shapes[key]
            return data, labels
        default = self.default_module
        bound = Shapes(default.data_shapes, default.label_shapes)
        found = shapes_of_key(key, self._default_key, bound)
        return found.data, found.labels

    def prepare(self, data_batch: DataBatch, sparse_row_id_fn: Any = None) -> None:
        """Bind the key of a coming batch; the current key stays the current one."""
        self._require(params=True)
        before = self._current, self._current_key
        try:
            self._switch_to(data_batch)
        finally:
            self._current, self._current_key = before

    def _switch_to(self, batch: DataBatch) -> None:
        if batch.bucket_key is None:
            raise DataError(
                "the batch has no bucket_key; give DataBatch(..., bucket_key=key), or use Module "
                "for one fixed network"
            )
        self.switch_bucket(batch.bucket_key, batch.provide_data, batch.provide_label)

    # Parameters and optimizer ----------------------------------------------------------------

    def _init_params(
        self,
        initializer: Initializer | None,
        arg_params: Mapping[str, Any] | None,
        aux_params: Mapping[str, Any] | None,
        allow_missing: bool,
        allow_extra: bool,
    ) -> None:
        self.default_module.init_params(
            initializer, arg_params, aux_params, allow_missing, True, allow_extra
        )
        self._tell("params_initialized")

    def _init_optimizer(self, optimizer: Any, optimizer_params: Pairs) -> None:
        self.default_module.init_optimizer("local", optimizer, optimizer_params, force_init=True)
        self._borrow_everywhere()

    def _borrow_everywhere(self) -> None:
        default = self.default_module
        for module in self._modules.values():
            if module is not default:
                module.borrow_optimizer(default)
        self._tell("optimizer_initialized")

    def _tell(self, flag: str) -> None:
        setattr(self, flag, True)
        for module in self._modules.values():
            setattr(module, flag, True)

    def borrow_optimizer(self, shared_module: BucketingModule | Module) -> None:
        """Use the optimizer (and its states) of another module."""
        self._require(params=True)
        source = shared_module
        if isinstance(source, BucketingModule):
            source = source.default_module
        self.default_module.borrow_optimizer(source)
        self._borrow_everywhere()

    # Running ---------------------------------------------------------------------------------

    def _forward(self, batch: DataBatch, training: bool) -> None:
        before = self._current, self._current_key
        try:
            self._switch_to(batch)
            self.current_module._measured = self._measured
            try:
                self.current_module.forward(batch, training)
            finally:
                self.current_module._measured = None
            self._last = self.current_module
        except BaseException:
            self._current, self._current_key = before
            raise

    def _backward(self, out_grads: Any) -> None:
        self.current_module.backward(out_grads)

    def _update(self) -> None:
        self.current_module.update()

    def gradients(self) -> Mapping[str, NDArray]:
        return self.current_module.gradients()

    def auxiliary(self) -> Mapping[str, NDArray]:
        return self.store.aux

    def monitored(self, wanted: Callable[[str], bool]) -> Iterable[tuple[str, NDArray]]:
        return (self._last or self.current_module).monitored(wanted)

    def get_outputs(self, merge_multi_context: bool = True) -> list[NDArray]:
        self._require(params=True)
        return (self._last or self.current_module).get_outputs()

    def get_input_grads(self, merge_multi_context: bool = True) -> list[NDArray]:
        return self.current_module.get_input_grads()

    def get_states(self, merge_multi_context: bool = True) -> list[NDArray]:
        return self.current_module.get_states()

    def set_states(self, states: Sequence[Any] | None = None, value: float | None = None) -> None:
        self.current_module.set_states(states, value)

    def _results(self) -> Mapping[str, Any]:
        return self.current_module._results()

    def update_metric(self, eval_metric: Any, labels: Any, pre_sliced: bool = False) -> None:
        self.current_module.update_metric(eval_metric, labels)

    # Files -----------------------------------------------------------------------------------

    def _saved_symbol(self) -> Symbol:
        return self.default_module.symbol

    @staticmethod
    def load(
        prefix: str,
        epoch: int,
        load_optimizer_states: bool = False,
        sym_gen: SymGen | None = None,
        default_bucket_key: Hashable = None,
        **kwargs: Any,
    ) -> BucketingModule:
        """A module whose parameters are set from a checkpoint when it is bound.

        The checkpoint has one key's symbol only, so ``sym_gen`` and ``default_bucket_key`` must be
        given; ``kwargs`` go to ``BucketingModule``.
        """
        if sym_gen is None:
            raise InvalidArgumentError(
                "BucketingModule.load needs sym_gen=: a checkpoint holds the default key's symbol "
                "only"
            )
        module = BucketingModule(sym_gen, default_bucket_key, **kwargs)
        module.resume_from(prefix, epoch, load_optimizer_states)
        return module
