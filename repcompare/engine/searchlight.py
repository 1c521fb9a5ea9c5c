"""Carrying out a searchlight: centres in blocks, columns read per block, scores and permutations block by block."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from repcompare.engine.neighbourhoods import Neighbourhoods, around, from_lists, load
from repcompare.engine.progress import ticking
from repcompare.engine.rdm_stream import Write, rdm_file
from repcompare.engine.study import Options, Progress
from repcompare.engine.threads import pool
from repcompare.engine.volume import Volume, as_dataset, as_volume, model_rdms
from repcompare.errors import MeasureError, OptionError
from repcompare.measures.rsa.distances import Settings
from repcompare.measures.rsa.searchlight import PERMUTABLE, Found, Groups, Spheres, permuted, spheres
from repcompare.statistics.resampling import permutations

Matrix = npt.NDArray[np.float64]
Rows = npt.NDArray[np.intp]

BLOCK_BYTES = 2**25  # of one block, in one thread, unless memory= says less
LARGEST_BLOCK = 512  # centres
NULL_BYTES = 2**27  # of permuted models that are kept, and of their scores in one block
TIE = 1e-12  # scores of one model in orders that are the same to it differ by no more
TOO_FEW = "too few units"
REASONS = {TOO_FEW: "n_too_few_units", "no variance": "n_no_variance", "constant RDM": "n_constant_rdm",
           "not defined": "n_not_defined"}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a searchlight shall do; see :func:`repcompare.searchlight`."""

    radius: float = 3.0
    radius_units: str = "voxel"
    mask: Any = None
    neighbours: Any = None
    distance: str = "correlation"
    method: str = "rho_a"
    partition: Any = None
    noise: Any = None
    min_fraction: float = 1.0
    memory: int | None = None
    permutations: int = 0
    seed: int = 0
    n_jobs: int = 1
    keep_rdms: str | os.PathLike[str] | None = None
    progress: Progress | bool | None = None

    def __post_init__(self) -> None:
        Options(permutations=self.permutations, seed=self.seed, n_jobs=self.n_jobs)  # whole numbers, not negative
        if not 0 <= self.min_fraction <= 1:
            raise OptionError(f"min_fraction={self.min_fraction!r}; expected a share of the sphere between 0 and 1")
        if self.permutations and self.method not in PERMUTABLE:
            raise OptionError(
                f"permutations= with method={self.method!r}; expected one of {', '.join(PERMUTABLE)}, whose permuted"
                " scores are products"
            )
        if self.memory is not None and not self.memory > 0:
            raise OptionError(f"memory={self.memory!r}; expected a number of bytes")

    @property
    def threads(self) -> int:
        """Number of threads."""
        return Options(n_jobs=self.n_jobs).threads


@dataclass(frozen=True, eq=False)
class Nulls:
    """Permuted models, the same orders of the stimuli everywhere.

    Attributes
    ----------
    weights : ndarray, shape (n_models, n_pairs)
    orders : list of ndarray
        Of the stimuli.
    step : int
        Orders that are multiplied at once.
    kept : list of ndarray
        Their vectors (n_orders n_models, n_pairs), where all of them fit.
    """

    weights: Matrix
    orders: Sequence[Rows]
    step: int
    kept: Sequence[Matrix]

    def pieces(self) -> Iterator[tuple[slice, Matrix]]:
        """Yield orders and the permuted models, as rows."""
        for number, start in enumerate(range(0, len(self.orders), self.step)):
            part = slice(start, min(start + self.step, len(self.orders)))
            yield part, self.kept[number] if self.kept else self._made(part)

    def _made(self, part: slice) -> Matrix:
        return permuted(self.weights, self.orders[part]).reshape(-1, self.weights.shape[1])


@dataclass(frozen=True, eq=False)
class Block:
    """What a block of centres gave.

    Attributes
    ----------
    centres : ndarray of int, shape (n_centres,)
    found : Found
        Without its RDMs.
    above : ndarray of int, shape (n_centres, n_models)
        Permutations that score as much or more.
    best : ndarray, shape (n_permutations,)
        Largest score of each permutation in this block.
    """

    centres: Rows
    scores: Matrix
    reasons: npt.NDArray[np.str_]
    message: str
    above: npt.NDArray[np.int64]
    best: Matrix


def run_searchlight(volume: Any, models: Any, request: Request) -> xr.Dataset:
    """Carry out a searchlight; see :func:`repcompare.searchlight`."""
    settings = Settings(distance=request.distance, noise=request.noise)
    ds, labelled = as_dataset(volume)
    source = as_volume(ds, labelled, settings, (request.mask, request.partition))
    values, names = model_rdms(models, source, ds, request.distance)
    what = spheres(values, settings, request.method, source.stimulus, source.partition, source.n_units)
    lists = neighbours_of(source.units, request.neighbours, (request.radius, request.radius_units))
    centres = _eligible(lists, request.min_fraction, source)
    nulls = _nulls(what, request)
    blocks = _blocks(centres, lists, what, request, nulls)
    attrs = _attrs(request, settings, lists, source)
    single = ds["response"].dtype == np.float32
    unit_names = source.units["unit_id"].values.astype(str)
    with (
        pool(request.threads) as each,
        ticking(len(blocks), request.progress) as tick,
        rdm_file(request.keep_rdms, source.names, unit_names, single, attrs) as write,
    ):

        def work(part: Rows) -> Block:
            done = _block(part, source, lists, what, nulls, write)
            tick(f"{len(part)} centres")
            return done

        done = each(work, blocks)
    return _result(
        done, source, names, lists, attrs | {"n_units_masked_out": ds.sizes["unit"] - source.n_units}, request
    )


def neighbours_of(units: xr.Dataset, given: Any, sphere: tuple[float, str]) -> Neighbourhoods:
    """Return the neighbourhoods that were given, or spheres of a radius in some units, of labelled units."""
    if given is None:
        return around(units, *sphere)
    if isinstance(given, (str, os.PathLike)):
        given = load(given)
    elif not isinstance(given, Neighbourhoods):
        given = from_lists(given)
    lists: Neighbourhoods = given
    lists.check(units["unit_id"].values.astype(str), units.sizes["unit"])
    return lists


def _eligible(lists: Neighbourhoods, share: float, source: Volume) -> Rows:
    """Return the centres with enough units around them, along the volume."""
    enough = lists.sizes > 0
    if lists.full is not None:
        enough &= lists.sizes >= share * lists.full * (1 - 1e-12)
    centres = np.flatnonzero(enough)
    if not centres.size:
        raise MeasureError(
            f"no centre has {share:g} of the {lists.full} units of a whole sphere; the most are {lists.sizes.max()};"
            " give a smaller min_fraction= or radius="
        )
    return along(centres, source)


def along(centres: Rows, source: Volume) -> Rows:
    """Return centres in the order of the volume, so that those of a block are near one another."""
    if not all(f"unit_{axis}" in source.units for axis in "ijk"):
        return centres
    at = [source.units[f"unit_{axis}"].values[centres] for axis in "kji"]
    return centres[np.lexsort(at)]


def _nulls(what: Spheres, request: Request) -> Nulls | None:
    if not request.permutations:
        return None
    assert what.weights is not None
    orders = permutations(what.k, request.permutations, request.seed)
    n = what.weights.size * 8
    step = max(1, min(len(orders), NULL_BYTES // (8 * n)))
    nulls = Nulls(what.weights, orders, step, ())
    if n * len(orders) > NULL_BYTES:
        return nulls
    return Nulls(what.weights, orders, step, [piece for _, piece in nulls.pieces()])


def _blocks(centres: Rows, lists: Neighbourhoods, what: Spheres, request: Request, nulls: Nulls | None) -> list[Rows]:
    """Cut the centres into blocks that fit the memory: columns, RDMs and their ranks, permuted scores."""
    n_models, n_pairs = len(what.models), what.models[0].rdm.size
    largest = int(lists.sizes.max())
    each = 8 * (5 * n_pairs + 2 * n_models * (nulls.step if nulls else 1) + len(what.stimulus) * min(largest, 64))
    rest = 8 * 2 * largest * len(what.stimulus) + (NULL_BYTES // request.threads if nulls else 0)
    room = BLOCK_BYTES if request.memory is None else request.memory / request.threads - rest
    if room < each:
        raise OptionError(
            f"memory={request.memory} bytes is too little; the searchlight needs at least"
            f" {request.threads * (rest + each)} with {request.threads} threads; raise memory="
        )
    size = int(min(LARGEST_BLOCK, room // each))
    return [centres[start : start + size] for start in range(0, len(centres), size)]


def _block(
    centres: Rows, source: Volume, lists: Neighbourhoods, what: Spheres, nulls: Nulls | None, write: Write
) -> Block:
    groups = groups_of(centres, lists)
    found = what.run(source.read(groups.units), groups, rows=nulls is not None)
    write(centres, found.rdms)
    above = np.zeros(found.scores.shape, dtype=np.int64)
    best = np.zeros(0)
    if nulls is not None:
        above, best = _permuted(found, nulls)
    return Block(centres, found.scores, found.reasons, found.message, above, best)


def groups_of(centres: Rows, lists: Neighbourhoods) -> Groups:
    """Return the neighbourhoods of some centres among the units that they need."""
    first, last = lists.starts[centres], lists.starts[centres + 1]
    starts = np.concatenate([[0], np.cumsum(last - first)])
    members = lists.members[np.arange(starts[-1]) + np.repeat(first - starts[:-1], last - first)]
    needed = np.zeros(lists.n_units, dtype=bool)
    needed[members] = True
    place = np.cumsum(needed, dtype=np.int32) - 1
    return Groups(starts, place[members].astype(np.int32), np.flatnonzero(needed))


def _permuted(found: Found, nulls: Nulls) -> tuple[npt.NDArray[np.int64], Matrix]:
    """Count permutations that score as much, and find the largest score of each."""
    assert found.rows is not None
    above = np.zeros(found.scores.shape, dtype=np.int64)
    best = np.full(len(nulls.orders), -np.inf)
    ok = np.flatnonzero(found.reasons == "")
    if ok.size:
        rows, scores = found.rows[ok], found.scores[ok]
        for part, weights in nulls.pieces():
            null = (rows @ weights.T).reshape(len(ok), -1, scores.shape[1])
            above[ok] += (null >= scores[:, None] - TIE).sum(axis=1)
            best[part] = null.max(axis=(0, 2))
    return above, best


def _attrs(request: Request, settings: Settings, lists: Neighbourhoods, source: Volume) -> dict[str, Any]:
    noise = request.noise
    named = "none" if noise is None else noise if isinstance(noise, str) else getattr(noise, "label", "precision")
    partition = (
        request.partition if isinstance(request.partition, str) else "run" if request.partition is None else "given"
    )
    return {
        "distance": request.distance,
        "method": request.method,
        "squared": int(settings.kind.form in ("mahalanobis", "crossnobis") or request.distance == "squared_euclidean"),
        "normalize_units": 1,
        "noise": named,
        "partition": partition if settings.kind.cross_validated else "none",
        "neighbours": lists.record,
        "n_stimuli": len(source.names),
    }


def _result(
    blocks: Sequence[Block],
    source: Volume,
    names: Sequence[str],
    lists: Neighbourhoods,
    attrs: dict[str, Any],
    request: Request,
) -> xr.Dataset:
    """Put the blocks together as a dataset with the labels of the units."""
    n = source.n_units
    scores, reasons = np.full((len(names), n), np.nan), np.full(n, TOO_FEW, dtype="<U14")
    for block in blocks:
        scores[:, block.centres] = block.scores.T
        reasons[block.centres] = block.reasons
    if (reasons != "").all():
        first = next((block.message for block in blocks if block.message), str(blocks[0].reasons[0]))
        raise MeasureError(f"no centre could be scored; the first: {first}")
    out = source.units.assign_coords(model=list(names))
    out["score"] = ("model", "unit"), scores
    out["n_units"] = "unit", lists.sizes
    out["reason"] = "unit", reasons
    counts = {label: int((reasons == reason).sum()) for reason, label in REASONS.items()}
    out.attrs = attrs | {"min_fraction": request.min_fraction, "n_scored": int((reasons == "").sum())} | counts
    if not request.permutations:
        return out
    above = np.zeros((len(names), n))
    for block in blocks:
        above[:, block.centres] = block.above.T
    best = np.sort(np.max([block.best for block in blocks], axis=0))
    beaten = len(best) - np.searchsorted(best, scores - TIE)
    missing, total = np.isnan(scores), request.permutations + 1
    out["score_pvalue"] = ("model", "unit"), np.where(missing, np.nan, (1 + above) / total)
    out["score_pvalue_corrected"] = ("model", "unit"), np.where(missing, np.nan, (1 + beaten) / total)
    out.attrs |= {"permutations": request.permutations, "seed": request.seed, "side": "greater"}
    out.attrs["correction"] = "largest score over centres and models of each permutation of the stimuli"
    return out
