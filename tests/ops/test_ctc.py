"""CTCLoss: against the sum over all paths, PyTorch's and MXNet's numbers, in every form."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import symbucket as sb
from symbucket.compiler import CompilerOptions, compile_training
from symbucket.errors import DataError, ShapeError
from symbucket.types import Array
from tests.ops.op_harness import Runner


def _loss(name: str = "ctc_loss", **attributes: Any) -> sb.Symbol:
    names = ["data", "label"]
    names += [n for n in ("data_lengths", "label_lengths") if attributes.get(f"use_{n}")]
    return getattr(sb.sym, name)(*map(sb.sym.Variable, names), name="ctc", **attributes)


def _step(
    symbol: sb.Symbol, arrays: dict[str, Array], head: Array, **options: Any
) -> tuple[Array, Array]:
    """The losses, and the gradient of the data."""
    programs = compile_training(
        symbol,
        {n: a.shape for n, a in arrays.items()},
        {n: a.dtype for n, a in arrays.items()},
        ["data"],
        options=CompilerOptions(**options),
    )
    assert programs.forward is not None
    assert programs.backward is not None
    results = Runner(programs.forward.model).run(arrays)
    heads = {"ctc_output0.head": head.astype(arrays["data"].dtype)}
    gradients = Runner(programs.backward.model).run({**arrays, **results, **heads})
    return results["ctc_output0"], gradients["data.grad"]


def _log_softmax(x: Array) -> Array:
    x = x.astype(np.float64)
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))


def _of_all_paths(data: Array, label: tuple[int, ...], blank: int) -> tuple[float, Array]:
    """Minus the logarithm of the probability that ``data`` (steps, classes) reads as ``label``.

    And its gradient, the softmax less the probability of each class at each step, given the label.
    """
    logs = _log_softmax(data)
    steps, classes = logs.shape
    total, posterior = 0.0, np.zeros(logs.shape)
    is_long_enough = False
    for path in itertools.product(range(classes), repeat=steps):
        merged = [c for c, _ in itertools.groupby(path)]
        if tuple(c for c in merged if c != blank) == label:
            is_long_enough = True
            probability = float(np.exp(logs[np.arange(steps), path].sum()))
            total += probability
            posterior[np.arange(steps), path] += probability
    if not total:
        return (np.inf if is_long_enough else 0.0), np.zeros(logs.shape)
    return -np.log(total), np.exp(logs) - posterior / total


@pytest.mark.parametrize("blank_label", ["first", "last"])
@pytest.mark.parametrize("loops", [True, False])
def test_loss_is_that_of_all_paths(blank_label: str, loops: bool) -> None:
    rng = np.random.default_rng(0)
    labels = [(1, 2), (1, 1), (), (2,), (2, 1)]
    steps = [5, 4, 3, 0, 2]  # (2,) in no step is not feasible
    data = rng.normal(size=(5, 5, 3)).astype(np.float32)
    shift, blank, padding = (0, 0, 0.0) if blank_label == "first" else (1, 2, -1.0)
    arrays = {
        "data": data,
        "label": np.full((5, 2), padding, np.float32),
        "data_lengths": np.array(steps, np.float32),
    }
    for i, label in enumerate(labels):
        arrays["label"][i, : len(label)] = np.array(label, np.float32) - shift
    symbol = _loss(use_data_lengths=True, blank_label=blank_label)
    disable = () if loops else ("roll-loops",)
    losses, gradient = _step(symbol, arrays, np.ones(5), disable=disable)
    for i, (label, size) in enumerate(zip(labels, steps)):
        loss, slope = _of_all_paths(data[:size, i], tuple(c - shift for c in label), blank)
        np.testing.assert_allclose(losses[i], loss, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(gradient[:size, i], slope, atol=2e-6)
        assert not gradient[size:, i].any()
    assert losses[3] == 0.0


@pytest.mark.parametrize("steps", range(1, 8))
def test_both_ends_meet_whatever_the_number_of_steps(steps: int) -> None:
    # Up to four steps are written one by one, more are a loop.
    rng = np.random.default_rng(steps)
    labels = [(), (1,), (1, 1), (2, 1)]
    data = rng.normal(size=(steps, 4, 3))
    label = np.array([[*label, 0, 0][:2] for label in labels], np.float32)
    losses, gradient = _step(_loss(), {"data": data, "label": label}, np.ones(4))
    (outputs,) = _loss().eval(data=sb.nd.array(data, dtype="float64"), label=sb.nd.array(label))
    for i, sequence in enumerate(labels):
        loss, slope = _of_all_paths(data[:, i], sequence, 0)
        np.testing.assert_allclose([losses[i], outputs.asnumpy()[i]], loss, rtol=1e-12)
        np.testing.assert_allclose(gradient[:, i], slope, atol=1e-12)


def test_scores_of_minus_infinity_forbid_classes() -> None:
    data = np.random.default_rng(7).normal(size=(6, 3, 3)).astype(np.float32)
    data[:3, :2, 1] = -np.inf  # the label 1 can only be read at the end
    data[3:, 1, 1] = -np.inf  # and here nowhere
    data[1, 2, [0, 2]] = -np.inf
    labels = [(1, 2), (1, 2), (1, 1)]
    with np.errstate(divide="ignore"):
        expected = [_of_all_paths(data[:, i], label, 0) for i, label in enumerate(labels)]
    losses, gradient = _step(_loss(), {"data": data, "label": np.array(labels, "f")}, np.ones(3))
    np.testing.assert_allclose(losses, [loss for loss, _ in expected], rtol=1e-6)
    np.testing.assert_allclose(gradient.swapaxes(0, 1), [slope for _, slope in expected], atol=1e-6)
    assert np.isinf(losses[1])
    assert not gradient[:, 1].any()


def test_single_precision_suffices_for_400_steps() -> None:
    rng = np.random.default_rng(8)
    data = rng.normal(0, 3, (400, 2, 10)).astype(np.float32)
    label = rng.integers(1, 10, (2, 60)).astype(np.float32)
    (loss, gradient), exact = (
        _step(_loss(), {"data": data.astype(dtype), "label": label}, np.ones(2))
        for dtype in (np.float32, np.float64)
    )
    np.testing.assert_allclose(loss, exact[0], rtol=1e-6)
    np.testing.assert_allclose(gradient, exact[1], atol=1e-4)


def test_what_is_not_a_number_stays_so() -> None:
    data = np.zeros((5, 2, 3), np.float32)
    data[2, 0, 1] = np.nan
    losses, gradient = _step(_loss(), {"data": data, "label": np.ones((2, 1), "f")}, np.ones(2))
    assert np.isnan(losses).tolist() == [True, False]
    assert np.isnan(gradient[2, 0]).all()
    assert np.isfinite(gradient[:, 1]).all()


def test_loss_and_gradient_of_pytorch() -> None:
    # torch.nn.functional.ctc_loss(data.log_softmax(-1), ..., reduction="none") in float64.
    data = (np.sin(np.arange(6 * 3 * 4) * 1.7) * 2).reshape(6, 3, 4).astype(np.float32)
    arrays = {
        "data": data,
        "label": np.array([[1, 2, 3], [2, 2, 0], [3, 0, 0]], np.float32),
        "data_lengths": np.array([6, 5, 3], np.float32),
        "label_lengths": np.array([3, 2, 1], np.float32),
    }
    symbol = _loss(use_data_lengths=True, use_label_lengths=True)
    losses, gradient = _step(symbol, arrays, np.array([1.0, -2.0, 0.5]))
    np.testing.assert_allclose(losses, [4.93365613, 6.39986843, 2.11580692], rtol=1e-6)
    second = [
        [-0.511779, -1.21006503, 1.79302182, -0.07117779],
        [0.86438565, -0.05614052, 0.04222418, -0.85046931],
        [0.1529132, -0.04779114, 0.8023956, -0.90751767],
        [0.0844918, -0.75997965, 0.73204106, -0.0565532],
        [1.1647077, -1.30901492, 0.20632431, -0.06201708],
        [0.0, 0.0, 0.0, 0.0],
    ]
    third_step = [
        [-0.25590439, 0.00330803, -0.44475214, 0.6973485],
        [0.1529132, -0.04779114, 0.8023956, -0.90751767],
        [-0.03441825, 0.02401334, 0.3818196, -0.37141469],
    ]
    np.testing.assert_allclose(gradient[:, 1], second, atol=2e-6)
    np.testing.assert_allclose(gradient[2], third_step, atol=2e-6)


def test_values_of_mxnet() -> None:
    # The example of MXNet's own tests: the lengths of labels by padding.
    data = np.array(
        [
            [[1.2, 3.4, 1.2, -0.1, -2.34], [1.2, 3.4, 1.2, -0.1, -2.34]],
            [[0.1, 0.2, 0.3, 0.22, 0.123], [0.1, 0.2, 0.3, 0.22, 0.123]],
            [[-15, -14, -13, -12, -11], [-15, -14, -13, -12, -11]],
        ],
        np.float32,
    )
    label = np.array([[2, 3, 0], [2, 3, 0]], np.float32)
    losses, _ = _step(_loss(), {"data": data, "label": label}, np.ones(2))
    np.testing.assert_allclose(losses, [4.04789, 4.04789], rtol=1e-5)


def test_too_few_steps_are_no_loss_and_no_gradient() -> None:
    data = np.random.default_rng(4).normal(size=(4, 2, 3)).astype(np.float32)
    label = np.array([[2, 2, 2], [1, 2, 1]], np.float32)  # 5 steps, 3 steps
    losses, gradient = _step(_loss(), {"data": data, "label": label}, np.ones(2))
    assert losses[0] == 0.0
    assert losses[1] > 0.0
    assert not gradient[:, 0].any()
    assert gradient[:, 1].any()


def test_extreme_scores_stay_finite_and_exact() -> None:
    # All but the needed classes have the probability exp(-200) at every step.
    label = np.array([[1, 2, 1]], np.float32)
    data = np.zeros((40, 1, 3), np.float32)
    data[:, 0, 0] = 200.0
    losses, gradient = _step(_loss(), {"data": data, "label": label}, np.ones(1))
    ways = 40 * 39 * 38 / 6  # the places of three labels of one step each
    np.testing.assert_allclose(losses, 600.0 - np.log(ways), rtol=1e-6)
    assert np.isfinite(gradient).all()
    np.testing.assert_allclose(gradient.sum(axis=2), 0.0, atol=1e-6)


def test_a_step_has_few_nodes_and_no_more_with_more_steps() -> None:
    def nodes(steps: int, labels: int) -> int:
        shapes = {"data": (steps, 2, 5), "label": (2, labels)}
        symbol = sb.sym.MakeLoss(_loss())
        programs = compile_training(symbol, shapes, {}, ["data"])
        assert programs.step is not None
        return len(programs.step.proto().graph.node)

    assert nodes(10, 3) == nodes(500, 100) < 90


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_other_dtypes(dtype: str) -> None:
    rng = np.random.default_rng(5)
    data = rng.normal(size=(6, 2, 3))
    label = np.array([[1, 2], [2, 0]], np.int32)
    losses, _ = _step(_loss(), {"data": data.astype(dtype), "label": label}, np.ones(2))
    assert losses.dtype == dtype
    expected = [_of_all_paths(data[:, 0], (1, 2), 0)[0], _of_all_paths(data[:, 1], (2,), 0)[0]]
    np.testing.assert_allclose(losses, expected, rtol=1e-2 if dtype == "float16" else 1e-12)


def test_names() -> None:
    symbol = _loss("CTCLoss", use_label_lengths=True)
    assert symbol.list_arguments() == ["data", "label", "label_lengths"]
    assert symbol.list_outputs() == ["ctc_output0"]
    assert sb.sym.load_json(symbol.tojson()).tojson() == symbol.tojson()
    implicit = sb.sym.ctc_loss(sb.sym.Variable("data"), name="c")
    assert implicit.list_arguments() == ["data", "c_label"]


def test_shapes_that_do_not_fit() -> None:
    with pytest.raises(ShapeError, match="steps, n, classes"):
        _loss().infer_shape(data=(2, 3), label=(3, 2))
    with pytest.raises(ShapeError, match="differ"):
        _loss().infer_shape(data=(5, 3, 4), label=(2, 2))
    with pytest.raises(ShapeError, match="one class, the blank"):
        _loss().infer_shape(data=(5, 3, 1), label=(3, 2))


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("label", [[1, 4]], "label.0, 1. is 4.*one of 4 labels"),
        ("data_lengths", [6], "data_lengths.0. is 6.*one of 6 numbers of steps"),
        ("label_lengths", [3], "label_lengths.0. is 3.*one of 3 numbers of labels"),
    ],
)
def test_labels_and_lengths_out_of_range(name: str, values: Any, message: str) -> None:
    symbol = _loss(use_data_lengths=True, use_label_lengths=True)
    shapes = {"data": (5, 1, 4), "label": (1, 2), "data_lengths": (1,), "label_lengths": (1,)}
    bound = symbol.simple_bind(sb.cpu(), "null", **shapes)
    with pytest.raises(DataError, match=message):
        bound.feed({name: np.array(values, np.float32)})


def test_trains_in_a_bucketing_module() -> None:
    def sym_gen(key: tuple[int, int]) -> tuple[sb.Symbol, tuple[str], tuple[str]]:
        steps = sb.sym.Variable("data")  # (n, steps, 3)
        scores = sb.sym.FullyConnected(steps, num_hidden=3, flatten=False, name="fc")
        loss = sb.sym.ctc_loss(sb.sym.swapaxes(scores, dim1=0, dim2=1), name="ctc")
        return sb.sym.MakeLoss(loss), ("data",), ("ctc_label",)

    rng = np.random.default_rng(6)

    def batch(key: tuple[int, int]) -> sb.io.DataBatch:
        steps, labels = key
        label = rng.integers(1, 3, (4, labels))
        data = np.zeros((4, steps, 3), np.float32)
        for i in range(labels):  # each label at one of the steps, a blank after it
            data[np.arange(4), 2 * i, label[:, i]] = 1.0
        return sb.io.DataBatch(
            [data],
            [label.astype(np.float32)],
            bucket_key=key,
            provide_data=[sb.io.DataDesc("data", data.shape)],
            provide_label=[sb.io.DataDesc("ctc_label", label.shape)],
        )

    module = sb.mod.BucketingModule(sym_gen, default_bucket_key=(8, 4))
    first = batch((8, 4))
    module.bind(first.provide_data, first.provide_label)
    module.init_params(sb.init.Normal(0.1))
    module.init_optimizer(optimizer="sgd", optimizer_params={"learning_rate": 2.0})
    losses = []
    for i in range(40):
        module.forward_backward(batch([(8, 4), (5, 2)][i % 2]))
        losses.append(float(module.get_outputs()[0].asnumpy().mean()))
        module.update()
    assert losses[0] > 3.0 > 6 * max(losses[-2:])
