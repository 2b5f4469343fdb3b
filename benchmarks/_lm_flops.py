"""How many FLOPs the matrix products of an epoch take."""

from __future__ import annotations

from collections.abc import Sequence

from _lm_data import Batch, Setup


def epoch_flops(setup: Setup, batches: Sequence[Batch]) -> dict[str, int]:
    """FLOPs of an epoch's products: "useful", and "all" with every padded row.

    A row of a layer takes six products (x W^T, h R^T; dz W, dz R; dz^T x, dz^T h), a row of the
    vocabulary three. Useful are the rows of real tokens in the layers and the rows with a label in
    the vocabulary products.
    """
    layer = setup.layers * 6 * 2 * setup.hidden * 4 * setup.hidden
    vocabulary = 3 * 2 * setup.hidden * setup.vocab
    tokens = sum(b.tokens for b in batches)
    labels = sum(b.labels for b in batches)
    rows = sum(b.data.size for b in batches)
    return {"useful": tokens * layer + labels * vocabulary, "all": rows * (layer + vocabulary)}
