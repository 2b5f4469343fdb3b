"""Old ONNX models in an opset that is read: every operator keeps its own version's meaning.

onnx's version converter does the work, save for some operators that it changes without a word:
their nodes are written in a form that means the same in both opsets before it runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import onnx
import onnx.version_converter
from onnx import helper

from symbucket.checks import one_line
from symbucket.errors import UnsupportedError
from symbucket.ops.foreign.attributes import int_of
from symbucket.symbol.onnx.walk import all_nodes, graphs_of

OLDEST = 13
"""The first of the opsets that are read as they are."""


def convert_opset(model: onnx.ModelProto, version: int) -> onnx.ModelProto:
    """Return ``model``, whose opset is ``version``, in opset OLDEST or later.

    Raises UnsupportedError if it cannot be converted, or is newer than the installed onnx.
    """
    newest = onnx.defs.onnx_opset_version()
    if version > newest:
        raise UnsupportedError(
            f"from_onnx: the model has opset {version}, and onnx {onnx.__version__} knows those up "
            f"to {newest}. Install a newer onnx, or export the model with opset_version={newest}."
        )
    if version >= OLDEST:
        return model
    model = _with_stable_forms(model, version)
    try:
        converted = onnx.version_converter.convert_version(model, OLDEST)
    except Exception as error:  # onnx's errors have no common base
        raise UnsupportedError(
            f"from_onnx: the model of opset {version} cannot be converted to opset {OLDEST}: "
            f"{one_line(error)}. Export it anew with opset_version={OLDEST} or later."
        ) from error
    if version < 11:  # Upsample, and Resize of opset 10, became Resize without its newer attributes
        for node in all_nodes(converted.graph):
            if node.op_type == "Resize":
                _set_asymmetric(node)
    return converted


def _set_asymmetric(node: onnx.NodeProto) -> None:
    """Write out how Upsample and Resize of opset 10 map places: asymmetric, rounding down."""
    names = {a.name for a in node.attribute}
    if "coordinate_transformation_mode" not in names:
        node.attribute.append(helper.make_attribute("coordinate_transformation_mode", "asymmetric"))
    if "nearest_mode" not in names:
        node.attribute.append(helper.make_attribute("nearest_mode", "floor"))


# Nodes that the converter gets wrong, or only with shape information ----------------------------


def _with_stable_forms(model: onnx.ModelProto, version: int) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    _rewrite(copy.graph, version, iter(range(1 << 30)))
    return copy


def _rewrite(graph: onnx.GraphProto, version: int, numbers: Iterator[int]) -> None:
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        for inner in graphs_of(node):
            _rewrite(inner, version, numbers)
        form = _STABLE_FORMS.get(node.op_type)
        if form is None or node.domain not in ("", "ai.onnx"):
            nodes.append(node)
        else:
            nodes.extend(form(graph, node, version, numbers))
    del graph.node[:]
    graph.node.extend(nodes)


def _flattened(
    graph: onnx.GraphProto, node: onnx.NodeProto, version: int, numbers: Iterator[int]
) -> list[onnx.NodeProto]:
    """Write out that Softmax and its kin took all axes from ``axis`` on as one, before opset 13."""
    axis = int_of(node, "axis", 1)
    prefix = f"{node.output[0]}/opset{version}/{next(numbers)}"
    shape, rows, result = (f"{prefix}/{part}" for part in ("shape", "rows", "result"))
    # The converter asks for the shape of what it changes: two axes of unknown size.
    for name in (rows, result):
        graph.value_info.append(
            helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [f"{name}/0", f"{name}/1"])
        )
    return [
        helper.make_node("Shape", [node.input[0]], [shape]),
        helper.make_node("Flatten", [node.input[0]], [rows], axis=axis),
        helper.make_node(node.op_type, [rows], [result], name=node.name, axis=1),
        helper.make_node("Reshape", [result, shape], [node.output[0]]),
    ]


def _without_unused_value(
    graph: onnx.GraphProto, node: onnx.NodeProto, version: int, numbers: Iterator[int]
) -> list[onnx.NodeProto]:
    """Leave out the value of a Pad that copies elements: as an input it must not be there."""
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    if any(a.name == "mode" and a.s != b"constant" for a in node.attribute):
        rest = [a for a in node.attribute if a.name != "value"]
        del copy.attribute[:]
        copy.attribute.extend(rest)
    return [copy]


def _with_slopes_of_channels(
    graph: onnx.GraphProto, node: onnx.NodeProto, version: int, numbers: Iterator[int]
) -> list[onnx.NodeProto]:
    """Say that the slopes of a PRelu are those of the channels, as they were before opset 7."""
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    if version < 7:
        copy.attribute.append(helper.make_attribute("channel_axis", 1))
    return [copy]


def _without_batches(
    graph: onnx.GraphProto, node: onnx.NodeProto, version: int, numbers: Iterator[int]
) -> list[onnx.NodeProto]:
    """Refuse the Scan of opset 8, which has an axis of samples; the converter drops it."""
    if version < 9:
        raise UnsupportedError(
            f"from_onnx: ONNX node {node.name or node.output[0]!r} (Scan of opset {version}): this "
            "version has an axis of samples and is not read; export with opset_version=9 or later"
        )
    return [node]


Form = Callable[[onnx.GraphProto, onnx.NodeProto, int, Iterator[int]], list[onnx.NodeProto]]
_STABLE_FORMS: dict[str, Form] = {
    "Hardmax": _flattened,
    "LogSoftmax": _flattened,
    "Softmax": _flattened,
    "Pad": _without_unused_value,
    "PRelu": _with_slopes_of_channels,
    "Scan": _without_batches,
}
