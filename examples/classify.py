"""A classifier of sentences from a file of yours to an HTTP server: the whole way in one program.

    python examples/classify.py train                      # train, and export what came out
    python examples/classify.py ask "the event loop runs callbacks"
    python examples/classify.py serve --port 8080          # POST {"text": "..."} to /

Your own data is a file with a label, a tab and a text in each line: ``train --data mine.tsv``.
Without one, the program learns from which package of Python's library a docstring is.

What it shows, in the order of the code:

* Sentences of many lengths go into a few buckets, whose boundaries ``plan_buckets`` chooses
  (``KeyedIter``), and the network gets their lengths.
* A bidirectional LSTM with ``valid_length`` reads them; attention, a softmax over the words that
  are there, weighs its outputs. ``check_padding`` makes sure that padding changes nothing.
* ``fit`` measures held-out accuracy after each epoch, ends when it gets no better
  (``EarlyStopping``), and keeps the state of the run, so that ``train`` goes on where it was ended;
  ``report.html`` shows the curves.
* ``export`` writes a bundle with the vocabulary in it, which serving needs nothing else for.
* ``Batcher`` answers requests of many threads together. The answer has the label, its
  probability, and the words that attention looked at. ``symbucket serve`` does the same for clients
  that send ids in place of texts.

In half a minute about 84 % of the labels of held-out docstrings are right. To adapt the program,
look at ``read_examples`` (what a text and a label are) and ``classifier`` (the network).
"""

from __future__ import annotations

import argparse
import ast
import json
import re
import sys
import sysconfig
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np

import symbucket as sb
from symbucket.apps.arguments import (
    Formatter,
    argument_parser,
    fraction,
    integer,
    positive,
    run_program,
)
from symbucket.errors import DataError, SymbucketError
from symbucket.serve import Batcher

PADDING, UNKNOWN = 0, 1
PACKAGES = ("asyncio", "ctypes", "email", "http", "multiprocessing", "tkinter", "unittest", "xml")
LONGEST = 40  # words; what follows is cut off
ATTACHED = "classifier.json"
Example = tuple[str, list[str]]  # label, words


# Data ---------------------------------------------------------------------------------------------


def words_of(text: str) -> list[str]:
    """The words of a text, at most ``LONGEST``."""
    return re.findall(r"[^\W\d_]+(?:'\w+)?|\d+", text.lower())[:LONGEST]


def read_examples(path: str | None) -> list[Example]:
    """Labels and words of a file, a label, a tab and a text in each line; else of docstrings."""
    if path is None:
        return list(docstrings())
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {path}: {error}") from error
    examples = []
    for number, line in enumerate(lines, 1):
        label, tab, text = line.partition("\t")
        if line.strip() and not (tab and label.strip() and words_of(text)):
            raise DataError(f"{path}, line {number}: expected a label, a tab and a text: {line!r}")
        if tab:
            examples.append((label.strip(), words_of(text)))
    return examples


def docstrings() -> Iterator[Example]:
    """First paragraphs of docstrings, labelled by their package."""
    library = Path(sysconfig.get_paths()["stdlib"])
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for package in PACKAGES:
        seen = set()
        for file in sorted((library / package).rglob("*.py")):
            tree = ast.parse(file.read_text(encoding="utf-8"))
            for node in ast.walk(tree):
                text = ast.get_docstring(node) if isinstance(node, kinds) else None
                words = words_of((text or "").partition("\n\n")[0])
                if len(words) > 3 and tuple(words) not in seen:
                    seen.add(tuple(words))
                    yield package, words


class Codes:
    """Numbers for words and labels, and their way into a bundle and back."""

    def __init__(self, words: Sequence[str], labels: Sequence[str]) -> None:
        self.words, self.labels = list(words), list(labels)
        self._ids = {word: i for i, word in enumerate(self.words, UNKNOWN + 1)}

    @classmethod
    def of(cls, examples: Sequence[Example], min_count: int) -> Codes:
        """Codes for the labels, and for the words that come ``min_count`` times."""
        counts = Counter(word for _, words in examples for word in words)
        common = sorted(word for word, count in counts.items() if count >= min_count)
        return cls(common, sorted({label for label, _ in examples}))

    @property
    def size(self) -> int:
        return len(self.words) + 2

    def encode(self, words: Sequence[str]) -> list[int]:
        return [self._ids.get(word, UNKNOWN) for word in words]

    def to_bytes(self) -> bytes:
        return json.dumps({"words": self.words, "labels": self.labels}).encode()

    @classmethod
    def from_bytes(cls, content: bytes) -> Codes:
        return cls(**json.loads(content))


def batches(
    examples: Sequence[Example], codes: Codes, buckets: Sequence[int], batch: int, **options: Any
) -> sb.io.KeyedIter:
    """Batches of sentences of about one length, with their lengths, and labels as numbers."""
    keys, data, labels = [], [], []
    for label, words in examples:
        key = next((b for b in sorted(buckets) if b >= len(words)), max(buckets))
        ids = codes.encode(words)[:key]
        keys.append(key)
        data.append({"data": ids + [PADDING] * (key - len(ids)), "valid_length": len(ids)})
        labels.append(codes.labels.index(label))
    return sb.io.KeyedIter(keys, data, labels, batch, label_name="softmax_label", **options)


# The network --------------------------------------------------------------------------------------


def classifier(words: int, labels: int, hidden: int, dropout: float) -> Callable[[int], Any]:
    """``sym_gen``: a bidirectional LSTM, attention over its outputs, one layer for the labels."""
    forward, backward = (sb.rnn.LSTMCell(hidden, prefix=f"lstm_{side}_") for side in "lr")
    cell = sb.rnn.BidirectionalCell(forward, backward, output_prefix="lstm_")

    def sym_gen(length: int) -> tuple[sb.Symbol, list[str], list[str]]:
        cell.reset()
        valid = sb.sym.Variable("valid_length")  # (batch,)
        vectors = sb.sym.Embedding(
            sb.sym.Variable("data"), input_dim=words, output_dim=hidden, name="embed"
        )
        vectors = sb.sym.Dropout(vectors, p=dropout)
        read, _ = cell.unroll(length, vectors, merge_outputs=True, valid_length=valid)
        energy = sb.sym.FullyConnected(read, num_hidden=1, flatten=False, name="energy")
        energy = sb.sym.Reshape(energy, shape=(0, length))
        attention = sb.sym.softmax(energy, valid, use_length=True, name="attention")
        picked = sb.sym.batch_dot(sb.sym.expand_dims(attention, axis=1), read)  # (batch, 1, 2h)
        picked = sb.sym.Dropout(sb.sym.Flatten(picked), p=dropout)
        scores = sb.sym.FullyConnected(picked, num_hidden=labels, name="scores")
        loss = sb.sym.SoftmaxOutput(scores, sb.sym.Variable("softmax_label"), name="softmax")
        shown = sb.sym.BlockGrad(attention, name="looked_at")
        return sb.sym.Group([loss, shown]), ["data", "valid_length"], ["softmax_label"]

    return sym_gen


# Training -----------------------------------------------------------------------------------------


def train(args: argparse.Namespace) -> None:
    """Train, or go on; then export."""
    sb.random.seed(args.seed)
    folder = Path(args.folder)
    examples = read_examples(args.data)
    order = np.random.default_rng(args.seed).permutation(len(examples))
    examples = [examples[i] for i in order][: args.most]
    cut = len(examples) * 4 // 5
    codes = Codes.of(examples[:cut], args.min_count)
    lengths = [len(words) for _, words in examples]
    buckets = sb.io.plan_buckets(lengths, args.buckets).boundaries
    print(
        f"{cut:,} sentences to learn from, {len(examples) - cut:,} held out; {codes.size:,} words, "
        f"{len(codes.labels)} labels, buckets {', '.join(map(str, buckets))}",
        flush=True,
    )
    options = {"seed": args.seed, "last_batch": "pad"}
    learned = batches(examples[:cut], codes, buckets, args.batch_size, **options)
    held_out = batches(examples[cut:], codes, buckets, args.batch_size, shuffle=False, **options)

    sym_gen = classifier(codes.size, len(codes.labels), args.num_hidden, args.dropout)
    report = sb.check_padding(sym_gen, next(iter(held_out)))
    print(str(report).partition(":")[0], flush=True)

    module = sb.mod.BucketingModule(sym_gen, learned.default_bucket_key)
    accuracy = sb.metric.Accuracy(output_names=["softmax_output"])
    stopping = sb.callback.EarlyStopping("val-accuracy", patience=args.patience)
    module.fit(
        learned,
        held_out,
        eval_metric=accuracy,
        initializer=sb.init.Xavier(),
        optimizer="adam",
        optimizer_params={"learning_rate": args.lr, "clip_global_norm": 5.0},
        num_epoch=args.num_epochs,
        early_stopping=stopping,
        checkpoint=folder / "run",
        resume="auto",  # the run of the same command that was ended, if there is one
        report=folder / "report.html",
    )
    ((_, share),) = module.score(held_out, accuracy)
    print(f"epoch {stopping.best_epoch + 1} was the best: {share:.1%} of held-out labels are right")
    module.export(folder / "bundle", attach={ATTACHED: codes.to_bytes()})
    print(f"wrote {folder / 'bundle'}; the curves are in {folder / 'report.html'}")


# Serving ------------------------------------------------------------------------------------------


class Classifier:
    """Answers texts with the networks of a bundle; any number of threads may ask."""

    def __init__(self, folder: Path) -> None:
        bundle = sb.Bundle(folder / "bundle")
        self.codes = Codes.from_bytes(bundle.attachments[ATTACHED])
        self._batcher = Batcher(bundle)
        self._longest = max(bundle.keys)

    def __call__(self, text: str) -> dict[str, Any]:
        """Return label, probability, and the three words that attention weighs most."""
        words = words_of(text)[: self._longest]
        if not words:
            raise DataError("the text has no words")
        request = {"data": self.codes.encode(words), "valid_length": len(words)}
        answer = self._batcher.submit(request, timeout=10.0).result()
        probabilities = answer["softmax_output"]
        weights = answer["looked_at_output"][: len(words)]
        best = int(probabilities.argmax())
        looked_at = [words[i] for i in np.argsort(-weights)[:3]]
        return {
            "label": self.codes.labels[best],
            "probability": round(float(probabilities[best]), 4),
            "looked_at": looked_at,
        }

    def close(self) -> None:
        """Answer what waits, and end."""
        self._batcher.close()


def server(classify: Classifier, host: str, port: int) -> ThreadingHTTPServer:
    """Return a server that answers POST {"text": "..."} with JSON; the caller runs it."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            try:
                text = json.loads(self.rfile.read(min(length, 1 << 20)))["text"]
                status, answer = 200, classify(str(text))
            except SymbucketError as error:
                status, answer = 400, {"error": str(error)}
            except (ValueError, KeyError, TypeError):
                status, answer = 400, {"error": 'send JSON, as {"text": "a sentence"}'}
            body = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            """Say nothing of each request."""

    return ThreadingHTTPServer((host, port), Handler)


def serve(args: argparse.Namespace) -> None:
    classify = Classifier(Path(args.folder))
    http = server(classify, args.host, args.port)
    print(f"listening at http://{args.host}:{http.server_port}/ (Ctrl-C ends)", flush=True)
    try:
        http.serve_forever()
    except KeyboardInterrupt:
        http.server_close()
        classify.close()


def ask(args: argparse.Namespace) -> None:
    classify = Classifier(Path(args.folder))
    for text in args.texts:
        print(json.dumps(classify(text)))
    classify.close()


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argument_parser("classify.py", "Train a classifier of sentences, ask it, serve it.")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    form: dict[str, Any] = {"formatter_class": Formatter, "allow_abbrev": False}
    learn = commands.add_parser("train", help="train, or go on, and export", **form)
    add = learn.add_argument
    add("--data", metavar="FILE", help="a label, a tab and a text in each line; else docstrings")
    add("--most", type=integer(10), default=4000, help="sentences to take, of all")
    add("--min-count", type=integer(1), default=2, help="rarer words are unknown")
    add("--buckets", type=integer(1), default=4, help="number of buckets")
    add("--num-hidden", type=integer(1), default=48, help="size of the LSTM in each direction")
    add("--dropout", type=fraction, default=0.4, help="share of word vectors and outputs to drop")
    add("--batch-size", type=integer(1), default=32, help="sentences in a batch")
    add("--num-epochs", type=integer(1), default=12, help="times through the sentences, at most")
    add("--patience", type=integer(1), default=3, help="epochs without a better accuracy")
    add("--lr", type=positive, default=0.004, help="learning rate of Adam")
    add("--seed", type=int, default=1, help="the same one repeats a run exactly")
    answer = commands.add_parser("ask", help="classify texts", **form)
    answer.add_argument("texts", nargs="+", metavar="TEXT")
    listen = commands.add_parser("serve", help="answer over HTTP", **form)
    listen.add_argument("--host", default="127.0.0.1", help="address to listen at")
    listen.add_argument("--port", type=integer(0, 65535), default=8080, help="0: any free one")
    for command, function in ((learn, train), (answer, ask), (listen, serve)):
        command.add_argument("--folder", default="runs/classify", help="where all files are")
        command.set_defaults(function=function)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_arguments(argv)
    return run_program("classify.py", args.function, args)


if __name__ == "__main__":
    sys.exit(main())
