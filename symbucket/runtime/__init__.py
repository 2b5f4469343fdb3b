"""ONNX Runtime: devices, shared buffers, sessions and executors."""

from symbucket.runtime.bind import bind, simple_bind
from symbucket.runtime.executor import Executor
from symbucket.runtime.ndarray import NDArray
from symbucket.runtime.session import Session

__all__ = ["Executor", "NDArray", "Session", "bind", "simple_bind"]
