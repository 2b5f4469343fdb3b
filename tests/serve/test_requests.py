"""Requests: values that an input holds, what samples of a run share, and lists of them."""

import threading
from collections import Counter

import numpy as np
import pytest

import symbucket as sb
from symbucket import sym
from symbucket.errors import DataError, InvalidArgumentError
from symbucket.serve import Batcher
from symbucket.serve.deadline import LONGEST
from tests.export.bundles import bound, sentences


def exported(folder, symbol, shapes, **options):
    module = bound(symbol, shapes)
    module.export(folder / "b", **options)
    return sb.Bundle(folder / "b")


SCALED = sym.broadcast_mul(sym.Variable("x"), sym.Variable("scale"), name="y")
"""Every row times one number for the whole batch."""


@pytest.fixture(params=[False, True], ids=["fixed", "free batch"])
def scaled(request, tmp_path):
    shapes = [("x", (4, 3)), ("scale", (1,))]
    return exported(tmp_path, SCALED, shapes, dynamic_batch=request.param)


def test_requests_share_a_run_only_with_equal_values_of_what_has_no_batch_axis(scaled):
    scales = [2.0, 5.0, 2.0, 3.0, 5.0, 2.0, 2.0, 2.0]
    requests = [{"x": np.arange(3) + i, "scale": [s]} for i, s in enumerate(scales)]
    for answer, one in zip(scaled.run(requests), requests):
        np.testing.assert_array_equal(answer["y_output"], one["x"] * one["scale"][0])
    # Five of one value in two batches of four, two of another, one of the third.
    assert scaled.statistics()["net"].runs == 4


def test_a_batcher_keeps_apart_what_cannot_share_a_run(scaled):
    batcher = Batcher(scaled, max_delay=0.05)
    scales = [2.0, 5.0, 2.0, 3.0]
    futures = [batcher.submit({"x": np.ones(3), "scale": [s]}) for s in scales]
    answers = [future.result(30)["y_output"][0] for future in futures]
    batcher.close()
    assert answers == scales


def test_a_shared_input_that_is_shorter_than_the_bucket_is_padded(tmp_path):
    """The same number of elements as the buffer has, from two requests, fills only half of it."""
    total = sym.sum(sym.Variable("bias"), axis=0, keepdims=True)
    net = sym.broadcast_add(sym.Variable("x"), total, name="y")

    def shapes(key):
        return [("x", (2, key)), ("bias", (key,))]

    module = sb.mod.BucketingModule(lambda key: (net, ["x", "bias"], []), default_bucket_key=6)
    module.bind(shapes(6), for_training=False)
    module.init_params(sb.init.One())
    module.switch_bucket(4, shapes(4))
    module.export(tmp_path / "b")
    bundle = sb.Bundle(tmp_path / "b")
    bundle({"x": np.zeros(6), "bias": np.full(6, 9.0)})
    for answer in bundle.run([{"x": np.zeros(3), "bias": np.ones(3)}] * 2):
        np.testing.assert_array_equal(answer["y_output"], np.full(3, 3.0))


def test_runs_of_a_bundle_for_one_sample_stay_runs_of_one(tmp_path):
    """Other bundles have runs of twice their batch where requests are of one length."""
    x, scale = sym.Variable("x"), sym.Variable("scale")
    total = sym.sum(sym.broadcast_mul(x, scale), name="total")  # over all samples
    net = sym.Group([sym.identity(x, name="same"), total])

    def shapes(key):
        return [("x", (1, key)), sb.io.DataDesc("scale", (1,), layout="X")]  # not one of samples

    module = sb.mod.BucketingModule(lambda key: (net, ["x", "scale"], []), default_bucket_key=6)
    module.bind(shapes(6), for_training=False)
    module.init_params()
    module.switch_bucket(4, shapes(4))
    module.export(tmp_path / "b", dynamic_length=True)
    requests = [{"x": np.arange(3) + i, "scale": [i % 3]} for i in range(40)]
    for answer, one in zip(sb.Bundle(tmp_path / "b", workers=1).run(requests), requests):
        np.testing.assert_array_equal(answer["same_output"], one["x"])
        np.testing.assert_array_equal(answer["total_output"], one["x"].sum() * one["scale"][0])


VALUES = {  # what an input of a dtype takes, and what it does not
    "uint8": ([0, 1, 255], ([-1], [256], [2.0**40], [1.5], [np.nan], [np.inf], [1j])),
    "int8": ([-128, 127.0], ([-129], [128], [300])),
    "int32": ([-(2**31), 2**31 - 1, True], ([2**31], [-(2.0**31) - 1], [1e39])),
    "int64": ([-(2**63), 2**63 - 1], ([2.0**63], [1e39], np.array([2**63], np.uint64))),
    "bool": ([0, 1.0, True], ([2], [-1], [0.5])),
    "float16": ([1.5, -65504.0, np.inf, 2048], ([70000], [-7e4, np.nan], [1j], [2049])),
    "float32": (
        [1.5, -3e38, np.nan, 2**60, -(2**24)],
        ([1e39], [0, -1e300, np.inf], [1j], [5, 2**24 + 1], [-(2**40) - 1]),
    ),
    "float64": ([1e300, -1e39, np.inf, 2**53], ([1 + 2j], [2**53 + 1])),
}


@pytest.mark.parametrize("dtype", VALUES)
def test_no_number_becomes_another_one(tmp_path, dtype):
    net = sym.identity(sym.Variable("x"), name="y")
    bundle = exported(tmp_path, net, [sb.io.DataDesc("x", (2, 3), dtype)])
    taken, refused = VALUES[dtype]
    for value in taken:
        answer = bundle(np.array([value] * 3))["y_output"]
        assert answer.dtype == dtype
        np.testing.assert_array_equal(answer, np.array([value] * 3).astype(dtype))
    good = np.array([1, 0, 1], dtype)
    for values in refused:
        bad = np.array([*values, *[1] * (3 - len(values))])
        for requests in ([bad], [good, bad], [bad, good]):
            with pytest.raises(DataError, match=r"holds|complex") as caught:
                bundle.run(requests)
            assert f"request {len(requests) - 1 if requests[0] is good else 0}: x" in str(caught)


@pytest.mark.parametrize("layout", ["backwards", "every third", "column", "one for all", "big end"])
@pytest.mark.parametrize("dtype", ["uint8", "int32", "float64", "bool"])
def test_requests_may_be_views_of_any_layout_and_dtype(original, layout, dtype):
    base = np.arange(54) % 9 + 1
    base = (base > 4).astype(dtype) if dtype == "bool" else base.astype(dtype)
    view = {
        "backwards": base[8:3:-1],
        "every third": base[: 3 * 5 : 3],
        "column": np.asfortranarray(base.reshape(9, 6))[:, 1],
        "one for all": np.broadcast_to(base[4:5], 7),
        "big end": base[:6].astype(base.dtype.newbyteorder(">")),
    }[layout]
    bundle = sb.Bundle(original)
    expected = bundle(list(map(int, view)))
    for answer in bundle.run([view, view[:2], view])[::2]:
        np.testing.assert_allclose(answer["softmax_output"], expected["softmax_output"], atol=1e-6)


def test_the_array_of_a_request_may_be_filled_anew_after_submit(original):
    bundle = sb.Bundle(original)
    requests = sentences((9, 9, 9, 9, 9))
    expected = [bundle(one)["softmax_output"] for one in requests]
    batcher, buffer, futures = Batcher(bundle, max_delay=0.05), np.empty(9, int), []
    for one in requests:
        buffer[:] = one
        futures.append(batcher.submit(buffer))
    buffer[:] = 10**6  # an index that was never checked
    for future, right in zip(futures, expected):
        np.testing.assert_allclose(future.result(30)["softmax_output"], right, atol=1e-6)
    batcher.close()


@pytest.mark.parametrize("requests", [None, 3, "abc", {"data": [1, 2]}, sb.serve.Request({})])
def test_what_is_no_list_of_requests_is_refused(original, requests):
    with pytest.raises(InvalidArgumentError, match=r"expected a list of requests.*run\(\[request"):
        sb.Bundle(original).run(requests)


def test_endless_times_are_no_fault(original):
    """No clock takes them; the threads of a batcher must not end by them."""
    bundle = sb.Bundle(original, workers=1)
    faults = []
    before, threading.excepthook = threading.excepthook, faults.append
    try:
        assert len(bundle.run(sentences((3, 4)), timeout=1e300)) == 2
        batcher = Batcher(bundle, max_delay=1e300)
        assert batcher.max_delay == LONGEST
        futures = [batcher.submit(one, timeout=1e300) for one in sentences((3, 4, 3))]
        batcher.close()
        assert Counter(map(len, (f.result(30) for f in futures))) == {1: 3}
    finally:
        threading.excepthook = before
    assert not faults


@pytest.mark.parametrize("dtype", ["float32", "int32"])
def test_ids_below_all_rows_are_the_first_row_or_refused(tmp_path, dtype):
    """Rounded to float32 they stay below; as int32 they would be others."""
    net = sym.Embedding(sym.Variable("x"), input_dim=9, output_dim=2, name="y")
    bundle = exported(tmp_path, net, [sb.io.DataDesc("x", (2, 3), dtype)])
    first = bundle(np.zeros(3, np.int64))["y_output"]
    np.testing.assert_array_equal(bundle(np.array([-1, -5, -(2**24) - 1]))["y_output"], first)
    low = np.array([0, 0, -(2**40) - 1])
    if dtype == "float32":
        np.testing.assert_array_equal(bundle(low)["y_output"], first)
    else:
        with pytest.raises(DataError, match=r"request 0: x holds -1099511627777, which would beco"):
            bundle(low)
