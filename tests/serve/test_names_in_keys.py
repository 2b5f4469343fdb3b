"""Integers in keys that are names (of tasks, of trees) and not sizes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import symbucket as sb
from symbucket.errors import DataError, InvalidArgumentError
from symbucket.serve import Request


def bundle_of(folder: Path, keys: Sequence[Any], length_of: Any = None) -> sb.Bundle:
    """Return a bundle whose network of a key multiplies 5, or so many, numbers by the key's."""

    def sym_gen(key: Any) -> tuple[sb.Symbol, list[str], list[str]]:
        task = key[0] if isinstance(key, tuple) else key
        return sb.sym.identity(sb.sym.Variable("data") * (task + 1), name="y"), ["data"], []

    def shapes(key: Any) -> list[tuple[str, tuple[int, ...]]]:
        return [("data", (2, length_of(key) if length_of else 5))]

    module = sb.mod.BucketingModule(sym_gen, default_bucket_key=keys[0])
    module.bind(shapes(keys[0]), for_training=False)
    module.init_params()
    for key in keys[1:]:
        module.switch_bucket(key, shapes(key))
    module.export(folder)
    return sb.Bundle(folder)


def test_a_task_is_asked_for_by_its_number(tmp_path: Path) -> None:
    bundle = bundle_of(tmp_path / "tasks", [0, 2, 4])
    for task in (0, 2, 4):
        (answer,) = bundle.run([Request({"data": np.ones(5)}, task)])
        assert answer["y_output"].tolist() == [task + 1.0] * 5
    with pytest.raises(InvalidArgumentError, match="asks for key 1; the keys are 0, 2, 4"):
        bundle.run([Request({"data": np.ones(5)}, 1)])
    with pytest.raises(InvalidArgumentError, match=r"has no key, and no network .* found by size"):
        bundle.run([np.ones(5)])


def test_a_task_and_a_length(tmp_path: Path) -> None:
    keys = [(0, 4), (0, 8), (1, 4), (3, 8)]
    bundle = bundle_of(tmp_path / "both", keys, lambda key: key[1])
    for key, factor in (((0, 3), 1), ((1, 2), 2), ((3, 4), 4)):
        (answer,) = bundle.run([Request({"data": np.ones(key[1])}, key)])
        assert answer["y_output"].tolist() == [factor] * key[1]
    with pytest.raises(DataError, match="the bundle has no bucket of such a key"):
        bundle.run([Request({"data": np.ones(6)}, (1, 6))])  # not the network of task 3
    with pytest.raises(
        InvalidArgumentError,
        match=r"fits the networks of \(0, 4\) and \(1, 4\), which do not differ in their sizes",
    ):
        bundle.run([np.ones(3)])


def test_trees_among_which_one_is_a_pair_of_numbers(tmp_path: Path) -> None:
    keys = [((0, 0), 0), (0, 0), (0, (0, 0))]

    def sym_gen(key: Any) -> tuple[sb.Symbol, list[str], list[str]]:
        return sb.sym.identity(sb.sym.Variable("data"), name="y"), ["data"], []

    module = sb.mod.BucketingModule(sym_gen, default_bucket_key=keys[0])
    module.bind([("data", (2, 3))], for_training=False)
    module.init_params()
    module.switch_bucket(keys[1], [("data", (2, 2))])
    module.switch_bucket(keys[2], [("data", (2, 3))])
    module.export(tmp_path / "trees")
    bundle = sb.Bundle(tmp_path / "trees")
    assert len(bundle.run([Request({"data": np.ones(2)}, (0, 0))])) == 1
    with pytest.raises(InvalidArgumentError, match=r"no network .* by size; give Request\(inputs"):
        bundle.run([np.ones(3)])


def test_names_and_lengths_in_one_bundle(tmp_path: Path) -> None:
    keys = [4, 8, ("all", 3)]

    def sym_gen(key: Any) -> tuple[sb.Symbol, list[str], list[str]]:
        if isinstance(key, int):
            return sb.sym.identity(sb.sym.Variable("data"), name="y"), ["data"], []
        return sb.sym.sum(sb.sym.Variable("data"), axis=1, name="y"), ["data"], []

    module = sb.mod.BucketingModule(sym_gen, default_bucket_key=4)
    module.bind([("data", (2, 4))], for_training=False)
    module.init_params()
    module.switch_bucket(8, [("data", (2, 8))])
    module.switch_bucket(keys[2], [("data", (2, 3))])
    module.export(tmp_path / "mixed")
    bundle = sb.Bundle(tmp_path / "mixed")
    assert [len(a["y_output"]) for a in bundle.run([np.ones(3), np.ones(7)])] == [3, 7]
    with pytest.raises(DataError, match=r"Networks whose key is no size need Request\(inputs, key"):
        bundle.run([np.ones(9)])
