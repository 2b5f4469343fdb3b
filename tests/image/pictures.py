"""Pictures of random pixels, and their files."""

from __future__ import annotations

import struct
import zlib

import numpy as np


def random_pixels(height=7, width=9, seed=0):
    """uint8 (height, width, 3)."""
    return (np.random.RandomState(seed).rand(height, width, 3) * 255).astype(np.uint8)


def png(pixels):
    """The bytes of a PNG file of a picture."""

    def chunk(kind, content):
        checksum = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + checksum

    height, width, _ = pixels.shape
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = (chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)
