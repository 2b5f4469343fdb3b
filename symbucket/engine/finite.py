"""Find NaN and infinity: in arrays at the cost of one reduction, and the node they come from.

An array is checked with the sum of its squares: one pass over memory, which is not finite if an
element is not. The sum may overflow although all elements are finite, so an array that looks bad is
looked at element by element.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

from symbucket.compiler import Program, Role
from symbucket.context import Context
from symbucket.engine.runner import PortArrays
from symbucket.ir import Builder, model_bytes, new_graph
from symbucket.runtime.backend import ort, session_provider
from symbucket.runtime.finite import looks_finite
from symbucket.runtime.ndarray import NDArray
from symbucket.runtime.noise import NoiseKey, draw
from symbucket.runtime.session import Session, session_options
from symbucket.types import Array

Named = Iterable[tuple[str, Any]]


class FiniteCheck:
    """Looks at arrays, NDArrays or numbers; keeps the programs that it needs on other devices."""

    def __init__(self) -> None:
        self._sums: dict[Hashable, DeviceSums] = {}

    def failures(self, named: Named) -> list[str]:
        """Return the names of those that have NaN or infinity, each with which of them."""
        on_device: dict[Context, list[tuple[str, NDArray]]] = {}
        suspects: list[tuple[str, Any]] = []
        with np.errstate(all="ignore"):
            for name, value in named:
                if isinstance(value, NDArray) and value._host is None:
                    if value.dtype.kind == "f":
                        on_device.setdefault(value.context, []).append((name, value))
                elif not _looks_finite(value):
                    suspects.append((name, value))
        for context, pairs in on_device.items():
            sums = self._device_sums(context, [array for _, array in pairs])
            suspects += [pair for pair, total in zip(pairs, sums) if not math.isfinite(total)]
        kinds = ((name, _kind(np.asarray(value))) for name, value in suspects)
        return [f"{name} {kind}" for name, kind in kinds if kind]

    def _device_sums(self, context: Context, arrays: list[NDArray]) -> Array:
        key = context, tuple((a.shape, a.dtype) for a in arrays)
        if key not in self._sums:
            self._sums[key] = DeviceSums(arrays, context)
        return self._sums[key].run(arrays)


def _looks_finite(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return looks_finite(value.view() if isinstance(value, NDArray) else np.asarray(value))


def _kind(array: Array) -> str:
    """Return what an array has that is not finite, in words; "" if there is nothing."""
    if np.isnan(array).any():
        return "has NaN"
    return "is infinite" if np.isinf(array).any() else ""


class DeviceSums:
    """The sums of squares of arrays on a device, computed there in one run."""

    def __init__(self, arrays: list[NDArray], context: Context) -> None:
        g = Builder(new_graph("finite check"))
        totals = []
        for i, array in enumerate(arrays):
            value = g.input(f"array{i}", array.shape, ir.DataType.from_numpy(array.dtype))
            total = g.op("ReduceSumSquare", g.reshape(value, (-1,)), keepdims=1)
            if array.dtype != np.float32:
                total = g.op("Cast", total, to=int(ir.DataType.FLOAT))
            totals.append(total)
        joined = g.op("Concat", *totals, axis=0)
        joined.name = "totals"
        g.graph.outputs.append(joined)
        self._session = Session(model_bytes(g.graph), context, "finite check")
        self._totals = NDArray.zeros((len(arrays),), np.float32, context)
        self._session.bind_outputs({"totals": self._totals})

    def run(self, arrays: list[NDArray]) -> Array:
        """Return the sum of the squares of each array; their shapes are those of ``arrays``."""
        self._session.bind_inputs({f"array{i}": array for i, array in enumerate(arrays)})
        self._session.run()
        return self._totals.asnumpy()


# The node that it comes from ---------------------------------------------------------------------


def first_failure(
    program: Program, arrays: PortArrays, noise_key: NoiseKey, context: Context
) -> str | None:
    """Return the first node of a program whose output is not finite, in words, or None.

    The program runs once more, with all values as outputs. Of the nodes whose output is not finite
    although their inputs are, it is the first one that a bad output of the program depends on.
    """
    feeds: dict[str, Array] = {}
    noise = {n.name: n for n in program.noise}
    for port in program.inputs:
        array = arrays.find(port)
        if port.role is Role.NOISE:
            array = NDArray.empty(port.shape, port.dtype)
            draw(noise[port.name], array, noise_key)
        if array is None:
            return None
        feeds[port.name] = array.asnumpy()
    values = _all_values(program.model, feeds, context)
    graph = onnx.load_from_string(program.model).graph
    return _Search(graph, {**feeds, **values}).describe()


def _all_values(model: bytes, feeds: Mapping[str, Array], context: Context) -> dict[str, Array]:
    """Run a model for every value that its nodes compute."""
    proto = onnx.load_from_string(model)
    outputs = {o.name for o in proto.graph.output}
    names = [n for node in proto.graph.node for n in node.output if n and n not in outputs]
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    session = ort.InferenceSession(
        proto.SerializeToString(), session_options(), providers=[session_provider(context)]
    )
    listed = [o.name for o in session.get_outputs()]
    inputs = {i.name for i in session.get_inputs()}
    results = session.run(listed, {n: a for n, a in feeds.items() if n in inputs})
    return dict(zip(listed, results))


@dataclass
class _Search:
    graph: onnx.GraphProto
    values: dict[str, Array]

    def __post_init__(self) -> None:
        self.bad = {name for name, a in self.values.items() if _kind_or_none(a)}
        self.producers = {o: node for node in self.graph.node for o in node.output}

    def describe(self) -> str | None:
        sources = self._sources([o.name for o in self.graph.output if o.name in self.bad])
        for port in self.graph.input:
            if port.name in sources:
                return f"the input {port.name!r} {_kind(self.values[port.name])} already"
        for node in self.graph.node:
            names = [o for o in node.output if o in sources]
            if names:
                phase = "backward" if node.name.startswith("grad/") else "forward"
                kind = _kind(self.values[names[0]])
                return (
                    f"the first node whose output {kind} is {node.name!r} ({node.op_type}, in the "
                    f"{phase} graph)"
                )
        return None

    def _sources(self, ends: list[str]) -> set[str]:
        """Return the bad values that no bad value was computed from, upstream of ``ends``."""
        seen, todo, sources = set(ends), list(ends), set()
        while todo:
            name = todo.pop()
            node = self.producers.get(name)
            causes = [i for i in node.input if i in self.bad] if node is not None else []
            if not causes:
                sources.add(name)
            fresh = [i for i in causes if i not in seen]
            seen.update(fresh)
            todo += fresh
        return sources


def _kind_or_none(value: Any) -> str:
    return _kind(value) if isinstance(value, np.ndarray) and value.dtype.kind == "f" else ""
