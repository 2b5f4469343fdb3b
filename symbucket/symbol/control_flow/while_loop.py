"""``while_loop``: a function repeated as long as a condition holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from symbucket.checks import check_integer
from symbucket.errors import InvalidArgumentError
from symbucket.ir import dtype_of, shape_of
from symbucket.ops.branches import choose
from symbucket.ops.loop_body import repeat
from symbucket.ops.record import Emitter, Operator, operator
from symbucket.ops.shape import unify
from symbucket.symbol.control_flow.capture import (
    Function,
    apply_loop,
    call,
    capture,
    flatten,
    placeholders,
    regroup,
    require_form,
    subgraph_scope,
)
from symbucket.symbol.subgraph import Subgraph
from symbucket.symbol.symbol import Symbol
from symbucket.types import InferredShapes, InferredTypes, PartialDType, PartialShape

FAMILY = "Loops and branches"


def while_loop(
    cond: Function,
    func: Function,
    loop_vars: Any,
    max_iterations: int | None = None,
    name: str = "while_loop",
) -> tuple[Any, Any]:
    """Repeat ``func`` as long as ``cond`` holds, at most ``max_iterations`` times.

    A loop of ``max_iterations`` steps (ONNX Scan), in which a branch (If) does nothing once the
    condition has failed: the sizes of all values are known beforehand, as plans and gradients need
    them, and steps that are not taken are not computed.

    Args:
        cond: takes the loop variables one by one, returns one number; 0 ends the loop.
        func: takes the loop variables, returns (outputs, new loop variables).
        loop_vars: their values before the first step, a Symbol or a nested list of them.
        max_iterations: the most steps; it must be given.
        name: begins the names of what stands in the functions.

    Returns:
        The outputs, stacked along a new axis 0 of size ``max_iterations``, 0 where the loop had
        ended (MXNet leaves what was in memory); and the loop variables after the last step.

    Raises:
        InvalidArgumentError: no ``max_iterations``, something is no Symbol, or loop variables come
            back in another form.
        UnsupportedError: a function has auxiliary states; in training, or draws random numbers.
    """
    if max_iterations is None:
        raise InvalidArgumentError("while_loop: max_iterations must be given; outputs are so long")
    steps = check_integer(max_iterations, "while_loop: max_iterations", 1)
    flat, form = flatten("while_loop: loop_vars", loop_vars)
    if not flat:
        raise InvalidArgumentError("while_loop needs one or more loop variables")

    def arguments(symbols: Sequence[Symbol]) -> list[Any]:
        grouped = regroup(symbols, form)
        return grouped if isinstance(grouped, list) else [grouped]

    with subgraph_scope(f"{name}_cond") as mark:
        symbols = placeholders(flat, set())
        result = call("while_loop", cond, *arguments(symbols))
        if not isinstance(result, Symbol) or len(result) != 1:
            raise InvalidArgumentError(
                f"while_loop: cond must return a Symbol of one number, not {result!r}"
            )
        condition = capture("while_loop", mark, symbols, [result])
    with subgraph_scope(f"{name}_func") as mark:
        symbols = placeholders(flat, set())
        result = call("while_loop", func, *arguments(symbols))
        if not isinstance(result, (tuple, list)) or len(result) != 2:
            raise InvalidArgumentError(
                f"while_loop: func must return (outputs, new loop variables), not {result!r}"
            )
        outputs, outputs_form = flatten("while_loop: what func outputs", result[0])
        after, after_form = flatten("while_loop: the new loop variables", result[1])
        if form == 0 and after_form == [0]:  # one variable may come back in a list
            after_form = form
        require_form("while_loop", "new loop variables", after_form, form)
        body = capture("while_loop", mark, symbols, [*outputs, *after])
    # What is read from outside stays what it was, also if a loop variable began as the same.
    variables = [(True, symbol.heads[0], i) for i, symbol in enumerate(flat)]
    parts = [
        (part.graph, [*variables, *((False, entry, 0) for entry in part.outside)])
        for part in (condition, body)
    ]
    # In the order in which the condition, then the function read them, as MXNet has it.
    read = [reads[i] for graph, reads in parts for i in graph.arguments()]
    inputs = list(dict.fromkeys([*read, *variables]))
    locs = [tuple(map(inputs.index, reads)) for _, reads in parts]
    op = WhileLoop(
        cond=condition.graph,
        func=body.graph,
        cond_locs=locs[0],
        func_locs=locs[1],
        var_locs=tuple(map(inputs.index, variables)),
        max_iterations=steps,
    )
    heads = [entry for _, entry, _ in inputs]
    results = apply_loop(op, "_while_loop", heads)
    stacks = len(outputs)
    return regroup(results[:stacks], outputs_form), regroup(results[stacks:], form)


@operator("_while_loop")
class WhileLoop(Operator):
    """A graph repeated as long as another one holds; ``sym.contrib.while_loop`` makes it.

    ``cond_locs`` and ``func_locs`` say which inputs the variables of the two graphs stand for,
    ``var_locs`` which inputs are the loop variables. Outputs are stacks (max_iterations, ...), then
    the loop variables after the last step.
    """

    holds_graphs = True
    cond: Subgraph
    func: Subgraph
    cond_locs: tuple[int, ...]
    func_locs: tuple[int, ...]
    var_locs: tuple[int, ...]
    max_iterations: int

    @property
    def _num_stacks(self) -> int:
        return len(self.func.heads) - len(self.var_locs)

    @property
    def _carried(self) -> list[tuple[int, int]]:
        return [
            (self.func_locs.index(place), self._num_stacks + i)
            for i, place in enumerate(self.var_locs)
            if place in self.func_locs
        ]

    def arguments(self) -> tuple[str, ...]:
        count = 1 + max((*self.cond_locs, *self.func_locs, *self.var_locs))
        return tuple(
            f"var{self.var_locs.index(i)}" if i in self.var_locs else f"outside{i}"
            for i in range(count)
        )

    def outputs(self) -> tuple[str, ...]:
        count = len(self.func.heads)
        return ("output",) if count == 1 else tuple(f"output{i}" for i in range(count))

    def subgraphs(self) -> Sequence[Subgraph]:
        return (self.cond, self.func)

    def attributes(self) -> dict[str, Any]:
        order = self.func.arguments()
        func_locs = [self.func_locs[i] for i in order]
        return {
            "cond_input_locs": [self.cond_locs[i] for i in self.cond.arguments()],
            "func_input_locs": func_locs,
            "func_var_locs": [func_locs.index(i) if i in func_locs else -1 for i in self.var_locs],
            "max_iterations": self.max_iterations,
            "num_args": len(self.arguments()) + 2,
            "num_out_data": self._num_stacks,
            "num_outputs": len(self.func.heads),
        }

    @classmethod
    def read(cls, locs: Mapping[str, Any], graphs: Sequence[Subgraph]) -> WhileLoop:
        """Return the operator of a symbol file, whose attributes are parsed."""
        cond, func = graphs
        cond_locs, func_locs = tuple(locs["cond_input_locs"]), tuple(locs["func_input_locs"])
        if len(cond_locs) != len(cond.variables) or len(func_locs) != len(func.variables):
            raise ValueError("the locations are not the inputs of the graphs")
        return cls(
            cond=cond,
            func=func,
            cond_locs=cond_locs,
            func_locs=func_locs,
            var_locs=tuple(func_locs[i] for i in locs["func_var_locs"]),
            max_iterations=check_integer(locs["max_iterations"], "max_iterations", 1),
        )

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        count = self._num_stacks
        results = [None if s is None else s[1:] for s in outs[:count]]
        for i, place in enumerate(self.var_locs):
            ins[place] = unify(ins[place], outs[count + i])
        variables, _ = self.cond.infer_shape([ins[i] for i in self.cond_locs], [None])
        for i, shape in zip(self.cond_locs, variables):
            ins[i] = unify(ins[i], shape)
        variables, heads = self.func.infer_shape(
            [ins[i] for i in self.func_locs],
            [*results, *(ins[i] for i in self.var_locs)],
            self._carried,
        )
        for i, shape in zip(self.func_locs, variables):
            ins[i] = unify(ins[i], shape)
        stacks = [None if s is None else (self.max_iterations, *s) for s in heads[:count]]
        return ins, [*stacks, *heads[count:]]

    def infer_type(self, ins: list[PartialDType], outs: list[PartialDType]) -> InferredTypes:
        variables, heads = self.func.infer_type([ins[i] for i in self.func_locs], self._carried)
        for i, dtype in zip(self.func_locs, variables):
            ins[i] = ins[i] or dtype
        return ins, [a or b for a, b in zip(outs, heads)]

    def emit(self, g: Emitter, *inputs: ir.Value) -> Sequence[ir.Value]:
        def step(
            states: Sequence[ir.Value], slices: Sequence[ir.Value], steps: Sequence[int]
        ) -> tuple[list[ir.Value], list[ir.Value]]:
            return self._step(g, inputs, states)

        states = [g.const(np.array([True])), *(inputs[i] for i in self.var_locs)]
        after, stacks = repeat(g, self.max_iterations, states, [], step)
        return [*stacks, *after[1:]]

    def _step(
        self, g: Emitter, inputs: Sequence[ir.Value], states: Sequence[ir.Value]
    ) -> tuple[list[ir.Value], list[ir.Value]]:
        """Return whether the loop went on with its variables after a step, and its outputs."""
        is_running, *variables = states
        values = list(inputs)
        for place, value in zip(self.var_locs, variables):
            values[place] = value
        (condition,) = self.cond.emit(g, [values[i] for i in self.cond_locs], [0])
        condition = g.cast(g.reshape(condition, (1,)), ir.DataType.BOOL)
        is_running = g.op("And", is_running, condition)
        read = [values[i] for i in self.func_locs]
        inside = list(dict.fromkeys([*read, *variables]))
        places = [inside.index(value) for value in read]
        own = [inside.index(value) for value in variables]
        count = self._num_stacks
        shapes: list[tuple[tuple[int, ...], ir.DataType]] = []

        def step(given: Sequence[ir.Value]) -> Sequence[ir.Value]:
            results = self.func.emit(g, [given[i] for i in places], [0])
            shapes.extend((shape_of(v), dtype_of(v)) for v in results[:count])
            return results

        def stay(given: Sequence[ir.Value]) -> Sequence[ir.Value]:
            zeros = [g.filled(shape, 0.0, dtype) for shape, dtype in shapes]
            return [*zeros, *(given[i] for i in own)]

        results = choose(g, "while_loop", is_running, inside, step, stay)
        return [is_running, *results[count:]], results[:count]
