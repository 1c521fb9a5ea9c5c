"""From sums over pieces of the rows to penalties and scores of a batch of units: one training set at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from repcompare.measures._measure import Array, Index
from repcompare.measures.encoding._factor import FLOOR, SINGLE, Divided, Double, divide, eigen, inverse_sd
from repcompare.measures.encoding._options import Options
from repcompare.measures.encoding._plan import Mask, Plan
from repcompare.measures.encoding._scores import Scored
from repcompare.measures.encoding._search import relative_errors
from repcompare.measures.encoding._select import Errors, FoldScores, choose_alpha
from repcompare.measures.encoding._stream_sums import NO_UNITS, Part, SourceSums, TargetSums

DIGITS = {4: 1e-3, 8: 1e-6}  # an error below this share of its total is computed again, by bytes of a number
VARIES = 1e-6  # as DIGITS, for the variance of predictions as a share of their squares
FLAT, FLAT_TARGET = 1e-12, 1e-14  # below these shares of the squares predictions, or data, do not vary


@dataclass(frozen=True)
class TrainSet:
    """A factorised training set: eigenvectors (p, r) in float64, eigenvalues (r,), mean (p,), the unit of penalties."""

    n: int
    mean: Double
    basis: Double
    lam: Double
    unit: float
    spread: float
    dtype: npt.DTypeLike

    @cached_property
    def narrow(self) -> Array:
        """The eigenvectors in the precision of the products."""
        return self.basis.astype(self.dtype)

    def project(self, part: Part, about: tuple[Double, Double], sum_x: Double, which: Index | None = None) -> Array:
        """Return ``U' x'y`` (r, b) of a set with sums ``sum_x`` about the means ``about``; in float64 for some units."""
        cross, first, mean_y = part.xy, part.sum_y, about[1]
        if which is not None:
            cross, first, mean_y = cross[:, which], first[which], mean_y[which]
        basis = self.narrow if which is None else self.basis
        found = basis.T @ cross.astype(basis.dtype, copy=False)
        left = self.basis.T @ np.column_stack((sum_x, about[0]))
        right = np.stack((mean_y, first - part.n * mean_y))
        found -= left.astype(basis.dtype) @ right.astype(basis.dtype)
        return np.asarray(found)


@dataclass(frozen=True)
class HeldSet:
    """A test set as a training set sees it: ``U' x_V' x_V U`` (r, r) and mean ``U' x_V`` (r,), about training means."""

    products: Double
    mean: Double
    sum_x: Double
    divided: Divided | None
    dtype: npt.DTypeLike

    @cached_property
    def narrow(self) -> Array:
        """The products in the precision of the training set."""
        return self.products.astype(self.dtype, copy=False)


@dataclass(frozen=True)
class Batch:
    """The sums of a batch of units, with the folds and options."""

    source: SourceSums
    target: TargetSums
    plan: Plan
    options: Options

    @property
    def tasks(self) -> tuple[Any, ...]:
        """All training sets with their test sets, outer ones first."""
        return (*self.plan.outer, *self.plan.inner)

    def place(self, task: int) -> int:
        """Return the place of a training set among all sets; its test sets follow."""
        return sum(1 + len(other.tests) for other in self.tasks[:task])

    @property
    def constant(self) -> Mask:
        """Flags of units that do not vary over the training and test sets of folds, shape (2, n_folds, n_units)."""
        found = np.zeros((2, self.plan.n_folds, self.target.n_units), dtype=bool)
        for j, task in enumerate(self.plan.outer):
            for i, (fold, _) in enumerate(task.tests):
                found[0, fold] = self.target.constant(self.place(j))
                found[1, fold] = self.target.constant(self.place(j) + 1 + i)
        return found

    def factor(self, task: int | None) -> TrainSet:
        """Factorise a training set; None is all rows."""
        train = self.source.total if task is None else self.source.of(self.place(task))
        square, sd = train.centred().xx, None
        assert square is not None
        if self.options.standardize:
            sd = inverse_sd(square.diagonal(), train.n)
            square = square * sd * sd[:, None]
        basis, lam = eigen(square)
        if sd is not None:
            basis = basis * sd[:, None]
        spread = max(float(np.trace(square)), FLOOR) / len(square)
        unit = 1.0 if self.options.standardize else 1 / self.source.scale**2
        unit = spread if self.options.alpha_scale == "trace" else unit
        wide = bool(lam.size) and lam[0] + self.options.alphas[0] * unit < SINGLE * lam[-1]
        dtype = np.float64 if wide else self.target.dtype
        return TrainSet(train.n, train.mean_x, basis, lam, unit, spread, dtype)

    def test(self, task: int, which: int, train: TrainSet) -> HeldSet:
        """Return a test set of a task."""
        own = self.source.of(self.place(task) + 1 + which)
        held = own.about(train.mean, NO_UNITS)
        assert held.xx is not None
        products = train.basis.T @ held.xx @ train.basis
        low = float(self.options.alphas[0]) * train.unit
        divided = None
        if self.options.alphas.size > 1 and train.lam.size:
            divided = divide(products, train.lam, low, train.dtype)
        return HeldSet(products, train.basis.T @ held.mean_x, own.sum_x, divided, train.dtype)


@dataclass(frozen=True)
class Held:
    """One test set and one block of units.

    Attributes
    ----------
    z, w : ndarray of shape (r, b)
        ``U' x'y`` of the training and of the test rows, about training means.
    squares, spread : ndarray of shape (b,)
        Squares of the test rows around the training mean, and around their own.
    apart : ndarray of shape (b,)
        Test mean minus training mean.
    n : int
        Test rows.
    again : callable
        ``units -> (z, w)`` in float64.
    """

    z: Array
    w: Array
    squares: Double
    spread: Double
    apart: Double
    n: int
    again: Callable[[Index], tuple[Array, Array]]


def _held(train: TrainSet, test: HeldSet, z: Array, fitted: Part, held: Part) -> Held:
    """Put the statistics of a test set together."""
    mean_y = fitted.sum_y / train.n
    about, own = (train.mean, mean_y), train.n * train.mean
    squares = np.maximum(held.yy - mean_y * (2 * held.sum_y - held.n * mean_y), 0.0)
    spread = np.maximum(held.yy - held.sum_y**2 / held.n, 0.0)
    spread[spread <= FLAT_TARGET * held.yy] = 0.0
    w = train.project(held, about, test.sum_x)

    def again(which: Index) -> tuple[Array, Array]:
        return train.project(fitted, about, own, which), train.project(held, about, test.sum_x, which)

    return Held(z, w, squares, spread, held.sum_y / held.n - mean_y, held.n, again)


def _errors(held: Held, train: TrainSet, test: HeldSet, alphas: Double) -> Double:
    """Return squared errors (n_alphas, b) of every penalty."""
    if test.divided is None:
        return np.repeat(held.squares[None], alphas.size, axis=0)
    d = 1 / (alphas[:, None] + train.lam)
    linear = test.divided.far @ held.z
    linear -= held.w
    linear *= held.z
    linear *= 2
    square = test.divided.times_near(held.z)
    square *= held.z
    kind = held.z.dtype
    found = np.asarray(held.squares + (d.astype(kind) @ linear + (d * d).astype(kind) @ square), dtype=np.float64)
    few = np.flatnonzero(found.min(axis=0) < DIGITS[kind.itemsize] * held.squares)
    if few.size:
        z, w = held.again(few)
        for i in range(alphas.size):
            dz = z * d[i][:, None]
            quad = np.einsum("ij,ij->j", dz, test.products @ dz)
            found[i, few] = held.squares[few] - 2 * np.einsum("ij,ij->j", dz, w) + quad
    return np.maximum(found, 0.0)


def _score(held: Held, train: TrainSet, test: HeldSet, alphas: Double) -> tuple[Double, Double]:
    """Return r and squared errors (b,) with one penalty per unit."""
    r, error, unsure = _predictions(held, train, (test.narrow, test.mean), (held.z, held.w), alphas)
    if held.z.dtype == np.float32 and unsure.any():
        few = np.flatnonzero(unsure)
        some = Held(held.z, held.w, held.squares[few], held.spread[few], held.apart[few], held.n, held.again)
        r[few], error[few], _ = _predictions(some, train, (test.products, test.mean), held.again(few), alphas[few])
    return r, error


def _predictions(
    held: Held, train: TrainSet, test: tuple[Array, Double], sides: tuple[Array, Array], alphas: Double
) -> tuple[Double, Double, Mask]:
    """Return r, squared errors, and the units for which float32 has too few digits."""
    z, w = sides
    dz = z / (train.lam[:, None] + alphas * train.unit).astype(z.dtype)
    cross = np.einsum("ij,ij->j", dz, w, dtype=np.float64)
    quad = np.einsum("ij,ij->j", dz, test[0] @ dz, dtype=np.float64)
    mean = test[1] @ dz
    error = np.maximum(held.squares - 2 * cross + quad, 0.0)
    variance = quad - held.n * mean**2
    unsure = (variance <= VARIES * quad) | (error < DIGITS[4] * held.squares)
    defined = (variance > FLAT * quad) & (held.spread > 0)
    size = np.sqrt(np.where(defined, variance * held.spread, 1.0))
    r = np.full(cross.shape, np.nan)
    np.divide(cross - held.n * mean * held.apart, size, out=r, where=defined)
    return np.clip(r, -1.0, 1.0), error, unsure


@dataclass(frozen=True)
class _Round:
    """What going once through some training sets fills: errors of all penalties, or scores of the chosen ones."""

    errors: Errors | None = None
    scores: FoldScores | None = None
    chosen: Double | None = None


def _go(batch: Batch, tasks: range, into: _Round, tick: Callable[[str], None]) -> list[TrainSet]:
    """Go through training sets; return them without their eigenvectors, for the units of penalties."""
    found = []
    for j in tasks:
        train = batch.factor(j)
        task, place = batch.tasks[j], batch.place(j)
        tests = [batch.test(j, i, train) for i in range(len(task.tests))]
        for b, cols in enumerate(batch.target.blocks):
            fitted = batch.target.of(place, b)
            z = train.project(fitted, (train.mean, fitted.sum_y / train.n), train.n * train.mean)
            for i, (fold, _) in enumerate(task.tests):
                held = _held(train, tests[i], z, fitted, batch.target.of(place + 1 + i, b))
                _fill(held, (train, tests[i]), batch, (fold, cols, j >= len(batch.plan.outer)), into)
        found.append(TrainSet(train.n, train.mean, np.zeros((0, 0)), NO_UNITS, train.unit, train.spread, train.dtype))
        tick(f"training set {j + 1} of {len(batch.tasks)}")
    return found


def _fill(
    held: Held, sets: tuple[TrainSet, HeldSet], batch: Batch, where: tuple[int, slice, bool], into: _Round
) -> None:
    fold, cols, inside = where
    if into.errors is not None:
        parts: dict[str, Any] = {name: v if v is None else v[..., cols] for name, v in vars(into.errors).items()}
        view = Errors(**parts)
        view.add(fold if inside else None, _errors(held, *sets, batch.options.alphas * sets[0].unit), held.squares)
    if into.scores is not None and into.chosen is not None:
        r, error = _score(held, *sets, into.chosen[fold, cols])
        into.scores.pearson[fold, cols], into.scores.error[fold, cols] = r, error
        into.scores.total[fold, cols], into.scores.spread[fold, cols] = held.squares, held.spread


def solve_batch(batch: Batch, scored: Scored, units: slice, tick: Callable[[str], None]) -> Double:
    """Choose penalties and write the scores of a batch in place; return those for a refit, on the grid's scale."""
    options, k, t = batch.options, batch.plan.n_folds, batch.target.n_units
    outer, inner = range(len(batch.plan.outer)), range(len(batch.plan.outer), len(batch.tasks))
    scores, alphas = FoldScores.empty(k, t), options.alphas
    if alphas.size == 1:
        chosen, final = np.full((k, t), alphas[0]), np.full(t, alphas[0])
        trained = _go(batch, outer, _Round(None, scores, chosen), tick)
    else:
        errors = Errors.empty(k, alphas.size, t, squares=options.one_se)
        if options.nested:
            _go(batch, inner, _Round(errors), tick)
            chosen = alphas[_inner_choice(batch, errors)]
            trained = _go(batch, outer, _Round(errors, scores, chosen), tick)
            final = alphas[_outer_choice(batch, errors)]
        else:
            _go(batch, outer, _Round(errors), tick)
            final = alphas[_outer_choice(batch, errors)]
            chosen = np.repeat(final[None], k, axis=0)
            trained = _go(batch, outer, _Round(None, scores, chosen), tick)
    inside = {fold for task in batch.plan.inner for fold, _ in task.tests}
    used, absolute, relative = np.zeros((k, 1), dtype=bool), np.full((k, 1), np.nan), np.full((k, 1), np.nan)
    back = 1.0 if options.standardize else batch.source.scale**2
    for train, task in zip(trained, batch.plan.outer, strict=True):
        for fold, rows in task.tests:
            used[fold] = (fold in inside or not options.searches_inside) and rows.size >= options.fewest_test
            absolute[fold], relative[fold] = train.unit * back, train.unit / train.spread
    scored.write(np.arange(units.start, units.stop), folds=scores, used=used, chosen=(chosen, final),
                 units_of=(absolute, relative))  # fmt: skip
    return final


def _inner_choice(batch: Batch, errors: Errors) -> Index:
    """Return the place of the penalty of each fold and unit, shape (n_folds, n_units)."""
    if not batch.options.alpha_per_unit:
        shared = choose_alpha(_relative(batch, errors.inner, errors.inner_total))
        return np.repeat(shared, batch.target.n_units, axis=-1)
    folds = [fold for task in batch.plan.inner for fold, _ in task.tests]
    counts = np.bincount(np.array(folds, dtype=np.intp), minlength=batch.plan.n_folds)
    squares = errors.inner_squares
    found = [
        choose_alpha(e, None if squares is None else squares[f], int(counts[f])) for f, e in enumerate(errors.inner)
    ]
    return np.array(found)


def _outer_choice(batch: Batch, errors: Errors) -> Index:
    """Return the place of the penalty of each unit for a refit on all rows, shape (n_units,)."""
    if not batch.options.alpha_per_unit:
        return np.repeat(
            choose_alpha(_relative(batch, errors.outer, errors.outer_total)), batch.target.n_units, axis=-1
        )
    return choose_alpha(errors.outer, errors.outer_squares, len(batch.plan.outer))


def _relative(batch: Batch, errors: Double, totals: Double) -> Double:
    return relative_errors(errors, totals, np.any(batch.constant[0], axis=0))


def mean_eigenvalue(source: SourceSums, options: Options) -> float:
    """Return the mean eigenvalue of the scatter of all rows, of standardised features where those are fitted."""
    total = source.total
    square = total.centred().xx
    assert square is not None
    if options.standardize:
        return float(np.count_nonzero(inverse_sd(square.diagonal(), total.n)) * total.n / len(square))
    return float(np.trace(square) / len(square)) * source.scale**2


def refit_batch(batch: Batch, final: Double) -> tuple[Array, Array]:
    """Return weights (p, n_units) and intercepts (n_units,) of a fit on all rows, in the units of the data."""
    train, source, target = batch.factor(None), batch.source, batch.target
    coef = np.empty((len(train.mean), target.n_units), dtype=target.dtype)
    mean_y = np.empty(target.n_units)
    for b, cols in enumerate(target.blocks):
        part = target.everything(b)
        mean_y[cols] = part.sum_y / part.n
        z = train.project(part, (train.mean, mean_y[cols]), train.n * train.mean)
        z /= (train.lam[:, None] + final[cols] * train.unit).astype(z.dtype)
        coef[:, cols] = (train.narrow @ z) * (target.scale[cols] / source.scale)
    shift = source.shift.astype(np.float64) + train.mean * source.scale
    intercept = target.shift + mean_y * target.scale - shift @ coef
    return coef, intercept.astype(target.dtype)
