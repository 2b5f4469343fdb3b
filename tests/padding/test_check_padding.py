"""``check_padding``: padding that changes nothing passes, padding that leaks is found and named."""

import numpy as np
import pytest

import symbucket as sb
from symbucket import sym
from symbucket.errors import DataError, ParameterError, UnsupportedError

ROWS, VOCAB, HIDDEN = 4, 9, 6
LENGTHS = np.array([5, 3, 4, 2])


def _batch(length=5, tokens=True, key=None):
    """Sentences of 2 to 5 words (0 is padding), their lengths, and labels."""
    rng = np.random.default_rng(3)
    inside = np.arange(length) < LENGTHS[:, None]
    words = np.where(inside, rng.integers(1, VOCAB, (ROWS, length)), 0)
    labels = np.where(inside, rng.integers(1, VOCAB, (ROWS, length)), 0)
    label = labels if tokens else rng.integers(0, VOCAB, ROWS)
    return sb.io.DataBatch(
        [words, LENGTHS],
        [label],
        bucket_key=length if key is None else key,
        provide_data=[("data", words.shape), ("length", (ROWS,))],
        provide_label=[("softmax_label", label.shape)],
    )


def _loss(scores, tokens=True, **kwargs):
    label = sym.Variable("softmax_label")
    if not tokens:
        return sym.SoftmaxOutput(scores, label, name="softmax")
    kwargs = kwargs or {"use_ignore": True, "ignore_label": 0, "normalization": "valid"}
    return sym.SoftmaxOutput(scores, sym.Reshape(label, shape=(-1,)), name="softmax", **kwargs)


def _embedded():
    return sym.Embedding(sym.Variable("data"), input_dim=VOCAB, output_dim=HIDDEN, name="embed")


def _steps(length, dropout=0.0):
    cells = sb.rnn.SequentialRNNCell()
    cells.add(sb.rnn.LSTMCell(HIDDEN, prefix="lstm_"))
    cells.add(sb.rnn.DropoutCell(dropout, prefix="drop_"))
    out, _ = cells.unroll(length, _embedded(), merge_outputs=True)
    return out


def _tagger(middle=lambda rows: rows, **loss):
    def sym_gen(length):
        rows = middle(sym.Reshape(_steps(length, 0.3), shape=(-1, HIDDEN)))
        return _loss(sym.FullyConnected(rows, num_hidden=VOCAB, name="pred"), **loss)

    return sym_gen


def _classifier(pool):
    def sym_gen(length):
        data = sym.tanh(_embedded(), name="squash")
        pooled = pool(data, sym.Variable("length"))
        return _loss(sym.FullyConnected(pooled, num_hidden=VOCAB, name="pred"), tokens=False)

    return sym_gen


def _masked_mean(data, length):
    steps = sym.swapaxes(data, dim1=0, dim2=1)
    masked = sym.SequenceMask(steps, length, use_sequence_length=True)
    return sym.broadcast_div(sym.sum(masked, axis=0), sym.Reshape(length, shape=(-1, 1)))


def _attention(data, length):
    scores = sym.Reshape(sym.FullyConnected(data, num_hidden=1, flatten=False), shape=(0, -1))
    weights = sym.softmax(scores, length, use_length=True)
    return sym.Reshape(sym.batch_dot(sym.expand_dims(weights, axis=1), data), shape=(0, -1))


@pytest.mark.parametrize("longer", [None, 6, 10])
def test_masked_networks_pass(longer):
    report = sb.check_padding(_tagger(), _batch(), longer)
    assert report.ok, report
    assert (report.key, report.longer_key) == (5, longer or 9)
    assert str(report).startswith("Padding changes nothing: bucket key 5 and")
    for pool in (_masked_mean, _attention):
        report = sb.check_padding(_classifier(pool), _batch(tokens=False), longer)
        assert report, report


def test_batch_norm_over_padded_rows_is_named():
    gen = _tagger(lambda rows: sym.BatchNorm(rows, name="norm", fix_gamma=False))
    report = sb.check_padding(gen, _batch())
    assert not report.ok
    assert report.operator == ("norm", "BatchNorm")
    kinds = {d.kind for d in report.differences}
    assert kinds == {"loss", "gradient", "auxiliary"}
    assert {d.name for d in report.differences if d.kind == "auxiliary"} == {
        "norm_moving_mean",
        "norm_moving_var",
    }
    assert "'norm' (BatchNorm)" in str(report)
    assert "count padded rows" in str(report)


def test_batch_norm_of_what_is_not_padded_passes():
    def pool(data, length):
        return sym.BatchNorm(_masked_mean(data, length), name="norm", fix_gamma=False)

    assert sb.check_padding(_classifier(pool), _batch(tokens=False))


def test_mean_over_time_is_named():
    report = sb.check_padding(
        _classifier(lambda data, length: sym.mean(data, axis=1, name="average")),
        _batch(tokens=False),
    )
    assert report.operator == ("average", "mean")
    assert "divide by the lengths" in str(report)


def test_softmax_over_padding_is_named():
    def pool(data, length):
        scores = sym.Reshape(sym.FullyConnected(data, num_hidden=1, flatten=False), shape=(0, -1))
        weights = sym.softmax(scores, name="weights")
        return sym.Reshape(sym.batch_dot(sym.expand_dims(weights, axis=1), data), shape=(0, -1))

    report = sb.check_padding(_classifier(pool), _batch(tokens=False))
    assert report.operator == ("weights", "softmax")


def test_last_step_of_all_rows_names_what_reads_it():
    def sym_gen(length):
        out, _ = sb.rnn.LSTMCell(HIDDEN, prefix="lstm_").unroll(length, _embedded())
        scores = sym.FullyConnected(out[-1], num_hidden=VOCAB, name="pred")
        return _loss(scores, tokens=False)

    report = sb.check_padding(sym_gen, _batch(tokens=False))
    assert report.operator == ("pred", "FullyConnected")
    assert "'lstm_t4_out_output'" in str(report)
    assert "'lstm_t8_out_output'" in str(report)


@pytest.mark.parametrize(
    "loss", [{"normalization": "batch"}, {"use_ignore": False, "normalization": "valid"}]
)
def test_loss_of_padding_is_named(loss):
    report = sb.check_padding(_tagger(**loss), _batch())
    assert report.operator == ("softmax", "SoftmaxOutput")
    assert "makes a loss of padding too" in str(report)
    assert {d.kind for d in report.differences} == {"loss", "gradient"}


@pytest.mark.parametrize("masked", [True, False])
def test_reversed_sequences(masked):
    def sym_gen(length):
        lengths = sym.Variable("length")
        steps = sym.swapaxes(_embedded(), dim1=0, dim2=1)
        flip = {"use_sequence_length": True}
        back = sym.SequenceReverse(steps, lengths, **flip) if masked else sym.reverse(steps, axis=0)
        out, _ = sb.rnn.GRUCell(HIDDEN, prefix="gru_").unroll(
            length, back, layout="TNC", merge_outputs=True
        )
        back = sym.SequenceReverse(out, lengths, **flip) if masked else sym.reverse(out, axis=0)
        rows = sym.Reshape(sym.swapaxes(back, dim1=0, dim2=1), shape=(-1, HIDDEN))
        return _loss(sym.FullyConnected(rows, num_hidden=VOCAB, name="pred"))

    report = sb.check_padding(sym_gen, _batch())
    assert report.ok is masked, report


def test_a_longer_batch_of_ones_own_and_keys_that_are_no_numbers():
    def sym_gen(key):
        return _tagger()(len(key))

    report = sb.check_padding(sym_gen, _batch(5, key="short"), _batch_like(7, "further"))
    assert report.ok, report
    with pytest.raises(DataError, match="Give longer= a DataBatch"):
        sb.check_padding(sym_gen, _batch(5, key="short"), "further")


def _batch_like(length, key):
    short = _batch(5)
    grown = [(0, 0), (0, length - 5)]
    words, label = np.pad(short.data[0], grown), np.pad(short.label[0], grown)
    return sb.io.DataBatch(
        [words, LENGTHS],
        [label],
        bucket_key=key,
        provide_data=[("data", words.shape), ("length", (ROWS,))],
        provide_label=[("softmax_label", label.shape)],
    )


def test_outputs_that_are_no_loss_get_head_gradients():
    def masked(length):
        return _classifier(_masked_mean)(length).get_internals()["pred_output"]

    def unmasked(length):
        inner = masked(length).get_internals()
        top = sym.max(inner["squash_output"], axis=1, name="top")
        return sym.Group([inner["pred_output"], top])

    batch = _batch(tokens=False)
    assert sb.check_padding(masked, batch)
    # Every position's own values are compared where the row is not padding.
    assert sb.check_padding(lambda n: sym.tanh(_embedded(), name="all"), batch)
    report = sb.check_padding(unmasked, batch)
    assert report.operator == ("top", "max")
    assert {d.kind for d in report.differences} >= {"output"}


def test_parameters_of_a_module_are_taken():
    module = sb.mod.BucketingModule(_tagger(), 5)
    batch = _batch()
    module.bind(batch.provide_data[:1], batch.provide_label)
    module.init_params(sb.init.Uniform(0.3))
    before = {n: a.asnumpy() for n, a in module.get_params()[0].items()}
    args, aux = module.get_params()
    assert sb.check_padding(_tagger(), batch, 8, args, aux)
    after = {n: a.asnumpy() for n, a in module.get_params()[0].items()}
    assert all(np.array_equal(before[n], after[n]) for n in before)
    del args["pred_bias"]
    with pytest.raises(ParameterError, match="'pred_bias' that is not given"):
        sb.check_padding(_tagger(), batch, 8, args, aux)


def test_a_gradient_that_is_zero_but_for_rounding_counts_as_zero():
    """A bias of the keys moves all scores of a row alike, so the softmax does not see it."""

    def sym_gen(steps):
        mask = sb.rnn.sequence_mask(sym.Variable("length"), steps)
        blocked = sym.expand_dims((mask - 1.0) * 1e9, axis=1)
        x = _embedded()
        query, key, value = (
            sym.FullyConnected(x, num_hidden=HIDDEN, flatten=False, name=name)
            for name in ("query", "key", "value")
        )
        scores = sym.broadcast_add(sym.batch_dot(query, key, transpose_b=True), blocked)
        mixed = sym.batch_dot(sym.softmax(scores), value)
        rows = sym.Reshape(mixed, shape=(-1, HIDDEN))
        pred = sym.FullyConnected(rows, num_hidden=VOCAB, name="pred")
        return _loss(pred), ["data", "length"], ["softmax_label"]

    for seed in range(4):
        report = sb.check_padding(sym_gen, _batch(), seed=seed)
        assert report.ok, report


def test_seed_of_the_library_stays():
    sb.random.seed(5)
    wanted = sb.random.generator().random()
    sb.random.seed(5)
    sb.check_padding(_tagger(), _batch())
    assert sb.random.generator().random() == wanted


def test_bad_input():
    batch = _batch()
    with pytest.raises(DataError, match="with a bucket_key"):
        sb.check_padding(_tagger(), sb.io.DataBatch(batch.data))
    with pytest.raises(DataError, match="do not tell which axes to pad"):
        sb.check_padding(_tagger(), batch, 4)
    with pytest.raises(DataError, match="pads no axis"):
        sb.check_padding(lambda key: _tagger()(5), _batch(5, key=7), 8)
    with pytest.raises(DataError, match="the keys must differ"):
        sb.check_padding(_tagger(), batch, batch)
    with pytest.raises(ParameterError, match="must not depend on the key"):
        sb.check_padding(
            _classifier(lambda data, length: sym.Reshape(data, shape=(0, -1))),
            _batch(tokens=False),
        )
    with pytest.raises(UnsupportedError, match=r"'noise' draws random numbers"):
        sb.check_padding(_tagger(lambda rows: rows + sym.random_uniform(name="noise")), batch)


@pytest.mark.parametrize("cell", ["lstm", "fused"])
def test_time_first(cell):
    def sym_gen(length, norm=False):
        steps = _embedded()  # (time, batch, channels)
        made = {
            "lstm": lambda: sb.rnn.LSTMCell(HIDDEN, prefix="lstm_"),
            "fused": lambda: sb.rnn.FusedRNNCell(HIDDEN, 2, "gru", dropout=0.3, prefix="gru_"),
        }[cell]()
        out, _ = made.unroll(length, steps, layout="TNC", merge_outputs=True)
        rows = sym.Reshape(out, shape=(-1, HIDDEN))
        if norm:
            rows = sym.BatchNorm(rows, name="norm")
        return _loss(sym.FullyConnected(rows, num_hidden=VOCAB, name="pred"))

    batch = _batch()
    words, labels = batch.data[0].T, batch.label[0].T
    turned = sb.io.DataBatch(
        [words],
        [labels],
        bucket_key=5,
        provide_data=[sb.io.DataDesc("data", words.shape, layout="TN")],
        provide_label=[sb.io.DataDesc("softmax_label", labels.shape, layout="TN")],
    )
    report = sb.check_padding(sym_gen, turned)
    assert report.ok, report
    report = sb.check_padding(lambda n: sym_gen(n, norm=True), turned)
    assert report.operator == ("norm", "BatchNorm")


def test_batch_as_large_as_the_key_is_long():
    words = np.random.default_rng(0).integers(1, VOCAB, (4, 4))
    batch = sb.io.DataBatch(
        [words],
        [words],
        bucket_key=4,
        provide_data=[("data", (4, 4))],
        provide_label=[("softmax_label", (4, 4))],
    )
    assert sb.check_padding(_tagger(), batch)


def _two_ways(lengths, last=False):
    """A tagger, or a classifier of the last states, whose cells read both ways."""

    def sym_gen(length):
        cell = sb.rnn.BidirectionalCell(sb.rnn.GRUCell(HIDDEN, "l_"), sb.rnn.GRUCell(HIDDEN, "r_"))
        known = {"valid_length": sym.Variable("length")} if lengths else {}
        out, states = cell.unroll(length, _embedded(), merge_outputs=True, **known)
        if last:
            rows = sym.Concat(states[0][0], states[1][0], dim=1)
        else:
            rows = sym.Reshape(out, shape=(-1, 2 * HIDDEN))
        return _loss(sym.FullyConnected(rows, num_hidden=VOCAB, name="pred"), tokens=not last)

    return sym_gen


def _fused(lengths):
    def sym_gen(length):
        cell = sb.rnn.FusedRNNCell(HIDDEN, mode="gru", bidirectional=True, prefix="fused_")
        known = {"valid_length": sym.Variable("length")} if lengths else {}
        out, _ = cell.unroll(length, _embedded(), merge_outputs=True, **known)
        rows = sym.Reshape(out, shape=(-1, 2 * HIDDEN))
        return _loss(sym.FullyConnected(rows, num_hidden=VOCAB, name="pred"))

    return sym_gen


@pytest.mark.parametrize(
    ("network", "tokens"),
    [
        (_two_ways, True),
        (lambda lengths: _two_ways(lengths, last=True), False),
        (_fused, True),
    ],
    ids=["two ways", "last states", "fused"],
)
def test_recurrent_cells_need_lengths_and_padding_is_harmless_with_them(network, tokens):
    batch = _batch(tokens=tokens)
    report = sb.check_padding(network(False), batch)
    assert not report.ok
    assert "unroll(..., valid_length=lengths)" in report.explanation
    assert sb.check_padding(network(True), batch).ok


def test_random_numbers_in_a_loop_are_refused():
    def sym_gen(length):
        steps = sym.swapaxes(_embedded(), dim1=0, dim2=1)
        rows, _ = sym.contrib.foreach(lambda d, s: (sym.Dropout(d), s), steps, sym.zeros((1,)))
        scores = sym.FullyConnected(sym.sum(rows, axis=0), num_hidden=VOCAB, name="pred")
        return _loss(scores, tokens=False)

    with pytest.raises(UnsupportedError, match="draws random numbers"):
        sb.check_padding(sym_gen, _batch(tokens=False))


def test_a_network_that_ends_before_the_longer_key():
    def sym_gen(key):
        vectors = sb.sym.Embedding(sb.sym.Variable("data"), input_dim=9, output_dim=4, name="e")
        table = sb.sym.Variable("positions", shape=(1, 8, 4))
        places = sb.sym.slice_axis(table, axis=1, begin=0, end=key)
        total = sb.sym.sum(sb.sym.broadcast_add(vectors, places), axis=(1, 2))
        return sb.sym.MakeLoss(total), ["data"], []

    batch = sb.io.DataBatch(
        [np.ones((2, 8))], [], bucket_key=8, provide_data=[("data", (2, 8))], provide_label=[]
    )
    with pytest.raises(sb.SymbucketError, match=r"key 14, a longer one than 8.*longer=key"):
        sb.check_padding(sym_gen, batch)
