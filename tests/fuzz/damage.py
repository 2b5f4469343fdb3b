"""Damaged files: whatever is in them, reading ends soon, with a result or a SymbucketError.

Every damage is known by a number, its seed. ``python -m tests.fuzz --damage`` goes on for as long
as one likes.
"""

from __future__ import annotations

import struct
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

import symbucket as sb
from symbucket.errors import SymbucketError
from symbucket.files import pack_arrays, pack_mxnet, unpack_arrays, unpack_mxnet
from symbucket.optimizer.states import pack, unpack

_MAX_BYTES = 2_000_000  # that reading any of these files may hold at a time
_MAX_SECONDS = 2.0

ARRAYS = {
    "arg:w": np.arange(6, dtype=np.float32).reshape(2, 3),
    "aux:mean": np.ones(4, np.float64),
    "arg:ids": np.array([1, 2], np.int64),
}


def _symbol_text() -> bytes:
    x = sb.sym.FullyConnected(sb.sym.Variable("x", shape=(2, 3)), num_hidden=2, name="fc")
    parts = sb.sym.SliceChannel(sb.sym.BatchNorm(x, name="bn"), num_outputs=2, name="cut")
    joined = sb.sym.Concat(parts[0], parts[1], dim=1, name="both")
    return sb.sym.SoftmaxOutput(joined, name="softmax").tojson().encode()


def _read_symbol(content: bytes) -> None:
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return  # sym.load refuses it; see tests/symbol/test_files.py
    sb.sym.load_json(text).list_arguments()


READERS: dict[str, tuple[bytes, Callable[[bytes], object]]] = {
    "mxnet": (pack_mxnet(ARRAYS), lambda content: unpack_mxnet(content, "file")),
    "params": (
        pack_arrays(ARRAYS, "symbucket-params", {"network": "x"}),
        lambda content: unpack_arrays(content, "file"),
    ),
    "states": (pack(ARRAYS, {"optimizer": "adam"}), lambda content: unpack(content, "file")),
    "symbol": (_symbol_text(), _read_symbol),
}
_WORDS = [
    b"null",
    b"-1",
    b"1e999",
    b"[]",
    b"{}",
    b'""',
    b"99999999999999999999",
    b"true",
    b"[" * 99,
]


@dataclass
class DamageReport:
    """What became of damaged files."""

    seed: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return ", ".join(f"{n} {what}" for what, n in sorted(self.outcomes.items()))


def damaged(content: bytes, rng: np.random.Generator) -> bytes:
    """Return ``content`` after one to four damages."""
    data = bytearray(content)
    for _ in range(rng.integers(1, 5)):
        at = int(rng.integers(0, len(data) + 1))
        kind = rng.integers(0, 7)
        if kind == 0:
            data = data[:at]
        elif kind == 1:
            data[at : at + 1] = bytes([rng.integers(0, 256)])
        elif kind == 2:
            length = int(rng.integers(1, 40))
            data[at:at] = data[at : at + length] if rng.random() < 0.5 else bytes(length)
        elif kind == 3:
            del data[at : at + int(rng.integers(1, 40))]
        elif kind == 4:
            number = int(rng.choice([0, 1, 2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63]))
            data[at : at + 8] = struct.pack("<Q", number)
        elif kind == 5:
            data[at : at + int(rng.integers(0, 6))] = _WORDS[rng.integers(0, len(_WORDS))]
        else:
            digits = [i for i, byte in enumerate(data) if 48 <= byte < 58]
            if digits:
                place = digits[rng.integers(0, len(digits))]
                data[place : place + 1] = str(10 ** int(rng.integers(1, 20))).encode()
    return bytes(data)


def fuzz_files(start: int, files: int | None, seconds: float | None) -> Iterator[DamageReport]:
    """Damage and read one file after another; yield the report after each."""
    report, begin = DamageReport(), time.perf_counter()
    seed = start
    while files is None or seed < start + files:
        if seconds is not None and time.perf_counter() - begin > seconds:
            return
        rng = np.random.default_rng(seed)
        name = list(READERS)[rng.integers(0, len(READERS))]
        content, read = READERS[name]
        _read(report, f"seed {seed}, {name}", damaged(content, rng), read)
        report.seed = seed = seed + 1
        yield report


def _read(
    report: DamageReport, where: str, content: bytes, read: Callable[[bytes], object]
) -> None:
    began = time.perf_counter()
    tracemalloc.start()
    try:
        read(content)
        report.outcomes["accepted"] += 1
    except SymbucketError:
        report.outcomes["refused"] += 1
    except Exception as error:
        report.outcomes["raw errors"] += 1
        report.failures.append(f"{where}: {type(error).__name__}: {error}")
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    if peak > _MAX_BYTES:
        report.failures.append(f"{where}: held {peak:,} bytes")
    if time.perf_counter() - began > _MAX_SECONDS:
        report.failures.append(f"{where}: took {time.perf_counter() - began:.1f} s")
