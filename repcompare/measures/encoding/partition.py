"""How much of the held-out variance of every unit the bands of a source explain, each alone and in common.

With R2(A) the held-out score of the model of bands A, fitted and tuned by itself, and R2() = 0:

    unique(b)  = R2(all) - R2(all minus b)
    common(A)  = sum over B in A of (-1)^(|B|+1) R2(complement(A) + B)        these sum to R2(all)
    product(b) = sum yhat_b (2 y - yhat) / sum y^2                            so do these
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from repcompare.errors import MeasureError, OptionError, choose
from repcompare.measures._measure import Folds, check_values
from repcompare.measures.encoding import _banded_search as engine
from repcompare.measures.encoding._banded_bands import band_codes
from repcompare.measures.encoding._banded_options import Options, make_options
from repcompare.measures.encoding._held_out import HeldTarget, make_held_target
from repcompare.measures.encoding._jackknife import Jackknife
from repcompare.measures.encoding._options import ALPHAS
from repcompare.measures.encoding._plan import Mask
from repcompare.measures.encoding.banded import Source, banded_ridge, make_problem
from repcompare.measures.rsa.partitioning import all_subsets

Double = npt.NDArray[np.float64]

MOST_BANDS = 8
LEFT_OUT_BYTES = 1 << 26  # gains of every subset with each fold or row left out


@dataclass(frozen=True, eq=False)
class EncodingPartition:
    """Held-out variance explained by bands of a source.

    Attributes
    ----------
    bands : tuple of str
        Names of the bands.
    subsets : tuple of tuple of int
        Every non-empty set of bands, smaller ones first; the last has all.
    r2 : ndarray of shape (n_subsets, n_units)
        Held-out R2 of the model of these bands, pooled over folds, around the training mean.
    parts : ndarray of shape (n_subsets, n_units)
        What exactly these bands have in common (a single band: its unique part).  They sum to ``r2[-1]``.
    parts_se, r2_se : ndarray of shape (n_subsets, n_units)
        Standard errors, by the jackknife.
    mean_parts, mean_se : ndarray of shape (n_subsets,)
        Means of the parts over units, and their standard errors: units share what is left out.
    n_left_out : int
        How many folds, or stimuli, were left out one at a time.
    unique : ndarray of shape (n_bands, n_units)
        ``r2[-1]`` minus the score without the band.
    product : ndarray of shape (n_bands, n_units)
        Product measure of the model of all bands; sums to ``r2[-1]``.
    n_negative : int
        Negative parts (suppression, or noise); they are kept.
    n_constant : int
        Units that are constant in a training set: NaN everywhere.
    """

    bands: tuple[str, ...]
    subsets: tuple[tuple[int, ...], ...]
    r2: Double
    parts: Double
    parts_se: Double
    r2_se: Double
    mean_parts: Double
    mean_se: Double
    n_left_out: int
    unique: Double
    product: Double
    n_negative: int
    n_constant: int


def commonalities(r2: Double, subsets: tuple[tuple[int, ...], ...]) -> Double:
    """Return what exactly each subset has in common, from the scores of all subsets.

    Parameters
    ----------
    r2 : ndarray of shape (n_subsets, ...)
        Scores in the order of ``subsets``.
    subsets : tuple of tuple of int
        Every non-empty one, see :func:`repcompare.measures.rsa.partitioning.all_subsets`.

    Returns
    -------
    ndarray of shape (n_subsets, ...)
        They sum to the last score.

    Notes
    -----
    The sum over B in A factorises into one difference per band (a Moebius transform): 2^m m additions.

    Examples
    --------
    >>> commonalities(np.array([0.5, 0.4, 0.6]), all_subsets(2)).round(2)
    array([0.2, 0.1, 0.3])
    """
    m = len(subsets[-1])
    table = np.zeros((2,) * m + r2.shape[1:])
    for subset, value in zip(subsets, r2, strict=True):
        table[tuple(int(b in subset) for b in range(m))] = value
    for axis in range(m):
        without, with_band = np.take(table, 0, axis=axis), np.take(table, 1, axis=axis)
        table = np.stack([with_band, without - with_band], axis=axis)  # outside A: kept; in A: a difference
    return np.array([-table[tuple(int(b in subset) for b in range(m))] for subset in subsets])


def partition_encoding(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    folds: Folds,
    bands: Any,
    *,
    model: Literal["banded_ridge", "ridge"] = "banded_ridge",
    jackknife: Literal["folds", "stimuli"] = "folds",
    **options: Any,
) -> EncodingPartition:
    """Partition the held-out variance of every unit among bands of a source.

    Parameters
    ----------
    x : array-like of shape (n_stimuli, n_features)
        Source.
    y : array-like of shape (n_stimuli, n_units)
        Target; rows match those of x.
    folds : Folds
        Train and test rows.
    bands : array-like of shape (n_features,), sequence of slices, or mapping of name to features
        One to eight bands.
    model : {"banded_ridge", "ridge"}
        Each set of bands has its own weights and penalty per unit, or one penalty.
    jackknife : {"folds", "stimuli"}
        What is left out for standard errors: the gains of a fold, or of a test row (predictions stay as they are).
    **options
        ``alphas``, ``n_iter=20`` weightings per set of bands, ``seed=0``, ``nested=True``, ``delays``, ``hrf``, ``runs``,
        as in :func:`repcompare.measures.encoding.banded.banded_ridge`.

    Returns
    -------
    EncodingPartition

    Raises
    ------
    OptionError, MeasureError
        For unknown options, more than eight bands, data that do not match or are not finite, or when no unit varies.

    References
    ----------
    Nimon & Oswald 2013 (commonality); Pratt 1987, Dupre la Tour et al. 2022 (product measure).

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> x = rng.standard_normal((90, 4))
    >>> y = x[:, :2] @ rng.standard_normal((2, 3)) + rng.standard_normal((90, 3))
    >>> rows = np.arange(90)
    >>> folds = Folds(tuple((rows[rows % 5 != f], rows[rows % 5 == f]) for f in range(5)), 90)
    >>> found = partition_encoding(x, y, folds, {"signal": slice(0, 2), "noise": slice(2, 4)}, model="ridge")
    >>> found.unique.mean(axis=1).round(1).tolist(), bool(np.allclose(found.parts.sum(axis=0), found.r2[-1]))
    ([0.7, -0.0], True)
    """
    choose(model, ("banded_ridge", "ridge"), "model")
    choose(jackknife, ("folds", "stimuli"), "jackknife")
    for name in ("scoring", "summary", "shared", "refine", "alpha_scale", "one_se", "select_by", "fisher_z"):
        if name in options:
            raise OptionError(
                f"a partition is of R2, and every set of bands is tuned per unit, by its errors; leave {name}= out"
            )
    alphas, n_iter, seed = (options.pop(k, v) for k, v in (("alphas", ALPHAS), ("n_iter", 20), ("seed", 0)))
    found = make_options(model, alphas, {**options, "scoring": "r2"}, n_iter=int(n_iter), seed=int(seed))
    source, target = np.asarray(x), np.asarray(y)
    if source.shape[:1] != target.shape[:1]:
        raise MeasureError(f"x has shape {source.shape} and y {target.shape}; expected matching rows")
    for values in (source, target):
        check_values(banded_ridge(), values)
    codes, names = band_codes(bands, source.shape[1])
    if len(names) > MOST_BANDS:
        raise MeasureError(
            f"{len(names)} bands have {2 ** len(names) - 1} sub-models; expected at most {MOST_BANDS}; join related bands"
        )
    found.check(folds, max(2, len(names)))
    prepared = Source(make_problem(found, source, codes, folds), folds, names)
    return _partition(found, prepared, make_held_target(target, folds), jackknife)


def _partition(options: Options, source: Source, target: HeldTarget, jackknife: str) -> EncodingPartition:
    m, t = len(source.names), target.values.shape[1]
    subsets = all_subsets(m)
    product, squares = np.zeros((m, t)), np.zeros(t)
    constant: Mask = np.any(target.constant_train, axis=0)
    if constant.all():
        raise MeasureError(f"all {t} target units are constant in a training set; expected one that varies")
    n_groups = len(source.folds) if jackknife == "folds" else source.folds.n
    sums = Jackknife.empty(subsets, n_groups, t, commonalities)
    step = max(1, LEFT_OUT_BYTES // (8 * len(subsets) * n_groups))
    wide = (s for s in engine.blocks(source.problem, *target.values.shape))
    for units in (slice(i, min(i + step, s.stop)) for s in wide for i in range(s.start, s.stop, step)):
        gain, total = np.zeros((len(subsets), n_groups, units.stop - units.start)), None
        products = source.problem.products(target.values[:, units])
        for row, subset in enumerate(subsets):
            search = _search(options, subset, m)
            factors = engine.Factors(source.problem, search.gammas)
            choice = engine.choose_per_unit(factors, products, source.problem, search)
            last, total = row == len(subsets) - 1, np.zeros(gain.shape[1:])
            for one in engine.predictions(factors, products, source.problem, search, choice, by_band=last):
                rest = one.truth - one.predicted
                at = one.fold if jackknife == "folds" else np.sort(source.folds.splits[one.fold][1])
                _add(total, at, one.truth**2)
                _add(gain[row], at, one.truth**2 - rest**2)
                if one.bands is not None:
                    product[:, units] += np.einsum("bij,ij->bj", one.bands, one.truth + rest)
        assert total is not None
        squares[units] = total.sum(axis=0)
        sums.add(units, gain, total, ~constant[units])
    product[:, constant], squares[constant] = np.nan, np.nan
    return _summary(source.names, sums, product / squares)


def _add(sums: Double, at: Any, squares: Double) -> None:
    """Add squares (n_test, b) of a fold to its own row, or to those of its test rows."""
    sums[at] += squares if np.ndim(at) else squares.sum(axis=0)


def _search(options: Options, subset: tuple[int, ...], m: int) -> engine.Search:
    """Return what is searched for a set of bands."""
    inside = np.ones((1, len(subset)))
    if options.model == "banded_ridge":
        inside = engine.sample_gammas(len(subset), options.n_iter, options.seed)
    gammas = np.zeros((len(inside), m))
    gammas[:, list(subset)] = inside
    return engine.Search(gammas, options.alphas, options.nested, shared=False)


def _summary(names: tuple[str, ...], sums: Jackknife, product: Double) -> EncodingPartition:
    parts, (mean, mean_se) = sums.parts, sums.of_mean()
    return EncodingPartition(
        bands=names,
        subsets=sums.subsets,
        r2=sums.r2,
        parts=parts,
        parts_se=sums.parts_se,
        r2_se=sums.r2_se,
        mean_parts=mean,
        mean_se=mean_se,
        n_left_out=sums.n_left_out,
        unique=parts[: len(names)].copy(),
        product=product,
        n_negative=int((parts < 0).sum()),
        n_constant=int(np.isnan(sums.r2[-1]).sum()),
    )
