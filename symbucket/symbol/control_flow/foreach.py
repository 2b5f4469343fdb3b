"""``foreach``: a function over the slices of sequences, with states from step to step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import onnx_ir as ir

from symbucket.errors import InvalidArgumentError, ShapeError
from symbucket.ir import shape_of
from symbucket.ops.loop_body import repeat
from symbucket.ops.record import Emitter, Operator, operator
from symbucket.ops.shape import unify
from symbucket.ops.step_numbers import numbers_of_steps
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
from symbucket.types import InferredShapes, InferredTypes, PartialDType, PartialShape

FAMILY = "Loops and branches"


def foreach(body: Function, data: Any, init_states: Any, name: str = "foreach") -> tuple[Any, Any]:
    """Run ``body`` for each slice of ``data`` along axis 0.

    The steps become one loop (ONNX Scan), whatever their number. What ``body`` reads from outside,
    parameters among it, is the same in every step; gradients flow to all of it. Inside another loop
    or branch the steps are written one by one.

    Args:
        body: takes slices and states, returns (outputs, new states). Each is a Symbol or a nested
            list of Symbols, slices and states in the form of ``data`` and ``init_states``.
        data: (steps, ...), a Symbol or a nested list of them.
        init_states: the states before the first step.
        name: begins the names of what stands in the body.

    Returns:
        The outputs of all steps, stacked along a new axis 0, and the states after the last step.

    Raises:
        InvalidArgumentError: something is no Symbol, or new states have another form.
        UnsupportedError: ``body`` has auxiliary states.
    """
    flat_data, data_form = flatten("foreach: data", data)
    states, states_form = flatten("foreach: init_states", init_states)
    if not flat_data:
        raise InvalidArgumentError("foreach needs data to take slices of; for none, use while_loop")
    with subgraph_scope(name) as mark:
        arguments = placeholders([*flat_data, *states], set())
        slices, before = arguments[: len(flat_data)], arguments[len(flat_data) :]
        result = call("foreach", body, regroup(slices, data_form), regroup(before, states_form))
        if not isinstance(result, (tuple, list)) or len(result) != 2:
            raise InvalidArgumentError(
                f"foreach: the function must return (outputs, new states), not {result!r}"
            )
        outputs, outputs_form = flatten("foreach: what the function outputs", result[0])
        after, after_form = flatten("foreach: what the function returns as states", result[1])
        require_form("foreach", "new states", after_form, states_form)
        captured = capture("foreach", mark, arguments, [*outputs, *after])
    op = Foreach(body=captured.graph, num_data=len(flat_data), num_states=len(states))
    heads = tuple(s.heads[0] for s in (*flat_data, *states))
    results = apply_loop(op, "_foreach", (*heads, *captured.outside))
    count = len(outputs)
    return regroup(results[:count], outputs_form), regroup(results[count:], states_form)


@operator("_foreach")
class Foreach(Operator):
    """A function for each slice of the first inputs; ``sym.contrib.foreach`` makes it.

    Inputs are data (steps, ...), states, and what the function reads from outside; outputs are
    stacks (steps, ...), then the states after the last step.
    """

    holds_graphs = True
    random = True  # where the function draws
    body: Subgraph
    num_data: int
    num_states: int

    @property
    def _num_stacks(self) -> int:
        return len(self.body.heads) - self.num_states

    @property
    def _carried(self) -> list[tuple[int, int]]:
        return [(self.num_data + i, self._num_stacks + i) for i in range(self.num_states)]

    def arguments(self) -> tuple[str, ...]:
        count = len(self.body.variables) - self.num_data - self.num_states
        kinds = (("data", self.num_data), ("state", self.num_states), ("outside", count))
        return tuple(f"{kind}{i}" for kind, number in kinds for i in range(number))

    def outputs(self) -> tuple[str, ...]:
        count = len(self.body.heads)
        return ("output",) if count == 1 else tuple(f"output{i}" for i in range(count))

    def subgraphs(self) -> Sequence[Subgraph]:
        return (self.body,)

    def draws(self, training: bool) -> int:
        return self.body.draws(training)

    def attributes(self) -> dict[str, Any]:
        order = self.body.arguments()
        place = {variable: i for i, variable in enumerate(order)}
        first, last = self.num_data, self.num_data + self.num_states
        numbers = range(len(self.body.variables))
        return {
            "in_data_locs": [place.get(i, -1) for i in numbers[:first]],
            "in_state_locs": [place.get(i, -1) for i in numbers[first:last]],
            "remain_locs": [place.get(i, -1) for i in numbers[last:]],
            "num_args": len(numbers) + 1,
            "num_out_data": self._num_stacks,
            "num_outputs": len(self.body.heads),
        }

    @classmethod
    def read(cls, locs: Mapping[str, Any], graphs: Sequence[Subgraph]) -> Foreach:
        """Return the operator of a symbol file, whose attributes are parsed."""
        (body,) = graphs
        order = [*locs["in_data_locs"], *locs["in_state_locs"], *locs["remain_locs"]]
        if sorted(order) != list(range(len(body.variables))):
            raise ValueError(f"the locations {order} are not the inputs of the body")
        body = Subgraph(tuple(body.variables[i] for i in order), body.heads)
        return cls(
            body=body, num_data=len(locs["in_data_locs"]), num_states=len(locs["in_state_locs"])
        )

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        steps: PartialShape = None
        for shape in [*ins[: self.num_data], *outs[: self._num_stacks]]:
            if shape == ():
                raise ShapeError("data of no axes has no slices")
            steps = unify(steps, None if shape is None else shape[:1])
        inner = [None if s is None else s[1:] for s in ins[: self.num_data]]
        results = [None if s is None else s[1:] for s in outs[: self._num_stacks]]
        variables, heads = self.body.infer_shape(
            [*inner, *ins[self.num_data :]], [*results, *outs[self._num_stacks :]], self._carried
        )

        def stacked(shape: PartialShape) -> PartialShape:
            return None if shape is None else ((steps or (0,))[0], *shape)

        count = self._num_stacks
        return (
            [*map(stacked, variables[: self.num_data]), *variables[self.num_data :]],
            [*map(stacked, heads[:count]), *heads[count:]],
        )

    def infer_type(self, ins: list[PartialDType], outs: list[PartialDType]) -> InferredTypes:
        variables, heads = self.body.infer_type(ins, self._carried)
        return [a or b for a, b in zip(ins, variables)], [a or b for a, b in zip(outs, heads)]

    def emit(self, g: Emitter, *inputs: ir.Value) -> Sequence[ir.Value]:
        data, states = inputs[: self.num_data], inputs[self.num_data :][: self.num_states]
        outside = inputs[self.num_data + self.num_states :]
        first, count = g.draw_numbers, self._num_stacks

        def step(
            states: Sequence[ir.Value], slices: Sequence[ir.Value], steps: Sequence[int]
        ) -> tuple[list[ir.Value], list[ir.Value]]:
            numbers = numbers_of_steps(first, steps)
            results = self.body.emit(g, [*slices, *states, *outside], numbers)
            return results[count:], results[:count]

        after, stacks = repeat(g, shape_of(inputs[0])[0], states, data, step)
        return [*stacks, *after]
