"""``examples/lstm_bucketing.py``: the whole path from a text to a model that writes text."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import re
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import numpy as np
import pytest

import symbucket as sb
from symbucket.apps import language_model as program

EXAMPLE = Path(__file__).parents[1] / "examples" / "lstm_bucketing.py"
EPOCH = re.compile(
    r"epoch (\d+): [\d.]+ s, [\d,]+ tokens/s, train perplexity ([\d.]+), "
    r"validation perplexity ([\d.]+)"
)
SMALL = [
    "--buckets", "6", "9", "12", "--min-count", "1", "--num-layers", "2", "--num-hidden", "12",
    "--num-embed", "8", "--batch-size", "8", "--lr", "0.02",
]  # fmt: skip


def load_example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("lstm_bucketing_example", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


example = load_example()


class Run(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def epochs(self) -> list[tuple[int, float, float]]:
        """(epoch, train perplexity, validation perplexity) of each epoch's line."""
        return [(int(e), float(t), float(v)) for e, t, v in EPOCH.findall(self.out)]

    @property
    def written(self) -> list[str]:
        return self.out.partition("model writes:\n")[2].splitlines()


def run(*argv: object) -> Run:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = example.main([str(a) for a in argv])
        except SystemExit as end:
            code = int(end.code or 0)
    return Run(code, out.getvalue(), err.getvalue())


def write_text(path: Path, count: int) -> Path:
    """Sentences of 4 to 9 words, most of which follow from those before."""
    looks = ["red", "old", "big", "wet"]
    with path.open("w", encoding="utf-8") as file:
        for i in range(count):
            seen = [looks[(i // 4 + k) % 4] for k in range(i % 4)]
            where = "home" if i % 3 else "to the sea"
            print("the", *seen, "dog ran", where, file=file)
    return path


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_text(tmp_path_factory.mktemp("text") / "dogs.txt", 160)


@pytest.fixture(scope="module")
def full(text: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Path]:
    """An uninterrupted run of four epochs with its checkpoints."""
    prefix = tmp_path_factory.mktemp("full") / "dogs"
    argv = ["--data-train", text, "--num-epochs", 4, "--samples", 6, "--checkpoint", prefix]
    return run(*SMALL, *argv), prefix


def params(prefix: Path, epoch: int) -> dict[str, np.ndarray]:
    arrays = sb.checkpoint.load_params(f"{prefix}-{epoch:04d}.params")[0]
    assert set(arrays) >= {"embed_weight", "lstm_l1_h2h_weight", "pred_bias"}
    return arrays


def assert_equal(left: dict[str, np.ndarray], right: dict[str, np.ndarray]) -> None:
    assert left.keys() == right.keys()
    for name, values in left.items():
        np.testing.assert_array_equal(values, right[name], err_msg=name)


def test_the_text_and_its_buckets_are_described(full):
    out = full[0].out
    assert re.search(
        r"tokens in 157 sentences; vocabulary of 13 \(0\.0% of the text is <unk>\)", out
    )
    assert re.search(r"bucket +sentences +batches +padding\n +6 +\d+ +\d+ +[\d.]+%\n +9 ", out)
    assert re.search(r"\n total +157 ", out)
    assert re.search(r"In a single bucket of 12, padding would be [\d.]+%\.", out)


def test_perplexity_falls_epoch_by_epoch(full):
    result = full[0]
    assert (result.code, result.err) == (0, "")
    assert [epoch for epoch, _, _ in result.epochs] == [1, 2, 3, 4]
    for column in (1, 2):
        values = [row[column] for row in result.epochs]
        assert values == sorted(values, reverse=True)
        assert len(set(values)) == 4
    assert result.epochs[-1][2] < 4 < result.epochs[0][2]


def test_sentences_are_written_in_words_of_the_text(full):
    written = full[0].written
    assert len(written) == 6
    words = set(" ".join(written).split())
    assert words
    assert words <= {"the", "red", "old", "big", "wet", "dog", "ran", "home", "to", "sea"}


def test_a_seed_repeats_a_run_exactly(full, text, tmp_path):
    result, prefix = full
    argv = ["--data-train", text, "--num-epochs", 1, "--samples", 0, "--checkpoint"]
    again = run(*SMALL, *argv, tmp_path / "again")
    assert again.epochs == result.epochs[:1]
    assert "model writes" not in again.out
    assert_equal(params(tmp_path / "again", 1), params(prefix, 1))
    run(*SMALL, *argv, tmp_path / "other", "--seed", 2)
    other = params(tmp_path / "other", 1)["pred_weight"]
    assert abs((other - params(prefix, 1)["pred_weight"]).asnumpy()).max() > 1e-3


def test_a_resumed_run_equals_an_uninterrupted_one(full, text, tmp_path):
    result, prefix = full
    for path in prefix.parent.iterdir():
        if path.is_file() and "-0003" not in path.name and "-0004" not in path.name:
            shutil.copy(path, tmp_path)
    rest = run(
        *SMALL, "--data-train", text, "--num-epochs", 4, "--samples", 6,
        "--checkpoint", tmp_path / "dogs", "--resume", 2,
    )  # fmt: skip
    assert rest.epochs == result.epochs[2:]
    assert rest.written == result.written
    assert_equal(params(tmp_path / "dogs", 4), params(prefix, 4))


def test_max_batches_and_a_validation_file(text, tmp_path):
    valid = write_text(tmp_path / "valid.txt", 10)
    result = run(
        *SMALL, "--data-train", text, "--data-test", valid, "--max-batches", 2, "--num-epochs", 1,
        "--samples", 0, "--dropout", 0.2, "--optimizer", "sgd",
    )  # fmt: skip
    assert (result.code, len(result.epochs)) == (0, 1)
    assert "tokens in 160 sentences" in result.out


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--data-train", "nowhere.txt"], "cannot read sentences from nowhere.txt: No such file"),
        (["--data-train", "{empty}"], "holds no tokens"),
        (["--buckets", "2", "4"], "all 157 sentences are longer than the largest bucket (4)"),
        (["--resume", "7", "--num-epochs", "9", "--checkpoint", "{full}"], "there is no parameter"),
        (["--resume", "1", "--checkpoint", "{full}", "--num-hidden", "5"], "does not fit"),
        (["--checkpoint", "{empty}/x"], "cannot make the folder"),
        (["--gpus", "9"], "--gpus 9 needs the CUDAExecutionProvider"),
    ],
)  # fmt: skip
def test_a_mistake_gets_one_line(argv, message, text, full, tmp_path, caplog):
    empty = tmp_path / "empty.txt"
    empty.write_text("\n\n")
    argv = [a.format(empty=empty, full=full[1]) for a in argv]
    result = run(*SMALL, "--data-train", text, *argv)
    assert result.code == 2
    assert message in result.err
    assert result.err.startswith("lstm_bucketing.py: error: ")
    assert result.err.count("\n") == 1
    assert not result.epochs


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--resume", "1"], "--resume needs --checkpoint"),
        (["--data-test", "x"], "--data-test needs --data-train"),
        (["--samples", "-1"], "argument --samples: -1 is not 0 or more"),
        (["--temperature", "0"], "argument --temperature: 0 is not above 0"),
        (["--report", "run.txt"], "argument --report: 'run.txt' does not end in .html"),
    ],
)
def test_options_that_make_no_sense(argv, message):
    result = run(*argv)
    assert result.code == 2
    assert message in result.err


def test_the_network_that_writes_agrees_with_the_one_that_learns():
    sym_gen = program.language_model(11, num_layers=2, num_hidden=6, num_embed=5, dropout=0.5)
    module = sb.mod.BucketingModule(sym_gen, default_bucket_key=7)
    module.bind([("data", (2, 7))], [("softmax_label", (2, 7))])
    module.init_params(sb.init.Normal(0.5))
    words = np.random.default_rng(1).integers(1, 11, (2, 4))
    batch = sb.io.DataBatch(
        [words],
        [words],  # scoring needs no labels, but only they tell the shape of softmax_label
        bucket_key=4,
        provide_data=[("data", (2, 4))],
        provide_label=[("softmax_label", (2, 4))],
    )
    module.forward(batch, is_train=False)
    whole = module.get_outputs()[0].asnumpy().reshape(2, 4, 11)

    _, inputs, _ = sym_gen(program.NEXT_WORD)
    assert inputs == ["data", *(f"lstm_l{i}_begin_state_{j}" for i in (0, 1) for j in (0, 1))]
    states = [np.zeros((2, 6), np.float32) for _ in inputs[1:]]
    for step in range(4):
        arrays = [words[:, step : step + 1], *states]
        shapes = [(name, a.shape) for name, a in zip(inputs, arrays)]
        module.forward(
            sb.io.DataBatch(arrays, bucket_key=program.NEXT_WORD, provide_data=shapes),
            is_train=False,
        )
        scores, *states = (output.asnumpy() for output in module.get_outputs())
        powers = np.exp(scores)
        np.testing.assert_allclose(
            powers / powers.sum(1, keepdims=True), whole[:, step], rtol=1e-4, atol=1e-6
        )
    assert module.builds()[program.NEXT_WORD] == {"inference": 1}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def counted(batch: int, tokens: int) -> sb.callback.BatchEndParam:
    metric = sb.metric.Perplexity(0)
    metric.update_sums(tokens * np.log(8.0), tokens)
    return sb.callback.BatchEndParam(0, batch, metric)


def test_the_line_of_an_epoch(monkeypatch, capsys):
    clock = iter([0.0, 10.0, 20.0, 25.0])
    monkeypatch.setattr(program.time, "perf_counter", lambda: next(clock))
    lines = program.EpochLines()
    lines(counted(0, 20_000))
    lines(counted(1, 50_000))
    lines.validated(counted(2, 8))
    assert capsys.readouterr().out == (
        "epoch 1: 25.0 s, 2,500 tokens/s, train perplexity 8.00, validation perplexity 8.00\n"
    )


def test_a_bar_and_a_report(text, tmp_path, monkeypatch):
    terminal = Terminal()
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(contextlib, "redirect_stderr", lambda _: contextlib.nullcontext())
    monkeypatch.setattr(sys, "stderr", terminal)
    argv = ["--data-train", text, "--num-epochs", 1, "--samples", 0]
    result = run(*SMALL, *argv, "--report", tmp_path / "run.html")
    assert (result.code, len(result.epochs)) == (0, 1)
    drawn = terminal.getvalue()
    assert re.search(r"Epoch 1/1  \[=+ +\]  1/\d+  loss=2\.[\d]+  perplexity=[\d.]+", drawn)
    assert "Train-perplexity" not in drawn  # the program says it in its own words
    page = (tmp_path / "run.html").read_text()
    assert "tokens a second of steps" in page
    assert "<h2>Buckets</h2>" in page


@pytest.mark.slow
def test_english_that_is_on_every_machine():
    result = run("--num-epochs", 2, "--max-batches", 40, "--samples", 2)
    assert (result.code, result.err) == (0, "")
    (_, _, first), (_, _, second) = result.epochs
    assert second < first < 1000
    assert len(result.written) == 2
