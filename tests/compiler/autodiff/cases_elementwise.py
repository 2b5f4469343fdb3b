"""Cases of operators that work element by element, with everything that they broadcast."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from tests.compiler.autodiff.draws import Draw
from tests.compiler.autodiff.gradient_check import Case


def _shape(draw: Draw) -> tuple[int, ...]:
    return (2, 0, 3) if draw.coin(0.05) else draw.shape()


def _unary(op: str, low: float = -2.0, high: float = 2.0, exact=None) -> Callable[[Draw], Case]:
    return lambda draw: Case(op, [draw.uniform(_shape(draw), low, high)], exact=exact)


def _erf(x: np.ndarray) -> np.ndarray:
    return np.vectorize(math.erf, otypes=[np.float64])(x)


def _kinked(op: str, **ranges: tuple[float, float]) -> Callable[[Draw], Case]:
    """A kink at zero; attributes drawn from ranges, or left at their defaults."""

    def make(draw: Draw) -> Case:
        attributes = {n: float(np.float32(draw.rng.uniform(*r))) for n, r in ranges.items()}
        chosen = {n: v for n, v in attributes.items() if draw.coin(0.7)}
        ties = draw.coin(0.3)
        shape = _shape(draw)
        return Case(op, [draw.tied(shape) if ties else draw.apart(shape)], (0,), chosen, ties=ties)

    return make


def _binary(op: str, *values: str) -> Callable[[Draw], Case]:
    def make(draw: Draw) -> Case:
        shapes = draw.broadcasting(2)
        return Case(op, [_VALUES[v](draw, s) for v, s in zip(values, shapes)], (0, 1))

    return make


_VALUES = {
    "normal": lambda draw, shape: draw.normal(shape),
    "positive": lambda draw, shape: draw.uniform(shape, 0.5, 2.0),
    "exponent": lambda draw, shape: draw.uniform(shape, -2.0, 2.0),
    "nonzero": lambda draw, shape: draw.uniform(shape, *draw.pick([(0.5, 2.0), (-2.0, -0.5)])),
}


def _several(op: str, kinked: bool = False) -> Callable[[Draw], Case]:
    def make(draw: Draw) -> Case:
        case = _several_operands(op, kinked, draw)
        if op == "Mean":  # onnx's own adds up in place, which not all shapes allow
            case.exact = lambda *operands: sum(operands) / len(operands)
        return case

    return make


def _several_operands(op: str, kinked: bool, draw: Draw) -> Case:
    count = draw.number(1, 4)
    ties = kinked and draw.coin(0.4)
    shapes = draw.broadcasting(count)
    if ties:
        return Case(op, [draw.tied(s) for s in shapes], range(count), ties=True)
    # One after the other from one set of different numbers, so that none are equal.
    sizes = [int(np.prod(s)) for s in shapes]
    pool = draw.apart((sum(sizes),))
    parts = np.split(pool, np.cumsum(sizes)[:-1])
    return Case(op, [p.reshape(s) for p, s in zip(parts, shapes)], range(count))


def _clip(draw: Draw) -> Case:
    ties = draw.coin(0.3)
    x = draw.tied(_shape(draw)) if ties else draw.apart(_shape(draw))
    low, high = (np.float32(0), np.float32(1)) if ties else (np.float32(-0.52), np.float32(0.53))
    if draw.coin(0.2):
        low, high = high, low  # then the upper one is always the result
    bounds = [np.asarray(low), np.asarray(high)]
    absent = draw.number(0, 3)
    inputs = [x, *(None if absent == i + 1 else b for i, b in enumerate(bounds))]
    wanted = [i for i, v in enumerate(inputs) if v is not None]
    return Case("Clip", inputs, wanted, ties=ties)


def _power(draw: Draw) -> Case:
    kind = draw.number(0, 3)
    a, b = draw.broadcasting(2)
    if kind == 0:
        return Case("Pow", [draw.uniform(a, 0.5, 2.0), draw.uniform(b, -2.0, 2.0)], (0, 1))
    if kind == 1:  # a constant exponent, the base of any sign
        number = draw.pick([0.0, 1.0, 2.0, 3.0, -1.0, -2.0])
        return Case("Pow", [draw.apart(a, 0.3), np.float32(number)])
    if kind == 2:  # several constant exponents, zero among them, and zeros as base
        exponents = draw.rng.integers(0, 4, size=b).astype(np.float32)
        return Case("Pow", [draw.tied(a), exponents])
    return Case("Pow", [draw.uniform(a, 0.5, 2.0), draw.rng.integers(-2, 4, size=b)])


def _mod(draw: Draw) -> Case:
    a, b = draw.broadcasting(2)
    if draw.coin():  # one divisor: every dividend lies between its multiples
        divisor = draw.pick([-1.5, 0.75, 2.0])
        x = (draw.rng.integers(-3, 4, size=a) + 0.3) * divisor
        return Case(
            "Mod", [np.asarray(x, np.float32), np.asarray(divisor, np.float32)], (0, 1), {"fmod": 1}
        )
    x = draw.uniform(a, 0.2, 0.8) * draw.pick([-1, 1])  # 3 to 8 divided by 0.9 to 0.99
    x = np.asarray(np.round(x * 10) + np.float32(0.45) * np.sign(x), np.float32)
    y = np.asarray(draw.uniform(b, 1.0, 1.01), np.float32)
    return Case("Mod", [x, y], (0, 1), {"fmod": 1})


def _prelu(draw: Draw) -> Case:
    shape = draw.shape()
    slope = draw.pick([shape, (), (1,), shape[-1:], tuple(1 if draw.coin() else d for d in shape)])
    return Case("PRelu", [draw.apart(shape), draw.normal(slope)], (0, 1))


def _where(draw: Draw) -> Case:
    c, a, b = draw.broadcasting(3)
    return Case("Where", [draw.rng.random(c) < 0.5, draw.normal(a), draw.normal(b)], (1, 2))


def _gelu(draw: Draw) -> Case:
    attributes = draw.pick([{}, {"approximate": "none"}, {"approximate": "tanh"}])

    def exact(x: np.ndarray) -> np.ndarray:
        if attributes.get("approximate") == "tanh":
            return x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2
        return x * (1 + _erf(x / math.sqrt(2))) / 2

    return Case("Gelu", [draw.normal(_shape(draw))], (0,), attributes, exact=exact)


def _hard_sigmoid(draw: Draw) -> Case:
    attributes = draw.pick([{}, {"alpha": 0.5, "beta": 0.25}])
    return Case("HardSigmoid", [draw.apart(_shape(draw), 0.37)], (0,), attributes)


def _cast(draw: Draw) -> Case:
    return Case("Cast", [draw.normal(_shape(draw))], (0,), {"to": 11})


def _dropout(draw: Draw) -> Case:
    ratio = draw.pick([None, np.float32(0.3)])
    mode = draw.pick([None, np.array(False)])
    return Case("Dropout", [draw.normal(_shape(draw)), ratio, mode], outputs=draw.number(1, 2))


def _masked(draw: Draw) -> Case:
    shape = draw.shape()
    keep = draw.rng.random(shape) < 0.5
    return Case("Masked", [draw.normal(shape), keep], attributes={"scale": 1.5}, domain="symbucket")


CASES: dict[tuple[str, str], Callable[[Draw], Case]] = {
    **{("", op): _unary(op) for op in "Identity Neg Exp Sin Cos Sinh Cosh Asinh Atan".split()},
    **{("", op): _unary(op) for op in "Tanh Sigmoid Softplus".split()},
    ("", "Erf"): _unary("Erf", exact=_erf),
    **{("", op): _unary(op, 0.3, 2.0) for op in "Log Sqrt Reciprocal".split()},
    **{("", op): _unary(op, -0.9, 0.9) for op in "Asin Acos Atanh Tan".split()},
    ("", "Acosh"): _unary("Acosh", 1.2, 3.0),
    ("", "Abs"): _kinked("Abs"),
    ("", "Relu"): _kinked("Relu"),
    ("", "Softsign"): _unary("Softsign", exact=lambda x: x / (1 + np.abs(x))),
    ("", "LeakyRelu"): _kinked("LeakyRelu", alpha=(0.0, 0.5)),
    ("", "Elu"): _kinked("Elu", alpha=(0.1, 2.0)),
    ("", "Selu"): _kinked("Selu", alpha=(0.1, 2.0), gamma=(1.0, 2.0)),
    ("", "Gelu"): _gelu,
    ("", "HardSigmoid"): _hard_sigmoid,
    ("", "PRelu"): _prelu,
    ("", "Cast"): _cast,
    ("", "Clip"): _clip,
    ("", "Dropout"): _dropout,
    ("", "Add"): _binary("Add", "normal", "normal"),
    ("", "Sub"): _binary("Sub", "normal", "normal"),
    ("", "Mul"): _binary("Mul", "normal", "normal"),
    ("", "Div"): _binary("Div", "normal", "nonzero"),
    ("", "Mod"): _mod,
    ("", "Pow"): _power,
    ("", "Sum"): _several("Sum"),
    ("", "Mean"): _several("Mean"),
    ("", "Max"): _several("Max", kinked=True),
    ("", "Min"): _several("Min", kinked=True),
    ("", "Where"): _where,
    ("symbucket", "Masked"): _masked,
}
