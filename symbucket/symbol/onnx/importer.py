"""``from_onnx``: a network that others wrote, as a symbol that trains like any other.

Parameters of the file (see ``parameters``) become variables that start at the file's values,
see ``symbucket.file_values``.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal, overload

import numpy as np
import onnx
import onnx.inliner
from google.protobuf.message import DecodeError

from symbucket.attribute import AttrScope
from symbucket.checks import listing, one_line
from symbucket.errors import InvalidArgumentError, UnsupportedError
from symbucket.file_values import initializer_text, register_value
from symbucket.name import NameManager
from symbucket.ops.foreign import unknown_nodes
from symbucket.ops.graph import OnnxGraph, opset_of, pack
from symbucket.symbol.compose import apply
from symbucket.symbol.infer import dtype_text
from symbucket.symbol.node import Entry, Node
from symbucket.symbol.onnx.check import check_functions, check_graph
from symbucket.symbol.onnx.constants import (
    float_constants,
    lift_constants,
    move_to_inputs,
    remove_initializers_from_inputs,
    remove_zero_states,
)
from symbucket.symbol.onnx.large import require_writable, without_weights
from symbucket.symbol.onnx.padding import block_rows, rows_of_zeros
from symbucket.symbol.onnx.parameters import decide
from symbucket.symbol.onnx.report import ParameterReport
from symbucket.symbol.onnx.sizes import fix_numeric_sizes, fix_unrolled_sizes
from symbucket.symbol.onnx.torch_modes import follow_samples, train_as_noted
from symbucket.symbol.onnx.torch_notes import torch_calls
from symbucket.symbol.onnx.torch_parameters import Doubts, part_parameters
from symbucket.symbol.onnx.types import (
    has_bfloat16,
    read_bfloat16_as_float32,
    require_optional_inputs,
)
from symbucket.symbol.onnx.uses import GraphUses
from symbucket.symbol.onnx.versions import convert_opset
from symbucket.symbol.symbol import Group, Symbol

LOSS = "loss"
"""An output of this name is taken as the loss where a model is given in place of a symbol."""

_MAX_LOGGED = 1024
_LOGGED: dict[bytes, None] = {}
"""Digests of models whose parameters were logged, oldest first."""


@overload
def from_onnx(
    model: onnx.ModelProto | str | os.PathLike[str],
    inputs: Sequence[Symbol] | Mapping[str, Symbol] | None = None,
    loss: str | Sequence[str] | None = None,
    *,
    name: str | None = None,
    params: str | Collection[str] | None = None,
    fixed: str | Collection[str] | None = None,
    padding: Mapping[str, int] | None = None,
    report: Literal[False] = False,
) -> Symbol: ...


@overload
def from_onnx(
    model: onnx.ModelProto | str | os.PathLike[str],
    inputs: Sequence[Symbol] | Mapping[str, Symbol] | None = None,
    loss: str | Sequence[str] | None = None,
    *,
    name: str | None = None,
    params: str | Collection[str] | None = None,
    fixed: str | Collection[str] | None = None,
    padding: Mapping[str, int] | None = None,
    report: Literal[True],
) -> tuple[Symbol, ParameterReport]: ...


def from_onnx(
    model: onnx.ModelProto | str | os.PathLike[str],
    inputs: Sequence[Symbol] | Mapping[str, Symbol] | None = None,
    loss: str | Sequence[str] | None = None,
    *,
    name: str | None = None,
    params: str | Collection[str] | None = None,
    fixed: str | Collection[str] | None = None,
    padding: Mapping[str, int] | None = None,
    report: bool = False,
) -> Symbol | tuple[Symbol, ParameterReport]:
    """A symbol that computes what an ONNX model computes, with parameters to train.

    Args:
        model: an ``onnx.ModelProto``, or the path of a file. Opsets from 13 on are read as they
            are, older ones are converted.
        inputs: symbols for the graph's inputs: in their order, or by name (names of float
            initializers too, to share a Variable). Inputs that are left out become variables of
            their names.
        loss: names of outputs that are losses to minimise. They become the first outputs
            (MakeLoss); the others get no gradient. Without it, attach a loss with operators, as
            ``sym.SoftmaxOutput(sym.from_onnx(...), label)``.
        name: of the node; outputs are ``NAME_OUTPUT``.
        params: names, or patterns as of ``fnmatch``, of initializers that are parameters, whatever
            the rule below says. An empty list: there are none.
        fixed: names or patterns of initializers that keep their values. If a name matches both
            arguments, the more specific pattern decides: ``params=["w"], fixed="*"`` trains ``w``
            alone.
        padding: rows of tables that get no gradient from lookups, by the tables' names:
            ``{"embed.weight": 0}`` is PyTorch's ``padding_idx=0``. Files of its ``dynamo`` exporter
            tell by themselves.
        report: return also a ``ParameterReport``: a table of what is trained and what is fixed, and
            why. The same is logged once for each model.

    ONNX does not say which initializers are parameters. Trained are those that products,
    convolutions, recurrent nodes, normalizations and lookups take as weights, and others that are
    named like parameters. Fixed are settings of operators (exponents, bounds, scales of
    quantization, class weights), zero initial states, masks, sinusoidal tables, single numbers,
    integers, and operands with generated names. The same holds for Constant nodes.

    Parameters are variables with the names in the file; one without axes gets the shape (1,). They
    start at the file's values, unless ``init_params`` is given others; keys whose files have
    different values for one name are refused. Mean and variance of BatchNormalization are auxiliary
    states; they follow the batches if the file was written with ``training_mode=1``. Dropout drops
    if the file says so. Dimensions without a fixed size come from the data, so one file serves all
    bucket keys. LSTM, GRU and RNN are unrolled.

    Raises:
        UnsupportedError: nodes cannot be read; all are named.
        InvalidArgumentError: the file is no valid model, or it does not tell whether some
            initializers are parameters, and neither ``params`` nor ``fixed`` does; all are named.
    """
    proto, doubts = _standard(_load(model))
    graph = proto.graph
    unknown = unknown_nodes(graph.node, opset_of(proto))
    if unknown:
        raise UnsupportedError(
            f"from_onnx: {len(unknown)} nodes have operators that cannot be read: "
            f"{', '.join(unknown)}. Export the model with standard operators of opset "
            f"{opset_of(proto)}."
        )
    remove_initializers_from_inputs(graph)
    lift_constants(graph)
    constants = float_constants(graph)
    shared = [key for key in inputs if key in constants] if isinstance(inputs, Mapping) else []
    uses = GraphUses(graph, {n: tuple(t.dims) for n, t in constants.items()})
    arrays = {n: onnx.numpy_helper.to_array(t) for n, t in constants.items()}
    block_rows(graph, padding or {}, arrays)
    if proto.producer_name == "pytorch":
        doubts.computed |= rows_of_zeros(graph, arrays)
    if params is not None and not params:
        fixed = "*"
    decisions = decide(arrays, uses, _patterns(params), _patterns(fixed), shared, doubts.computed)
    if doubts.lost and decisions.trained:
        raise InvalidArgumentError(
            f"from_onnx: PyTorch's exporter left out the parameters {listing(doubts.lost)}, since "
            "their values have no effect at first or are folded into others. Export with "
            "optimize=False; fixed='*' reads the file to predict only."
        )
    states = tuple(decisions.states)
    inputs_of_graph = {*decisions.trained, *states}
    values = {n: np.atleast_1d(array) for n, array in arrays.items() if n in inputs_of_graph}
    move_to_inputs(graph, values, constants, decisions.unused)
    remove_zero_states(graph)
    provided = _input_entries(graph, inputs, values)
    require_writable(graph)
    text = pack(proto)
    op = OnnxGraph.make({"graph": text, "states": states})
    node_name = NameManager.current.get(name, "onnx")
    entries = [
        provided[key] if key in provided else _variable(graph, key, values.get(key))
        for key in (*op.arguments(), *op.auxiliary())
    ]
    node = Node(op, node_name, tuple(entries), AttrScope.current.get(None))
    network = Symbol([(node, i) for i in range(node.num_outputs)])
    symbol = network if loss is None else _with_loss(network, op.outputs(), loss)
    _log_once(node_name, text, decisions)
    return (symbol, decisions) if report else symbol


def as_symbol(network: Any) -> Any:
    """A model, or the path of a file ``*.onnx``, as a symbol; anything else as it is.

    An output named "loss" is the loss then.
    """
    if isinstance(network, (str, os.PathLike)) and os.fspath(network).endswith(".onnx"):
        network = _load(network)
    if not isinstance(network, onnx.ModelProto):
        return network
    names = [out.name for out in network.graph.output]
    return from_onnx(
        network, loss=LOSS if LOSS in names else None, name=network.graph.name or "onnx"
    )


# Reading ----------------------------------------------------------------------------------------


def _load(model: Any) -> onnx.ModelProto:
    """Return the model of a file, or a copy of one."""
    if isinstance(model, onnx.ModelProto):
        copy = onnx.ModelProto()
        copy.CopyFrom(model)
        return copy
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


def _standard(model: onnx.ModelProto) -> tuple[onnx.ModelProto, Doubts]:
    """The model with local functions written out, in a known opset, with types of the outputs.

    Also what a file of PyTorch's exporter does not tell, see ``torch_parameters``.
    """
    if not model.graph.node or not model.graph.output:
        raise InvalidArgumentError("from_onnx: the model has no nodes or no outputs")
    if model.functions:
        check_functions(model)
        try:
            model = without_weights(onnx.inliner.inline_local_functions, model)
        except Exception as error:  # onnx's errors have no common base
            raise InvalidArgumentError(
                f"from_onnx: the functions of the model cannot be written out: {one_line(error)}"
            ) from error
    require_optional_inputs(model.graph)
    check_graph(model)
    if has_bfloat16(model.graph):
        read_bfloat16_as_float32(model.graph)
    doubts = _put_back(model)
    model = without_weights(_typed, model)
    model.ClearField("metadata_props")
    fix_numeric_sizes(model.graph)
    fix_unrolled_sizes(model.graph)
    model.graph.ClearField("value_info")
    model.graph.ClearField("doc_string")
    for i, node in enumerate(model.graph.node):
        node.ClearField("doc_string")
        node.ClearField("metadata_props")
        node.name = node.name or f"{node.op_type}_{i}"
    return model, doubts


def _typed(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model in a known opset, with types."""
    model = convert_opset(model, opset_of(model))
    try:
        return onnx.shape_inference.infer_shapes(model)
    except Exception as error:  # onnx's errors have no common base
        raise UnsupportedError(
            f"from_onnx: the types of the model's values cannot be inferred: {one_line(error)}"
        ) from error


def _put_back(model: onnx.ModelProto) -> Doubts:
    """Put back what PyTorch's exporters changed, in place."""
    if model.producer_name != "pytorch":
        return Doubts()
    follow_samples(model.graph)
    calls = torch_calls(model.graph)
    train_as_noted(calls, model.graph)
    return part_parameters(calls, model.graph)


def _patterns(names: str | Collection[str] | None) -> list[str]:
    return [names] if isinstance(names, str) else list(names or ())


def _log_once(name: str, text: str, report: ParameterReport) -> None:
    """Log what is trained and what is fixed, unless it was logged for the same model."""
    summary = report.summary()
    digest = hashlib.sha256((text + summary).encode()).digest()
    if digest not in _LOGGED:
        _LOGGED[digest] = None
        logging.info("from_onnx %r: %s", name, summary)
        if len(_LOGGED) > _MAX_LOGGED:
            del _LOGGED[next(iter(_LOGGED))]


# Symbols ----------------------------------------------------------------------------------------


def _input_entries(
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
    entries = {}
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
        entries[key] = symbol.heads[0]
    return entries


def _variable(graph: onnx.GraphProto, name: str, value: np.ndarray[Any, Any] | None) -> Entry:
    (info,) = (i for i in graph.input if i.name == name)
    attrs = AttrScope.current.get(None)
    kind = info.type.tensor_type.elem_type
    if kind:
        attrs["__dtype__"] = dtype_text(np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind)))
    if value is not None:
        attrs["__shape__"] = str(tuple(value.shape))
        digest, value = register_value(value)
        attrs["__init__"] = initializer_text(digest)
    return Node(None, name, (), attrs, value), 0


def _with_loss(network: Symbol, names: Sequence[str], loss: str | Sequence[str]) -> Symbol:
    of_losses = [loss] if isinstance(loss, str) else list(loss)
    if not of_losses or any(n not in names for n in of_losses):
        raise InvalidArgumentError(
            f"from_onnx: loss={loss!r} must name outputs of the graph: {', '.join(names)}"
        )
    heads = dict(zip(names, network))
    own = network.name
    losses = [apply("MakeLoss", [heads[n]], {"name": f"{own}_{n}"}) for n in of_losses]
    rest = [
        apply("BlockGrad", [heads[n]], {"name": f"{own}_{n}"}) for n in names if n not in of_losses
    ]
    return Group([*losses, *rest])
