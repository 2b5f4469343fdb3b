"""The language model in JAX: one compiled step for each bucket, the layers as lax.scan.

The products with a layer's inputs are one product over all steps, before its scan. Ignored rows
stay in the output layer: what XLA compiles has one shape.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Any

# Before jax starts its thread pool. XLA has no option for the number of threads.
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import jax.numpy as jnp
from _lm_data import IGNORED, Batch
from _lm_worker import Engine, Step, serve
from jax import lax


def loss_of(params: dict[str, Any], data: Any, label: Any, layers: int) -> Any:
    """Mean cross entropy of ``data`` and ``label`` of shape (steps, batch)."""
    x = params["embed_weight"][data]
    for layer in range(layers):
        name = f"lstm_l{layer}_"
        bias = params[f"{name}i2h_bias"] + params[f"{name}h2h_bias"]
        inputs = x @ params[f"{name}i2h_weight"].T + bias
        recurrent = params[f"{name}h2h_weight"].T

        def step(state: Any, row: Any, recurrent: Any = recurrent) -> Any:
            h, c = state
            i, f, g, o = jnp.split(row + h @ recurrent, 4, axis=1)
            c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
            h = jax.nn.sigmoid(o) * jnp.tanh(c)
            return (h, c), h

        zeros = jnp.zeros(x.shape[1:], x.dtype)
        _, x = lax.scan(step, (zeros, zeros), inputs)
    scores = x.reshape(-1, x.shape[-1]) @ params["pred_weight"].T + params["pred_bias"]
    label = label.reshape(-1)
    picked = jnp.take_along_axis(jax.nn.log_softmax(scores), label[:, None], axis=1)[:, 0]
    counts = label != IGNORED
    return -jnp.where(counts, picked, 0.0).sum() / jnp.maximum(counts.sum(), 1)


class JaxEngine(Engine):
    """Trains with plain gradient descent; parameters are updated in place (donated)."""

    def describe(self) -> dict[str, str]:
        return {"jax": jax.__version__}

    def build(self) -> None:
        layers, rate = self.setup.layers, self.setup.rate

        def update(params: dict[str, Any], data: Any, label: Any) -> Any:
            loss, grads = jax.value_and_grad(loss_of)(params, data, label, layers)
            return {n: p - rate * grads[n] for n, p in params.items()}, loss

        self.step = jax.jit(update, donate_argnums=0)
        self.restore()
        self.arrays = {
            id(b): (jnp.asarray(b.data.T, jnp.int32), jnp.asarray(b.label.T, jnp.int32))
            for b in self.batches
        }

    def restore(self) -> None:
        self.values = {n: jnp.array(v) for n, v in self.params.items()}

    def train(self, batches: Sequence[Batch]) -> list[Step]:
        steps = []
        for batch in batches:
            start = time.perf_counter()
            self.values, loss = self.step(self.values, *self.arrays[id(batch)])
            value = float(loss)
            jax.block_until_ready(self.values)
            steps.append(Step(value, time.perf_counter() - start))
        return steps


if __name__ == "__main__":
    serve(JaxEngine)
