"""``check_padding``: whether padding changes what a network learns, and where it gets in."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any

from symbucket.errors import DataError, ShapeError
from symbucket.html_tables import html_line, html_table
from symbucket.io import DataBatch
from symbucket.padding.align import find_lengths
from symbucket.padding.compare import (
    Difference,
    compare_results,
    fill_heads,
    find_first_difference,
)
from symbucket.padding.network_run import draw_parameters, read_network
from symbucket.padding.widen import Pad, lengthen_key, pad_batch


@dataclass(frozen=True)
class PaddingReport:
    """Result of ``check_padding``; true if padding changes nothing.

    ``operator`` is the first operator whose valid values differ, as (name, kind); None if the
    results agree, or differ although all values of the forward pass agree.
    """

    key: Hashable
    longer_key: Hashable
    differences: tuple[Difference, ...]
    operator: tuple[str, str] | None
    explanation: str = ""

    @property
    def ok(self) -> bool:
        """Whether loss, outputs, gradients and auxiliary updates agree."""
        return not self.differences

    def __bool__(self) -> bool:
        return self.ok

    def __str__(self) -> str:
        keys = f"bucket key {self.key!r} and, padded further, {self.longer_key!r}"
        if self.ok:
            return f"Padding changes nothing: {keys} give the same results."
        shown = [f"  {d}" for d in self.differences[:8]]
        if len(self.differences) > 8:
            shown.append(f"  ... {len(self.differences)} in all")
        return "\n".join([f"Padding changes results: {keys} differ.", *shown, self.explanation])

    def _repr_html_(self) -> str:
        verdict = str(self).splitlines()[0]
        if self.ok:
            return html_line(verdict)
        rows = [("result", "name", "relative difference")]
        rows += [(d.kind, d.name, f"{d.error:.2g}") for d in self.differences]
        table = html_table(rows, caption=verdict, left=(0, 1))
        return table + html_line(self.explanation)


def check_padding(
    sym_gen: Callable[[Any], Any],
    batch: DataBatch,
    longer: Any = None,
    arg_params: Mapping[str, Any] | None = None,
    aux_params: Mapping[str, Any] | None = None,
    pad: Pad = 0,
    tolerance: float = 1e-4,
    seed: int = 0,
) -> PaddingReport:
    """Run a batch as it is and padded further, in training, and compare all results.

    Args:
        sym_gen: as for ``BucketingModule``.
        batch: a batch with its bucket key. Rows may differ in length.
        longer: a longer key, or the same rows as a batch of a longer key. By default every whole
            number in the key is made larger. Unless it is a batch, every axis of ``batch`` (but
            the batch axis) whose size is a number of the key is padded to that of ``longer``.
        arg_params, aux_params: as from ``module.get_params()``; by default random numbers.
        pad: what the arrays are padded with: a number, or one for each name (others get 0).
        tolerance: the largest difference to allow, relative to the largest value of an array.
        seed: of the random numbers; the library's own stay as they are.

    Compared are losses (a number for each), other outputs where they are no padding, gradients of
    all parameters, and auxiliary states after the step. If something differs, the values of all
    operators are compared, in topological order; an operator agrees if one of its kind has the same
    values in the longer network, so steps may shift (as in a reversed sequence). What is padding
    inside ``batch`` is told from trailing ``pad`` in each row. Dropout is left out (p = 0).

    Raises:
        DataError: the batch has no key or shapes that do not tell how to pad it.
        ParameterError: parameters are missing or their shapes depend on the key.
        UnsupportedError: the network draws random numbers.
    """
    if not isinstance(batch, DataBatch) or batch.bucket_key is None:
        raise DataError(f"check_padding needs a DataBatch with a bucket_key, not {batch!r}")
    short = read_network(sym_gen, batch)
    if isinstance(longer, DataBatch):
        if longer.bucket_key is None or longer.bucket_key == batch.bucket_key:
            raise DataError(
                f"check_padding: the longer batch has bucket_key {longer.bucket_key!r}, the batch "
                f"{batch.bucket_key!r}; the keys must differ"
            )
        long = read_network(sym_gen, longer)
    else:
        longer = lengthen_key(batch.bucket_key) if longer is None else longer
        long = read_network(sym_gen, pad_batch(batch, short.key, longer, pad), longer)
    pairs = {
        (a, b)
        for name, array in short.arrays.items()
        for a, b in zip(array.shape, long.arrays[name].shape)
        if a != b
    }
    if not pairs or any(a > b for a, b in pairs):
        raise DataError(
            f"check_padding: the key {long.key!r} pads no axis of the batch of {short.key!r} "
            "(or shortens one)"
        )
    padding = find_lengths(short.arrays, short.batch_axes, sorted(pairs), pad)
    try:
        params, aux = draw_parameters(short, long, arg_params, aux_params, seed)
    except ShapeError as error:
        raise ShapeError(
            f"check_padding: the network of key {long.key!r}, a longer one than {short.key!r}, has "
            f"no shapes: {error}. If it allows no such length (a table of positions may end "
            "before), name a key that it allows, check_padding(..., longer=key), or take a shorter "
            "batch"
        ) from error
    first, second = (run.train(params, aux) for run in (short, long))
    fill_heads(first, second, padding, seed)
    for run in (first, second):
        run.executor.backward(run.heads)
    differences = tuple(compare_results(first, second, padding, tolerance))
    operator, explanation = None, ""
    if differences:
        operator, explanation = find_first_difference(
            first, second, (params, aux), padding, tolerance, differences
        )
    return PaddingReport(short.key, long.key, differences, operator, explanation)
