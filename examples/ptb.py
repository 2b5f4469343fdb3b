"""The medium LSTM of Zaremba, Sutskever and Vinyals on the Penn Treebank.

    python examples/ptb.py --data-train ptb.train.txt --data-valid ptb.valid.txt \\
        --data-test ptb.test.txt --checkpoint runs/ptb --report runs/ptb.html

The recipe is that of "Recurrent Neural Network Regularization" (Wojciech Zaremba, Ilya Sutskever,
Oriol Vinyals, 2014): two LSTM layers of 650, unrolled for 35 steps, in 20 streams of text whose
states go on from one segment to the next; parameters drawn from [-0.05, 0.05]; dropout of 0.5 on
what goes into and out of the layers, not on what they remember; plain SGD on the sum of the losses
of the 35 steps, gradients clipped at a global norm of 5; a learning rate of 1 for six epochs,
divided by 1.2 after each further one, 39 epochs in all. Defaults are these numbers.

What to expect on the three files of the Penn Treebank with Mikolov's vocabulary of 10,000 words:

    ============================================  ========  ==========  =====
    perplexity after 39 epochs                    training  validation  test
    ============================================  ========  ==========  =====
    the paper                                                     86.2   82.7
    TensorFlow's example of the paper                48.45       86.16  82.07
    ============================================  ========  ==========  =====

Neither publishes values epoch by epoch. What follows from the recipe is the learning rate: 1 up to
epoch 6, 0.83 in epoch 7, 0.48 in 10, 0.078 in 20, 0.0126 in 30, 0.0024 in 39; at a hundredth of the
first rate, the last ten epochs change little. The program prints each epoch's perplexities with its
rate, and says whether the files are those that these numbers are for. Two things differ a little:
cells have two vectors of biases, as in MXNet, and the last segment of the text, shorter than the
others, is read too.

An epoch has about 75 TFLOP, so the 39 take many hours on a few cores. --checkpoint makes a run that
was ended go on where it was, to the last bit. Smaller: --num-hidden 200 --dropout 0 --num-epochs 13
--decay 2 --decay-after 4 --num-steps 20 --init 0.1 is the paper's small network without dropout.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import symbucket as sb
from symbucket.apps.arguments import argument_parser, fraction, integer, page, positive, run_program
from symbucket.errors import DataError

END, UNKNOWN = "<eos>", "<unk>"
PUBLISHED = {"training": 929_589, "validation": 73_760, "test": 82_430}  # tokens of each file
Words = dict[str, int]


# The text -----------------------------------------------------------------------------------------


def read_words(path: str) -> list[str]:
    """The words of a file, with ``<eos>`` at the end of each line."""
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {path}: {error}") from error
    words = [word for line in lines for word in (*line.split(), END) if line.strip()]
    if not words:
        raise DataError(f"{path} holds no words")
    return words


def encode(words: Sequence[str], vocabulary: Words, path: str) -> np.ndarray:
    """The words as numbers; those that training does not have are ``<unk>``."""
    unknown = vocabulary.get(UNKNOWN)
    if unknown is None and (strange := next((w for w in words if w not in vocabulary), None)):
        raise DataError(
            f"{path} has {strange!r}, which the training text has not, and that has no {UNKNOWN}; "
            f"write {UNKNOWN} for rare words in all files"
        )
    return np.array([vocabulary.get(word, unknown) for word in words])


class Segments(sb.io.DataIter):
    """A text in ``rows`` streams side by side; each batch is the next segment of all of them.

    The words at the end that fill no row are left out. ``module``, if there is one, begins with
    states of zero after each reset.
    """

    def __init__(self, ids: np.ndarray, rows: int, steps: int) -> None:
        super().__init__(rows)
        length = (len(ids) - 1) // rows
        if length < 1:
            raise DataError(
                f"a text of {len(ids)} words has not enough for {rows} streams; lower --batch-size"
            )
        cut = rows * length
        self.read = ids[:cut].reshape(rows, length)
        self.follow = ids[1 : cut + 1].reshape(rows, length)
        self.steps, self.position = steps, 0
        self.module: Any = None
        self.provide_data, self.provide_label = self.descriptions(min(steps, length))

    def descriptions(self, length: int) -> tuple[list[sb.io.DataDesc], list[sb.io.DataDesc]]:
        shape = (self.batch_size, length)
        return [sb.io.DataDesc("data", shape, layout="NT")], [
            sb.io.DataDesc("softmax_label", shape, layout="NT")
        ]

    def __len__(self) -> int:
        return (self.read.shape[1] + self.steps - 1) // self.steps

    def reset(self) -> None:
        self.position = 0
        if self.module is not None:
            self.module.reset_states()

    def next(self) -> sb.io.DataBatch:
        part = slice(self.position, self.position + self.steps)
        read, follow = self.read[:, part], self.follow[:, part]
        if not read.size:
            raise StopIteration
        self.position += self.steps
        data, label = self.descriptions(read.shape[1])
        return sb.io.DataBatch([read], [follow], pad=0, provide_data=data, provide_label=label)

    # The states are the module's; where the text is belongs here.

    def state(self) -> dict[str, Any]:
        return {"iterator": "Segments", "position": self.position}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.position = int(state["position"])


# The network --------------------------------------------------------------------------------------


def lstm_module(
    words: int, layers: int, hidden: int, dropout: float, steps: int
) -> sb.mod.RecurrentModule:
    """Return the module: a network of ``steps`` words, which takes its states along."""
    cells = sb.rnn.SequentialRNNCell()
    for i in range(layers):
        cells.add(sb.rnn.DropoutCell(dropout))
        cells.add(sb.rnn.LSTMCell(hidden, prefix=f"lstm_l{i}_", forget_bias=0.0))
    cells.add(sb.rnn.DropoutCell(dropout))

    def sym_gen(steps: int) -> tuple[sb.Symbol, list[str], list[str]]:
        cells.reset()
        begin = cells.begin_state(sb.sym.Variable)
        vectors = sb.sym.Embedding(
            sb.sym.Variable("data"), input_dim=words, output_dim=hidden, name="embed"
        )
        outputs, states = cells.unroll(steps, vectors, begin, merge_outputs=True)
        rows = sb.sym.Reshape(outputs, shape=(-1, hidden))
        scores = sb.sym.FullyConnected(rows, num_hidden=words, name="pred")
        label = sb.sym.Reshape(sb.sym.Variable("softmax_label"), shape=(-1,))
        loss = sb.sym.SoftmaxOutput(scores, label, name="softmax")  # a sum over all steps
        return sb.sym.Group([loss, *states]), ["data"], ["softmax_label"]

    cells.reset()
    names = [state.name for state in cells.begin_state(sb.sym.Variable)]
    return sb.mod.RecurrentModule(sym_gen, names, unroll=steps, carry_states=True)


# The program --------------------------------------------------------------------------------------


def run(args: argparse.Namespace) -> None:
    sb.random.seed(args.seed)
    paths = {"training": args.data_train, "validation": args.data_valid, "test": args.data_test}
    texts = {name: read_words(path) for name, path in paths.items()}
    vocabulary: Words = {word: i for i, word in enumerate(sorted({*texts["training"]}))}
    print(describe(texts, vocabulary), flush=True)
    train, valid, test = (
        Segments(encode(text, vocabulary, paths[name]), args.batch_size, args.num_steps)
        for name, text in texts.items()
    )
    sizes = args.num_layers, args.num_hidden, args.dropout, args.num_steps
    module = lstm_module(len(vocabulary), *sizes)
    train.module = valid.module = test.module = module

    def validated(param: sb.callback.BatchEndParam) -> None:
        rate = module.updater.optimizer.learning_rate
        print(
            f"epoch {param.epoch + 1}: learning rate {rate:.4f}, perplexity {trained[0]:.2f} in "
            f"training, {param.eval_metric.get_global_name_value()[0][1]:.2f} in validation",
            flush=True,
        )

    trained = [0.0]

    def batch_done(param: sb.callback.BatchEndParam) -> None:
        trained[0] = param.eval_metric.get_global_name_value()[0][1]

    module.fit(
        train,
        eval_data=valid,
        eval_metric=sb.metric.Perplexity(None),
        batch_end_callback=batch_done,
        eval_end_callback=validated,
        initializer=sb.init.Uniform(args.init),
        optimizer="sgd",
        optimizer_params={
            "learning_rate": args.lr,
            "rescale_grad": 1.0 / args.batch_size,
            "clip_global_norm": args.clip,
            "lr_scheduler": schedule(args, len(train)),
        },
        num_epoch=args.num_epochs,
        checkpoint=args.checkpoint,
        resume="auto" if args.checkpoint else None,
        report=args.report,
    )
    ((_, perplexity),) = module.score(test, sb.metric.Perplexity(None))
    print(f"test perplexity {perplexity:.2f}")


def schedule(args: argparse.Namespace, batches: int) -> sb.lr_scheduler.LRScheduler:
    """The rate stays for ``--decay-after`` epochs, and falls after each one from then on."""
    steps = [epoch * batches for epoch in range(args.decay_after, args.num_epochs)]
    return sb.lr_scheduler.MultiFactorScheduler(steps or [1 << 60], 1 / args.decay, args.lr)


def describe(texts: Mapping[str, Sequence[str]], vocabulary: Words) -> str:
    """Say what was read, and whether the published perplexities are for it."""
    counts = {name: len(words) for name, words in texts.items()}
    sizes = ", ".join(f"{count:,} for {name}" for name, count in counts.items())
    same = counts == PUBLISHED and len(vocabulary) == 10_000
    told = (
        "these are the files that the published perplexities are for"
        if same
        else "not the Penn Treebank's files, so the published perplexities are not for it"
    )
    return f"{sizes}; {len(vocabulary):,} different words: {told}"


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argument_parser("ptb.py", "Train the medium LSTM of Zaremba et al. on three files.")
    add = parser.add_argument
    for name in ("train", "valid", "test"):
        add(f"--data-{name}", required=True, metavar="FILE", help="a sentence a line")
    add("--num-layers", type=integer(1), default=2, help="LSTM layers")
    add("--num-hidden", type=integer(1), default=650, help="size of a layer and of word vectors")
    add("--num-steps", type=integer(1), default=35, help="words of a segment")
    add("--batch-size", type=integer(1), default=20, help="streams of text side by side")
    add("--dropout", type=fraction, default=0.5, help="share of what goes between layers to drop")
    add("--init", type=positive, default=0.05, help="parameters begin within this distance of 0")
    add("--lr", type=positive, default=1.0, help="learning rate of SGD")
    add("--clip", type=positive, default=5.0, help="largest global norm of the gradients")
    add("--decay", type=positive, default=1.2, help="what the rate is divided by")
    add("--decay-after", type=integer(1), default=6, help="epochs at the full rate")
    add("--num-epochs", type=integer(1), default=39, help="times through the text")
    add("--checkpoint", metavar="FOLDER", help="where the run is kept, to go on from")
    add("--report", type=page, metavar="PAGE", help="a page with curves, times and memory")
    add("--seed", type=int, default=1, help="the same one repeats a run exactly")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    return run_program("ptb.py", run, parse_arguments(argv))


if __name__ == "__main__":
    sys.exit(main())
