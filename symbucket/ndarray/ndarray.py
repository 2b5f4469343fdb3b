"""MXNet's name of the module with the class: ``mx.nd.ndarray.NDArray``."""

from symbucket.ndarray.create import array, empty, full, ones, zeros
from symbucket.ndarray.files import load, save
from symbucket.ndarray.parts import concatenate
from symbucket.runtime import NDArray

__all__ = ["NDArray", "array", "concatenate", "empty", "full", "load", "ones", "save", "zeros"]
