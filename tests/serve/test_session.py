"""States carried from request to request, and language models that write."""

import itertools

import numpy as np
import pytest

import symbucket as sb
from symbucket.errors import DataError, InvalidArgumentError, UnsupportedError
from symbucket.serve import beam_search, generate
from tests.export.bundles import trained
from tests.export.test_free_axes import of_steps, tagger


@pytest.fixture(scope="module")
def language(tmp_path_factory):
    """A language model of ten words that bucketed training could have left, with a last word."""
    sb.random.seed(3)
    folder = tmp_path_factory.mktemp("language") / "b"
    module = trained()
    module.init_params(sb.init.Uniform(1.5), force_init=True)
    module.export(folder, dynamic_length=True, carry_states=True)
    return folder


def scores(bundle, tokens):
    return bundle(np.asarray(tokens))["softmax_output"]


def test_pieces_give_what_the_whole_gives(language):
    bundle = sb.Bundle(language)
    text = np.array([3, 1, 4, 1, 5, 9, 2, 6, 5])
    whole = scores(bundle, text)
    session = bundle.session()
    parts = [
        session(piece)["softmax_output"] for piece in (text[:2], text[2:3], text[3:8], text[8:])
    ]
    np.testing.assert_allclose(np.concatenate(parts), whole, rtol=1e-5)
    again = session(text[:2])["softmax_output"]
    assert np.abs(again - whole[:2]).max() > 1e-4  # it goes on
    session.reset()
    np.testing.assert_allclose(session(text[:2])["softmax_output"], whole[:2], rtol=1e-5)


def test_a_piece_that_is_longer_than_all_buckets(language):
    session, other = (sb.Bundle(language).session() for _ in range(2))
    text = np.arange(25) % 10
    long = session(text)["softmax_output"]
    parts = [other(text[i : i + 5])["softmax_output"] for i in range(0, 25, 5)]
    np.testing.assert_allclose(long, np.concatenate(parts), rtol=1e-5)


def test_states_may_be_kept_selected_and_set(language):
    bundle = sb.Bundle(language)
    session = bundle.session(2)
    session.run([[1, 2], [3, 4]])
    kept = session.states
    assert {n: a.shape for n, a in kept.items()} == {"lstm_h": (2, 5), "lstm_c": (2, 5)}
    first = session.run([[5], [6]])
    session.states = kept
    for left, right in zip(session.run([[5], [6]]), first):
        np.testing.assert_array_equal(left["softmax_output"], right["softmax_output"])
    session.states = kept
    session.select([1, 1, 0])
    found = session.run([[6], [5], [5]])
    np.testing.assert_allclose(found[2]["softmax_output"], first[0]["softmax_output"], rtol=1e-5)
    np.testing.assert_allclose(found[0]["softmax_output"], first[1]["softmax_output"], rtol=1e-5)


def test_answers_without_a_session_have_no_states(language):
    assert [*sb.Bundle(language)([1, 2])] == ["softmax_output"]


def test_what_a_session_refuses(language, original):
    bundle = sb.Bundle(language)
    with pytest.raises(UnsupportedError, match="dynamic_length=True and carry_states=True"):
        sb.Bundle(original).session()
    with pytest.raises(InvalidArgumentError, match="samples is 5; the bundle runs at most 4"):
        bundle.session(5)
    session = bundle.session(2)
    with pytest.raises(InvalidArgumentError, match="there are 1 requests; the session has 2"):
        session.run([[1]])
    with pytest.raises(DataError, match=r"have one length; these have \[1, 2\]"):
        session.run([[1], [1, 2]])
    before = session.states
    with pytest.raises(DataError, match="takes any integer below 10"):
        session.run([[1], [11]])
    for name, array in session.states.items():
        np.testing.assert_array_equal(array, before[name])
    with pytest.raises(DataError, match="the requests are empty"):
        session.run([[], []])
    with pytest.raises(InvalidArgumentError, match="the states are lstm_h, lstm_c, not x"):
        session.states = {"x": 1}
    with pytest.raises(InvalidArgumentError, match=r"shape \(1, 5\); expected \(2, 5\)"):
        session.states = {n: a[:1] for n, a in before.items()}
    with pytest.raises(InvalidArgumentError, match="rows is"):
        session.select([2])
    for rows in ([True, False], [0.5], ["0"], []):
        with pytest.raises(InvalidArgumentError, match=r"the samples are 0\.\.1"):
            session.select(rows)


def test_which_networks_carry_states(tmp_path):
    for cell, names in ((sb.rnn.GRUCell, {"r_h"}), (sb.rnn.LSTMCell, {"r_h", "r_c"})):
        manifest = tagger(cell(8, prefix="r_")).export(
            tmp_path / "b", dynamic_length=True, carry_states=True
        )
        assert {t.name for t in manifest.networks[0].inputs if t.kind == "state"} == names
    both = sb.rnn.BidirectionalCell(sb.rnn.GRUCell(4, prefix="f_"), sb.rnn.GRUCell(4, prefix="b_"))
    with pytest.raises(UnsupportedError, match="reads its input backwards"):
        tagger(both).export(tmp_path / "c", dynamic_length=True, carry_states=True)
    with pytest.raises(InvalidArgumentError, match="carry_states=True needs dynamic_length=True"):
        trained().export(tmp_path / "c", carry_states=True)
    assert not (tmp_path / "c").exists()


def reversed_steps(data, key):
    return sb.sym.reverse(data, axis=1)


def positions(data, key):
    return sb.sym.broadcast_add(data, sb.sym.reshape(sb.sym.arange(key), shape=(1, -1, 1)))


def windows(data, key):
    data = sb.sym.transpose(data, axes=(0, 2, 1))
    data = sb.sym.Convolution(data, kernel=(3,), pad=(1,), num_filter=3, name="c")
    return sb.sym.transpose(data, axes=(0, 2, 1))


@pytest.mark.parametrize("change", [reversed_steps, positions, windows])
def test_what_reaches_from_step_to_step_besides_states_is_refused(tmp_path, change):
    def build(key):
        cell = sb.rnn.LSTMCell(4, prefix="l_")
        return cell.unroll(key, change(sb.sym.Variable("data"), key), merge_outputs=True)[0]

    module = of_steps(build, (4, 9))
    for write in (module.export, module.export_onnx):
        # A file of any length has no positions beyond those of the longest key, to begin with.
        reason = (
            "carry_states: in two pieces, the output|dynamic_length: at length 10, .* the output"
        )
        with pytest.raises(UnsupportedError, match=reason):
            write(tmp_path / "b", dynamic_length=True, carry_states=True)
    assert not (tmp_path / "b").exists()


def test_lengths_are_those_of_the_pieces(tmp_path):
    def build(key):
        cell = sb.rnn.LSTMCell(4, prefix="l_")
        data, length = sb.sym.Variable("data"), sb.sym.Variable("length")
        steps, _ = cell.unroll(key, data, merge_outputs=True)
        masked = sb.sym.SequenceMask(
            sb.sym.transpose(steps, axes=(1, 0, 2)), length, use_sequence_length=True
        )
        return sb.sym.transpose(masked, axes=(1, 0, 2)), ["data", "length"], []

    module = sb.mod.BucketingModule(build, default_bucket_key=9)
    module.bind([("data", (2, 9, 3)), ("length", (2,))], for_training=False)
    module.init_params(sb.init.Uniform(0.5))
    module.switch_bucket(4, [("data", (2, 4, 3)), ("length", (2,))])
    manifest = module.export(tmp_path / "b", dynamic_length=True, carry_states=True)
    assert {t.name for t in manifest.networks[0].inputs if t.kind == "state"} == {"l_h", "l_c"}
    session = sb.Bundle(tmp_path / "b").session()
    long = np.ones((12, 3), np.float32)
    for length in (12, 7):  # 7 would hold for the second part too
        with pytest.raises(
            InvalidArgumentError, match=r"piece of 12 steps .* parts of 9, and length may count"
        ):
            session({"data": long, "length": length})
    assert session({"data": long[:9], "length": 9})["transpose1_output"].shape == (9, 4)


def by_hand(bundle, prompt, length):
    """Greedy writing that reads everything again for each word."""
    tokens = list(prompt)
    for _ in range(length):
        tokens.append(int(scores(bundle, tokens)[-1].argmax()))
    return tokens[len(prompt) :]


def test_greedy_writing(language):
    bundle = sb.Bundle(language)
    assert list(generate(bundle, [3, 1], 6)) == by_hand(bundle, [3, 1], 6)
    whole = by_hand(bundle, [3, 1], 6)
    end = whole[3]
    assert list(generate(bundle, [3, 1], 6, stop=[end])) == whole[: whole.index(end) + 1]
    assert list(generate(bundle, [3], 0)) == []


def test_drawn_words_have_the_networks_probabilities(language):
    bundle = sb.Bundle(language)
    expected = scores(bundle, [3, 1])[-1]
    drawn = [next(generate(bundle, [3, 1], 1, temperature=1.0, seed=s)) for s in range(1500)]
    shares = np.bincount(drawn, minlength=10) / len(drawn)
    assert np.abs(shares - expected).max() < 0.05
    best = np.argsort(-expected)
    assert {
        next(generate(bundle, [3, 1], 1, temperature=9.0, top_k=2, seed=s)) for s in range(60)
    } == {*best[:2].tolist()}
    nucleus = int(np.searchsorted(np.cumsum(np.sort(expected)[::-1]), 0.5)) + 1
    few = {
        next(generate(bundle, [3, 1], 1, temperature=1.0, top_p=0.5, seed=s)) for s in range(200)
    }
    assert few == {*best[:nucleus].tolist()}
    text = [list(generate(bundle, [3], 5, temperature=1.0, seed=7)) for _ in range(2)]
    assert text[0] == text[1]


def test_a_beam_as_wide_as_all_finds_the_best(language):
    """Of all continuations of two words, the beam of four holds the best; greedy may miss it."""
    bundle = sb.Bundle(language)
    logs = {}
    for first, second in itertools.product(range(10), repeat=2):
        p = scores(bundle, [3, 1, first])
        logs[first, second] = np.log(p[1, first]) + np.log(p[2, second])
    order = sorted(logs, key=lambda pair: -logs[pair])
    found = beam_search(bundle, [3, 1], 2, beams=4)
    assert found[0].tokens == order[0]
    assert found[0].log_probability == pytest.approx(logs[order[0]], rel=1e-4)
    assert [one.log_probability for one in found] == sorted(
        (one.log_probability for one in found), reverse=True
    )
    (greedy,) = beam_search(bundle, [3, 1], 5, beams=1)
    assert list(greedy.tokens) == by_hand(bundle, [3, 1], 5)
    ended = beam_search(bundle, [3, 1], 5, beams=3, stop=[order[0][0]])
    assert any(one.tokens == (order[0][0],) for one in ended)


class _Chain:
    """A language model whose next token depends on the last one alone."""

    def __init__(self, *rows):
        self._rows = np.array(rows, np.float32)

    def session(self):
        return self

    def run(self, pieces):
        return [{"p": self._rows[int(piece[-1])][None]} for piece in pieces]

    def select(self, rows):
        pass


def test_a_beam_waits_for_a_longer_sequence_whose_mean_is_better():
    # After 0 the end, 2, is the likeliest token; but 1 is followed by 1 almost surely.
    chain = _Chain([0.1, 0.4, 0.5], [0.01, 0.98, 0.01], [1, 0, 0])
    (best,) = beam_search(chain, [0], 6, beams=1, stop=[2], length_penalty=1.0)
    assert best.tokens == (1,) * 6
    assert best.log_probability == pytest.approx(np.log(0.4) + 5 * np.log(0.98), rel=1e-4)
    (short,) = beam_search(chain, [0], 6, beams=1, stop=[2])
    assert short.tokens == (2,)


def test_bad_arguments_of_writing(language):
    bundle = sb.Bundle(language)
    with pytest.raises(InvalidArgumentError, match=r"top_p is 0; expected a number above 0"):
        generate(bundle, [1], 3, top_p=0)
    with pytest.raises(InvalidArgumentError, match="expected one token or more"):
        generate(bundle, [], 3)
    with pytest.raises(InvalidArgumentError, match="the scores of a language model are"):
        next(generate(bundle, [1], 3, output="x"))
