"""ONNX Runtime: devices, shared buffers and sessions."""

from symbucket.runtime.ndarray import NDArray
from symbucket.runtime.row_sparse import RowSparse
from symbucket.runtime.session import Session
from symbucket.runtime.threads import set_threads

__all__ = ["NDArray", "RowSparse", "Session", "set_threads"]
