"""Texts, tables, JSON lines, vocabularies and archives of arrays that are damaged."""

from __future__ import annotations

import gzip
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from symbucket.apps.corpus import Vocabulary, read_sentences
from symbucket.cli.run import _from_npz
from symbucket.io.sources import as_source
from tests.fuzz.damage import damaged
from tests.fuzz.folders import folder_of
from tests.fuzz.reading import Case, main

_LINES = b"the cat sat on the mat\na dog ran\n\nit rained, and then some \xe2\x98\x82\n"
_JSON = b'{"tokens": [1, 2, 3], "label": 0}\n{"tokens": [4], "label": 1}\n{"tokens": [5, 6]}\n'
_TABLE = b'text,label\nhello there,1\n"quoted, with a comma",0\n'


def _archive() -> bytes:
    file = io.BytesIO()
    np.savez(file, data=np.arange(6.0).reshape(2, 3), **{"other/0": np.ones(2)})
    return file.getvalue()


def _vocabulary() -> bytes:
    tokens = ["<pad>", "<unk>", "<eos>", "the", "cat"]
    content = {"format": "symbucket-vocabulary-1", "tokens": tokens, "counts": [0, 1, 2, 3, 4]}
    return json.dumps(content).encode()


def _samples(path: Path) -> None:
    list(as_source(str(path)).read(None, None))


READERS: dict[str, tuple[bytes, Callable[[Path], object]]] = {
    "lines.txt": (_LINES, read_sentences),
    "samples.txt": (_LINES, _samples),
    "samples.jsonl": (_JSON, _samples),
    "samples.csv": (_TABLE, _samples),
    "samples.jsonl.gz": (gzip.compress(_JSON, mtime=0), _samples),
    "vocabulary.json": (_vocabulary(), Vocabulary.load),
    "arrays.npz": (_archive(), lambda path: _from_npz(str(path), None)),
}


def case(seed: int) -> Case:
    """Return the reading of a damaged file."""
    rng = np.random.default_rng(seed)
    name = list(READERS)[seed % len(READERS)]
    content, read = READERS[name]
    changed = damaged(content, rng)
    path = folder_of("corpora") / name

    def use() -> None:
        path.write_bytes(changed)
        read(path)

    return use


if __name__ == "__main__":
    sys.exit(main(case, __doc__))
