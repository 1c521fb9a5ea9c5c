"""A block of groups of units: their RDMs, by kernels where there are some, and the scores of these."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from repcompare.errors import MeasureError
from repcompare.kernels import searchlight as kernels
from repcompare.kernels.crossnobis import mean_cells
from repcompare.kernels.searchlight import AGAIN, DONE, FLAT
from repcompare.measures.rsa import _products
from repcompare.measures.rsa._condensed import Rows, Vector
from repcompare.measures.rsa._methods import FLAT as ROUNDING
from repcompare.measures.rsa._methods import Comparator
from repcompare.measures.rsa._trials import trials
from repcompare.measures.rsa._values import LARGEST, merge_rounding
from repcompare.measures.rsa.comparators import Embedded, embed_stack, score_many
from repcompare.measures.rsa.distances import Settings, compute
from repcompare.measures.rsa.noise import Noise, estimate_noise

Matrix = npt.NDArray[np.float64]
Values = npt.NDArray[np.floating[Any]]

SYRK_FROM = 2**20  # multiply-adds of one group from which its product is a call of its own
FLAT_PATTERN, FLAT_RDM, UNDEFINED = "no variance", "constant RDM", "not defined"


@dataclass(frozen=True, eq=False)
class Groups:
    """Groups of the units at hand.

    Attributes
    ----------
    starts : ndarray of int, shape (n_groups + 1,)
    members : ndarray of int32, shape (starts[-1],)
        Positions among the units at hand.
    units : ndarray of int, shape (n_at_hand,)
        Positions of these among all units.
    """

    starts: npt.NDArray[np.int64]
    members: npt.NDArray[np.int32]
    units: Rows

    def of(self, group: int) -> npt.NDArray[np.int32]:
        """Return the members of one group."""
        return self.members[self.starts[group] : self.starts[group + 1]]

    @property
    def largest(self) -> int:
        """Size of the largest group."""
        return int(np.diff(self.starts).max(initial=1))


@dataclass(frozen=True, eq=False)
class Found:
    """What a block of groups gave.

    Attributes
    ----------
    scores : ndarray, shape (n_groups, n_models)
        NaN where there is a reason.
    reasons : ndarray of str, shape (n_groups,)
        Why a group has no score; empty where it has one.
    rdms : ndarray, shape (n_groups, n_pairs)
    rows : ndarray, shape (n_groups, n_pairs), optional
        RDMs as they are multiplied with the models, of length 1; 0 where there is a reason.
    message : str
        Of the first group that could not be computed.
    """

    scores: Matrix
    reasons: npt.NDArray[np.str_]
    rdms: Matrix
    rows: Matrix | None
    message: str = ""


@dataclass(frozen=True, eq=False)
class Spheres:
    """What is computed in every group; made by :func:`repcompare.measures.rsa.searchlight.spheres`.

    Attributes
    ----------
    settings : Settings
        Of the RDMs; a noise object is that of all units.
    how : Comparator
    stimulus : ndarray of int, shape (n_rows,)
        Ascending.
    partition : ndarray, shape (n_rows,), optional
    models : list of Embedded
    weights : ndarray, shape (n_models, n_pairs), optional
        Models as vectors whose product with an RDM is the score; None for methods that have none.
    fast : bool
        The distance has a kernel.
    """

    settings: Settings
    how: Comparator
    stimulus: Rows
    partition: npt.NDArray[Any] | None
    models: list[Embedded]
    weights: Matrix | None
    fast: bool

    @property
    def k(self) -> int:
        """Number of stimuli."""
        return int(self.stimulus[-1]) + 1

    def run(self, values: Values, groups: Groups, *, rows: bool = False) -> Found:
        """Score all groups of a block.

        Parameters
        ----------
        values : ndarray, shape (n_rows, n_at_hand)
            Responses of the units at hand.
        groups : Groups
        rows : bool
            Return the RDMs as vectors too, for permutations.

        Returns
        -------
        Found

        Raises
        ------
        MeasureError
            On missing or infinite values.
        """
        _check(values)
        n = len(groups.starts) - 1
        reasons = np.full(n, "", dtype="<U14")
        status = np.zeros(n, dtype=np.int8)
        rdms = np.zeros((n, self.models[0].rdm.size))
        if not (self.fast and self._fill(values, groups, rdms, status)):
            status[:] = AGAIN
        reasons[status == FLAT] = FLAT_PATTERN
        exact = status == AGAIN
        message = ""
        for group in np.flatnonzero(exact).tolist():
            try:
                self._exact(values, groups, group, rdms[group])
                status[group] = DONE
            except MeasureError as error:  # not defined on these units; other groups are none the worse
                status[group] = FLAT
                reasons[group] = FLAT_PATTERN if error.rows is not None else UNDEFINED
                message = message or str(error)
        found = (
            self._embedded(rdms, reasons, status)
            if self.weights is None
            else self._multiplied(rdms, reasons, status, exact, rows)
        )
        rdms[(reasons == FLAT_PATTERN) | (reasons == UNDEFINED)] = np.nan
        return replace(found, message=message or found.message)

    def _exact(self, values: Values, groups: Groups, group: int, out: Vector) -> None:
        """Write the RDM of one group as :func:`repcompare.measures.rsa.rdm` gives it (squared, of ``root`` distances)."""
        members = groups.of(group)
        settings = self.settings
        if isinstance(settings.noise, Noise):
            settings = replace(settings, noise=settings.noise.restrict(groups.units[members]))
        part = np.ascontiguousarray(values[:, members])
        single = len(self.stimulus) == self.k and not settings.kind.cross_validated
        pairs = compute(part, settings, None if single else self.stimulus, self.partition).pairs
        out[:] = np.square(pairs) if settings.kind.root else pairs

    def _fill(self, values: Values, groups: Groups, rdms: Matrix, status: npt.NDArray[np.int8]) -> bool:
        """Fill RDMs (squared ones of ``root`` distances) by the kernel of the distance; return whether it could."""
        kind, k, p = self.settings.kind, self.k, groups.largest
        lists = groups.starts, groups.members
        near = _products.NEAR
        if kind.form == "crossnobis":
            try:
                columns = self._crossed(values)
            except MeasureError:  # a unit without noise: only the groups that have it are lost
                return False
            m = columns.shape[1] - 1
            room = np.empty((p * m, k)), np.empty((p, k)), np.empty((k, k)), np.empty((k, k))
            kernels.crossed_rdms(columns, lists, room, rdms)
            return True
        scratch = np.empty((p, k)), np.empty((k, k)), np.empty((2, k))
        means = self._averaged(values)
        if k * k * p >= SYRK_FROM:
            self._fill_large(means, groups, rdms, status)
        elif kind.unit_norm:
            kernels.angle_rdms(means, lists, (kind.centred, near), scratch, rdms, status)
        else:
            kernels.square_rdms(_centred(means), lists, near, scratch, rdms, status)
        return True

    def _fill_large(self, means: Values, groups: Groups, rdms: Matrix, status: npt.NDArray[np.int8]) -> None:
        """Fill RDMs of many stimuli: their products are symmetric, which BLAS makes use of and the kernel does not."""
        kind, k, p = self.settings.kind, self.k, groups.largest
        patterns, gram, stats, sums = np.empty((p, k)), np.empty((k, k)), np.empty((2, k)), np.empty(k)
        columns = means if kind.unit_norm else _centred(means)
        for group in range(len(status)):
            members = groups.of(group)
            inside = patterns[: members.size]
            if not kind.unit_norm:
                kernels.gather(columns, members, inside, sums)
            elif kernels.unit_patterns(columns, members, kind.centred, inside, stats):
                status[group] = FLAT
                continue
            np.matmul(inside.T, inside, out=gram)  # a symmetric product, without the interpreter lock
            factor = 0.5 if kind.unit_norm else 1.0 / members.size
            if kernels.pair_distances(gram, (factor, _products.NEAR), sums, rdms[group]):
                status[group] = AGAIN

    def _averaged(self, values: Values) -> Values:
        """Return responses unit by unit, repeats averaged, shape (n_at_hand, k)."""
        if len(values) == self.k:
            return np.ascontiguousarray(values.T)
        means = np.empty((self.k, values.shape[1]))
        mean_cells(values, self.stimulus, 0, values.shape[1], means)
        return np.ascontiguousarray(means.T)

    def _crossed(self, values: Values) -> Matrix:
        """Return partition means and their sum unit by unit, shape (n_at_hand, m + 1, k), in units of the noise."""
        data = trials(values, self.stimulus, self.partition)
        cells = data.means(slice(None))
        if self.settings.noise == "diag":
            noise = estimate_noise(values, "diag", stimulus=self.stimulus, partition=self.partition)
            assert noise.delta is not None
            cells /= np.sqrt(noise.delta)
        out = np.empty((values.shape[1], cells.shape[1] + 1, self.k))
        out[:, :-1] = cells.transpose(2, 1, 0)
        out[:, -1] = cells.sum(axis=1).T
        return out

    def _multiplied(
        self,
        rdms: Matrix,
        reasons: npt.NDArray[np.str_],
        status: npt.NDArray[np.int8],
        exact: npt.NDArray[np.bool_],
        keep: bool,
    ) -> Found:
        """Score by products of vectors."""
        assert self.weights is not None
        kind = self.how.kind
        if kind.ranked:
            rows, sizes = self._ranked(rdms, status, exact)
        else:
            if self.settings.kind.root:
                np.sqrt(rdms, out=rdms)
            rows, sizes = self._linear(rdms, status)
        reasons[(status != DONE) & (reasons == "")] = FLAT_RDM
        scores = np.full((len(rdms), len(self.weights)), np.nan)
        kernels.dot_rows(self.weights, rows, sizes, status, scores)
        if kind.ranked and self.settings.kind.root:
            np.sqrt(rdms, out=rdms)
        if keep:
            rows /= sizes[:, None]
            rows[status != DONE] = 0.0
        return Found(scores, reasons, rdms, rows if keep else None)

    def _ranked(
        self, rdms: Matrix, status: npt.NDArray[np.int8], exact: npt.NDArray[np.bool_]
    ) -> tuple[Matrix, Vector]:
        n = rdms.shape[1]
        rows, orders = np.zeros_like(rdms), _quick_orders(rdms)
        crossed = self.settings.kind.cross_validated
        close = 2.0**-34 * _products.NEAR, 2.0**-34
        before = status.copy()
        kernels.centred_ranks(rdms, orders, (0.0, 0.0) if crossed else close, rows, status)
        again = np.flatnonzero(status == AGAIN)
        if again.size:  # values that differ by rounding, or that were merged already
            for group in again[~exact[again]]:
                rdms[group] = merge_rounding(rdms[group])
            part, left = np.ascontiguousarray(rdms[again]), before[again]
            ranks = np.zeros_like(part)
            kernels.centred_ranks(part, np.argsort(part, axis=1), (0.0, 0.0), ranks, left)
            rows[again], status[again] = ranks, left
        if self.how.kind.tie_free_norm:
            return rows, np.full(len(rows), np.sqrt((float(n) ** 3 - n) / 12))
        sizes = np.sqrt(np.einsum("ij,ij->i", rows, rows))
        return rows, np.where(status == DONE, sizes, 1.0)

    def _linear(self, rdms: Matrix, status: npt.NDArray[np.int8]) -> tuple[Matrix, Vector]:
        kind = self.how.kind
        low, high = rdms.min(axis=1), rdms.max(axis=1)
        peak = np.maximum(-low, high)
        flat = high - low <= ROUNDING * peak if kind.centred else peak == 0
        status[(status == DONE) & flat] = FLAT
        rows = rdms - rdms.mean(axis=1, keepdims=True) if kind.centred else rdms.copy()
        if kind.whitened:
            sizes = np.empty(len(rows))
            kernels.centred_sizes(rows, self.k, np.empty(self.k), sizes)
        else:
            sizes = np.sqrt(np.einsum("ij,ij->i", rows, rows))
        return rows, np.where(status == DONE, sizes, 1.0)

    def _embedded(self, rdms: Matrix, reasons: npt.NDArray[np.str_], status: npt.NDArray[np.int8]) -> Found:
        """Score one by one, by methods that are no product of vectors."""
        scores, message = np.full((len(rdms), len(self.models)), np.nan), ""
        for group in np.flatnonzero(status == DONE).tolist():
            row = rdms[group] if self.settings.kind.cross_validated else merge_rounding(rdms[group])
            rdms[group] = row = np.sqrt(row) if self.settings.kind.root else row
            try:
                scores[group] = score_many(self.models, embed_stack(row[None], self.how, ["the RDM"]))[:, 0]
            except MeasureError as error:
                reasons[group] = FLAT_RDM if np.ptp(row) <= ROUNDING * np.abs(row).max() else UNDEFINED
                message = message or str(error)
        return Found(scores, reasons, rdms, None, message)


def _centred(means: Values) -> Matrix:
    """Return responses (n_units, k) minus their mean over stimuli."""
    return np.asarray(means - means.mean(axis=1, keepdims=True, dtype=np.float64))


def _quick_orders(rows: Matrix) -> npt.NDArray[np.int64]:
    """Return what sorts each row, up to values that agree in all but their last digits.

    Values are sorted with their positions in the last bits, three times faster than positions by their values.
    """
    n = rows.shape[1]
    mask = (1 << int(n - 1).bit_length()) - 1
    keys = (rows.view(np.int64) & ~mask) | np.arange(n)
    keys.view(np.float64).sort(axis=1)
    keys &= mask
    return keys


def _check(values: Values) -> None:
    peak = max(-float(values.min()), float(values.max()))
    if not np.isfinite(peak):
        bad = int((~np.isfinite(values).all(axis=0)).sum())
        raise MeasureError(
            f"{bad} of the {values.shape[1]} units at hand have missing or infinite values; leave such units out by mask="
        )
    if peak > LARGEST:
        raise MeasureError(f"the largest response is {peak:g}, whose square is out of range; rescale the responses")
