"""A format of somebody else: text files with a name and numbers per line.  All that a package of its own needs."""

from __future__ import annotations

from repcompare import representation
from repcompare.errors import FormatError, OptionError
from repcompare.labels.formats import Format


def detect(path, head):
    return head.startswith(b"#rows\n")


def read(path, **options):
    if options:
        raise OptionError(f"format rows has no option {next(iter(options))!r}")
    with open(path, encoding="utf-8") as handle:
        rows = [line.split() for line in handle.read().splitlines()[1:]]
    try:
        values = [[float(v) for v in row[1:]] for row in rows]
    except ValueError as error:
        raise FormatError(f"{path}: {error}; expected numbers after each name") from None
    return representation(values, stimulus=[row[0] for row in rows], attrs={"source": "rows"})


def write(obj, path):
    with open(path, "w", encoding="utf-8") as handle:
        handle.write("#rows\n")
        for name, row in zip(obj["stimulus"].values, obj["response"].values, strict=True):
            handle.write(f"{name} {' '.join(map(repr, row.tolist()))}\n")


class Cage:
    """An object of that package."""

    def __init__(self, rows):
        self.rows_of_cage = rows


def accepts(obj):
    return hasattr(obj, "rows_of_cage")


def read_cage(obj, **options):
    return representation(list(obj.rows_of_cage.values()), stimulus=list(obj.rows_of_cage))


ROWS = Format(
    name="rows",
    suffixes=(".rows",),
    extra="",
    reads="a name and numbers per line",
    detect=detect,
    read=read,
    write=write,
    rank=5,
)
CAGE = Format(
    name="cage",
    suffixes=(),
    extra="",
    reads="object: a Cage",
    detect=lambda path, head: False,
    read=read_cage,
    accepts=accepts,
)
