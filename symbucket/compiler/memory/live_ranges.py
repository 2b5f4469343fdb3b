"""Live ranges: which buffers a graph needs, how large they are, and from when to when."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import onnx_ir as ir

from symbucket.compiler.memory.traits import overwrites_input, shares_buffer
from symbucket.ir import attr, body_of, bounds, branches_of, reads, shape_of, states_of
from symbucket.ir.notes import Phase, phase_of

ALIGN = 256  # bytes; the runtime's arena rounds every request up to a multiple of it


@dataclass(slots=True)
class Buffer:
    """Memory of one live range: allocated before node ``birth`` runs, free after node ``death``.

    Attributes:
        values: the values that it holds, one after another: the result of a node that writes over
            its input, or sees it in another shape, is in the same buffer.
        size: bytes, a multiple of ``ALIGN``.
        birth: the number of the node that writes the first value.
        death: the number of the last node that reads one.
        stash: whether forward nodes write it and backward nodes read it.
    """

    values: list[str]
    size: int
    birth: int
    death: int
    stash: bool = False


def size_of(value: ir.Value, sizes: Mapping[str, int]) -> int:
    """Return the bytes of a value; ``sizes`` bounds the sizes that are known only at run time."""
    if value.shape is None or value.dtype is None:
        raise ValueError(f"value {value.name!r} has no shape or no dtype; it cannot be planned")
    count = 1
    for dim in value.shape:
        if isinstance(dim, int):
            count *= dim
            continue
        name = str(dim.value)
        if name not in sizes:
            raise ValueError(
                f"value {value.name!r} has a size {name!r} without a bound; "
                "symbucket.ir.bounds(graph) must say how large it can be"
            )
        count *= sizes[name]
    return math.ceil(count * value.dtype.itemsize)


def round_up(size: int) -> int:
    """Return the size that the arena takes for a request."""
    return -(-size // ALIGN) * ALIGN


def live_ranges(graph: ir.Graph) -> list[Buffer]:
    """Return the buffers of a graph whose nodes run in their order, sorted by birth.

    Inputs, constants and graph outputs are not among them: those lie in arrays of their own. A
    buffer is free once the last user of its values has run.
    """
    return _LiveRanges(graph).buffers


class _LiveRanges:
    """One walk over the nodes in their order; ``buffers`` has the result."""

    def __init__(self, graph: ir.Graph) -> None:
        self._sizes = bounds(graph)
        self._outputs = set(graph.outputs)
        self._last_use: dict[ir.Value, int] = {}
        self._stash: set[ir.Value] = set()
        self._buffer_of: dict[ir.Value, Buffer] = {}
        self.buffers: list[Buffer] = []
        self._find_last_uses(graph)
        for i, node in enumerate(graph):
            size = _size_inside(node)
            if size:
                self.buffers.append(Buffer([f"{node.name}/body"], size, i, i))
            for place, value in enumerate(node.outputs):
                if value.name or value in self._last_use:  # else an output that is left out
                    source = node.inputs[0] if place == 0 and node.inputs else None
                    self._add(i, node, value, source)

    def _find_last_uses(self, graph: ir.Graph) -> None:
        forward_values: set[ir.Value] = set()
        for i, node in enumerate(graph):
            backward = phase_of(node) is Phase.BACKWARD
            for value in reads(node):
                if value is not None:
                    self._last_use[value] = i
                    if backward and value in forward_values:
                        self._stash.add(value)
            if not backward:
                forward_values.update(node.outputs)

    def _add(self, i: int, node: ir.Node, value: ir.Value, source: ir.Value | None) -> None:
        """Place an output of node ``i`` in the buffer of its first input, or in a new one."""
        if value in self._outputs:
            return
        death = self._last_use.get(value, i)
        shared = None if source is None else self._buffer_of.get(source)
        if source is not None and shares_buffer(node):
            if shared is not None:  # else an input or output seen in another shape: no memory
                self._share(shared, value, max(shared.death, death))
            return
        size = round_up(size_of(value, self._sizes))
        if (
            source is not None
            and shared is not None
            and shared.death == i
            and overwrites_input(node)
            and _same_layout(source, value)
            and sum(v is source for v in node.inputs) == 1
        ):
            self._share(shared, value, death)
        elif size:
            buffer = Buffer([value.name or ""], size, i, death, value in self._stash)
            self._buffer_of[value] = buffer
            self.buffers.append(buffer)

    def _share(self, buffer: Buffer, value: ir.Value, death: int) -> None:
        buffer.values.append(value.name or "")
        buffer.death = death
        buffer.stash |= value in self._stash
        self._buffer_of[value] = buffer


def _size_inside(node: ir.Node) -> int:
    """Return the bytes that a Scan takes while it runs: the peak of an iteration, and each carried
    value twice. The results of an iteration go straight to their places in the outputs.
    """
    if node.op_type in _GATES and not node.domain:
        return _size_inside_recurrent(node)
    branches = branches_of(node)
    if branches:
        return max(lower_bound(live_ranges(branch)) for branch in branches)
    body = body_of(node)
    if body is None:
        return 0
    states = body.inputs[: states_of(node)]
    carried_twice = 2 * sum(round_up(size_of(value, {})) for value in states)
    return lower_bound(live_ranges(body)) + carried_twice


_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


def _size_inside_recurrent(node: ir.Node) -> int:
    """Return the bytes of the kernel: gates of all steps, some states; if reversed, sequences."""
    x, out = node.inputs[0], node.outputs[0]
    assert x is not None
    sizes = size_of(x, {}), size_of(out, {})
    steps = max(1, shape_of(x)[0])
    own = _GATES[node.op_type] * sizes[1] + 10 * sizes[1] // steps
    return round_up(own + (sum(sizes) if attr(node, "direction") == "reverse" else 0))


def _same_layout(a: ir.Value, b: ir.Value) -> bool:
    """Return whether a kernel can write b over a: same shape, elements of the same size."""
    assert a.dtype is not None
    assert b.dtype is not None
    return a.shape == b.shape and a.dtype.itemsize == b.dtype.itemsize


def lower_bound(buffers: list[Buffer]) -> int:
    """Return the most bytes that are live at one time: no placement needs less."""
    change: dict[int, int] = {}
    for buffer in buffers:
        change[buffer.birth] = change.get(buffer.birth, 0) + buffer.size
        change[buffer.death + 1] = change.get(buffer.death + 1, 0) - buffer.size
    peak = live = 0
    for step in sorted(change):
        live += change[step]
        peak = max(peak, live)
    return peak
