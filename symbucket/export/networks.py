"""Compile the networks of a module for serving, and label their axes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from symbucket.compiler import Program, Role
from symbucket.compiler.target import INFERENCE_FILE, SERVING, Target
from symbucket.engine.parameters import ParameterStore
from symbucket.errors import InvalidArgumentError, ShapeError
from symbucket.export.axes import Probe, label_axes
from symbucket.export.carried_states import carry_states
from symbucket.export.free_networks import with_free_axes
from symbucket.export.lengths import check_lengths
from symbucket.export.pieces import check_pieces
from symbucket.export.sources import Source, batch_axis, source_of
from symbucket.export.spec import KEY, Free, InputSpec, Mode, NetworkSpec, OutputSpec, fits_dtype
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
    free: Free = (),
    target: Target = INFERENCE_FILE,
    carry: bool = False,
    beyond: bool = False,
) -> list[ServedNetwork]:
    """Compile the networks of ``keys`` (all bound ones by default) in the order of the keys.

    ``free`` are the axes of any size: ``("batch",)`` or ``("batch", "key")``; with ``carry`` the
    initial states of recurrences are inputs, the last ones outputs. ``beyond``: a free key may be
    longer than the longest. Raises
    InvalidArgumentError for keys that are not bound, an unknown name in ``padding``, or a batch
    size that the network cannot take, and UnsupportedError if an axis cannot be free.
    """
    store = store_of(module)
    sources = [source_of(k, m, batch_size) for k, m in _modules(module, keys)]
    tell = progress or (lambda what, done, total: None)
    programs = []
    for i, source in enumerate(sources):
        tell(f"compiling key {source.key!r}", i, len(sources))
        try:
            programs.append(source.compile(mode, target))
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
    if free:
        tell("freeing axes", 0, 1)
        specs, programs = with_free_axes(sources, specs, programs, free, store.aux.keys())
        # A bundle whose padding matters runs at the lengths of its keys alone.
        between = beyond or carry or not specs[0].padding_matters
        if KEY in free and between and isinstance(module, BucketingModule):
            auxiliary = store.aux.keys()
            check_lengths(module.sym_gen, sources, specs, programs[0], auxiliary, beyond)
    if carry:
        specs, programs = _with_carried_states(specs, programs)
        longest = max(specs, key=lambda spec: spec.sizes or ())
        check_pieces(programs[0], longest, store.aux.keys())
    return [
        ServedNetwork(s, p, tuple(t.name for t in p.inputs if t.name in parameters))
        for s, p in zip(specs, programs)
    ]


def _with_carried_states(
    specs: Sequence[NetworkSpec], programs: Sequence[Program]
) -> tuple[list[NetworkSpec], list[Program]]:
    """Return networks of any length, which are one program, with their states carried."""
    model, inputs, outputs = carry_states(programs[0].proto(), specs[0].batch or 1)
    program = dataclasses.replace(programs[0], model=model.SerializeToString())
    new = [
        msgspec.structs.replace(
            spec, inputs=(*spec.inputs, *inputs), outputs=(*spec.outputs, *outputs)
        )
        for spec in specs
    ]
    return new, [program] * len(specs)


def live_networks_of(
    module: CompiledModule,
    keys: Iterable[Hashable] | None,
    batch_size: int | None,
    padding: Mapping[str, float] | None,
) -> list[ServedNetwork]:
    """Return the same for models that run in this process and read the parameters as they are."""
    return networks_of(module, keys, "inference", batch_size, padding, target=SERVING)


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


def _check_padding(padding: Mapping[str, float] | None, sources: Sequence[Source]) -> None:
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
    source: Source,
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
        free=(),
        padding_matters=True,
        activations=0,
        inputs=tuple(inputs),
        outputs=tuple(outputs),
    )


def _limits(bounds: Sequence[InputBounds]) -> tuple[int | None, int] | None:
    """Return the integers that all readers of an input accept."""
    if not bounds:
        return None
    lows = [b.bounds.low for b in bounds if b.bounds.low is not None]
    return max(lows, default=None), min(b.bounds.high for b in bounds)


def _prober(source: Source, store: ParameterStore) -> Callable[[], Probe | None]:
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
