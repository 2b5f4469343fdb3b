"""The gradient of a loop is a loop that runs the other way.

Adjoints of the carried values are carried from the last step to the first one. What the reverse
body needs of the forward body is a stacked output of the forward loop (a stash). The gradient of an
invariant is a sum over all steps; if it is a product in every step, it is one product of stacks
(``sum_t a_t^T b_t = (stack a)^T (stack b)``) that leaves the loop, and so is a sum of rows.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from symbucket.compiler.autodiff.backpropagate import Adjoints, backpropagate
from symbucket.compiler.autodiff.flow import FLOATS, active_values
from symbucket.compiler.autodiff.rules.step_sums import StepSums
from symbucket.compiler.rewrite.remove_dead_nodes import remove_dead_nodes
from symbucket.errors import UnsupportedError
from symbucket.ir import (
    Builder,
    append_scan,
    attr,
    body_of,
    dtype_of,
    info,
    new_body,
    output_of_body,
    read_directions,
    reads,
    shape_of,
    stack_directions,
    stack_output,
    states_of,
    steps_of,
)

Grads = Sequence[ir.Value | None]
Wanted = Sequence[bool]


def _scan(g: Builder, node: ir.Node, grads: Grads, wanted: Wanted) -> Grads:
    for name in ("scan_input_axes", "scan_output_axes"):
        if any(attr(node, name, ())):
            raise UnsupportedError(f"{node.name}: the gradient of Scan needs {name}=0")
    if any(grad is not None and out.dtype not in FLOATS for grad, out in zip(grads, node.outputs)):
        raise UnsupportedError(
            f"{node.name}: a gradient cannot pass integers of a QuantizeLinear that leave a loop"
        )
    return _Reverse(g, node, grads, wanted).gradients()


info("Scan").gradient = _scan


class _Reverse:
    """Builds the reverse loop of one Scan."""

    def __init__(self, g: Builder, node: ir.Node, grads: Grads, wanted: Wanted) -> None:
        body = body_of(node)
        assert body is not None
        self._g, self._scan, self._body, self._grads = g, node, body, grads
        self._carried = states_of(node)
        self._values = reads(node)
        self._wanted = {v for v, flag in zip(self._values, wanted) if flag and v is not None}
        self._flags = wanted
        self._in_directions, self._out_directions = read_directions(node), stack_directions(node)
        self._direction = (self._out_directions or self._in_directions)[0]
        self._inner = {*body.inputs, *(out for one in body for out in one.outputs)}
        self._reverse = new_body(g.root, f"grad/{body.name}")
        self._slices: dict[tuple[ir.Value, int], ir.Value] = {}  # stack and direction -> body input
        self._stacks: dict[ir.Value, tuple[ir.Value, int]] = {}  # forward value -> stack, direction

    def gradients(self) -> Grads:
        """Return one gradient for each value that the Scan, or its body, reads."""
        g, carried = self._g, self._carried
        states = self._active_states()
        if any(self._body.inputs[i].dtype not in FLOATS for i in states):
            raise UnsupportedError(
                f"{self._scan.name}: a gradient cannot pass integers of a QuantizeLinear that are "
                "carried from step to step"
            )
        invariants = [
            v for v in dict.fromkeys(self._values[len(self._scan.inputs) :]) if v in self._wanted
        ]
        sequences = [
            i
            for i, v in enumerate(self._scan.inputs)
            if i >= carried and self._flags[i] and v is not None and v.dtype in FLOATS
        ]
        adjoints = [self._placeholder("adjoint", self._body.inputs[i]) for i in states]
        self._adjoints = set(adjoints)
        pending: Adjoints = {}
        for i, adjoint in zip(states, adjoints):
            pending.setdefault(self._body.outputs[i], []).append(adjoint)
        for i in range(carried, len(self._scan.outputs)):
            grad = self._grads[i]
            if grad is not None:
                out = self._body.outputs[i]
                pending.setdefault(out, []).append(
                    self._slice(grad, self._out_directions[i - carried], out)
                )
        inputs = [self._body.inputs[i] for i in (*states, *sequences)]
        outputs = list(dict.fromkeys(pending))
        with g.inside(self._reverse):
            results = backpropagate(g, list(self._body), outputs, pending, [*inputs, *invariants])
            for i in states:
                one = self._body.inputs[i]
                if one not in results:
                    results[one] = g.filled(shape_of(one), 0.0, dtype_of(one))
        sums = StepSums(g, self._reverse, steps_of(self._scan), self._is_varying)
        parts = {v: sums.add(results[v]) for v in invariants if v in results}
        return self._loop(states, adjoints, sequences, results, sums, parts)

    def _loop(
        self,
        states: list[int],
        adjoints: list[ir.Value],
        sequences: list[int],
        results: dict[ir.Value, ir.Value],
        sums: StepSums,
        parts: dict[ir.Value, int],
    ) -> Grads:
        """Put the reverse loop together; returns its results in the order of what is read."""
        inputs = self._body.inputs
        initial = [*self._initial_adjoints(states), *sums.initial()]
        for one in [*(results[inputs[i]] for i in states), *sums.carried()]:
            self._reverse.outputs.append(self._computed_in_reverse(one))
        differentiated = [i for i in sequences if inputs[i] in results]
        stacks, directions = self._return_stacks(differentiated, results, sums)
        outs = self._append(initial, [*adjoints, *sums.accumulators()], directions)
        gradients: dict[ir.Value | int | None, ir.Value] = dict(zip(states, outs))
        gradients.update(zip(differentiated, outs[len(initial) :]))

        def stack_of(value: ir.Value) -> ir.Value:
            """The values of all steps, in this loop's one direction."""
            number = stacks.get(value)
            return self._stack_in_direction(value) if number is None else outs[number]

        finals = dict(zip(sums.accumulators(), outs[len(states) :]))
        for value, part in parts.items():
            gradients[value] = sums.total(part, stack_of, finals)
        count = len(self._scan.inputs)
        keys = [*range(count), *self._values[count:]]
        return [gradients.pop(key, None) if flag else None for key, flag in zip(keys, self._flags)]

    def _initial_adjoints(self, states: list[int]) -> list[ir.Value]:
        """Return the gradients of the last states: zeros where there are none."""
        initial = []
        for i in states:
            grad, like = self._grads[i], self._body.inputs[i]
            if grad is None:
                grad = self._g.filled(shape_of(like), 0.0, dtype_of(like))
            initial.append(grad)
        return initial

    def _return_stacks(
        self, differentiated: list[int], results: dict[ir.Value, ir.Value], sums: StepSums
    ) -> tuple[dict[ir.Value, int], list[int]]:
        """Let the reverse body return the gradients of sequences, and what sums are made of.

        Returns the numbers of the outputs that sums read, and the directions of all stacks.
        """
        reverse, backwards = self._reverse, 1 - self._direction
        directions: list[int] = []
        stacks: dict[ir.Value, int] = {}
        for i in differentiated:
            value = results[self._body.inputs[i]]
            directions.append(1 - self._in_directions[i - self._carried])
            if directions[-1] == backwards:
                stacks.setdefault(value, len(reverse.outputs))
            reverse.outputs.append(self._computed_in_reverse(value))
        for value in sums.stacked():
            if value not in stacks and self._is_own(value):
                stacks[value] = len(reverse.outputs)
                directions.append(backwards)
                reverse.outputs.append(self._computed_in_reverse(value))
        return stacks, directions

    def _append(
        self, initial: list[ir.Value], carried: list[ir.Value], directions: list[int]
    ) -> list[ir.Value]:
        """Append the reverse loop, whose body has all its outputs; return those of the loop."""
        remove_dead_nodes(self._reverse)
        self._read_stash()
        used = [(key, one) for key, one in self._slices.items() if one.uses()]
        if not used:
            used = [self._count()]
        self._reverse.inputs.extend([*carried, *(one for _, one in used)])
        return append_scan(
            self._g,
            self._reverse,
            initial,
            [stack for (stack, _), _ in used],
            [1 - direction for (_, direction), _ in used],
            directions,
        )

    def _active_states(self) -> list[int]:
        """The carried values that what is wanted takes part in, in this step or an earlier one."""
        inputs, outputs, carried = self._body.inputs, self._body.outputs, self._carried
        active = {v for v in self._wanted if v.dtype in FLOATS}
        active |= {
            inner
            for outer, inner in zip(self._scan.inputs, inputs)
            if outer in active and inner.dtype in FLOATS
        }
        while True:
            count = len(active)
            active |= active_values(list(self._body), active)
            active.update(inputs[i] for i in range(carried) if outputs[i] in active)
            if len(active) == count:
                return [i for i in range(carried) if inputs[i] in active]

    # Values of the reverse body ------------------------------------------------------------------

    def _placeholder(self, kind: str, like: ir.Value) -> ir.Value:
        name = self._g.unique(f"grad/{self._scan.name}/{kind}")
        return ir.Value(name=name, shape=ir.Shape(shape_of(like)), type=like.type)

    def _slice(self, stack: ir.Value, direction: int, like: ir.Value) -> ir.Value:
        """The step's slice of a stack whose first entry is that of the first step, or the last."""
        key = stack, direction
        if key not in self._slices:
            self._slices[key] = self._placeholder("slice", like)
        return self._slices[key]

    def _computed_in_reverse(self, value: ir.Value) -> ir.Value:
        return output_of_body(self._g, self._reverse, value)

    def _is_varying(self, value: ir.Value) -> bool:
        """Return whether a value that the reverse body reads differs from step to step."""
        return self._is_own(value) or value in self._inner or value in self._slices.values()

    def _is_own(self, value: ir.Value) -> bool:
        """Return whether the reverse loop carries or makes a value."""
        producer = value.producer()
        is_computed = producer is not None and producer.graph is self._reverse
        return is_computed or value in self._adjoints

    def _read_stash(self) -> None:
        """Let the reverse body read slices of stacks in place of values of the forward body."""
        for node in self._reverse:
            for i, value in enumerate(node.inputs):
                if value is not None and value in self._inner:
                    stack, direction = self._stack(value)
                    node.replace_input_with(i, self._slice(stack, direction, value))

    def _count(self) -> tuple[tuple[ir.Value, int], ir.Value]:
        """Something to read in every step: the number of steps is taken from it."""
        stack = self._g.filled((steps_of(self._scan), 1), 0.0, ir.DataType.FLOAT)
        one = ir.Value(
            name=self._g.unique("count"), shape=ir.Shape((1,)), type=ir.TensorType(dtype_of(stack))
        )
        return (stack, 0), one

    # Stacks of forward values --------------------------------------------------------------------

    def _stack(self, value: ir.Value) -> tuple[ir.Value, int]:
        """The stack of a forward value with its direction; a new output if there is none."""
        if value not in self._stacks:
            self._stacks[value] = self._existing_stack(value) or (
                stack_output(self._g, self._scan, value, self._direction),
                self._direction,
            )
        return self._stacks[value]

    def _existing_stack(self, value: ir.Value) -> tuple[ir.Value, int] | None:
        carried = self._carried
        for i, inner in enumerate(self._body.inputs[carried:]):
            sequence = self._scan.inputs[carried + i]
            if inner is value and sequence is not None:
                return sequence, self._in_directions[i]
        for i, inner in enumerate(self._body.outputs[carried:]):
            if (inner is value or _is_copy(inner, value)) and i < len(self._out_directions):
                return self._scan.outputs[carried + i], self._out_directions[i]
        return None

    def _stack_in_direction(self, value: ir.Value) -> ir.Value:
        """The stack of a value that the reverse body reads but does not make."""
        key = next((key for key, one in self._slices.items() if one is value), None)
        stack, direction = key or self._stack(value)
        return stack if direction == self._direction else _reversed(self._g, stack)


def _is_copy(value: ir.Value, of: ir.Value) -> bool:
    node = value.producer()
    return node is not None and node.op_type == "Identity" and node.inputs[0] is of


def _reversed(g: Builder, stack: ir.Value) -> ir.Value:
    begin, end = g.ints(-1), g.ints(-shape_of(stack)[0] - 1)
    return g.op("Slice", stack, begin, end, g.ints(0), g.ints(-1))
