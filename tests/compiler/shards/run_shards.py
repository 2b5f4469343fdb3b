"""Compile a training step whole and for shards, run both, and compare all outputs."""

from dataclasses import replace

import numpy as np
import onnxruntime

from symbucket.compiler import compile_training
from symbucket.compiler.shards import shard_rows
from symbucket.compiler.target import CPU
from tests.compiler.verify_graph import infer_strictly

TOLERANCE = 2e-5  # of the largest element
INTEGERS = ("label", "ids", "tokens")


def compile_both(symbol, shapes, axes, parts=2, pays=True, **request):
    """The step of the whole batch, and what is compiled for shards."""
    known = dict(zip(symbol.list_arguments(), symbol.infer_shape(**shapes)[0]))
    request.setdefault("wanted", [name for name in known if name not in shapes])
    request.setdefault("target", CPU)
    whole = compile_training(symbol, shapes, **request).step
    request["target"] = replace(request["target"], shards=parts)
    asked = shard_rows.pays
    shard_rows.pays = (lambda *_: True) if pays else asked
    try:
        shard = compile_training(symbol, shapes, batch_axes=axes, **request)
    finally:
        shard_rows.pays = asked
    return whole, next(iter(shard.models))


def draw(program, rng, classes=7):
    """Numbers for the inputs of a program; labels and ids are classes, some of them 0."""
    feed = {}
    for port in program.inputs:
        if any(word in port.of for word in INTEGERS):
            array = rng.integers(0, classes, port.shape) * (rng.random(port.shape) < 0.8)
        elif port.dtype == np.bool_:
            array = rng.random(port.shape) < 0.5
        else:
            array = rng.normal(size=port.shape) * 0.5
        feed[port.name] = array.astype(port.dtype)
    return feed


def run_whole(program, feed):
    """Outputs by name."""
    assert program.sharding is None
    results = _session(program).run(None, {p.name: feed[p.name] for p in program.inputs})
    return dict(zip([port.name for port in program.outputs], results))


def run_shards(program, feed):
    """Outputs by name, from runs over the parts of the rows one after the other."""
    parts, pieces = program.sharding.parts, program.sharding.pieces
    assert pieces.keys() == {port.name for port in (*program.inputs, *program.outputs)}
    session = _session(program)
    shapes = {value.name: value.shape for value in session.get_inputs()}
    results = []
    for shard in range(parts):
        own = {}
        for port in program.inputs:
            array, piece = feed.get(port.name, feed.get(port.of)), pieces[port.name]
            assert array.shape == port.shape
            if piece.kind == "rows":
                array = array.reshape(piece.outer, parts, -1)[:, shard]
            own[port.name] = np.ascontiguousarray(array.reshape(shapes[port.name]))
        results.append(session.run(None, own))
    outputs = {}
    for port, *arrays in zip(program.outputs, *results):
        piece = pieces[port.name]
        if piece.kind == "rows":
            cut = [array.reshape(piece.outer, -1) for array in arrays]
            outputs[port.name] = np.stack(cut, axis=1).reshape(port.shape)
        elif piece.kind == "sum":
            outputs[port.name] = sum(arrays[1:], arrays[0])
        else:
            assert all(np.array_equal(array, arrays[0]) for array in arrays), port.name
            outputs[port.name] = arrays[0]
        assert outputs[port.name].shape == port.shape
    return outputs


def compare(whole, shards):
    """All outputs are the same but for rounding."""
    assert whole.keys() == shards.keys()
    for name, expected in whole.items():
        scale = max(np.abs(expected).max(initial=0.0), 1e-30)
        np.testing.assert_allclose(
            shards[name] / scale, expected / scale, rtol=0, atol=TOLERANCE, err_msg=name
        )


def check(symbol, shapes, axes, seed=0, draws=1, feed=None, **request):
    """Compile, run and compare; returns the program of a shard."""
    whole, shard = compile_both(symbol, shapes, axes, **request)
    assert shard.sharding is not None, shard.unsharded
    infer_strictly(shard.proto())
    rng = np.random.default_rng(seed)
    for _ in range(draws):
        numbers = {**draw(whole, rng), **(feed or {})}
        compare(run_whole(whole, numbers), run_shards(shard, numbers))
    return shard


def reason(symbol, shapes, axes, **request):
    """Why a network is not cut into shards."""
    _, step = compile_both(symbol, shapes, axes, **request)
    assert step.sharding is None
    return step.unsharded


def _session(program):
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 3, 1
    return onnxruntime.InferenceSession(program.model, options, ["CPUExecutionProvider"])
