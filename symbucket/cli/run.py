"""``symbucket run``: run a bundle on the requests in a file."""

from __future__ import annotations

import argparse
import io
import math
import re
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from symbucket.apps.arguments import device, integer
from symbucket.apps.corpus import Vocabulary, read_sentences
from symbucket.checks import one_line
from symbucket.cli.progress import Steps
from symbucket.cli.sources import key_of
from symbucket.errors import DataError, InvalidArgumentError
from symbucket.files import write_atomic
from symbucket.serve import Bundle, Request, format_statistics

HELP = "run a bundle on a text or an .npz file"
DESCRIPTION = (
    "Run a bundle's networks. For a text, one sentence a line, print the perplexity of each\n"
    "sentence. An .npz file holds the inputs by name: requests along the first axis (data), or an\n"
    "array for each request (data/0, data/1, ...) if their lengths differ. Outputs are written in\n"
    "the second way, with the number of their request, or of their sentence from 0."
)
EXAMPLE = """\
examples:
  symbucket run bundle sentences.txt
  symbucket run bundle requests.npz --output answers.npz
"""

_NUMBERED = re.compile(r"(.+)/(\d+)")
_CHUNK = 512  # requests at a time, so that there is progress to show


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    add = parser.add_argument
    add("bundle", metavar="BUNDLE", help="the folder that export wrote")
    add("input", metavar="FILE", help="a text or an .npz file")
    add("--output", metavar="FILE", help="write the outputs to this .npz file")
    add("--key", type=key_of, help="the bucket key of every request; else their sizes decide")
    add("--gpus", type=integer(0), metavar="N", help="number of the GPU to run on; else the CPU")
    add("--quiet", action="store_true", help="no table at the end")


def run(args: argparse.Namespace) -> int:
    """Read the requests, run them, write the outputs."""
    if args.output and not args.output.endswith(".npz"):
        args.parser.error("--output must be an .npz file")
    bundle = Bundle(args.bundle, device(args.gpus))
    if args.input.endswith(".npz"):
        requests = _from_npz(args.input, args.key)
        numbers = list(requests)
        outputs, seconds = _run(bundle, list(requests.values()))
    else:
        numbers, outputs, seconds = _text(bundle, args)
    if outputs and not args.quiet:
        _summary(bundle, len(outputs), seconds)
    if args.output:
        arrays = {f"{n}/{i}": a for i, one in zip(numbers, outputs) for n, a in one.items()}
        _save(Path(args.output), arrays)
    return 0


def _run(bundle: Bundle, requests: Sequence[Request]) -> tuple[list[Any], float]:
    """Return the outputs of each request, and the seconds that they took."""
    began = time.perf_counter()
    outputs = []
    with Steps() as steps:
        for start in range(0, len(requests), _CHUNK):
            steps("running requests", start, len(requests))
            outputs += bundle.run(requests[start : start + _CHUNK])
    return outputs, time.perf_counter() - began


def _summary(bundle: Bundle, requests: int, seconds: float) -> None:
    """Print what was run, by bucket."""
    print()
    print(format_statistics({k: s for k, s in bundle.statistics().items() if s.requests}))
    print(f"{requests:,} requests in {seconds:.2f} s: {requests / seconds:,.0f} a second")


def _text(bundle: Bundle, args: argparse.Namespace) -> tuple[list[int], list[Any], float]:
    """Print the perplexity of each line of a text; return its sentences' numbers, outputs, seconds.

    Sentences are numbered from 0, those that are left out too.
    """
    if "vocabulary.json" not in bundle.attachments:
        raise InvalidArgumentError(
            f"{args.bundle!r} has no vocabulary.json, so it cannot read text; give an .npz file"
        )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vocabulary.json"
        path.write_bytes(bundle.attachments["vocabulary.json"])
        vocabulary = Vocabulary.load(path)
    sentences = read_sentences(args.input)
    encoded = [[vocabulary.eos_id, *ids] for ids in vocabulary.encode(sentences)]
    longest = max((k for k in bundle.keys if isinstance(k, int)), default=0)
    fitting = [i for i, ids in enumerate(encoded) if len(ids) - 1 <= longest]
    # The last word is predicted, never an input.
    requests = [Request({"data": encoded[i][:-1]}, args.key) for i in fitting]
    outputs, seconds = _run(bundle, requests)
    total, words = 0.0, 0
    print("perplexity  sentence")
    for i, output in zip(fitting, outputs):
        (scores,) = output.values()
        if scores.shape != (len(encoded[i]) - 1, len(vocabulary)):
            raise DataError(
                f"the network's output has shape {scores.shape}; the probabilities of "
                f"{len(vocabulary)} words were expected for each word"
            )
        picked = scores[np.arange(len(scores)), encoded[i][1:]].astype(np.float64)
        loss = -np.log(np.maximum(picked, 1e-10)).sum()
        total, words = total + loss, words + len(picked)
        print(f"{math.exp(loss / len(picked)):10.2f}  {' '.join(sentences[i])}")
    if words:
        print(f"{math.exp(total / words):10.2f}  all {words:,} words")
    if len(fitting) < len(encoded):
        print(f"{len(encoded) - len(fitting):,} sentences are longer than every bucket, left out")
    return fitting, outputs, seconds


def _from_npz(path: str, key: Any) -> dict[int, Request]:
    """Return the requests in a file by number."""
    try:
        with open(path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except Exception as error:  # numpy's reader raises whatever its parts raise
        raise DataError(f"cannot read arrays from {path}: {one_line(error) or 'empty'}") from error
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray):  # numpy gives the bytes of a member that is no .npy
            raise DataError(f"{path}: {name!r} is no array, as np.savez writes them")
    columns: dict[str, dict[int, Any]] = {}
    for name, array in arrays.items():
        numbered = _NUMBERED.fullmatch(name)
        if not numbered and not array.ndim:
            raise DataError(
                f"{path}: {name!r} is a single number; the first axis of an array is the requests"
            )
        column = columns.setdefault(numbered[1] if numbered else name, {})
        entries = {int(numbered[2]): array} if numbered else dict(enumerate(array))
        if twice := sorted({*entries} & {*column}):
            raise DataError(f"{path}: {name!r} is a second array for request {twice[0]}")
        column.update(entries)
    if not columns:
        raise DataError(f"{path} holds no arrays")
    numbers = set.union(*(set(c) for c in columns.values()))
    for name, column in columns.items():
        missing = sorted(numbers - set(column))
        if missing:
            raise DataError(f"{path}: {name} has no entry for request {missing[0]}")
    return {i: Request({n: c[i] for n, c in columns.items()}, key) for i in sorted(numbers)}


def _save(path: Path, arrays: dict[str, Any]) -> None:
    content = io.BytesIO()
    np.savez(content, **arrays)
    try:
        if path.exists() and not path.is_file():  # a device or a pipe
            path.write_bytes(content.getvalue())
        else:
            write_atomic(path, content.getvalue())
    except (OSError, ValueError) as error:
        raise DataError(f"cannot write {str(path)!r}: {error}") from error
