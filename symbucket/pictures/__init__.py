"""Pictures as arrays of numpy: read from and written to bytes, and resized."""

from symbucket.pictures.codec import decode, encode
from symbucket.pictures.resize import INTERPOLATIONS, resize, size_by_short_edge, weights

__all__ = ["INTERPOLATIONS", "decode", "encode", "resize", "size_by_short_edge", "weights"]
