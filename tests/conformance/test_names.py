"""The packages and names of MXNet that scripts import."""

from __future__ import annotations

import importlib

import pytest

import symbucket as sb
from symbucket import errors

PACKAGES = """
    base callback context executor gluon initializer io kvstore lr_scheduler metric misc model
    module monitor ndarray operator optimizer random rnn symbol test_utils visualization
"""
SHORT = {
    "sym": "symbol",
    "nd": "ndarray",
    "mod": "module",
    "init": "initializer",
    "mon": "monitor",
    "viz": "visualization",
    "kv": "kvstore",
    "rnd": "random",
}


@pytest.mark.parametrize("name", PACKAGES.split())
def test_package_can_be_imported(name):
    package = importlib.import_module(f"symbucket.{name}")
    assert getattr(sb, name) is package
    assert package.__all__
    assert package.__doc__


@pytest.mark.parametrize("short", SHORT)
def test_short_form_is_the_same_package(short):
    assert getattr(sb, short) is importlib.import_module(f"symbucket.{SHORT[short]}")


def test_every_error_is_caught_as_in_mxnet():
    assert sb.MXNetError is sb.base.MXNetError is sb.SymbucketError
    assert issubclass(sb.MXNetError, RuntimeError)
    with pytest.raises(sb.base.MXNetError, match="no initializer is registered"):
        sb.init.create("no such thing")
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    assert len(kinds) > 10
    assert all(issubclass(kind, sb.MXNetError) for kind in kinds)


def test_operators_are_described():
    names = sb.operator.get_all_registered_operators()
    assert "FullyConnected" in names
    described = sb.operator.get_operator_arguments("FullyConnected")
    assert described.names[:4] == ["data", "weight", "bias", "num_hidden"]
    assert described.types[:4] == ["Symbol"] * 3 + ["an integer, required"]
    assert described.narg == len(described.names) == len(described.types)
    for name in names:
        if name != "_onnx_graph":  # its inputs are those of the graph that it holds
            assert sb.operator.get_operator_arguments(name).narg >= 1
    with pytest.raises(sb.MXNetError, match="Did you mean 'FullyConnected'"):
        sb.operator.get_operator_arguments("FullyConected")
