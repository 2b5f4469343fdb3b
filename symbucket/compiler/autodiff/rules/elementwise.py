"""Gradients of elementwise operators."""

from __future__ import annotations

import math
from collections.abc import Callable

import onnx_ir as ir

from symbucket.errors import UnsupportedError
from symbucket.ir import Expr, dtype_of, gradient, no_gradient
from symbucket.ir.expr import cos, cosh, exp, log, reciprocal, sigmoid, sign, sin, sinh, sqrt, where
from symbucket.ir.gradient_rules import Parts


def masked(dy: Expr, condition: Expr) -> Expr:
    """``dy`` where ``condition`` holds, else 0."""
    return dy * condition.cast(dy.dtype)


def _square(x: Expr) -> Expr:
    return x * x


# dy * f'(x), written with x and y = f(x), whichever is cheaper.
_SLOPES: dict[str, Callable[[Expr, Expr, Expr], Expr]] = {
    "Identity": lambda x, y, dy: dy,
    "Neg": lambda x, y, dy: -dy,
    "Exp": lambda x, y, dy: dy * y,
    "Log": lambda x, y, dy: dy / x,
    "Sqrt": lambda x, y, dy: dy * 0.5 / y,
    "Reciprocal": lambda x, y, dy: -(dy * _square(y)),
    "Abs": lambda x, y, dy: dy * sign(x),
    "Sin": lambda x, y, dy: dy * cos(x),
    "Cos": lambda x, y, dy: -(dy * sin(x)),
    "Tan": lambda x, y, dy: dy * (_square(y) + 1.0),
    "Asin": lambda x, y, dy: dy * reciprocal(sqrt(1.0 - _square(x))),
    "Acos": lambda x, y, dy: -(dy * reciprocal(sqrt(1.0 - _square(x)))),
    "Atan": lambda x, y, dy: dy / (_square(x) + 1.0),
    "Sinh": lambda x, y, dy: dy * cosh(x),
    "Cosh": lambda x, y, dy: dy * sinh(x),
    "Asinh": lambda x, y, dy: dy * reciprocal(sqrt(_square(x) + 1.0)),
    "Acosh": lambda x, y, dy: dy * reciprocal(sqrt(_square(x) + -1.0)),
    "Atanh": lambda x, y, dy: dy / (1.0 - _square(x)),
    "Tanh": lambda x, y, dy: dy * (1.0 - _square(y)),
    "Sigmoid": lambda x, y, dy: dy * (y * (1.0 - y)),
    "Relu": lambda x, y, dy: masked(dy, x > 0.0),
    "Softplus": lambda x, y, dy: dy * sigmoid(x),
    "Softsign": lambda x, y, dy: dy * _square(1.0 - abs(y)),
    "Erf": lambda x, y, dy: dy * (exp(-_square(x)) * (2.0 / math.sqrt(math.pi))),
}

for _op_type, _slope in _SLOPES.items():
    gradient(_op_type)(_slope)


@gradient("Cast")
def cast(x: Expr, dy: Expr) -> Parts:
    """Back to the dtype of x."""
    return dy.cast(x.dtype)


no_gradient(
    "Cast",
    because="rounds to integers, which are piecewise constant",
    when=lambda node: not dtype_of(node.outputs[0]).is_floating_point(),
)


@gradient("Clip")
def clip(dy: Expr, x: Expr, low: Expr | None = None, high: Expr | None = None) -> Parts:
    """dy where x lies within the limits; of a limit the sum of dy where it is the result."""

    def by_x() -> Expr:
        dx = dy if low is None else masked(dy, ~(x < low))
        return dx if high is None else masked(dx, ~(x > high))

    def by_low() -> Expr:
        assert low is not None
        below = x < low
        # min(max(x, low), high): an upper limit below the lower one is always the result.
        return masked(dy, below if high is None else below & ~(low > high))

    def by_high() -> Expr:
        assert high is not None
        above = x > high
        return masked(dy, above if low is None else above | (low > high))

    return by_x, by_low, by_high


no_gradient("Dropout", inputs=[1], because="is the probability with which the mask was drawn")
no_gradient("Dropout", inputs=[2], because="is a choice")


@gradient("Dropout")
def dropout(
    dy: Expr,
    outputs: list[Expr],
    node: ir.Node,
    x: Expr,
    ratio: Expr | None = None,
    training: Expr | None = None,
) -> Parts:
    """dy where x was kept, scaled as x was; outside of training the node is the identity."""
    mode = None if training is None else training.constant
    share = None if ratio is None else ratio.constant
    if (training is not None and mode is None) or (ratio is not None and share is None):
        raise UnsupportedError(
            f"{node.name}: the gradient of Dropout needs a ratio and a training mode that are "
            "constants"
        )
    if mode is None or not mode.item() or share == 0.0:
        return dy
    if len(outputs) < 2:
        raise UnsupportedError(
            f"{node.name}: the gradient of Dropout needs the mask, its second output"
        )
    keep = 1.0 - (0.5 if share is None else share.item())
    return masked(dy, outputs[1]) * (1.0 / keep)


# Several operands. What was broadcast is summed.


@gradient("Add", "Sum")
def add(dy: Expr, *operands: Expr) -> Parts:
    """Each operand: dy."""
    return [lambda: dy] * len(operands)


@gradient("Mean")
def mean(dy: Expr, *operands: Expr) -> Parts:
    """Each operand: dy / n."""
    share = dy * (1.0 / len(operands))
    return [lambda: share] * len(operands)


@gradient("Sub")
def sub(dy: Expr) -> Parts:
    """da = dy, db = -dy."""
    return lambda: dy, lambda: -dy


@gradient("Mul")
def mul(a: Expr, b: Expr, dy: Expr) -> Parts:
    """da = dy b, db = dy a."""
    if a.value is b.value:  # a square: two equal halves are one
        return dy * a * 2.0, None
    return lambda: dy * b, lambda: dy * a


@gradient("Div")
def div(a: Expr, b: Expr, y: Expr, dy: Expr) -> Parts:
    """da = dy / b, db = -dy y / b."""
    ratio = dy / b
    return lambda: ratio, lambda: -(ratio * y)


@gradient("Mod")
def mod(a: Expr, b: Expr, y: Expr, dy: Expr) -> Parts:
    """y = a - b trunc(a / b): da = dy, db = -dy trunc(a / b)."""

    def by_divisor() -> Expr:
        whole = ((a - y) / b).op("Round")
        return -(dy * whole)

    return lambda: dy, by_divisor


@gradient("Pow")
def power(a: Expr, b: Expr, y: Expr, dy: Expr) -> Parts:
    """da = dy b a^(b - 1), db = dy y log(a)."""

    def by_base() -> Expr:
        exponent = b.constant
        if exponent is None or exponent.size != 1:
            power = b.cast(a.dtype)  # it may be of integers
            slope = power * a ** (power + -1.0)
            return dy * where(power == 0.0, 0.0, slope)  # 0 times 0 to the power of -1 is NaN
        number = float(exponent.reshape(-1)[0])
        if number == 0.0:  # 0 times 0 to the power of -1 would be NaN
            return dy * 0.0
        return dy * (a ** (number - 1.0) * number)

    def by_exponent() -> Expr:
        # 0^b is constant for b > 0; log(0) must not turn that into NaN. A negative number has
        # powers for whole exponents only, so no derivative: its logarithm is NaN.
        safe = where(a == 0.0, 1.0, a)
        return dy * (y * log(safe))

    return by_base, by_exponent


@gradient("Max")
def maximum(y: Expr, dy: Expr, needs: list[bool], *operands: Expr) -> Parts:
    """dy for the largest operand, for the first one of equal ones as in MXNet."""
    if len(operands) == 2:
        return _first_or_second(dy, operands[0] >= operands[1])
    return _first_equal(y, dy, needs, *operands)


@gradient("Min")
def minimum(y: Expr, dy: Expr, needs: list[bool], *operands: Expr) -> Parts:
    """dy for the smallest operand, for the first one of equal ones as in MXNet."""
    if len(operands) == 2:
        return _first_or_second(dy, operands[0] <= operands[1])
    return _first_equal(y, dy, needs, *operands)


def _first_or_second(dy: Expr, first: Expr) -> Parts:
    return lambda: masked(dy, first), lambda: masked(dy, ~first)


def _first_equal(y: Expr, dy: Expr, needs: list[bool], *operands: Expr) -> Parts:
    """dy for the first operand that equals y."""
    if len(operands) == 1:
        return dy
    parts: list[Expr | None] = []
    free: Expr | None = None  # no operand so far has taken the gradient
    for operand, needed in zip(operands, needs):
        hit = operand == y
        first = hit if free is None else hit & free
        missed = ~hit
        free = missed if free is None else free & missed
        parts.append(masked(dy, first).sum_to(operand.shape) if needed else None)
    return parts


no_gradient("Where", inputs=[0], because="is a choice")


@gradient("Where")
def select(condition: Expr, dy: Expr) -> Parts:
    """dy for the operand that was chosen."""
    return None, lambda: where(condition, dy, 0.0), lambda: where(condition, 0.0, dy)
