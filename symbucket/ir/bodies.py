"""Nodes with a graph of their own (Scan), whose body reads values of the graph around it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import onnx_ir as ir

from symbucket.ir.builder import Builder, attr, shape_of
from symbucket.ir.nodes import copy_node, copy_type
from symbucket.ir.notes import graph_notes, phase_of, set_phase


def body_of(node: ir.Node) -> ir.Graph | None:
    """The graph that a node runs."""
    if node.op_type != "Scan" or node.domain:
        return None
    body: ir.Graph = node.attributes["body"].value
    return body


def branches_of(node: ir.Node) -> tuple[ir.Graph, ...]:
    """The graphs of an If, of which it runs one: that for true and that for false.

    In the compiler an If has what its branches read as further inputs, and branches have inputs for
    them; only constants are read from outside. ``capture_inputs`` writes it as ONNX has it.
    """
    if node.op_type != "If" or node.domain:
        return ()
    return node.attributes["then_branch"].value, node.attributes["else_branch"].value


def graphs_of(node: ir.Node) -> tuple[ir.Graph, ...]:
    """Return all graphs that a node has: the body of a loop, the branches of an If."""
    body = body_of(node)
    return branches_of(node) if body is None else (body,)


def append_if(
    g: Builder,
    condition: ir.Value,
    inputs: Sequence[ir.Value],
    then: ir.Graph,
    otherwise: ir.Graph,
) -> list[ir.Value]:
    """Append an If and return its outputs.

    Args:
        g: the builder of the graph around the branches.
        condition: boolean, one element.
        inputs: the values that the inputs of both branches stand for.
        then: the branch for true; its outputs have the shapes and dtypes of the other's.
        otherwise: the branch for false.
    """
    name = g.unique(f"{g.scope}/If" if g.scope else "If")
    node = ir.Node(
        "",
        "If",
        [condition, *inputs],
        [ir.AttrGraph("then_branch", then), ir.AttrGraph("else_branch", otherwise)],
        num_outputs=len(then.outputs),
        name=name,
    )
    for i, (out, inner) in enumerate(zip(node.outputs, then.outputs)):
        out.shape, out.type = inner.shape, inner.type
        out.name = name if i == 0 else g.unique(f"{name}:{i}")
    g.place(node)
    return list(node.outputs)


def place_copies(
    g: Builder,
    source: ir.Graph,
    values: dict[ir.Value, ir.Value | None],
    *,
    prefix: str = "",
    suffix: str = "",
) -> list[ir.Value]:
    """Append copies of the nodes of a body or branch; return those of its outputs.

    ``values`` says what its inputs stand for, and gets the copies of all other values.
    """
    for node in source:
        copy = copy_node(node, [None if v is None else values.get(v, v) for v in node.inputs])
        copy.name = g.unique(f"{prefix}{node.name}{suffix}")
        for old, new in zip(node.outputs, copy.outputs):
            new.name = g.unique(f"{prefix}{old.name}{suffix}")
            values[old] = new
        g.place(copy)
    results = [values.get(value, value) for value in source.outputs]
    assert all(value is not None for value in results)
    return [value for value in results if value is not None]


def states_of(scan: ir.Node) -> int:
    """Return how many states a Scan has; slices of its sequences come after them in its body."""
    body = body_of(scan)
    assert body is not None
    count: int = scan.attributes["num_scan_inputs"].value
    return len(body.inputs) - count


def read_directions(scan: ir.Node) -> list[int]:
    """Return for each sequence of a Scan 1 if its last slice is read first, else 0."""
    return list(attr(scan, "scan_input_directions", [0] * (len(scan.inputs) - states_of(scan))))


def stack_directions(scan: ir.Node) -> list[int]:
    """Return for each stack of a Scan 1 if it has the last step first, else 0."""
    return list(attr(scan, "scan_output_directions", [0] * (len(scan.outputs) - states_of(scan))))


def runs_along_first_axes(scan: ir.Node) -> bool:
    """Return whether a Scan slices its sequences, and stacks results, along their first axes."""
    return not any(any(attr(scan, n, ())) for n in ("scan_input_axes", "scan_output_axes"))


def replace_scan(
    scan: ir.Node,
    inputs: Sequence[ir.Value | None],
    directions: Sequence[int],
    outputs: Sequence[int],
    stacked: Sequence[int],
) -> ir.Node:
    """Put a Scan with the same body in the place of ``scan``; return it.

    Args:
        scan: the old one.
        inputs: the initial states, then the sequences.
        directions: for each sequence 1 if the last slice is read first, else 0.
        outputs: the numbers of the old one's outputs that the new one has.
        stacked: for each stack among them 1 if it has the last step first, else 0.
    """
    graph = scan.graph
    assert isinstance(graph, ir.Graph)
    attributes = {**dict(scan.attributes.items()), **_attributes(directions, stacked)}
    new = ir.Node(
        "", "Scan", inputs, list(attributes.values()), num_outputs=len(outputs), name=scan.name
    )
    for out, i in zip(new.outputs, outputs):
        old = scan.outputs[i]
        copy_type(old, out)
        old.replace_all_uses_with(out, replace_graph_outputs=True)
    graph.insert_before(scan, new)
    graph.remove(scan, safe=True)
    set_phase(new, phase_of(scan))
    own_body(new)
    return new


def own_body(node: ir.Node) -> None:
    """Let the nodes of a body know the node that runs it."""
    body = body_of(node)
    if body is not None:
        graph_notes(body).enclosing_node = node


def reads(node: ir.Node) -> Sequence[ir.Value | None]:
    """The values that a node reads, those that its body reads from outside among them.

    None stands for an input that is left out, as in ``node.inputs``.
    """
    body = body_of(node)
    if body is None:
        return node.inputs
    own = set(body.inputs)
    for inner in body:
        own.update(inner.outputs)
    inside = [v for inner in body for v in reads(inner)]
    inside += [v for inner in body for branch in branches_of(inner) for v in _constants(branch)]
    outside = [v for v in inside if v is not None and v not in own]
    return [*node.inputs, *outside]


def _constants(branch: ir.Graph) -> Iterator[ir.Value]:
    for node in branch:
        yield from (v for v in node.inputs if v is not None and v.const_value is not None)
        for inner in branches_of(node):
            yield from _constants(inner)


def runner(node: ir.Node) -> ir.Node:
    """The node that runs a node: the owner of the body that it stands in, else itself."""
    graph = node.graph
    owner = graph_notes(graph).enclosing_node if isinstance(graph, ir.Graph) else None
    return node if owner is None else owner


def readers(value: ir.Value) -> Iterator[ir.Node]:
    """The nodes that read a value; for a node in a body the one that runs it."""
    for user, _ in value.uses():
        yield runner(user)


def append_scan(
    g: Builder,
    body: ir.Graph,
    initial: Sequence[ir.Value],
    sequences: Sequence[ir.Value],
    directions: Sequence[int],
    stacked: Sequence[int],
) -> list[ir.Value]:
    """Append a Scan of ``body`` and return its outputs: the last states, then the stacks.

    Args:
        g: the builder of the graph around the body.
        body: inputs are the carried values, then a slice of each sequence; outputs are the next
            carried values, then what is stacked.
        initial: the initial carried values.
        sequences: (steps, ...), read in slices.
        directions: for each sequence 1 if the last slice is read first, else 0.
        stacked: the same for each stacked output.
    """
    carried, steps = len(initial), shape_of(sequences[0])[0]
    name = g.unique(f"{g.scope}/Scan" if g.scope else "Scan")
    node = ir.Node(
        "",
        "Scan",
        [*initial, *sequences],
        [
            ir.AttrGraph("body", body),
            *_attributes(directions, stacked).values(),
        ],
        num_outputs=carried + len(stacked),
        name=name,
    )
    for i, (out, inner) in enumerate(zip(node.outputs, body.outputs)):
        shape = shape_of(inner)
        out.shape = ir.Shape(shape if i < carried else (steps, *shape))
        out.type = inner.type
        out.name = name if i == 0 else g.unique(f"{name}:{i}")
    g.place(node)
    own_body(node)
    return list(node.outputs)


def _attributes(directions: Sequence[int], stacked: Sequence[int]) -> dict[str, ir.Attr]:
    return {
        "num_scan_inputs": ir.AttrInt64("num_scan_inputs", len(directions)),
        "scan_input_directions": ir.AttrInt64s("scan_input_directions", list(directions)),
        "scan_output_directions": ir.AttrInt64s("scan_output_directions", list(stacked)),
    }


def stack_output(g: Builder, node: ir.Node, value: ir.Value, direction: int) -> ir.Value:
    """Let a Scan return a value of its body for all steps: one more output of it.

    A value that is an output of the body already, or that no node of the body makes, is copied.
    """
    body = body_of(node)
    assert body is not None
    value = output_of_body(g, body, value)
    directions = [*stack_directions(node), direction]
    body.outputs.append(value)
    node.resize_outputs(len(node.outputs) + 1)
    out = node.outputs[-1]
    out.name = g.unique(f"{value.name}/stack")
    out.shape = ir.Shape((steps_of(node), *shape_of(value)))
    out.type = value.type
    node.attributes["scan_output_directions"] = ir.AttrInt64s("scan_output_directions", directions)
    return out


def input_of_body(
    g: Builder, body: ir.Graph, name: str, like: ir.Value, shape: Sequence[int] | None = None
) -> ir.Value:
    """Append one more input to ``body`` and return it.

    It gets the first free name that begins with ``name``, the dtype of ``like``, and its shape if
    there is no other.
    """
    own_shape = like.shape if shape is None else ir.Shape(shape)
    value = ir.Value(name=g.unique(name), shape=own_shape, type=like.type)
    body.inputs.append(value)
    return value


def output_of_body(g: Builder, body: ir.Graph, value: ir.Value) -> ir.Value:
    """``value``, or a copy of it if it cannot be one more output of ``body``."""
    producer = value.producer()
    if producer is not None and producer.graph is body and value not in body.outputs:
        return value
    with g.inside(body):
        return g.op("Identity", value)


def steps_of(node: ir.Node) -> int:
    """Return how many steps a Scan runs."""
    sequence = node.inputs[states_of(node)]
    assert sequence is not None
    return shape_of(sequence)[0]


def clear_body(node: ir.Node) -> None:
    """Take the nodes out of the body of a node that is removed: they read nothing any more."""
    for body in graphs_of(node):
        body.outputs.clear()
        for inner in reversed(list(body)):
            body.remove(inner, safe=True)
            clear_body(inner)


def trim_scan(node: ir.Node, remove_dead: Callable[[ir.Graph], int]) -> int:
    """Remove stacks that nobody reads and sequences that the body does not; return how many.

    ``remove_dead`` removes the dead nodes of a body.
    """
    body = body_of(node)
    assert body is not None
    carried = states_of(node)
    directions, stacked = read_directions(node), stack_directions(node)
    live_outputs = [
        i
        for i, out in enumerate(node.outputs)
        if i < carried or out.uses() or out.is_graph_output()
    ]
    removed = len(node.outputs) - len(live_outputs)
    if removed:
        results = [body.outputs[i] for i in live_outputs]
        body.outputs.clear()
        body.outputs.extend(results)
    remove_dead(body)
    outputs = set(body.outputs)
    slices = list(enumerate(body.inputs))[carried:]
    used = [i for i, one in slices if one.uses() or one in outputs] or [carried]
    removed += len(slices) - len(used)
    if not removed:
        return 0
    inputs = [body.inputs[i] for i in [*range(carried), *used]]
    body.inputs.clear()
    body.inputs.extend(inputs)
    replace_scan(
        node,
        [*node.inputs[:carried], *(node.inputs[i] for i in used)],
        [directions[i - carried] for i in used],
        live_outputs,
        [stacked[i - carried] for i in live_outputs if i >= carried],
    )
    return removed


def adopt_body(node: ir.Node, root: ir.Graph, replacement: Callable[[ir.Value], ir.Value]) -> None:
    """Make the body of a node, if it has one, that of a node of another graph.

    ``replacement`` returns what the body reads in place of a value from outside.
    """
    names = graph_notes(root).names
    for body in graphs_of(node):
        own = {*body.inputs, *(out for inner in body for out in inner.outputs)}
        # What passes add must not take the names of the body.
        names.update({name: names.get(name, 0) for name in (value.name or "" for value in own)})

        def inside(value: ir.Value, own: set[ir.Value] = own) -> ir.Value:
            return value if value in own else replacement(value)

        for inner in body:
            for i, value in enumerate(inner.inputs):
                if value is not None and value not in own:
                    inner.replace_input_with(i, replacement(value))
            adopt_body(inner, root, inside)
        graph_notes(body).root = root
    own_body(node)
