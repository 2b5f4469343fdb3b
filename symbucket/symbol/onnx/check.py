"""Checks of a file before ``from_onnx`` makes anything of it: sound, and of a bounded size.

The checks are those that the rest of the import relies on. ``onnx.checker`` refuses more than that:
files without a name, inputs without a shape, versions of the format that are newer than itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from graphlib import CycleError, TopologicalSorter
from typing import Any, NamedTuple

import onnx

from symbucket.errors import InvalidArgumentError, UnsupportedError

MOST_NODES = 100_000
"""Nodes that the functions of a model may stand for: a few kilobytes can stand for billions."""

MOST_DEPTH = 64
"""How deep functions may call each other, and bodies lie within bodies."""

_KINDS = frozenset(
    {
        *(onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE, onnx.TensorProto.FLOAT16),
        onnx.TensorProto.BFLOAT16,  # becomes float32
        *(onnx.TensorProto.INT8, onnx.TensorProto.INT16),
        *(onnx.TensorProto.INT32, onnx.TensorProto.INT64),
        *(onnx.TensorProto.UINT8, onnx.TensorProto.UINT16),
        *(onnx.TensorProto.UINT32, onnx.TensorProto.UINT64),
        onnx.TensorProto.BOOL,
    }
)


# Functions --------------------------------------------------------------------------------------

_Key = tuple[str, str, str]


class _Size(NamedTuple):
    nodes: int
    depth: int


def check_functions(model: onnx.ModelProto) -> None:
    """Raise unless writing out the local functions ends, with at most ``MOST_NODES`` nodes."""
    functions: dict[_Key, onnx.FunctionProto] = {}
    for function in model.functions:
        key = (function.domain, function.name, function.overload)
        if key in functions:
            raise InvalidArgumentError(f"from_onnx: the function {_name_of(key)} is there twice")
        functions[key] = function
    calls = {key: [*_keys(f.node, functions)] for key, f in functions.items()}
    try:
        order = list(TopologicalSorter(calls).static_order())
    except CycleError as error:
        raise InvalidArgumentError(
            f"from_onnx: the function {_name_of(error.args[1][0])} calls itself"
        ) from None
    sizes: dict[_Key, _Size] = {}
    for key in order:
        sizes[key] = size = _size_of(functions[key].node, calls[key], sizes)
        if size.depth > MOST_DEPTH:
            raise UnsupportedError(
                f"from_onnx: the function {_name_of(key)} calls functions {size.depth} deep; "
                f"at most {MOST_DEPTH} are read"
            )
    whole = _size_of(model.graph.node, [*_keys(model.graph.node, functions)], sizes)
    if whole.nodes > MOST_NODES:
        raise UnsupportedError(
            f"from_onnx: with its functions written out the graph has {whole.nodes:,} nodes; at "
            f"most {MOST_NODES:,} are read. Export the model without functions"
        )


def _size_of(
    nodes: Iterable[onnx.NodeProto], calls: Iterable[_Key], sizes: dict[_Key, _Size]
) -> _Size:
    called = [sizes[key] for key in calls]
    count = sum(1 for _ in _all_nodes(nodes)) + sum(size.nodes - 1 for size in called)
    return _Size(count, 1 + max((size.depth for size in called), default=0))


def _keys(nodes: Iterable[onnx.NodeProto], functions: dict[_Key, Any]) -> Iterator[_Key]:
    """Yield the function of every node that is a call."""
    for node in _all_nodes(nodes):
        key = (node.domain, node.op_type, node.overload)
        if key in functions:
            yield key


def _all_nodes(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """Yield nodes, and those of their bodies."""
    stack = [iter(nodes)]
    while stack:
        node = next(stack[-1], None)
        if node is None:
            stack.pop()
            continue
        yield node
        stack += [iter(a.g.node) for a in node.attribute if a.type == onnx.AttributeProto.GRAPH]


def _name_of(key: _Key) -> str:
    domain, name, _ = key
    return f"{domain}::{name}"


# Graphs -----------------------------------------------------------------------------------------


def check_graph(model: onnx.ModelProto) -> None:
    """Raise unless the graph says where each value is from, and its constants can be read.

    InvalidArgumentError: it is no valid ONNX. UnsupportedError: it has values that no network here
    has, such as texts.
    """
    if not any(o.domain in ("", "ai.onnx") for o in model.opset_import):
        versions = {o.domain: o.version for o in model.opset_import}
        others = [
            f"{node.name or node.output[0]} ({node.domain}::{node.op_type} of opset "
            f"{versions[node.domain]})"
            for node in model.graph.node
            if node.domain in versions and node.output
        ]
        if others:
            raise UnsupportedError(
                f"from_onnx: operators of the standard's own domain are read; these are of others: "
                f"{', '.join(others)}"
            )
        raise InvalidArgumentError(
            "from_onnx: the model does not say which opset its operators are of (opset_import)"
        )
    for value in (*model.graph.input, *model.graph.output):
        kind = value.type.WhichOneof("value")
        if kind not in (None, "tensor_type"):
            raise UnsupportedError(
                f"from_onnx: {value.name!r} is {'an' if kind[0] == 'o' else 'a'} "
                f"{kind.removesuffix('_type')}; inputs and outputs must be tensors"
            )
        if value.type.tensor_type.elem_type:
            _check_kind(value.type.tensor_type.elem_type, f"{value.name!r}")
    _Scopes().check(model.graph, "the graph", [])


class _Scopes:
    """The values that are there, from the graph inwards to the body that is checked."""

    def __init__(self) -> None:
        self._scopes: list[set[str]] = []

    def check(self, graph: onnx.GraphProto, where: str, inputs: Iterable[str]) -> None:
        """Check one graph and the bodies in it. ``inputs``: values that it has besides its own."""
        if len(self._scopes) == MOST_DEPTH:
            raise UnsupportedError(f"from_onnx: {where} lies {MOST_DEPTH} bodies deep")
        if graph.sparse_initializer:
            raise UnsupportedError(f"from_onnx: {where} has sparse constants; export dense ones")
        own: set[str] = set()
        self._scopes.append(own)
        constants = [tensor.name for tensor in graph.initializer]
        for name in _unique(constants, f"{where}: the constant", "is there twice"):
            _add(own, name, where)
        for name in _unique((i.name for i in graph.input), f"{where}: the input", "is there twice"):
            own.add(_text(name, where))  # old files list constants as inputs too
        for tensor in graph.initializer:
            check_tensor(tensor, f"the constant {tensor.name!r}")
        for position, node in enumerate(graph.node):
            self._check_node(node, position, own, where)
        outputs = [_text(output.name, where) for output in graph.output]
        for name in _unique(outputs, f"{where}: the output", "is there twice"):
            if not self._has(name):
                raise InvalidArgumentError(
                    f"from_onnx: the output {name!r} of {where} is computed by no node"
                )
        self._scopes.pop()

    def _has(self, name: str) -> bool:
        return any(name in scope for scope in self._scopes)

    def _check_node(self, node: onnx.NodeProto, position: int, own: set[str], where: str) -> None:
        written = [_text(name, where) for name in node.output]
        title = f"node {_text(node.name, where) or ''.join(written[:1]) or position!r}"
        title = f"{title} ({_text(node.op_type, title)})"
        _text(node.domain, title)
        if not any(written):
            raise InvalidArgumentError(f"from_onnx: {title} of {where} has no outputs")
        for name in node.input:
            if _text(name, title) and not self._has(name):
                raise InvalidArgumentError(
                    f"from_onnx: {title} reads {name!r}, which is no input or constant and is "
                    "computed by no node before it"
                )
        names = [_text(attribute.name, title) for attribute in node.attribute]
        for _ in _unique(names, f"{title}: the attribute", "is there twice"):
            pass
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                self.check(attribute.g, f"the body {attribute.name!r} of {title}", ())
            elif attribute.type == onnx.AttributeProto.TENSOR:
                check_tensor(attribute.t, f"the attribute {attribute.name!r} of {title}")
        for name in written:
            if name:
                _add(own, name, title)


def _add(own: set[str], name: str, title: str) -> None:
    if _text(name, title) in own:
        raise InvalidArgumentError(f"from_onnx: {title} writes {name!r}, which is there already")
    own.add(name)


def _unique(names: Iterable[str], what: str, fault: str) -> Iterator[str]:
    """Yield names; raise at the first that comes again."""
    seen = set()
    for name in names:
        if name in seen:
            raise InvalidArgumentError(f"from_onnx: {what} {name!r} {fault}")
        seen.add(name)
        yield name


def _text(name: Any, where: str) -> str:
    """Return a name; protobuf reads one that is no UTF-8 as bytes."""
    if not isinstance(name, str):
        raise InvalidArgumentError(f"from_onnx: {where}: the name {name!r} is no UTF-8 text")
    return name


# Tensors ----------------------------------------------------------------------------------------


def check_tensor(tensor: onnx.TensorProto, what: str) -> None:
    """Raise unless the values of a constant are in the file, as many as its shape says."""
    _check_kind(tensor.data_type, what)
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        places = {entry.key: entry.value for entry in tensor.external_data}
        raise InvalidArgumentError(
            f"from_onnx: {what} is kept in another file, {places.get('location')!r}, that was not "
            "loaded; give the path of the model, or onnx.load(path)"
        )
    if tensor.HasField("segment") or any(size < 0 for size in tensor.dims):
        raise InvalidArgumentError(f"from_onnx: {what} has no readable shape: {[*tensor.dims]}")
    try:
        onnx.numpy_helper.to_array(tensor)
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise InvalidArgumentError(
            f"from_onnx: {what} does not hold the values of its shape {[*tensor.dims]}: {error}"
        ) from error


def _check_kind(kind: int, what: str) -> None:
    if kind not in _KINDS:
        names = dict(zip(onnx.TensorProto.DataType.values(), onnx.TensorProto.DataType.keys()))
        readable = ", ".join(sorted(names[k].lower() for k in _KINDS))
        raise UnsupportedError(
            f"from_onnx: {what} is {names.get(kind, kind)}; these are read: {readable}. Export or "
            "convert the model with float32"
        )
