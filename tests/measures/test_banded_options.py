"""Ways to choose penalties, and scales of them, for bands and kernels: against plain loops and ridge."""

from __future__ import annotations

import numpy as np
import pytest

import repcompare as rc
from repcompare.errors import OptionError
from repcompare.measures.encoding.banded import banded_ridge, delayed_ridge
from repcompare.measures.encoding.delays import delay_features
from repcompare.measures.encoding.kernel_ridge import kernel_ridge
from repcompare.measures.encoding.partition import partition_encoding
from repcompare.measures.encoding.ridge import ridge
from tests import naive_banded as naive
from tests.measures import test_kernel_ridge as peer
from tests.measures.test_banded import CODES, GAMMAS, data, make_folds, run
from tests.naive_ridge import inner_folds

ALPHAS = np.logspace(-2, 4, 7)
CHOICES = {"trace": {"alpha_scale": "trace"}, "one_se": {"one_se": True}, "pearson": {"select_by": "pearson"},
           "both": {"alpha_scale": "trace", "one_se": True}, "fisher_z": {"fisher_z": True}}  # fmt: skip


def unit_of(x, train):
    """Mean eigenvalue of the scatter of some rows."""
    about = x[train] - x[train].mean(axis=0)
    return (about**2).sum() / x.shape[1]


def tables(x, y, folds, codes, trace):
    """Errors and r of one unit, (n_test_sets, n_gammas, n_alphas)."""
    errors = np.zeros((len(folds), len(GAMMAS), len(ALPHAS)))
    r = np.zeros_like(errors)
    for v, (train, test) in enumerate(folds):
        size = unit_of(x, train) if trace else 1.0
        for g, gamma in enumerate(GAMMAS):
            for a, alpha in enumerate(ALPHAS):
                guess = naive.predict(x, y, train, test, naive.penalties_of(codes, gamma, alpha * size))[0]
                errors[v, g, a] = ((y[test] - guess) ** 2).sum()
                r[v, g, a] = np.corrcoef(guess, y[test])[0, 1]
    return errors, r


def choose(errors, r, options):
    """Places of the weights and the penalty."""
    if options.get("select_by") == "pearson":
        return naive.best(2 - r.mean(axis=0))
    total = errors.sum(axis=0)
    g, a = naive.best(total)
    if options.get("one_se"):
        error = np.sqrt(len(errors)) * errors[:, g, total[g].argmin()].std(ddof=1)
        a = int(np.flatnonzero(total[g] <= total[g].min() + error).max())
    return g, a


@pytest.mark.parametrize("width", [6, 50])
@pytest.mark.parametrize("name", CHOICES)
def test_bands_are_chosen_as_by_plain_loops(name, width):
    x, y = data(p=width, n=32, t=2)
    codes, options = np.resize(CODES, width), CHOICES[name]
    folds, trace = make_folds(len(x)), "alpha_scale" in options
    found = run(banded_ridge(codes, alphas=ALPHAS, gammas=GAMMAS, **options), x, y, folds)
    for u in range(2):
        scores = []
        for f, (train, test) in enumerate(folds.splits):
            inner = inner_folds(folds.splits, f, len(x))
            g, a = choose(*tables(x, y[:, u], inner, codes, trace), options)
            penalties = naive.penalties_of(range(3), GAMMAS[g], ALPHAS[a] * (unit_of(x, train) if trace else 1.0))
            np.testing.assert_allclose(found.details["fold_alphas"][f, :, u], penalties, rtol=1e-9)
            if trace:
                relative = found.details["fold_alphas_relative"][f, :, u]
                np.testing.assert_allclose(relative, naive.penalties_of(range(3), GAMMAS[g], ALPHAS[a]), rtol=1e-9)
            guess = naive.predict(x, y[:, u], train, test, penalties[codes])[0]
            scores.append(np.corrcoef(guess, y[test, u])[0, 1])
        expected = np.tanh(np.mean(np.arctanh(scores))) if name == "fisher_z" else np.mean(scores)
        assert found.unit_scores[u] == pytest.approx(expected, rel=1e-7)
        g, a = choose(*tables(x, y[:, u], folds.splits, codes, trace), options)
        size = unit_of(x, np.arange(len(x))) if trace else 1.0
        final = naive.penalties_of(range(3), GAMMAS[g], ALPHAS[a] * size)
        np.testing.assert_allclose(found.details["alphas"][:, u], final, rtol=1e-9)


def test_one_standard_error_takes_other_penalties():
    x, y = data(n=40, t=8)
    plain, one = (run(kernel_ridge(alphas=ALPHAS, **o), x, y, make_folds(40)) for o in ({}, {"one_se": True}))
    assert (one.details["fold_alphas"] >= plain.details["fold_alphas"]).all()
    assert (one.details["fold_alphas"] > plain.details["fold_alphas"]).any()


@pytest.mark.parametrize("nested", [True, False])
@pytest.mark.parametrize("width", [6, 50])
@pytest.mark.parametrize("name", CHOICES)
def test_a_linear_kernel_and_a_single_band_are_ridge(name, width, nested):
    x, y = data(p=width)
    folds, how = make_folds(len(x)), {"alphas": ALPHAS, "nested": nested, **CHOICES[name]}
    expected = run(ridge(**how), x, y, folds)
    for measure in (kernel_ridge(**how), banded_ridge(**how)):
        found = run(measure, x, y, folds)
        np.testing.assert_allclose(found.unit_scores, expected.unit_scores, rtol=1e-7)
        names = ["alphas", "fold_alphas"] + (["alphas_relative", "fold_alphas_relative"] if "trace" in str(how) else [])
        for name in names:
            np.testing.assert_allclose(found.details[name], expected.details[name], rtol=1e-9)


@pytest.mark.parametrize("width", [3, 40])
@pytest.mark.parametrize("name", CHOICES)
def test_delayed_ridge_is_ridge_on_delayed_features(name, width):
    x, y = data(n=60, p=width)
    starts = np.arange(0, 60, 15)
    splits = [(np.setdiff1d(np.arange(60), np.arange(s - 2, s + 17)), np.arange(s, s + 15)) for s in starts]
    folds = type(make_folds(60))(tuple(splits), 60)
    found = run(delayed_ridge(ALPHAS, delays=[0, 2], **CHOICES[name]), x, y, folds)
    expected = run(ridge(ALPHAS, **CHOICES[name]), delay_features(x, [0, 2]), y, folds)
    np.testing.assert_allclose(found.unit_scores, expected.unit_scores, rtol=1e-7)
    np.testing.assert_allclose(found.details["alphas"], expected.details["alphas"], rtol=1e-9)


@pytest.mark.parametrize("options", [{"one_se": True}, {"select_by": "pearson"}])
def test_an_rbf_kernel_is_chosen_as_by_plain_loops(options):
    x, y = data(n=32, p=5, t=2)
    folds = make_folds(32)
    found = run(kernel_ridge("rbf", alphas=peer.ALPHAS, bandwidth=1.5, **options), x, y, folds)
    for f in range(4):
        for u in range(2):
            errors, r = np.zeros((2, 3, len(peer.ALPHAS)))
            for v, (train, test) in enumerate(inner_folds(folds.splits, f, 32)):
                for a, alpha in enumerate(peer.ALPHAS):
                    guess = peer.peer_predict("rbf", x, y[:, u], train, test, alpha)
                    errors[v, a] = ((y[test, u] - guess) ** 2).sum()
                    r[v, a] = np.corrcoef(guess, y[test, u])[0, 1]
            _, place = choose(errors[:, None], r[:, None], options)
            assert found.details["fold_alphas"][f, u] == pytest.approx(peer.ALPHAS[place])


@pytest.mark.parametrize("width", [6, 50])
def test_refined_penalties_do_not_depend_on_the_scale_of_the_features(width):
    x, y = data(p=width)
    folds, codes = make_folds(len(x)), np.resize(CODES, width)
    one, two = (
        run(banded_ridge(codes, alphas=ALPHAS, n_iter=6, refine=True, alpha_scale="trace"), scale * x, y, folds)
        for scale in (1.0, 1000.0)
    )
    np.testing.assert_allclose(two.unit_scores, one.unit_scores, rtol=1e-6)
    plain = run(banded_ridge(codes, alphas=ALPHAS, n_iter=6, alpha_scale="trace", nested=False), x, y, folds)
    refined = run(
        banded_ridge(codes, alphas=ALPHAS, n_iter=6, alpha_scale="trace", nested=False, refine=True, scoring="r2"),
        x, y, folds,
    )  # fmt: skip
    r2 = run(banded_ridge(codes, alphas=ALPHAS, n_iter=6, alpha_scale="trace", nested=False, scoring="r2"), x, y, folds)
    assert (refined.unit_scores >= r2.unit_scores - 1e-9).mean() > 0.5
    assert refined.unit_scores.mean() > r2.unit_scores.mean()
    np.testing.assert_array_equal(plain.details["alphas"], r2.details["alphas"])


@pytest.mark.parametrize("model", ["banded_ridge", "kernel_ridge"])
def test_weights_are_of_the_absolute_penalties(model):
    x, y = data(p=6)
    own = {"bands": CODES, "n_iter": 5} if model == "banded_ridge" else {}
    found = rc.encode(x, y, model=model, alpha_scale="trace", alphas=ALPHAS, weights=True, **own)
    a, b = x - x.mean(axis=0), y - y.mean(axis=0)
    for u in range(y.shape[1]):
        penalty = found.alphas[CODES, u] if model == "banded_ridge" else np.full(6, found.alphas[u])
        used = np.isfinite(penalty)
        exact = np.linalg.solve(a[:, used].T @ a[:, used] + np.diag(penalty[used]), a[:, used].T @ b[:, u])
        np.testing.assert_allclose(found.coef[used, u], exact, rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alpha_scale": "tracee"}, "did you mean 'trace'"),
        ({"select_by": "r"}, "select_by"),
        ({"refine": True, "one_se": True}, "refine=True"),
        ({"refine": True, "shared": True, "select_by": "pearson"}, "refine=True"),
        ({"one_se": True, "shared": True}, "one_se=True"),
        ({"select_by": "pearson", "alpha_per_unit": False}, "alpha_per_unit=False"),
        ({"one_see": True}, "no option 'one_see'"),
    ],
)
def test_options_that_do_not_fit(options, message):
    for make in (banded_ridge, kernel_ridge, delayed_ridge):
        if make is not delayed_ridge or not {"refine", "shared"} & set(options):
            with pytest.raises(OptionError, match=message):
                make(**options)


def test_what_is_not_defined_is_refused():
    for kernel in ("rbf", "polynomial", "precomputed"):
        with pytest.raises(OptionError, match="does not say how many it has"):
            kernel_ridge(kernel, alpha_scale="trace")
    x, y = data()
    for name, value in (("alpha_scale", "trace"), ("one_se", True), ("select_by", "pearson"), ("fisher_z", True)):
        with pytest.raises(OptionError, match=f"leave {name}= out"):
            partition_encoding(x, y, make_folds(36), CODES, **{name: value})


def test_options_are_named():
    label = banded_ridge(alpha_scale="trace", one_se=True, fisher_z=True).label
    assert "alpha_scale=trace, one_se=True, fisher_z=True" in label
