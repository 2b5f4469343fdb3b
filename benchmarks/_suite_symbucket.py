"""The suite in symbucket: what a user writes, trained by ``fit``."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

# Where PyTorch is installed too, importing onnxruntime-training imports it.
sys.modules["torch"] = None  # type: ignore[assignment]

import numpy as np  # noqa: E402
from _lm_profile import read_profile  # noqa: E402
from _suite_symbols import network_of  # noqa: E402
from _suite_worker import Engine, Step, serve  # noqa: E402
from _suite_workloads import IGNORED, Batch  # noqa: E402
from _symbucket_fit import FixedOrder, Recorder  # noqa: E402

import symbucket as sb  # noqa: E402
from symbucket.runtime import session, threads  # noqa: E402


class SymbucketEngine(Engine):
    """Trains with BucketingModule.fit, an epoch a call."""

    def describe(self) -> dict[str, str]:
        build = "onnxruntime-training" if sb.runtime.backend.is_training_build() else "onnxruntime"
        return {"symbucket": sb.__version__, build: sb.runtime.backend.ort.__version__}

    def build(self) -> None:
        workload = self.workload
        network = network_of(workload)
        first = workload.batches[0]
        names = [*first.data], [*first.label]
        logger = logging.getLogger("benchmark")
        logger.setLevel(logging.ERROR)
        largest = max(workload.batches, key=lambda batch: sum(a.size for a in batch.data.values()))
        self.module = sb.mod.BucketingModule(
            lambda key: (network(key), *names), largest.key, logger=logger
        )
        with threads.threads(self._threads()):
            self.module.bind(_shapes(largest.data), _shapes(largest.label))
        self.module.init_params(arg_params=workload.parameters, aux_params=workload.auxiliary)
        batches = [_data_batch(batch) for batch in workload.batches]
        self.data = FixedOrder(batches, batches[0])

    def _threads(self) -> int:
        """What to ask the runtime for: nothing (0) where its default is the same."""
        return 0 if os.cpu_count() == self.threads else self.threads

    def _metric(self) -> sb.metric.EvalMetric:
        if self.workload.name == "ctc":
            return sb.metric.Loss()
        return sb.metric.Perplexity(IGNORED if self.workload.ignores else None)

    def epoch(self) -> list[Step]:
        recorder = Recorder()
        with threads.threads(self._threads()):
            self.module.fit(
                self.data,
                eval_metric=self._metric(),
                batch_end_callback=recorder,
                optimizer=self.workload.optimizer,
                optimizer_params={**self.workload.options, "rescale_grad": 1.0},
                num_epoch=1,
            )
        return [Step(*step) for step in recorder.steps]

    def profile(self, epochs: int) -> Any:
        """Profiles of the sessions, the slowest first."""
        with tempfile.TemporaryDirectory() as folder:
            with session.profiling(folder) as files:
                self.build()
                for _ in range(epochs + 1):
                    self.epoch()
            profiles = [read_profile(Path(file), 2) for file in files]
        return sorted((p for p in profiles if p), key=lambda p: -p["wall_ms"])


def _shapes(arrays: dict[str, np.ndarray]) -> list[tuple[str, tuple[int, ...]]]:
    return [(name, array.shape) for name, array in arrays.items()]


def _data_batch(batch: Batch) -> sb.io.DataBatch:
    return sb.io.DataBatch(
        [array.astype(np.float32) for array in batch.data.values()],
        [array.astype(np.float32) for array in batch.label.values()],
        bucket_key=batch.key,
        provide_data=_shapes(batch.data),
        provide_label=_shapes(batch.label),
    )


if __name__ == "__main__":
    serve(SymbucketEngine)
