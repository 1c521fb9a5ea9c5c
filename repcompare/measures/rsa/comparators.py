"""How alike two RDMs are.

References
----------
Schuett, Kipnis, Diedrichsen & Kriegeskorte 2023, eLife 12:e82566 (``rho_a``); Diedrichsen et al. 2021,
arXiv:2007.02789 (whitened forms); Nili et al. 2014, PLoS Computational Biology 10:e1003553 (``kendall_tau_a``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from repcompare.errors import MeasureError
from repcompare.measures.rsa import _moments
from repcompare.measures.rsa._condensed import Vector, count_stimuli, take
from repcompare.measures.rsa._control import residuals
from repcompare.measures.rsa._methods import (
    METHODS,
    Comparator,
    comparator,
    names_of,
    require_pairs,
    require_variation,
    stack,
)
from repcompare.measures.rsa._present import WORTHWHILE, Embedded, cosine_table, score_present, score_table, tau_table
from repcompare.measures.rsa._ranked import midranks, sort
from repcompare.measures.rsa._whitened import Matrix, coordinates

__all__ = [
    "METHODS",
    "Embedded",
    "compare_rdms",
    "embed",
    "embed_stack",
    "midranks",
    "score",
    "score_many",
    "shared_pairs",
]


@dataclass(frozen=True)
class Scored:
    """Score of two RDMs, the number of pairs that it is computed on, and more by name."""

    value: float
    n_pairs: int
    details: Mapping[str, float] = field(default_factory=dict)


def compare_rdms(  # noqa: PLR0913  (a public door: every option is keyword-only)
    a: npt.ArrayLike,
    b: npt.ArrayLike,
    method: str = "rho_a",
    *,
    stimulus_covariance: npt.ArrayLike | None = None,
    control: npt.ArrayLike | None = None,
    semipartial: bool = False,
    centring: str = "arithmetic",
    ridge: bool = True,
) -> float | Matrix:
    """Return the similarity of RDMs.

    Parameters
    ----------
    a, b : array_like, shape (n_pairs,) or (n_rdms, n_pairs)
        Condensed RDMs of the same stimuli in the same order, ``n_pairs = K (K - 1) / 2``.  NaN marks a
        missing pair: every pair of RDMs is compared on the pairs that both have (:func:`shared_pairs` counts
        them), ranked among these.
    method : str
        - ``"rho_a"``: ``12 sum (R_a - (n+1)/2)(R_b - (n+1)/2) / (n^3 - n)``, the mean Spearman correlation
          over random orders within ties;
        - ``"spearman"``: Pearson correlation of mid-ranks, which favours RDMs with ties;
        - ``"kendall_tau_a"``: concordant minus discordant pairs of distances over all pairs of them;
        - ``"kendall_tau_b"``: over the root of the product of the numbers of pairs that are not tied;
        - ``"pearson"``, ``"cosine"``;
        - ``"whitened_cosine"``: ``a' V^-1 b / sqrt(a' V^-1 a  b' V^-1 b)``, exact; on squared Euclidean RDMs
          with the default covariance it is linear CKA, the same number;
        - ``"whitened_pearson"``: the same after subtracting the mean of each RDM;
        - ``"bures"``: ``|K_a^(1/2) K_b^(1/2)|_* / sqrt(tr K_a tr K_b)``, ``K = -H D H / 2`` (squared distances);
        - ``"riemannian"``: minus the affine-invariant distance of the second moments, whatever their scale; a is the
          model, to which noise is added, b the data.
    stimulus_covariance : array_like, shape (K,) or (K, K), optional
        Noise variances or covariance of the stimuli, for the whitened methods and ``riemannian``; identity by
        default.
    control : array_like, shape (n_pairs,) or (n_controls, n_pairs), optional
        RDMs that are regressed out of both sides: of the ranks for rank methods, of the signs of differences for
        Kendall's, in the inner product V^-1 for whitened ones.  Not for ``bures`` and ``riemannian``.
    semipartial : bool
        Regress out of ``b`` only.
    centring : {"arithmetic", "whitened"}
        Mean that ``whitened_pearson`` subtracts: the plain one, or the one weighted by V^-1.
    ridge : bool
        ``riemannian``: add ``r`` times the covariance of the stimuli to a, with the best ``r >= 0``.

    Returns
    -------
    float or ndarray, shape (n_rdms_a, n_rdms_b)
        In [-1, 1] (``bures`` [0, 1], ``riemannian`` (-inf, 0]), higher is more similar; a float when both are
        single vectors.

    Raises
    ------
    MeasureError
        On a length that is not K (K - 1) / 2, different lengths, fewer than 3 shared pairs, infinite values,
        RDMs that are constant (or zero, for cosine methods) or explained by the controls, and second moments that are
        not positive definite.
    OptionError
        On an unknown method, or options that it does not have.

    Examples
    --------
    >>> round(compare_rdms([1, 2, 3], [1, 2, 2], "rho_a"), 12)
    0.75
    >>> compare_rdms([[1, 2, 3], [3, 2, 1]], [1, 2, 4], "spearman")
    array([[ 1.],
           [-1.]])
    """
    how = comparator(
        method,
        stimulus_covariance=stimulus_covariance,
        control=control,
        semipartial=semipartial,
        centring=centring,
        ridge=ridge,
    )
    one, two = same_pairs(a, b)
    plain = how.kind.linear and not how.kind.whitened and control is None
    table = cosine_table(one, two, how.kind.centred) if plain else None
    if table is None:
        table = score_many(*_embed_both(a, b, one, two, how))
    return float(table[0, 0]) if np.ndim(a) == np.ndim(b) == 1 else table


def same_pairs(a: npt.ArrayLike, b: npt.ArrayLike) -> tuple[Matrix, Matrix]:
    """Return two stacks of RDMs (n_rdms, n_pairs); raise ``MeasureError`` where their stimuli differ in number."""
    one, two = (stack(side, name, finite=False) for side, name in ((a, "a"), (b, "b")))  # embedding looks for inf
    if one.shape[1] != two.shape[1]:
        raise MeasureError(
            f"a has {one.shape[1]} pairs ({count_stimuli(one.shape[1])} stimuli), b has {two.shape[1]} "
            f"({count_stimuli(two.shape[1])}); expected the same stimuli in the same order"
        )
    return one, two


def _embed_both(
    a: npt.ArrayLike, b: npt.ArrayLike, one: Matrix, two: Matrix, how: Comparator
) -> tuple[list[Embedded], list[Embedded]]:
    """Return two stacks ready to be compared; pairs that all lack are left out at once where order and place allow."""
    names = names_of(a, len(one), "a"), names_of(b, len(two), "b")
    present = np.isfinite(one[0])
    by_place = how.kind.whitened or how.kind.family in ("bures", "riemannian") or how.control is not None
    if not by_place and not present.all() and all((np.isfinite(side) == present).all() for side in (one, two)):
        one, two = one[:, present], two[:, present]
    return embed_stack(one, how, names[0]), embed_stack(two, how, names[1])


def embed_both(a: npt.ArrayLike, b: npt.ArrayLike, how: Comparator) -> tuple[list[Embedded], list[Embedded]]:
    """Return two stacks of RDMs ready to be compared; see :func:`embed_stack`."""
    one, two = same_pairs(a, b)
    return embed_stack(one, how, names_of(a, len(one), "a")), embed_stack(two, how, names_of(b, len(two), "b"))


def shared_pairs(a: npt.ArrayLike, b: npt.ArrayLike) -> npt.NDArray[np.intp]:
    """Return how many pairs each RDM of ``a`` shares with each of ``b``, shape (n_rdms_a, n_rdms_b).

    Examples
    --------
    >>> shared_pairs([1.0, 2.0, np.nan], [[1.0, np.nan, 1.0], [1.0, 2.0, 3.0]])
    array([[1, 2]])
    """
    one, two = (np.isfinite(np.atleast_2d(np.asarray(x, dtype=np.float64))).astype(np.float64) for x in (a, b))
    return np.rint(one @ two.T).astype(np.intp)


def embed(rdm: Vector, how: Comparator, name: str = "the RDM", sizes: Vector | None = None) -> Embedded:
    """Return one RDM (n_pairs,) ready to be compared; see :func:`embed_stack`."""
    (found,) = embed_stack(rdm[None], how, [name])
    return found if sizes is None else Embedded(found.rdm, how, found.left, found.right, sizes)


def embed_stack(rdms: Matrix, how: Comparator, names: list[str]) -> list[Embedded]:
    """Return RDMs ready to be compared.

    Parameters
    ----------
    rdms : ndarray, shape (n_rdms, n_pairs)
        NaN where missing.
    how : Comparator
        With what.
    names : list of str
        What messages call them.

    Raises
    ------
    MeasureError
        On infinite values, fewer than 3 pairs, RDMs for which the method is not defined.
    """
    if np.isinf(rdms).any():
        raise MeasureError(f"{names[0]} has infinite values; expected finite distances, NaN where missing")
    control = how.control_of(rdms.shape[1])
    missing = np.isnan(rdms)
    holes = np.asarray(missing.any(axis=1))
    if control is not None and np.isnan(control).any():
        holes[:] = True
    out = [Embedded(row, how, None, None) for row in rdms]
    for i in np.flatnonzero(holes):
        inside = rdms[i][~missing[i]]
        require_pairs(inside.size, names[i])
        require_variation(inside[None], how, [names[i]])
    whole = np.flatnonzero(~holes)
    if whole.size:
        complete = rdms if whole.size == len(rdms) else rdms[whole]
        sides = _sides(complete, how, [names[i] for i in whole])
        for i, (left, right) in zip(whole, sides, strict=True):
            out[i] = Embedded(rdms[i], how, left, right)
    return out


def _sides(rdms: Matrix, how: Comparator, names: list[str]) -> list[tuple[Any, Any]]:
    """Return what complete RDMs are as first and as second sides."""
    family = how.kind.family
    if family == "dot":
        left, right = _unit_vectors(rdms, how, names)
        return list(zip(left, right, strict=True))
    require_variation(rdms, how, names)
    if family == "tau":
        found: list[Any] = [sort(row) for row in rdms]
    elif family == "bures":
        found = [_moments.moment(row, name) for row, name in zip(rdms, names, strict=True)]
    else:
        found = [_moments.tensor(row, how.noise_of(count_stimuli(row.size))) for row in rdms]
    return [(item, item) for item in found]


def _unit_vectors(rdms: Matrix, how: Comparator, names: list[str]) -> tuple[Matrix, Matrix]:
    """Return complete RDMs as vectors whose dot products are scores, as first and as second sides."""
    rows = prepared(rdms, how, names)
    n, kind = rdms.shape[1], how.kind
    own = np.einsum("ij,ij->i", rows, rows)
    more = (float(n) ** 3 - n) / 12 - own if kind.tie_free_norm else np.zeros(len(rows))
    control = how.control_of(n)
    if control is None:
        unit: Matrix = rows / np.sqrt(own + more)[:, None]
        return unit, unit
    left = residuals(rows, prepared(control, how, names_of(control, len(control), "control")), names)
    right = left / np.sqrt(np.einsum("ij,ij->i", left, left) + more)[:, None]
    return rows / np.sqrt(own + more)[:, None] if how.semipartial else right, right


def prepared(rdms: Matrix, how: Comparator, names: list[str]) -> Matrix:
    """Return complete RDMs (n_rdms, n_pairs) ranked, centred and whitened as the method asks, not yet of length 1."""
    kind = how.kind
    peak = require_variation(rdms, how, names)
    rows = np.stack([midranks(row) for row in rdms]) if kind.ranked else rdms / peak[:, None]
    if kind.centred and how.centring == "arithmetic":
        rows -= rows.mean(axis=1, keepdims=True)
    if not kind.whitened:
        return rows
    noise = how.noise_of(count_stimuli(rdms.shape[1]))
    rows = coordinates(rows, noise)
    if how.centring == "whitened":
        rows = residuals(rows, coordinates(np.ones((1, rdms.shape[1])), noise), names)
    return rows


def score(a: Embedded, b: Embedded) -> Scored:
    """Return the similarity of two RDMs, and the number of pairs it is computed on.

    Raises
    ------
    MeasureError
        When they have different stimuli, share fewer than 3 pairs, or are constant on the pairs that they
        share.
    """
    n = a.rdm.size
    if n != b.rdm.size:
        raise MeasureError(f"RDMs of {count_stimuli(n)} and {count_stimuli(b.rdm.size)} stimuli cannot be compared")
    family = a.how.kind.family
    if a.left is not None and b.right is not None and (family == "dot" or a.how.control is None):
        return _score_complete(a, b)
    if family in ("bures", "riemannian"):
        return _score_complete(*_common_stimuli(a, b))
    value, used = score_present(a, b)
    return Scored(value, used)


def _score_complete(a: Embedded, b: Embedded) -> Scored:
    n, family = a.rdm.size, a.how.kind.family
    if family == "dot":
        return Scored(min(1.0, max(-1.0, float(a.left @ b.right))), n)
    if family == "tau":
        return Scored(float(tau_table([a.left], [b.right], a.how)[0, 0]), n)
    if family == "bures":
        details = {"negative_a": a.left.negative, "negative_b": b.right.negative}
        return Scored(_moments.bures(a.left, b.right), n, details)
    value, ridge = _moments.riemannian(a.left, b.right, a.how.ridge)
    return Scored(value, n, {"ridge": ridge})


def _common_stimuli(a: Embedded, b: Embedded) -> tuple[Embedded, Embedded]:
    """Return both on the stimuli that they have; second moments need every pair of these."""
    k = count_stimuli(a.rdm.size)
    present = np.isfinite(a.rdm) & np.isfinite(b.rdm)
    i, j = np.triu_indices(k, 1)
    rows = np.union1d(i[present], j[present])
    one, two = (take(side.rdm, rows) for side in (a, b))
    lacking = int((np.isnan(one) | np.isnan(two)).sum())
    if lacking or rows.size < 3:
        raise MeasureError(
            f"method={a.how.method!r} needs the distances of all pairs; {lacking} of the {one.size} pairs of the "
            f"{rows.size} stimuli that both RDMs have are missing; drop stimuli, or take another method"
        )
    how = a.how.take(rows)
    return embed(one, how), embed(two, how)


def score_many(first: Sequence[Embedded], second: Sequence[Embedded]) -> Matrix:
    """Return the similarity of every RDM of one sequence with every one of another.

    Complete RDMs are one matrix product (dot-type methods) or sorted once (Kendall's); those with missing pairs are
    masked matrix products where ranks and whitening are not involved.

    Returns
    -------
    ndarray, shape (n_first, n_second)
    """
    table = np.full((len(first), len(second)), np.nan)
    how = first[0].how
    family = how.kind.family
    rows = [i for i, item in enumerate(first) if item.left is not None]
    columns = [j for j, item in enumerate(second) if item.right is not None]
    if rows and columns and len({item.rdm.size for item in (*first, *second)}) == 1 and family in ("dot", "tau"):
        left, right = [first[i].left for i in rows], [second[j].right for j in columns]
        if family == "tau":
            table[np.ix_(rows, columns)] = tau_table(left, right, how)
        else:
            table[np.ix_(rows, columns)] = np.clip(np.stack(left) @ np.stack(right).T, -1.0, 1.0)
    _fill_masked(table, first, second, how)
    for i, j in np.argwhere(np.isnan(table)):
        table[i, j] = score(first[i], second[j]).value
    return table


def _fill_masked(table: Matrix, first: Sequence[Embedded], second: Sequence[Embedded], how: Comparator) -> None:
    """Fill the missing entries of a table by masked products, where the method allows."""
    lengths = {item.rdm.size for item in (*first, *second)}
    if len(lengths) > 1 or not how.kind.linear or how.kind.whitened or how.control is not None:
        return
    empty = np.isnan(table)
    if empty.sum() < WORTHWHILE:
        return
    found = score_table(np.stack([x.rdm for x in first]), np.stack([x.rdm for x in second]), how.kind.centred)
    table[empty] = found[empty]


def share_tied(rdm: Vector) -> float:
    """Return the share of the distances of an RDM that equal another one of them.

    Examples
    --------
    >>> share_tied(np.array([1.0, 2.0, 1.0, 3.0]))
    0.5
    """
    counts = np.unique(rdm[np.isfinite(rdm)], return_counts=True)[1]
    return float(counts[counts > 1].sum() / max(counts.sum(), 1))
