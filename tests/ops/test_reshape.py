"""Reshape's codes against numpy, over random shapes and codes."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import symbucket as sb
from symbucket.types import Shape


@dataclass
class Coded:
    """A shape, codes for it, and the shape that they must give."""

    shape: list[int] = field(default_factory=list)
    codes: list[int] = field(default_factory=list)
    result: list[int] = field(default_factory=list)


@st.composite
def coded(draw: st.DrawFn, splits: bool = True) -> Coded:
    out = Coded()
    left_over = False
    sizes = st.integers(1, 4)
    kinds = ["copy", "same", "rest", "join", *(["split"] if splits else [])]
    for _ in range(draw(st.integers(1, 4))):
        kind = draw(st.sampled_from(kinds))
        if kind == "rest" and left_over:
            kind = "copy"
        if kind == "copy":
            size = draw(sizes)
            out.shape.append(size)
            out.codes.append(0)
            out.result.append(size)
        elif kind == "same":
            size = draw(sizes)
            out.shape.append(size)
            out.codes.append(size)
            out.result.append(size)
        elif kind == "rest":
            size = draw(sizes)
            left_over = True
            out.shape.append(size)
            out.codes.append(-1)
            out.result.append(size)
        elif kind == "join":
            a, b = draw(sizes), draw(sizes)
            out.shape += [a, b]
            out.codes.append(-3)
            out.result.append(a * b)
        else:
            a, b = draw(sizes), draw(sizes)
            hidden = draw(st.sampled_from([(a, b), (-1, b), (a, -1)]))
            out.shape.append(a * b)
            out.codes += [-4, *hidden]
            out.result += [a, b]
    if draw(st.booleans()):  # -2: whatever dimensions remain
        rest = draw(st.lists(sizes, max_size=3))
        out.shape += rest
        out.codes.append(-2)
        out.result += rest
    return out


def inferred(codes: list[int], shape: list[int], reverse: bool = False) -> Shape:
    symbol = sb.sym.Reshape(sb.sym.Variable("x"), shape=codes, reverse=reverse)
    _, outputs, _ = symbol.infer_shape(x=tuple(shape))
    return outputs[0]


@settings(max_examples=300, deadline=None)
@given(coded())
def test_codes_give_the_shape_that_they_were_made_from(case: Coded) -> None:
    assert inferred(case.codes, case.shape) == tuple(case.result)


@settings(max_examples=200, deadline=None)
@given(coded(splits=False))
def test_reverse_reads_from_the_right(case: Coded) -> None:
    result = inferred(case.codes[::-1], case.shape[::-1], reverse=True)
    assert result == tuple(case.result[::-1])


@settings(max_examples=25, deadline=None)
@given(coded())
def test_elements_stay_in_their_order(case: Coded) -> None:
    data = np.arange(int(np.prod(case.shape)), dtype=np.float32).reshape(case.shape)
    symbol = sb.sym.Reshape(sb.sym.Variable("x"), shape=case.codes)
    bound = symbol.simple_bind(sb.cpu(), grad_req="null", x=data.shape)
    np.testing.assert_array_equal(bound.forward(x=data)[0].asnumpy(), data.reshape(case.result))


def test_the_examples_of_mxnets_documentation() -> None:
    for shape, codes, result in (
        ((2, 3, 4), (4, 0, 2), (4, 3, 2)),
        ((2, 3, 4), (2, 0, 0), (2, 3, 4)),
        ((2, 3, 4), (6, 1, -1), (6, 1, 4)),
        ((2, 3, 4), (3, -1, 8), (3, 1, 8)),
        ((2, 3, 4), (-1,), (24,)),
        ((2, 3, 4), (-2,), (2, 3, 4)),
        ((2, 3, 4), (2, -2), (2, 3, 4)),
        ((2, 3, 4), (-2, 1, 1), (2, 3, 4, 1, 1)),
        ((2, 3, 4), (-3, 4), (6, 4)),
        ((2, 3, 4, 5), (-3, -3), (6, 20)),
        ((2, 3, 4), (0, -3), (2, 12)),
        ((2, 3, 4), (-3, -2), (6, 4)),
        ((2, 3, 4), (-4, 1, 2, -2), (1, 2, 3, 4)),
        ((2, 3, 4), (2, -4, -1, 3, -2), (2, 1, 3, 4)),
    ):
        assert inferred(list(codes), list(shape)) == result
    assert inferred([-1, 0], [10, 5, 4]) == (40, 5)
    assert inferred([-1, 0], [10, 5, 4], reverse=True) == (50, 4)


def test_an_unknown_dimension_is_found_from_the_result() -> None:
    x, y = sb.sym.Variable("x"), sb.sym.Variable("y")
    both = sb.sym.Reshape(x, shape=(-1, 4)) + y
    shapes, _, _ = both.infer_shape(x=(0, 2, 4), y=(6, 4))
    assert shapes == [(3, 2, 4), (6, 4)]
