"""Reading words from pictures of any width: convolutions, a bidirectional LSTM and CTC.

    python examples/ctc_ocr.py
    python examples/ctc_ocr.py --words 20000 --num-epochs 12

The bucket key is the width of the pictures in pixels. This program draws the words itself: random
letters in a 5 x 7 font, each stretched, slanted and shifted, in noise, dark or bright. Nobody tells
the network where a letter stands: ``ctc_loss`` adds up all ways in which the columns of a picture
can read as the word. Pictures are padded to the width of their bucket; the network takes their real
widths as an input, so that the backward LSTM begins at a picture's own last column.

It is tested on words that it was not trained on, by edit distance: the letters that are to be
inserted, deleted or replaced, as a share of all letters. With the defaults it is 1.4% after six
epochs; a beam search reads a few more words right than the best path does.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

import symbucket as sb
from symbucket.apps.arguments import argument_parser, fraction, integer, positive, run_program

HEIGHT = 16
# The columns of each letter, 5 bytes; the lowest bit of a byte is the top.
FONT = {
    letter: bytes.fromhex(columns)
    for letter, columns in zip(
        "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
        """7E1111117E 7F49494936 3E41414122 7F4141221C 7F49494941 7F09090901 3E4149497A
        7F0808087F 00417F4100 2040413F01 7F08142241 7F40404040 7F020C027F 7F0408107F
        3E4141413E 7F09090906 3E4151215E 7F09192946 4649494931 01017F0101 3F4040403F
        1F2040201F 3F4038403F 6314081463 0708700807 6151494543""".split(),
    )
}


# Pictures ----------------------------------------------------------------------------------------


class Picture(NamedTuple):
    pixels: np.ndarray  # (HEIGHT, width)
    word: str


def glyph(letter: str) -> np.ndarray:
    """(7, 5), 1 where the letter is."""
    columns = np.frombuffer(FONT[letter], np.uint8)
    return (columns >> np.arange(7)[:, None] & 1).astype(np.float32)


def stretched(image: np.ndarray, height: int, width: int, slant: float) -> np.ndarray:
    """A picture in another size, between its pixels, leaning to the right by ``slant`` pixels."""
    rows = np.linspace(0, image.shape[0] - 1, height)[:, None]
    lean = slant * (1 - 2 * np.arange(height)[:, None] / (height - 1)) * image.shape[1] / width
    columns = np.linspace(-0.5, image.shape[1] - 0.5, width) - lean
    framed = np.pad(image, 1)
    y, x = np.broadcast_arrays(rows + 1, np.clip(columns + 1, 0, image.shape[1] + 0.999))
    top, left = np.minimum(y.astype(int), framed.shape[0] - 2), x.astype(int)
    down, right = y - top, x - left
    upper = framed[top, left] * (1 - right) + framed[top, left + 1] * right
    lower = framed[top + 1, left] * (1 - right) + framed[top + 1, left + 1] * right
    return upper * (1 - down) + lower * down


def draw(rng: np.random.Generator, letters: str, longest: int, noise: float) -> Picture:
    """A word of one to ``longest`` random letters."""
    word = "".join(rng.choice(list(letters), rng.integers(1, longest + 1)))
    gap = int(rng.integers(1, 4))
    parts = [np.zeros((HEIGHT, int(rng.integers(1, 5))))]
    size = int(rng.integers(9, 14))
    for letter in word:
        drawn = stretched(glyph(letter), size, int(rng.integers(5, 10)), rng.uniform(-0.8, 0.8))
        top = int(rng.integers(0, HEIGHT - size + 1))
        parts.append(np.pad(drawn, ((top, HEIGHT - size - top), (0, gap))))
    pixels = np.concatenate(parts, axis=1)
    contrast = rng.uniform(0.6, 1.4) * rng.choice([-1, 1])
    pixels = contrast * pixels + rng.normal(0, noise * abs(contrast), pixels.shape)
    return Picture(pixels.astype(np.float32), word)


def batches(
    pictures: Sequence[Picture], letters: str, multiple: int, batch_size: int, seed: int
) -> sb.io.KeyedIter:
    """Batches of pictures whose widths are rounded up to one multiple; the last one repeats some.

    Data are the pictures and their widths, labels the numbers of the letters from 1 on, ended by 0.
    """
    longest = max(len(picture.word) for picture in pictures)
    keys, data, labels = [], [], []
    for picture in pictures:
        width = picture.pixels.shape[1]
        keys.append(-(-width // multiple) * multiple)
        padded = np.zeros((1, HEIGHT, keys[-1]), np.float32)
        padded[0, :, :width] = picture.pixels
        data.append({"data": padded, "width": width})
        numbers = [letters.index(letter) + 1 for letter in picture.word]
        labels.append(np.array(numbers + [0] * (longest - len(numbers)), np.float32))
    return sb.io.KeyedIter(
        keys, data, labels, batch_size, label_name="label", last_batch="pad", seed=seed
    )


# The network -------------------------------------------------------------------------------------


def reader(classes: int, filters: int, hidden: int):
    """``sym_gen``: scores (width / 2, batch, classes) of the columns, and the loss of each word."""

    def sym_gen(width: int):
        x = sb.sym.Variable("data")  # (batch, 1, HEIGHT, width)
        for layer, stride in enumerate([(2, 2), (2, 1)]):
            x = sb.sym.Convolution(
                x, kernel=(3, 3), pad=(1, 1), num_filter=filters << layer, name=f"conv{layer}"
            )
            x = sb.sym.Pooling(sb.sym.relu(x), kernel=stride, stride=stride, pool_type="max")
        steps = width // 2
        lengths = sb.sym.ceil(sb.sym.Variable("width") / 2)
        columns = sb.sym.transpose(x, axes=(3, 0, 1, 2))
        columns = sb.sym.reshape(columns, shape=(0, 0, -1))  # (steps, batch, filters * rows)
        cell = sb.rnn.BidirectionalCell(
            sb.rnn.LSTMCell(hidden, prefix="l_"), sb.rnn.LSTMCell(hidden, prefix="r_")
        )
        columns, _ = cell.unroll(
            steps, columns, layout="TNC", merge_outputs=True, valid_length=lengths
        )
        scores = sb.sym.FullyConnected(columns, num_hidden=classes, flatten=False, name="scores")
        loss = sb.sym.ctc_loss(
            scores, sb.sym.Variable("label"), lengths, use_data_lengths=True, name="ctc"
        )
        read = sb.sym.BlockGrad(sb.sym.swapaxes(scores, dim1=0, dim2=1), name="read")
        outputs = [sb.sym.MakeLoss(loss, name="loss"), read]  # (batch, steps, classes)
        return sb.sym.Group(outputs), ["data", "width"], ["label"]

    return sym_gen


def error_rates(
    module: sb.mod.BucketingModule, data: sb.io.KeyedIter, beam_width: int
) -> tuple[float, float, float]:
    """Edit distance over letters of the best path, and words read right by it and by the beam."""
    wrong = letters = words = greedy_right = beam_right = 0
    for (_, scores), _, batch in module.iter_predict(data):
        scores = scores.asnumpy().swapaxes(0, 1)
        lengths = np.ceil(np.asarray(batch.data[1])[: scores.shape[1]] / 2)
        paths = sb.ctc.greedy_decode(scores, lengths)
        beams = sb.ctc.beam_search(scores, lengths, beam_width=beam_width)
        for path, beam, label in zip(paths, beams, np.asarray(batch.label[0])):
            word = tuple(int(number) for number in label if number)
            wrong += sb.ctc.edit_distance(path.labels, word)
            letters += len(word)
            words += 1
            greedy_right += path.labels == word
            beam_right += beam[0].labels == word
    return wrong / letters, greedy_right / words, beam_right / words


def run(args: argparse.Namespace) -> None:
    sb.random.seed(args.seed)
    rng = np.random.default_rng(args.seed)
    pictures = [draw(rng, args.letters, args.longest, args.noise) for _ in range(args.words)]
    cut = args.words * 9 // 10
    train, held_out = (
        batches(part, args.letters, args.multiple, args.batch_size, args.seed)
        for part in (pictures[:cut], pictures[cut:])
    )
    print(
        f"{cut:,} words to learn from, {len(pictures) - cut:,} held out; widths of buckets: "
        f"{', '.join(map(str, sorted(train.buckets)))}"
    )
    network = reader(len(args.letters) + 1, args.filters, args.hidden)
    module = sb.mod.BucketingModule(network, train.default_bucket_key)
    began = time.perf_counter()

    def tell(epoch: int, *_: object) -> None:
        distance, greedy, beam = error_rates(module, held_out, args.beam_width)
        print(
            f"epoch {epoch + 1}: {time.perf_counter() - began:.1f} s, held-out edit distance "
            f"{distance:.1%} of the letters; words read right: {greedy:.1%}, by a beam {beam:.1%}",
            flush=True,
        )

    module.fit(
        train,
        eval_metric=sb.metric.Loss(output_names=["loss_output"], label_names=[]),
        epoch_end_callback=tell,
        initializer=sb.init.Xavier(factor_type="in", magnitude=2),
        optimizer="adam",
        optimizer_params={
            "learning_rate": args.lr,
            "lr_scheduler": sb.lr_scheduler.CosineScheduler(len(train) * args.num_epochs, args.lr),
        },
        num_epoch=args.num_epochs,
    )


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argument_parser("ctc_ocr.py", "Read words from pictures of any width.")
    add = parser.add_argument
    add("--words", type=integer(20), default=8000, help="how many to draw")
    add("--letters", default="".join(FONT), help="the letters to make words of")
    add("--longest", type=integer(1), default=8, help="letters of the longest word")
    add("--noise", type=fraction, default=0.1, help="of a pixel, as a share of the contrast")
    add("--multiple", type=integer(2), default=16, help="widths of buckets are multiples of this")
    add("--filters", type=integer(1), default=12, help="filters of the first convolution")
    add("--hidden", type=integer(1), default=64, help="units of the LSTM in each direction")
    add("--beam-width", type=integer(1), default=8, help="of the beam search")
    add("--batch-size", type=integer(1), default=16, help="words in a batch")
    add("--num-epochs", type=integer(1), default=8, help="times through the words")
    add("--lr", type=positive, default=0.01, help="learning rate of Adam")
    add("--seed", type=int, default=1, help="the same one repeats a run exactly")
    args = parser.parse_args(argv)
    args.letters = "".join(dict.fromkeys(args.letters.upper()))
    strange = [letter for letter in args.letters if letter not in FONT]
    if strange or not args.letters:
        parser.error(f"--letters {args.letters!r}: only letters from A to Z can be drawn")
    if args.multiple % 2:
        parser.error(f"--multiple {args.multiple} must be even: two columns are one step")
    return args


def main(argv: Sequence[str] | None = None) -> int:
    return run_program("ctc_ocr.py", run, parse_arguments(argv))


if __name__ == "__main__":
    sys.exit(main())
