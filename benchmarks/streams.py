#!/usr/bin/env python3
"""Stream sentences through StreamIter: sentences a second, and the memory of the process.

    python benchmarks/streams.py                # 10 million sentences
    python benchmarks/streams.py --sentences 1000000 --workers 2

Two sources: a text file of numbers (written first, in shards), and a function that makes sentences
up. Beside them, the rate at which the model of lstm_lm.py takes sentences on this machine has to be
known to say whether training would wait: it trains about 1,000 sentences a second on two cores.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from symbucket.io import Field, StreamIter
from symbucket.tables import format_table

BUCKETS = [10, 20, 30, 40, 60]


def sentences(count: int, seed: int = 0) -> Iterator[np.ndarray]:
    """Make sentences up, a block at a time: lognormal lengths up to 60, 10,000 words."""
    rng = np.random.default_rng(seed)
    while count > 0:
        lengths = np.clip(rng.lognormal(2.8, 0.6, min(count, 10_000)).astype(int), 1, 60)
        words = rng.integers(1, 10_000, int(lengths.sum()), dtype=np.int32)
        yield from np.split(words, np.cumsum(lengths)[:-1])
        count -= len(lengths)


def write_shards(folder: Path, count: int, shards: int) -> list[Path]:
    """Write sentences as lines of numbers; return the files."""
    paths = []
    for shard in range(shards):
        path = folder / f"{shard:03}.txt"
        with open(path, "w", encoding="ascii") as file:
            for sentence in sentences(count // shards, shard):
                file.write(" ".join(map(str, sentence.tolist())) + "\n")
        paths.append(path)
    return paths


def parse(line: str) -> np.ndarray:
    """Return the numbers of a line."""
    return np.array(line.split(), dtype=np.int32)


def megabytes() -> float:
    """Return the most memory that the process has had so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(name: str, iterator: StreamIter, count: int) -> tuple[str, ...]:
    """Run an epoch; return a row of the table. Every sentence has to come once."""
    start = time.perf_counter()
    rows = sum(batch.data[0].shape[0] - batch.pad for batch in iterator)
    seconds = time.perf_counter() - start
    if rows != count:
        raise SystemExit(f"{name}: {rows:,} of {count:,} sentences came")
    return name, f"{count:,}", f"{count / seconds:,.0f}", f"{seconds:.0f}", f"{megabytes():.0f}"


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sentences", type=int, default=10_000_000)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--window", type=int, default=20_000)
    parser.add_argument("--shards", type=int, default=20)
    parser.add_argument("--workers", type=int, default=0, help="threads that parse lines")
    args = parser.parse_args()
    count = args.sentences // args.shards * args.shards
    common = (args.batch_size, BUCKETS, [Field("data", ("T",), "int32")])
    options = {"window": args.window, "seed": 0, "last_batch": "pad"}
    rows = [("source", "sentences", "a second", "seconds", "peak MB")]
    rows.append(("(before)", "", "", "", f"{megabytes():.0f}"))
    stream = StreamIter(lambda: sentences(count), *common, **options)
    rows.append(measure("function", stream, count))
    with tempfile.TemporaryDirectory() as folder:
        paths = write_shards(Path(folder), count, args.shards)
        files = StreamIter(paths, *common, transform=parse, workers=args.workers, **options)
        rows.append(measure(f"{args.shards} text files", files, count))
    print(format_table(rows, left=[0]))


if __name__ == "__main__":
    main()
