"""Compile the networks of a module for serving, and label their axes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from symbucket.compiler import (
    CompilerOptions,
    Program,
    Role,
    bounds_of_inputs,
    compile_inference,
    compile_training,
)
from symbucket.compiler.target import INFERENCE_FILE, PORTABLE
from symbucket.engine.parameters import ParameterStore
from symbucket.errors import InvalidArgumentError, ShapeError
from symbucket.export.axes import Probe, label_axes
from symbucket.export.merge import merge_step
from symbucket.export.spec import InputSpec, Mode, NetworkSpec, OutputSpec, fits_dtype
from symbucket.io.desc import DataDesc
from symbucket.module.bucketing import BucketingModule
from symbucket.module.compiled import CompiledModule
from symbucket.module.module import Module
from symbucket.runtime import NDArray
from symbucket.symbol.bounds import InputBounds

Progress = Callable[[str, int, int], None]
"""``progress(what, done, total)``, called before each step of the work and once at the end."""

_OUTPUT_KINDS = {Role.GRAD: "gradient", Role.NEXT_STATE: "auxiliary state"}


@dataclass(frozen=True)
class ServedNetwork:
    """A compiled network; ``parameters`` are the inputs that are not data."""

    spec: NetworkSpec
    program: Program
    parameters: tuple[str, ...]


@dataclass(frozen=True)
class _Source:
    """One key of a module, for some batch size."""

    key: Hashable
    module: Module
    descs: tuple[DataDesc, ...]  # data, labels, states
    kinds: tuple[str, ...]
    batch: int | None

    def sized(self, batch: int) -> _Source:
        """Return the same with another number of samples."""
        descs = []
        for desc in self.descs:
            axis = batch_axis(desc, self.batch)
            shape = [batch if i == axis else d for i, d in enumerate(desc.shape)]
            descs.append(DataDesc(desc.name, shape, desc.dtype, desc.layout))
        return dataclasses.replace(self, descs=tuple(descs), batch=batch)

    def compile(self, mode: Mode) -> Program:
        """Return the model; raise ShapeError if these shapes do not fit the parameters."""
        store = self.module.store
        shapes = {d.name: d.shape for d in self.descs}
        dtypes: dict[str, Any] = {n: a.dtype for n, a in {**store.args, **store.aux}.items()}
        dtypes.update({d.name: d.dtype for d in self.descs})
        symbol = self.module.symbol
        for name, array in {**store.args, **store.aux}.items():
            if name in {*symbol.list_arguments(), *symbol.list_auxiliary_states()}:
                shapes[name] = array.shape
        options: CompilerOptions = dataclasses.replace(self.module.options, value_info=True)
        name = f"key {self.key!r} {mode}"
        if mode == "inference":
            return compile_inference(
                symbol, shapes, dtypes, name, options=options, target=INFERENCE_FILE
            )
        requests = self.module.bound_network.requests
        trained = [n for n, r in requests.items() if r != "null" and n in store.grads]
        programs = compile_training(
            symbol, shapes, dtypes, trained, name, options=options, target=PORTABLE
        )
        if programs.step is not None:
            return programs.step
        assert programs.forward is not None
        assert programs.backward is not None
        return merge_step(programs.forward, programs.backward)

    def bounds(self) -> list[InputBounds]:
        """Return the ranges of the inputs that hold indices."""
        return bounds_of_inputs(self.module.symbol, {d.name: d.shape for d in self.descs})


def batch_axis(desc: DataDesc, batch: int | None) -> int | None:
    """Return the axis of samples, by the layout; None if its size is not the batch."""
    axis = DataDesc.get_batch_axis(desc.layout)
    if batch is None or not 0 <= axis < len(desc.shape) or desc.shape[axis] != batch:
        return None
    return axis


def store_of(module: CompiledModule) -> ParameterStore:
    """Return the shared parameters of a module."""
    if not isinstance(module, (BucketingModule, Module)):
        raise InvalidArgumentError(f"{module!r} is neither a BucketingModule nor a Module")
    module.store.require_filled()
    return module.store


def default_key(module: CompiledModule, specs: Sequence[NetworkSpec]) -> Hashable:
    """Return the module's default key if it is among the exported ones, else the first of them."""
    default = module.default_bucket_key if isinstance(module, BucketingModule) else None
    keys = [n.key for n in specs]
    return default if default in keys else keys[0]


def networks_of(
    module: CompiledModule,
    keys: Iterable[Hashable] | None,
    mode: Mode,
    batch_size: int | None,
    padding: Mapping[str, float] | None,
    progress: Progress | None = None,
) -> list[ServedNetwork]:
    """Compile the networks of ``keys`` (all bound ones by default) in the order of the keys.

    Raises InvalidArgumentError for keys that are not bound, an unknown name in ``padding``, or a
    batch size that the network cannot take.
    """
    store = store_of(module)
    sources = [_source(k, m, batch_size) for k, m in _modules(module, keys)]
    tell = progress or (lambda what, done, total: None)
    programs = []
    for i, source in enumerate(sources):
        tell(f"compiling key {source.key!r}", i, len(sources))
        try:
            programs.append(source.compile(mode))
        except ShapeError as error:
            hint = "" if batch_size is None else f" (with batch_size={batch_size})"
            raise ShapeError(
                f"bucket key {source.key!r} cannot be exported{hint}: {error}"
            ) from None
    _check_padding(padding, sources)
    parameters = {*store.args, *store.aux}
    specs = [_described(s, p, mode, parameters, padding) for s, p in zip(sources, programs)]
    layouts = [{d.name: d.layout for d in s.descs} for s in sources]
    tell("labelling axes", 0, 1)
    probes: dict[int, Callable[[], Probe | None]] = {}
    if mode == "inference":
        for i, source in enumerate(sources):
            probes[i] = _prober(source, store)
    specs = label_axes(specs, layouts, probes)
    return [
        ServedNetwork(s, p, tuple(t.name for t in p.inputs if t.name in parameters))
        for s, p in zip(specs, programs)
    ]


def _modules(
    module: CompiledModule, keys: Iterable[Hashable] | None
) -> list[tuple[Hashable, Module]]:
    if isinstance(module, Module):
        if keys is not None:
            raise InvalidArgumentError(
                f"keys={list(keys)!r}: a Module has one network and no bucket keys; leave keys out"
            )
        return [(None, module)]
    assert isinstance(module, BucketingModule)
    bound = {k: module.module_of(k) for k in module.bucket_keys}
    selected = list(bound) if keys is None else list(dict.fromkeys(keys))
    missing = [k for k in selected if k not in bound]
    if missing:
        raise InvalidArgumentError(
            f"bucket key {missing[0]!r} is not bound; bound are "
            f"{', '.join(map(repr, bound))}. Call switch_bucket(key, data_shapes, label_shapes) "
            "for it first, which says its shapes."
        )
    if not selected:
        raise InvalidArgumentError("keys is empty; leave it out for all bound keys")
    return [(k, bound[k]) for k in selected]


def _source(key: Hashable, module: Module, batch_size: int | None) -> _Source:
    """Shapes as the key was first bound, which is with a full batch."""
    types = module.input_types
    described = {d.name: d for d in [*module.data_shapes, *module.label_shapes]}
    groups = (
        ("data", module.data_names),
        ("label", module.label_names),
        ("state", module.state_names),
    )
    descs, kinds = [], []
    for kind, names in groups:
        for name in names:
            shape, dtype = types[name]
            layout = described[name].layout if name in described else "N"
            descs.append(DataDesc(name, shape, dtype, layout))
            kinds.append(kind)
    batch = None
    if descs and descs[0].shape:
        axis = DataDesc.get_batch_axis(descs[0].layout)
        batch = descs[0].shape[axis] if 0 <= axis < len(descs[0].shape) else None
    source = _Source(key, module, tuple(descs), tuple(kinds), batch)
    if batch_size is None:
        return source
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
        raise InvalidArgumentError(f"batch_size={batch_size!r} must be an integer of 1 or more")
    if batch is None:
        raise InvalidArgumentError(
            f"batch_size={batch_size}: the data of bucket key {key!r} has no batch axis (an N in "
            "its layout)"
        )
    return source.sized(batch_size)


def _check_padding(padding: Mapping[str, float] | None, sources: Sequence[_Source]) -> None:
    names = {d.name: d for s in sources for d in s.descs}
    for name, value in (padding or {}).items():
        if name not in names:
            raise InvalidArgumentError(
                f"padding names {name!r}, but the inputs are {', '.join(names)}"
            )
        if not np.isfinite(value) or not fits_dtype(float(value), names[name].dtype):
            raise InvalidArgumentError(
                f"padding[{name!r}] = {value!r} is no value of {names[name].dtype}"
            )


def _described(
    source: _Source,
    program: Program,
    mode: Mode,
    parameters: set[str],
    padding: Mapping[str, float] | None,
) -> NetworkSpec:
    """Return a network with names, kinds, shapes and padding, and the batch axes of its inputs."""
    descs = {d.name: (d, kind) for d, kind in zip(source.descs, source.kinds)}
    bounds = source.bounds()
    inputs = []
    for tensor in program.inputs:
        if tensor.name in parameters:
            continue
        desc, kind = descs.get(tensor.name, (None, "head gradient"))
        axis = None if desc is None else batch_axis(desc, source.batch)
        ignored = [b.bounds.also for b in bounds if b.name == tensor.name and b.bounds.also]
        value = (padding or {}).get(tensor.name, ignored[0] if ignored else 0.0)
        axes = tuple("batch" if i == axis else None for i in range(len(tensor.shape)))
        inputs.append(
            InputSpec(
                tensor.name,
                kind,
                tensor.dtype,
                tensor.shape,
                axes,
                float(value),
                _limits([b for b in bounds if b.name == tensor.name]),
            )
        )
    outputs = []
    for port in program.outputs:
        kind = _OUTPUT_KINDS.get(port.role, "output")
        axes = (None,) * len(port.shape)
        outputs.append(OutputSpec(port.name, kind, port.dtype, port.shape, axes))
    batched = any(t.batch_axis is not None for t in inputs)
    return NetworkSpec(
        file="",  # with size and checksum, known when it is written
        nbytes=0,
        sha256="",
        key=source.key,
        batch=source.batch if batched else None,
        inputs=tuple(inputs),
        outputs=tuple(outputs),
    )


def _limits(bounds: Sequence[InputBounds]) -> tuple[int | None, int] | None:
    """Return the integers that all readers of an input accept."""
    if not bounds:
        return None
    lows = [b.bounds.low for b in bounds if b.bounds.low is not None]
    return max(lows, default=None), min(b.bounds.high for b in bounds)


def _prober(source: _Source, store: ParameterStore) -> Callable[[], Probe | None]:
    def probe() -> Probe | None:
        if source.batch is None:
            return None
        rows, program = source, None
        if source.batch != 2:
            try:
                pair = source.sized(2)
                program, rows = pair.compile("inference"), pair
            except ShapeError:
                pass  # the batch size is written into the network; ask it as it is
        if rows.batch == 1:
            return None
        arrays: dict[str, NDArray] = {**store.args, **store.aux}
        axes = {d.name: batch_axis(d, rows.batch) for d in rows.descs}
        assert rows.batch is not None
        program = program or rows.compile("inference")
        return Probe(program, rows.batch, axes, rows.bounds(), arrays.keys(), store.aux.keys())

    return probe
