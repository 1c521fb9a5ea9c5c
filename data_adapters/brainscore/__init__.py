"""Assemblies of Brain-Score, presentation x neuroid [x time_bin], both ways: ``write(representation, path)``."""

from __future__ import annotations

from typing import Any

__all__ = ["assembly", "read_assembly", "write"]


def __getattr__(name: str) -> Any:
    if name in ("assembly", "write"):
        from data_adapters.brainscore import writer

        return getattr(writer, name)
    if name == "read_assembly":
        from data_adapters.brainscore.reader import read_assembly

        return read_assembly
    raise AttributeError(f"module 'data_adapters.brainscore' has no attribute {name!r}; known: {', '.join(__all__)}")
