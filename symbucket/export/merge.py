"""Merge the forward and the backward model of a training step."""

from __future__ import annotations

from collections.abc import Callable

import onnx

from symbucket.compiler import Program, Role


def merge_step(forward: Program, backward: Program) -> Program:
    """Return one model with the inputs and results of both; the stash becomes inner values.

    symbucket runs the two one after the other, since head gradients arrive in between. A file for
    other tools is simpler as one model that has them as inputs.
    """
    first, second = forward.proto(), backward.proto()
    stash = {port.name for port in forward.outputs_of(Role.STASH)}
    inputs = {t.name: t for t in forward.inputs}
    later = [t for t in backward.inputs if t.name not in stash and t.name not in inputs]
    results = [t for t in forward.outputs if t.name not in stash]
    outputs = [*results, *backward.outputs]

    graph, other = first.graph, second.graph
    taken = _names(graph)
    shared = {*stash, *(t.name for t in backward.inputs), *(t.name for t in backward.outputs)}
    _rename(other, lambda name: f"backward/{name}" if name in taken - shared else name)
    values = {v.name: v for v in [*graph.input, *other.input, *graph.output, *other.output]}
    graph.value_info.extend(values[name] for name in sorted(stash))
    graph.value_info.extend(other.value_info)
    graph.node.extend(other.node)
    graph.initializer.extend(other.initializer)
    del graph.input[:], graph.output[:]
    graph.input.extend(values[t.name] for t in [*forward.inputs, *later])
    graph.output.extend(values[t.name] for t in outputs)
    domains = {o.domain for o in first.opset_import}
    first.opset_import.extend(o for o in second.opset_import if o.domain not in domains)
    return Program(
        first.SerializeToString(),
        (*forward.inputs, *later),
        tuple(outputs),
        passes=forward.passes,
    )


def _names(graph: onnx.GraphProto) -> set[str]:
    """Return every name of a value or node."""
    names = {v.name for v in [*graph.input, *graph.initializer]}
    for node in graph.node:
        names.update([node.name, *node.output])
    return names


def _rename(graph: onnx.GraphProto, new: Callable[[str], str]) -> None:
    for node in graph.node:
        node.name = new(node.name)
        for names in (node.input, node.output):
            names[:] = [new(n) if n else n for n in names]
    for value in [*graph.initializer, *graph.value_info]:
        value.name = new(value.name)
