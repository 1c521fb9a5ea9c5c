"""The direct door: one measure between two representations, or between two arrays whose rows match."""

from importlib import import_module as _import_module
from typing import Any as _Any


def __getattr__(name: str) -> _Any:
    if name in ("alpha_of_fraction", "convert_alpha"):
        return getattr(_import_module("repcompare.functional._convert"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
