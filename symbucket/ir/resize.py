"""ONNX's Resize, axis by axis, as products with matrices: the weights of each result's sources."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from symbucket.ir.expr import Expr
from symbucket.types import Array, Shape


@dataclass(frozen=True)
class Resampling:
    """How Resize computes its results: the attributes of the node, with ONNX's defaults."""

    mode: str = "nearest"
    coordinates: str = "half_pixel"
    nearest: str = "round_prefer_floor"
    cubic: float = -0.75
    antialias: bool = False
    exclude_outside: bool = False

    def matrix(
        self, size: int, count: int, scale: float, region: tuple[float, float] = (0.0, 1.0)
    ) -> Array:
        """Return the weights (count, size) of one axis.

        Args:
            size: of the input.
            count: of the results.
            scale: results for each element of the input, ``scales`` or ``count / size``.
            region: where the results begin and end, for the mode "tf_crop_and_resize". Results
                outside of the input have no weights.
        """
        places = self._places(size, count, scale, region)
        weights = np.zeros((count, size))
        for row, place in enumerate(places):
            if self.coordinates == "tf_crop_and_resize" and not 0 <= place <= size - 1:
                continue
            for source, weight in self._sources(place, scale, size):
                weights[row, min(max(source, 0), size - 1)] += weight
        return weights

    def _places(self, size: int, count: int, scale: float, region: tuple[float, float]) -> Array:
        """Return where in the input each result lies."""
        i = np.arange(count, dtype=np.float64)
        width = scale * size  # not a whole number if scales were given
        kind = self.coordinates
        if kind == "align_corners":
            return i * (size - 1) / (width - 1) if width != 1 else i * 0.0
        if kind == "asymmetric":
            return i / scale
        if kind == "tf_half_pixel_for_nn":
            return (i + 0.5) / scale
        if kind == "tf_crop_and_resize":
            begin, end = region
            if count == 1:
                return np.array([0.5 * (begin + end) * (size - 1)])
            return begin * (size - 1) + i * (end - begin) * (size - 1) / (count - 1)
        if kind == "pytorch_half_pixel" and count == 1:
            return i * 0.0
        if kind == "half_pixel_symmetric":
            center = size / 2 * (1 - count / width)
            return center + (i + 0.5) / scale - 0.5
        return (i + 0.5) / scale - 0.5

    def _sources(self, place: float, scale: float, size: int) -> list[tuple[int, float]]:
        """Return positions in the input, some perhaps outside, and their weights."""
        if self.mode == "nearest":
            return [(self._nearest(place), 1.0)]
        reach = 1 if self.mode == "linear" else 2
        stretch = min(1.0, scale) if self.antialias else 1.0
        first = math.floor(place)
        around = range(
            first + math.floor(-reach / stretch) + 1, first + math.ceil(reach / stretch) + 1
        )
        kernel = _triangle if self.mode == "linear" else self._bicubic
        weights = [kernel(abs(source - place) * stretch) for source in around]
        if self.exclude_outside:
            weights = [w if 0 <= s < size else 0.0 for s, w in zip(around, weights)]
        if self.antialias or self.exclude_outside:
            total = sum(weights)
            weights = [w / total for w in weights]
        return list(zip(around, weights))

    def _nearest(self, place: float) -> int:
        rounded = {
            "round_prefer_floor": math.ceil(place - 0.5),
            "round_prefer_ceil": math.floor(place + 0.5),
            "floor": math.floor(place),
            "ceil": math.ceil(place),
        }
        return rounded[self.nearest]

    def _bicubic(self, x: float) -> float:
        """Keys 1981, with the free coefficient of the node."""
        a = self.cubic
        if x <= 1.0:
            return ((a + 2) * x - (a + 3)) * x * x + 1
        return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a if x < 2.0 else 0.0


def _triangle(x: float) -> float:
    return max(0.0, 1.0 - x)


def is_repetition(matrix: Array) -> int:
    """Return how often each element is repeated in place; 0 if the matrix does something else."""
    count, size = matrix.shape
    times = count // size if size else 0
    if times and times * size == count:
        return times if np.array_equal(matrix, np.repeat(np.eye(size), times, axis=0)) else 0
    return 0


@dataclass(frozen=True)
class AxisMatrix:
    """What Resize does to one axis."""

    axis: int
    weights: Array

    def times(self, x: Expr, matrix: Array) -> Expr:
        """Return the product of ``x`` with a matrix (size, new size) along this axis."""
        order = [*(i for i in range(x.rank) if i != self.axis), self.axis]
        product = x.transpose(order) @ x.const(matrix)
        return product.transpose([order.index(i) for i in range(x.rank)])


def axis_matrices(
    shape: Shape,
    out_shape: Shape,
    attributes: Mapping[str, Any],
    roi: Array | None,
    scales: Array | None,
    sizes: Array | None,
) -> list[AxisMatrix]:
    """Return what a Resize does, for each axis that it changes.

    Args:
        shape: of the input.
        out_shape: of the result.
        attributes: the node's.
        roi: the constant input; None if there is none.
        scales: as ``roi``; one of ``scales`` and ``sizes`` there must be.
        sizes: as ``roi``.
    """
    axes = [a % len(shape) for a in attributes.get("axes") or range(len(shape))]
    if scales is not None and scales.size:
        factors = [float(scale) for scale in scales]
    else:
        assert sizes is not None
        factors = [float(n) / shape[axis] for axis, n in zip(axes, sizes)]
        policy = str(attributes.get("keep_aspect_ratio_policy", "stretch"))
        if policy != "stretch":
            factors = [(min if policy == "not_larger" else max)(factors)] * len(axes)
    resampling = Resampling(
        str(attributes.get("mode", "nearest")),
        str(attributes.get("coordinate_transformation_mode", "half_pixel")),
        str(attributes.get("nearest_mode", "round_prefer_floor")),
        float(attributes.get("cubic_coeff_a", -0.75)),
        bool(attributes.get("antialias", 0)),
        bool(attributes.get("exclude_outside", 0)),
    )
    matrices = []
    for k, axis in enumerate(axes):
        region = (0.0, 1.0)
        if roi is not None and roi.size:
            region = float(roi[k]), float(roi[k + len(axes)])
        weights = resampling.matrix(shape[axis], out_shape[axis], factors[k], region)
        if not np.array_equal(weights, np.eye(shape[axis])):
            matrices.append(AxisMatrix(axis, weights))
    return matrices
