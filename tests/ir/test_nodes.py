"""Questions about nodes: attributes that are left out."""

import onnx_ir as ir
import pytest

from symbucket.ir import Builder, new_graph, perm_of


@pytest.mark.parametrize(("given", "expected"), [(None, [2, 1, 0]), ([0, 2, 1], [0, 2, 1])])
def test_a_transpose_without_an_order_reverses_the_axes(given, expected):
    g = Builder(new_graph("g"))
    x = g.input("x", (2, 3, 4), ir.DataType.FLOAT)
    y = g.op("Transpose", x, **({} if given is None else {"perm": given}))
    assert perm_of(y.producer()) == expected
