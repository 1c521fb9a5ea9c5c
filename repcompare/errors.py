"""Every error that repcompare raises on purpose.

A message says three things: what was found (file, field, value, stimulus), what was expected, and what to do next.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from contextlib import suppress
from numbers import Real


class RepcompareError(Exception):
    """Base of all errors raised on purpose; ``exit_code`` is what the command line ends with."""

    exit_code = 1


class SchemaError(RepcompareError):
    """A dataset breaks the schema of representations or scores."""

    exit_code = 3


class AlignmentError(RepcompareError):
    """Two sources cannot be matched by their stimulus labels, or folds would leak a stimulus."""

    exit_code = 4


class MeasureError(RepcompareError):
    """A measure is not defined on these numbers; ``rows`` are the stimuli at fault, where it is about stimuli."""

    exit_code = 3

    def __init__(self, message: str = "", rows: Sequence[int] | None = None) -> None:
        super().__init__(message)
        self.rows = rows


class FormatError(RepcompareError):
    """A file is not what it should be: unreadable, truncated, or of another format."""

    exit_code = 3


class MissingExtraError(FormatError):
    """An optional library that this needs is not installed; the message names the extra."""

    exit_code = 2


class OptionError(RepcompareError, ValueError):
    """An option, name or combination of options that is not on the menu."""

    exit_code = 2


class UnknownMeasureError(OptionError, MeasureError):
    """No measure has this name."""

    exit_code = 2


def suggest(name: object, known: Iterable[object]) -> str:
    """Return ``"; did you mean 'x'?"`` for the nearest known name, or a list of the known names.

    Examples
    --------
    >>> suggest("ckaa", ["cka", "rsa"])
    "; did you mean 'cka'?"
    >>> suggest("zzz", ["cka", "rsa"])
    '; known: cka, rsa'
    """
    import difflib  # here, because every import of the package comes by

    names = [str(k) for k in known]
    near = difflib.get_close_matches(str(name), names, n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(names)}"


def some(names: Iterable[object], limit: int = 5) -> str:
    """Return the first few names, quoted, and how many more there are.

    Examples
    --------
    >>> some(["a", "b", "c"], limit=2)
    "'a', 'b' and 1 more"
    """
    items = [str(n) for n in names]
    text = ", ".join(repr(i) for i in items[:limit])
    return text if len(items) <= limit else f"{text} and {len(items) - limit} more"


def choose(value: object, allowed: Iterable[object], option: str) -> None:
    """Raise ``OptionError`` unless ``value`` is one of ``allowed``.

    Examples
    --------
    >>> choose("exactly", ("exact", "intersection"), "stimuli")
    Traceback (most recent call last):
    repcompare.errors.OptionError: stimuli='exactly' is not an option; did you mean 'exact'?
    """
    allowed = list(allowed)
    if not any(value is a or value == a for a in allowed):
        raise OptionError(f"{option}={value!r} is not an option{suggest(value, allowed)}")


BYTES = {"KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12, "B": 1.0}


def n_bytes(size: object) -> int:
    """Return the number of bytes that an option ``memory=`` gives.

    Raises
    ------
    OptionError
        For anything but a number > 0, or text such as "4GB".

    Examples
    --------
    >>> n_bytes("1.5 GB"), n_bytes(10**9)
    (1500000000, 1000000000)
    """
    found = math.nan
    if isinstance(size, str):
        for unit, factor in BYTES.items():
            number = size.strip().upper().removesuffix(unit)
            if number != size.strip().upper():
                with suppress(ValueError):
                    found = float(number) * factor
                break
    elif not isinstance(size, bool) and isinstance(size, Real):
        found = float(size)
    if not (math.isfinite(found) and found >= 1):
        raise OptionError(f"memory={size!r}; expected a number of bytes, or text such as '500MB' or '4GB'")
    return int(found)
