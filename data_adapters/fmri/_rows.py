"""Rows of responses on disk: volumes gathered at voxels, runs one after the other, cleaned runs, averaged events.

Everything here has ``shape`` (n_rows, n_units) and reads ``block(rows, units)``; nothing is read before it is asked for.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import h5py
import numpy as np
import numpy.typing as npt
from xarray.backends import CachingFileManager

from data_adapters._guard import guard
from data_adapters._lazy import wide
from data_adapters.fmri._header import Header, open_data
from repcompare.errors import FormatError

Index = npt.NDArray[np.intp]
STEP = 64 * 2**20  # bytes that are read, or cleaned, at a time


class Rows:
    """An array (n_rows, n_units) somewhere."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    label: str

    def each(self, rows: Index, units: Index) -> Iterator[np.ndarray]:
        """Yield the rows asked for (increasing indices), each (n_units,)."""
        yield from self.block(rows, units)

    def block(self, rows: Index, units: Index) -> np.ndarray:
        """Return values (n_rows, n_units) of the rows and units asked for."""
        out = np.empty((rows.size, units.size), wide(self.dtype, self.label))
        for i, row in enumerate(self.each(rows, units)):
            out[i] = row
        return out

    def read(self, key: tuple[Any, ...]) -> np.ndarray:
        """Read what a lazy array asks for: a slice or an index array per axis."""
        rows, units = (np.arange(n)[k] for n, k in zip(self.shape, key, strict=True))
        order = np.argsort(rows, kind="stable")
        found = self.block(rows[order], units)
        return found if np.array_equal(order, np.arange(order.size)) else found[np.argsort(order)]

    def guard(self) -> AbstractContextManager[None]:
        """Turn errors of the library into FormatError."""
        return guard(self.label, "the image that its header declares")


class Volumes(Protocol):
    """A stack of volumes: stored numbers of one after the other, flat, the first axis fastest."""

    n: int
    dtype: np.dtype[Any]
    label: str
    slope: float
    inter: float

    def each(self, rows: Index) -> Iterator[np.ndarray]:
        """Yield volumes in increasing order; each is to be used before the next."""
        ...


class ImageVolumes:
    """The volumes of a NIfTI or MGH image: memory-mapped, or in one pass through a gzip file."""

    def __init__(self, header: Header) -> None:
        self.header, self.n, self.dtype = header, header.n_volumes, header.dtype
        self.label, self.slope, self.inter = header.path, header.slope, header.inter
        self.size = math.prod(header.grid)

    def each(self, rows: Index) -> Iterator[np.ndarray]:
        """Yield volumes, flat."""
        return self._unpacked(rows) if self.header.packed else self._mapped(rows)

    def _mapped(self, rows: Index) -> Iterator[np.ndarray]:
        whole = np.memmap(self.header.path, self.dtype, "r", self.header.offset, (self.n, self.size))
        mapped = np.asarray(whole)  # indexing a memmap object costs more
        for row in rows.tolist():
            yield mapped[row]

    def _unpacked(self, rows: Index) -> Iterator[np.ndarray]:
        volume = np.empty(self.size, self.dtype)
        with open_data(self.header.path) as stream:
            self._fill(stream, np.empty(self.header.offset, np.uint8), "the header")
            wanted = set(rows.tolist())
            for row in range(int(rows[-1]) + 1 if rows.size else 0):
                self._fill(stream, volume, f"volume {row} of {self.n}")
                if row in wanted:
                    yield volume

    def _fill(self, stream: Any, target: np.ndarray, what: str) -> None:
        view = target.data.cast("B") if target.size else memoryview(b"")
        at = 0
        while at < len(view):
            got = stream.readinto(view[at:])
            if not got:
                raise FormatError(
                    f"{self.label}: the file ends within {what}: {at} of {len(view)} bytes; it is truncated; "
                    "copy or write it again"
                )
            at += got


class DatasetVolumes:
    """The volumes of an HDF5 dataset whose first axis is the trial."""

    def __init__(self, files: CachingFileManager[h5py.File], dataset: h5py.Dataset, label: str) -> None:
        self.files, self.name, self.label = files, str(dataset.name), label
        self.n, self.size = int(dataset.shape[0]), math.prod(dataset.shape[1:])
        self.dtype: np.dtype[Any] = dataset.dtype
        self.slope, self.inter = 1.0, 0.0

    def each(self, rows: Index) -> Iterator[np.ndarray]:
        """Yield volumes, flat; neighbouring ones are read together."""
        most = max(1, STEP // max(1, self.size * self.dtype.itemsize))
        breaks = np.flatnonzero(np.diff(rows) != 1) + 1
        with self.files.acquire_context() as file:
            dataset = file[self.name]
            for group in np.split(rows, breaks):
                for at in range(0, group.size, most):
                    first, last = int(group[at]), int(group[min(at + most, group.size) - 1])
                    yield from dataset[first : last + 1].reshape(last + 1 - first, -1)


class Gathered(Rows):
    """Volumes seen at some voxels.

    Parameters
    ----------
    volumes : Volumes
        The stack.
    flat : ndarray of int, shape (n_units,)
        Places in a flat volume.
    divide : float
        Divisor of all values.
    """

    def __init__(self, volumes: Volumes, flat: Index, divide: float = 1.0) -> None:
        self.volumes, self.flat = volumes, flat
        self.shape = (volumes.n, flat.size)
        self.dtype, self.label = volumes.dtype, volumes.label
        self.slope, self.inter = volumes.slope / divide, volumes.inter / divide

    def each(self, rows: Index, units: Index) -> Iterator[np.ndarray]:
        """Yield rows."""
        flat = self.flat[units]
        plain = self.slope == 1.0 and self.inter == 0.0
        for volume in self.volumes.each(rows):
            values = volume[flat]
            yield values if plain else values * self.slope + self.inter


class Table(Rows):
    """Another source of an array with two axes (npy, HDF5, a mapped matrix); ``turned`` when units come first."""

    def __init__(self, source: Any, *, turned: bool = False) -> None:
        self.source, self.turned = source, turned
        self.shape = tuple(source.shape[::-1] if turned else source.shape)
        self.dtype, self.label = source.dtype, source.label

    def block(self, rows: Index, units: Index) -> np.ndarray:
        """Return a block: rows are picked by the source, units after it."""
        some = _span(units)
        key = (_span(rows, loose=False), some)
        found = self.source.read(key[::-1] if self.turned else key)
        found = found.T if self.turned else found
        return np.asarray(found[:, units - some.start])


def _span(index: Index, *, loose: bool = True) -> Any:
    """Return indices as a slice: the range that holds them (loose), or only when they are a range."""
    if index.size == 0:
        return slice(0, 0)
    whole = slice(int(index.min()), int(index.max()) + 1)
    return whole if loose or (index.size == whole.stop - whole.start and (np.diff(index) == 1).all()) else index


class Joined(Rows):
    """Several arrays with the same units, one below the other."""

    def __init__(self, parts: Sequence[Rows]) -> None:
        self.parts = list(parts)
        self.ends = np.cumsum([p.shape[0] for p in parts])
        self.shape = (int(self.ends[-1]), parts[0].shape[1])
        self.dtype = np.result_type(*(wide(p.dtype, p.label) for p in parts))
        self.label = parts[0].label

    def each(self, rows: Index, units: Index) -> Iterator[np.ndarray]:
        """Yield rows of one array after the other."""
        which = np.searchsorted(self.ends, rows, side="right")
        for number in np.unique(which).tolist():
            part = self.parts[number]
            start = int(self.ends[number]) - part.shape[0]
            with part.guard():
                yield from part.each(rows[which == number] - start, units)


class Beside(Rows):
    """Several arrays with the same rows, side by side: hemispheres."""

    def __init__(self, parts: Sequence[Rows]) -> None:
        self.parts = list(parts)
        self.ends = np.cumsum([p.shape[1] for p in parts])
        self.shape = (parts[0].shape[0], int(self.ends[-1]))
        self.dtype = np.result_type(*(wide(p.dtype, p.label) for p in parts))
        self.label = parts[0].label

    def block(self, rows: Index, units: Index) -> np.ndarray:
        """Return a block."""
        which = np.searchsorted(self.ends, units, side="right")
        out = np.empty((rows.size, units.size), self.dtype)
        for number in np.unique(which).tolist():
            part, mine = self.parts[number], which == number
            start = int(self.ends[number]) - part.shape[1]
            with part.guard():
                out[:, mine] = part.block(rows, units[mine] - start)
        return out


class Chosen(Rows):
    """Some units of an array."""

    def __init__(self, inner: Rows, places: Index) -> None:
        self.inner, self.places = inner, places
        self.shape = (inner.shape[0], places.size)
        self.dtype, self.label = inner.dtype, inner.label

    def block(self, rows: Index, units: Index) -> np.ndarray:
        """Return a block."""
        return self.inner.block(rows, self.places[units])


class Cleaned(Rows):
    """Rows without what regressors explain in each run, z-scored per run if asked for.

    Parameters
    ----------
    inner : Rows
        The responses.
    runs : ndarray of int, shape (n_rows,)
        The run of each row.
    regressors : ndarray, shape (n_rows, n_regressors)
        Regressed out within each run; the mean of the run stays, unless it is z-scored.
    zscore : bool
        Mean 0 and standard deviation 1 (divisor n) within each run.
    """

    def __init__(self, inner: Rows, runs: np.ndarray, regressors: np.ndarray, zscore: bool) -> None:
        self.inner, self.runs, self.regressors, self.zscore = inner, runs, regressors, zscore
        self.shape, self.dtype, self.label = inner.shape, inner.dtype, inner.label

    def block(self, rows: Index, units: Index) -> np.ndarray:
        """Return a block: whole runs of these units are read and cleaned."""
        wanted = np.isin(self.runs, self.runs[rows])
        whole = np.flatnonzero(wanted)
        values = self.inner.block(whole, units)
        step = max(1, STEP // (8 * max(1, whole.size)))
        for run in np.unique(self.runs[whole]).tolist():
            mine = self.runs[whole] == run
            basis = _basis(self.regressors[whole[mine]])
            for at in range(0, units.size, step):
                values[mine, at : at + step] = self._clean(values[mine, at : at + step], basis)
        return np.asarray(values[np.searchsorted(whole, rows)])

    def _clean(self, values: np.ndarray, basis: np.ndarray) -> np.ndarray:
        values = values.astype(np.float64)
        mean = values.mean(0)
        values -= mean
        values -= basis @ (basis.T @ values)
        if not self.zscore:
            return np.asarray(values + mean)
        spread = np.sqrt(np.mean(values**2, axis=0))
        flat = spread <= 1e-6 * np.abs(mean)  # what rounding leaves of a constant voxel
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(np.where(flat, np.nan, values / spread))


def _basis(regressors: np.ndarray) -> np.ndarray:
    """Return an orthonormal basis of the centred regressors."""
    centred = regressors - regressors.mean(0)
    spread = np.sqrt(np.mean(centred**2, axis=0))
    kept = centred[:, spread > 0] / spread[spread > 0]
    left, values, _ = np.linalg.svd(kept, full_matrices=False)
    return np.asarray(left[:, values > 1e-10 * (values[:1] if values.size else 1)])


class Averaged(Rows):
    """Means of ranges of rows: one row per event; an empty range gives NaN."""

    def __init__(self, inner: Rows, starts: Index, stops: Index) -> None:
        self.inner, self.starts, self.stops = inner, starts, stops
        self.shape, self.label = (starts.size, inner.shape[1]), inner.label
        self.dtype = wide(inner.dtype, inner.label)

    def block(self, rows: Index, units: Index) -> np.ndarray:
        """Return the means of some events, in one pass over their volumes."""
        starts, stops = self.starts[rows], self.stops[rows]
        needed = np.zeros(self.inner.shape[0], bool)
        for start, stop in zip(starts.tolist(), stops.tolist(), strict=True):
            needed[start:stop] = True
        volumes = np.flatnonzero(needed)
        sums = np.zeros((rows.size, units.size))
        for number, values in zip(volumes.tolist(), self.inner.each(volumes, units), strict=True):
            for event in np.flatnonzero((starts <= number) & (number < stops)).tolist():
                sums[event] += values
        length = (stops - starts).astype(np.float64)
        length[length <= 0] = np.nan
        return np.asarray((sums / length[:, None]).astype(self.dtype))
