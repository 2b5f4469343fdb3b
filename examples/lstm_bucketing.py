"""A language model over buckets: LSTM layers learn to guess the next word of a sentence.

    python examples/lstm_bucketing.py
    python examples/lstm_bucketing.py --data-train ptb.train.txt --data-test ptb.valid.txt

The first line needs no data: it learns English from Python's own documentation. The second takes
any text with one sentence a line. ``symbucket train`` does the same.

The program itself stands in ``symbucket/apps/language_model.py``, a script to be read from top to
bottom: ``language_model`` makes the network of a bucket key, ``bucketed`` the batches,
``train_and_sample`` trains on them and lets the model write.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from symbucket.cli import main as symbucket


def main(argv: Sequence[str] | None = None) -> int:
    arguments = sys.argv[1:] if argv is None else argv
    return symbucket(["train", *arguments], prog="lstm_bucketing.py")


if __name__ == "__main__":
    sys.exit(main())
