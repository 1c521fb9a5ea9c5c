"""Ridge regression with a penalty for each band of features (layers, feature spaces), scored on held-out stimuli.

Minimises ``|y - x b|^2 + sum_b alpha_b |b_b|^2`` with an unpenalised intercept, ``alpha_b = alpha / gamma_b`` and weights
gamma on the simplex.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from repcompare.errors import MeasureError, OptionError
from repcompare.measures._measure import Array, Folds, HeldOut, Index, Measure, Outcome
from repcompare.measures.encoding import _banded_search as engine
from repcompare.measures.encoding._banded_bands import band_codes, shown
from repcompare.measures.encoding._banded_options import Options, make_options, named_options
from repcompare.measures.encoding._banded_problem import (
    KEPT_BYTES,
    Narrow,
    Problem,
    Wide,
    linear_kernel,
    narrow,
    plan_of,
    tasks_of,
)
from repcompare.measures.encoding._banded_refine import refine
from repcompare.measures.encoding._held_out import (
    Excluded,
    HeldTarget,
    Kept,
    Scores,
    centred_source,
    check_folds,
    check_same_folds,
    make_held_target,
    outcome,
    predictions,
)
from repcompare.measures.encoding._options import ALPHAS
from repcompare.measures.encoding._scores import edge_notes

Double = npt.NDArray[np.float64]

DELAYS = (1, 2, 3, 4)
SAME_FOLDS = (
    "selection: same_folds; weights and penalties were chosen on the rows that are scored; nested=True avoids it"
)


@dataclass(frozen=True)
class Source:
    """A source, prepared.

    Attributes
    ----------
    problem : Problem
        Statistics or kernels.
    folds : Folds
        Train and test rows.
    names : tuple of str
        Names of the bands.
    notes : tuple of str
        What is odd about the source.
    """

    problem: Problem
    folds: Folds
    names: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def nbytes(self) -> int:
        """Bytes that the state holds."""
        return self.problem.nbytes


def banded_ridge(
    bands: Any = None,
    *,
    alphas: npt.ArrayLike = ALPHAS,
    n_iter: int = 100,
    gammas: npt.ArrayLike | None = None,
    seed: int = 0,
    **options: Any,
) -> Measure:
    """Held-out predictivity of every target unit by ridge with one penalty per band of features.

    Parameters
    ----------
    bands : array-like of shape (p,), sequence of slices, or mapping of name to features
        Band of each feature; None is a single band, which is ridge.
    alphas : array-like of shape (n_alphas,)
        Overall penalties, > 0; band b gets ``alpha / gamma_b``.
    n_iter : int
        Number of weightings gamma that are tried with every penalty: uniform, each band alone, pairs, then random ones.
    gammas : array-like of shape (n_gammas, n_bands), optional
        The weightings themselves: >= 0, each row with a positive sum (which is divided out).
    seed : int
        Of the random weightings.
    **options
        ``scoring="pearson" | "r2"``, ``summary="mean" | "median"``, ``nested=True`` as in ridge; ``shared=False`` (True,
        or ``alpha_per_unit=False``: one weighting and one penalty for all units); ``refine=False`` (True: gradient steps
        off the grid; units that chose the same start move together); ``alpha_scale="absolute" | "trace"`` (penalties in
        units of the mean eigenvalue of the training scatter of all features, with their delays), ``one_se=False`` (True:
        the largest penalty of the best weighting within one standard error), ``select_by="error" | "pearson"``,
        ``fisher_z=False`` as in ridge; ``delays=[1, 2, 3]`` or ``hrf=`` weights per lag, and ``runs=`` labels of the rows
        (see :mod:`repcompare.measures.encoding.delays`).

    Returns
    -------
    Measure
        ``compare`` gives an Outcome with ``unit_scores`` (n_units,), ``fold_scores`` (n_folds,) and details ``alphas``
        (n_bands, n_units) for a refit on all rows, ``fold_alphas`` (n_folds, n_bands, n_units), those that gave the
        scores (inf: the band is left out), both absolute, and with ``alpha_scale="trace"`` also ``alphas_relative``,
        ``fold_alphas_relative``; ``gammas`` (n_bands, n_units) and ``bands``, their names.

    Raises
    ------
    OptionError
        For an unknown option or value.

    Notes
    -----
    Nunez-Elizalde, Huth & Gallant 2019; random search of Dupre la Tour et al. 2022, where delta_b is
    ``log(gamma_b / alpha)``.  Everything comes from the sums of products over folds, so a weighting costs one
    eigendecomposition per training set and no pass over the data.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> x = rng.standard_normal((60, 20))
    >>> y = x[:, :2] @ rng.standard_normal((2, 3)) + rng.standard_normal((60, 3))
    >>> rows = np.arange(60)
    >>> folds = Folds(tuple((rows[rows % 5 != f], rows[rows % 5 == f]) for f in range(5)), 60)
    >>> measure = banded_ridge([slice(0, 4), slice(4, 20)], n_iter=10, scoring="r2")
    >>> state, target = measure.prepared(x, folds), measure.prepared(y, folds, side="target")
    >>> found = measure.compare(state, target)
    >>> found.unit_scores.round(1), bool((found.details["gammas"][0] > 0.5).all())
    (array([0.6, 0.7, 0.6]), True)
    """
    if not (isinstance(n_iter, (int, np.integer)) and n_iter >= 1):
        raise OptionError(f"n_iter={n_iter!r}; expected a number >= 1")
    found = make_options("banded_ridge", alphas, options, gammas=_checked_gammas(gammas), n_iter=int(n_iter), seed=seed)
    named = named_options(found)
    if bands is not None:
        named |= {"bands": shown(bands), "n_iter": found.n_iter, "seed": seed}
    named |= {} if found.gammas is None else {"gammas": found.gammas}
    moved = frozenset() if found.lags is not None else frozenset({"translation"})
    alike = frozenset({"rotation", "permutation"}) if bands is None else frozenset()
    return encoder(found, partial(_prepare, found, bands), named, moved | alike, "nunez2019")


def delayed_ridge(
    alphas: npt.ArrayLike = ALPHAS,
    *,
    delays: Any = None,
    hrf: Any = None,
    runs: Any = None,
    alpha_per_unit: bool = True,
    **options: Any,
) -> Measure:
    """Ridge on delayed features, narrow by themselves or wide by their kernel alone.

    Parameters
    ----------
    alphas : array-like of shape (n_alphas,)
        Penalties, > 0.
    delays, hrf, runs : optional
        See :func:`banded_ridge`; the default is ``delays=[1, 2, 3, 4]``, with a row of 2 s the custom for fMRI.  In
        ``compare`` and ``encode`` delays never reach across runs that a recording has labels of, nor across rows that
        were left out.
    alpha_per_unit : bool
        Otherwise one penalty for all units.
    **options
        ``scoring``, ``summary``, ``nested``, ``alpha_scale``, ``one_se``, ``select_by`` and ``fisher_z``, as in ridge.

    Returns
    -------
    Measure
        As ridge on ``delay_features(x, delays, runs)``.

    Raises
    ------
    OptionError
        For an unknown option or value.

    Examples
    --------
    >>> delayed_ridge(delays=[1, 2]).label
    'delayed_ridge(scoring=pearson, summary=mean, lags=[6 values])'
    """
    delays = DELAYS if delays is None and hrf is None else delays
    lags = {"delays": delays, "hrf": hrf, "runs": runs}
    found = make_options("delayed_ridge", alphas, options | lags | {"shared": not alpha_per_unit})
    alike = frozenset({"rotation", "permutation"})
    return encoder(found, partial(_prepare, found, None), named_options(found), alike, "hoerl1970")


def encoder(
    options: Options, prepare: Any, named: dict[str, Any], invariant: frozenset[str], reference: str
) -> Measure:
    """Return the measure of a model whose ``prepare(x, folds)`` gives a :class:`Source`."""
    return Measure(
        name=options.model,
        options=named,
        prepare=prepare,
        prepare_target=partial(_prepare_target, options),
        compare=partial(compare_states, options),
        kind="predictivity",
        symmetric=False,
        score_range=(-1.0, 1.0) if options.scoring == "pearson" else (-np.inf, 1.0),
        identical=np.nan,
        invariant_to=invariant,
        target_invariant_to=frozenset({"translation", "permutation", "scaling", "unit_scaling", "duplication"}),
        fitted=True,
        held_out=partial(_held_out, options),
        reach=0 if options.lags is None else options.lags.longest,
        ceiling="units",
        min_stimuli=6,
        reference=reference,
        state_bytes=_state_bytes,
    )


def _state_bytes(n: int, p: int, itemsize: int, folds: int) -> int:
    """Features and the statistics of all pieces, training and test sets; or a kernel."""
    sets = folds + 2 * folds + 3 * folds * (folds - 1) // 2
    return 8 * (n * p + p * p * folds) + min(8 * p * p * sets, KEPT_BYTES) if p <= n else 8 * n * n


def _checked_gammas(gammas: npt.ArrayLike | None) -> Double | None:
    if gammas is None:
        return None
    found = np.asarray(gammas, dtype=np.float64)
    if found.ndim != 2 or not np.isfinite(found).all() or found.min() < 0 or not (found.sum(axis=1) > 0).all():
        raise OptionError(f"gammas have shape {found.shape}; expected rows of weights >= 0, (n_gammas, n_bands)")
    return np.asarray(found / found.sum(axis=1, keepdims=True))


def _prepare(options: Options, bands: Any, x: Array, folds: Folds) -> Source:
    codes, names = band_codes(bands, x.shape[1])
    if options.gammas is not None and options.gammas.shape[1] != len(names):
        raise MeasureError(
            f"gammas have {options.gammas.shape[1]} columns; expected one for each of {len(names)} bands"
        )
    options.check(folds, len(names))
    notes = () if options.lags is None else options.lags.notes(x)
    return Source(make_problem(options, x, codes, folds), folds, names, notes)


def make_problem(options: Options, x: Array, codes: Index, folds: Folds) -> Problem:
    """Return the statistics of a source (n, p), or its kernels where there are more (delayed) features than rows."""
    n_bands, lags = int(codes.max()) + 1, options.lags_of(folds)
    plan = plan_of(folds, options.searches_inside(n_bands), options.model)
    values = centred_source(x, options.model)
    if lags is not None:
        values = x.astype(np.float64)  # rows before a run are 0 in the user's own units
    copies = 1 if lags is None else len(lags.basis)
    if values.shape[1] * copies <= min(train.size for train, _ in folds.splits):
        wide = values if lags is None else lags.features(values)
        return narrow(wide, np.tile(codes, copies), n_bands, plan, folds.n)
    kernels = [linear_kernel(values[:, codes == b]) for b in range(n_bands)]
    if lags is not None:
        kernels = [lags.kernel(kernel) for kernel in kernels]
    return Wide(tuple(kernels), None, plan, values.shape[1] * copies)


def _prepare_target(options: Options, y: Array, folds: Folds) -> HeldTarget:
    check_folds(folds, options.model, options.fewest_test)
    return make_held_target(y, folds)


def make_search(options: Options, problem: Problem) -> engine.Search:
    """Return what is searched for a source."""
    gammas = options.gammas
    if gammas is None:
        gammas = engine.sample_gammas(problem.n_bands, options.n_iter, options.seed)
    units = None
    if options.alpha_scale == "trace":
        units = np.array([_positive(problem.spread(j)) for j in range(len(tasks_of(problem.plan)))])
    how = options.nested, options.shared, options.select_by, options.one_se
    return engine.Search(gammas, options.alphas, *how, units)


def _positive(spread: float) -> float:
    """Features that do not vary over a training set are not penalised by nothing."""
    return max(spread, float(np.finfo(np.float64).tiny))


def _held_out(options: Options, source: Source, target: HeldTarget) -> tuple[HeldOut, ...]:
    return predictions(lambda kept: compare_states(options, source, target, kept), target.folds, target.values.shape[1])


def compare_states(options: Options, source: Source, target: HeldTarget, kept: Kept | None = None) -> Outcome:
    """Choose weights and penalties, score the outer folds, and say what was chosen."""
    check_same_folds(source.folds, target.folds, options.model)
    problem = source.problem
    search = make_search(options, problem)
    n, t = target.values.shape
    factors = engine.Factors(problem, search.gammas)
    scores = Scores.empty(len(source.folds), t, kept)
    details = _Chosen.empty(problem, search, t)
    slices = list(engine.blocks(problem, n, t))
    shared = None
    if search.shared and not search.trivial:
        parts = (problem.products(target.values[:, units]) for units in slices)
        shared = engine.choose_shared(factors, parts, problem, search)
    for units in slices:
        products = problem.products(target.values[:, units])
        width = products.squares[0][0].size
        if shared is None:
            choice = engine.choose_per_unit(factors, products, problem, search)
        else:
            choice = engine.per_unit(shared, width)
        details.edges.append(search.alphas[choice.final_alpha])
        found, by = search, factors
        if options.refine:
            found, choice = refine(problem, products, search, choice)
            by = engine.Factors(problem, found.gammas)
        details.fill(units, found, choice)
        for fitted in engine.predictions(by, products, problem, found, choice):
            engine.fill(scores, units, fitted)
    scores.details.update(details.named(source.names))
    constant = target.constant_train | (target.constant_test & (options.scoring == "pearson"))
    how: dict[str, Any] = {"summary": options.summary, "fisher_z": options.fisher_z}
    result = outcome(options.model, scores, Excluded(constant), pooled=options.scoring == "r2", **how)
    good = np.isfinite(np.asarray(result.unit_scores))
    notes = edge_notes(np.concatenate(details.edges)[good], options.alphas)
    if not options.nested and not search.trivial:
        notes = [SAME_FOLDS, *notes]
    return replace(result, notes=(*result.notes, *source.notes, *notes, f"solver: {_solver(problem)}"))


def _solver(problem: Problem) -> str:
    return "primal" if isinstance(problem, Narrow) else "dual"


@dataclass(frozen=True)
class _Chosen:
    """Chosen penalties on the scale of the grid, filled block by block, and what they are multiples of."""

    final: Double
    folds: Double
    gammas: Double
    edges: list[Double]
    units: tuple[float, Double] | None

    @classmethod
    def empty(cls, problem: Problem, search: engine.Search, t: int) -> _Chosen:
        k, m = problem.plan.n_folds, problem.n_bands
        units = None
        if search.units is not None:
            of_folds = np.full(k, np.nan)
            for j, task in enumerate(problem.plan.outer):
                of_folds[task.tests[0][0]] = search.unit(j)
            units = problem.spread(None), of_folds
        return cls(np.full((m, t), np.nan), np.full((k, m, t), np.nan), np.full((m, t), np.nan), [], units)

    def fill(self, units: slice, search: engine.Search, choice: engine.Choice) -> None:
        with np.errstate(divide="ignore"):
            inverse = 1 / search.gammas
        self.final[:, units] = (inverse[choice.final_gamma] * search.alphas[choice.final_alpha, None]).T
        self.gammas[:, units] = search.gammas[choice.final_gamma].T
        for f, (g, a) in enumerate(zip(choice.gamma, choice.alpha, strict=True)):
            self.folds[f, :, units] = (inverse[g] * search.alphas[a, None]).T

    def named(self, names: tuple[str, ...]) -> dict[str, Any]:
        alone = len(names) == 1
        final, folds = (self.final[0], self.folds[:, 0]) if alone else (self.final, self.folds)
        found: dict[str, Any] = {"alphas": final, "fold_alphas": folds}
        if self.units is not None:
            one, each = self.units
            each = each.reshape(-1, *[1] * (folds.ndim - 1))
            found = {"alphas": final * one, "fold_alphas": folds * each}
            found |= {"alphas_relative": final, "fold_alphas_relative": folds}
        return found if alone else found | {"gammas": self.gammas, "bands": names}
