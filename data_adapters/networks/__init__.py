"""Activations of networks: readers of files and objects, and ``record`` for networks that run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from data_adapters.networks.hooks import record

__all__ = ["record"]


def __getattr__(name: str) -> Any:
    if name == "record":
        from data_adapters.networks.hooks import record

        return record
    raise AttributeError(f"module 'data_adapters.networks' has no attribute {name!r}; known: {', '.join(__all__)}")
