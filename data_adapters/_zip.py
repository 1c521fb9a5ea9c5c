"""Zip archives: members are read by name and never extracted; what they announce is checked first."""

from __future__ import annotations

import os
import re
import struct
import zipfile
from functools import lru_cache

from data_adapters._guard import guard
from repcompare.errors import FormatError

MOST_RATIO = 1000
SMALL = 16 * 2**20  # an array of zeros packs 1000 : 1; below this size no one is harmed
MAGIC = b"PK\x03\x04"
LOCAL_HEADER = 30
MOST_MEMBERS = 10**6


def check_name(path: str, member: zipfile.ZipInfo) -> None:
    """Raise when the name of a member points out of the archive, or the member is a link."""
    name = member.filename
    steps = name.replace("\\", "/").split("/")
    is_link = (member.external_attr >> 16) & 0o170000 == 0o120000
    if ".." in steps or not steps[0] or re.match(r"[A-Za-z]:", name) or is_link:
        raise FormatError(
            f"{path}: member {name!r} points out of the archive; expected plain keys; do not trust this file"
        )


def check_ratio(path: str, member: zipfile.ZipInfo) -> None:
    """Raise when a member unpacks to far more than it takes."""
    if member.file_size > SMALL and member.file_size > MOST_RATIO * max(member.compress_size, 1):
        raise FormatError(
            f"{path}: {member.filename} unpacks to {member.file_size} bytes from {member.compress_size}, more than "
            f"{MOST_RATIO} : 1; expected real data; write it without compression if it is"
        )


def members(path: str) -> dict[str, zipfile.ZipInfo]:
    """Return the members of an archive by name after checking each.

    Raises
    ------
    FormatError
        When it is no zip file, or a member is unsafe or listed twice.
    """
    with guard(path, "a zip archive"), zipfile.ZipFile(path) as archive:
        found = archive.infolist()
    known: dict[str, zipfile.ZipInfo] = {}
    for member in found:
        check_name(path, member)
        check_ratio(path, member)
        if member.filename in known:
            raise FormatError(
                f"{path}: holds {member.filename!r} more than once; expected each member once; write it again"
            )
        known[member.filename] = member
    return known


def data_offset(path: str, member: zipfile.ZipInfo) -> int | None:
    """Return where the bytes of a member begin in the file when they are stored as they are; None when compressed.

    Raises
    ------
    FormatError
        When they would lie outside the file.
    """
    if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1:
        return None
    with guard(f"{path}: {member.filename}", "a zip archive"), open(path, "rb") as handle:
        handle.seek(member.header_offset)
        head = handle.read(LOCAL_HEADER)
        if not head.startswith(MAGIC):
            raise FormatError(f"{path}: {member.filename}: is not where the archive says; it is damaged; copy it again")
        name, extra = struct.unpack_from("<HH", head, 26)
    start: int = member.header_offset + LOCAL_HEADER + name + extra
    if start + member.file_size > os.path.getsize(path):
        raise FormatError(f"{path}: {member.filename}: ends after the end of the file; it is truncated; copy it again")
    return start


@lru_cache(maxsize=16)
def _names(path: str, stamp: tuple[int, int]) -> tuple[str, ...]:
    try:
        with zipfile.ZipFile(path) as archive:
            return tuple(archive.namelist()[:MOST_MEMBERS])
    except Exception:  # a damaged file: the reader will say what is wrong with it
        return ()


def names(path: str) -> tuple[str, ...]:
    """Return the names of the members, for detection; empty when damaged."""
    stat = os.stat(path)
    return _names(path, (stat.st_mtime_ns, stat.st_size))
