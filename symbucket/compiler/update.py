"""The optimizer's graph: one ONNX model that updates all parameters and their states in place.

Every weight and state buffer is bound as an input and as an output of the same session, so the
graph writes where it reads. That is right only if every reader of the old value has run when the
new one is written. ``check_in_place`` proves it from the graph alone, whatever the order in which
the runtime visits the nodes; ``order_writes`` repairs a graph that fails the proof.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from symbucket.errors import InvalidArgumentError, ShapeError, SymbucketError
from symbucket.ir import IR_VERSION, Builder, dtype_of, info_of, new_graph, shape_of

Emit = Callable[
    [Builder, ir.Value, ir.Value, dict[str, ir.Value], dict[str, ir.Value]],
    tuple[ir.Value, Mapping[str, ir.Value]],
]
"""``emit(g, weight, grad, states, scalars)`` appends nodes and returns new weight and states.

Scalars have shape (1,). New values must have the shape and dtype of the weight.
"""

SCALARS = "scalars"
MAX_NORM = "max_norm"
"""The scalar, the same in all rows, that limits the norm of all gradients together."""


@dataclass(frozen=True)
class UpdateSpec:
    """Everything that the structure of an update graph depends on, besides ``emit``.

    ``shapes``: one for each parameter. ``states``: the names of the states of every parameter, each
    of its weight's shape. ``scalars``: the names of the scalars in each row of the table given to
    ``run``. ``rows``: which row each parameter reads. ``dtype``: that of all of them.
    """

    shapes: tuple[tuple[int, ...], ...]
    states: tuple[str, ...]
    scalars: tuple[tuple[str, ...], ...]
    rows: tuple[int, ...]
    dtype: ir.DataType = ir.DataType.FLOAT


def input_name(kind: str, i: int) -> str:
    """Return the name of the input for the weight, grad or state ``kind`` of parameter ``i``."""
    return f"{kind}/{i}"


def output_name(kind: str, i: int) -> str:
    """Return the name of the output for the new weight or state ``kind`` of parameter ``i``."""
    return f"{kind}/{i}/new"


def build_update(spec: UpdateSpec, emit: Emit, name: str) -> ir.Model:
    """Return the model of an update: standard ONNX of one dtype, proven to be right in place."""
    odd = [s for s in spec.states if s in ("weight", "grad") or "/" in s or not s]
    if odd:
        raise InvalidArgumentError(
            f"{name}: a state cannot be named {odd[0]!r}; use a word without '/' other than "
            "'weight' and 'grad'."
        )
    graph = new_graph(name)
    g = Builder(graph)
    rows = _split_table(g, spec)
    pairs: dict[ir.Value, ir.Value] = {}
    kinds = ("weight", "grad", *spec.states)
    inputs = [
        {kind: g.input(input_name(kind, i), shape, spec.dtype) for kind in kinds}
        for i, shape in enumerate(spec.shapes)
    ]
    factor = _norm_factor(g, [arrays["grad"] for arrays in inputs], rows)
    for i, (arrays, row) in enumerate(zip(inputs, spec.rows)):
        weight, grad = arrays["weight"], arrays["grad"]
        states = {s: arrays[s] for s in spec.states}
        with g.scoped(f"update/{i}"):
            if factor is not None:
                grad = g.op("Mul", grad, factor)
            new_weight, new_states = emit(g, weight, grad, dict(states), dict(rows[row]))
            if set(new_states) != set(states):
                raise InvalidArgumentError(
                    f"{name}: emit gave new values for the states {sorted(new_states)}; the "
                    f"optimizer declares {sorted(states)}. Give one new value for each state."
                )
            results = [("weight", weight, new_weight)]
            results += [(s, old, new_states[s]) for s, old in states.items()]
            for kind, old, new in results:
                _check_type(f"{name}: new {kind}", old, new)
                if new is old:
                    continue
                # Other inputs, constants and values written elsewhere need a copying node.
                copied = new.producer() is None or new in pairs.values()
                pairs[old] = g.op("Identity", new) if copied else new
    if not pairs:
        raise InvalidArgumentError(f"{name}: emit changes neither a weight nor a state.")
    order_writes(g, pairs)
    for old, new in pairs.items():
        new.name = f"{old.name}/new"
        graph.outputs.append(new)
    check_in_place(graph, pairs)
    return ir.Model(graph, ir_version=IR_VERSION, producer_name="symbucket")


def _norm_factor(
    g: Builder, grads: Sequence[ir.Value], rows: Sequence[Mapping[str, ir.Value]]
) -> ir.Value | None:
    """Return what limits the norm of all gradients together to ``max_norm``; None without one."""
    limit = rows[0].get(MAX_NORM) if rows else None
    if limit is None:
        return None
    squares = [g.op("ReduceSumSquare", grad, keepdims=0) for grad in grads]
    norm = g.op("Sqrt", g.op("Sum", *squares) if len(squares) > 1 else squares[0])
    return g.op("Div", limit, g.op("Max", limit, norm))


def _split_table(g: Builder, spec: UpdateSpec) -> list[dict[str, ir.Value]]:
    scalars = spec.scalars
    flat = [name for names in scalars for name in names]
    if not flat:
        return [{} for _ in scalars]
    table = g.input(SCALARS, (len(flat),), spec.dtype)
    parts = [table]
    if len(flat) > 1:
        parts = g.ops("Split", table, g.ints(*[1] * len(flat)), outputs=len(flat), axis=0)
    values = iter(parts)
    return [{name: next(values) for name in names} for names in scalars]


def _check_type(what: str, old: ir.Value, new: ir.Value) -> None:
    if shape_of(new) != shape_of(old) or dtype_of(new) != dtype_of(old):
        raise ShapeError(
            f"{what} has shape {shape_of(new)} and type {dtype_of(new).name}; its buffer has "
            f"shape {shape_of(old)} and type {dtype_of(old).name}. emit must keep both."
        )


# The proof. A buffer's old value is read by the consumers of the graph input, and also by the
# consumers of a view of it: a Reshape shares memory, and the runtime removes an Identity or a
# multiplication by one. Nothing with two or more variable inputs and the elementwise trait is ever
# a view, so everything else counts as one, which errs on the safe side.


def _may_be_view(node: ir.Node) -> bool:
    variable = [v for v in node.inputs if v is not None and v.const_value is None]
    return len(variable) <= 1 or not info_of(node).elementwise


def _readers(old: ir.Value, outputs: set[ir.Value]) -> list[ir.Node]:
    """Return every node that may read the buffer of ``old`` at run time."""
    readers: dict[ir.Node, None] = {}
    todo = [old]
    while todo:
        for node, _ in todo.pop().uses():
            if node in readers:
                continue
            readers[node] = None
            if _may_be_view(node):
                # A value that is a graph output lives in a buffer of its own.
                todo += [v for v in node.outputs if v not in outputs]
    return list(readers)


def _writers(new: ir.Value, outputs: set[ir.Value]) -> list[ir.Node]:
    """Return the node that writes ``new`` and, through views, those that may write in its place."""
    writers: list[ir.Node] = []
    value: ir.Value | None = new
    while value is not None:
        node = value.producer()
        if node is None or (writers and value in outputs):
            break
        writers.append(node)
        variable = [v for v in node.inputs if v is not None and v.const_value is None]
        value = variable[0] if variable and _may_be_view(node) else None
    return writers


def _ancestors(node: ir.Node) -> set[ir.Node]:
    ancestors: set[ir.Node] = set()
    todo = [node]
    while todo:
        for value in todo.pop().inputs:
            producer = None if value is None else value.producer()
            if producer is not None and producer not in ancestors:
                ancestors.add(producer)
                todo.append(producer)
    return ancestors


def _late_readers(old: ir.Value, new: ir.Value, outputs: set[ir.Value]) -> list[ir.Node]:
    """Return the readers of the old value that may run after or while the new one is written."""
    writers = _writers(new, outputs)
    if not writers:
        return _readers(old, outputs)
    first = writers[-1]
    safe = _ancestors(first)
    if info_of(first).elementwise:
        # Element i of the old value is read before element i of the new one is written.
        safe.add(first)
    return [reader for reader in _readers(old, outputs) if reader not in safe]


def check_in_place(graph: ir.Graph, pairs: Mapping[ir.Value, ir.Value]) -> None:
    """Prove that each ``new`` may be written into the buffer of its ``old`` graph input.

    Every node that reads the old value must be an ancestor of the node that writes the new one, or
    be that node and elementwise. Raises SymbucketError otherwise; it is an internal error.
    """
    outputs = set(pairs.values())
    if len(outputs) != len(pairs):
        raise SymbucketError(f"internal: graph {graph.name!r} writes one value into two buffers")
    for old, new in pairs.items():
        if new.producer() is None:
            raise SymbucketError(
                f"internal: graph {graph.name!r}: no node writes {new.name!r} into {old.name!r}"
            )
        late = _late_readers(old, new, outputs)
        if late:
            raise SymbucketError(
                f"internal: graph {graph.name!r} updates {old.name!r} in place, but nothing makes "
                f"{', '.join(repr(n.name) for n in late)} read the old value before "
                f"{new.name!r} is written"
            )


def order_writes(g: Builder, pairs: dict[ir.Value, ir.Value]) -> int:
    """Make late readers ancestors of the write, at the cost of a pass over the buffer or two.

    The new value goes through an addition of a zero that depends on every late reader; before
    that, a value that may be a view gets a buffer of its own. Changes ``pairs``; returns
    the number of nodes that write or copy a whole buffer because of it.
    """
    passes = 0
    while True:
        outputs = set(pairs.values())
        late = {old: _late_readers(old, new, outputs) for old, new in pairs.items()}
        late = {old: readers for old, readers in late.items() if readers}
        if not late:
            return passes
        views = [old for old in late if _is_view(pairs[old])]
        for old in views:
            # Its consumers would be readers of whatever it is a view of, once it is no output.
            pairs[old] = g.op("Max", pairs[old], pairs[old])
        for old in [] if views else late:
            zero = g.op("Sum", *(_zero_after(g, reader, dtype_of(old)) for reader in late[old]))
            pairs[old] = g.op("Add", pairs[old], zero)
        passes += len(views or late)


def _is_view(value: ir.Value) -> bool:
    producer = value.producer()
    return producer is None or _may_be_view(producer)


def _zero_after(g: Builder, node: ir.Node, dtype: ir.DataType) -> ir.Value:
    """Return a zero of shape (1,), available only after ``node`` has run, even if it gave NaN."""
    first = g.op("Gather", g.reshape(node.outputs[0], (-1,)), g.ints(0))
    never = g.op("And", g.op("Equal", first, first), g.const(np.zeros(1, dtype=np.bool_)))
    return g.op("Cast", never, to=int(dtype))
