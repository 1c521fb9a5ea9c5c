"""Text in zarr stores, looked at before the library decodes it: its codec believes the counts that a piece declares."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Mapping
from typing import Any

from repcompare.errors import FormatError

TEXT = ("vlen-utf8", "vlen-bytes")
PACKERS = ("blosc", "zstd", "gzip", "zlib", "lz4", "bz2", "lzma")
CHECKED = ("crc32c",)
LARGEST_PIECE = 256 * 2**20  # bytes of names, unpacked
MOST_ENTRIES = 10**7


def is_text(metadata: Mapping[str, Any]) -> bool:
    """Say whether an array holds text of varying length."""
    return any(name in TEXT for name in _names(metadata))


def check_pieces(label: str, metadata: Mapping[str, Any], chunk: tuple[int, ...], pieces: Iterable[bytes]) -> None:
    """Raise when a piece of text declares entries that it does not hold.

    Parameters
    ----------
    label : str
        Store and array.
    metadata : mapping
        Of the array, of zarr version 2 or 3.
    chunk : tuple of int
        Shape of a piece: each holds as many entries.
    pieces : iterable of bytes
        As they are stored.

    Raises
    ------
    FormatError
        Also for text that is packed by a codec that is not known here.
    """
    packers = [n for n in _names(metadata) if n not in TEXT]
    odd = [n for n in packers if n not in PACKERS]
    expected = math.prod(chunk)
    if odd or len(packers) > 1 or expected > MOST_ENTRIES:
        what = f"codec {odd[0]!r}" if odd else f"{len(packers)} codecs in pieces of {expected} entries"
        raise FormatError(f"{label}: is text stored by {what}; expected short names packed by {', '.join(PACKERS)}")
    for stored in pieces:
        _check(label, _unpacked(label, stored, packers[0] if packers else ""), expected)


def _names(metadata: Mapping[str, Any]) -> list[str]:
    """Return the codecs of an array by name, in either version."""
    listed = [*(metadata.get("filters") or []), metadata.get("compressor"), *(metadata.get("codecs") or [])]
    names = [str(c.get("id") or c.get("name") or "") for c in listed if isinstance(c, Mapping)]
    return [n.removeprefix("numcodecs.") for n in names if n not in CHECKED]


def _unpacked(label: str, stored: bytes, packer: str) -> bytes:
    if not packer:
        return stored
    import numcodecs  # type: ignore[import-not-found,import-untyped,unused-ignore]

    if packer == "blosc" and (len(stored) < 16 or struct.unpack_from("<I", stored, 4)[0] > LARGEST_PIECE):
        raise FormatError(f"{label}: a piece of {len(stored)} bytes is no text packed by blosc; copy or write it again")
    return bytes(numcodecs.get_codec({"id": packer}).decode(stored))


def _check(label: str, raw: bytes, expected: int) -> None:
    count = struct.unpack_from("<I", raw)[0] if len(raw) >= 4 else -1
    if count != expected:
        raise FormatError(f"{label}: a piece declares {count} texts; expected {expected}; it is damaged; copy it again")
    at = 4
    for _ in range(count):
        size = struct.unpack_from("<I", raw, at)[0] if at + 4 <= len(raw) else len(raw)
        at += 4 + size
        if at > len(raw):
            raise FormatError(
                f"{label}: a text of {size} bytes leaves its piece of {len(raw)}; it is damaged; copy it again"
            )
