"""Live intervals: which buffers a graph needs, how large they are and from when to when."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import onnx_ir as ir

from symbucket.compiler.memory.traits import overwrites_input, shares_buffer
from symbucket.ir import attr, body_of, bounds, reads, shape_of, states_of
from symbucket.ir.notes import Phase, phase_of

ALIGN = 256  # bytes; the runtime's arena rounds every request up to a multiple of it


@dataclass(slots=True)
class Buffer:
    """One piece of memory: allocated before node ``birth`` runs, free after node ``death``.

    ``values`` go through it one after another: what a node writes over its input, or sees in
    another shape, is in the same buffer. ``size`` is in bytes and a multiple of ``ALIGN``.
    ``stash``: made by the forward part and read by the backward part.
    """

    values: list[str]
    size: int
    birth: int
    death: int
    stash: bool = False


def size_of(value: ir.Value, sizes: Mapping[str, int]) -> int:
    """Bytes of a value; ``sizes`` has the largest value of every size known only at run time."""
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
    """The size of the arena's piece for a request."""
    return -(-size // ALIGN) * ALIGN


def live_intervals(graph: ir.Graph) -> list[Buffer]:
    """The buffers of a graph whose nodes run in their order, by birth.

    Inputs, constants and graph outputs are not among them: those lie in arrays of their own. A
    buffer is free once the last reader of its values has run.
    """
    sizes = bounds(graph)
    outputs = set(graph.outputs)
    last: dict[ir.Value, int] = {}
    kept: set[ir.Value] = set()
    made: set[ir.Value] = set()  # by the forward part
    for i, node in enumerate(graph):
        backward = phase_of(node) is Phase.BACKWARD
        for value in reads(node):
            if value is None:
                continue
            last[value] = i
            if backward and value in made:
                kept.add(value)
        if not backward:
            made.update(node.outputs)
    found: list[Buffer] = []
    home: dict[ir.Value, Buffer] = {}
    for i, node in enumerate(graph):
        inside = _inside(node)
        if inside:
            found.append(Buffer([f"{node.name}/body"], inside, i, i))
        for place, value in enumerate(node.outputs):
            if not value.name and value not in last:
                continue  # an output that is left out
            end = last.get(value, i)
            source = node.inputs[0] if place == 0 and node.inputs else None
            shared = home.get(source) if source is not None else None
            if source is not None and shares_buffer(node) and value not in outputs:
                if shared is None:
                    continue  # an input or output seen in another shape: no memory
                shared.values.append(value.name or "")
                shared.death = max(shared.death, end)
                shared.stash |= value in kept
                home[value] = shared
                continue
            if value in outputs:
                continue
            size = round_up(size_of(value, sizes))
            if (
                source is not None
                and shared is not None
                and shared.death == i
                and overwrites_input(node)
                and _alike(source, value)
                and sum(v is source for v in node.inputs) == 1
            ):
                shared.values.append(value.name or "")
                shared.death = end
                shared.stash |= value in kept
                home[value] = shared
                continue
            if size:
                home[value] = buffer = Buffer([value.name or ""], size, i, end, value in kept)
                found.append(buffer)
    return found


def _inside(node: ir.Node) -> int:
    """What a Scan takes while it runs: the most that a step needs, and each state twice.

    A step's results go straight to their places in the outputs.
    """
    if node.op_type == "LSTM" and not node.domain:
        return _inside_lstm(node)
    body = body_of(node)
    if body is None:
        return 0
    states = body.inputs[: states_of(node)]
    twice = 2 * sum(round_up(size_of(value, {})) for value in states)
    return lower_bound(live_intervals(body)) + twice


def _inside_lstm(node: ir.Node) -> int:
    """The kernel's own buffers: gates of all steps, a few states; both sequences, if reversed."""
    x, out = node.inputs[0], node.outputs[0]
    assert x is not None
    sizes = size_of(x, {}), size_of(out, {})
    steps = max(1, shape_of(x)[0])
    own = 4 * sizes[1] + 10 * sizes[1] // steps
    return round_up(own + (sum(sizes) if attr(node, "direction") == "reverse" else 0))


def _alike(a: ir.Value, b: ir.Value) -> bool:
    """Whether one kernel can write b over a: same shape, elements of the same size."""
    assert a.dtype is not None
    assert b.dtype is not None
    return a.shape == b.shape and a.dtype.itemsize == b.dtype.itemsize


def lower_bound(buffers: list[Buffer]) -> int:
    """The most bytes that live at one time: no placement needs less."""
    change: dict[int, int] = {}
    for buffer in buffers:
        change[buffer.birth] = change.get(buffer.birth, 0) + buffer.size
        change[buffer.death + 1] = change.get(buffer.death + 1, 0) - buffer.size
    most = now = 0
    for step in sorted(change):
        now += change[step]
        most = max(most, now)
    return most
