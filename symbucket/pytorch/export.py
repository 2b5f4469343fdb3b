"""``export``: a module as an ONNX model in which every parameter is apart, and as in training.

``torch.export.export`` reads the module; ``torch.onnx.export(..., dynamo=True, optimize=False)``
writes it. What that exporter leaves out is put back from what it notes on nodes, see
``symbucket.symbol.onnx.torch_modes``. What it drops without a word (dropout between the layers of
``nn.RNN``) is refused.
"""

from __future__ import annotations

import importlib
import logging
import traceback
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import onnx

from symbucket.checks import listing
from symbucket.errors import UnsupportedError
from symbucket.pytorch.examples import Call, import_torch
from symbucket.symbol.onnx.sizes import fix_numeric_sizes
from symbucket.symbol.onnx.torch_modes import dropouts, follow_samples, train_as_noted
from symbucket.symbol.onnx.torch_notes import torch_calls
from symbucket.symbol.onnx.walk import all_nodes

_OPSET = 20
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
        with _quiet(), _plain_attention():
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
            f"{[tuple(t.shape) for t in call.tensors()]}: {_first_lines(error)}{_advice(error)}"
        ) from error
    model: onnx.ModelProto = written.model_proto
    _refuse_other_states(module, written.exported_program)
    follow_samples(model.graph)
    train_as_noted(torch_calls(model.graph), model.graph)
    _refuse_lost_noise(program, model)
    _name_shared_parameters(module, model.graph)
    fix_numeric_sizes(model.graph)
    _fix_bounded_sizes(program, model.graph, call)
    for written_node in model.graph.node:
        written_node.ClearField("metadata_props")  # all that it says is in the graph now
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


# What is refused, and what is named -----------------------------------------------------------


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
    for node in all_nodes(graph):
        for i, name in enumerate(node.input):
            node.input[i] = names.get(name, name)


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
        count = 0
        if node.op == "call_function":
            count = dropouts(str(node.target), node.args, node.kwargs)
        expected += count
        places += [node.name] * bool(count)
    written = sum(node.op_type == "Dropout" and len(node.input) > 2 for node in model.graph.node)
    if written != expected:
        raise UnsupportedError(
            f"from_torch: forward drops out in {expected} places ({listing(places)}), PyTorch's "
            f"exporter wrote {written}. Set dropout=0 there, or write nn.Dropout between layers of "
            "their own."
        )


# Around the exporter -----------------------------------------------------------------------------


def _first_lines(error: BaseException) -> str:
    cause = error.__cause__ or error
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    return f"{type(cause).__name__}: {' '.join(lines[:4])[:600]}"


def _advice(error: BaseException) -> str:
    """Return what to do about packed sequences, if PyTorch stopped at one."""
    packed = import_torch().nn.utils.rnn.PackedSequence
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    if not any(isinstance(v, packed) for frame in frames for v in frame.f_locals.values()):
        return ""
    return (
        ". Packed sequences cannot be exported: let forward run over the padded batch, and mask "
        "by the lengths (torch.arange(steps) < lengths[:, None]) where padding would count, such "
        "as in the last step or a mean over steps"
    )


def _plain_attention() -> AbstractContextManager[None]:
    """Let attention return tensors in their plain order, which some modules rely on (T5)."""
    attention = importlib.import_module("torch.nn.attention")
    context: AbstractContextManager[None] = attention.sdpa_kernel(attention.SDPBackend.MATH)
    return context


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
