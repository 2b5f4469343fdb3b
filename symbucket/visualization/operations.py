"""Floating-point operations of one box, counted from shapes.

A product of matrices, or a convolution, counts a multiplication and an addition for each term of
each sum. Another operator counts one operation for each element of its first input or of its
output, whichever are more; one that only moves data counts none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import isqrt, prod

from symbucket.visualization.diagram import Value

Shape = tuple[int, ...]
Rule = Callable[[Sequence[Shape], Sequence[Shape], Mapping[str, str]], int]

# ONNX's and MXNet's names in lower case, without underscores.
_MOVES = frozenset(
    "reshape transpose swapaxes swapaxis flatten expanddims squeeze unsqueeze concat split "
    "slicechannel slice sliceaxis slicelike stack embedding take gather gathernd gatherelements "
    "pick onehot tile repeat pad expand broadcastto broadcastaxis broadcastlike identity copy "
    "blockgrad stopgradient cast shape shapearray size constant constantofshape zeros ones "
    "zeroslike oneslike arange range reverse sequencereverse sequencelast group depthtospace "
    "spacetodepth upsampling resize crop scatterelements scatternd eyelike if loop scan".split()
)


def weight_of(op: str) -> str:
    """Return what an operator mostly does: "multiplies" matrices, "moves" data, or "" (others)."""
    name = _plain(op)
    return "multiplies" if name in _RULES else "moves" if name in _MOVES else ""


def _plain(op: str) -> str:
    return op.rpartition("::")[2].lower().replace("_", "")


def operations(
    op: str, inputs: Sequence[Value], outputs: Sequence[Value], attributes: Mapping[str, str]
) -> int | None:
    """Return the operations of a node; None if it needs a shape that is not known whole."""
    name = _plain(op)
    if name in _MOVES:
        return 0
    shapes = [_whole(value) for value in inputs], [_whole(value) for value in outputs]
    sources = [shape for shape in shapes[0] if shape is not None]
    targets = [shape for shape in shapes[1] if shape is not None]
    rule = _RULES.get(name)
    if rule is None:
        sizes = [prod(shape) for shape in (*sources[:1], *targets[:1])]
        complete = all(shape is not None for many in shapes for shape in many[:1])
        return max(sizes, default=0) if complete else None
    if len(sources) < len(shapes[0]) or not targets or len(sources) < _LEAST.get(name, 2):
        return None
    return rule(sources, targets, attributes)


def _whole(value: Value) -> Shape | None:
    shape = value.shape
    sizes = tuple(size for size in shape or () if isinstance(size, int))
    return sizes if shape is not None and len(sizes) == len(shape) else None


def _matrices(sources: Sequence[Shape], targets: Sequence[Shape], _: Mapping[str, str]) -> int:
    """Two operands that share one axis, however they are turned: rows, terms, columns."""
    batch = prod(targets[0][:-2])
    terms = isqrt(prod(sources[0]) * prod(sources[1]) // max(batch * prod(targets[0]), 1))
    return 2 * prod(targets[0]) * terms


def _matmul(sources: Sequence[Shape], targets: Sequence[Shape], _: Mapping[str, str]) -> int:
    return 2 * prod(targets[0]) * (sources[0][-1] if sources[0] else 1)


def _gemm(sources: Sequence[Shape], targets: Sequence[Shape], attributes: Mapping[str, str]) -> int:
    terms = sources[0][0 if attributes.get("transA", "0") != "0" else 1]
    return 2 * prod(targets[0]) * terms


def _weighted(sources: Sequence[Shape], targets: Sequence[Shape], _: Mapping[str, str]) -> int:
    """Each output sums over what one row of the weight, the second input, holds."""
    return 2 * prod(targets[0]) * prod(sources[1][1:])


def _spread(sources: Sequence[Shape], targets: Sequence[Shape], _: Mapping[str, str]) -> int:
    """Each input is multiplied with what one row of the weight, the second input, holds."""
    return 2 * prod(sources[0]) * prod(sources[1][1:])


def _recurrent(sources: Sequence[Shape], targets: Sequence[Shape], _: Mapping[str, str]) -> int:
    """X of (time, batch, features): each weight of W and R counts at each step of each row."""
    weights = sum(map(prod, sources[1:3]))
    return 2 * prod(sources[0][:2]) * weights


def _fused(sources: Sequence[Shape], targets: Sequence[Shape], _: Mapping[str, str]) -> int:
    """Every step counts each number of one vector of all weights; biases are few beside them."""
    return 2 * prod(sources[0][:2]) * prod(sources[1])


_RULES: dict[str, Rule] = {
    "matmul": _matmul,
    "gemm": _gemm,
    "conv": _weighted,
    "convtranspose": _spread,
    "lstm": _recurrent,
    "gru": _recurrent,
    "rnn": lambda s, t, a: (_recurrent if len(s) > 2 and len(s[1]) == 3 else _fused)(s, t, a),
    "dot": _matrices,
    "batchdot": _matrices,
    "fullyconnected": _weighted,
    "convolution": _weighted,
    "deconvolution": _spread,
}
_LEAST = {"lstm": 3, "gru": 3}  # inputs that a rule reads; two for the others
