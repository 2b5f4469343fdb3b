"""``BucketingModule``: one network for every bucket key, all with the same parameters."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any

from symbucket.compiler import CompilerOptions
from symbucket.compiler.memory import PoolPlan
from symbucket.context import Context
from symbucket.errors import DataError, InvalidArgumentError
from symbucket.io import DataBatch, DataDesc
from symbucket.module.base import BaseModule, Pairs
from symbucket.module.devices import contexts_of
from symbucket.module.executors import ExecutorCache, ExecutorStats
from symbucket.module.initializer import Initializer
from symbucket.module.memory import KeyPlan, optimizer_of, plan_model, pool_of, rows_of
from symbucket.module.module import Module
from symbucket.module.optimizer import Updater
from symbucket.module.store import ParameterStore
from symbucket.module.terminals import Terminal, Terminals
from symbucket.runtime import NDArray
from symbucket.symbol import Symbol
from symbucket.symbol.onnx_import import as_symbol

SymGen = Callable[[Any], Any]
Shapes = Callable[[Any], Any] | Mapping[Any, Any]


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
        self._grad_req: Any = "write"

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
        """The current bucket's network (before ``bind``: the default one)."""
        if self._current is None:
            return self._generate(self._default_key)[0]
        return self._current.symbol

    @property
    def data_names(self) -> list[str]:
        """Names of the current data inputs."""
        if self._current is None:
            return list(self._generate(self._default_key)[1] or [])
        return self._current.data_names

    @property
    def output_names(self) -> list[str]:
        """Names of the current outputs."""
        return self.symbol.list_outputs()

    @property
    def data_shapes(self) -> Any:
        """Descriptions of the current data."""
        return self.current_module.data_shapes

    @property
    def label_shapes(self) -> Any:
        """Descriptions of the current labels."""
        return self.current_module.label_shapes

    @property
    def output_shapes(self) -> Any:
        """(name, shape) of the current outputs."""
        return self.current_module.output_shapes

    @property
    def store(self) -> ParameterStore:
        """The parameters that all keys share."""
        return self.default_module.store

    @property
    def updater(self) -> Updater:
        """The optimizer with its states."""
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
        """Bind the default bucket key for these shapes; other keys follow when they come.

        ``shared_module`` is another module whose parameters are used. ``force_rebind`` drops the
        bound keys and keeps the parameters.
        """
        if self.binded and not force_rebind:
            self.logger.warning("Already bound, ignoring bind()")
            return
        made = self._make(self._default_key, data_shapes, label_shapes)
        made._cache = cache = ExecutorCache(*self._limits)
        share = shared_module
        if isinstance(share, BucketingModule):
            share = share.default_module
        if share is None and self.binded:
            share = self.default_module
        made.bind(data_shapes, label_shapes, for_training, inputs_need_grad, False, share, grad_req)
        before = dict(vars(self))
        self._grad_req = grad_req
        self.for_training, self.inputs_need_grad = for_training, inputs_need_grad
        self._cache, self._last = cache, None
        self._modules = {self._default_key: made}
        self._current, self._current_key = made, self._default_key
        self.binded = True
        self.params_initialized |= made.params_initialized
        self.optimizer_initialized |= made.optimizer_initialized
        try:
            self._resume_params()
        except BaseException:
            vars(self).update(before)
            raise

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
            default = self.default_module
            module.bind(
                data_shapes,
                label_shapes,
                self.for_training,
                self.inputs_need_grad,
                False,
                default,
                self._grad_req,
            )
            self._modules[bucket_key] = module
        self._current, self._current_key = module, bucket_key

    def plan_memory(
        self,
        keys: Iterable[Any],
        shapes: Shapes | None = None,
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
            module = self._modules.get(key)
            if module is None:
                module = self._make(key, data, labels)
                module.for_training = self.for_training
                module.inputs_need_grad = self.inputs_need_grad
                module._grad_req = self._grad_req
            described = module._described(data, labels)
            plans[key] = plan_model(module, *described, eval_metric, rows)
        return pool_of(plans, default, made)

    def _shapes_of(self, key: Any, shapes: Shapes | None) -> tuple[Any, Any]:
        if shapes is not None:
            data, labels = shapes(key) if callable(shapes) else shapes[key]
            return data, labels
        default, bound = self._default_key, self.default_module
        if key == default:
            return bound.data_shapes, bound.label_shapes
        numbers = all(isinstance(k, int) and not isinstance(k, bool) for k in (key, default))
        found: list[list[DataDesc]] = []
        for descs in (bound.data_shapes, bound.label_shapes):
            found.append([])
            for desc in descs:
                if not numbers or sum(d == default for d in desc.shape) != 1:
                    raise DataError(
                        f"plan_memory: {desc.name} is bound with {desc.shape}; how it looks for "
                        f"bucket key {key!r} cannot be told from the default key {default!r}. Give "
                        "shapes=, a function of the key that gives (data_shapes, label_shapes)."
                    )
                shape = tuple(key if d == default else d for d in desc.shape)
                found[-1].append(DataDesc(desc.name, shape, desc.dtype, desc.layout))
        return found[0], found[1]

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

    def init_params(
        self,
        initializer: Initializer | None = None,
        arg_params: Mapping[str, Any] | None = None,
        aux_params: Mapping[str, Any] | None = None,
        allow_missing: bool = False,
        force_init: bool = False,
        allow_extra: bool = False,
    ) -> None:
        """Fill the shared parameters; see ``Module.init_params``."""
        if self.params_initialized and not force_init:
            return
        self._require()
        self.default_module.init_params(
            initializer, arg_params, aux_params, allow_missing, force_init, allow_extra
        )
        self._tell("params_initialized")

    def get_params(self) -> tuple[dict[str, NDArray], dict[str, NDArray]]:
        """Copies of parameters and auxiliary states, in host memory."""
        self._require(params=True)
        return self.default_module.get_params()

    def init_optimizer(
        self,
        kvstore: Any = "local",
        optimizer: Any = "sgd",
        optimizer_params: Pairs = (("learning_rate", 0.01),),
        force_init: bool = False,
    ) -> None:
        """Make the one optimizer of all keys; see ``Module.init_optimizer``."""
        self._require(params=True)
        if self.optimizer_initialized and not force_init:
            self.logger.warning("optimizer already initialized, ignoring...")
            return
        self.default_module.init_optimizer(kvstore, optimizer, optimizer_params, force_init)
        self._borrow_everywhere()
        self._resume_optimizer()

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

    def forward(self, data_batch: DataBatch, is_train: bool | None = None) -> None:
        """Switch to the batch's bucket key and run its network."""
        self._require(params=True)
        before = self._current, self._current_key
        try:
            self._switch_to(data_batch)
            self.current_module._measured = self._measured
            try:
                self.current_module.forward(data_batch, is_train)
            finally:
                self.current_module._measured = None
            self._last = self.current_module
        except BaseException:
            self._current, self._current_key = before
            raise

    def backward(self, out_grads: Any = None) -> None:
        """Gradients of the last ``forward`` in training mode."""
        self._require(params=True)
        self.current_module.backward(out_grads)

    def update(self) -> None:
        """One step of the optimizer; every key sees the new parameters."""
        self._require(params=True, optimizer=True)
        self.current_module.update()

    def gradients(self) -> Mapping[str, NDArray]:
        """The gradient buffers that the current network writes."""
        return self.current_module.gradients()

    def auxiliary(self) -> Mapping[str, NDArray]:
        """The buffers of the auxiliary states that all keys share."""
        return self.store.aux

    def monitored(self, wanted: Callable[[str], bool]) -> Iterable[tuple[str, NDArray]]:
        """(name, array) of the last network's outputs, arguments, gradients, auxiliary states."""
        return (self._last or self.current_module).monitored(wanted)

    def get_outputs(self, merge_multi_context: bool = True) -> list[NDArray]:
        """The outputs of the last forward, of whatever key; valid until the next one.

        All keys' outputs lie in the same memory: copy what you need longer.
        """
        self._require(params=True)
        return (self._last or self.current_module).get_outputs()

    def get_input_grads(self, merge_multi_context: bool = True) -> list[NDArray]:
        """Gradients of the current data inputs."""
        self._require(params=True)
        return self.current_module.get_input_grads()

    def get_states(self, merge_multi_context: bool = True) -> list[NDArray]:
        """The values of the arguments in ``state_names`` of the current network."""
        self._require(params=True)
        return self.current_module.get_states()

    def set_states(self, states: Sequence[Any] | None = None, value: float | None = None) -> None:
        """Set the states of the current network."""
        self._require(params=True)
        self.current_module.set_states(states, value)

    def _results(self) -> Mapping[str, Any]:
        return self.current_module._results()

    def update_metric(self, eval_metric: Any, labels: Any, pre_sliced: bool = False) -> None:
        """Add the last forward's outputs and ``labels`` to a metric."""
        self._require(params=True)
        self.current_module.update_metric(eval_metric, labels)

    # Files -----------------------------------------------------------------------------------

    def save_checkpoint(
        self,
        prefix: str,
        epoch: int,
        save_optimizer_states: bool = False,
        remove_amp_cast: bool = True,
    ) -> None:
        """Write the default key's symbol, the parameters, and the optimizer's states."""
        self._require(params=True)
        self.default_module.save_checkpoint(prefix, epoch, save_optimizer_states)

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

    def save_optimizer_states(self, fname: str) -> None:
        """Write the optimizer's states to a file, atomically."""
        self.default_module.save_optimizer_states(fname)

    def load_optimizer_states(self, fname: str) -> None:
        """Set the optimizer's states from a file."""
        self.default_module.load_optimizer_states(fname)
