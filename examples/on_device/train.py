#!/usr/bin/env python3
"""Train from the files that make.py wrote, with numpy and ONNX Runtime alone."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import onnxruntime as ort


class Training:
    """A folder of ``export_training``, ready to go on."""

    def __init__(self, folder: Path) -> None:
        description = json.loads((folder / "training.json").read_text())
        self.optimizer = description["optimizer"]
        content = (folder / description["values"]["file"]).read_bytes()
        self.values = {
            t["name"]: np.frombuffer(content, t["dtype"], int(np.prod(t["shape"])), t["offset"])
            .reshape(t["shape"])
            .copy()
            for t in description["values"]["tensors"]
        }
        scalars = self.optimizer["scalars"]
        self.scalars = np.fromfile(folder / scalars["file"], scalars["dtype"]).reshape(
            scalars["updates"], scalars["width"]
        )
        options = ort.SessionOptions()
        options.log_severity_level = 3

        def session(file: str) -> ort.InferenceSession:
            return ort.InferenceSession(folder / file, options, ["CPUExecutionProvider"])

        self.steps = {step["key"]: (step, session(step["file"])) for step in description["steps"]}
        self.update = session(self.optimizer["file"])
        self.updates = 0

    def step(self, key: int, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Train on a batch; return the network's outputs."""
        step, session = self.steps[key]
        names = [t["name"] for t in step["inputs"]]
        feed = {n: batch[n] if n in batch else self.values[n] for n in names}
        results = dict(zip([t["name"] for t in step["outputs"]], session.run(None, feed)))
        for tensor in step["outputs"]:
            if tensor["kind"] == "auxiliary state":  # such as moving averages
                self.values[tensor["of"]] = results[tensor["name"]]
        feed = {"scalars": self.scalars[self.updates].ravel()}
        changed = []
        for parameter in self.optimizer["parameters"]:
            feed[f"{parameter}.grad"] = results[f"{parameter}.grad"]
            changed += [parameter, *(f"{parameter}.{s}" for s in self.optimizer["states"])]
        feed.update({name: self.values[name] for name in changed})
        written = [output.name for output in self.update.get_outputs()]
        for name, value in zip(written, self.update.run(written, feed)):
            self.values[name.removesuffix(".new")] = value
        self.updates += 1
        return {t["name"]: results[t["name"]] for t in step["outputs"] if t["kind"] == "output"}


def main() -> None:
    """Train on the batches of make.py and compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="that make.py wrote")
    args = parser.parse_args()
    expected = json.loads((args.folder / "batches.json").read_text())
    training = Training(args.folder / "training")
    losses = []
    for batch in expected["batches"]:
        step, _ = training.steps[batch["key"]]
        shapes = {t["name"]: t["shape"] for t in step["inputs"]}
        arrays = {
            name: np.array(batch[name], np.float32).reshape(shapes[name])
            for name in ("data", "softmax_label")
        }
        (probabilities,) = training.step(batch["key"], arrays).values()
        label = arrays["softmax_label"].astype(int)
        losses.append(float(-np.log(probabilities[np.arange(len(label)), label]).mean()))
    loss_error = np.abs(np.subtract(losses, expected["losses"])).max()
    error = max(
        np.abs(training.values[name].ravel() - np.array(values, np.float32)).max()
        for name, values in expected["parameters"].items()
    )
    print(f"{training.updates} updates; loss of the last ten {np.mean(losses[-10:]):.4f}")
    print(f"largest difference from symbucket: loss {loss_error:.1e}, parameters {error:.1e}")


if __name__ == "__main__":
    main()
