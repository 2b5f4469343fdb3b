"""BatchNorm that must see the whole batch, under the name that MXNet has for it."""

from __future__ import annotations

from symbucket.ops.normalization import BatchNorm
from symbucket.ops.record import operator

FAMILY = "Normalization"


@operator("_contrib_SyncBatchNorm")
class SyncBatchNorm(BatchNorm):
    """BatchNorm over the whole batch, also where several contexts have parts of it.

    On one context that is BatchNorm; several are refused. ``ndev`` and ``key`` mean nothing here.
    """

    formula = BatchNorm.formula
    example = (
        "contrib.SyncBatchNorm([[3], [5]], [1], [0], [1], [4], eps=0.00001, key='0') -> [[1], [2]]"
    )
    whole_batch = True
    always_written = ("key",)

    ndev: int = 1
    key: str = "0"
