"""The direct door: one measure between two representations, or between two arrays whose rows match."""

from importlib import import_module as _import_module
from typing import Any as _Any


def __getattr__(name: str) -> _Any:
    if name == "convert_alpha":
        return _import_module("repcompare.functional._convert").convert_alpha
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
