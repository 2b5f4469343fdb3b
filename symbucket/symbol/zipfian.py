"""Samples of classes whose frequencies fall as in Zipf's law, for symbols and for arrays."""

from __future__ import annotations

import math
from typing import Any

from symbucket import symbol
from symbucket.checks import check_integer
from symbucket.symbol.symbol import Symbol


def zipfian_samples(
    package: Any, true_classes: Any, num_sampled: int, range_max: int
) -> tuple[Any, Any, Any]:
    """Draw ``num_sampled`` classes, and tell how often classes are expected among them.

    Class k of ``range_max`` has the probability ``log((k + 2) / (k + 1)) / log(range_max + 1)``, so
    classes must be numbered by falling frequency. The same class may be drawn several times.

    Args:
        package: whose functions are used, ``symbucket.sym`` or ``symbucket.nd``.
        true_classes: class numbers, of any shape.
        num_sampled: how many classes are drawn.
        range_max: how many classes there are.

    Returns:
        The classes (num_sampled,) as int64, the expected counts of ``true_classes`` in their shape,
        and those of the classes that were drawn, both float64.
    """
    check_integer(num_sampled, "rand_zipfian: num_sampled", 1)
    check_integer(range_max, "rand_zipfian: range_max", 1)
    log_range = math.log(range_max + 1)
    drawn = package.random.uniform(0, log_range, shape=(num_sampled,), dtype="float64")
    # The last class comes out as range_max where exp rounds up.
    classes = package.clip(package.exp(drawn) - 1, 0, range_max - 1)
    sampled = package.cast(package.floor(classes), dtype="int64")

    def expected(numbers: Any) -> Any:
        k = package.cast(numbers, dtype="float64")
        return package.log((k + 2) / (k + 1)) * (num_sampled / log_range)

    return sampled, expected(true_classes), expected(sampled)


def rand_zipfian(
    true_classes: Symbol, num_sampled: int, range_max: int
) -> tuple[Symbol, Symbol, Symbol]:
    """Draw classes by Zipf's law and return them with expected counts: :func:`zipfian_samples`."""
    return zipfian_samples(symbol, true_classes, num_sampled, range_max)
