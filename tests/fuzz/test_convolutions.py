"""Convolutional networks compute the same with passes, without, in files, modules and sizes."""

from __future__ import annotations

import warnings
from collections import Counter

import pytest

from symbucket.compiler import compile_training
from symbucket.context import Context
from symbucket.runtime.channel_block import channel_block
from symbucket.runtime.target import target_of
from tests.fuzz import compare
from tests.fuzz.draw_convolutional import draw_convolutional
from tests.fuzz.everywhere import everywhere


def _agree(start: int, networks: int, seconds: float, every: int = 1, ways: str = "") -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of arithmetic in the reference evaluator
        *_, report = compare.fuzz(start, networks, seconds, every, draw_convolutional, ways)
    print(f"seeds {start} to {start + report.networks - 1}\n{report}")
    assert not report.failures, "\n\n".join(map(str, report.failures))
    assert sum(report.compared.values()) > report.networks / 2


def test_all_ways_agree() -> None:
    _agree(start=0, networks=12, seconds=20, every=9)


@pytest.mark.slow
def test_more_networks_agree() -> None:
    _agree(start=1000, networks=12, seconds=60, every=3)


@pytest.mark.fuzz
@pytest.mark.slow
def test_networks_agree_without_passes(seed: int) -> None:
    _agree(start=seed + 2000, networks=10, seconds=60, ways="without passes")


@pytest.mark.slow
def test_pytorch_computes_the_same() -> None:
    pytest.importorskip("torch")
    _agree(start=3000, networks=20, seconds=60, ways="PyTorch")


def test_the_networks_give_passes_work() -> None:
    changes: Counter[str] = Counter()
    for seed in range(16):
        network = draw_convolutional(seed)
        with everywhere():
            programs = compile_training(
                network.symbol,
                network.shapes,
                network.dtypes,
                network.wanted,
                target=target_of(Context("cpu")),
            )
        for program in (programs.step, programs.forward, programs.backward):
            changes.update({} if program is None else program.passes)
    names = ["pool-before-relu", "pool-before-scale"]
    names += ["block-convolutions", "stay-in-blocks"] if channel_block() else []
    assert all(changes[name] for name in names), changes


def test_a_seed_draws_the_same_network_again() -> None:
    one, other = draw_convolutional(7), draw_convolutional(7)
    assert one.describe() == other.describe()
    assert all((one.inputs[n] == other.inputs[n]).all() for n in one.inputs)


def test_numbers_of_the_same_kind_are_drawn_again() -> None:
    network = draw_convolutional(7)
    assert network.again is not None
    numbers = network.again(8)
    shapes = {n: (a.shape, a.dtype) for n, a in network.inputs.items()}
    assert {n: (a.shape, a.dtype) for n, a in numbers.items()} == shapes
    assert any((numbers[n] != a).any() for n, a in network.inputs.items())
