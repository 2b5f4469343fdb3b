"""Attributes of nodes as they are in the file."""

from __future__ import annotations

from collections.abc import Sequence

import onnx

from symbucket.errors import UnsupportedError

OWN_ATTRIBUTES = frozenset({"first_extreme", "padding_index", "unbiased_variance"})
"""Attributes that ONNX does not have: how ReduceMax, Gather and BatchNormalization train."""


def attribute_of(node: onnx.NodeProto, name: str) -> onnx.AttributeProto | None:
    """Return an attribute; None if the node does not have it."""
    return next((a for a in node.attribute if a.name == name), None)


def int_of(node: onnx.NodeProto, name: str, default: int) -> int:
    """Return an attribute that is a number."""
    attribute = attribute_of(node, name)
    return default if attribute is None else int(attribute.i)


def set_integers(node: onnx.NodeProto, **values: int) -> None:
    """Give a node attributes that are numbers, in place of those that it has."""
    rest = [a for a in node.attribute if a.name not in values]
    del node.attribute[:]
    node.attribute.extend(rest)
    node.attribute.extend(onnx.helper.make_attribute(n, v) for n, v in values.items())


def ints_of(node: onnx.NodeProto, name: str) -> Sequence[int]:
    """Return an attribute that is a list of numbers; an empty one if the node does not have it."""
    attribute = attribute_of(node, name)
    return () if attribute is None else list(attribute.ints)


def graph_of(node: onnx.NodeProto, name: str) -> onnx.GraphProto:
    """Return an attribute that is a body."""
    attribute = attribute_of(node, name)
    if attribute is None:
        raise UnsupportedError(f"it has no {name}")
    return attribute.g
