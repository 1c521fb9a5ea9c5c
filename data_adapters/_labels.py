"""Labels of stimuli: from a list, from the file itself, from a file beside it, or counted."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from data_adapters._options import name_of
from repcompare.errors import FormatError, OptionError, suggest
from repcompare.labels.schema import text

POSITIONAL = "positional"
SIBLINGS = ("stimulus_id.npy", "stimulus_id.txt", "stimulus_id.csv", "file_names.txt")
LARGEST_LABEL = 10**6  # characters
NEXT = (
    "give stimuli= a list of names, a text, CSV, npy or npz file that holds them, "
    "or 'positional' to name rows by number"
)


def as_text(values: Any, where: str) -> np.ndarray:
    """Return labels as text of shape (n,); whole numbers become their digits.

    Raises
    ------
    FormatError
        When they are not a list of names, or one is missing.

    Examples
    --------
    >>> as_text([45.0, 90.0], "trials").tolist()
    ['45', '90']
    """
    array = text(values)
    if array.ndim != 1 or array.dtype.kind not in "UifubO":
        raise FormatError(f"{where}: labels have shape {array.shape}, dtype {array.dtype}; expected one name per row")
    if array.dtype.kind == "U":
        return array
    names = [_name(v, where, i) for i, v in enumerate(array.tolist())]
    return np.array(names, dtype=np.str_)


def _name(value: Any, where: str, row: int) -> str:
    if isinstance(value, bytes):
        value = value.decode("utf-8")
    if value is None or value != value:
        raise FormatError(
            f"{where}: the label of row {row} is missing; expected a name for each row; fill it or drop it"
        )
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value)


def numbered(n: int) -> np.ndarray:
    """Return ``#0000`` ... for n rows.

    Examples
    --------
    >>> numbered(2).tolist()
    ['#0000', '#0001']
    """
    width = max(4, len(str(n - 1)))
    return np.array([f"#{i:0{width}d}" for i in range(n)], dtype=np.str_)


def running_count(labels: np.ndarray) -> np.ndarray:
    """Return for each row how often its label came before, int64 of shape (n,).

    Examples
    --------
    >>> running_count(np.array(["a", "b", "a"])).tolist()
    [0, 0, 1]
    """
    seen: dict[str, int] = {}
    count = np.empty(len(labels), np.int64)
    for i, label in enumerate(labels.tolist()):
        count[i] = seen.get(label, 0)
        seen[label] = count[i] + 1
    return count


def stimulus_names(
    stimuli: Any, path: str, inside: Mapping[str, Callable[[], Any]], *, beside: bool = False
) -> tuple[np.ndarray | None, str, str]:
    """Find the names of the stimuli.

    Parameters
    ----------
    stimuli : list, str or None
        The option of this name.
    path : str
        The data file.
    inside : mapping of str to callable
        Arrays of labels in the data file itself, read when called.
    beside : bool
        Look for label files in the folder of the data file.

    Returns
    -------
    names : ndarray of str or None
        None for positional labels, whose number only the array knows.
    origin : str
        Where they come from, for messages.
    note : str
        A line for the history; may be empty.

    Raises
    ------
    FormatError, OptionError
        When there are none, or the file that holds them cannot be read.
    """
    if isinstance(stimuli, str | os.PathLike):
        return _named(os.fspath(stimuli), path, inside)
    if stimuli is not None:
        return as_text(stimuli, "stimuli="), "stimuli=", "stimulus names given by the caller"
    if "stimulus_id" in inside:
        origin = f"{name_of(path)}: stimulus_id"
        return as_text(inside["stimulus_id"](), origin), origin, ""
    folder = os.path.dirname(path)
    for sibling in SIBLINGS if beside else ():
        file = os.path.join(folder, sibling)
        if os.path.isfile(file):
            return (
                as_text(label_file(file), sibling),
                sibling,
                f"stimulus names from {sibling} beside the file",
            )
    raise FormatError(f"{path}: no stimulus labels in the file or beside it; {NEXT}")


def _named(stimuli: str, path: str, inside: Mapping[str, Callable[[], Any]]) -> tuple[np.ndarray | None, str, str]:
    if stimuli == POSITIONAL:
        return (
            None,
            POSITIONAL,
            "stimulus names are positions (stimuli='positional'): rows are matched by order",
        )
    if stimuli in inside:
        origin = f"{name_of(path)}: {stimuli}"
        return as_text(inside[stimuli](), origin), origin, f"stimulus names from {stimuli!r} of the file"
    file, _, key = stimuli.partition("::")
    for candidate in (file, os.path.join(os.path.dirname(path), file)):
        if os.path.isfile(candidate):
            origin = name_of(candidate)
            return as_text(label_file(candidate, key), origin), origin, f"stimulus names from {origin}"
    known = [*inside, POSITIONAL]
    raise OptionError(f"stimuli={stimuli!r}: no such file, and no array of labels in {path}{suggest(stimuli, known)}")


def label_file(file: str, key: str = "") -> Any:
    """Read labels from a text, CSV, npy or npz file.

    Parameters
    ----------
    file : str
        The file; its suffix says how it is read.
    key : str
        Column of a CSV file or key of an npz file; default ``stimulus_id``, else ``stimulus``, else the only
        one.

    Raises
    ------
    FormatError
        When it cannot be read or has no such key.
    """
    suffix = os.path.splitext(file)[1].lower()
    if suffix in (".npz", ".npy"):
        from data_adapters._npy import array_of, arrays_of

        if suffix == ".npy":
            return array_of(file)
        arrays = arrays_of(file)
        return arrays[_choose(key, list(arrays), file)]()
    try:
        with open(file, encoding="utf-8", newline="") as handle:
            if suffix in (".csv", ".tsv"):
                return _column(csv.reader(handle, delimiter="\t" if suffix == ".tsv" else ","), key, file)
            lines = [line.rstrip("\r\n") for line in handle]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise FormatError(f"{file}: cannot be read as text ({error}); expected one stimulus name per line") from None
    if any(len(line) > LARGEST_LABEL for line in lines):
        raise FormatError(f"{file}: a line is longer than {LARGEST_LABEL} characters; expected one name per line")
    while lines and not lines[-1].strip():
        lines.pop()
    return lines


def _choose(key: str, known: list[str], file: str) -> str:
    if not known:
        raise FormatError(f"{file}: holds no labels; expected an array or column 'stimulus_id'")
    candidates = [key] if key else ["stimulus_id", "stimulus", "image_id", *(known if len(known) == 1 else [])]
    for name in candidates:
        if name in known:
            return name
    wanted = key or "stimulus_id"
    raise FormatError(
        f"{file}: no {wanted!r} in it{suggest(wanted, known)}; name one as stimuli='{name_of(file)}::name'"
    )


def _column(reader: Any, key: str, file: str) -> list[str]:
    rows = [row for row in reader if row]
    if not rows:
        raise FormatError(f"{file}: the table is empty; expected a header and one row per stimulus")
    at = rows[0].index(_choose(key, rows[0], file))
    short = [i for i, row in enumerate(rows) if len(row) <= at]
    if short:
        raise FormatError(f"{file}: line {short[0] + 1} has {len(rows[short[0]])} columns; expected {len(rows[0])}")
    return [row[at] for row in rows[1:]]
