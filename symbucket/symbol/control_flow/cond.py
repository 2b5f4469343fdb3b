"""``cond``: one of two functions, chosen by a number that the network computes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import onnx_ir as ir

from symbucket.errors import InvalidArgumentError, ShapeError
from symbucket.ir import shape_of
from symbucket.ops.branches import choose
from symbucket.ops.record import Emitter, Operator, operator
from symbucket.ops.shape import unify
from symbucket.symbol.control_flow.capture import (
    Captured,
    Form,
    Function,
    apply_loop,
    call,
    capture,
    flatten,
    regroup,
    require_form,
    subgraph_scope,
)
from symbucket.symbol.subgraph import Subgraph
from symbucket.symbol.symbol import Symbol
from symbucket.types import InferredShapes, InferredTypes, PartialDType, PartialShape

FAMILY = "Loops and branches"


def cond(pred: Symbol, then_func: Function, else_func: Function, name: str = "cond") -> Any:
    """Compute what ``then_func`` returns if ``pred`` is not 0, else what ``else_func`` returns.

    Only the chosen branch runs (ONNX If), forward and backward: what the other one would make of
    the values, a NaN or a large product, neither matters nor costs time.

    Args:
        pred: one number, of shape (1,).
        then_func: takes nothing and returns a Symbol or a nested list of them.
        else_func: likewise, in the same form, of the same shapes and dtypes.
        name: begins the names of what stands in the branches.

    Raises:
        InvalidArgumentError: something is no Symbol, or the branches return different forms.
        UnsupportedError: a branch has auxiliary states; in training, or draws random numbers.
    """
    if not isinstance(pred, Symbol) or len(pred) != 1:
        raise InvalidArgumentError(f"cond: pred must be a Symbol of one output, not {pred!r}")
    parts = [_captured("pred", lambda: pred, f"{name}_pred")]
    parts.append(_captured("then_func", then_func, f"{name}_then"))
    parts.append(_captured("else_func", else_func, f"{name}_else"))
    form = parts[1][1]
    require_form("cond", "the results of else_func", parts[2][1], form)
    entries = list(dict.fromkeys(entry for part, _ in parts for entry in part.outside))
    locs = tuple(tuple(entries.index(entry) for entry in part.outside) for part, _ in parts)
    graphs = tuple(part.graph for part, _ in parts)
    op = Cond(pred=graphs[0], then=graphs[1], otherwise=graphs[2], locs=locs)
    return regroup(apply_loop(op, "_cond", entries), form)


def _captured(what: str, function: Function, name: str) -> tuple[Captured, Form]:
    with subgraph_scope(name) as mark:
        outputs, form = flatten(f"cond: what {what} returns", call("cond", function))
        if not outputs:
            raise InvalidArgumentError(f"cond: {what} returns no Symbol")
        return capture("cond", mark, [], outputs), form


@operator("_cond")
class Cond(Operator):
    """One of two graphs, chosen by a third; ``sym.contrib.cond`` makes it.

    ``locs`` says for each of the three which inputs its variables stand for.
    """

    holds_graphs = True
    pred: Subgraph
    then: Subgraph
    otherwise: Subgraph
    locs: tuple[tuple[int, ...], ...]

    def arguments(self) -> tuple[str, ...]:
        count = 1 + max((i for locs in self.locs for i in locs), default=-1)
        return tuple(f"outside{i}" for i in range(count))

    def outputs(self) -> tuple[str, ...]:
        count = len(self.then.heads)
        return ("output",) if count == 1 else tuple(f"output{i}" for i in range(count))

    def subgraphs(self) -> Sequence[Subgraph]:
        return (self.pred, self.then, self.otherwise)

    def attributes(self) -> dict[str, Any]:
        lists = [
            [locs[i] for i in graph.arguments()] for graph, locs in zip(self.subgraphs(), self.locs)
        ]
        return {
            "cond_input_locs": lists[0],
            "then_input_locs": lists[1],
            "else_input_locs": lists[2],
            "num_args": len(self.arguments()) + 3,
            "num_outputs": len(self.then.heads),
        }

    @classmethod
    def read(cls, locs: Mapping[str, Any], graphs: Sequence[Subgraph]) -> Cond:
        """Return the operator of a symbol file, whose attributes are parsed."""
        pred, then, otherwise = graphs
        places = tuple(tuple(locs[f"{kind}_input_locs"]) for kind in ("cond", "then", "else"))
        if any(len(p) != len(graph.variables) for p, graph in zip(places, graphs)):
            raise ValueError(f"the locations {places} are not the inputs of the graphs")
        return cls(pred=pred, then=then, otherwise=otherwise, locs=places)

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        for graph, locs in zip(self.subgraphs(), self.locs):
            results: list[PartialShape] = [None] if graph is self.pred else outs
            variables, heads = graph.infer_shape([ins[i] for i in locs], results)
            for i, shape in zip(locs, variables):
                ins[i] = unify(ins[i], shape)
            if graph is not self.pred:
                outs = heads
        return ins, outs

    def infer_type(self, ins: list[PartialDType], outs: list[PartialDType]) -> InferredTypes:
        for graph, locs in zip(self.subgraphs(), self.locs):
            variables, heads = graph.infer_type([ins[i] for i in locs])
            for i, dtype in zip(locs, variables):
                ins[i] = ins[i] or dtype
            if graph is not self.pred:
                outs = [a or b for a, b in zip(outs, heads)]
        return ins, outs

    def emit(self, g: Emitter, *inputs: ir.Value) -> Sequence[ir.Value]:
        pred, then, otherwise = ([inputs[i] for i in locs] for locs in self.locs)
        (condition,) = self.pred.emit(g, pred, [0])
        if math.prod(shape_of(condition)) != 1:
            raise ShapeError(f"cond: pred has shape {shape_of(condition)}; it must be one number")
        used = list(dict.fromkeys([*then, *otherwise]))

        def branch(graph: Subgraph, values: Sequence[ir.Value]) -> Any:
            places = [used.index(value) for value in values]
            return lambda inside: graph.emit(g, [inside[i] for i in places], [0])

        return choose(
            g, "cond", condition, used, branch(self.then, then), branch(self.otherwise, otherwise)
        )
