"""The one place where errors of file libraries become FormatError with the file's name."""

from __future__ import annotations

import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from repcompare.errors import FormatError, RepcompareError, SchemaError

DAMAGE = (
    OSError,
    EOFError,
    LookupError,
    ValueError,
    RuntimeError,
    TypeError,
    ArithmeticError,
    MemoryError,
    AttributeError,
    AssertionError,
    SyntaxError,
    SystemError,
    struct.error,
    zlib.error,
    zipfile.BadZipFile,
    tokenize.TokenError,
)


@contextmanager
def guard(where: str, expected: str = "a complete, undamaged file") -> Iterator[None]:
    """Turn what file libraries raise on damaged files into ``FormatError``; our own errors pass.

    Parameters
    ----------
    where : str
        File and field, the beginning of the message.
    expected : str
        What the file should have been.

    Examples
    --------
    >>> with guard("rat.h5: units"):
    ...     raise KeyError("spike_times")
    Traceback (most recent call last):
    repcompare.errors.FormatError: rat.h5: units: cannot be read (KeyError: 'spike_times'); expected ...
    """
    try:
        yield
    except SchemaError as error:
        text = str(error)
        raise (error if text.startswith(where) else SchemaError(f"{where}: {text}")) from None
    except RepcompareError:
        raise
    except DAMAGE as error:
        text = " ".join(str(error).split())
        if len(text) > 300:
            text = text[:300] + "..."
        raise FormatError(
            f"{where}: cannot be read ({type(error).__name__}: {text}); expected {expected}; "
            "copy or write the file again"
        ) from error
