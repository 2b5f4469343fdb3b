"""Initializers that draw random values, each parameter from its own stream."""

from __future__ import annotations

from math import prod, sqrt

import numpy as np

from symbucket.initializer.base import Initializer, register
from symbucket.initializer.checks import number, one_of, want_float, want_rank
from symbucket.types import Array


@register
class Uniform(Initializer):
    """Weights drawn evenly from ``[-scale, scale)``."""

    def __init__(self, scale: float = 0.07, *, seed: int | None = None) -> None:
        self.scale = number(self, "scale", scale)
        super().__init__(scale=self.scale, seed=seed)

    def _init_weight(self, desc: str, arr: Array) -> None:
        want_float(self, desc, arr)
        arr[...] = self._stream(desc).uniform(-self.scale, self.scale, arr.shape)


@register
class Normal(Initializer):
    """Weights drawn from a normal distribution of mean 0 and deviation ``sigma``."""

    def __init__(self, sigma: float = 0.01, *, seed: int | None = None) -> None:
        self.sigma = number(self, "sigma", sigma)
        super().__init__(sigma=self.sigma, seed=seed)

    def _init_weight(self, desc: str, arr: Array) -> None:
        want_float(self, desc, arr)
        arr[...] = self._stream(desc).normal(0.0, self.sigma, arr.shape)


@register
class Orthogonal(Initializer):
    """Weights with orthogonal rows (or columns, if there are fewer of them), times ``scale``.

    Axes after the first count as one. ``rand_type`` (``"uniform"`` or ``"normal"``) is the
    distribution of the matrix whose singular vectors are taken.

    Source: Saxe, McClelland and Ganguli, Exact solutions to the nonlinear dynamics of learning in
    deep linear neural networks, 2014.
    """

    def __init__(
        self, scale: float = 1.414, rand_type: str = "uniform", *, seed: int | None = None
    ) -> None:
        self.scale = number(self, "scale", scale)
        self.rand_type = one_of(self, "rand_type", rand_type, ("uniform", "normal"))
        super().__init__(scale=self.scale, rand_type=self.rand_type, seed=seed)

    def _init_weight(self, desc: str, arr: Array) -> None:
        want_float(self, desc, arr)
        want_rank(self, desc, arr, 1, "a single number has no rows")
        rows, columns = arr.shape[0], prod(arr.shape[1:])
        rng = self._stream(desc)
        if self.rand_type == "uniform":
            matrix = rng.uniform(-1.0, 1.0, (rows, columns))
        else:
            matrix = rng.normal(0.0, 1.0, (rows, columns))
        left, _, right = np.linalg.svd(matrix, full_matrices=False)
        vectors = left if left.shape == matrix.shape else right
        arr[...] = self.scale * vectors.reshape(arr.shape)


@register
class Xavier(Initializer):
    """Weights scaled so that signals keep their size from layer to layer.

    With ``fan_in = shape[1] * k`` and ``fan_out = shape[0] * k``, ``k`` the product of the axes
    after the second, the scale is ``sqrt(magnitude / factor)``: the bound of the uniform
    distribution, or the deviation of the normal one.

    Args:
        rnd_type: ``"uniform"`` or ``"gaussian"``.
        factor_type: ``"in"``, ``"out"`` or ``"avg"``: which fan is the factor.
        magnitude: scale of the weights.
        seed: takes the place of the library's seed.

    Source: Glorot and Bengio, Understanding the difficulty of training deep feedforward neural
    networks, 2010.
    """

    def __init__(
        self,
        rnd_type: str = "uniform",
        factor_type: str = "avg",
        magnitude: float = 3,
        *,
        seed: int | None = None,
    ) -> None:
        self.rnd_type = one_of(self, "rnd_type", rnd_type, ("uniform", "gaussian"))
        self.factor_type = one_of(self, "factor_type", factor_type, ("in", "out", "avg"))
        self.magnitude = number(self, "magnitude", magnitude)
        super().__init__(
            rnd_type=rnd_type, factor_type=factor_type, magnitude=self.magnitude, seed=seed
        )

    def _init_weight(self, desc: str, arr: Array) -> None:
        want_float(self, desc, arr)
        want_rank(self, desc, arr, 2, "fan-in and fan-out need two axes (output, input, ...)")
        if arr.size == 0:
            return
        window = prod(arr.shape[2:])
        fan_in, fan_out = arr.shape[1] * window, arr.shape[0] * window
        factor = {"in": fan_in, "out": fan_out, "avg": (fan_in + fan_out) / 2}[self.factor_type]
        scale = sqrt(self.magnitude / factor)
        rng = self._stream(desc)
        if self.rnd_type == "uniform":
            arr[...] = rng.uniform(-scale, scale, arr.shape)
        else:
            arr[...] = rng.normal(0.0, scale, arr.shape)


@register
class MSRAPrelu(Xavier):
    """Gaussian Xavier with magnitude ``2 / (1 + slope**2)``, for layers with (P)ReLU.

    Source: He, Zhang, Ren and Sun, Delving deep into rectifiers, 2015.
    """

    def __init__(
        self, factor_type: str = "avg", slope: float = 0.25, *, seed: int | None = None
    ) -> None:
        slope = number(self, "slope", slope, least=-1e30)
        super().__init__("gaussian", factor_type, 2.0 / (1 + slope**2), seed=seed)
        self._kwargs = {"factor_type": factor_type, "slope": slope}
        if seed is not None:
            self._kwargs["seed"] = self.seed
