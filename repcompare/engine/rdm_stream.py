"""Many RDMs written to one file as they are made, none of them kept in memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt

from repcompare.labels.rdms import RDM_SCHEMA
from repcompare.labels.store import atomic

Write = Callable[[npt.NDArray[np.intp], npt.NDArray[np.float64]], None]


@contextmanager
def rdm_file(
    path: str | os.PathLike[str] | None,
    stimuli: npt.NDArray[np.str_],
    names: npt.NDArray[np.str_],
    single: bool,
    attrs: Mapping[str, Any],
) -> Iterator[Write]:
    """Give a function that writes RDMs to rows of a netCDF4 file, from any thread; nothing without a path.

    Parameters
    ----------
    path : path, optional
        The file appears when all is written.  :func:`repcompare.open` reads it as a set of RDMs.
    stimuli : ndarray of str, shape (n_stimuli,)
    names : ndarray of str, shape (n_rdms,)
        Rows that are not written stay NaN.
    single : bool
        Store float32.
    attrs : mapping
    """
    if path is None:
        yield lambda rows, rdms: None
        return
    from netCDF4 import Dataset

    i, j = np.triu_indices(len(stimuli), 1)
    lock, missing = Lock(), [len(names) * len(i)]
    with atomic(path) as part, Dataset(part, "w", format="NETCDF4") as file:
        file.createDimension("rdm", len(names))
        file.createDimension("pair", len(i))
        for name, dim, labels in (
            ("rdm", "rdm", names),
            ("stimulus_a", "pair", stimuli[i]),
            ("stimulus_b", "pair", stimuli[j]),
        ):
            file.createVariable(name, str, (dim,))[:] = labels.astype(object)
        kept = file.createVariable(
            "dissimilarity", "f4" if single else "f8", ("rdm", "pair"), fill_value=np.nan, chunksizes=(1, len(i))
        )
        kept.coordinates = "stimulus_a stimulus_b"

        def write(rows: npt.NDArray[np.intp], rdms: npt.NDArray[np.float64]) -> None:
            with lock:
                for row, values in zip(rows.tolist(), rdms, strict=True):
                    kept[row] = values
                missing[0] -= int(np.isfinite(rdms).sum())

        yield write
        file.setncatts({"schema": RDM_SCHEMA, **attrs, "n_pairs_missing": missing[0]})
