"""Foreign files become representations: numpy, HDF5, NWB, and the worm's signal flow.

``read(path, **options)`` finds the format by content and suffix; ``formats()`` lists what there is;
``bin_spikes`` makes presentation x unit x time counts of spike times; ``write_map`` writes maps of a searchlight as images;
``networks.record`` runs a live network.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from data_adapters.read import formats, read  # bound here, so that the function hides the module of its name

if TYPE_CHECKING:
    from data_adapters.fmri.maps import write_map
    from repcompare.labels.spikes import bin_spikes

__all__ = ["bin_spikes", "formats", "read", "write_map"]


def __getattr__(name: str) -> Any:
    if name == "bin_spikes":
        from repcompare.labels.spikes import bin_spikes

        return bin_spikes
    if name == "write_map":
        from data_adapters.fmri.maps import write_map

        return write_map
    if name == "networks":
        from importlib import import_module

        return import_module("data_adapters.networks")
    raise AttributeError(f"module 'data_adapters' has no attribute {name!r}; known: {', '.join(__all__)}")
