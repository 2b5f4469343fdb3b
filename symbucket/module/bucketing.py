"""``BucketingModule``: one network for every bucket key, all with the same parameters."""

from __future__ import annotations

import functools
import logging
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, Concatenate, ParamSpec, TypeVar

from symbucket.compiler import CompilerOptions
from symbucket.context import Context
from symbucket.engine.contexts import contexts_of
from symbucket.engine.eviction import EvictionPolicy, ExecutorStats
from symbucket.engine.executor_pool import ExecutorPool
from symbucket.engine.inner_values import Watcher
from symbucket.engine.network_interface import GradientRequest
from symbucket.engine.ownership import exclusive
from symbucket.errors import DataError, InvalidArgumentError
from symbucket.io import DataBatch, DataDesc
from symbucket.metric import EvalMetric
from symbucket.module.binding import PendingCheckpoint, require_bound
from symbucket.module.buckets import BucketFactory, BucketingBinding, bind_as
from symbucket.module.compiled import CompiledModule
from symbucket.module.module import Module
from symbucket.module.optimization import lent_updater
from symbucket.module.planned import BucketingPlans
from symbucket.module.private_names import BucketingNames
from symbucket.module.sym_gen import SymGen, generate, with_symbols
from symbucket.module.terminals import Terminal, Terminals
from symbucket.runtime import NDArray
from symbucket.symbol import Symbol
from symbucket.types import Array, Shape

P = ParamSpec("P")
R = TypeVar("R")


def _of_current(
    method: Callable[Concatenate[Module, P], R],
) -> Callable[Concatenate[BucketingModule, P], R]:
    """Return a method that calls ``method`` of the current key's module."""

    @functools.wraps(method)
    def forwarded(self: BucketingModule, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return method(self.current_module, *args, **kwargs)

    return forwarded


class BucketingModule(BucketingNames, BucketingPlans, CompiledModule):
    """Trains "different but similar" networks that share one set of parameters.

    Args:
        sym_gen: ``sym_gen(bucket_key)`` returns the network of a key: a Symbol, or (symbol,
            data_names, label_names). In place of the symbol it may return an ONNX model or the
            path of one (see ``sym.from_onnx``). Called once for each key.
        default_bucket_key: the key whose network has all parameters, as a rule the largest. If
            keys differ in their parameters (several tasks), a separate key whose network is a
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
        if isinstance(sym_gen, Symbol) or not callable(sym_gen):
            raise InvalidArgumentError(
                f"sym_gen must be a function of the bucket key, not {sym_gen!r}. For one fixed "
                "symbol use Module."
            )
        if default_bucket_key is None:
            raise InvalidArgumentError(
                "BucketingModule needs default_bucket_key: the key of the network that has all "
                "parameters, as a rule the largest bucket (iterator.default_bucket_key)"
            )
        self._default_key = default_bucket_key
        self._factory = BucketFactory(
            sym_gen,
            logger,
            contexts_of(context),
            work_load_list,
            fixed_param_names,
            state_names,
            options,
        )
        self._policy = EvictionPolicy(max_executors, max_executors_bytes)
        self._binding: BucketingBinding | None = None
        self._carried: dict[str, Array] = {}  # restored, for keys that have not come yet

    @classmethod
    def from_terminals(
        cls,
        group: Symbol,
        terminals: Mapping[Any, Terminal] | None = None,
        default_bucket_key: Hashable = None,
        inputs: Mapping[Any, tuple[Sequence[str], Sequence[str]]] | None = None,
        **kwargs: Any,
    ) -> BucketingModule:
        """Return a module over one symbol that holds the network of every key as a terminal.

        ``terminals`` maps keys to outputs of ``group`` (default: every output is a key by its
        name); see ``Terminals``. A step runs the subgraph of the batch's key only. The default
        key is that of the largest subgraph. ``kwargs`` go to ``BucketingModule``.
        """
        sym_gen = Terminals(group, terminals, inputs)
        default = sym_gen.default_bucket_key if default_bucket_key is None else default_bucket_key
        return cls(sym_gen, default, **kwargs)

    # Descriptions ----------------------------------------------------------------------------

    @property
    def _bound(self) -> BucketingBinding:
        return require_bound(self._binding)

    @property
    def default_bucket_key(self) -> Hashable:
        """The key of the network that has all parameters."""
        return self._default_key

    @property
    def sym_gen(self) -> SymGen:
        """The function that returns the network of a key."""
        return self._factory.sym_gen

    @property
    def bucket_key(self) -> Hashable:
        """The key of the current network."""
        return self._bound.current_key

    @property
    def bucket_keys(self) -> list[Hashable]:
        """The keys that have been bound, in the order in which they came."""
        return [] if self._binding is None else list(self._binding.modules)

    def module_of(self, bucket_key: Hashable) -> Module:
        """Return the module of a key that has been bound."""
        modules = self._bound.modules
        if bucket_key not in modules:
            raise InvalidArgumentError(
                f"bucket key {bucket_key!r} is not bound; bound are {', '.join(map(repr, modules))}"
            )
        return modules[bucket_key]

    @property
    def default_module(self) -> Module:
        """The module of the default bucket key."""
        return self._bound.default

    @property
    def current_module(self) -> Module:
        """The module of the current bucket key."""
        return self._bound.current

    @property
    def symbol(self) -> Symbol:
        if not self.binded:
            return generate(self._factory.sym_gen, self._default_key).symbol
        return self.current_module.symbol

    @property
    def data_names(self) -> list[str]:
        if not self.binded:
            return list(generate(self._factory.sym_gen, self._default_key).data_names or [])
        return self.current_module.data_names

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
    def output_shapes(self) -> list[tuple[str, Shape]]:
        return self.current_module.output_shapes

    def builds(self) -> dict[Hashable, Counter[str]]:
        """Return how often each key's models were compiled, by kind ("training", "inference")."""
        modules = {} if self._binding is None else self._binding.modules
        return {key: module.builds() for key, module in modules.items()}

    def executor_stats(self) -> ExecutorStats:
        """Return which keys' executors are alive, what they cost, how often they were built."""
        pool = ExecutorPool(self._policy) if self._binding is None else self._binding.pool
        return pool.stats()

    # Binding ---------------------------------------------------------------------------------

    def _bind(
        self,
        data_shapes: Sequence[Any],
        label_shapes: Sequence[Any] | None,
        request: GradientRequest,
        shared_module: Any,
    ) -> BucketingBinding:
        pool = ExecutorPool(self._policy, self._default_key)
        if isinstance(shared_module, BucketingModule):
            shared_module = shared_module.default_module
        if shared_module is None and self.binded:
            shared_module = self.default_module
        key = self._default_key
        module = self._factory.make(key, pool, data_shapes, label_shapes)
        bind_as(module, data_shapes, label_shapes, request, shared_module)
        updater = module.updater if module.optimizer_initialized else None
        return BucketingBinding(
            request, module.store, updater, pool, self._factory, {key: module}, key
        )

    @exclusive
    def switch_bucket(
        self,
        bucket_key: Hashable,
        data_shapes: Sequence[Any] | None,
        label_shapes: Sequence[Any] | None = None,
    ) -> None:
        """Make a key's network the current one; it is bound first if it is new.

        Raises ParameterError if its parameters are not those of the default key, ShapeError if its
        shapes cannot be inferred; the current network stays then.
        """
        bound = self._bound
        module = bound.module_for(bucket_key, data_shapes, label_shapes)
        module.take_states(bound.current)
        bound.current_key = bucket_key

    def _module_for(self, batch: DataBatch) -> Module:
        if batch.bucket_key is None:
            raise DataError(
                "the batch has no bucket_key; give DataBatch(..., bucket_key=key), or use Module "
                "for one fixed network"
            )
        key = batch.bucket_key
        module = self._bound.module_for(key, batch.provide_data, batch.provide_label)
        if self._carried:
            self._hand_over(key, module)
        return module

    @exclusive
    def prepare(self, data_batch: DataBatch, sparse_row_id_fn: Any = None) -> None:
        """Bind the key of a coming batch; the current key stays the current one."""
        self._require(params=True)
        self._module_for(DataBatch.of(data_batch))

    # Optimizer -------------------------------------------------------------------------------

    def _init_optimizer(self, optimizer: Any, optimizer_params: dict[str, Any]) -> None:
        default = self.default_module
        default.init_optimizer("local", optimizer, optimizer_params, force_init=True)
        self.borrow_optimizer(default)

    @exclusive
    def borrow_optimizer(self, shared_module: Any) -> None:
        """Use the optimizer (and its states) of another module."""
        self._require(params=True)
        bound = self._bound
        bound.updater = lent_updater(shared_module, self.store)
        for module in bound.modules.values():
            module.borrow_optimizer(shared_module)

    # Running ---------------------------------------------------------------------------------

    def _forward(self, batch: DataBatch, training: bool, metric: EvalMetric | None) -> None:
        module = self._module_for(batch)
        module.take_states(self._bound.current)
        module.run_batch(batch, training, metric)
        self._bound.last, self._bound.current_key = module, batch.bucket_key

    def _backward(self, out_grads: Any) -> None:
        self.current_module.backward(out_grads)

    def _update(self) -> None:
        self.current_module.update()

    gradients = _of_current(Module.gradients)
    row_gradients = _of_current(Module.row_gradients)
    first_failure = _of_current(Module.first_failure)
    get_input_grads = _of_current(Module.get_input_grads)
    get_states = _of_current(Module.get_states)
    set_states = _of_current(Module.set_states)
    results = _of_current(Module.results)
    update_metric = _of_current(Module.update_metric)
    unpadded_outputs = _of_current(Module.unpadded_outputs)

    def auxiliary(self) -> Mapping[str, NDArray]:
        return self.store.aux

    def monitored(self, select: Callable[[str], bool]) -> Iterable[tuple[str, NDArray]]:
        return (self._bound.last or self.current_module).monitored(select)

    def watch(self, watcher: Watcher) -> None:
        self._bound.pool.watchers.append(watcher)

    @exclusive
    def get_outputs(self, merge_multi_context: bool = True) -> list[Any]:
        self._require_own("get_outputs")
        return (self._bound.last or self.current_module).get_outputs(merge_multi_context)

    def carried_arrays(self) -> dict[str, Array]:
        return self._carried | {
            f"{key!r}/{name}": array
            for key, module in self._bound.modules.items()
            for name, array in module.carried_arrays().items()
        }

    def set_carried_arrays(self, arrays: Mapping[str, Array]) -> None:
        self._carried = dict(arrays)
        for key, module in self._bound.modules.items():
            self._hand_over(key, module)

    def _hand_over(self, key: Hashable, module: Module) -> None:
        """Give a key's module the arrays that were restored for it."""
        prefix = f"{key!r}/"
        names = [name for name in self._carried if name.startswith(prefix)]
        if names:
            arrays = {n.removeprefix(prefix): self._carried.pop(n) for n in names}
            module.set_carried_arrays(arrays)

    # Files -----------------------------------------------------------------------------------

    def _saved_symbol(self) -> Symbol:
        return self.default_module.symbol

    @staticmethod
    def load(
        prefix: str,
        epoch: int,
        sym_gen: SymGen | None = None,
        default_bucket_key: Hashable = None,
        load_optimizer_states: bool = False,
        **kwargs: Any,
    ) -> BucketingModule:
        """Return a module whose parameters are set from a checkpoint when it is bound.

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

    @staticmethod
    def load_dict(
        sym_dict: Mapping[Hashable, Symbol] | None = None,
        sym_gen: SymGen | None = None,
        default_bucket_key: Hashable = None,
        arg_params: Mapping[str, Any] | None = None,
        aux_params: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> BucketingModule:
        """Return a module whose parameters are set from dicts when it is bound.

        Keys in ``sym_dict`` have the symbols there, with the names of inputs that ``sym_gen`` gives
        for the default key; others come from ``sym_gen``. ``kwargs`` go to ``BucketingModule``.
        """
        if sym_gen is None or arg_params is None:
            raise InvalidArgumentError("BucketingModule.load_dict needs sym_gen= and arg_params=")
        replaced = with_symbols(sym_gen, sym_dict or {}, default_bucket_key)
        module = BucketingModule(replaced, default_bucket_key, **kwargs)
        params = dict(arg_params), dict(aux_params or {})
        module._pending = PendingCheckpoint("arg_params of load_dict", params, None, "")
        return module
