"""A recurrence scheduled from Python: the network of one step (or of k), run over any length.

    python examples/step_scheduler.py
    python examples/step_scheduler.py --unroll 16 --segment 128 --no-carry

Bucketing makes a network for each length. This example goes the other way: it makes the network
of one step, and Python runs it over the sequence as often as there are steps. A step begins with
the states that the step before ended with, and leaves a stash of activations behind. Then the
steps run backwards, the last one first: each reads its stash, gives the gradient of its states to
the step before it, and adds its gradients of the parameters to what is there. No length is too
long, and nothing is compiled but one small network.

What it costs is the overhead of starting so many small runs, and products over one step's rows
where one product over all steps' rows would do. ``unroll=k`` lies between the two: the network of
k steps, with the rest of a sequence as one shorter network. The bucket key of these networks is
the number of their steps, and they share their parameters as all buckets do. The table at the end
shows the speed against k; the gradients are the same for every k.

The model reads one long text (the manual that ``help()`` shows) a character at a time. A batch is
a segment of the text, the next batch is the segment after it, and it begins with the states that
this one ends with: truncated backpropagation through time. Gradients stop at the border of a
segment, but what the states remember does not.

With the defaults, text that it has not read takes 1.92 bits a character. How much the carried
states are worth shows with ``--segment 16 --num-epochs 8``: 1.90 bits, and 2.11 with --no-carry.
"""

from __future__ import annotations

import argparse
import math
import pydoc_data.topics
import re
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import symbucket as sb
from symbucket.apps.arguments import argument_parser, integer, positive, run_program

Network = tuple[sb.Symbol, Sequence[str], Sequence[str]]


def character_model(
    characters: int, args: argparse.Namespace
) -> tuple[Callable[[int], Network], list[str]]:
    """``sym_gen`` of the network of some steps, and the names of the states that it begins with."""
    cells = sb.rnn.SequentialRNNCell()
    for i in range(args.num_layers):
        cells.add(sb.rnn.LSTMCell(args.num_hidden, prefix=f"lstm_l{i}_"))
    # As variables, the states before the first step are inputs of the network...
    begin = cells.begin_state(sb.sym.Variable)

    def sym_gen(steps: int) -> Network:
        vectors = sb.sym.Embedding(
            sb.sym.Variable("data"), input_dim=characters, output_dim=args.num_embed, name="embed"
        )
        outputs, states = cells.unroll(steps, vectors, begin, merge_outputs=True)
        rows = sb.sym.Reshape(outputs, shape=(-1, args.num_hidden))
        scores = sb.sym.FullyConnected(rows, num_hidden=characters, name="pred")
        label = sb.sym.Reshape(sb.sym.Variable("label"), shape=(-1,))
        # The loss is a sum over steps: only then do the gradients of pieces add up to the whole.
        loss = sb.sym.SoftmaxOutput(scores, label, name="softmax")
        # ...and the states after the last step are outputs, behind the loss.
        return sb.sym.Group([loss, *states]), ["data"], ["label"]

    return sym_gen, sb.sym.Group(begin).list_arguments()


class Segments(sb.io.DataIter):
    """A text as ``batch_size`` streams side by side; a batch is the next segment of every stream.

    The last segment may be shorter, which a scheduled recurrence does not mind.
    """

    def __init__(self, text: np.ndarray[Any, Any], batch_size: int, segment: int) -> None:
        super().__init__(batch_size)
        steps = (len(text) - 1) // batch_size
        used = steps * batch_size
        self.data = text[:used].reshape(batch_size, steps)
        self.label = text[1 : used + 1].reshape(batch_size, steps)
        self.segment = min(segment, steps)
        self.provide_data = [sb.io.DataDesc("data", (batch_size, self.segment), layout="NT")]
        self.provide_label = [sb.io.DataDesc("label", (batch_size, self.segment), layout="NT")]
        self.start = 0

    def reset(self) -> None:
        self.start = 0

    def next(self) -> sb.io.DataBatch:
        if self.start >= self.data.shape[1]:
            raise StopIteration
        here = slice(self.start, self.start + self.segment)
        self.start += self.segment
        return sb.io.DataBatch([self.data[:, here]], [self.label[:, here]])


def load_text(args: argparse.Namespace) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], str]:
    """Training text and held-out text as numbers, and the characters that these stand for."""
    topics = pydoc_data.topics.topics
    text = "\n\n".join(topics[name] for name in sorted(topics))
    text = re.sub(r"[^\n -~]", "?", text)[: args.max_characters]
    characters = "".join(sorted(set(text)))
    number = {c: i for i, c in enumerate(characters)}
    numbers = np.array([number[c] for c in text])
    cut = len(numbers) * 9 // 10
    return numbers[:cut], numbers[cut:], characters


def train(args: argparse.Namespace) -> sb.mod.RecurrentModule:
    sb.random.seed(args.seed)
    text, held_out, characters = load_text(args)
    print(
        f"{len(text):,} characters to learn from, {len(held_out):,} held out; "
        f"{len(characters)} different ones"
    )
    sym_gen, states = character_model(len(characters), args)
    module = sb.mod.RecurrentModule(sym_gen, states, unroll=args.unroll, carry_states=args.carry)
    began = time.perf_counter()

    def tell(param: sb.callback.BatchEndParam) -> None:
        assert param.eval_metric is not None
        ((_, perplexity),) = param.eval_metric.get_global_name_value()
        print(
            f"epoch {param.epoch + 1}: {time.perf_counter() - began:.1f} s, held-out text "
            f"{math.log2(perplexity):.3f} bits a character",
            flush=True,
        )
        module.reset_states()  # the next epoch begins at the beginning of the text

    module.fit(
        Segments(text, args.batch_size, args.segment),
        eval_data=Segments(held_out, args.batch_size, args.segment),
        eval_metric=sb.metric.Perplexity(None),
        # Before the held-out text, the states of the training text are forgotten.
        epoch_end_callback=lambda *_: module.reset_states(),
        eval_end_callback=tell,
        initializer=sb.init.Xavier(),
        optimizer="adam",
        optimizer_params={
            "learning_rate": args.lr,
            "rescale_grad": 1 / (args.batch_size * args.segment),  # a mean over characters
        },
        num_epoch=args.num_epochs,
    )
    return module


def gradients_of(
    unroll: int, batch: sb.io.DataBatch, characters: int, args: argparse.Namespace
) -> tuple[sb.mod.RecurrentModule, dict[str, np.ndarray[Any, Any]]]:
    """A module of this ``unroll``, always with the same parameters, and its gradients."""
    sym_gen, states = character_model(characters, args)
    module = sb.mod.RecurrentModule(sym_gen, states, unroll=unroll)
    shape = np.shape(batch.data[0])
    module.bind([("data", shape)], [("label", shape)])
    sb.random.seed(args.seed)
    module.init_params(sb.init.Xavier())
    module.forward_backward(batch)
    return module, {n: a.asnumpy() for n, a in module.gradients().items()}


def speed_table(args: argparse.Namespace) -> str:
    """Speed of a training step against ``unroll``, up to one network over the whole segment."""
    text, _, characters = load_text(args)
    batch = Segments(text, args.batch_size, args.segment).next()
    steps = batch.data[0].shape[1]
    counts = [k for k in (1, 2, 4, 8, 16, 32, 64, 128, 256) if k < steps] + [steps]
    modules, differences, built = {}, {}, {}
    whole: dict[str, np.ndarray[Any, Any]] = {}
    for k in reversed(counts):
        began = time.perf_counter()
        modules[k], grads = gradients_of(k, batch, len(characters), args)
        built[k] = time.perf_counter() - began
        whole = whole or grads
        differences[k] = max(
            float(np.abs(grads[n] - whole[n]).max() / np.abs(whole[n]).max()) for n in whole
        )
    best = dict.fromkeys(counts, math.inf)
    for _ in range(args.table_runs):  # in turns, so that a busy moment hits all of them
        for k in counts:
            began = time.perf_counter()
            modules[k].forward_backward(batch)
            best[k] = min(best[k], time.perf_counter() - began)
    lines = ["unroll   ready after   a step takes   characters/s   difference of gradients"]
    for k in counts:
        speed = f"{batch.data[0].size / best[k]:,.0f}"
        lines.append(
            f"{k:>6} {built[k]:>11.2f} s {best[k] * 1e3:>11.1f} ms {speed:>14} "
            f"{differences[k]:>25.0e}"
        )
    return "\n".join(lines)


def run(args: argparse.Namespace) -> None:
    if args.num_epochs:
        train(args)
    if args.table_runs:
        print("\nOne training step over a segment, by the length of the network:\n")
        print(speed_table(args))


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argument_parser(
        "step_scheduler.py", "Train a character model with a recurrence that Python schedules."
    )
    add = parser.add_argument
    add("--unroll", type=int, default=8, metavar="K", help="steps of the compiled network")
    add("--segment", type=integer(1), default=32, help="characters before gradients are cut off")
    add(
        "--no-carry",
        dest="carry",
        action="store_false",
        default=True,
        help="begin every segment with zeros in place of the states of the one before",
    )
    add("--max-characters", type=integer(1), default=500_000, help="how much of the text to use")
    add("--num-layers", type=integer(1), default=1, help="LSTM layers")
    add("--num-hidden", type=integer(1), default=128, help="size of an LSTM layer")
    add("--num-embed", type=integer(1), default=32, help="size of a character's vector")
    add("--batch-size", type=integer(1), default=32, help="streams that run side by side")
    add("--num-epochs", type=integer(0), default=5, help="times through the text")
    add("--lr", type=positive, default=0.006, help="learning rate of Adam")
    add("--table-runs", type=integer(0), default=20, help="runs that the table takes the best of")
    add("--seed", type=integer(0), default=1, help="the same one repeats a run exactly")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    return run_program("step_scheduler.py", run, parse_arguments(argv))


if __name__ == "__main__":
    sys.exit(main())
