"""Which numbers a dtype cannot hold: compared with Python's integers and fractions."""

from fractions import Fraction

import numpy as np
import pytest

from symbucket.casts import check_unmasked, lost_numbers
from symbucket.errors import DataError, ParameterError

DTYPES = ["?", "i1", "u1", "i4", "u4", "i8", "u8", "f2", "f4", "f8"]
NUMBERS = [
    *(0, 1, -1, 2, 0.5, 127, 128, 255, 256, 65504, 65520, 2**24, 2**24 + 1, -(2**24) - 1),
    *(2**31, 2**32, 2**53, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1, 1e38, 1e39, -1e300),
]


def _array(number, dtype):
    """An array of the number, or None if the dtype does not have it (rounded, for floats)."""
    dtype = np.dtype(dtype)
    if dtype.kind != "f":
        return np.array([number], dtype) if _is_whole(number, dtype) else None
    with np.errstate(over="ignore"):
        array = np.array([number]).astype(dtype)
    return array if np.isfinite(array).all() else None


def _is_whole(number, dtype):
    """Whether a number is one of a dtype of integers or of truth."""
    low, high = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    return number % 1 == 0 and int(low) <= number <= int(high)


@pytest.mark.parametrize("source", DTYPES)
@pytest.mark.parametrize("target", DTYPES)
def test_what_is_lost(source, target):
    target = np.dtype(target)
    for number in NUMBERS:
        values = _array(number, source)
        if values is None:
            continue
        exact = Fraction(values[0].item())
        if target.kind == "f" and values.dtype.kind == "f":
            with np.errstate(over="ignore"):
                holds = bool(np.isfinite(values.astype(target)).all())
        elif target.kind == "f":
            top = Fraction(float(np.finfo(target).max))
            bits = np.finfo(target).nmant + 1
            odd = abs(int(exact))
            while odd and odd % 2 == 0:
                odd //= 2
            holds = odd.bit_length() <= bits and abs(exact) <= top
        else:
            holds = _is_whole(exact, target)
        count, example = lost_numbers(values, target)
        assert count == (0 if holds else 1), (number, source, target)
        assert holds or example == values[0]


def test_not_a_number_and_infinity_pass_among_floats_only():
    values = np.array([np.nan, np.inf, -np.inf, 1.0])
    assert lost_numbers(values, np.dtype("f4")) == (0, None)
    assert lost_numbers(values, np.dtype("i4"))[0] == 3
    assert lost_numbers(np.array([np.nan, 1e300]), np.dtype("f4")) == (1, 1e300)
    assert lost_numbers(np.array([1.0], ">f4"), np.dtype("f4")) == (0, None)


def test_masked_arrays():
    check_unmasked(np.ma.masked_array([1, 2]), "x")
    check_unmasked([1, 2], "x")
    masked = np.ma.masked_array([1, 2], mask=[True, False])
    with pytest.raises(DataError, match=r"x is a masked array without values at 1 .*filled"):
        check_unmasked(masked, "x")
    with pytest.raises(ParameterError):
        check_unmasked(masked, "x", ParameterError)
