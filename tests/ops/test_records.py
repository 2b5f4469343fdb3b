"""What a record says of its inputs, shapes and gradients is what it does."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from symbucket import ops
from symbucket.ops import Operator
from tests.ops.op_cases import CASES

RECORDS = list({ops.find(name): None for name in ops.names() if not name.startswith("_test")})

Sizes = Mapping[str, Any]
Pairs = Sequence[tuple[Sequence[str], Sequence[int]]]


def fits(text: str, inputs: Sequence[Any], outputs: Sequence[Any], sizes: Sizes) -> bool:
    left, _, right = text.partition("->")
    return match([*zip(groups(left), inputs), *zip(groups(right), outputs)], sizes)


def groups(text: str) -> list[list[str]]:
    """The names of each shape in a text such as ``(n, *d), (k,)``."""
    return [
        [name.strip() for name in shape.split(",") if name.strip()]
        for shape in re.findall(r"\(([^)]*)\)", text)
    ]


def match(pairs: Pairs, sizes: Sizes) -> bool:
    """Whether the names have sizes, ``sizes`` among them, such that every shape is as written."""
    if not pairs:
        return True
    (names, shape), *others = pairs
    if not names:
        return not shape and match(others, sizes)
    name, rest = names[0], names[1:]
    if name.startswith("*"):
        return any(
            match([(rest, shape[end:]), *others], {**sizes, name: shape[:end]})
            for end in range(len(shape) + 1)
            if sizes.get(name, shape[:end]) == shape[:end]
        )
    if not shape:
        return False
    if name.isdecimal() or name.isidentifier():
        expected = int(name) if name.isdecimal() else sizes.get(name, shape[0])
        if expected != shape[0]:
            return False
        sizes = {**sizes, name: shape[0]}
    return match([(rest, shape[1:]), *others], sizes)  # an expression stands for any size


FIXED = {("InstanceNorm", "output_mean_var")}  # is False


def test_a_record_lists_the_attributes_that_its_bases_read() -> None:
    for record in RECORDS:
        for base in record.__mro__[1 : record.__mro__.index(Operator)]:
            for name, kind in vars(base).get("__annotations__", {}).items():
                if kind.startswith("ClassVar"):
                    continue
                listed = name in record.fields() or (record.op_name, name) in FIXED
                assert listed, f"{record.op_name} lacks {name}, which {base.__name__} reads"


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c.op}-{c.attrs}")
def test_the_shapes_in_the_documentation_are_true(case: Any) -> None:
    record = ops.find(case.op)
    inputs = [array.shape for array in case.make(0).values()]
    attributes = {"num_args": len(inputs)} if record.variadic else {}
    op = record.make({**attributes, **case.attrs})
    if record.variadic or any(value for name, value in case.attrs.items() if "transpose" in name):
        return  # the documentation leaves these to the text
    _, outputs = op.infer_shape(list(inputs), [None] * len(op.outputs()))
    values = {name: getattr(op, name) for name in op.fields()}
    sizes = {n: v for n, v in values.items() if type(v) is int}
    sizes |= {f"*{n}": v for n, v in values.items() if isinstance(v, tuple)}
    one_shape = ", ".join(["(*d)"] * len(inputs)) + " -> (*d)"
    texts = (record.shapes or one_shape).split(" or ")
    assert any(fits(text, inputs, outputs, sizes) for text in texts), (inputs, outputs)


def test_a_wrong_shape_does_not_fit() -> None:
    assert fits("(n, *d) -> (n, k)", [(2, 3, 4)], [(2, 12)], {})
    assert not fits("(n, *d) -> (n, k)", [(2, 3, 4)], [(3, 12)], {})
    assert not fits("(n, *d) -> (n, k)", [(2, 3, 4)], [(2, 12)], {"k": 11})


@pytest.mark.parametrize("record", RECORDS, ids=lambda r: r.op_name)
def test_emit_names_the_inputs(record: type[Operator]) -> None:
    inputs = record.inputs()
    if inputs is None:
        open_kinds = record.foreign or record.runs_python or record.holds_graphs
        assert record.variadic or open_kinds
        return
    assert {*record.implicit, *record.no_gradient} <= set(inputs)
    cases = [case for case in CASES if ops.find(case.op) is record]
    for case in cases:
        op = record.make(case.attrs)
        names = [*op.arguments(), *op.auxiliary()]
        assert names == list(inputs)[: len(names)]
        assert {name for name, always in inputs.items() if always} <= set(names)
