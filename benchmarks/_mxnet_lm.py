"""The language model in Apache MXNet 1.9.1: the same symbol, trained by its BucketingModule.

Runs under Python 3.8, the last one that MXNet has wheels for.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Sequence
from typing import Any

import mxnet as mx
from _lm_data import IGNORED, Batch
from _lm_symbol import sym_gen
from _lm_worker import Engine, Step, serve


class Given(mx.init.Initializer):  # type: ignore[misc]
    """Initial values by name.

    An initializer writes into MXNet's own arrays. With the same values in ``arg_params`` or through
    ``set_params`` a step takes 10% longer, on some machines far more.
    """

    def __init__(self, values: dict[str, Any]) -> None:
        super().__init__()
        self._values = values

    def __call__(self, desc: Any, arr: Any) -> None:
        arr[:] = self._values[str(desc)]


class MXNetEngine(Engine):
    """The loop of ``fit`` without the copies that it makes at the end of an epoch."""

    def describe(self) -> dict[str, str]:
        return {"mxnet": mx.__version__, "python": sys.version.split()[0]}

    def build(self) -> None:
        setup = self.setup
        logger = logging.getLogger("benchmark")
        logger.setLevel(logging.ERROR)
        key = max(batch.key for batch in self.batches)
        self.module = mx.mod.BucketingModule(
            sym_gen(mx, setup), default_bucket_key=key, logger=logger, context=mx.cpu()
        )
        shape = (setup.batch, key)
        self.module.bind([("data", shape)], [("softmax_label", shape)])
        self.restore()
        self.module.init_optimizer(
            optimizer="sgd", optimizer_params={"learning_rate": setup.rate, "rescale_grad": 1.0}
        )
        self.converted = {id(batch): _data_batch(batch) for batch in self.batches}

    def restore(self) -> None:
        self.module.init_params(Given(self.params), force_init=True)

    def train(self, batches: Sequence[Batch]) -> list[Step]:
        metric = mx.metric.Perplexity(ignore_label=IGNORED)
        steps = []
        for batch in batches:
            start = time.perf_counter()
            converted = self.converted[id(batch)]
            self.module.forward_backward(converted)
            self.module.update()
            metric.reset()
            self.module.update_metric(metric, converted.label)
            loss = float(metric.sum_metric) / float(metric.num_inst)
            steps.append(Step(loss, time.perf_counter() - start))
        mx.nd.waitall()
        return steps


def _data_batch(batch: Batch) -> Any:
    return mx.io.DataBatch(
        [mx.nd.array(batch.data)],
        [mx.nd.array(batch.label)],
        bucket_key=batch.key,
        provide_data=[("data", batch.data.shape)],
        provide_label=[("softmax_label", batch.label.shape)],
    )


if __name__ == "__main__":
    serve(MXNetEngine)
