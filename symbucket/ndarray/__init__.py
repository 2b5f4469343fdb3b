"""Arrays by MXNet's names (``mx.nd``): making them, and files of them.

Everything runs at once: an array's values are there when the call that makes them returns.
"""

from symbucket.ndarray.create import array, empty, full, ones, waitall, zeros
from symbucket.ndarray.files import load, save
from symbucket.runtime import NDArray

__all__ = ["NDArray", "array", "empty", "full", "load", "ones", "save", "waitall", "zeros"]
