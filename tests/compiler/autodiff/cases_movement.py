"""Cases of operators that move, cut, join and pick elements."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tests.compiler.autodiff.draws import Draw
from tests.compiler.autodiff.gradient_check import Case


def _i64(values) -> np.ndarray:
    return np.asarray(values, np.int64)


def _reshape(draw: Draw) -> Case:
    shape = draw.shape()
    target = list(draw.rng.permutation(shape)) if shape else [1]
    kind = draw.number(0, 2)
    if kind == 0:
        target = [-1]
    elif kind == 1 and shape:
        target = [0, *shape[1:]]
    return Case("Reshape", [draw.normal(shape), _i64(target)])


def _flatten(draw: Draw) -> Case:
    shape = draw.shape(1)
    return Case("Flatten", [draw.normal(shape)], attributes={"axis": draw.axis(len(shape))})


def _squeeze(draw: Draw) -> Case:
    shape = [1 if draw.coin() else d for d in draw.shape(1)]
    ones = [i - (len(shape) if draw.coin(0.3) else 0) for i, d in enumerate(shape) if d == 1]
    return Case("Squeeze", [draw.normal(shape), _i64(ones) if ones and draw.coin(0.7) else None])


def _unsqueeze(draw: Draw) -> Case:
    shape = draw.shape(0, 4)
    rank = len(shape) + 1
    return Case("Unsqueeze", [draw.normal(shape), _i64([draw.axis(rank)])])


def _transpose(draw: Draw) -> Case:
    shape = draw.shape()
    perm = [int(i) for i in draw.rng.permutation(len(shape))]
    return Case(
        "Transpose",
        [draw.normal(shape)],
        attributes={"perm": perm} if perm and draw.coin(0.7) else {},
    )


def _concat(draw: Draw) -> Case:
    shape = list(draw.shape(1))
    axis, count = draw.axis(len(shape)), draw.number(1, 4)
    parts = []
    for _ in range(count):
        part = list(shape)
        part[axis] = draw.number(0 if count > 1 else 1, 3)
        parts.append(draw.normal(part))
    return Case("Concat", parts, range(count), {"axis": axis})


def _split(draw: Draw) -> Case:
    shape = list(draw.shape(1))
    axis = draw.axis(len(shape))
    if draw.coin(0.3):
        shape[axis] = draw.number(2, 5)
        count = draw.number(1, shape[axis])
        while -(-shape[axis] // count) * (count - 1) >= shape[axis]:
            count -= 1
        return Case(
            "Split", [draw.normal(shape)], (0,), {"axis": axis, "num_outputs": count}, count
        )
    sizes = [draw.number(1, 3) for _ in range(draw.number(1, 3))]
    shape[axis] = sum(sizes)
    return Case("Split", [draw.normal(shape), _i64(sizes)], (0,), {"axis": axis}, len(sizes))


def _slice(draw: Draw) -> Case:
    shape = draw.shape(1, most=5)
    axes = draw.axes(len(shape), 1)
    starts, ends, steps = [], [], []
    for axis in axes:
        size = shape[axis]
        steps.append(draw.pick([1, 1, 1, 2, 3, -1, -2]))
        starts.append(draw.number(-size - 1, size + 1))
        far = 2**31 - 1 if steps[-1] > 0 else -(2**31) + 1
        ends.append(draw.pick([draw.number(-size - 1, size + 1), far]))
    if draw.coin(0.3):
        axes = list(range(len(starts)))
        inputs = [starts, ends]
    else:
        inputs = [starts, ends, axes, steps] if draw.coin(0.8) else [starts, ends, axes]

    def exact(x: np.ndarray, *_: object) -> np.ndarray:
        places = [np.arange(d) for d in shape]
        for i, axis in enumerate(axes):
            step = steps[i] if len(inputs) == 4 else 1
            size = shape[axis]
            first, last = (v + size if v < 0 else v for v in (starts[i], ends[i]))
            if step > 0:
                taken = range(np.clip(first, 0, size), np.clip(last, 0, size), step)
            else:
                taken = range(np.clip(first, 0, size - 1), np.clip(last, -1, size - 1), step)
            places[axis] = np.array(taken, np.int64)
        return x[np.ix_(*places)]

    return Case("Slice", [draw.normal(shape), *map(_i64, inputs)], exact=exact)


def _expand(draw: Draw) -> Case:
    shape, target = draw.broadcasting(2)
    return Case("Expand", [draw.normal(shape), _i64(target)])


def _tile(draw: Draw) -> Case:
    shape = draw.shape(1)
    return Case("Tile", [draw.normal(shape), _i64([draw.number(1, 3) for _ in shape])])


def _pad(draw: Draw) -> Case:
    shape = draw.shape(1, 4, least=2)
    axes = draw.axes(len(shape), 1)
    given = _i64(axes)
    if draw.coin():
        axes, given = list(range(len(shape))), None
    mode = draw.pick(["constant", "constant", "reflect", "edge", "wrap"])
    low, high = (-1, 3) if mode == "constant" else (0, 3)
    pads = []
    for _ in range(2):
        for axis in axes:
            most = shape[axis] - 1 if mode == "reflect" else shape[axis] if mode == "wrap" else high
            pads.append(draw.number(low, min(most, high)))
    x = draw.normal(shape)
    if mode != "constant":
        return Case("Pad", [x, _i64(pads), None, given], attributes={"mode": mode})

    def exact(x: np.ndarray, lengths: np.ndarray, value: np.ndarray | None, *_: object):
        for axis, begin, end in zip(axes, pads, pads[len(axes) :]):
            width, crop = [(0, 0)] * x.ndim, [slice(None)] * x.ndim
            width[axis] = (max(begin, 0), max(end, 0))
            crop[axis] = slice(max(-begin, 0), x.shape[axis] - max(-end, 0))
            x = np.pad(x[tuple(crop)], width, constant_values=0.0 if value is None else value)
        return x

    if draw.coin(0.3):
        return Case("Pad", [x, _i64(pads), None, given], exact=exact)
    return Case("Pad", [x, _i64(pads), draw.normal(()), given], (0, 2), exact=exact)


def _gather(draw: Draw) -> Case:
    shape = draw.shape(1)
    axis = draw.axis(len(shape))
    index = draw.index(draw.shape(0, 3), shape[axis])
    if draw.coin(0.3):
        index = index.astype(np.int32)
    return Case("Gather", [draw.normal(shape), index], attributes={"axis": axis})


def _gather_elements(draw: Draw) -> Case:
    shape = draw.shape(1)
    axis = draw.axis(len(shape))
    where = [draw.number(1, d) for d in shape]
    where[axis] = draw.number(1, 4)
    index = draw.index(where, shape[axis])

    def exact(x: np.ndarray, index: np.ndarray) -> np.ndarray:
        places = list(np.indices(index.shape))
        places[axis] = index
        return x[tuple(places)]

    attributes = {"axis": axis}
    return Case("GatherElements", [draw.normal(shape), index], (0,), attributes, exact=exact)


def _nd_index(draw: Draw, shape: tuple[int, ...], depth: int, lead: tuple[int, ...]) -> np.ndarray:
    columns = [draw.index(lead, shape[i]) for i in range(depth)]
    return np.stack(columns, axis=-1)


def _gather_nd(draw: Draw) -> Case:
    shape = draw.shape(1)
    batch = draw.number(0, len(shape) - 1)
    depth = draw.number(1, len(shape) - batch)
    index = _nd_index(draw, shape[batch:], depth, (*shape[:batch], *draw.shape(0, 2)))
    attributes = {"batch_dims": batch} if batch else {}
    return Case("GatherND", [draw.normal(shape), index], (0,), attributes)


REDUCTIONS = ["none", "add", "mul", "max", "min"]


def _operands(draw: Draw, reduction: str, *shapes: tuple[int, ...]) -> list[np.ndarray]:
    """Data and updates: some zeros for products, all different for extremes."""
    if reduction in ("max", "min"):
        sizes = [int(np.prod(shape)) for shape in shapes]
        drawn = np.split(draw.apart((sum(sizes),)), np.cumsum(sizes)[:-1])
        return [part.reshape(shape) for part, shape in zip(drawn, shapes)]
    arrays = [draw.normal(shape) for shape in shapes]
    if reduction == "mul":
        arrays = [np.where(draw.rng.random(a.shape) < 0.3, np.float32(0), a) for a in arrays]
    return arrays


def _scattered(
    x: np.ndarray, places: tuple[np.ndarray, ...], updates: np.ndarray, reduction: str
) -> np.ndarray:
    """What both operators compute; older evaluators of onnx take not all reductions."""
    y = np.array(x)
    if reduction == "none":
        y[places] = updates
    else:
        ufuncs = {"add": np.add, "mul": np.multiply, "max": np.maximum, "min": np.minimum}
        ufuncs[reduction].at(y, places, updates)
    return y


def _scatter_nd(draw: Draw) -> Case:
    shape = draw.shape(1)
    depth = draw.number(1, len(shape))
    reduction = draw.pick(REDUCTIONS)
    places = np.array(list(np.ndindex(*shape[:depth])), np.int64)
    count = draw.number(1, len(places))
    index = draw.rng.permutation(places)[:count]
    if reduction != "none" and draw.coin():
        index = np.concatenate([index, index[:1]])  # twice the same place
    if draw.coin(0.3):
        index = index - np.array(shape[:depth])
    data, updates = _operands(draw, reduction, shape, (len(index), *shape[depth:]))
    attributes = {} if reduction == "none" else {"reduction": reduction}

    def exact(x: np.ndarray, index: np.ndarray, updates: np.ndarray) -> np.ndarray:
        return _scattered(x, tuple(np.moveaxis(index, -1, 0)), updates, reduction)

    return Case("ScatterND", [data, index, updates], (0, 2), attributes, exact=exact)


def _scatter_elements(draw: Draw) -> Case:
    shape = draw.shape(1)
    axis = draw.axis(len(shape))
    reduction = draw.pick(REDUCTIONS)
    where = tuple(draw.number(1, d) for d in shape)
    rows = np.argsort(draw.rng.random(shape), axis=axis)[tuple(slice(n) for n in where)]
    if reduction != "none":
        rows = draw.index(where, shape[axis])
    attributes = {"axis": axis, **({} if reduction == "none" else {"reduction": reduction})}
    data, updates = _operands(draw, reduction, shape, where)

    def exact(x: np.ndarray, index: np.ndarray, updates: np.ndarray) -> np.ndarray:
        places = [*np.indices(index.shape)]
        places[axis] = index
        return _scattered(x, tuple(places), updates, reduction)

    inputs = [data, rows.astype(np.int64), updates]
    return Case("ScatterElements", inputs, (0, 2), attributes, exact=exact)


def _one_hot(draw: Draw) -> Case:
    shape, depth = draw.shape(1, 3), draw.number(1, 4)
    index = draw.index(shape, depth)
    if draw.coin(0.2):
        index = index + depth * draw.pick([0, 2])  # outside: no hot value
    attributes = {"axis": draw.axis(len(shape) + 1)} if draw.coin() else {}
    return Case("OneHot", [index, _i64(depth), draw.normal((2,))], (2,), attributes)


def _top_k(draw: Draw) -> Case:
    shape = draw.shape(1)
    axis = draw.axis(len(shape))
    attributes = {"axis": axis, "largest": draw.number(0, 1)}
    ties = draw.coin(0.3)
    k = _i64([1 if ties else draw.number(1, shape[axis])])
    x = draw.tied(shape) if ties else draw.apart(shape)
    return Case("TopK", [x, k], attributes=attributes, outputs=2, ties=ties)


def _reverse_sequence(draw: Draw) -> Case:
    shape = draw.shape(2)
    batch = draw.number(0, 1)
    lengths = _i64([draw.number(1, shape[1 - batch]) for _ in range(shape[batch])])
    attributes = {"batch_axis": batch, "time_axis": 1 - batch}
    if batch == 1 and draw.coin():
        attributes = {}
    return Case("ReverseSequence", [draw.normal(shape), lengths], attributes=attributes)


def _cum_sum(draw: Draw) -> Case:
    shape = draw.shape(1)
    axis = np.array(draw.axis(len(shape)), draw.pick([np.int32, np.int64]))
    attributes = {"reverse": draw.number(0, 1), "exclusive": draw.number(0, 1)}
    return Case("CumSum", [draw.normal(shape), axis], attributes=attributes)


def _trilu(draw: Draw) -> Case:
    k = draw.pick([None, _i64(draw.number(-2, 2))])
    return Case("Trilu", [draw.normal(draw.shape(2)), k], attributes=draw.pick([{}, {"upper": 0}]))


CASES: dict[tuple[str, str], Callable[[Draw], Case]] = {
    ("", "Reshape"): _reshape,
    ("", "Flatten"): _flatten,
    ("", "Squeeze"): _squeeze,
    ("", "Unsqueeze"): _unsqueeze,
    ("", "Transpose"): _transpose,
    ("", "Concat"): _concat,
    ("", "Split"): _split,
    ("", "Slice"): _slice,
    ("", "Expand"): _expand,
    ("", "Tile"): _tile,
    ("", "Pad"): _pad,
    ("", "Gather"): _gather,
    ("", "GatherElements"): _gather_elements,
    ("", "GatherND"): _gather_nd,
    ("", "ScatterND"): _scatter_nd,
    ("", "ScatterElements"): _scatter_elements,
    ("", "OneHot"): _one_hot,
    ("", "TopK"): _top_k,
    ("", "ReverseSequence"): _reverse_sequence,
    ("", "CumSum"): _cum_sum,
    ("", "Trilu"): _trilu,
}
