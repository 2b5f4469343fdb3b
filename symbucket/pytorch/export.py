"""``export``: a module as an ONNX model in which every parameter is apart, and as in training.

``torch.export.export`` reads the module; ``torch.onnx.export(..., dynamo=True, optimize=False)``
writes it. What that exporter leaves out is put back from the exported program: BatchNorm in
training form, and rows of tables that get no gradient (``padding_idx``). What it drops without a
word (dropout between the layers of ``nn.RNN``) is refused.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import onnx

from symbucket.checks import listing
from symbucket.errors import UnsupportedError
from symbucket.pytorch.examples import Call, import_torch
from symbucket.symbol.onnx_sizes import fix_numeric_sizes

_OPSET = 20
_RECURRENT = ("aten.lstm.", "aten.gru.", "aten.rnn_tanh.", "aten.rnn_relu.")
_FX_NODE = "pkg.torch.onnx.fx_node"
_STATE_NAMES = ("running_mean", "running_var", "num_batches_tracked")


def export(module: Any, call: Call, *, dynamic: bool) -> onnx.ModelProto:
    """Return a module as an ONNX model.

    Args:
        module: the module, in the mode in which it is to be trained.
        call: example inputs.
        dynamic: leave all sizes open that ``forward`` does not fix; else all are as in ``call``.

    Raises UnsupportedError if PyTorch cannot export the module, or not faithfully.
    """
    torch = import_torch()
    _refuse_cumulative_statistics(module)
    shapes = call.dynamic_shapes(torch.export.Dim.AUTO) if dynamic else None
    try:
        with _quiet():
            program = torch.export.export(
                module, call.args, call.kwargs, dynamic_shapes=shapes, strict=False
            )
            names = [f"output{i}" for i in range(len(program.graph_signature.user_outputs))]
            written = torch.onnx.export(
                program,
                dynamo=True,
                optimize=False,
                verbose=False,
                opset_version=_OPSET,
                output_names=["output"] if len(names) == 1 else names,
            )
    except Exception as error:  # of any kind: torch's own, sympy's, onnxscript's
        raise UnsupportedError(
            f"from_torch: PyTorch cannot export {type(module).__name__} with inputs of shapes "
            f"{[tuple(t.shape) for t in call.tensors()]}: {_first_lines(error)}"
        ) from error
    model: onnx.ModelProto = written.model_proto
    _refuse_other_states(module, written.exported_program)
    for node in written.exported_program.graph.nodes:
        if node.op == "call_function":
            _train_batch_norm(node, model.graph)
            _block_padding(node, model.graph)
            _drop_attention(node, model.graph)
    _refuse_lost_noise(program, model)
    _name_shared_parameters(module, model.graph)
    fix_numeric_sizes(model.graph)
    _fix_bounded_sizes(program, model.graph, call)
    return model


def drop_dropout(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy of a model in which no Dropout drops anything."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for node in copy.graph.node:
        if node.op_type == "Dropout":
            node.op_type = "Identity"
            del node.input[1:], node.output[1:], node.attribute[:]
    return copy


# What the exporter leaves out --------------------------------------------------------------------


def _train_batch_norm(node: Any, graph: onnx.GraphProto) -> None:
    """Write a BatchNorm in training mode as such; the exporter writes all as in inference.

    PyTorch's running variance follows that of a sample: n / (n - 1) of ONNX's.
    """
    if "_native_batch_norm_legit_functional" not in str(node.target):
        return
    _set_integers(_written(node, graph, "BatchNormalization"), training_mode=1, unbiased_variance=1)


def _block_padding(node: Any, graph: onnx.GraphProto) -> None:
    """Keep the row ``padding_idx`` of a table from getting a gradient; ONNX has no word for it."""
    if str(node.target) != "aten.embedding.default":
        return
    padding = node.args[2] if len(node.args) > 2 else node.kwargs.get("padding_idx", -1)
    if padding is None or padding < 0:
        return
    _set_integers(_written(node, graph, "Gather"), padding_index=padding)


def _drop_attention(node: Any, graph: onnx.GraphProto) -> None:
    """Let the weights of attention drop out in training; the exporter writes this as switched off.

    ``dropout_p`` of scaled_dot_product_attention holds in evaluation too, but modules pass 0 then.
    """
    if "scaled_dot_product_attention" not in str(node.target) or not _dropouts(node):
        return
    written = _written(node, graph, "Dropout")
    if len(written.input) < 3:
        mode = f"{written.output[0]}/training_mode"
        graph.initializer.append(onnx.numpy_helper.from_array(np.array(True), mode))
        written.input.append(mode)


def _written(node: Any, graph: onnx.GraphProto, op_type: str) -> onnx.NodeProto:
    """Return the only ONNX node of a type that a node of the exported program became."""
    prefix = f"%{node.name} :"
    for_node = [
        n
        for n in graph.node
        if n.op_type == op_type
        and any(m.key == _FX_NODE and m.value.startswith(prefix) for m in n.metadata_props)
    ]
    if len(for_node) != 1:
        raise UnsupportedError(
            f"from_torch: PyTorch's exporter wrote {node.name} with {len(for_node)} nodes "
            f"{op_type}; expected one. This release of it is not known here."
        )
    return for_node[0]


def _set_integers(node: onnx.NodeProto, **values: int) -> None:
    rest = [a for a in node.attribute if a.name not in values]
    of_values = [onnx.helper.make_attribute(name, value) for name, value in values.items()]
    del node.attribute[:]
    node.attribute.extend([*rest, *of_values])


def _refuse_cumulative_statistics(module: Any) -> None:
    batch_norm = import_torch().nn.modules.batchnorm._BatchNorm
    for path, part in module.named_modules():
        if isinstance(part, batch_norm) and part.training and part.momentum is None:
            raise UnsupportedError(
                f"from_torch: {path or type(part).__name__} averages its statistics over all "
                "batches (momentum=None); set its momentum"
            )


def _fix_bounded_sizes(program: Any, graph: onnx.GraphProto, call: Call) -> None:
    """Fix sizes that are open within bounds alone: ``forward`` may branch there.

    PyTorch notes that a branch was taken (6 <= s) as a range of the size; the graph has no trace.
    """
    free = {
        str(symbol)
        for symbol, bounds in program.range_constraints.items()
        if bounds.lower <= 2 and str(bounds.upper) in ("int_oo", "oo")
    }
    tensors = call.by_name([value.name for value in graph.input])
    for value in graph.input:
        sizes = tensors[value.name].shape
        for dim, size in zip(value.type.tensor_type.shape.dim, sizes):
            if dim.dim_param and dim.dim_param not in free:
                dim.dim_value = size


def _name_shared_parameters(module: Any, graph: onnx.GraphProto) -> None:
    """Give shared parameters the first of their names, as ``module.named_parameters()`` does."""
    first: dict[int, str] = {}
    names = {
        name: first.setdefault(id(tensor), name)
        for name, tensor in module.named_parameters(remove_duplicate=False)
    }
    for tensor in graph.initializer:
        tensor.name = names.get(tensor.name, tensor.name)
    _rename_reads(graph, names)


def _rename_reads(graph: onnx.GraphProto, names: Mapping[str, str]) -> None:
    for node in graph.node:
        for i, name in enumerate(node.input):
            node.input[i] = names.get(name, name)
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                _rename_reads(attribute.g, names)


def _refuse_other_states(module: Any, program: Any) -> None:
    """Refuse buffers that ``forward`` changes, but for the statistics of BatchNorm."""
    owners = dict(module.named_modules())
    batch_norm = import_torch().nn.modules.batchnorm._BatchNorm
    changed = []
    for target in program.graph_signature.buffers_to_mutate.values():
        path, _, name = target.rpartition(".")
        owner = owners.get(path)
        if not isinstance(owner, batch_norm) or name not in _STATE_NAMES:
            changed.append(target)
    if changed:
        raise UnsupportedError(
            f"from_torch: forward changes the buffers {listing(changed)}; only running statistics "
            "of BatchNorm can change. Put those modules in eval mode, or make the buffers inputs "
            "and outputs of forward."
        )


def _refuse_lost_noise(program: Any, model: onnx.ModelProto) -> None:
    """Refuse a file with fewer nodes that drop out than the module has."""
    expected, places = 0, []
    for node in program.graph.nodes:
        count = _dropouts(node)
        expected += count
        places += [node.name] * bool(count)
    written = sum(node.op_type == "Dropout" and len(node.input) > 2 for node in model.graph.node)
    if written != expected:
        raise UnsupportedError(
            f"from_torch: forward drops out in {expected} places ({listing(places)}), PyTorch's "
            f"exporter wrote {written}. Set dropout=0 there, or write nn.Dropout between layers of "
            "their own."
        )


def _dropouts(node: Any) -> int:
    """Return in how many places a node of the exported program drops out."""
    target, args = str(node.target), [*node.args]
    if node.op != "call_function":
        return 0
    if target.startswith(("aten.dropout", "aten.native_dropout")):
        return int(bool(args[2]) and args[1] > 0)
    if target.startswith("aten.scaled_dot_product_attention"):
        share = node.kwargs.get("dropout_p", args[4] if len(args) > 4 else 0.0)
        return int(share > 0)
    if target.startswith(_RECURRENT):
        layers, share, training = args[4:7]
        return layers - 1 if training and share > 0 else 0
    if "dropout" in target:
        raise UnsupportedError(
            f"from_torch: {node.name} ({target}) has no counterpart; use nn.Dropout"
        )
    return 0


# Around the exporter -----------------------------------------------------------------------------


def _first_lines(error: BaseException) -> str:
    cause = error.__cause__ or error
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    return f"{type(cause).__name__}: {' '.join(lines[:4])[:600]}"


@contextmanager
def _quiet() -> Iterator[None]:
    """Leave out what the exporter logs and warns of; it concerns PyTorch's own releases."""
    logger = logging.getLogger("torch")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
