"""Read any file, and the table of formats that can be read."""

from __future__ import annotations

import os
from typing import Any

__all__ = ["formats", "read"]


def read(path: str | os.PathLike[str], *, format: str | None = None, **options: Any) -> Any:
    """Read a file, whatever its format, as labelled responses: ``repcompare.read`` by another door.

    Parameters
    ----------
    path : str or path-like
        A file, or ``demo:worm``; ``file::part`` opens one part.
    format : str, optional
        Name of the format; found from content and suffix when not given.
    **options
        Options of the format's reader.

    Returns
    -------
    xarray.Dataset or xarray.DataTree
        A representation, or a tree of parts.

    Raises
    ------
    FormatError
        When the file is missing, damaged, or holds no responses.
    OptionError
        When ``format`` or an option is unknown.
    """
    from repcompare.labels.formats import read as read_any

    return read_any(path, format=format, **options)


class Table(list[dict[str, Any]]):
    """Rows of a table, one dictionary per format; shown as text in columns."""

    def __repr__(self) -> str:
        """Return the table as text."""
        if not self:
            return "(no formats)"
        columns = list(self[0])
        cells = [
            columns,
            *([" ".join(v) if isinstance(v, tuple) else v for v in row.values()] for row in self),
        ]
        widths = [max(len(row[i]) for row in cells) for i in range(len(columns))]
        return "\n".join("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in cells)


def formats() -> Table:
    """Return the table of formats: name, suffixes, extra, and what each reads.

    Returns
    -------
    list of dict
        One row per registered format, the most specific first; ``pandas.DataFrame(formats())`` makes a frame
        of it.

    Examples
    --------
    >>> [row["extra"] for row in formats() if row["name"] == "worm"]
    ['demo']
    """
    from repcompare.labels.formats import registered

    rows = registered().values()
    return Table({"name": f.name, "suffixes": f.suffixes, "extra": f.extra, "reads": f.reads} for f in rows)
