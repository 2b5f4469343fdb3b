"""The shapes of one bucket key as a module was bound to it, for any number of samples."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

from symbucket.compiler import (
    CompilerOptions,
    Program,
    bounds_of_inputs,
    compile_inference,
    compile_training,
)
from symbucket.compiler.target import INFERENCE_FILE, PORTABLE, Target
from symbucket.errors import InvalidArgumentError
from symbucket.export.keys import sizes_of
from symbucket.export.merge import merge_step
from symbucket.export.spec import Mode
from symbucket.io.desc import DataDesc
from symbucket.module.module import Module
from symbucket.symbol import Symbol
from symbucket.symbol.bounds import InputBounds


@dataclass(frozen=True)
class Source:
    """One key of a module, for some batch size."""

    key: Hashable
    module: Module
    descs: tuple[DataDesc, ...]  # data, labels, states
    kinds: tuple[str, ...]
    batch: int | None
    symbol: Symbol

    def sized(self, batch: int) -> Source:
        """Return the same with another number of samples."""
        descs = []
        for desc in self.descs:
            axis = batch_axis(desc, self.batch)
            shape = [batch if i == axis else d for i, d in enumerate(desc.shape)]
            descs.append(DataDesc(desc.name, shape, desc.dtype, desc.layout))
        return dataclasses.replace(self, descs=tuple(descs), batch=batch)

    @property
    def size(self) -> int | None:
        """The key, if it is one number."""
        sizes = sizes_of(self.key)
        return None if sizes is None or isinstance(self.key, tuple) else sizes[0]

    def compile(self, mode: Mode, target: Target = INFERENCE_FILE) -> Program:
        """Return the model; raise ShapeError if these shapes do not fit the parameters.

        ``target`` is that of inference.
        """
        store = self.module.store
        shapes = {d.name: d.shape for d in self.descs}
        dtypes: dict[str, Any] = {n: a.dtype for n, a in {**store.args, **store.aux}.items()}
        dtypes.update({d.name: d.dtype for d in self.descs})
        symbol = self.symbol
        for name, array in {**store.args, **store.aux}.items():
            if name in {*symbol.list_arguments(), *symbol.list_auxiliary_states()}:
                shapes[name] = array.shape
        options: CompilerOptions = dataclasses.replace(self.module.options, value_info=True)
        name = f"key {self.key!r} {mode}"
        if mode == "inference":
            return compile_inference(symbol, shapes, dtypes, name, options=options, target=target)
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
        return bounds_of_inputs(self.symbol, {d.name: d.shape for d in self.descs})


def batch_axis(desc: DataDesc, batch: int | None) -> int | None:
    """Return the axis of samples, by the layout; None if its size is not the batch."""
    axis = DataDesc.get_batch_axis(desc.layout)
    if batch is None or not 0 <= axis < len(desc.shape) or desc.shape[axis] != batch:
        return None
    return axis


def source_of(key: Hashable, module: Module, batch_size: int | None) -> Source:
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
    source = Source(key, module, tuple(descs), tuple(kinds), batch, module.symbol)
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
