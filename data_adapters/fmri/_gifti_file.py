"""The GIFTI file format: a stream of XML with packed arrays, read in one pass and never as a whole.

Layout: "GIfTI: Geometry Format under the Neuroimaging Informatics Technology Initiative", version 1.0.  Entities and
documents elsewhere are refused: the reader follows nothing out of the file.
"""

from __future__ import annotations

import base64
import binascii
import math
import os
import zlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any
from xml.parsers import expat

import numpy as np

from data_adapters.fmri._header import MOST_RATIO, SMALL, open_data
from repcompare.errors import FormatError

TYPES = {
    "NIFTI_TYPE_UINT8": "u1",
    "NIFTI_TYPE_INT32": "i4",
    "NIFTI_TYPE_FLOAT32": "f4",
    "NIFTI_TYPE_FLOAT64": "f8",
    "NIFTI_TYPE_INT16": "i2",
}
ENCODINGS = ("ASCII", "Base64Binary", "GZipBase64Binary")
CHUNK = 2**20
DEEPEST = 16
LONGEST_TEXT = 10**6


@dataclass
class Array:
    """What a file says of one array: shape, kind, and its labels."""

    number: int
    intent: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    order: str
    encoding: str
    meta: dict[str, str] = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        """Bytes, unpacked."""
        return math.prod(self.shape) * self.dtype.itemsize


@dataclass
class Gifti:
    """A file without its numbers: arrays and the labels of the whole."""

    arrays: list[Array]
    meta: dict[str, str]


class _Parser:
    """Follows the elements; keeps labels, and the text of the arrays that are wanted."""

    def __init__(self, path: str, wanted: Collection[int]) -> None:
        self.path, self.wanted = path, set(wanted)
        self.arrays: list[Array] = []
        self.meta: dict[str, str] = {}
        self.ready: list[tuple[Array, str]] = []
        self.open: list[str] = []
        self.text: list[str] = []
        self.length, self.limit = 0, 0
        self.name = ""
        self.parser = expat.ParserCreate()
        self.parser.buffer_text = True
        self.parser.StartElementHandler = self.start
        self.parser.EndElementHandler = self.end
        self.parser.EntityDeclHandler = self.refuse_entity
        self.parser.StartDoctypeDeclHandler = self.doctype

    def refuse_entity(self, name: str, *_: Any) -> None:
        raise FormatError(
            f"{self.path}: declares the entity {name!r}; expected GIFTI without entities; do not trust it"
        )

    def doctype(self, name: str, system: str | None, public: str | None, inner: bool) -> None:
        if name != "GIFTI" or (system and not system.lower().endswith("gifti.dtd")):
            raise FormatError(f"{self.path}: refers to the document {system!r}; expected GIFTI's own; do not trust it")

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if not self.open and name != "GIFTI":
            raise FormatError(f"{self.path}: begins with <{name}>; expected <GIFTI>")
        self.open.append(name)
        if len(self.open) > DEEPEST:
            raise FormatError(f"{self.path}: more than {DEEPEST} elements in one another; the file is damaged")
        if name == "DataArray":
            self.arrays.append(_array(self.path, len(self.arrays), attributes))
        if name in ("Name", "Value"):
            self.collect(LONGEST_TEXT)
        elif name == "Data" and self.arrays and self.arrays[-1].number in self.wanted:
            array = self.arrays[-1]
            self.collect(4096 + (64 * math.prod(array.shape) if array.encoding == "ASCII" else 2 * array.nbytes))

    def collect(self, limit: int) -> None:
        self.text, self.length, self.limit = [], 0, limit
        self.parser.CharacterDataHandler = self.characters

    def characters(self, data: str) -> None:
        self.length += len(data)
        if self.length > self.limit:
            raise FormatError(
                f"{self.path}: <{self.open[-1]}> of array {len(self.arrays) - 1} holds more than {self.limit} characters, "
                "more than its declared shape has room for; the file is damaged"
            )
        self.text.append(data)

    def end(self, name: str) -> None:
        self.open.pop()
        if name not in ("Name", "Value", "Data") or self.parser.CharacterDataHandler is None:
            return
        self.parser.CharacterDataHandler = None
        text = "".join(self.text)
        self.text = []
        if name == "Name":
            self.name = text.strip()
        elif name == "Value":
            target = self.arrays[-1].meta if "DataArray" in self.open else self.meta
            target[self.name] = text.strip()
        else:
            self.ready.append((self.arrays[-1], text))


def _array(path: str, number: int, attributes: dict[str, str]) -> Array:
    where = f"{path}: array {number}"
    if attributes.get("ExternalFileName"):
        raise FormatError(
            f"{where} is in another file ({attributes['ExternalFileName']}); expected the data in this one"
        )
    kind, encoding = attributes.get("DataType", ""), attributes.get("Encoding", "")
    if kind not in TYPES or encoding not in ENCODINGS:
        raise FormatError(f"{where} has type {kind!r}, encoding {encoding!r}; expected one of {', '.join(ENCODINGS)}")
    try:
        n = int(attributes.get("Dimensionality", "1"))
        shape = tuple(int(attributes[f"Dim{i}"]) for i in range(n))
    except (KeyError, ValueError):
        raise FormatError(f"{where} has no complete shape; expected Dim0, Dim1 ...; the file is damaged") from None
    if not 1 <= n <= 6 or min(shape) < 0 or math.prod(shape) > 2**40:
        raise FormatError(f"{where} has shape {shape}; expected up to 6 axes of real lengths; the file is damaged")
    order = ">" if attributes.get("Endian") == "BigEndian" else "<"
    turned = "F" if attributes.get("ArrayIndexingOrder") == "ColumnMajorOrder" else "C"
    return Array(number, attributes.get("Intent", ""), shape, np.dtype(order + TYPES[kind]), turned, encoding)


def scan(path: str) -> Gifti:
    """Read everything but the numbers.

    Raises
    ------
    FormatError
        When it is not GIFTI, is truncated, or leads out of itself.
    """
    parser = _Parser(path, ())
    for _ in _follow(path, parser):
        pass
    declared, size = sum(a.nbytes for a in parser.arrays), os.path.getsize(path)
    if declared > max(SMALL, MOST_RATIO * size):
        raise FormatError(
            f"{path}: declares {declared} bytes in {len(parser.arrays)} arrays; the file has {size}, "
            "which cannot hold them; it is damaged"
        )
    return Gifti(parser.arrays, parser.meta)


def arrays(path: str, wanted: Collection[int]) -> Iterator[np.ndarray]:
    """Yield some arrays, in the order of the file, in one pass.

    Raises
    ------
    FormatError
        When an array is damaged.
    """
    for array, text in _follow(path, _Parser(path, wanted)):
        yield _decoded(path, array, text)


def _follow(path: str, parser: _Parser) -> Iterator[tuple[Array, str]]:
    try:
        with open_data(path) as stream:
            while chunk := stream.read(CHUNK):
                parser.parser.Parse(chunk, False)
                yield from parser.ready
                parser.ready = []
            parser.parser.Parse(b"", True)
    except expat.ExpatError as error:
        raise FormatError(f"{path}: is no complete XML ({error}); expected GIFTI; copy or write it again") from None
    except (OSError, EOFError, zlib.error) as error:
        raise FormatError(f"{path}: cannot be read ({error}); expected GIFTI; copy or write it again") from None


def _decoded(path: str, array: Array, text: str) -> np.ndarray:
    where = f"{path}: array {array.number} {array.shape} {array.dtype}"
    try:
        if array.encoding == "ASCII":
            values = np.array(text.split(), dtype=array.dtype)
        else:
            data = base64.b64decode(text)
            if array.encoding == "GZipBase64Binary":
                if array.nbytes > MOST_RATIO * len(data) + CHUNK:
                    raise FormatError(f"{where}: {len(data)} packed bytes cannot hold it; the file is damaged")
                data = zlib.decompressobj(47).decompress(data, array.nbytes + 1)
            values = np.frombuffer(data, array.dtype)
    except (ValueError, binascii.Error, zlib.error) as error:
        raise FormatError(f"{where}: cannot be decoded ({error}); the file is damaged; write it again") from None
    if values.size != math.prod(array.shape):
        raise FormatError(
            f"{where}: found {values.size} numbers; expected {math.prod(array.shape)}; the file is damaged"
        )
    return values.reshape(array.shape, order="F" if array.order == "F" else "C")
