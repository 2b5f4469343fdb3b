"""Plot how lengths fall into buckets."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from symbucket.errors import InvalidArgumentError
from symbucket.visualization.colours import FAINT, FILLS, INK, PALE
from symbucket.visualization.diagram import BACKWARD, FORWARD
from symbucket.visualization.figures import TITLE_STYLE, new_figure, save
from symbucket.visualization.plot_page import Table

_MAX_BARS = 120  # more are too thin to see
_LABEL_ROWS = 3  # of labels
_HIGH_PADDING = 0.3  # share of padding that is worth a second look
_SHADES = (FILLS[FORWARD][1], "#9db8d6")


@dataclass(frozen=True)
class BucketShare:
    """Contents of a bucket: ``padding`` is the share, 0 to 1, of positions without a token."""

    key: int
    count: int
    padding: float


def bucket_shares(lengths: Sequence[int], buckets: Sequence[int]) -> tuple[list[BucketShare], int]:
    """Return each bucket's sentences and padding, and the number of sentences too long for all.

    A sentence goes into the smallest bucket that holds it. Raises InvalidArgumentError if there
    are no lengths or buckets, or they are not positive integers.
    """
    sizes, keys = _positive_integers(lengths, "lengths"), _positive_integers(buckets, "buckets")
    keys = np.unique(keys)
    place = np.searchsorted(keys, sizes)
    shares = []
    for i, key in enumerate(keys.tolist()):
        inside = sizes[place == i]
        share = 1 - float(inside.mean()) / key if len(inside) else 0.0
        shares.append(BucketShare(key, len(inside), share))
    return shares, int((place == len(keys)).sum())


def _positive_integers(numbers: Sequence[int], name: str) -> Any:
    array = np.asarray(numbers)
    if array.ndim != 1 or not array.size or array.dtype.kind not in "iu" or array.min() < 1:
        raise InvalidArgumentError(
            f"{name} must be a list of positive integers with at least one of them; found "
            f"{array.dtype} of shape {array.shape}"
            + (f", the least {array.min()}" if array.size and array.dtype.kind in "iuf" else "")
        )
    return array.astype(np.int64)


def bucket_picture(
    lengths: Sequence[int],
    buckets: Sequence[int],
    file: str | os.PathLike[str] | None = None,
    title: str = "",
) -> Any:
    """Draw a histogram of lengths with the boundaries of the buckets; return matplotlib's figure.

    Above each bucket is the share of its positions that is padding; sentences longer than every
    bucket are shown in another colour.

    Args:
        lengths: of the sentences, in tokens.
        buckets: the bucket keys, each the length of its network.
        file: where to save the picture: .svg, .png or .pdf, or .html, a page with the picture and
            a table of the buckets; nowhere by default.
        title: a line above.

    Raises InvalidArgumentError for bad numbers, UnsupportedError if matplotlib is missing.
    """
    shares, discarded = bucket_shares(lengths, buckets)
    sizes = np.asarray(lengths)
    keys = [s.key for s in shares]
    most = max(keys[-1], int(np.quantile(sizes, 0.995)) if discarded else 0)
    width = max(1, -(-most // _MAX_BARS))
    figure, axes = new_figure(1, 1, (9.0, 4.2))
    axis = axes[0, 0]
    low = 0
    for i, key in enumerate(keys):
        # Bars end at the boundary, so that each lies in one bucket.
        edges = np.arange(key, low, -width)[::-1]
        edges = np.concatenate([[low], edges[edges > low]])
        inside = sizes[(sizes > low) & (sizes <= key)]
        counts, _ = np.histogram(inside, bins=edges + 0.5)
        axis.bar(edges[:-1] + 0.5, counts, np.diff(edges) * 0.9, align="edge", color=_SHADES[i % 2])
        axis.axvline(key + 0.5, color=INK, linewidth=0.9, linestyle="--")
        low = key
    if discarded:
        edges = np.arange(low, most + width, width)
        counts, _ = np.histogram(sizes, bins=edges + 0.5)
        axis.bar(edges[:-1] + 0.5, counts, width * 0.9, align="edge", color=PALE)
    axis.set_xlim(0.5, most + 1.5)
    axis.set_ylim(bottom=0)
    _labels(axis, shares, most)
    axis.set_xlabel("length", fontsize=9, color=FAINT)
    axis.set_ylabel("sentences" if width == 1 else f"sentences per {width} lengths", fontsize=9)
    axis.yaxis.label.set_color(FAINT)
    title = title or _title(shares, discarded)
    figure.suptitle(title, **TITLE_STYLE)
    return save(figure, file, title, [_table(shares, discarded)])


def _labels(axis: Any, shares: Sequence[BucketShare], most: int) -> None:
    """Write key, sentences and padding above each bucket, in rows if buckets are narrow."""
    half = 0.035 * most  # of a label, as wide as it gets
    ends = [-np.inf] * _LABEL_ROWS
    placed, low = [], 0
    for share in shares:
        middle = (low + share.key) / 2 + 0.5
        row = next((r for r in range(_LABEL_ROWS) if middle - half > ends[r]), None)
        if row is not None:  # else there is no room, and the table of the buckets has to tell
            ends[row] = middle + half
            placed.append((middle, row, share))
        low = share.key
    top = axis.get_ylim()[1]
    rows = 1 + max(row for _, row, _ in placed)
    axis.set_ylim(0, top * (1.06 + 0.2 * rows))
    for middle, row, share in placed:
        axis.text(
            middle,
            top * (0.96 + 0.2 * (rows - row)),
            f"{share.key}\n{share.count:,}\n{share.padding:.0%}",
            ha="center",
            va="center",
            fontsize=7.5,
            color=FILLS[BACKWARD][1] if share.padding > _HIGH_PADDING else INK,
            linespacing=1.2,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8},
        )
    axis.text(
        1.0,
        1.0,
        "key, sentences, padding",
        transform=axis.transAxes,
        ha="right",
        va="bottom",
        fontsize=7.5,
        color=FAINT,
    )


def _table(shares: Sequence[BucketShare], discarded: int) -> Table:
    sentences = sum(s.count for s in shares) + discarded
    rows: list[tuple[str | int | float, ...]] = [
        (str(s.key), s.count, s.count / sentences, s.key * s.count, s.padding) for s in shares
    ]
    if discarded:
        rows.append(("too long for all", discarded, discarded / sentences, "", ""))
    return Table("Buckets", ("key", "sentences", "share", "positions", "padding"), rows)


def _title(shares: Sequence[BucketShare], discarded: int) -> str:
    positions = sum(s.key * s.count for s in shares)
    padding = sum(s.key * s.count * s.padding for s in shares) / positions if positions else 0.0
    longest = max((s.key for s in shares if s.count), default=shares[-1].key)
    tokens = positions * (1 - padding)
    count = sum(s.count for s in shares)
    single = 1 - tokens / (longest * count) if count else 0.0
    text = f"{count:,} sentences, {padding:.1%} padding (in one bucket of {longest}: {single:.1%})"
    return text + (f"; {discarded:,} too long" if discarded else "")
