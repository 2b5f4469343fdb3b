"""``from_onnx``: a network that others wrote, as a symbol that trains like any other.

Float initializers of the file become variables that start at the file's values, see
``symbucket.file_values``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnx.inliner
from google.protobuf.message import DecodeError

from symbucket.attribute import AttrScope
from symbucket.errors import InvalidArgumentError, UnsupportedError
from symbucket.file_values import INITIALIZER, register_value
from symbucket.name import NameManager
from symbucket.ops.foreign import unknown_nodes
from symbucket.ops.graph import OnnxGraph, opset_of, pack
from symbucket.symbol.compose import apply
from symbucket.symbol.node import Entry, Node
from symbucket.symbol.onnx_versions import convert_opset
from symbucket.symbol.symbol import Group, Symbol

LOSS = "loss"
"""An output of this name is taken as the loss where a model is given in place of a symbol."""

_FLOATS = frozenset(
    {
        onnx.TensorProto.FLOAT,
        onnx.TensorProto.DOUBLE,
        onnx.TensorProto.FLOAT16,
        onnx.TensorProto.BFLOAT16,
    }
)
# Inputs that set how an operator works; they are no weights, also where they have an axis.
_SETTINGS = {"Resize": (1, 2), "Upsample": (1,), "Pad": (2,), "Clip": (1, 2), "Dropout": (1,)}
_STATISTICS = (3, 4)  # inputs of BatchNormalization


def from_onnx(
    model: onnx.ModelProto | str | os.PathLike[str],
    inputs: Sequence[Symbol] | Mapping[str, Symbol] | None = None,
    loss: str | Sequence[str] | None = None,
    *,
    name: str | None = None,
    params: Collection[str] | None = None,
) -> Symbol:
    """A symbol that computes what an ONNX model computes, with parameters to train.

    Args:
        model: an ``onnx.ModelProto``, or the path of a file. Opsets 13 to 21 are read as they
            are, others are converted.
        inputs: symbols for the graph's inputs: in their order, or by name (names of parameters
            too, to share a Variable). Inputs that are left out become variables of their names.
        loss: names of outputs that are losses to minimise. They become the first outputs
            (MakeLoss); the others get no gradient. Without it, attach a loss with operators, as
            ``sym.SoftmaxOutput(sym.from_onnx(...), label)``.
        name: of the node; outputs are ``NAME_OUTPUT``.
        params: names of the initializers that are parameters. By default all floats with at least
            one axis, save settings of operators (the scales of Resize); scalars and integers are
            constants.

    Parameters are variables with the names in the file. They start at the file's values, unless
    ``init_params`` is given others. Mean and variance of BatchNormalization are auxiliary states;
    they follow the batches where the file was written with ``training_mode=1``. Dropout drops
    where the file says so. Dimensions without a fixed size come from the data, so one file serves
    all bucket keys. LSTM, GRU and RNN are unrolled.

    Raises UnsupportedError that names every node that cannot be read, InvalidArgumentError for a
    file that is no valid model.
    """
    proto = _standard(_load(model))
    graph = proto.graph
    unknown = unknown_nodes(graph.node, opset_of(proto))
    if unknown:
        raise UnsupportedError(
            f"from_onnx: {len(unknown)} nodes have operators that cannot be read: "
            f"{', '.join(unknown)}. Export the model with standard operators of opset "
            f"{opset_of(proto)} (Loop, Scan and sequences unrolled)."
        )
    values = _take_parameters(graph, params)
    states = _states(graph, values)
    given = _given(graph, inputs, values)
    text = pack(proto)
    op = OnnxGraph.make({"graph": text, "states": states})
    node_name = NameManager.current().get(name, "onnx")
    entries = [
        given[key] if key in given else _variable(graph, key, values.get(key))
        for key in (*op.arguments(), *op.auxiliary())
    ]
    node = Node(op, node_name, tuple(entries), AttrScope.current().get(None))
    made = Symbol([(node, i) for i in range(node.num_outputs)])
    return made if loss is None else _with_loss(made, op.outputs(), loss)


def as_symbol(made: Any) -> Any:
    """A model, or the path of a file ``*.onnx``, as a symbol; anything else as it is.

    An output named "loss" is the loss then.
    """
    if isinstance(made, (str, os.PathLike)) and os.fspath(made).endswith(".onnx"):
        made = _load(made)
    if not isinstance(made, onnx.ModelProto):
        return made
    names = [out.name for out in made.graph.output]
    return from_onnx(made, loss=LOSS if LOSS in names else None, name=made.graph.name or "onnx")


# Reading ----------------------------------------------------------------------------------------


def _load(model: Any) -> onnx.ModelProto:
    if isinstance(model, onnx.ModelProto):
        return model
    if not isinstance(model, (str, os.PathLike)):
        raise InvalidArgumentError(
            f"from_onnx needs an onnx.ModelProto or a path, not {type(model).__name__}"
        )
    try:
        return onnx.load(os.fspath(model))
    except (OSError, DecodeError, ValueError, onnx.checker.ValidationError) as error:
        raise InvalidArgumentError(
            f"{os.fspath(model)!r} cannot be read as ONNX: {error}"
        ) from error


def _standard(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy with local functions written out, in a known opset, with types of the outputs."""
    if not model.graph.node or not model.graph.output:
        raise InvalidArgumentError("from_onnx: the model has no nodes or no outputs")
    if model.functions:
        model = onnx.inliner.inline_local_functions(model)
    model = convert_opset(model, opset_of(model))
    try:
        model = onnx.shape_inference.infer_shapes(model)
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        raise UnsupportedError(
            f"from_onnx: the types of the model's values cannot be inferred: {error}"
        ) from error
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    copy.ClearField("metadata_props")
    copy.graph.ClearField("value_info")
    copy.graph.ClearField("doc_string")
    for i, node in enumerate(copy.graph.node):
        node.ClearField("doc_string")
        node.ClearField("metadata_props")
        node.name = node.name or f"{node.op_type}_{i}"
    return copy


def _take_parameters(
    graph: onnx.GraphProto, params: Collection[str] | None
) -> dict[str, np.ndarray[Any, Any]]:
    """Move the parameters from the initializers to the inputs; gives their values."""
    settings = {
        node.input[i]
        for node in graph.node
        for i in _SETTINGS.get(node.op_type, ())
        if i < len(node.input)
    }
    held = {t.name: t for t in graph.initializer}
    if params is None:
        chosen = [n for n, t in held.items() if t.data_type in _FLOATS and t.dims]
        chosen = [n for n in chosen if n not in settings]
    else:
        absent = [n for n in params if n not in held or held[n].data_type not in _FLOATS]
        if absent:
            floats = [n for n, t in held.items() if t.data_type in _FLOATS]
            raise InvalidArgumentError(
                f"from_onnx: params has {', '.join(map(repr, absent))}; the file's float "
                f"initializers are {', '.join(floats)}"
            )
        chosen = [n for n in held if n in set(params)]
    values = {n: onnx.numpy_helper.to_array(held[n]) for n in chosen}
    data = [i for i in graph.input if i.name not in held]  # old files list initializers twice
    del graph.input[:]
    graph.input.extend(data)
    for name in chosen:
        tensor = held[name]
        graph.input.append(
            onnx.helper.make_tensor_value_info(name, tensor.data_type, list(tensor.dims))
        )
    kept = [t for n, t in held.items() if n not in values]
    constants = [onnx.TensorProto.FromString(t.SerializeToString()) for t in kept]
    del graph.initializer[:]
    graph.initializer.extend(constants)
    return values


def _states(graph: onnx.GraphProto, values: Mapping[str, Any]) -> tuple[str, ...]:
    found = {
        node.input[i]: None
        for node in graph.node
        if node.op_type == "BatchNormalization"
        for i in _STATISTICS
        if i < len(node.input)
    }
    return tuple(n for n in found if n in values)


# Symbols ----------------------------------------------------------------------------------------


def _given(
    graph: onnx.GraphProto,
    inputs: Sequence[Symbol] | Mapping[str, Symbol] | None,
    values: Mapping[str, Any],
) -> dict[str, Entry]:
    data = [i.name for i in graph.input if i.name not in values]
    named = dict(inputs if isinstance(inputs, Mapping) else zip(data, inputs or ()))
    if inputs is not None and not isinstance(inputs, Mapping) and len(inputs) > len(data):
        raise InvalidArgumentError(
            f"from_onnx: {len(inputs)} inputs were given, the graph has {', '.join(data)}"
        )
    found = {}
    for key, symbol in named.items():
        if key not in data and key not in values:
            raise InvalidArgumentError(
                f"from_onnx: the graph has no input {key!r}; its inputs are {', '.join(data)}, "
                f"its parameters {', '.join(values) or 'none'}"
            )
        if not isinstance(symbol, Symbol) or len(symbol) != 1:
            raise InvalidArgumentError(
                f"from_onnx: input {key!r} must be a Symbol with one output, not {symbol!r}"
            )
        found[key] = symbol.heads[0]
    return found


def _variable(graph: onnx.GraphProto, name: str, value: np.ndarray[Any, Any] | None) -> Entry:
    (info,) = (i for i in graph.input if i.name == name)
    attrs = AttrScope.current().get(None)
    kind = info.type.tensor_type.elem_type
    attrs["__dtype__"] = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind)).name
    if value is not None:
        attrs["__shape__"] = str(tuple(value.shape))
        digest, value = register_value(value)
        attrs["__init__"] = json.dumps([INITIALIZER, {"digest": digest}])
    return Node(None, name, (), attrs, value), 0


def _with_loss(made: Symbol, names: Sequence[str], loss: str | Sequence[str]) -> Symbol:
    wanted = [loss] if isinstance(loss, str) else list(loss)
    unknown = [n for n in wanted if n not in names]
    if unknown or not wanted:
        raise InvalidArgumentError(
            f"from_onnx: loss={loss!r} must name outputs of the graph: {', '.join(names)}"
        )
    heads = dict(zip(names, made))
    own = made.name
    losses = [apply("MakeLoss", [heads[n]], {"name": f"{own}_{n}"}) for n in wanted]
    rest = [
        apply("BlockGrad", [heads[n]], {"name": f"{own}_{n}"}) for n in names if n not in wanted
    ]
    return Group([*losses, *rest])
