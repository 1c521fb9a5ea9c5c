"""Poisson regression from one system to the spike counts of another, scored on held-out stimuli."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from repcompare.errors import MeasureError
from repcompare.measures._linalg import square_root_factor
from repcompare.measures._measure import Array, Folds, HeldOut, Measure, Outcome
from repcompare.measures.encoding import _poisson_fit as solver
from repcompare.measures.encoding._held_out import (
    Double,
    Excluded,
    Kept,
    Scores,
    centred_source,
    check_folds,
    check_same_folds,
    check_scores,
    outcome,
    pearson,
    predictions,
)
from repcompare.measures.encoding._layout import plan_layout
from repcompare.measures.encoding._options import checked_alphas
from repcompare.measures.encoding._plan import Mask, Plan, Task, make_plan
from repcompare.measures.encoding._scores import SAME_FOLDS, edge_notes
from repcompare.measures.encoding._select import choose_alpha
from repcompare.measures.encoding.moments import piece_moments

ALPHAS = tuple(float(a) for a in np.logspace(-2, 5, 8))
SCORINGS = ("deviance", "pearson", "bits_per_spike")
CUT = 1e-12  # of the largest eigenvalue: directions below carry no signal
BATCH_BYTES = 1 << 28


@dataclass(frozen=True)
class Options:
    """Options of Poisson regression; ``alphas`` ascending."""

    alphas: Double
    scoring: Literal["deviance", "pearson", "bits_per_spike"]
    summary: Literal["mean", "median"]
    nested: bool

    @property
    def searches_inside(self) -> bool:
        """Whether an inner loop is needed."""
        return self.nested and self.alphas.size > 1

    @property
    def fewest_test(self) -> int:
        """Fewest test rows of a fold that can be scored."""
        return 3 if self.scoring == "pearson" else 1


@dataclass(frozen=True)
class Source:
    """A source, prepared.

    Attributes
    ----------
    x : ndarray of shape (n, min(n, p))
        Rows minus column means; wide ones rotated into their own space.
    bases : tuple of (basis (q, r), eigenvalues (r,), mean (q,))
        One per task: eigenvectors of the training scatter.
    plan : Plan
        Training sets and test rows.
    folds : Folds
        Train and test rows.
    """

    x: Double
    bases: tuple[tuple[Double, Double, Double], ...]
    plan: Plan
    folds: Folds

    @property
    def nbytes(self) -> int:
        """Bytes that the state holds."""
        return int(self.x.nbytes + sum(a.nbytes for basis in self.bases for a in basis))

    @property
    def tasks(self) -> tuple[Task, ...]:
        """Outer tasks, then inner ones."""
        return (*self.plan.outer, *self.plan.inner)


@dataclass(frozen=True)
class Counts:
    """A target: counts (n, t); units that are silent or constant in a training set or constant in a test set (k, t)."""

    values: Double
    silent: Mask
    constant_train: Mask
    constant_test: Mask
    folds: Folds

    @property
    def nbytes(self) -> int:
        """Bytes that the state holds."""
        return int(self.values.nbytes)


def poisson(
    alphas: npt.ArrayLike = ALPHAS,
    *,
    scoring: Literal["deviance", "pearson", "bits_per_spike"] = "deviance",
    summary: Literal["mean", "median"] = "mean",
    nested: bool = True,
) -> Measure:
    """Held-out predictivity of spike counts by Poisson regression with a log link.

    Minimises ``sum exp(eta) - y eta + alpha / 2 |w|^2`` per unit, ``eta = x w + b`` with b free.  The penalty is that of
    scikit-learn's ``PoissonRegressor(alpha=s)`` and of nemos for alpha = n s.

    Parameters
    ----------
    alphas : array-like of shape (n_alphas,)
        Penalties, > 0, absolute; default 8 from 1e-2 to 1e5.
    nested : bool
        Choose the penalty of each unit and fold inside its training rows, by deviance.  Otherwise it is chosen on the
        rows that are scored, which the result says.
    scoring : {"deviance", "pearson", "bits_per_spike"}
        ``"deviance"``: ``1 - deviance / deviance of the training mean``, summed over folds, -inf to 1.
        ``"bits_per_spike"``: gain in log2-likelihood over the training mean per spike.  ``"pearson"``: r per
        fold between rates and counts, mean over folds.
    summary : {"mean", "median"}
        Over units.

    Returns
    -------
    Measure
        ``compare`` gives an Outcome with ``unit_scores`` (n_units,), ``fold_scores`` (n_folds,) and details
        ``alphas`` (n_units,), ``fold_alphas`` (n_folds, n_units) and ``bits_per_spike``, ``deviance`` (n_units,).  Units
        that are silent or constant in a training set are NaN and counted.

    Raises
    ------
    OptionError
        For penalties that are not > 0, or an unknown option.
    MeasureError
        On preparing a target that does not hold counts.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> x = rng.standard_normal((100, 5))
    >>> y = rng.poisson(np.exp(0.4 * x @ rng.standard_normal((5, 3)) + 1))
    >>> rows = np.arange(100)
    >>> folds = Folds(tuple((rows[rows % 5 != f], rows[rows % 5 == f]) for f in range(5)), 100)
    >>> measure = poisson()
    >>> state, target = measure.prepared(x, folds), measure.prepared(y, folds, side="target")
    >>> measure.compare(state, target).unit_scores.round(2)
    array([0.58, 0.57, 0.78])
    """
    check_scores(scoring, summary, SCORINGS)
    options = Options(checked_alphas(alphas), scoring, summary, nested)
    named: dict[str, Any] = {"scoring": scoring, "summary": summary}
    named |= {} if tuple(options.alphas) == ALPHAS else {"alphas": options.alphas}
    named |= {} if nested else {"nested": False}
    ranges = {"deviance": (-np.inf, 1.0), "pearson": (-1.0, 1.0), "bits_per_spike": (-np.inf, np.inf)}
    return Measure(
        name="poisson",
        options=named,
        prepare=partial(_prepare, options),
        prepare_target=partial(_prepare_target, options),
        compare=partial(_compare, options),
        kind="predictivity",
        symmetric=False,
        score_range=ranges[scoring],
        identical=np.nan,
        invariant_to=frozenset({"rotation", "translation", "permutation"}),
        target_invariant_to=frozenset({"permutation", "duplication"}),
        fitted=True,
        held_out=partial(_held_out, options),
        ceiling="units",
        min_stimuli=6,
        target_holds="counts",
        unit="bit" if scoring == "bits_per_spike" else "1",
        reference="mccullagh1989",
    )


def _prepare(options: Options, x: Array, folds: Folds) -> Source:
    check_folds(folds, "poisson", options.fewest_test)
    values = centred_source(x, "poisson")
    if values.shape[1] > values.shape[0]:
        values = square_root_factor(values)
    plan = make_plan(folds, nested=options.searches_inside)
    pieces = plan_layout(plan, folds.n)
    sums = piece_moments(values, values[:, :0], pieces)
    bases, first = [], 0
    for task in (*plan.outer, *plan.inner):
        train = sums.union(pieces.plus[first], pieces.minus[first])
        first += 1 + len(task.tests)
        scatter = train.centred().xx
        assert scatter is not None
        lam, vectors = np.linalg.eigh(scatter)
        kept = lam > max(CUT * lam[-1], 0.0)
        bases.append((vectors[:, kept], lam[kept], sums.shift_x + train.mean_x))
    return Source(values, tuple(bases), plan, folds)


def _prepare_target(options: Options, y: Array, folds: Folds) -> Counts:
    check_folds(folds, "poisson", options.fewest_test)
    values = y.astype(np.float64)
    wrong = (values < 0) | (values != np.rint(values))
    if wrong.any():
        row, unit = np.argwhere(wrong)[0]
        raise MeasureError(
            f"poisson: {int(wrong.sum())} values of the target are not counts, the first {values[row, unit]:g} (row {row}, "
            f"unit {unit}); expected whole numbers >= 0; give spike counts, or take model='ridge'"
        )
    train = [values[rows] for rows, _ in folds.splits]
    silent = np.array([part.max(axis=0) == 0 for part in train])
    constant = np.array([np.ptp(part, axis=0) == 0 for part in train])
    test = np.array([np.ptp(values[rows], axis=0) == 0 for _, rows in folds.splits])
    return Counts(values, silent, constant & ~silent, test, folds)


@dataclass
class _Sums:
    """Deviances of every penalty: inner (k, a, t) and outer (a, t); what went wrong in how many fits."""

    inner: Double
    outer: Double
    clipped: int = 0
    unfinished: int = 0


def _held_out(options: Options, source: Source, target: Counts) -> tuple[HeldOut, ...]:
    return predictions(lambda kept: _compare(options, source, target, kept), target.folds, target.values.shape[1])


def _compare(options: Options, source: Source, target: Counts, kept: Kept | None = None) -> Outcome:
    check_same_folds(source.folds, target.folds, "poisson")
    k, a, t = len(source.folds), options.alphas.size, target.values.shape[1]
    scores = Scores.empty(k, t, kept)
    found = {name: np.full((k, t), np.nan) for name in ("alphas", "null", "deviance", "spikes")}
    final = np.full(t, np.nan)
    wrong = [0, 0]
    for units in _batches(t, source.folds.n):
        y = target.values[:, units]
        sums = _Sums(np.zeros((k, a, y.shape[1])), np.zeros((a, y.shape[1])))
        order = [*range(len(source.plan.outer), len(source.tasks)), *range(len(source.plan.outer))]  # inner ones first
        held: dict[int, Double] = {}
        for place in order:
            _path(options, source, place, y, sums, held)
        best = choose_alpha(sums.outer)
        chosen = choose_alpha(sums.inner) if options.searches_inside else np.repeat(best[None], k, axis=0)
        final[units] = options.alphas[best]
        found["alphas"][:, units] = options.alphas[chosen]
        for fold, mu in held.items():
            _fill(scores, found, (fold, units), np.take_along_axis(mu, chosen[fold][None, None], axis=0)[0], source, y)
        wrong = [wrong[0] + sums.clipped, wrong[1] + sums.unfinished]
    return _outcome(options, scores, target, found, final, wrong)


def _batches(t: int, n: int) -> Iterator[slice]:
    size = max(16, BATCH_BYTES // (8 * 40 * n))
    for start in range(0, t, size):
        yield slice(start, min(start + size, t))


def _path(options: Options, source: Source, place: int, y: Double, sums: _Sums, held: dict[int, Double]) -> None:
    """Fit one training set for every penalty, largest first; add deviances, and keep rates (a, n_test, t) of outer ones."""
    task, (basis, lam, mean) = source.tasks[place], source.bases[place]
    fitted = y[task.train]
    live = np.flatnonzero(np.ptp(fitted, axis=0) > 0)
    rows = (source.x[task.train] - mean) @ basis
    tests = [(fold, test, (source.x[test] - mean) @ basis) for fold, test in task.tests]
    outer = place < len(source.plan.outer)
    if outer:
        held[tests[0][0]] = np.full((options.alphas.size, tests[0][1].size, y.shape[1]), np.nan)
    if not live.size:
        return
    state = solver.start(fitted[:, live], lam.size)
    for i in reversed(range(options.alphas.size)):
        state = solver.fit(rows, lam, fitted[:, live], float(options.alphas[i]), state)
        sums.unfinished += int((~state.converged).sum())
        for fold, test, projected in tests:
            mu = solver.rates(projected, state.weights)
            sums.clipped += int((mu >= np.exp(solver.LARGEST)).any(axis=0).sum())
            error = solver.deviance(y[test][:, live], mu)
            if outer:
                held[fold][i][:, live] = mu
                sums.outer[i, live] += error
            else:
                sums.inner[fold, i, live] += error


def _fill(
    scores: Scores, found: dict[str, Double], place: tuple[int, slice], mu: Double, source: Source, y: Double
) -> None:
    """Score one fold of some units by their rates mu (n_test, t)."""
    fold, units = place
    train, test = (np.sort(rows) for rows in source.folds.splits[fold])  # as in the plan
    truth, live = y[test], np.isfinite(mu).all(axis=0)
    null = np.where(live, y[train].mean(axis=0), 1.0)
    safe = np.where(live, mu, 1.0)
    found["null"][fold, units] = solver.deviance(truth, np.broadcast_to(null, truth.shape))
    found["deviance"][fold, units] = np.where(live, solver.deviance(truth, safe), np.nan)
    found["spikes"][fold, units] = truth.sum(axis=0)
    if scores.kept is not None:
        mean = y[train].mean(axis=0)
        scores.kept.write(fold, units, np.where(live, mu - mean, np.nan), truth - mean)
    scores.pearson[fold, units] = np.where(live, pearson(safe, truth, np.abs(safe).max(axis=0)), np.nan)


def _outcome(
    options: Options, scores: Scores, target: Counts, found: dict[str, Double], final: Double, wrong: list[int]
) -> Outcome:
    gain = found["null"] - found["deviance"]
    bits = options.scoring == "bits_per_spike"
    scores.gain[:] = gain / (2 * np.log(2)) if bits else gain
    scores.total[:] = found["spikes"] if bits else found["null"]
    totals = gain.sum(axis=0), found["spikes"].sum(axis=0), found["null"].sum(axis=0)
    silent = target.silent.any(axis=0)
    for name, per in (("bits_per_spike", totals[1] * 2 * np.log(2)), ("deviance", totals[2])):
        scores.details[name] = np.divide(totals[0], per, out=np.full(per.shape, np.nan), where=(per > 0) & ~silent)
    usable = ~(silent | target.constant_train.any(axis=0))
    scores.details.update(alphas=np.where(usable, final, np.nan), fold_alphas=np.where(usable, found["alphas"], np.nan))
    if not options.nested and options.alphas.size > 1:
        scores.notes.append(SAME_FOLDS)
    if wrong[0]:
        scores.notes.append(
            f"eta_clipped: {wrong[0]} predictions of a unit reached exp({solver.LARGEST:g}); larger alphas"
        )
    if wrong[1]:
        scores.notes.append(
            f"not_converged: {wrong[1]} fits of a unit stopped after {solver.MOST_STEPS} steps; larger alphas"
        )
    scores.notes.extend(edge_notes(final[usable], options.alphas))
    constant = target.constant_train | (target.constant_test & (options.scoring == "pearson"))
    excluded = Excluded(constant, {"units_silent": target.silent})
    pooled = options.scoring != "pearson"
    return outcome("poisson", scores, excluded, pooled=pooled, summary=options.summary)
