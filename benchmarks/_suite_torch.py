"""The suite in PyTorch: fused optimizers, and a workload's ways to run it faster."""

from __future__ import annotations

import time
from typing import Any

import torch
from _suite_torch_models import model_of
from _suite_worker import Engine, Step, serve


class TorchEngine(Engine):
    """Ways: "eager"; "rows" leaves ignored rows out and has sparse gradients of embeddings if the
    optimizer takes them; "channels-last"; "compile" is torch.compile."""

    def describe(self) -> dict[str, str]:
        return {"torch": torch.__version__}

    def build(self) -> None:
        torch.set_num_threads(self.threads)
        workload = self.workload
        model = model_of(workload, self.way)
        model.hold(workload.parameters)
        format_ = {"memory_format": torch.channels_last} if self.way == "channels-last" else {}
        model = model.to(**format_)
        parameters = list(model.parameters())
        options = dict(workload.options)
        rate = options.pop("learning_rate")
        if "epsilon" in options:
            options["eps"] = options.pop("epsilon")
        sparse = self.way == "rows" and workload.optimizer == "sgd"
        kinds: dict[str, Any] = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}
        fused = {"foreach": True} if sparse else {"fused": True}
        self.optimizer = kinds[workload.optimizer](parameters, lr=rate, **fused, **options)
        self.model: Any = torch.compile(model) if self.way == "compile" else model
        self.batches: list[dict[str, Any]] = []
        for batch in workload.batches:
            arrays = {**batch.data, **batch.label}
            tensors: dict[str, Any] = {n: torch.from_numpy(a.copy()) for n, a in arrays.items()}
            if format_:
                tensors = {n: t.to(**format_) if t.ndim == 4 else t for n, t in tensors.items()}
            self.batches.append({**tensors, "key": batch.key})

    def epoch(self) -> list[Step]:
        steps = []
        for batch in self.batches:
            start = time.perf_counter()
            self.optimizer.zero_grad()
            loss = self.model(batch)
            loss.backward()
            self.optimizer.step()
            steps.append(Step(loss.item(), time.perf_counter() - start))
        return steps

    def profile(self, epochs: int) -> Any:
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
            for _ in range(epochs):
                self.epoch()
        table = profile.key_averages().table(sort_by="self_cpu_time_total", row_limit=25)
        return {"text": table}


if __name__ == "__main__":
    serve(TorchEngine)
