"""Names of the types that all layers share: arrays, shapes, dtypes."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
"""A numpy array of any shape and dtype."""

IntArray = np.ndarray[Any, np.dtype[np.int64]]
"""A numpy array of int64: positions, sizes, labels."""

DType = np.dtype[Any]
"""A numpy dtype."""

Shape = tuple[int, ...]
"""A shape whose every dimension is known."""

Ints = tuple[int, ...]
"""Integers, one for each axis: strides, padding."""

PartialShape = Shape | None
"""What is known of a shape: None if not even the rank, 0 for an unknown dimension."""

PartialDType = DType | None
"""A dtype, or None if it is unknown."""

InferredShapes = tuple[list[PartialShape], list[PartialShape]]
"""What shape inference returns for one operator: input shapes and output shapes."""

InferredTypes = tuple[list[PartialDType], list[PartialDType]]
"""What type inference returns for one operator: input dtypes and output dtypes."""
