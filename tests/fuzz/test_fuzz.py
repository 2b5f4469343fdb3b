"""Networks over all operators, computed in every way the library has, agree with each other.

Every network is known by a number, its seed; a failure prints it. ``python -m tests.fuzz`` goes on
for as long as one likes.
"""

from __future__ import annotations

import dataclasses
import warnings

import pytest

from symbucket import ops
from tests.fuzz import compare
from tests.fuzz.networks import NOT_DRAWN, PER_NETWORK, Network, draw_network
from tests.fuzz.ways import WAYS, Results, infer


def _agree(start: int, networks: int, seconds: float, every: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of arithmetic in the reference evaluator
        *_, report = compare.fuzz(start, networks, seconds, every)
    print(f"seeds {start} to {start + report.networks - 1}\n{report}")
    assert not report.failures, "\n\n".join(map(str, report.failures))
    assert sum(report.compared.values()) > report.networks


def test_all_ways_agree() -> None:
    _agree(start=0, networks=80, seconds=18, every=4)


@pytest.mark.slow
def test_more_networks_agree() -> None:
    _agree(start=10_000, networks=150, seconds=120, every=1)


def test_a_row_of_networks_has_every_operator() -> None:
    names = {ops.find(name).op_name for name in ops.names()} - NOT_DRAWN
    rounds = -(-len(names) // PER_NETWORK)
    networks = map(draw_network, range(4 * rounds // 3 + 4))  # every fourth takes no deck
    drawn = {op.op_name for network in networks for op in network.operators}
    assert drawn >= names


def test_a_seed_draws_the_same_network_again() -> None:
    one, other = draw_network(7), draw_network(7)
    assert one.describe() == other.describe()
    assert all((one.inputs[n] == other.inputs[n]).all() for n in one.inputs)


def test_a_difference_is_reported_for_the_node_that_has_it(monkeypatch) -> None:
    def wrong(network: Network) -> Results:
        results = infer(network)
        if any(op.op_name == "tanh" for op in network.operators):
            results = {n: a + 0.01 for n, a in results.items()}
        return results

    way = WAYS["portable model"]
    monkeypatch.setitem(WAYS, "portable model", dataclasses.replace(way, run=wrong))
    network = next(n for n in map(draw_network, range(100)) if _is_plain(n))
    failures = compare.compare(network, compare.Report())
    assert [f.way for f in failures] == ["portable model"]
    text = str(failures[0])
    assert f"seed {network.seed}: 'portable model' and 'inference' differ in output 0" in text
    assert "off by 0.01, allowed" in text
    assert failures[0].network.operators[-1].op_name == "tanh"


def _is_plain(network: Network) -> bool:
    """Whether it contains tanh, and every way can go it."""
    has_tanh = any(op.op_name == "tanh" for op in network.operators)
    return has_tanh and not network.draws and set(map(str, network.dtypes.values())) == {"float32"}
