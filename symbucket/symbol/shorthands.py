"""Functions of MXNet that choose attributes of an operator from Python values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from symbucket.errors import InvalidArgumentError
from symbucket.symbol.compose import apply
from symbucket.symbol.symbol import Symbol


def split_v2(
    ary: Symbol,
    indices_or_sections: int | Sequence[int],
    axis: int = 0,
    squeeze_axis: bool = False,
    **kwargs: Any,
) -> Symbol:
    """Return parts of ``ary`` along ``axis``.

    Args:
        ary: the data.
        indices_or_sections: the number of equal parts, or where to cut: (2, 3) gives ``[:2]``,
            ``[2:3]`` and ``[3:]``.
        axis: the axis that is cut.
        squeeze_axis: remove the axis; the parts must be of size 1.
        kwargs: ``name`` and ``attr`` of the node.
    """
    options = {"axis": axis, "squeeze_axis": squeeze_axis, **kwargs}
    if isinstance(indices_or_sections, int):
        return apply("_split_v2", [ary], {"sections": indices_or_sections, **options})
    return apply("_split_v2", [ary], {"indices": (0, *indices_or_sections), **options})


def histogram(
    a: Symbol,
    bins: int | Symbol = 10,
    range: tuple[float, float] | None = None,
    **kwargs: Any,
) -> Symbol:
    """Return how many elements of ``a`` lie in each bin, and the edges of the bins.

    Args:
        a: the data.
        bins: the number of equal parts of ``range``, or a Symbol with the edges in ascending order.
        range: (low, high); values outside are left out.
        kwargs: ``name`` and ``attr`` of the node.

    Raises:
        InvalidArgumentError: the range is not given; what the data holds is not known yet.
    """
    if isinstance(bins, Symbol):
        return apply("_histogram", [a, bins], kwargs)
    if range is None:
        raise InvalidArgumentError(
            f"histogram: bins={bins!r} needs range=(low, high); the data is not known yet"
        )
    return apply("_histogram", [a], {"bin_cnt": bins, "range": range, **kwargs})
