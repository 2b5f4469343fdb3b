"""Amounts as people read them: three digits and a unit."""

from __future__ import annotations


def nbytes_text(nbytes: float) -> str:
    """Return bytes in powers of 1000: "1.6 MB"."""
    return _scaled(nbytes, ("B", "kB", "MB", "GB"))


def operations_text(count: float) -> str:
    """Return floating-point operations: "38.4 MFLOP"."""
    return _scaled(count, ("FLOP", "kFLOP", "MFLOP", "GFLOP", "TFLOP"))


def seconds_text(seconds: float) -> str:
    """Return a time: "1.2 ms"."""
    return f"{seconds:.1f} s" if seconds >= 1 else _scaled(seconds * 1e6, ("\N{MICRO SIGN}s", "ms"))


def _scaled(number: float, units: tuple[str, ...]) -> str:
    unit = units[0]
    for unit in units:
        if number < 1000 or unit == units[-1]:
            break
        number /= 1000
    return f"{number:.0f} {unit}" if unit == units[0] else f"{number:.1f} {unit}"
