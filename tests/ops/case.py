"""What a case of an operator is, and the functions that make its inputs.

Those that begin with a capital letter make numbers to differentiate by, the others positions,
lengths and conditions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from symbucket.types import Array

Maker = Callable[[np.random.Generator], Array]


@dataclass(frozen=True)
class Case:
    """An operator, its attributes and how its inputs are made."""

    op: str
    attrs: Mapping[str, Any]
    inputs: Mapping[str, Maker]
    aux: Mapping[str, Maker] = field(default_factory=dict)

    @property
    def id(self) -> str:
        said = ",".join(f"{k}={v}" for k, v in self.attrs.items())
        shapes = ",".join(
            "x".join(map(str, make(np.random.default_rng(0)).shape))
            for make in self.inputs.values()
        )
        return f"{self.op}({said})[{shapes}]"

    @property
    def wanted(self) -> list[str]:
        """The inputs to differentiate by."""
        return [n for n, make in self.inputs.items() if getattr(make, "differentiable", True)]

    def make(self, seed: int) -> dict[str, Array]:
        """The inputs, float64 or integers."""
        rng = np.random.default_rng(seed)
        return {n: make(rng) for n, make in {**self.inputs, **self.aux}.items()}


def Away(*shape: int) -> Maker:
    """Numbers of either sign, none within 0.15 of a whole number below 3: far from all kinks."""

    def make(rng: np.random.Generator) -> Array:
        whole = rng.integers(0, 2, shape) + rng.uniform(0.15, 0.35, shape)
        return whole * rng.choice([-1.0, 1.0], shape)

    return make


def Positive(*shape: int) -> Maker:
    """Numbers from 0.2 to 2."""
    return lambda rng: rng.uniform(0.2, 2.0, shape)


def Unit(*shape: int) -> Maker:
    """Numbers inside -0.8 to 0.8."""
    return lambda rng: rng.uniform(-0.8, 0.8, shape)


def Above(*shape: int) -> Maker:
    """Numbers from 1.2 to 3."""
    return lambda rng: rng.uniform(1.2, 3.0, shape)


def Apart(*shape: int) -> Maker:
    """Different numbers, each at least 0.1 from every other."""

    def make(rng: np.random.Generator) -> Array:
        size = int(np.prod(shape))
        return (rng.permutation(size) * 0.13 - 0.06 * size + 0.01).reshape(shape)

    return make


def Between(*shape: int) -> Maker:
    """Different numbers that lie between those of ``Apart``."""
    return lambda rng: Apart(*shape)(rng) + 0.065


def Exactly(values: Any) -> Maker:
    """These numbers."""
    return lambda rng: np.array(values, dtype=np.float64)


def fixed(make: Maker) -> Maker:
    """Return a maker of numbers not to differentiate by."""
    make.differentiable = False  # type: ignore[attr-defined]
    return make


def index(high: int, *shape: int, low: int = 0, dtype: str = "float32") -> Maker:
    """Whole numbers from ``low`` to below ``high``."""
    return fixed(lambda rng: rng.integers(low, high, shape).astype(dtype))


def given(values: Any, dtype: str = "float32") -> Maker:
    """These values, not to differentiate by."""
    return fixed(lambda rng: np.array(values, dtype=dtype))
