"""Signatures, help and type stubs of the DSL."""

from __future__ import annotations

import importlib.util
import inspect
import pydoc
import subprocess
import sys
from pathlib import Path

import pytest

import symbucket as sb
from symbucket.ops import Operator, operator
from symbucket.ops.registry import _RECORDS

ROOT = Path(__file__).parents[2]

# A line that must be refused says why; mypy complains of a comment that is not needed.
PROGRAM = """
import numpy as np
import symbucket as sb
from symbucket import sym


def network(length: int) -> sb.Symbol:
    data, label = sym.Variable("data"), sym.Variable("label", shape=(0, length))
    vectors = sym.Embedding(data, input_dim=10, output_dim=4, dtype=np.float32, name="embed")
    joined = sym.Concat(vectors, vectors * 2.0, dim=2)
    hidden = sym.FullyConnected(joined, num_hidden=3, flatten=False, attr={"__lr_mult__": "2"})
    hidden = sym.Activation(hidden, act_type="tanh").reshape((-1, 3)).clip(-1, 1)
    hidden = sym.broadcast_add(hidden, 1.0 - hidden.mean(axis=1, keepdims=True))
    return sym.SoftmaxOutput(hidden, label.reshape((-1,)), normalization="batch", name="softmax")


x = sym.Variable("x")
sym.FullyConnected(x)  # type: ignore[call-arg]
sym.FullyConnected(x, num_hiden=3)  # type: ignore[call-arg]
sym.FullyConnected(x, num_hidden="many")  # type: ignore[arg-type]
sym.FullyConnected(3, num_hidden=3)  # type: ignore[arg-type]
sym.Activation(x, act_type="tahn")  # type: ignore[arg-type]
x.expand_dims()  # type: ignore[call-arg]
x.reshaped((2, 3))  # type: ignore[attr-defined]
sym.FullyConected(x, num_hidden=3)  # type: ignore[attr-defined]
length: int = sym.tanh(x)  # type: ignore[assignment]

array: sb.NDArray = sb.nd.exp(sb.nd.ones((2, 3))) + 1
array = array.sum(axis=0, keepdims=True).reshape((0, -1))[0].T
array = sb.nd.maximum(array, 0.0)
sb.nd.FullyConnected(array, array)  # type: ignore[call-arg]
sb.nd.exp([1, 2])  # type: ignore[arg-type]
sb.nd.no_such(array)  # type: ignore[attr-defined]
total: int = array.sum()  # type: ignore[assignment]
"""


def test_the_stubs_are_what_the_records_say() -> None:
    command = [sys.executable, "-W", "error", "tools/operator_stubs.py", "--check"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", check=False)
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.skipif(importlib.util.find_spec("mypy") is None, reason="needs mypy")
def test_a_program_is_type_checked(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM, encoding="utf-8")
    options = ["--strict", "--follow-imports=silent", "--config-file=", "--cache-dir", "cache"]
    run = subprocess.run(
        [sys.executable, "-m", "mypy", *options, "program.py"],
        cwd=tmp_path,
        env={"MYPYPATH": str(ROOT)},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr


def parameters(function: object) -> list[str]:
    return [str(p).partition(":")[0] for p in inspect.signature(function).parameters.values()]  # type: ignore[arg-type]


def test_an_operator_has_a_signature() -> None:
    signature = inspect.signature(sb.sym.FullyConnected)
    assert parameters(sb.sym.FullyConnected) == (
        "data weight bias num_hidden no_bias flatten name attr".split()
    )
    assert signature.parameters["num_hidden"].kind is inspect.Parameter.KEYWORD_ONLY
    assert signature.parameters["flatten"].default is True
    assert signature.parameters["data"].default is inspect.Parameter.empty
    assert repr(signature.parameters["weight"].default) == "<new variable>"
    assert signature.return_annotation is sb.Symbol
    assert parameters(sb.sym.Concat) == ["*args", "num_args", "dim", "name", "attr"]
    assert parameters(sb.sym.zeros) == ["shape", "dtype", "name", "attr"]


def test_a_method_has_the_signature_without_the_symbol() -> None:
    assert parameters(sb.sym.Variable("x").expand_dims) == ["axis", "name", "attr"]
    assert parameters(sb.Symbol.reshape)[:2] == ["data", "shape"]


def test_every_operator_has_signature_and_documentation() -> None:
    for name in dir(sb.sym):
        function = getattr(sb.sym, name)
        if name not in sb.sym.__all__:
            assert function.__name__ == name
            assert "Gradient: " in function.__doc__
            assert inspect.signature(function).return_annotation is sb.Symbol


def test_help_shows_inputs_shapes_gradient_and_attributes() -> None:
    text = pydoc.plain(pydoc.render_doc(sb.sym.FullyConnected))
    assert "weight: a new variable if it is left out" in text
    assert "data (n, *d), weight (num_hidden, k), bias (num_hidden,) -> (n, num_hidden)" in text
    assert "Gradient: yes, for data, weight, bias." in text
    assert "num_hidden: an integer; required." in text
    assert "no_bias: True or False; default False." in text
    assert "Gradient: its own, for data" in pydoc.render_doc(sb.sym.SoftmaxOutput)
    assert "Gradient: no." in pydoc.render_doc(sb.sym.argmax)
    assert "reshape(data: " in pydoc.plain(pydoc.render_doc(sb.Symbol))


def test_an_operator_whose_emit_takes_any_inputs_still_works() -> None:
    @operator("_test_open")
    class _Open(Operator):
        def emit(self, g, *inputs):  # type: ignore[no-untyped-def]
            return g.op("Neg", inputs[0])

    try:
        assert parameters(sb.sym._test_open) == ["*args", "name", "attr"]
        symbol = sb.sym._test_open(sb.sym.Variable("data"))
        assert symbol.eval(data=sb.nd.ones((2,)))[0].asnumpy().tolist() == [-1.0, -1.0]
    finally:
        del _RECORDS["_test_open"]
