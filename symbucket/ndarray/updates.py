"""Steps of optimizers on arrays, for optimizers of one's own: ``nd.sgd_update(w, g, lr=0.1)``.

The gradient is multiplied by ``rescale_grad`` and, if ``clip_gradient`` is not negative, clipped to
``[-clip_gradient, clip_gradient]``. The new weight is written into ``out`` and returned; if there
is none, it is a new array. States are changed in place. ``lazy_update`` makes no difference: every
array is dense.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from symbucket.errors import ShapeError
from symbucket.runtime import NDArray
from symbucket.types import Array

__all__ = [
    "adam_update",
    "ftrl_update",
    "nag_mom_update",
    "rmsprop_update",
    "rmspropalex_update",
    "sgd_mom_update",
    "sgd_update",
    "signsgd_update",
    "signum_update",
]


def _clipped(values: Array, bound: float) -> Array:
    return np.clip(values, -bound, bound) if bound >= 0 else values


def _update(
    out: NDArray | None,
    weight: NDArray,
    grad: NDArray,
    states: tuple[NDArray, ...],
    step: Callable[..., tuple[Any, ...]],
) -> NDArray:
    """Write what ``step`` returns for numpy arrays: the weight and the states."""
    for array in (grad, *states, *([] if out is None else [out])):
        if (array.shape, array.dtype) != (weight.shape, weight.dtype):
            raise ShapeError(
                f"update: the weight is {weight.dtype}{list(weight.shape)}, another array "
                f"{array.dtype}{list(array.shape)}"
            )
    target = NDArray.empty(weight.shape, weight.dtype, weight.context) if out is None else out
    with np.errstate(all="ignore"):
        results = step(weight.view(), grad.view(), *(state.view() for state in states))
    for array, values in zip((target, *states), results):
        array[...] = values
    return target


def sgd_update(
    weight: NDArray,
    grad: NDArray,
    lr: float,
    wd: float = 0.0,
    rescale_grad: float = 1.0,
    clip_gradient: float = -1.0,
    lazy_update: bool = True,
    out: NDArray | None = None,
) -> NDArray:
    """``(1 - lr wd) w - lr g``."""

    def step(w: Array, g: Array) -> tuple[Any, ...]:
        return ((1 - lr * wd) * w - lr * _clipped(g * rescale_grad, clip_gradient),)

    return _update(out, weight, grad, (), step)


def sgd_mom_update(
    weight: NDArray,
    grad: NDArray,
    mom: NDArray,
    lr: float,
    momentum: float = 0.0,
    wd: float = 0.0,
    rescale_grad: float = 1.0,
    clip_gradient: float = -1.0,
    lazy_update: bool = True,
    out: NDArray | None = None,
) -> NDArray:
    """``m = momentum m - lr (g + wd w)``, ``w + m``."""

    def step(w: Array, g: Array, m: Array) -> tuple[Any, ...]:
        m = momentum * m - lr * (_clipped(g * rescale_grad, clip_gradient) + wd * w)
        return w + m, m

    return _update(out, weight, grad, (mom,), step)


def nag_mom_update(
    weight: NDArray,
    grad: NDArray,
    mom: NDArray,
    lr: float,
    momentum: float = 0.0,
    wd: float = 0.0,
    rescale_grad: float = 1.0,
    clip_gradient: float = -1.0,
    out: NDArray | None = None,
) -> NDArray:
    """Nesterov: ``m' = momentum m - lr (g + wd w)``, ``w + (1 + momentum) m' - momentum m``.

    The weight that decays the momentum is the old one. MXNet's is the new one if ``out=weight``.
    """

    def step(w: Array, g: Array, m: Array) -> tuple[Any, ...]:
        new = momentum * m - lr * (_clipped(g * rescale_grad, clip_gradient) + wd * w)
        return w + (1 + momentum) * new - momentum * m, new

    return _update(out, weight, grad, (mom,), step)


def adam_update(
    weight: NDArray,
    grad: NDArray,
    mean: NDArray,
    var: NDArray,
    lr: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    epsilon: float = 1e-8,
    wd: float = 0.0,
    rescale_grad: float = 1.0,
    clip_gradient: float = -1.0,
    lazy_update: bool = True,
    out: NDArray | None = None,
) -> NDArray:
    """``w - lr mean / (sqrt(var) + epsilon)``; correct ``lr`` for the bias yourself, as MXNet's."""

    def step(w: Array, g: Array, mean: Array, var: Array) -> tuple[Any, ...]:
        g = _clipped(g * rescale_grad + wd * w, clip_gradient)
        mean = beta1 * mean + (1 - beta1) * g
        var = beta2 * var + (1 - beta2) * g * g
        return w - lr * mean / (np.sqrt(var) + epsilon), mean, var

    return _update(out, weight, grad, (mean, var), step)


def rmsprop_update(
    weight: NDArray,
    grad: NDArray,
    n: NDArray,
    lr: float,
    gamma1: float = 0.95,
    epsilon: float = 1e-8,
    wd: float = 0.0,
    rescale_grad: float = 1.0,
    clip_gradient: float = -1.0,
    clip_weights: float = -1.0,
    out: NDArray | None = None,
) -> NDArray:
    """``n = gamma1 n + (1 - gamma1) g^2``, ``w - lr g / sqrt(n + epsilon)``."""

    def step(w: Array, g: Array, n: Array) -> tuple[Any, ...]:
        g = _clipped(g * rescale_grad + wd * w, clip_gradient)
        n = gamma1 * n + (1 - gamma1) * g * g
        return _clipped(w - lr * g / np.sqrt(n + epsilon), clip_weights or -1.0), n

    return _update(out, weight, grad, (n,), step)


def rmspropalex_update(
    weight: NDArray,
    grad: NDArray,
    n: NDArray,
    g: NDArray,
    delta: NDArray,
    lr: float,
    gamma1: float = 0.95,
    gamma2: float = 0.9,
    epsilon: float = 1e-8,
    wd: float = 0.0,
    rescale_grad: float = 1.0,
    clip_gradient: float = -1.0,
    clip_weights: float = -1.0,
    out: NDArray | None = None,
) -> NDArray:
    """RMSProp, centred and with momentum (Graves, 2013)."""

    def step(w: Array, d: Array, n: Array, mean: Array, delta: Array) -> tuple[Any, ...]:
        d = _clipped(d * rescale_grad + wd * w, clip_gradient)
        n = gamma1 * n + (1 - gamma1) * d * d
        mean = gamma1 * mean + (1 - gamma1) * d
        delta = gamma2 * delta - lr * d / np.sqrt(n - mean * mean + epsilon)
        return _clipped(w + delta, clip_weights or -1.0), n, mean, delta

    return _update(out, weight, grad, (n, g, delta), step)


def ftrl_update(
    weight: NDArray,
    grad: NDArray,
    z: NDArray,
    n: NDArray,
    lr: float,
    lamda1: float = 0.01,
    beta: float = 1.0,
    wd: float = 0.0,
    rescale_grad: float = 1.0,
    clip_gradient: float = -1.0,
    out: NDArray | None = None,
) -> NDArray:
    """Follow the regularized leader; weights with ``|z|`` up to ``lamda1`` become 0."""

    def step(w: Array, g: Array, z: Array, n: Array) -> tuple[Any, ...]:
        g = _clipped(g * rescale_grad, clip_gradient)
        z = z + g - (np.sqrt(n + g * g) - np.sqrt(n)) * w / lr
        n = n + g * g
        w = (np.sign(z) * lamda1 - z) / ((beta + np.sqrt(n)) / lr + wd)
        return w * (np.abs(z) > lamda1), z, n

    return _update(out, weight, grad, (z, n), step)


def signsgd_update(
    weight: NDArray,
    grad: NDArray,
    lr: float,
    wd: float = 0.0,
    rescale_grad: float = 1.0,
    clip_gradient: float = -1.0,
    out: NDArray | None = None,
) -> NDArray:
    """``(1 - lr wd) w - lr sign(g)``."""

    def step(w: Array, g: Array) -> tuple[Any, ...]:
        return ((1 - lr * wd) * w - lr * np.sign(g),)

    return _update(out, weight, grad, (), step)


def signum_update(
    weight: NDArray,
    grad: NDArray,
    mom: NDArray,
    lr: float,
    momentum: float = 0.0,
    wd: float = 0.0,
    rescale_grad: float = 1.0,
    clip_gradient: float = -1.0,
    wd_lh: float = 0.0,
    out: NDArray | None = None,
) -> NDArray:
    """``m = momentum m - (1 - momentum) (g + wd w)``, ``(1 - lr wd_lh) w + lr sign(m)``."""

    def step(w: Array, g: Array, m: Array) -> tuple[Any, ...]:
        g = _clipped(g * rescale_grad, clip_gradient) + wd * w
        m = momentum * m - (1 - momentum) * g
        return (1 - lr * wd_lh) * w + lr * np.sign(m), m

    return _update(out, weight, grad, (mom,), step)
