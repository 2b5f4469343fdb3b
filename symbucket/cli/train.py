"""``symbucket train``: train the language model over buckets."""

from __future__ import annotations

import argparse

from symbucket.apps import language_model, language_model_arguments

HELP = "train a language model on sentences"
DESCRIPTION = (
    "Train an LSTM language model on sentences of many lengths, in buckets. With no arguments it\n"
    "learns English from Python's own documentation, in a few minutes."
)
EXAMPLE = """\
examples:
  symbucket train --num-epochs 2 --report runs/run.html
  symbucket train --data-train ptb.train.txt --data-test ptb.valid.txt
  symbucket train --data-train ptb.train.txt --checkpoint runs/ptb --resume auto
  symbucket train --data-train ptb.train.txt --checkpoint runs/ptb --resume 5 --num-epochs 10
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the program itself."""
    language_model_arguments.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Train."""
    language_model_arguments.check_arguments(args.parser, args)
    language_model.train_and_sample(args)
    return 0
