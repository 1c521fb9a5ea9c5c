"""Headers of NIfTI-1, NIfTI-2 and MGH images, every size checked against the file before it is used.

They are read here and not by a library: opening takes a millisecond, and a damaged header cannot ask for memory.
Layouts: the standards of the NIfTI Data Format Working Group (nifti1.h, nifti2.h); MGH as FreeSurfer documents it.
"""

from __future__ import annotations

import gzip
import math
import os
import zlib
from dataclasses import dataclass
from typing import Any, BinaryIO, Literal, cast

import numpy as np
import numpy.typing as npt

from repcompare.errors import FormatError

Affine = npt.NDArray[np.float64]

TYPES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"}
UNREAL = {
    1: "bits",
    32: "complex64",
    128: "RGB24",
    1536: "float128",
    1792: "complex128",
    2048: "complex256",
    2304: "RGBA",
}
MGH_TYPES = {0: "u1", 1: "i4", 3: "f4", 4: "i2"}
SECONDS = {8: 1.0, 16: 1e-3, 24: 1e-6}
MILLIMETRES = {1: 1e3, 2: 1.0, 3: 1e-3}
MOST_RATIO = 1032  # bytes that one byte of a gzip stream can become
SMALL = 16 * 2**20
LONGEST_HEADER = 256 * 2**20  # bytes before the data: CIFTI keeps its axes there
MGH_DATA = 284


@dataclass(frozen=True)
class Header:
    """What is known of an image before its data are read.

    Attributes
    ----------
    path : str
        The file that holds the data.
    name : str
        ``NIfTI-1``, ``NIfTI-2`` or ``MGH``.
    shape : tuple of int
        As stored; the first axis changes fastest.
    dtype : numpy.dtype
        With its byte order.
    offset : int
        Where the data begin.
    slope, inter : float
        Value = slope x stored + inter.
    affine : ndarray, shape (4, 4)
        Voxel indices to mm.
    tr : float or None
        Seconds between volumes; None where the header does not say.
    intent : int
        NIfTI intent code; 3000 to 3099 are CIFTI.
    notes : tuple of str
        Lines for the history.
    """

    path: str
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    offset: int
    slope: float
    inter: float
    affine: Affine
    tr: float | None
    intent: int
    notes: tuple[str, ...] = ()

    @property
    def packed(self) -> bool:
        """Is the file compressed?"""
        return is_packed(self.path)

    @property
    def grid(self) -> tuple[int, int, int]:
        """Lengths of the three axes of space."""
        i, j, k = (*self.shape, 1, 1, 1)[:3]
        return i, j, k

    @property
    def n_volumes(self) -> int:
        """Number of volumes; axes of length one after the third are stepped over."""
        return math.prod(self.shape[3:])


def is_packed(path: str) -> bool:
    """Say whether a file begins as gzip files do."""
    with open(path, "rb") as handle:
        return handle.read(2) == b"\x1f\x8b"


def open_data(path: str) -> BinaryIO:
    """Open a file or a gzip file for reading."""
    return cast(BinaryIO, gzip.open(path, "rb") if is_packed(path) else open(path, "rb"))


def kind_of(head: bytes) -> str:
    """Return ``NIfTI-1``, ``NIfTI-2``, ``MGH`` or ``""`` for the first bytes of a file, unpacked where they are gzip.

    Examples
    --------
    >>> kind_of((348).to_bytes(4, "little") + bytes(340) + b"n+1")
    'NIfTI-1'
    """
    if head[:2] == b"\x1f\x8b":
        try:
            head = zlib.decompressobj(31).decompress(head, 600)
        except zlib.error:
            return ""
    orders: tuple[Literal["little", "big"], ...] = ("little", "big")
    for order in orders:
        size = int.from_bytes(head[:4], order)
        if size == 348 and head[344:347] in (b"n+1", b"ni1"):
            return "NIfTI-1"
        if size == 540 and head[4:7] in (b"n+2", b"ni2"):
            return "NIfTI-2"
    if len(head) >= 24 and head[:4] == b"\0\0\0\x01":
        *dims, code = np.frombuffer(head, ">i4", 5, 4).tolist()
        if min(dims) > 0 and code in MGH_TYPES:
            return "MGH"
    return ""


def read_header(path: str) -> Header:
    """Read the header of an image.

    Parameters
    ----------
    path : str
        ``.nii``, ``.nii.gz``, ``.hdr`` or ``.img`` (a NIfTI pair), ``.mgh``, ``.mgz``.

    Returns
    -------
    Header

    Raises
    ------
    FormatError
        When it is no such image, is truncated, or holds other things than real numbers.
    """
    path = os.path.abspath(path)
    stem, suffix = os.path.splitext(path)
    first = f"{stem}.hdr" if suffix.lower() == ".img" else path
    try:
        with open_data(first) as handle:
            head = handle.read(540)
    except (OSError, EOFError, zlib.error) as error:
        raise FormatError(
            f"{first}: cannot be read ({error}); expected an image; copy or write the file again"
        ) from None
    kind = kind_of(head)
    if not kind:
        raise FormatError(
            f"{first}: found {head[:4].hex(' ') or 'nothing'} at its beginning; expected a NIfTI image (5c 01 00 00 or"
            " 1c 02 00 00) or an MGH image; Analyze images without orientation are to be converted first"
        )
    header = _mgh(path, head) if kind == "MGH" else _nifti(path, head, kind)
    _check_size(header)
    return header


def _nifti(path: str, head: bytes, kind: str) -> Header:
    two = kind == "NIfTI-2"
    order = "<" if int.from_bytes(head[:4], "little") in (348, 540) else ">"
    if len(head) < (540 if two else 348):
        raise FormatError(f"{path}: the header ends after {len(head)} bytes; it is truncated; copy the file again")

    def at(place: tuple[int, int], kinds: tuple[str, str], count: int = 1) -> Any:
        found = np.frombuffer(head, order + kinds[two], count, place[two])
        return found.tolist() if count > 1 else found.item()

    reals = ("f4", "f8")
    dim = at((40, 16), ("i2", "i8"), 8)
    pixdim = at((76, 104), reals, 8)
    code, intent = at((70, 12), ("i2", "i2")), at((68, 504), ("i2", "i4"))
    units, offset = at((123, 500), ("u1", "i4")), at((108, 168), ("f4", "i8"))
    slope, inter = at((112, 176), reals), at((116, 184), reals)
    shape = _shape(path, dim)
    if code not in TYPES:
        what = UNREAL.get(code, f"data of type {code}")
        raise FormatError(f"{path}: holds {what}; expected real numbers; convert the image first")
    pair = head[4:7] == b"ni2" if two else head[344:347] == b"ni1"
    least = 0 if pair else 544 if two else 352
    if not math.isfinite(offset) or (offset < least and not (pair and offset == 0)):
        raise FormatError(f"{path}: the data begin at byte {offset}; expected {least} or more; the header is damaged")
    orientation = {
        "codes": (at((252, 344), ("i2", "i4")), at((254, 348), ("i2", "i4"))),
        "quaternion": [at((256 + 4 * i, 352 + 8 * i), reals) for i in range(6)],
        "rows": np.array([at((280 + 16 * i, 400 + 32 * i), reals, 4) for i in range(3)], np.float64),
    }
    affine, notes = _affine(path, shape, pixdim, units & 7, orientation)
    scale, step = SECONDS.get(units & 56), pixdim[4]
    good = scale is not None and math.isfinite(step) and step > 0
    used = math.isfinite(slope) and slope != 0 and math.isfinite(inter)
    return Header(
        path=_data_file(path) if pair else path,
        name=kind,
        shape=shape,
        dtype=np.dtype(order + TYPES[code]),
        offset=int(offset),
        slope=slope if used else 1.0,
        inter=inter if used else 0.0,
        affine=affine,
        tr=round(step * scale, 9) if good and scale is not None else None,
        intent=intent,
        notes=tuple(notes),
    )


def _data_file(path: str) -> str:
    stem, suffix = os.path.splitext(path)
    data = path if suffix.lower() == ".img" else f"{stem}.img"
    if not os.path.isfile(data):
        raise FormatError(f"{path}: its data belong in {os.path.basename(data)}, which is not beside it; copy it there")
    return data


def _shape(path: str, dim: list[int]) -> tuple[int, ...]:
    n = dim[0]
    if not 1 <= n <= 7 or any(length < 0 for length in dim[1 : n + 1]):
        raise FormatError(f"{path}: dim is {dim}; expected 1 to 7 axes of lengths from 1; the header is damaged")
    shape = tuple(dim[1 : n + 1])
    if 0 in shape:
        raise FormatError(f"{path}: is empty, shape {shape}; expected at least one voxel and one volume")
    return shape


def _affine(
    path: str, shape: tuple[int, ...], pixdim: list[float], unit: int, found: dict[str, Any]
) -> tuple[Affine, list[str]]:
    """Return the affine in mm: sform, else qform, else voxel sizes around the centre with x to the left."""
    qform, sform = found["codes"]
    notes = []
    affine = np.eye(4)
    if sform > 0:
        affine[:3] = found["rows"]
    elif qform > 0:
        affine = _from_quaternion(found["quaternion"], pixdim)
    else:
        sizes = np.array([abs(p) or 1.0 for p in pixdim[1:4]])
        affine[:3, :3] = np.diag(sizes * [-1, 1, 1])
        lengths = np.array((*shape, 1, 1, 1)[:3])
        affine[:3, 3] = -affine[:3, :3] @ ((lengths - 1) / 2)
        notes.append("no orientation in the header: positions are voxel sizes around the centre of the image")
    if not np.isfinite(affine).all():
        raise FormatError(f"{path}: the affine is not finite; expected voxel positions in mm; the header is damaged")
    if unit in MILLIMETRES:
        affine[:3] *= MILLIMETRES[unit]
    else:
        notes.append("no unit of space in the header: mm assumed")
    return affine, notes


def _from_quaternion(values: list[float], pixdim: list[float]) -> Affine:
    b, c, d = values[:3]
    with np.errstate(all="ignore"):
        a = math.sqrt(max(0.0, 1.0 - (b * b + c * c + d * d))) if all(map(math.isfinite, (b, c, d))) else math.nan
        rotation = np.array(
            [
                [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
                [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
                [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
            ]
        )
        affine = np.eye(4)
        affine[:3, :3] = rotation * [pixdim[1], pixdim[2], pixdim[3] * (-1 if pixdim[0] < 0 else 1)]
    affine[:3, 3] = values[3:]
    return affine


def _mgh(path: str, head: bytes) -> Header:
    if len(head) < MGH_DATA:
        raise FormatError(f"{path}: the header ends after {len(head)} bytes; expected {MGH_DATA}; it is truncated")
    *dims, code = np.frombuffer(head, ">i4", 5, 4).tolist()
    if min(dims) < 1:
        raise FormatError(f"{path}: is empty or damaged: dimensions {dims}; expected lengths from 1")
    if code not in MGH_TYPES:
        raise FormatError(f"{path}: holds data of type {code}; expected one of {sorted(MGH_TYPES)} (numbers)")
    notes = []
    affine = np.eye(4)
    if np.frombuffer(head, ">i2", 1, 28).item():
        real = np.frombuffer(head, ">f4", 15, 30).astype(np.float64)
        affine[:3, :3] = real[3:12].reshape(3, 3).T * real[:3]
        affine[:3, 3] = real[12:15] - affine[:3, :3] @ (np.array(dims[:3]) / 2)
    else:
        notes.append("no orientation in the header: positions are voxel indices")
    if not np.isfinite(affine).all():
        raise FormatError(f"{path}: the affine is not finite; expected voxel positions in mm; the header is damaged")
    shape = tuple(dims)
    return Header(
        path, "MGH", shape, np.dtype(">" + MGH_TYPES[code]), MGH_DATA, 1.0, 0.0, affine, None, 0, tuple(notes)
    )


def _check_size(header: Header) -> None:
    declared = math.prod(header.shape) * header.dtype.itemsize
    size = os.path.getsize(header.path)
    what = f"{header.path}: header declares {header.shape} {header.dtype} = {declared} bytes"
    if header.offset > LONGEST_HEADER:
        raise FormatError(f"{header.path}: the data begin at byte {header.offset}; expected a header of some kilobytes")
    if header.packed:
        if declared > max(SMALL, MOST_RATIO * size):
            raise FormatError(f"{what}; the file has {size} bytes, which cannot hold them; it is truncated or damaged")
    elif header.offset + declared > size:
        raise FormatError(
            f"{what} from byte {header.offset}; the file has {size} bytes; it is truncated; copy or write it again"
        )
