"""Bad input gets a clear error; nothing is lost and nothing half changed.

Each test asserts what the message says, that parameters, auxiliary states and outputs are those of
before, and that the module trains on afterwards.
"""

import logging

import numpy as np
import pytest

import symbucket as sb
from symbucket import sym
from symbucket.errors import (
    CheckpointError,
    DataError,
    InvalidArgumentError,
    NameConflictError,
    ParameterError,
    ShapeError,
    SymbucketError,
)
from tests.small_networks import VOCAB, bucketing, generate, numbers, same, sentence_batch, shapes


@pytest.fixture
def rng():
    return np.random.default_rng(0)


class _Untouched:
    """A trained module; inside ``with`` an error must come and leave everything as it was."""

    def __init__(self, module, rng):
        self.module, self.rng = module, rng
        self.probe = sentence_batch(rng, 6)

    def refuses(self, action, error, *words):
        module = self.module
        module.forward(self.probe, is_train=True)
        outputs = module.get_outputs()[0].asnumpy()
        params, key, keys = numbers(module), module.bucket_key, module.bucket_keys
        with pytest.raises(error) as caught:
            action()
        for word in words:
            assert word in str(caught.value), f"{word!r} is not in: {caught.value}"
        assert isinstance(caught.value, (SymbucketError, ValueError))
        assert same(numbers(module), params)
        assert module.bucket_key == key
        assert [k for k in module.bucket_keys if k in keys] == keys
        np.testing.assert_array_equal(module.get_outputs()[0].asnumpy(), outputs)
        # The batch before the bad one can still be finished, and other keys train on.
        module.backward()
        module.update()
        module.forward_backward(sentence_batch(self.rng, 3))
        module.update()
        assert not same(numbers(module), params)


@pytest.fixture
def trained(rng):
    module = bucketing()
    for key in (6, 3):
        module.forward_backward(sentence_batch(rng, key))
        module.update()
    return _Untouched(module, rng)


# Keys whose parameters differ --------------------------------------------------------------------


def _with_odd_key(change):
    """``generate`` but for key 5, whose network ``change`` makes."""

    def sym_gen(key):
        return (change(), ("data",), ("softmax_label",)) if key == 5 else generate(key)

    return sym_gen


def _odd(hidden=VOCAB, name="pred", dtype=None, width=5):
    data = sym.Variable("data")
    x = sym.Embedding(data, input_dim=VOCAB, output_dim=4, name="embed")
    x = sym.FullyConnected(sym.Reshape(x, shape=(-1, 4)), num_hidden=20, name="lstm_i2h")
    x = sym.slice_axis(x, axis=1, begin=0, end=width)
    weight = None if dtype is None else sym.Variable(f"{name}_weight", dtype=dtype)
    if dtype is not None:
        x = sym.Cast(x, dtype=dtype)
    x = sym.FullyConnected(x, weight, num_hidden=hidden, name=name)
    return sym.SoftmaxOutput(x, sym.Reshape(sym.Variable("softmax_label"), shape=(-1,)), name="s")


@pytest.mark.parametrize(
    ("odd", "words"),
    [
        (
            {"name": "other"},
            ["bucket key 5 has a parameter 'other_weight' (10, 5)", "bucket key 6 does not have"],
        ),
        (
            {"width": 4},
            ["'pred_weight' has shape (10, 5) for bucket key 6", "(10, 4) for bucket key 5"],
        ),
        (
            {"dtype": "float64"},
            ["'pred_weight' has dtype float32 for bucket key 6", "float64 for bucket key 5"],
        ),
    ],
    ids=["name", "shape", "dtype"],
)
def test_parameters_that_differ_between_keys(odd, words, rng):
    module = bucketing(sym_gen=_with_odd_key(lambda: _odd(**odd)))
    module.forward_backward(sentence_batch(rng, 3))
    module.update()
    check = _Untouched(module, rng)
    check.refuses(lambda: module.forward(sentence_batch(rng, 5)), ParameterError, *words)
    check.refuses(lambda: module.prepare(sentence_batch(rng, 5)), ParameterError, *words)
    check.refuses(lambda: module.switch_bucket(5, *shapes(5)), ParameterError, *words)
    assert 5 not in module.bucket_keys


# Batches -----------------------------------------------------------------------------------------


def _batch(data, label, key=6, described=(3, 6), **kwargs):
    return sb.io.DataBatch(
        [data],
        [label],
        bucket_key=key,
        provide_data=[("data", described)],
        provide_label=[("softmax_label", described)],
        **kwargs,
    )


ONES = np.ones((3, 6), dtype=np.int64)


@pytest.mark.parametrize(
    ("batch", "error", "words"),
    [
        (
            lambda: _batch(ONES[:, :5], ONES),
            DataError,
            ["bucket key 6", "data array 'data' has shape (3, 5)", "provide_data says (3, 6)"],
        ),
        (
            lambda: _batch(ONES, ONES[:2]),
            DataError,
            ["label array 'softmax_label' has shape (2, 6)", "provide_label says (3, 6)"],
        ),
        (
            lambda: sb.io.DataBatch(
                [ONES, ONES], [ONES], bucket_key=6, provide_data=[("data", (3, 6))]
            ),
            DataError,
            ["2 data arrays, described are 1: data (provide_data)"],
        ),
        (
            lambda: sb.io.DataBatch([ONES], [ONES], bucket_key=6, provide_data=[("words", (3, 6))]),
            DataError,
            ["describe words, but the data inputs are data"],
        ),
        (
            lambda: sb.io.DataBatch([ONES], [ONES], provide_data=[("data", (3, 6))]),
            DataError,
            ["no bucket_key", "or use Module"],
        ),
        (
            lambda: sb.io.DataBatch([ONES], [ONES], bucket_key=5),
            DataError,
            ["bucket key 5 is new and the batch says no shapes", "provide_data"],
        ),
        (
            lambda: sb.io.DataBatch([ONES], [ONES], bucket_key=5, provide_data=[]),
            DataError,
            ["bucket key 5: data_shapes describe none, but the data inputs are data"],
        ),
        (
            lambda: _batch(ONES[:, :5], ONES[:, :5], described=(3, 5)),
            ShapeError,
            ["bucket key 6", "(3, 5, 4)", "cannot be cut into 6 parts"],
        ),
        (
            lambda: _batch(ONES + 20 * np.eye(3, 6, 2, dtype=int), ONES),
            DataError,
            ["bucket key 6: data[0, 2] is 21", "'embed'", "10 ids", "3 values of this batch"],
        ),
        (
            lambda: _batch(ONES, ONES + 20 * np.eye(3, 6, 2, dtype=int)),
            DataError,
            ["bucket key 6: softmax_label[0, 2] is 21", "'softmax'", "0 to 9, or 0 to be ignored"],
        ),
        (
            lambda: _batch(ONES, -ONES),
            DataError,
            ["softmax_label[0, 0] is -1", "18 values"],
        ),
        (lambda: _batch(ONES * np.nan, ONES), DataError, ["data[0, 0] is nan"]),
        (lambda: _batch(np.full((3, 6), "a"), ONES), DataError, ["data has dtype <U1"]),
        (lambda: _batch([[1, 2], [3]], ONES), DataError, ["data 'data' is no array"]),
        (
            lambda: sb.io.DataBatch([ONES], None, bucket_key=6, provide_data=[("data", (3, 6))]),
            DataError,
            ["bucket key 6: the batch has no label 'softmax_label'"],
        ),
    ],
)
def test_bad_batches(batch, error, words, trained):
    trained.refuses(lambda: trained.module.forward(batch(), is_train=True), error, *words)


def test_a_bad_batch_of_another_key_leaves_the_current_key(trained):
    bad = _batch(ONES[:, :3] + 30, ONES[:, :3], key=3, described=(3, 3))
    trained.refuses(lambda: trained.module.forward(bad, is_train=True), DataError, "bucket key 3")


def test_a_key_that_cannot_be_hashed():
    with pytest.raises(DataError, match="not hashable"):
        sb.io.DataBatch([ONES], [ONES], bucket_key=[6])


# Symbols -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: sym.FullyConnected(sym.Variable("data")), InvalidArgumentError, ["num_hidden"]),
        (
            lambda: sym.FullyConnected(sym.Variable("data"), num_hidden="many"),
            InvalidArgumentError,
            ["num_hidden='many' is not an integer"],
        ),
        (
            lambda: sym.FullyConnected(
                sym.Variable("data"), sym.Variable("data"), num_hidden=2, name="fc"
            ),
            NameConflictError,
            ["Two different variables are both named 'data'", "RNNParams"],
        ),
        (
            lambda: sym.dot(sym.Variable("data"), sym.Variable("w")),
            ShapeError,
            ["bucket key 5", "cannot be inferred: w (unknown)"],
        ),
        (
            lambda: sym.Reshape(sym.Variable("data"), shape=(7, -1), name="flat"),
            ShapeError,
            ["bucket key 5", "'flat' (Reshape; data=data(3, 5))"],
        ),
    ],
    ids=["missing", "wrong", "names", "unknown", "contradiction"],
)
def test_bad_symbols_of_one_key(make, error, words, rng):
    module = bucketing(sym_gen=_with_odd_key(make))
    check = _Untouched(module, rng)
    check.refuses(lambda: module.forward(sentence_batch(rng, 5)), error, *words)


def test_bad_symbols_at_bind():
    module = sb.mod.BucketingModule(_with_odd_key(_odd), default_bucket_key=5)
    with pytest.raises(ShapeError, match="bucket key 5"):
        module.bind([("data", (3, 5, 2, 2))], [("softmax_label", (3, 7))])
    assert not module.binded
    module.bind(*shapes(5))
    assert module.binded


# Data sets ---------------------------------------------------------------------------------------


def test_sentences_longer_than_every_bucket_are_counted_and_said(caplog):
    with caplog.at_level(logging.WARNING):
        data = sb.rnn.BucketSentenceIter(
            [[1, 2], [1] * 9, [2] * 8, [3, 4]], 2, buckets=[3], invalid_label=0
        )
    assert "dropped 2 of 4 sentences longer than the largest bucket (3)" in caplog.text
    assert sum(1 for _ in data) == 1


# Checkpoints -------------------------------------------------------------------------------------


@pytest.fixture
def saved(trained, tmp_path):
    prefix = str(tmp_path / "model")
    trained.module.save_checkpoint(prefix, 1, save_optimizer_states=True)
    return prefix, *sb.model.load_checkpoint(prefix, 1)


def _loading(prefix):
    module = sb.mod.BucketingModule.load(prefix, 1, sym_gen=generate, default_bucket_key=6)
    module.bind(*shapes(6))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda p: p.pop("pred_bias"), ["lack pred_bias"]),
        (lambda p: p.update(extra=np.ones(2)), ["have extra, which the network does not have"]),
        (
            lambda p: p.update(pred_bias=np.ones(11)),
            ["'pred_bias' has shape (10,), the given value (11,)"],
        ),
    ],
    ids=["missing", "extra", "shape"],
)
def test_checkpoints_that_do_not_fit(change, words, saved, trained):
    prefix, net, arguments, auxiliary = saved
    change(arguments)
    sb.model.save_checkpoint(prefix, 1, net, arguments, auxiliary)
    path = f"{prefix}-0001.params"
    with pytest.raises(CheckpointError) as caught:
        _loading(prefix)
    assert path in str(caught.value)
    assert all(word in str(caught.value) for word in words)
    trained.refuses(lambda: trained.module.load_params(path), ParameterError, *words)


@pytest.mark.parametrize("part", [0, 5, 40, -1])
def test_truncated_parameter_files(part, saved, trained, tmp_path):
    prefix = saved[0]
    path = tmp_path / "model-0001.params"
    path.write_bytes(path.read_bytes()[:part])
    with pytest.raises(CheckpointError, match="is damaged or no parameter file"):
        _loading(prefix)
    trained.refuses(
        lambda: trained.module.load_params(str(path)), CheckpointError, "is damaged", str(path)
    )


@pytest.mark.parametrize("part", [0, 40, -1])
def test_truncated_optimizer_states(part, trained, tmp_path):
    prefix = str(tmp_path / "model")
    adam = bucketing(optimizer="adam", rate=0.01)
    check = _Untouched(adam, np.random.default_rng(1))
    adam.forward_backward(check.probe)
    adam.update()
    adam.save_optimizer_states(f"{prefix}.states")
    states = {k: v.copy() for k, v in adam.updater.states().items()}
    path = tmp_path / "model.states"
    path.write_bytes(path.read_bytes()[:part])
    with pytest.raises(CheckpointError):
        adam.load_optimizer_states(str(path))
    assert same(adam.updater.states(), states)
    check.refuses(lambda: adam.load_optimizer_states(str(path)), CheckpointError, "model.states")


def test_checkpoints_that_are_not_there(saved, trained, tmp_path):
    prefix = saved[0]
    with pytest.raises(CheckpointError, match=r"no parameter file .*found there: model-0001"):
        sb.mod.BucketingModule.load(prefix, 7, sym_gen=generate, default_bucket_key=6)
    with pytest.raises(CheckpointError, match="cannot read symbol file"):
        sb.mod.Module.load(str(tmp_path / "nothing"), 1)
    with pytest.raises(InvalidArgumentError, match="needs sym_gen="):
        sb.mod.BucketingModule.load(prefix, 1)


def test_a_write_that_fails_half_way_leaves_the_old_checkpoint(
    saved, trained, rng, tmp_path, monkeypatch
):
    prefix, _, arguments, _ = saved
    module = trained.module
    module.forward_backward(sentence_batch(rng, 6))
    module.update()
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}

    def full(*_):
        raise OSError(28, "No space left on device")

    for broken in ("os.fsync", "os.replace"):
        with monkeypatch.context() as patch:
            patch.setattr(broken, full)
            trained.refuses(
                lambda: module.save_checkpoint(prefix, 1, True),
                CheckpointError,
                "cannot write",
                "No space left",
            )
        assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before
    assert same(sb.model.load_checkpoint(prefix, 1)[1], arguments)


def test_a_folder_that_is_not_there(trained, tmp_path):
    prefix = str(tmp_path / "nowhere" / "model")
    for action in (
        lambda: trained.module.save_params(f"{prefix}.params"),
        lambda: trained.module.save_optimizer_states(f"{prefix}.states"),
    ):
        trained.refuses(action, CheckpointError, "cannot write", "nowhere")


@pytest.mark.parametrize("kind", ["data_names", "label_names", "state_names", "fixed_param_names"])
@pytest.mark.parametrize("names", ["data", 3])
def test_one_name_is_no_list_of_names(kind, names):
    """("data") is a text; the comma of ("data",) is easily forgotten."""
    symbol = sym.SoftmaxOutput(sym.FullyConnected(sym.Variable("data"), num_hidden=3), name="s")
    named = {"data_names": ["data"], "label_names": ["s_label"], kind: names}
    pattern = rf"{kind} is {names!r}; expected a list or tuple of names, such as \[{names!r}\]"
    with pytest.raises(InvalidArgumentError, match=pattern):
        sb.mod.Module(symbol, **named)
    inputs = named.pop("data_names"), named.pop("label_names")
    module = sb.mod.BucketingModule(lambda key: (symbol, *inputs), 1, **named)
    with pytest.raises(InvalidArgumentError, match=pattern):
        module.bind([("data", (2, 5))], [("s_label", (2,))])
