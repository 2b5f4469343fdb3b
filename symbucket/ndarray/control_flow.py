"""``foreach``, ``while_loop`` and ``cond`` of arrays: Python's own loops and branches.

They mean what those of ``sym.contrib`` mean, and every operator in them runs at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any

from symbucket.checks import check_integer
from symbucket.errors import InvalidArgumentError
from symbucket.ndarray.functions import operator_function
from symbucket.runtime import NDArray


def foreach(body: Callable[..., Any], data: Any, init_states: Any) -> tuple[Any, Any]:
    """Run ``body`` for each slice of ``data`` along axis 0.

    Args:
        body: takes slices and states, returns (outputs, new states).
        data: (steps, ...), an NDArray or a nested list of them.
        init_states: the states before the first step, likewise.

    Returns:
        The outputs of all steps, stacked along a new axis 0, and the states after the last step.

    Raises:
        InvalidArgumentError: something is no NDArray, or ``data`` differ in their first axis.
    """
    arrays = _leaves("foreach: data", data)
    sizes = {len(array) for array in arrays}
    if len(sizes) != 1:
        raise InvalidArgumentError(
            f"foreach: data need one number of steps, the size of axis 0; got {sorted(sizes)}"
        )
    states = init_states
    steps = []
    for t in range(sizes.pop()):
        slices = _map(data, itemgetter(t))
        outputs, states = _pair("foreach", body(slices, states))
        steps.append(outputs)
    return _stacked("foreach: outputs", steps, len(steps)), states


def while_loop(
    cond: Callable[..., Any],
    func: Callable[..., Any],
    loop_vars: Any,
    max_iterations: int | None = None,
) -> tuple[Any, Any]:
    """Repeat ``func`` as long as ``cond`` holds, at most ``max_iterations`` times.

    Args:
        cond: takes the loop variables one by one, returns one number; 0 ends the loop.
        func: takes the loop variables, returns (outputs, new loop variables).
        loop_vars: their values before the first step, an NDArray or a list of them.
        max_iterations: the most steps; it must be given.

    Returns:
        The outputs, stacked along a new axis 0 of size ``max_iterations``, 0 where the loop had
        ended; an empty list if there was no step. And the loop variables after the last step.
    """
    if max_iterations is None:
        raise InvalidArgumentError("while_loop: max_iterations must be given; outputs are so long")
    most = check_integer(max_iterations, "while_loop: max_iterations", 1)
    if not _leaves("while_loop: loop_vars", loop_vars):
        raise InvalidArgumentError("while_loop needs one or more loop variables")
    variables, steps = loop_vars, list[Any]()
    while len(steps) < most and _is_true("while_loop: cond", cond(*_listed(variables))):
        outputs, variables = _pair("while_loop", func(*_listed(variables)))
        if isinstance(loop_vars, NDArray) and not isinstance(variables, NDArray):
            (variables,) = variables
        steps.append(outputs)
    return (_stacked("while_loop: outputs", steps, most) if steps else []), variables


def cond(pred: Any, then_func: Callable[[], Any], else_func: Callable[[], Any]) -> Any:
    """Return what ``then_func`` returns if ``pred``, one number, is not 0, else ``else_func``'s."""
    return (then_func if _is_true("cond: pred", pred) else else_func)()


def _is_true(what: str, value: Any) -> bool:
    if not isinstance(value, NDArray) or value.size != 1:
        raise InvalidArgumentError(f"{what} must be an NDArray of one number, not {value!r}")
    return bool(value.asscalar())


def _listed(variables: Any) -> Sequence[Any]:
    return [variables] if isinstance(variables, NDArray) else list(variables)


def _pair(operator: str, result: Any) -> tuple[Any, Any]:
    if not isinstance(result, (tuple, list)) or len(result) != 2:
        raise InvalidArgumentError(
            f"{operator}: the function must return (outputs, new states), not {result!r}"
        )
    return result[0], result[1]


def _leaves(what: str, nested: Any) -> list[NDArray]:
    if isinstance(nested, NDArray):
        return [nested]
    if not isinstance(nested, (list, tuple)):
        raise InvalidArgumentError(
            f"{what} must be an NDArray or a (nested) list of NDArrays, not {nested!r}"
        )
    return [leaf for item in nested for leaf in _leaves(what, item)]


def _map(nested: Any, function: Callable[[NDArray], Any]) -> Any:
    if isinstance(nested, NDArray):
        return function(nested)
    return [_map(item, function) for item in nested]


def _stacked(what: str, steps: Sequence[Any], size: int) -> Any:
    """Stack nested lists of one form leaf by leaf, and fill up with zeros to ``size``."""
    leaves = [_leaves(what, outputs) for outputs in steps]
    stack, zeros = operator_function("stack"), operator_function("zeros_like")
    columns = iter(zip(*leaves))

    def column(_: NDArray) -> Any:
        arrays = list(next(columns))
        arrays += [zeros(arrays[0])] * (size - len(arrays))
        return stack(*arrays, axis=0)

    return _map(steps[0], column)
