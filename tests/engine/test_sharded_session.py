"""Programs over shards of a batch: parts are cut and put together, whatever axis has the batch."""

from dataclasses import replace

import numpy as np
import pytest

import symbucket as sb
from symbucket import sym
from symbucket.compiler import Role, compile_training
from symbucket.compiler.shards.sharding import Piece, Sharding
from symbucket.context import Context
from symbucket.engine.runner import PortArrays, Runner
from symbucket.errors import SymbucketError
from symbucket.runtime.ndarray import NDArray

ROWS, STEPS, WIDTH, UNITS = 8, 3, 4, 5


def network():
    """Rows in the second axis of the data, a loss that sums, and a picture of what it saw."""
    x = sym.Variable("data")  # (steps, rows, width)
    out = sym.FullyConnected(x, num_hidden=UNITS, flatten=False, name="fc")
    loss = sym.MakeLoss(sym.sum(sym.square(out), axis=(0, 2)), name="loss")
    return sym.Group([loss, sym.BlockGrad(out, name="seen")])


def shapes(rows):
    return {"data": (STEPS, rows, WIDTH), "fc_weight": (UNITS, WIDTH), "fc_bias": (UNITS,)}


def programs(parts):
    """The step of a whole batch, and one whose model is for a shard of it."""
    wanted = ["data", "fc_weight", "fc_bias"]
    whole = compile_training(network(), shapes(ROWS), wanted=wanted).step
    shard = compile_training(network(), shapes(ROWS // parts), wanted=wanted).step
    pieces = {
        "data": Piece("rows", STEPS),
        "fc_weight": Piece("same"),
        "fc_bias": Piece("same"),
        "loss_output": Piece("rows"),
        "seen_output": Piece("rows", STEPS),
        "data.grad": Piece("rows", STEPS),
        "fc_weight.grad": Piece("sum"),
        "fc_bias.grad": Piece("sum"),
    }
    sharded = replace(
        shard, inputs=whole.inputs, outputs=whole.outputs, sharding=Sharding(parts, pieces)
    )
    return whole, sharded


def arrays_for(runner, values):
    """Given values for the inputs, zeros for everything else."""
    ports = runner.unbound(PortArrays(values))
    return {p.name: NDArray.zeros(p.shape, p.dtype) for p in ports}


@pytest.mark.parametrize("parts", [2, 4])
def test_the_whole_and_its_shards(parts):
    rng = np.random.default_rng(parts)
    values = {name: sb.nd.array(rng.normal(size=shape)) for name, shape in shapes(ROWS).items()}
    results = []
    for program in programs(parts):
        runner = Runner(program, Context("cpu"), "step")
        buffers = arrays_for(runner, values)
        partial = [name for name in buffers if name.startswith("partial/")]
        assert len(partial) == (0 if program.sharding is None else 2 * (parts - 1))
        runner.bind(PortArrays(values, buffers=buffers))
        for _ in range(3):  # sums begin anew in each run
            runner.run()
        results.append({n: a.asnumpy() for n, a in buffers.items() if n not in partial})
        # Other arrays, after the old ones were released.
        runner.release()
        fresh = arrays_for(runner, values)
        runner.bind(PortArrays(values, buffers=fresh))
        runner.run()
        for name, array in results[-1].items():
            assert (fresh[name].asnumpy() == array).all()
    whole, sharded = results
    for name, expected in whole.items():
        np.testing.assert_allclose(sharded[name], expected, rtol=1e-5, atol=1e-5, err_msg=name)


def test_a_shard_that_fails(monkeypatch):
    _, program = programs(2)
    runner = Runner(program, Context("cpu"), "step")
    values = {name: NDArray.zeros(shape) for name, shape in shapes(ROWS).items()}
    runner.bind(PortArrays(values, buffers=arrays_for(runner, values)))
    second = runner._session._sessions[1]

    def fail():
        raise SymbucketError("no")

    monkeypatch.setattr(second, "run", fail)
    with pytest.raises(SymbucketError, match="no"):
        runner.run()
    monkeypatch.undo()
    runner.run()


def test_roles_of_partial_sums_are_no_ports():
    whole, sharded = programs(2)
    assert all(port.role is not Role.PARTIAL for port in (*sharded.inputs, *sharded.outputs))
    assert Runner(whole, Context("cpu"), "step").unbound(PortArrays()) != []
