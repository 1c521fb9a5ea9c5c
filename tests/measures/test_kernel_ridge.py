"""Kernel ridge against scikit-learn's KernelRidge per fold, and against ridge."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.kernel_ridge import KernelRidge
from sklearn.metrics.pairwise import polynomial_kernel, rbf_kernel
from sklearn.preprocessing import KernelCenterer

from repcompare.errors import MeasureError, OptionError
from repcompare.measures.encoding.kernel_ridge import kernel_ridge
from repcompare.measures.encoding.ridge import ridge
from tests.measures.test_banded import data, make_folds, run
from tests.naive_ridge import best, inner_folds

ALPHAS = np.logspace(-2, 2, 4)


def peer_kernel(name, x, train):
    """Kernel (n, n) by the parameters of the training rows."""
    if name == "linear":
        return x @ x.T
    if name == "rbf":
        rows = x[train]
        distances = [np.linalg.norm(a - b) for i, a in enumerate(rows) for b in rows[:i]]
        return rbf_kernel(x, gamma=1 / (2 * (1.5 * np.median(distances)) ** 2))
    about = x - x[train].mean(axis=0)
    return polynomial_kernel(about, degree=3, coef0=0.5, gamma=1 / (about[train] ** 2).sum(axis=1).mean())


def peer_predict(name, x, y, train, test, alpha):
    kernel = peer_kernel(name, x, train)
    centre = KernelCenterer().fit(kernel[np.ix_(train, train)])
    mean = y[train].mean()
    model = KernelRidge(alpha=alpha, kernel="precomputed")
    model.fit(centre.transform(kernel[np.ix_(train, train)]), y[train] - mean)
    return model.predict(centre.transform(kernel[np.ix_(test, train)])) + mean


def peer_scores(name, x, y, splits):
    """Nested: the penalty of a fold by the errors of its inner folds."""
    scores, chosen = np.zeros((len(splits), y.shape[1])), np.zeros((len(splits), y.shape[1]))
    for u in range(y.shape[1]):
        for f, (train, test) in enumerate(splits):
            errors = np.zeros(len(ALPHAS))
            for inside, held in inner_folds(splits, f, len(y)):
                for i, alpha in enumerate(ALPHAS):
                    errors[i] += ((y[held, u] - peer_predict(name, x, y[:, u], inside, held, alpha)) ** 2).sum()
            chosen[f, u] = ALPHAS[best(errors)]
            scores[f, u] = np.corrcoef(peer_predict(name, x, y[:, u], train, test, chosen[f, u]), y[test, u])[0, 1]
    return scores.mean(axis=0), chosen


@pytest.mark.parametrize("name", ["linear", "rbf", "polynomial"])
def test_scores_equal_scikit_learn_fold_by_fold(name):
    x, y = data(n=36, p=5)
    folds = make_folds(36)
    own = {"rbf": {"bandwidth": 1.5}, "polynomial": {"coef0": 0.5}}.get(name, {})
    found = run(kernel_ridge(name, alphas=ALPHAS, **own), x, y, folds)
    scores, chosen = peer_scores(name, x, y, folds.splits)
    np.testing.assert_allclose(found.unit_scores, scores, rtol=1e-8)
    np.testing.assert_allclose(found.details["fold_alphas"], chosen, rtol=1e-12)


@pytest.mark.parametrize("p", [6, 60])
@pytest.mark.parametrize("scoring", ["pearson", "r2"])
def test_the_linear_kernel_is_ridge(p, scoring):
    x, y = data(n=50, p=p)
    folds = make_folds(50, 5)
    one = run(kernel_ridge(alphas=ALPHAS, scoring=scoring), x, y, folds)
    two = run(ridge(ALPHAS, scoring=scoring), x, y, folds)
    np.testing.assert_allclose(one.unit_scores, two.unit_scores, rtol=1e-8)
    np.testing.assert_array_equal(one.details["fold_alphas"], two.details["fold_alphas"])
    np.testing.assert_array_equal(one.details["alphas"], two.details["alphas"])


def test_a_precomputed_kernel_is_the_kernel():
    x, y = data(n=40, p=5)
    folds = make_folds(40)
    one = run(kernel_ridge(alphas=ALPHAS), x, y, folds).unit_scores
    np.testing.assert_allclose(run(kernel_ridge("precomputed", alphas=ALPHAS), x @ x.T, y, folds).unit_scores, one)
    fixed = {"bandwidth": 2.0, "bandwidth_scale": "absolute"}
    two = run(kernel_ridge("rbf", alphas=ALPHAS, **fixed), x, y, folds).unit_scores
    given = rbf_kernel(x, gamma=1 / 8)
    np.testing.assert_allclose(run(kernel_ridge("precomputed", alphas=ALPHAS), given, y, folds).unit_scores, two)


def test_polynomial_of_degree_one_is_ridge_with_a_scaled_penalty():
    x, y = data(n=40, p=5)
    folds = make_folds(40)
    one = run(kernel_ridge("polynomial", degree=1, gamma=0.25, alphas=ALPHAS), x, y, folds)
    two = run(ridge(ALPHAS * 4), x, y, folds)
    np.testing.assert_allclose(one.unit_scores, two.unit_scores, rtol=1e-8)


def test_a_wide_rbf_kernel_tends_to_ridge():
    """exp(-d^2 / 2 s^2) -> 1 - d^2 / 2 s^2, whose centred form is the linear kernel over s^2."""
    x, y = data(n=40, p=5)
    folds = make_folds(40)
    limit = run(ridge([1.0]), x, y, folds).unit_scores
    apart = []
    for sigma in (400.0, 2000.0):
        near = kernel_ridge("rbf", bandwidth=sigma, bandwidth_scale="absolute", alphas=[1 / sigma**2])
        apart.append(np.abs(run(near, x, y, folds).unit_scores - limit).max())
    assert apart[1] < 1e-4
    assert 20 < apart[0] / apart[1] < 30  # the next term is of order 1 / sigma^2


@pytest.mark.parametrize("name", ["rbf", "polynomial"])
def test_parameters_of_a_fold_do_not_see_its_test_rows(name):
    """A test row moved far away would move a median over all rows, and the predictions of the others with it."""
    x, y = data(n=40, p=5)
    folds = make_folds(40)
    measure = kernel_ridge(name, alphas=[1.0])
    far = x.copy()
    far[folds.splits[0][1][0]] += 1e3
    kept = folds.splits[0][1][1:]
    rows = []
    for values in (x, far):
        problem = measure.prepared(values, folds).problem
        products = problem.products(y - y.mean(axis=0))
        factor = problem.factor(0, np.ones(1))
        guess = problem.rows(0, 0, np.ones(1), factor) @ (
            factor.basis.T @ products.train[0] / (factor.lam[:, None] + 1)
        )
        rows.append(guess[np.isin(folds.splits[0][1], kept)])
    np.testing.assert_allclose(rows[0], rows[1], rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kernel": "rbff"}, "did you mean 'rbf'"),
        ({"kernel": "rbf", "bandwidth": 0.0}, "bandwidth=0.0"),
        ({"kernel": "rbf", "bandwidth_scale": "absolute"}, "needs a number"),
        ({"degree": 0}, "degree=0"),
        ({"coef0": -1.0}, "coef0=-1.0"),
        ({"gamma": -2}, "gamma=-2"),
        ({"bands": [0, 1]}, "no option 'bands'"),
        ({"alphas": [0.0]}, "all finite and > 0"),
    ],
)
def test_wrong_options_raise(options, message):
    with pytest.raises(OptionError, match=message):
        kernel_ridge(**options)


def test_matrices_that_are_no_kernels_raise():
    x, y = data(n=20, p=5)
    folds = make_folds(20)
    measure = kernel_ridge("precomputed")
    with pytest.raises(MeasureError, match=r"shape \(20, 5\); expected \(20, 20\)"):
        measure.prepared(x, folds)
    kernel = x @ x.T
    with pytest.raises(MeasureError, match="expected none below 0"):
        measure.prepared(np.sqrt(np.maximum(np.diag(kernel) + np.diag(kernel)[:, None] - 2 * kernel, 0)), folds)
    kernel[0, 1] += 1
    with pytest.raises(MeasureError, match="not symmetric"):
        measure.prepared(kernel, folds)


def test_equal_rows_have_no_median_distance():
    x, y = data(n=20, p=5)
    x[:17] = 1.0
    with pytest.raises(MeasureError, match="the median distance is 0"):
        run(kernel_ridge("rbf"), x, y, make_folds(20))
