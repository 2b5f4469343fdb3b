"""``examples/char_lm.py``: states are carried, segments of any cut agree, temperature, a run."""

import re

import numpy as np
import pytest

import symbucket as sb
from tests.examples.example_runs import load, run

example = load("char_lm")
SMALL = ["--num-hidden", 8, "--num-layers", 2, "--batch-size", 3, "--lengths", 4, 7]


def _model(characters=6):
    args = example.parse_arguments([str(a) for a in SMALL])
    sb.random.seed(2)
    model = example.Model(characters, args)
    arg_params = {
        n: sb.random.generator().uniform(-1, 1, a.shape)
        for n, a in sorted(model.module.get_params()[0].items())
    }
    model.module.set_params(arg_params, {})
    return model


def _streams(length=30, rows=3, characters=6):
    return np.random.default_rng(0).integers(0, characters, (rows, length))


def test_segments_cover_every_character_once():
    streams = _streams(20)
    found = list(example.segments(streams, iter([4, 7, 7, 7])))
    assert [s.shape[1] - 1 for s in found] == [4, 7, 7, 1]
    assert np.array_equal(np.hstack([s[:, 1:] for s in found]), streams[:, 1:])
    assert np.array_equal(np.hstack([s[:, :-1] for s in found]), streams[:, :-1])


def test_however_it_is_cut_the_model_reads_the_same_text():
    model, streams = _model(), _streams()
    whole = model.bits(streams, iter([29]), train=False)
    for lengths in ([4] * 8, [7, 4, 7, 4, 7, 4], [1] * 29):
        assert model.bits(streams, iter(lengths), train=False) == pytest.approx(whole, rel=1e-5)
    # Without the states of the segment before, it is another reader.
    forgetful = [
        model.bits(part, iter([4]), train=False)
        for part in example.segments(streams[:, :29], iter([4] * 7))
    ]
    assert abs(np.mean(forgetful) - whole) > 1e-3


def test_prompt_read_at_once_is_the_prompt_read_one_by_one():
    model, prompt = _model(), _streams(5)
    at_once, states = model.read(prompt, model.zeros(3), labelled=False)
    one_by_one = model.zeros(3)
    for i in range(5):
        last, one_by_one = model.read(prompt[:, i : i + 1], one_by_one, labelled=False)
    np.testing.assert_allclose(at_once.reshape(3, 5, -1)[:, -1], last, rtol=1e-5, atol=1e-6)
    for left, right in zip(states, one_by_one):
        np.testing.assert_allclose(left, right, rtol=1e-5, atol=1e-6)


def test_gradients_end_at_the_cut_and_states_do_not():
    model, streams = _model(), _streams(9)
    batch = model.batch(streams[:, :5], model.zeros(3))
    model.module.forward_backward(batch)
    first = {n: g.asnumpy().copy() for n, g in model.module.gradients().items()}
    rng = np.random.default_rng(1)
    states = [rng.normal(size=s.shape).astype(np.float32) for s in model.zeros(3)]
    model.module.forward_backward(model.batch(streams[:, :5], states))
    second = {n: g.asnumpy() for n, g in model.module.gradients().items()}
    assert all(not np.allclose(first[n], second[n]) for n in first if n != "embed_weight")
    # Gradients of the loss by finite differences: outputs that are states add nothing to them.
    values = {n: a.asnumpy() for n, a in model.module.get_params()[0].items()}
    name, place, step = "lstm_l0_h2h_weight", (3, 2), 1e-2
    losses = []
    for sign in (1, -1):
        moved = values[name].copy()
        moved[place] += sign * step
        model.module.set_params({**values, name: moved}, {})
        losses.append(_nats(model, streams[:, :5], states))
    slope = (losses[0] - losses[1]) / (2 * step)
    assert second[name][place] == pytest.approx(slope, rel=0.02, abs=1e-5)


def _nats(model, segment, states):
    probabilities, _ = model.read(segment, states)
    wanted = segment[:, 1:].reshape(-1)
    return -np.log(probabilities[np.arange(len(wanted)), wanted].astype(np.float64)).mean()


def test_temperature_and_seed():
    model, prompt = _model(), np.array([1, 2])

    def write(temperature, seed=0, rows=40):
        return model.write(prompt, rows, 6, temperature, seed)

    cold = write(1e-4)
    assert (cold == cold[0]).all()
    assert np.array_equal(write(1.0), write(1.0))
    assert not np.array_equal(write(1.0), write(1.0, seed=1))
    # The share of the first character is its probability, to the power of 1 / temperature.
    probabilities, _ = model.read(prompt[None], model.zeros(1), labelled=False)
    for temperature in (1.0, 0.5):
        wanted = probabilities[-1] ** (1 / temperature)
        wanted /= wanted.sum()
        first = model.write(prompt, 4000, 1, temperature, 3)[:, 0]
        shares = np.bincount(first, minlength=6) / len(first)
        np.testing.assert_allclose(shares, wanted, atol=0.03)


def test_small_run_learns_and_writes(tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("the dog saw the cat. the cat saw a bird! " * 60, encoding="utf-8")
    result = run(
        example, "--data", text, "--num-hidden", 24, "--num-layers", 1, "--batch-size", 4,
        "--lengths", 8, 12, "--num-epochs", 8, "--lr", 0.02, "--prompt", "the ", "--samples", 2,
        "--sample-length", 30, "--temperature", 0.3,
    )  # fmt: skip
    assert (result.code, result.err) == (0, "")
    held_out = [float(b) for b in re.findall(r"held out ([\d.]+)", result.out)]
    (frequencies,) = re.findall(r"([\d.]+) from their frequencies", result.out)
    assert held_out[-1] < 0.35 * float(frequencies)
    assert "('read', 4), ('read', 1)" in result.out
    samples = result.out.splitlines()[-4::2]
    assert all(re.match(r"  the \|.{30}$", line) for line in samples)
    assert any("cat" in line or "dog" in line for line in samples)


def test_same_seed_repeats_exactly(tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("abc abd " * 60, encoding="utf-8")
    seen = [
        re.sub(
            r"[\d.]+ s, [\d,]+ ", "", run(example, "--data", text, *SMALL, "--num-epochs", 2).out
        )
        for _ in range(2)
    ]
    assert "epoch 2" in seen[0]
    assert seen[0] == seen[1]


def test_help_pages_of_python_are_the_text():
    text = example.load_text(example.parse_arguments(["--characters", "50000"]))
    assert len(text) == 50_000
    assert "statement" in text
    assert "  " not in text


def test_wrong_arguments_are_explained(tmp_path):
    assert "is not above 0" in run(example, "--temperature", 0).err
    missing = run(example, "--data", tmp_path / "none.txt")
    assert missing.code == 2
    assert "char_lm.py: error: cannot read" in missing.err
    assert "too few for 16 streams" in run(example, "--characters", 50).err
