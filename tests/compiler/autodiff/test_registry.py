"""Every float input of every operator has a gradient rule that is tested, or a reason for none.

The registry is asked for all operators that it knows. Operators that it does not know have no rule,
and a gradient through them is refused.
"""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

import symbucket as sb  # noqa: F401 - registers the operators of symbucket's own domain
from symbucket.compiler.autodiff.differentiate import differentiate
from symbucket.ir import OPSET, known_ops
from tests.compiler.autodiff.test_every_rule import FEW, GENERATORS, MANY, drawn

# Tested elsewhere: losses, whose gradients are by design not those of the functions, and loops.
ELSEWHERE = {
    ("symbucket", "SoftmaxOutput"): "ops/test_losses.py",
    ("symbucket", "LossOutput"): "ops/test_losses.py",
    ("symbucket", "CTCLoss"): "ops/test_ctc.py",
    ("", "Col2Im"): "ops/test_finite_differences.py",
    **{
        ("symbucket", name): "ops/test_finite_differences.py"
        for name in (
            "ErfInv",
            "Gamma",
            "LogGamma",
            "Cholesky",
            "Inverse",
            "LowerInverse",
            "RowFactors",
        )
    },
    **{
        ("symbucket", name): "ops/test_straight_through.py"
        for name in ("WithGradient", "GradientPlus")
    },
    ("symbucket", "Extreme"): "compiler/autodiff/test_imported_gradients.py",
    ("", "Det"): "compiler/autodiff/test_imported_operators.py",
    ("", "Resize"): "compiler/autodiff/test_imported_operators.py",
    ("", "If"): "symbol/test_control_flow.py",
    ("", "Scan"): "compiler/loops/test_scan_gradient.py",
}
_FLOAT_TYPES = ("tensor(float)", "tensor(double)", "tensor(float16)", "tensor(bfloat16)")


def _registered():
    """The entries that somebody made; asking for an operator makes an empty one."""
    return [o for o in known_ops() if o.gradient or o.no_gradient or o.statements or o.shape]


def _float_inputs(op):
    """Positions and names of the inputs that may be floats, by the standard's schema."""
    schema = onnx.defs.get_schema(op.op_type, OPSET, "")
    types = {c.type_param_str: c.allowed_type_strs for c in schema.type_constraints}
    for i, formal in enumerate(schema.inputs):
        if any(t in _FLOAT_TYPES for t in types.get(formal.type_str, [formal.type_str])):
            yield i, formal.name


def _stated(op, i):
    return any(s.when is None and i in (s.inputs or ()) for s in op.statements)


def test_every_operator_has_a_rule_that_is_tested_or_a_reason():
    assert differentiate  # the rules of standard operators come with it
    for op in _registered():
        key = (op.domain, op.op_type)
        if op.gradient is None:
            assert op.no_gradient, f"{key}: neither a gradient rule nor a reason for none"
            assert key not in GENERATORS
        else:
            assert not op.no_gradient, f"{key}: a rule, and a reason why there is none"
            assert (key in GENERATORS) != (key in ELSEWHERE), f"{key}: no case, or not needed"
    assert all((Path(__file__).parents[2] / file).exists() for file in ELSEWHERE.values())


@pytest.mark.parametrize("key", sorted(GENERATORS), ids="".join)
def test_every_float_input_is_drawn_or_stated(key):
    (op,) = (o for o in known_ops() if (o.domain, o.op_type) == key)
    if op.domain:
        return  # these have one float input, which every case differentiates
    wanted = set()
    for seed in [*FEW, *MANY]:
        wanted |= set(drawn(key, seed).wanted)
    for i, name in _float_inputs(op):
        assert i in wanted or _stated(op, i), f"input {i} ({name}): never checked, nothing stated"
        assert not (i in wanted and _stated(op, i)), f"input {i} ({name}): checked and stated"


@pytest.mark.parametrize("key", sorted(GENERATORS), ids="".join)
def test_integer_inputs_are_stated(key):
    """So that nothing flows back through what only chooses: indices, shapes, conditions."""
    (op,) = (o for o in known_ops() if (o.domain, o.op_type) == key)
    if op.domain or op.straight_through:
        return
    floats = {i for i, _ in _float_inputs(op)}
    for i, formal in enumerate(onnx.defs.get_schema(op.op_type, OPSET, "").inputs):
        assert i in floats or _stated(op, i), f"input {i} ({formal.name}) of {op.op_type}"
