from __future__ import annotations

import json
import logging

import numpy as np
import pytest

import symbucket.initializer as init
import symbucket.random as sb_random
from symbucket.errors import (
    CheckpointError,
    InvalidArgumentError,
    NameConflictError,
    ParameterError,
    ShapeError,
    UnsupportedError,
)
from symbucket.initializer import InitDesc
from tests.initializer.filled import filled


@pytest.fixture(autouse=True)
def _seeded():
    sb_random.seed(0)
    yield
    sb_random.seed(0)


# --- names -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("fc_bias", 0),
        ("bn_gamma", 1),
        ("bn_beta", 0),
        ("bn_running_mean", 0),
        ("bn_moving_mean", 0),
        ("bn_running_var", 1),
        ("bn_moving_var", 1),
        ("bn_moving_inv_var", 0),
        ("bn_moving_avg", 0),
    ],
)
def test_names_decide(name, value):
    assert (filled(init.Xavier(), name, (5,)) == value).all()


def test_weight_uses_own_rule_and_plain_str_works():
    arr = np.zeros((2, 2), np.float32)
    init.Constant(2.5)("w_weight", arr)
    assert (arr == 2.5).all()


def test_unknown_name_teaches():
    arr = np.full((3,), 7.0, np.float32)
    with pytest.raises(ParameterError, match=r"'lstm_parameters' of shape \(3,\).*\*weight.*init="):
        init.Uniform()(InitDesc("lstm_parameters"), arr)
    assert (arr == 7).all()


def test_attribute_goes_before_name():
    text = '["lstmbias", {"forget_bias": 1.5}]'
    arr = filled(init.Xavier(), "lstm_i2h_bias", (8,), attrs={"__init__": text})
    np.testing.assert_array_equal(arr, [0, 0, 1.5, 1.5, 0, 0, 0, 0])
    arr = filled(init.Xavier(), "x_bias", (3,), attrs={"__init__": "ones"})
    assert (arr == 1).all()
    # No rule for the name is needed then.
    assert (filled(init.Xavier(), "strange", (3,), attrs={"__init__": "zeros"}) == 0).all()


def test_global_init_is_recorded():
    desc = InitDesc("fc_weight", {"lr_mult": "2"})
    assert desc == "fc_weight"
    assert desc.attrs == {"lr_mult": "2"}
    outer = init.Uniform()
    outer(desc, np.zeros((2, 2), np.float32))
    assert desc.global_init is outer


def test_a_subclass_may_override_rules():
    class Mine(init.Initializer):
        def _init_weight(self, desc, arr):
            arr[...] = 3

        def _init_bias(self, desc, arr):
            arr[...] = 4

        def _init_default(self, desc, arr):
            arr[...] = 5

    assert (filled(Mine(), "a_weight") == 3).all()
    assert (filled(Mine(), "a_bias") == 4).all()
    assert (filled(Mine(), "a_other") == 5).all()
    with pytest.raises(UnsupportedError, match="_init_weight"):
        filled(init.Initializer(), "a_weight")


# --- values ----------------------------------------------------------------------------------


def test_zero_one_constant():
    assert (filled(init.Zero()) == 0).all()
    assert (filled(init.One()) == 1).all()
    assert (filled(init.Constant(-3)) == -3).all()
    want = np.arange(6.0).reshape(2, 3)
    np.testing.assert_array_equal(filled(init.Constant(want), shape=(2, 3)), want)
    assert (filled(init.Constant(3), dtype=np.int64) == 3).all()
    with pytest.raises(ShapeError, match=r"\(2, 3\).*'fc_weight'.*\(6, 4\)"):
        filled(init.Constant(want))


def test_uniform_bounds_and_moments():
    arr = filled(init.Uniform(0.5), shape=(300, 300))
    assert arr.min() >= -0.5
    assert arr.max() <= 0.5
    assert abs(arr.mean()) < 0.005
    assert arr.std() == pytest.approx(0.5 / np.sqrt(3), rel=0.01)
    assert np.abs(filled(init.Uniform(), shape=(300, 300))).max() == pytest.approx(0.07, rel=0.01)


def test_normal_moments():
    arr = filled(init.Normal(0.2), shape=(300, 300))
    assert abs(arr.mean()) < 0.003
    assert arr.std() == pytest.approx(0.2, rel=0.01)
    # a normal distribution: 68.27% within one deviation
    assert (np.abs(arr) < 0.2).mean() == pytest.approx(0.6827, abs=0.01)


@pytest.mark.parametrize(
    ("factor_type", "shape", "factor"),
    [
        ("in", (200, 300), 300),
        ("out", (200, 300), 200),
        ("avg", (200, 300), 250),
        ("in", (40, 30, 5, 3), 30 * 15),
        ("out", (40, 30, 5, 3), 40 * 15),
        ("avg", (40, 30, 5, 3), 35 * 15),
    ],
)
def test_xavier_scale(factor_type, shape, factor):
    scale = np.sqrt(2.34 / factor)
    even = filled(init.Xavier("uniform", factor_type, 2.34), shape=shape)
    assert np.abs(even).max() <= scale * (1 + 1e-6)
    assert even.std() == pytest.approx(scale / np.sqrt(3), rel=0.02)
    normal = filled(init.Xavier("gaussian", factor_type, 2.34), shape=shape)
    assert normal.std() == pytest.approx(scale, rel=0.02)
    assert np.abs(normal).max() > 2 * scale


def test_xavier_defaults():
    bound = np.sqrt(3 / ((100 + 300) / 2))
    arr = filled(init.Xavier(), shape=(100, 300))
    assert bound * 0.99 < np.abs(arr).max() <= bound * (1 + 1e-6)


def test_msra_prelu():
    arr = filled(init.MSRAPrelu("in", 0.5), shape=(200, 300))
    assert arr.std() == pytest.approx(np.sqrt(2 / (1 + 0.25) / 300), rel=0.02)


@pytest.mark.parametrize("rand_type", ["uniform", "normal"])
@pytest.mark.parametrize("shape", [(4, 9), (9, 4), (5, 5), (3, 2, 2, 2)])
def test_orthogonal(shape, rand_type):
    matrix = filled(init.Orthogonal(1.5, rand_type), shape=shape, dtype=np.float64)
    matrix = matrix.reshape(shape[0], -1)
    if matrix.shape[0] > matrix.shape[1]:
        matrix = matrix.T
    np.testing.assert_allclose(matrix @ matrix.T, 1.5**2 * np.eye(len(matrix)), atol=1e-12)


def test_lstm_bias_is_second_quarter():
    want = [0, 0, 0, 2, 2, 2, 0, 0, 0, 0, 0, 0]
    np.testing.assert_array_equal(filled(init.LSTMBias(2.0), "lstm_bias", (12,)), want)
    with pytest.raises(ShapeError, match=r"'lstm_bias' has shape \(10,\).*4 \* num_hidden"):
        filled(init.LSTMBias(), "lstm_bias", (10,))


@pytest.mark.parametrize("size", [3, 4, 5])
def test_bilinear(size):
    arr = filled(init.Bilinear(), "up_weight", (2, 1, size, size), np.float64)
    half = -(-size // 2)
    centre = (2 * half - 1 - half % 2) / (2 * half)
    for y in range(size):
        for x in range(size):
            want = (1 - abs(x / half - centre)) * (1 - abs(y / half - centre))
            np.testing.assert_allclose(arr[:, 0, y, x], want)
    with pytest.raises(ShapeError, match="height, width"):
        filled(init.Bilinear(), "up_weight", (3, 3))


def test_float16_and_scalar_arrays():
    assert filled(init.Uniform(), dtype=np.float16).dtype == np.float16
    assert filled(init.Normal(), shape=()).shape == ()
    assert filled(init.Xavier(), shape=(0, 3)).shape == (0, 3)


# --- choosing --------------------------------------------------------------------------------


def test_mixed_first_match_wins():
    mixed = init.Mixed([".*bias", "emb", ".*"], ["zeros", init.Constant(2), init.One()])
    assert (filled(mixed, "fc_bias") == 0).all()
    assert (filled(mixed, "emb_weight") == 2).all()
    assert (filled(mixed, "the_emb_weight") == 1).all()
    lstm = init.Mixed([".*i2h_bias", ".*"], [init.LSTMBias(), init.Xavier()])
    np.testing.assert_array_equal(filled(lstm, "l0_i2h_bias", (4,)), [0, 1, 0, 0])
    with pytest.raises(ParameterError, match="'fc_weight' fits none"):
        filled(init.Mixed(["x"], [init.Zero()]))
    with pytest.raises(InvalidArgumentError, match="one initializer for each"):
        init.Mixed(["x"], [])
    with pytest.raises(InvalidArgumentError, match="regular expression"):
        init.Mixed(["("], [init.Zero()])
    with pytest.raises(UnsupportedError, match="init_params"):
        mixed.dumps()


def test_load_copies_or_falls_back():
    w = np.arange(24.0).reshape(6, 4)
    load = init.Load({"arg:fc_weight": w, "aux:bn_moving_var": np.full(3, 9.0)}, init.One())
    np.testing.assert_array_equal(filled(load), w)
    assert (filled(load, "bn_moving_var", (3,)) == 9).all()
    assert (filled(load, "other_weight") == 1).all()
    arr = np.full((4, 6), 5.0)
    with pytest.raises(ParameterError, match=r"\(4, 6\) in the network, but \(6, 4\)"):
        load(InitDesc("fc_weight"), arr)
    assert (arr == 5).all()
    with pytest.raises(ParameterError, match=r"'b_weight' is not among.*a_weight"):
        filled(init.Load({"a_weight": w}), "b_weight")
    with pytest.raises(ParameterError, match="twice"):
        init.Load({"arg:a": w, "aux:a": w})
    with pytest.raises(InvalidArgumentError, match="dict"):
        init.Load([w])
    with pytest.raises(CheckpointError, match=r"there is no parameter file 'file\.params'"):
        init.Load("file.params")
    with pytest.raises(UnsupportedError):
        load.dumps()


# --- text ------------------------------------------------------------------------------------


def test_dumps_is_mxnets_text():
    assert init.Normal(0.5).dumps() == '["normal", {"sigma": 0.5}]'
    assert json.loads(init.Xavier(factor_type="in", magnitude=2.34).dumps()) == [
        "xavier",
        {"rnd_type": "uniform", "factor_type": "in", "magnitude": 2.34},
    ]
    assert init.LSTMBias(1.0).dumps() == '["lstmbias", {"forget_bias": 1.0}]'
    assert init.Zero().dumps() == '["zero", {}]'
    assert json.loads(init.MSRAPrelu().dumps()) == [
        "msraprelu",
        {"factor_type": "avg", "slope": 0.25},
    ]


@pytest.mark.parametrize(
    "initializer",
    [
        init.Zero(),
        init.One(),
        init.Constant(4),
        init.Constant(np.ones((6, 4))),
        init.Uniform(0.3),
        init.Normal(np.float32(0.5), seed=3),
        init.Orthogonal(rand_type="normal"),
        init.Xavier("gaussian", "out", 2, seed=np.int64(9)),
        init.MSRAPrelu(slope=0.1, seed=2),
    ],
    ids=repr,
)
def test_text_makes_an_equal_initializer(initializer):
    again = init.create(initializer.dumps())
    assert type(again) is type(initializer)
    assert again.dumps() == initializer.dumps()
    first = filled(initializer)
    sb_random.seed(0)
    np.testing.assert_array_equal(filled(again), first)


def test_create_and_register():
    assert isinstance(init.create("XAVIER", magnitude=2), init.Xavier)
    ready = init.Uniform()
    assert init.create(ready) is ready
    assert init.create('{"initializer": "normal", "sigma": 2}').sigma == 2

    @init.register
    @init.alias("mine_too")
    class MyOwnInit(init.Initializer):
        def _init_weight(self, desc, arr):
            arr[...] = 11

    assert (filled(init.Zero(), attrs={"__init__": "myowninit"}) == 11).all()
    assert isinstance(init.create("mine_too"), MyOwnInit)
    with pytest.raises(NameConflictError, match="'xavier' already belongs"):
        init.alias("xavier")(MyOwnInit)
    with pytest.raises(InvalidArgumentError, match="subclass"):
        init.register(int)


@pytest.mark.parametrize(
    ("spec", "kwargs", "message"),
    [
        ("xavir", {}, "Did you mean 'xavier'"),
        ("xavier", {"magnitud": 2}, "cannot make initializer 'xavier'.*magnitud"),
        ('["xavier", {]', {}, "not JSON"),
        ("[3]", {}, "form"),
        ('["xavier"]', {"magnitude": 2}, "already holds its arguments"),
        ('{"sigma": 2}', {}, "must name its class"),
        (3, {}, "found 3 of type int"),
        (init.Zero(), {"x": 1}, "ready initializer"),
    ],
)
def test_create_errors(spec, kwargs, message):
    with pytest.raises(InvalidArgumentError, match=message):
        init.create(spec, **kwargs)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: init.Xavier("normal"), "rnd_type must be one of 'uniform', 'gaussian'"),
        (lambda: init.Xavier(factor_type="mean"), "factor_type"),
        (lambda: init.Xavier(magnitude=-1), "magnitude must be a finite number >= 0, found -1"),
        (lambda: init.Uniform("0.1"), "scale.*'0.1' of type str"),
        (lambda: init.Normal(float("nan")), "sigma"),
        (lambda: init.Orthogonal(rand_type="gaussian"), "rand_type"),
        (lambda: init.Uniform(seed=-1), "seed must be a whole number"),
        (lambda: init.Uniform(seed=0.5), "seed must be a whole number"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(InvalidArgumentError, match=message):
        make()


def test_bad_arrays_stay_unchanged():
    for initializer in (init.Uniform(), init.Normal(), init.Xavier(), init.Constant(0.5)):
        arr = np.full((2, 2), 7, np.int32)
        with pytest.raises(ShapeError, match=r"'fc_weight'.*int32"):
            initializer(InitDesc("fc_weight"), arr)
        assert (arr == 7).all()
    arr = np.full((3,), 7.0)
    with pytest.raises(ShapeError, match=r"'fc_weight' of shape \(3,\).*two axes"):
        init.Xavier()(InitDesc("fc_weight"), arr)
    assert (arr == 7).all()


def test_verbosity(caplog):
    caplog.set_level(logging.INFO)
    filled(init.Constant(3).set_verbosity(True))
    assert "Initialized fc_weight by Constant(value=3): 3" in caplog.text
    caplog.clear()
    filled(init.Constant(3).set_verbosity(True, lambda arr: f"max {arr.max()}"))
    assert "max 3.0" in caplog.text
    caplog.clear()
    filled(init.Constant(3).set_verbosity(True).set_verbosity(False))
    filled(init.Load({}, "ones", verbose=True))
    assert caplog.messages == ["Initialized fc_weight by default_init"]


@pytest.mark.parametrize(
    ("values", "dtype", "first"),
    [
        (300, "int8", "300"),
        (-1, "uint8", "-1"),
        ([300, 1], "uint8", "300"),
        (2**40, "int32", "1099511627776"),
        (float("inf"), "int32", "inf"),
        ([0, 5], "bool", "5"),
    ],
)
def test_values_that_the_dtype_does_not_hold_are_refused(values, dtype, first):
    arr = np.zeros(2, dtype)
    loaded = init.Load({"a_weight": np.broadcast_to(values, 2)})
    for initializer in (init.Constant(values), loaded):
        with pytest.raises(ShapeError, match=f"does not hold .* the first {first}"):
            initializer("a_weight", arr)
        assert not arr.any()


def test_loaded_fractions_are_not_cut_to_integers():
    with pytest.raises(ShapeError, match=r"int32, which does not hold 1 of the 2 .* first 1\.5"):
        init.Load({"a_weight": np.array([1.5, 2])})("a_weight", np.zeros(2, "int32"))
    arr = np.zeros(2, "float32")
    init.Load({"a_weight": np.array([0.1, 2])})("a_weight", arr)  # floats are rounded
    assert arr.tolist() == np.array([0.1, 2], "float32").tolist()
