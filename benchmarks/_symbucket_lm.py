"""The language model in symbucket: what a user writes, trained by ``fit``."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from _lm_data import IGNORED, Batch
from _lm_profile import read_profile
from _lm_symbol import sym_gen
from _lm_worker import Engine, Step, serve

# Where PyTorch is installed too, importing onnxruntime-training imports it. Its 220 MB are not
# part of what is measured here.
sys.modules["torch"] = None  # type: ignore[assignment]

from _lm_gemm import rates  # noqa: E402
from _symbucket_fit import FixedOrder, Recorder  # noqa: E402

import symbucket as sb  # noqa: E402
from symbucket.compiler import CompilerOptions  # noqa: E402
from symbucket.runtime import session, threads  # noqa: E402


class SymbucketEngine(Engine):
    """Trains with BucketingModule.fit, an epoch a call."""

    def threads(self) -> int:
        """What to ask the runtime for: nothing (0) where its default is the same."""
        return 0 if os.cpu_count() == self.setup.threads else self.setup.threads

    def describe(self) -> dict[str, str]:
        ort = sb.runtime.backend.ort
        build = "onnxruntime-training" if sb.runtime.backend.is_training_build() else "onnxruntime"
        return {
            "symbucket": sb.__version__,
            build: ort.__version__,
            "numpy": np.__version__,
            "python": sys.version.split()[0],
        }

    def build(self) -> None:
        setup = self.setup
        self.key = max(batch.key for batch in self.batches)
        logger = logging.getLogger("benchmark")
        logger.setLevel(logging.ERROR)
        disable = {"fuse-output-layer"} if self.variant == "all-rows" else ()
        options = CompilerOptions(disable=disable)
        self.module = sb.mod.BucketingModule(
            sym_gen(sb, setup), self.key, logger=logger, options=options
        )
        shape = (setup.batch, self.key)
        with threads.threads(self.threads()):
            self.module.bind([("data", shape)], [("softmax_label", shape)])
        self.module.init_params(arg_params=self.params)
        self.converted = {id(batch): _data_batch(batch) for batch in self.batches}
        self.largest = next(b for b in self.converted.values() if b.bucket_key == self.key)

    def restore(self) -> None:
        self.module.set_params(self.params)

    def train(self, batches: Sequence[Batch]) -> list[Step]:
        inputs = [self.converted[id(batch)] for batch in batches]
        recorder = Recorder()
        with threads.threads(self.threads()):
            self.module.fit(
                FixedOrder(inputs, self.largest),
                eval_metric=sb.metric.Perplexity(ignore_label=IGNORED),
                batch_end_callback=recorder,
                optimizer="sgd",
                optimizer_params={"learning_rate": self.setup.rate, "rescale_grad": 1.0},
                num_epoch=1,
            )
        return [Step(*step) for step in recorder.steps]

    def commands(self) -> dict[str, Callable[[dict[str, Any]], Any]]:
        return {
            "gemm": lambda request: rates(self.setup, self.threads(), request["seconds"]),
            "profile": lambda request: self.profile(request["key"], request["steps"]),
        }

    def profile(self, key: int, steps: int) -> list[dict[str, Any]]:
        """Profiles of the sessions that train one key, the slowest first."""
        batch = next(b for b in self.batches if b.key == key)
        self.batches = [batch]
        skip = 2
        with tempfile.TemporaryDirectory() as folder:
            with session.profiling(folder) as files:
                self.build()
                self.train([batch] * (skip + steps))
            profiles = [read_profile(Path(file), skip) for file in files]
        return sorted((p for p in profiles if p), key=lambda p: -p["wall_ms"])


def _data_batch(batch: Batch) -> sb.io.DataBatch:
    return sb.io.DataBatch(
        [batch.data.astype(np.float32)],
        [batch.label.astype(np.float32)],
        bucket_key=batch.key,
        provide_data=[("data", batch.data.shape)],
        provide_label=[("softmax_label", batch.label.shape)],
    )


if __name__ == "__main__":
    serve(SymbucketEngine)
