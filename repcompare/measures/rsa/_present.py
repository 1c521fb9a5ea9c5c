"""Comparison on the pairs of stimuli that two RDMs both have, and Kendall's tau with controls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from repcompare.kernels.ranks import fill_midranks
from repcompare.measures.rsa._condensed import Vector, count_stimuli
from repcompare.measures.rsa._control import Products, partial_scores, residuals
from repcompare.measures.rsa._methods import Comparator, require_pairs, require_variation
from repcompare.measures.rsa._ranked import Positions, Present, Sorted, order_of, orders_present, signs_many, sort
from repcompare.measures.rsa._whitened import Matrix, products_present

SHARED = "an RDM, on the pairs that both have,"
WORTHWHILE = 4  # entries of a table from which masked products beat single pairs
SAFE = (1e-250, 1e250)  # squared lengths that neither vanish nor overflow
STEADY = 1e-3  # share of the squared length that must vary for the masked products to keep 13 digits


@dataclass(frozen=True)
class Embedded:
    """An RDM, ready to be compared.

    Attributes
    ----------
    rdm : ndarray, shape (n_pairs,)
        NaN where missing.
    how : Comparator
        With what.
    left, right : optional
        What it is as the first and as the second side: vectors whose dot product is the score, an order, or a second
        moment.  None where pairs are missing.
    sizes : ndarray, shape (K,), optional
        Norms of the patterns that the distances were divided by.
    """

    rdm: Vector
    how: Comparator
    left: Any
    right: Any
    sizes: Vector | None = None

    @cached_property
    def order(self) -> Positions:
        """The finite pairs by ascending distance."""
        return order_of(self.rdm)


def score_present(a: Embedded, b: Embedded) -> tuple[float, int]:
    """Return the score on the pairs that both sides and the controls have, and their number.

    Raises
    ------
    MeasureError
        When they are fewer than 3, or a side is constant on them.
    """
    present = np.isfinite(a.rdm) & np.isfinite(b.rdm)
    controls = [side.how.control_of(side.rdm.size) for side in (a, b)]
    for control in controls:
        if control is not None:
            present &= np.isfinite(control).all(axis=0)
    used = int(np.count_nonzero(present))
    require_pairs(used, SHARED)
    if a.how.kind.family == "tau":
        return _tau_present(a, b, present), used
    if a.how.kind.whitened:
        return _whitened_present(a, b, present), used
    return _dot_present(a, b, present), used


def _rows(rdms: Matrix, how: Comparator, present: Present, known: list[Positions] | None = None) -> Matrix:
    """Return RDMs on the present pairs, ranked and centred among these; ``known`` are their orders."""
    inside = rdms[:, present]
    peak = require_variation(inside, how, [SHARED] * len(inside))
    if how.kind.ranked:
        rows = np.empty_like(inside)
        orders = orders_present(known or [order_of(row) for row in rdms], present)
        for row, values, order in zip(rows, inside, orders, strict=True):
            fill_midranks(values, order, row)
    else:
        rows = inside / peak[:, None]
    if how.kind.centred and how.centring == "arithmetic":
        rows -= rows.mean(axis=1, keepdims=True)
    return rows


def _dot_present(a: Embedded, b: Embedded, present: Present) -> float:
    n = int(np.count_nonzero(present))
    sides = []
    for side, free in ((a, a.how.semipartial), (b, False)):
        row = _rows(side.rdm[None], side.how, present, [side.order] if side.how.kind.ranked else None)
        more = (float(n) ** 3 - n) / 12 - float(row[0] @ row[0]) if side.how.kind.tie_free_norm else 0.0
        if side.how.control is not None and not free:
            row = residuals(row, _rows(side.how.control, side.how, present), [SHARED])
        sides.append(row[0] / np.sqrt(float(row[0] @ row[0]) + more))
    return min(1.0, max(-1.0, float(sides[0] @ sides[1])))


def _whitened_present(a: Embedded, b: Embedded, present: Present) -> float:
    """All inner products over the present pairs, then the part of the mean and of the controls is taken out."""
    how, k = b.how, count_stimuli(b.rdm.size)
    parts = [a.rdm[None], b.rdm[None]]
    if how.control is not None:
        parts.append(how.control)
    vectors = np.zeros((sum(map(len, parts)) + 1, present.size))
    vectors[:-1, present] = np.vstack([_rows(part, how, present) for part in parts])
    vectors[-1, present] = 1.0
    m = products_present(vectors, present, how.noise_of(k))
    if how.centring == "whitened":
        m = m - np.outer(m[:, -1], m[-1]) / m[-1, -1]
    m = m[:-1, :-1]
    return float(_partial(m, np.zeros(len(m)), how)[0, 0])


def _partial(m: Matrix, more: Vector, how: Comparator) -> Matrix:
    """Return the score (1, 1) of the first two of some vectors from their products, the others being controls."""
    if how.control is None:
        plain: Matrix = np.clip(m[:1, 1:2] / np.sqrt((m[0, 0] + more[0]) * (m[1, 1] + more[1])), -1.0, 1.0)
        return plain
    parts = Products(m[:1, 1:2], m[:1, 2:], m[1:2, 2:], m[2:, 2:], m[:1, 0], m[1:2, 1], more[:1], more[1:2])
    return partial_scores(parts, how.semipartial)


def _tau_present(a: Embedded, b: Embedded, present: Present) -> float:
    control = [] if b.how.control is None else list(b.how.control)
    rdms = [a.rdm, b.rdm, *control]
    require_variation(np.stack([x[present] for x in rdms[:2]]), a.how, [SHARED] * 2)
    orders = orders_present([a.order, b.order, *(order_of(x) for x in control)], present)
    found = [sort(x[present], order) for x, order in zip(rdms, orders, strict=True)]
    return float(_tau(found[:1], found[1:2], found[2:], b.how)[0, 0])


def tau_table(first: Sequence[Sorted], second: Sequence[Sorted], how: Comparator) -> Matrix:
    """Return Kendall's tau of all combinations of complete RDMs (n_first, n_second), each sorted once."""
    control = [] if how.control is None else [sort(row) for row in how.control]
    return _tau(first, second, control, how)


def _tau(first: Sequence[Sorted], second: Sequence[Sorted], control: Sequence[Sorted], how: Comparator) -> Matrix:
    """Tau is the cosine of the signs of all differences; controls are taken out of these."""
    own = [np.array([x.untied for x in side], dtype=np.float64) for side in (first, second)]
    loose = how.kind.tie_free_norm
    more = [np.array([x.tied if loose else 0.0 for x in side], dtype=np.float64) for side in (first, second)]
    ab = signs_many(first, second)
    if not control:
        return np.clip(ab / np.sqrt(np.outer(own[0] + more[0], own[1] + more[1])), -1.0, 1.0)
    az, bz, zz = (signs_many(side, control) for side in (first, second, control))
    return partial_scores(Products(ab, az, bz, zz, own[0], own[1], more[0], more[1]), how.semipartial)


def cosine_table(a: Matrix, b: Matrix, centred: bool) -> Matrix | None:
    """Return the cosine or correlation of all combinations of RDMs, in as few passes over them as there can be.

    None where pairs are missing, sizes are extreme, or an RDM hardly varies: left to the careful way.
    """
    sides, lengths = [], []
    for side in (a, b):
        with np.errstate(over="ignore"):  # refused in the next line
            own = np.vecdot(side, side)
        if not (own.min() > SAFE[0] and own.max() < SAFE[1]):  # nor NaN
            return None
        if centred:
            side = side - side.mean(axis=1, keepdims=True)
            left = np.vecdot(side, side)
            if not (left > STEADY**2 * own).all():
                return None
            own = left
        sides.append(side)
        lengths.append(np.sqrt(own))
    found: Matrix = sides[0] @ sides[1].T
    found /= lengths[0][:, None]
    found /= lengths[1]
    return np.clip(found, -1.0, 1.0, out=found)


def score_table(a: Matrix, b: Matrix, centred: bool) -> Matrix:
    """Return the cosine or correlation of all combinations of RDMs with missing pairs, by masked products.

    Parameters
    ----------
    a, b : ndarray, shape (n_rdms, n_pairs)
        NaN where missing.
    centred : bool
        Subtract the mean over the shared pairs.

    Returns
    -------
    ndarray, shape (n_rdms_a, n_rdms_b)
        NaN where a pair of RDMs shares fewer than 3 pairs or hardly varies on them: left to :func:`score_present`.
    """
    (x, has_x), (y, has_y) = (_filled(side, centred) for side in (a, b))
    n = has_x @ has_y.T
    product, own_x, own_y = x @ y.T, np.square(x) @ has_y.T, has_x @ np.square(y).T
    steady = n > 2.5
    if centred:
        n = np.maximum(n, 1.0)
        sum_x, sum_y = x @ has_y.T, has_x @ y.T
        product = product - sum_x * sum_y / n
        left_x, left_y = own_x - sum_x**2 / n, own_y - sum_y**2 / n
        steady &= (left_x > STEADY * own_x) & (left_y > STEADY * own_y)
        own_x, own_y = left_x, left_y
    steady &= (own_x > 0) & (own_y > 0)
    scale = np.sqrt(np.where(steady, own_x * own_y, 1.0))
    return np.where(steady, np.clip(product / scale, -1.0, 1.0), np.nan)


def _filled(rdms: Matrix, centred: bool) -> tuple[Matrix, Matrix]:
    """Return RDMs scaled, centred over what they have and zero elsewhere, and 1.0 where they have a value."""
    present = np.isfinite(rdms)
    filled = np.where(present, rdms, 0.0)
    filled /= np.abs(filled).max(axis=1, keepdims=True)
    if centred:
        filled -= np.where(present, filled.sum(axis=1, keepdims=True) / present.sum(axis=1, keepdims=True), 0.0)
    return filled, present.astype(np.float64)
