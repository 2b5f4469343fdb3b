"""Prove that a network of any length is the user's network at lengths that are no keys.

The sizes in it are sums of products that fit at the keys. ``T // 2``, a stride or a pooling that
rounds up fits a straight line there too, and leaves it in between.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from typing import TypeVar

import msgspec

from symbucket.compiler import Program
from symbucket.errors import UnsupportedError
from symbucket.export.free_networks import drawn_inputs, is_close
from symbucket.export.sources import Source
from symbucket.export.spec import NetworkSpec, TensorSpec
from symbucket.io.desc import DataDesc
from symbucket.module.sym_gen import SymGen, generate
from symbucket.runtime.session import run_model

_Tensor = TypeVar("_Tensor", bound=TensorSpec)


def check_lengths(
    sym_gen: SymGen,
    sources: Sequence[Source],
    specs: Sequence[NetworkSpec],
    freed: Program,
    auxiliary: Collection[str],
    beyond: bool,
) -> None:
    """Raise UnsupportedError where ``sym_gen`` gives another network for a length that is no key.

    Lengths are tried on both sides of the shortest key and before the longest, one in the middle,
    and with ``beyond`` one above the longest. What ``sym_gen`` refuses, or gives no network of the
    same parameters for, is passed over.
    """
    sized = {source.size: i for i, source in enumerate(sources) if source.size is not None}
    first, last = min(sized), max(sized)
    free = [length for length in range(first, last) if length not in sized]
    lengths = {*free[:1], *free[len(free) // 2 :][:1], *free[-1:], first - 1}
    if beyond:
        lengths.add(last + 1)
    source, spec = sources[sized[last]], specs[sized[last]]
    for length in sorted(lengths - {0}):
        _check_length(sym_gen, source, spec, length, freed, auxiliary)


def _check_length(
    sym_gen: SymGen,
    source: Source,
    spec: NetworkSpec,
    length: int,
    freed: Program,
    auxiliary: Collection[str],
) -> None:
    sized = _sized(spec, length)
    shapes = {tensor.name: tensor.shape for tensor in sized.inputs}
    descs = [DataDesc(d.name, shapes.get(d.name, d.shape), d.dtype, d.layout) for d in source.descs]
    try:
        symbol = generate(sym_gen, length).symbol
        other = dataclasses.replace(source, key=length, descs=tuple(descs), symbol=symbol)
        program = other.compile("inference")
    except Exception:  # the user's function may raise anything
        return
    if {p.name for p in program.inputs} != {p.name for p in freed.inputs}:
        return
    values = drawn_inputs(program, sized, auxiliary)
    try:
        expected = run_model(program.model, values, log_failure=False)
    except Exception:  # the runtime's exceptions have no common base
        return
    refusal = (
        f"dynamic_length: at length {length}, which is no key, the output {{!r}} would be another "
        f"one than that of sym_gen({length}): a size of the network is no sum of products of the "
        "length, as where it is rounded. Bind the lengths that you need and export without "
        "dynamic_length, or let operators follow the length (-1 and 0 in Reshape)"
    )
    try:
        actual = run_model(freed.model, values, log_failure=False)
    except Exception:  # likewise
        raise UnsupportedError(refusal.format(spec.outputs[0].name)) from None
    for name, array in expected.items():
        if name not in actual:
            return
        if actual[name].shape != array.shape or not is_close(actual[name], array):
            raise UnsupportedError(refusal.format(name))


def _sized(spec: NetworkSpec, length: int) -> NetworkSpec:
    """Return the description of the network at another length."""

    def sized(tensor: _Tensor) -> _Tensor:
        shape = spec.shape_of(tensor, spec.batch or 1, length)
        return msgspec.structs.replace(tensor, shape=shape)

    inputs, outputs = (tuple(map(sized, tensors)) for tensors in (spec.inputs, spec.outputs))
    return msgspec.structs.replace(spec, key=length, inputs=inputs, outputs=outputs)
