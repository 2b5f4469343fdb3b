"""Types of arguments: each returns the number in a text, or says what is wrong with it."""

from __future__ import annotations

from argparse import ArgumentTypeError


def count(text: str) -> int:
    """Return an integer of 0 or more."""
    number = _integer(text)
    if number < 0:
        raise ArgumentTypeError(f"{text} is negative; expected 0 or more")
    return number


def positive_count(text: str) -> int:
    """Return an integer of 1 or more."""
    number = _integer(text)
    if number < 1:
        raise ArgumentTypeError(f"{text} is too small; expected 1 or more")
    return number


def positive(text: str) -> float:
    """Return a finite number above 0."""
    number = _number(text)
    if not 0 < number < float("inf"):
        raise ArgumentTypeError(f"{text} is not above 0")
    return number


def fraction(text: str) -> float:
    """Return a number from 0 up to but excluding 1."""
    number = _number(text)
    if not 0 <= number < 1:
        raise ArgumentTypeError(f"{text} is not from 0 up to but excluding 1")
    return number


def _integer(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is not an integer") from None


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is not a number") from None
