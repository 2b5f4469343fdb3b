"""The arguments of ``symbucket train`` and ``examples/lstm_bucketing.py``."""

from __future__ import annotations

import argparse

import symbucket as sb
from symbucket.apps.arguments import device, fraction, integer, page, positive
from symbucket.module.training.observers import report_file
from symbucket.runtime.backend import load_runtime

AUTO = "auto"
"""As ``--resume``: go on where the last run stopped."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of a training run."""
    add = parser.add_argument
    add("--data-train", metavar="FILE", help="text, one sentence a line; else Python's own docs")
    add("--data-test", metavar="FILE", help="validation text; else 5%% of the training sentences")
    add("--min-count", type=integer(1), default=3, help="rarer words become <unk>")
    add_network_arguments(parser)
    add("--num-epochs", type=integer(1), default=5, help="epochs in all, resumed ones included")
    add("--max-batches", type=integer(0), default=0, help="end each epoch after so many; 0: never")
    add("--optimizer", default="adam", help="adam, sgd, nag, rmsprop, adagrad, ...")
    add("--lr", type=positive, default=0.004, help="learning rate; try 1.0 for sgd")
    add("--seed", type=integer(0), default=1, help="the same one repeats a run exactly")
    add("--gpus", type=integer(0), metavar="N", help="number of the GPU to train on; else the CPU")
    add("--checkpoint", metavar="PREFIX", help="save a checkpoint after every epoch")
    add(
        "--resume",
        type=_resumed,
        default=0,
        metavar="EPOCH",
        help="go on from this checkpoint (exactly, but for dropout); auto: exactly where the last "
        "run stopped or was killed, if there was one",
    )
    add("--report", type=page, metavar="PAGE", help="a page with curves, times and memory")
    add("--samples", type=integer(0), default=5, help="sentences to write at the end")
    add("--temperature", type=positive, default=0.7, help="lower writes more cautiously")


def _resumed(text: str) -> int | str:
    return text if text == AUTO else integer(0)(text)


def add_network_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that define the networks."""
    add = parser.add_argument
    add(
        "--buckets",
        type=integer(1),
        nargs="+",
        default=[10, 20, 30, 40, 62],
        help="sentence lengths",
    )
    add("--num-layers", type=integer(1), default=2, help="LSTM layers")
    add("--num-hidden", type=integer(1), default=128, help="size of an LSTM layer")
    add("--num-embed", type=integer(1), default=128, help="size of the word vectors")
    add("--dropout", type=fraction, default=0.0, help="share of each layer's outputs to drop")
    add("--batch-size", type=integer(1), default=32, help="sentences in a batch")


def check_networks(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """End with an error if there are no such buckets or no such optimizer."""
    sb.optimizer.create(args.optimizer)
    if args.buckets != sorted(set(args.buckets)):
        parser.error(f"--buckets {' '.join(map(str, args.buckets))}: lengths must ascend")


def check_arguments(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """End with a usage error if arguments contradict each other or the device is missing."""
    load_runtime()  # a missing runtime or device is an error now, not after the text is read
    device(args.gpus)
    check_networks(parser, args)
    report_file(args.report)
    if args.data_test and not args.data_train:
        parser.error("--data-test needs --data-train")
    if args.resume and not args.checkpoint:
        parser.error("--resume needs --checkpoint PREFIX, the one that the first run was given")
    if args.resume != AUTO and args.resume > args.num_epochs:
        parser.error(
            f"--resume {args.resume} leaves nothing to train: --num-epochs {args.num_epochs} "
            "counts all epochs, resumed ones included"
        )
