"""CCA against Hotelling's eigenvalues and a loop over folds; chance levels; guards."""

from __future__ import annotations

import numpy as np
import pytest

from repcompare.errors import MeasureError, OptionError
from repcompare.measures import registry
from repcompare.measures._measure import Folds, as_outcome
from repcompare.measures._subspace import canonical_sum, orthonormal
from repcompare.measures.cca import cca
from repcompare.measures.cka import cka
from repcompare.measures.svcca import pwcca, svcca
from tests import naive
from tests import naive_alignment_cca as naive_cca


def folds(n, k=5, seed=0):
    parts = np.array_split(np.random.default_rng(seed).permutation(n), k)
    return Folds(tuple((np.setdiff1d(np.arange(n), part), np.sort(part)) for part in parts), n)


def score(x, y, drawn=None, **options):
    measure = cca(**options)
    drawn = (drawn or folds(len(x))) if measure.fitted else None
    return measure.compare(measure.prepared(x, drawn), measure.prepared(y, drawn)).score


def systems(n=80, p=6, q=5, seed=0):
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, 3))
    return z @ rng.normal(size=(3, p)) + rng.normal(size=(n, p)), z @ rng.normal(size=(3, q)) + rng.normal(size=(n, q))


def test_in_sample_equals_hotelling():
    x, y = systems()
    rho = naive.canonical_correlations(x, y)
    assert score(x, y, held_out=False) == pytest.approx(rho.mean(), abs=1e-9)
    assert score(x, y, held_out=False, summary="mean_squared") == pytest.approx((rho**2).mean(), abs=1e-9)
    yanai = (rho**2).sum() / np.sqrt(30)
    assert score(x, y, held_out=False, summary="yanai") == pytest.approx(yanai, abs=1e-9)


@pytest.mark.parametrize("summary", ["mean", "mean_squared", "yanai"])
def test_held_out_equals_the_loop(summary):
    x, y = systems()
    drawn = folds(80)
    expected = naive.held_out_cca(x, y, drawn.splits, summary)
    assert score(x, y, drawn, summary=summary) == pytest.approx(expected, abs=1e-9)


def test_yanai_is_cka_of_whitened_data():
    x, y = systems()
    u, v = (np.linalg.svd(w - w.mean(0), full_matrices=False)[0] for w in (x, y))
    biased = cka(estimator="biased")
    expected = biased.compare(biased.prepared(u), biased.prepared(v))
    assert score(x, y, held_out=False, summary="yanai") == pytest.approx(expected, abs=1e-12)


def test_golden_value():
    """Mean canonical correlation of uniform data of numpy's legacy generator: similarity-repository, 30 x 25, seed 0."""
    np.random.seed(0)  # noqa: NPY002 - the published number was made with it
    x, y = np.random.uniform(size=(30, 25)), np.random.uniform(size=(30, 25))  # noqa: NPY002
    assert score(x, y, held_out=False, degenerate="allow") == pytest.approx(0.8901049738, abs=1e-9)


@pytest.mark.parametrize(("p", "q"), [(20, 50), (60, 60)])
def test_chance_in_sample_and_held_out(p, q):
    """V07: in-sample mean rho^2 of independent data is max(p, q) / (n - 1); held out the mean is 0."""
    found, held = [], []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        x, y = rng.normal(size=(100, p)), rng.normal(size=(100, q))
        found.append(score(x, y, held_out=False, summary="mean_squared", degenerate="allow"))
        if p + q < 78:
            held.append(score(x, y))
    assert np.mean(found) == pytest.approx(max(p, q) / 99, abs=0.012)
    assert not held or abs(np.mean(held)) < 0.02


def test_degenerate_ranks_raise_and_can_be_allowed():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(100, 60)), rng.normal(size=(100, 60))
    with pytest.raises(MeasureError, match=r"ranks 60 \+ 60 reach .* \(100 - 1\): 21 correlations would be exactly 1"):
        score(x, y, held_out=False)
    measure = cca(held_out=False, degenerate="allow")
    rho = np.linalg.svd(measure.prepared(x).columns().T @ measure.prepared(y).columns(), compute_uv=False)
    assert (rho > 1 - 1e-9).sum() == 21
    with pytest.raises(MeasureError, match=r"\(80 - 1\)"):
        score(x, y)
    assert -1 <= score(x, y, regularization=0.5) <= 1


def test_crowded_data_are_noted():
    x, y = systems(40, 8, 3)
    measure = cca(held_out=False)
    outcome = measure.compare(measure.prepared(x), measure.prepared(y))
    assert outcome.notes[0].startswith("cca_crowded: rank 8 for 40")
    assert not measure.compare(measure.prepared(x[:, :2]), measure.prepared(y[:, :2])).notes


def test_rank_deficient_data_lose_their_null_directions():
    x, y = systems()
    doubled = np.concatenate([x, x @ np.ones((6, 2)) * 1e-3], axis=1)
    assert score(doubled, y) == pytest.approx(score(x, y), abs=1e-9)
    assert score(x * 1e-6, y * 1e6) == pytest.approx(score(x, y), abs=1e-9)


def test_regularisation_one_gives_pls_directions():
    x, y = systems()
    drawn = folds(80)
    scores = []
    for train, test in drawn.splits:
        a, b = (v[train] - v[train].mean(0) for v in (x, y))
        u, _, vt = np.linalg.svd(a.T @ b, full_matrices=False)
        left, right = (x[test] - x[train].mean(0)) @ u, (y[test] - y[train].mean(0)) @ vt.T
        scores.append(np.mean([np.corrcoef(left[:, i], right[:, i])[0, 1] for i in range(5)]))
    assert score(x, y, drawn, regularization=1.0) == pytest.approx(np.mean(scores), abs=1e-9)


def test_errors():
    x, y = systems()
    with pytest.raises(MeasureError, match="needs folds"):
        cca().prepared(x)
    with pytest.raises(MeasureError, match="folds index 70 stimuli, but the data have 80"):
        cca().prepared(x, folds(70))
    with pytest.raises(OptionError, match="summary='median'"):
        cca(summary="median")
    with pytest.raises(MeasureError, match="no variance"):
        score(np.ones((80, 2)), y)


# SVCCA and PWCCA


def outcome(measure, x, y):
    return measure.compare(measure.prepared(x), measure.prepared(y))


@pytest.mark.parametrize(("name", "below"), [("min", min), ("max", max), ("geometric", lambda a, b: np.sqrt(a * b))])
@pytest.mark.parametrize("variance", [0.6, 0.9, 0.99, 1.0])
def test_svcca_equals_the_loop(variance, name, below):
    x, y = systems(80, 12, 7)
    expected = naive_cca.svcca(x, y, variance, below)
    measure = svcca(variance, denominator=name)
    assert outcome(measure, x, y).score == pytest.approx(expected, abs=1e-9)
    kept = [naive_cca.components_for(v, variance) for v in (x, y)]
    np.testing.assert_array_equal(outcome(measure, x, y).details["ranks"], [kept])


def test_svcca_with_given_components_is_cca_of_principal_components():
    x, y = systems(80, 12, 7)
    for summary in ("mean", "mean_squared", "yanai"):
        expected = score(naive_cca.principal(x, 3), naive_cca.principal(y, 3), held_out=False, summary=summary)
        assert outcome(svcca(n_components=3, summary=summary), x, y).score == pytest.approx(expected, abs=1e-10)
    assert outcome(svcca(1.0), x, y).score == pytest.approx(score(x, y, held_out=False), abs=1e-10)


def test_all_components_over_the_geometric_mean_is_the_shape_metric_at_alpha_zero():
    x, y = systems()
    shape = registry.make("shape_distance", alpha=0.0, score="similarity")
    cosine = as_outcome(shape.compare(shape.prepared(x), shape.prepared(y))).score
    assert outcome(svcca(1.0, denominator="geometric"), x, y).score == pytest.approx(cosine, abs=1e-10)


def test_svcca_of_wide_data_with_the_bases_of_a_narrow_system():
    x, y = systems(60, 5, 4)
    q = np.linalg.qr(np.random.default_rng(1).normal(size=(300, 5)))[0]
    assert outcome(svcca(), x @ q.T, y).score == pytest.approx(outcome(svcca(), x, y).score, abs=1e-10)
    rng = np.random.default_rng(0)
    wide = x @ rng.normal(size=(5, 300)) + 0.3 * rng.normal(size=(60, 300))
    expected = naive_cca.svcca(wide, y, 0.9)
    assert outcome(svcca(0.9, degenerate="allow"), wide, y).score == pytest.approx(expected, abs=1e-9)


def test_svcca_keeps_the_smallest_count_that_reaches_the_variance():
    """Three components with .5, .3 and .2 of the variance (not of the singular values)."""
    rng = np.random.default_rng(0)
    columns = rng.normal(size=(40, 3))
    x = np.linalg.qr(columns - columns.mean(0))[0] * np.sqrt([0.5, 0.3, 0.2])
    for variance, count in ((0.49, 1), (0.5, 1), (0.501, 2), (0.8, 2), (0.801, 3), (1.0, 3)):
        assert svcca(variance).prepared(x).rank == count


def test_svcca_guards_what_is_kept():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(50, 200)), rng.normal(size=(50, 200))
    with pytest.raises(MeasureError, match="svcca: ranks 4[0-9] "):
        outcome(svcca(), x, y)
    assert outcome(svcca(degenerate="allow"), x, y).score == pytest.approx(0.9, abs=0.1)
    found = outcome(svcca(n_components=10), x, y)
    assert found.notes[0].startswith("svcca_crowded: rank 10 for 50")
    with pytest.raises(MeasureError, match="n_components=8, but the rank is 5"):
        outcome(svcca(n_components=8), systems()[1], y)
    spread = systems()[1] @ np.diag([1, 1, 1, 1, 1e-5])
    assert svcca(n_components=5).prepared(spread).rank == 5


@pytest.mark.parametrize("weights", ["absolute", "squared"])
@pytest.mark.parametrize(("p", "q"), [(6, 5), (4, 9)])
def test_pwcca_equals_the_loop(weights, p, q):
    x, y = systems(80, p, q)
    found = outcome(pwcca(weights=weights), x, y)
    assert found.score == pytest.approx(naive_cca.pwcca(x, y, weights), abs=1e-10)
    np.testing.assert_allclose(found.details["rho"], canonical(x, y), atol=1e-9)


def canonical(x, y):
    return np.sort(naive.canonical_correlations(x, y))[::-1]


def test_pwcca_that_is_not_identified_raises():
    """Two latents that both systems have exactly: their variates may be rotated into each other."""
    rng = np.random.default_rng(0)
    both = rng.normal(size=(60, 2))
    x, y = np.c_[both, rng.normal(size=(60, 3))], np.c_[both, rng.normal(size=(60, 2))] @ rng.normal(size=(4, 4))
    with pytest.raises(MeasureError, match="about 2 of 4 canonical correlations agree"):
        outcome(pwcca(), x, y)
    found = outcome(pwcca(degenerate="allow"), x, y)
    assert found.notes[-1].startswith("pwcca_not_identified")
    q = np.linalg.qr(rng.normal(size=(5, 5)))[0]
    squared = pwcca(weights="squared")
    assert outcome(squared, x, y).score == pytest.approx(outcome(squared, x @ q, y).score, abs=1e-12)
    assert outcome(pwcca(), x, x @ rng.normal(size=(5, 5))).score == pytest.approx(1, abs=1e-12)


def test_pwcca_depends_on_the_axes_of_the_first_system_only():
    x, y = systems()
    rng = np.random.default_rng(1)
    (q, _), (r, _) = (np.linalg.qr(rng.normal(size=(k, k))) for k in (6, 5))
    value = outcome(pwcca(), x, y).score
    assert abs(outcome(pwcca(), x @ q, y).score - value) > 1e-3
    assert outcome(pwcca(), x, y @ r).score == pytest.approx(value, abs=1e-12)


@pytest.mark.parametrize("measure", [pwcca(), svcca(1.0)], ids=lambda m: m.name)
def test_spaces_that_fill_the_stimuli_raise_and_can_be_allowed(measure):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(30, 18)), rng.normal(size=(30, 16))
    with pytest.raises(MeasureError, match=rf"{measure.name}: ranks 18 \+ 16 .* 5 correlations would be exactly 1"):
        outcome(measure, x, y)
    allowed = registry.make(measure.name, degenerate="allow")
    assert 0 < outcome(allowed, x, y).score <= 1


# Chance, corrected


@pytest.mark.parametrize("summary", ["mean_squared", "yanai"])
def test_chance_correction(summary):
    found = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        x, y = rng.normal(size=(60, 12)), rng.normal(size=(60, 5))
        found.append(score(x, y, held_out=False, summary=summary, chance_corrected=True))
    assert np.mean(found) == pytest.approx(0, abs=0.01)
    plain = cca(held_out=False, summary=summary)
    null = outcome(plain, x, y).details["null_mean"]
    assert null == pytest.approx({"mean_squared": 12, "yanai": np.sqrt(60)}[summary] / 59)
    assert found[-1] == pytest.approx((outcome(plain, x, y).score - null) / (1 - null), abs=1e-12)
    assert score(x, x @ rng.normal(size=(12, 12)), held_out=False, summary=summary, chance_corrected=True) > 1 - 1e-9


def test_options_off_the_menu():
    for make, text in (
        (lambda: cca(chance_corrected=True), "chance_corrected=True needs an exact chance level"),
        (lambda: cca(held_out=False, chance_corrected=True), "chance_corrected=True needs"),
        (lambda: svcca(1.5), "variance=1.5"),
        (lambda: svcca(n_components=0), "n_components=0"),
        (lambda: svcca(n_components=2.5), "n_components=2.5"),
        (lambda: svcca(denominator="mean"), "denominator='mean'"),
        (lambda: svcca(summary="yanai", denominator="max"), "does not go with summary='yanai'"),
        (lambda: pwcca(weights="sqared"), "did you mean 'squared'"),
    ):
        with pytest.raises(OptionError, match=text):
            make()


# Awkward data, on every route to a basis

FAMILY = [
    cca(held_out=False),
    cca(held_out=False, summary="yanai"),
    svcca(1.0),
    pwcca(weights="squared"),
    pwcca(),
]
family = pytest.mark.parametrize("measure", FAMILY, ids=lambda m: m.label)


@family
def test_duplicated_and_dead_units_change_nothing(measure):
    x, y = systems()
    value = outcome(measure, x, y).score
    assert outcome(measure, np.c_[x, x], np.c_[y, y, y]).score == pytest.approx(value, abs=1e-9)
    assert outcome(measure, np.c_[x, np.full((80, 2), 3.0)], y).score == pytest.approx(value, abs=1e-10)


@family
def test_badly_scaled_data(measure):
    x, y = systems()
    value = outcome(measure, x, y).score
    for scale in (1e-6, 1e-150):  # whose squares underflow
        assert outcome(measure, x * scale, y / scale).score == pytest.approx(value, abs=1e-9)
    assert outcome(measure, x * 1e-3 + 1e4, y).score == pytest.approx(value, abs=1e-5)
    narrow = [(x + 1e4).astype(np.float32), y.astype(np.float32)]
    assert outcome(measure, *narrow).score == pytest.approx(value, abs=2e-3)


@pytest.mark.parametrize("condition", [1e1, 1e3, 1e5, 1e8])
def test_ill_conditioned_data_keep_their_correlations(condition):
    """One pass of Cholesky, two, and singular values: the three routes to a basis agree with well-scaled data."""
    x, y = systems(200, 6, 5)
    rng = np.random.default_rng(0)
    (q, _), (r, _) = (np.linalg.qr(rng.normal(size=(6, 6))) for _ in range(2))
    mixed = x @ q @ np.diag(np.geomspace(1, 1 / condition, 6)) @ r
    limit = 1e-11 + 1e-14 * condition
    for summary in ("mean", "mean_squared", "yanai"):
        value = score(x, y, held_out=False, summary=summary)
        assert score(mixed, y, held_out=False, summary=summary) == pytest.approx(value, abs=limit)
    assert score(mixed, y) == pytest.approx(score(x, y), abs=limit)
    found = orthonormal(mixed - mixed.mean(0), 2.2e-16).columns()
    np.testing.assert_allclose(found.T @ found, np.eye(6), atol=1e-11)


def test_rank_cut_of_units_below_precision():
    """A direction 1e-14 of the largest is noise and is dropped, whichever route is taken."""
    x, y = systems(200, 6, 5)
    tiny = x @ np.diag([1, 1, 1, 1, 1, 1e-14])
    assert score(tiny, y, held_out=False) == pytest.approx(score(x[:, :5], y, held_out=False), abs=1e-9)
    assert score(x @ np.diag([1, 1, 1, 1, 1, 1e-5]), y, held_out=False, rtol=1e-4) == pytest.approx(
        score(x[:, :5], y, held_out=False), abs=1e-4
    )


@family
def test_four_stimuli(measure):
    rng = np.random.default_rng(0)
    assert 0 <= outcome(measure, rng.normal(size=(4, 1)), rng.normal(size=(4, 1))).score <= 1
    with pytest.raises(MeasureError, match="degenerate='allow'"):
        outcome(measure, rng.normal(size=(4, 2)), rng.normal(size=(4, 30)))


def test_sums_of_singular_values_fall_back_where_eigenvalues_lose_digits():
    rng = np.random.default_rng(0)
    u, v = (np.linalg.qr(rng.normal(size=(9, 7)))[0] for _ in range(2))
    for smallest in (0.1, 1e-3, 1e-6, 0.0):
        s = np.linspace(0.9, smallest, 7)
        assert canonical_sum((u * s) @ v.T) == pytest.approx(s.sum(), abs=1e-13)
