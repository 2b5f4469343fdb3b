"""Declaration of a pass: name, stages, options, and what it requires and ensures.

A pass is a function that takes a graph in topological order, changes it in place, leaves it in
topological order and returns the number of changes. Its name is that of the function and of the
file, with hyphens. ``symbucket/compiler/pipeline.py`` says when it runs.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Literal

import onnx_ir as ir

from symbucket.compiler.options import OPTIONAL_PASSES, CompilerOptions
from symbucket.compiler.target import CPU, Target
from symbucket.ir import OWN_DOMAIN

PassStage = Literal["forward", "joint", "final"]


class Property(Enum):
    """Something that holds for a graph; passes say which properties they require and ensure."""

    NO_DEAD_NODES = "an output depends on every node"
    STANDARD_ONNX = "no node is of symbucket's own domain"

    def violations(self, graph: ir.Graph) -> list[str]:
        """Return the names of the nodes for which it does not hold."""
        violates = _VIOLATIONS[self]
        return [node.name or node.op_type for node in graph if violates(node)]


def _is_dead(node: ir.Node) -> bool:
    return not any(out.uses() or out.is_graph_output() for out in node.outputs)


_VIOLATIONS: dict[Property, Callable[[ir.Node], bool]] = {
    Property.NO_DEAD_NODES: _is_dead,
    Property.STANDARD_ONNX: lambda node: node.domain == OWN_DOMAIN,
}


@dataclass(frozen=True)
class PassContext:
    """Input of a pass besides its graph: the user's options and the model's target."""

    options: CompilerOptions = field(default_factory=CompilerOptions)
    target: Target = CPU


@dataclass(frozen=True)
class Pass:
    """A declared pass; call it with a graph and, unless the defaults will do, a context.

    Attributes:
        name: the function's name with hyphens.
        function: takes the graph, and the context if it needs one; returns the number of changes.
        stages: the stages in which it may run.
        required: the models would be wrong without it, so it cannot be switched off.
        options: the fields of CompilerOptions that it reads.
        introduces: ONNX operators that the target must have, or else the pass does not run.
        requires: properties of the graph that it relies on.
        ensures: properties that hold afterwards.
    """

    name: str
    function: Callable[..., int]
    stages: tuple[PassStage, ...]
    required: bool = False
    options: tuple[str, ...] = ()
    introduces: tuple[str, ...] = ()
    requires: tuple[Property, ...] = ()
    ensures: tuple[Property, ...] = ()
    takes_context: bool = False

    def __call__(self, graph: ir.Graph, context: PassContext | None = None) -> int:
        """Run it; returns the number of changes."""
        if self.takes_context:
            return self.function(graph, context or PassContext())
        return self.function(graph)

    def runs(self, context: PassContext) -> bool:
        """Return whether it takes part in a compilation with these options for this target."""
        enabled = self.required or self.name not in context.options.disable
        return enabled and context.target.runs(self.introduces)


PASSES: dict[str, Pass] = {}
"""Every declared pass by name."""


def graph_pass(
    *stages: PassStage,
    required: bool = False,
    options: tuple[str, ...] = (),
    introduces: tuple[str, ...] = (),
    requires: tuple[Property, ...] = (),
    ensures: tuple[Property, ...] = (),
) -> Callable[[Callable[..., int]], Pass]:
    """Declare the decorated function a pass that may run in ``stages``.

    The keywords are the attributes of ``Pass``. The function takes the graph; one that reads
    options or asks for the target takes a ``PassContext`` as well.
    """

    def declare(function: Callable[..., int]) -> Pass:
        name = function.__name__.replace("_", "-")
        takes_context = len(inspect.signature(function).parameters) > 1
        one = Pass(
            name, function, stages, required, options, introduces, requires, ensures, takes_context
        )
        PASSES[name] = one
        if not required:
            OPTIONAL_PASSES.add(name)
        return one

    return declare
