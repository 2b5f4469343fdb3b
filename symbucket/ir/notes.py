"""Typed notes: what the compiler knows of graphs and nodes beyond ONNX.

Notes are kept in the ``meta`` that onnx-ir gives every object, and never written to a model. Only
this file knows how.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from enum import Enum
from typing import TypeVar

import onnx_ir as ir

_KEY = "symbucket"


class Phase(Enum):
    """The part of a training step that a node belongs to."""

    FORWARD = "forward"
    BACKWARD = "backward"


@dataclass(slots=True, eq=False)
class GraphNotes:
    """Notes on a graph.

    Attributes:
        names: how often each name was asked for; the builder makes them unique by it.
        constants: shared constants by content.
        size_bounds: the largest value of each size that is known only at run time, by its name.
        enclosing_node: the node that runs the graph as its body.
        root: of a body the model's graph, which has its names and constants.
    """

    names: dict[str, int] = field(default_factory=dict)
    constants: dict[Hashable, ir.Value] = field(default_factory=dict)
    size_bounds: dict[str, int] = field(default_factory=dict)
    enclosing_node: ir.Node | None = None
    root: ir.Graph | None = None


@dataclass(slots=True, eq=False)
class NodeNotes:
    """Notes on a node.

    Attributes:
        phase: the part of the training step.
    """

    phase: Phase = Phase.FORWARD


Notes = TypeVar("Notes", GraphNotes, NodeNotes)


def graph_notes(graph: ir.Graph) -> GraphNotes:
    """Return the notes of a graph, to read and to write."""
    return _notes(graph, GraphNotes)


def node_notes(node: ir.Node) -> NodeNotes:
    """Return the notes of a node, to read and to write."""
    return _notes(node, NodeNotes)


def _notes(of: ir.Graph | ir.Node, kind: type[Notes]) -> Notes:
    notes = of.meta.get(_KEY)
    if notes is None:
        notes = of.meta[_KEY] = kind()
    assert isinstance(notes, kind)
    return notes


def phase_of(node: ir.Node) -> Phase:
    """Return the part of the training step that a node belongs to."""
    notes: NodeNotes | None = node.meta.get(_KEY)
    return Phase.FORWARD if notes is None else notes.phase


def set_phase(node: ir.Node, phase: Phase) -> None:
    """Note which part of the training step a node belongs to."""
    if phase is not Phase.FORWARD or _KEY in node.meta:
        node_notes(node).phase = phase
