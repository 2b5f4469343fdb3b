"""How a formula becomes the gradient rule of an operator."""

import onnx_ir as ir
import pytest

from symbucket.ir import OWN_DOMAIN, Builder, Expr, gradient, info, new_graph, no_gradient
from symbucket.ir.registry import _OPS

FLOAT = ir.DataType.FLOAT


@pytest.fixture
def register():
    """``gradient`` for an operator that is forgotten after the test."""
    yield gradient("Tried", domain=OWN_DOMAIN)
    _OPS.pop((OWN_DOMAIN, "Tried"), None)


class Call:
    """A node with two inputs and an attribute, and what its rule returns."""

    def __init__(self, count=2, shapes=((2, 3), (3,), (2, 3)), **attributes):
        self.g = Builder(new_graph("rules"))
        self.inputs = [self.g.input(f"x{i}", shapes[i], FLOAT) for i in range(count)]
        self.node = ir.Node(
            OWN_DOMAIN,
            "Tried",
            self.inputs,
            ir.convenience.convert_attributes(attributes),
            num_outputs=2,
            name="tried",
        )
        self.dy = self.g.input("dy", (2, 3), FLOAT)

    def gradients(self, needs=(True, True, True)):
        rule = info("Tried", OWN_DOMAIN).gradient
        return rule(self.g, self.node, [self.dy, None], needs[: len(self.inputs)])

    @property
    def ops(self):
        return [node.op_type for node in self.g.graph]


def test_names_say_what_a_rule_gets(register):
    got = {}

    @register
    def rule(a, dy, y, b, needs, grads, outputs, g, node, *, scale=2.0, axis=-1):
        got.update(locals())
        return dy

    call = Call(axis=1)
    assert call.gradients((True, False)) == [call.dy, None]
    assert (got["a"].value, got["b"].value) == tuple(call.inputs)
    assert got["dy"].value is call.dy
    assert got["y"].value is call.node.outputs[0]
    assert [v.value for v in got["outputs"]] == list(call.node.outputs)
    assert got["grads"][0].value is call.dy
    assert got["grads"][1] is None
    assert got["g"] is call.g
    assert got["node"] is call.node
    assert got["needs"] == (True, False)
    assert (got["scale"], got["axis"]) == (2.0, 1)
    assert info("Tried", OWN_DOMAIN).gradient.__module__ == __name__


def test_a_callable_runs_only_if_its_gradient_is_needed_and_is_summed(register):
    @register
    def rule(a, b, dy):
        return lambda: dy * b, lambda: dy * a

    call = Call()
    da, db = call.gradients((False, True))
    assert da is None
    assert db.shape == (3,)
    assert call.ops == ["Mul", "ReduceSum"]
    call = Call()
    da, db = call.gradients()
    assert da.shape == (2, 3)
    assert call.ops == ["Mul", "Mul", "ReduceSum"]


def test_inputs_beyond_what_a_rule_returns_have_no_gradient(register):
    register(lambda x, dy: -dy)
    call = Call(count=3)
    assert [grad is None for grad in call.gradients()] == [False, True, True]


def test_inputs_may_be_absent_or_many(register):
    got = []

    @register
    def rule(dy, a, b=None, *others, **attributes):
        got.append((b, others, attributes))
        return [dy, None, lambda: dy]

    Call(count=1).gradients()
    Call(count=3, axis=1, mode="x").gradients()
    assert got[0] == (None, (), {})
    assert isinstance(got[1][0], Expr)
    assert len(got[1][1]) == 1
    assert got[1][2] == {"axis": 1, "mode": "x"}

    @register
    def strict(dy, a, b):
        return dy

    with pytest.raises(TypeError, match="rule of Tried takes input 1 as 'b', which node 'tried'"):
        Call(count=1).gradients()


def test_an_operator_without_gradient_has_a_reason(register):
    no_gradient("Tried", domain=OWN_DOMAIN, because="is only tried")
    assert info("Tried", OWN_DOMAIN).no_gradient == "is only tried"
    assert info("Floor").no_gradient == "is piecewise constant"
    assert not info("Exp").no_gradient
