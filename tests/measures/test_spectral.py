"""Regression geometry against loops; identities between measures; exact chance levels; awkward data."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from repcompare.errors import MeasureError, OptionError
from repcompare.measures import _subspace, registry
from repcompare.measures._linalg import centre64
from repcompare.measures._subspace import spectrum
from repcompare.measures.cca import cca
from repcompare.measures.cka import cka
from repcompare.measures.shape import procrustes
from repcompare.measures.spectral import _squared_difference, eigenspace_overlap, ensd, gulp, linear_r2
from repcompare.measures.svcca import pwcca
from tests import naive_alignment_cca as naive
from tests.naive import canonical_correlations


def outcome(measure, x, y):
    return measure.compare(measure.prepared(x), measure.prepared(y))


def score(measure, x, y):
    found = outcome(measure, x, y)
    return found if isinstance(found, float) else found.score


def systems(n=80, p=6, q=5, seed=0):
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, 3))
    return z @ rng.normal(size=(3, p)) + rng.normal(size=(n, p)), z @ rng.normal(size=(3, q)) + rng.normal(size=(n, q))


def permuted_mean(measure, x, y):
    """Mean score over every order of the stimuli of y."""
    orders = itertools.permutations(range(len(y)))
    a = measure.prepared(x)
    state = measure.prepared(y)
    return np.mean([measure.compare(a, measure.restrict(state, np.array(order))).score for order in orders])


@pytest.mark.parametrize("regularization", [0.0, 1e-3, 0.1, 10.0])
def test_gulp_equals_the_formula(regularization):
    x, y = systems()
    expected = naive.gulp(x, y, regularization)
    assert score(gulp(regularization), x, y) == pytest.approx(expected, rel=1e-11)
    assert score(gulp(regularization, squared=True), x, y) == pytest.approx(expected**2, rel=1e-11)


def test_linear_r2_equals_least_squares_unit_by_unit():
    x, y = systems()
    assert score(linear_r2(), x, y) == pytest.approx(naive.linear_r2(x, y), abs=1e-12)
    assert score(linear_r2(), y, x) == pytest.approx(naive.linear_r2(y, x), abs=1e-12)
    assert score(linear_r2(predicted="source"), x, y) == pytest.approx(naive.linear_r2(y, x), abs=1e-12)


def test_ensd_and_eigenspace_overlap_equal_the_formulas():
    x, y = (v + 2 for v in systems())
    assert score(ensd(), x, y) == pytest.approx(naive.ensd(x, y), rel=1e-12)
    assert score(eigenspace_overlap(), x, y) == pytest.approx(naive.eigenspace_overlap(x, y), abs=1e-12)
    moved = naive.eigenspace_overlap(x - x.mean(0), y - y.mean(0))
    assert score(eigenspace_overlap(centre=True), x, y) == pytest.approx(moved, abs=1e-12)


# Identities between measures (what one number says of another)


def test_gulp_without_penalty_counts_canonical_correlations():
    x, y = systems()
    rho = canonical_correlations(x, y)
    assert score(gulp(squared=True), x, y) == pytest.approx(6 + 5 - 2 * (rho**2).sum(), abs=1e-9)


def test_gulp_with_a_large_penalty_compares_second_moments():
    """lambda^2 GULP^2 tends to |K|^2 + |L|^2 - 2 <K, L>, K and L the scaled second moments over stimuli."""
    x, y = systems()
    a, b = (centre64(v) / np.linalg.norm(centre64(v)) for v in (x, y))
    limit = np.linalg.norm(a @ a.T) ** 2 + np.linalg.norm(b @ b.T) ** 2 - 2 * np.linalg.norm(a.T @ b) ** 2
    for penalty in (1e5, 1e7):
        assert penalty**2 * score(gulp(penalty, squared=True), x, y) == pytest.approx(limit, rel=4 / penalty)


def test_one_matrix_of_overlaps_gives_every_measure():
    x, y = systems()
    (u, s, _), (v, t, _) = (np.linalg.svd(centre64(w), full_matrices=False) for w in (x, y))
    m, a, b = (u.T @ v) ** 2, s**2, t**2
    one = np.ones
    assert score(cka(estimator="biased"), x, y) == pytest.approx(
        a @ m @ b / np.linalg.norm(a) / np.linalg.norm(b), abs=1e-12
    )
    assert score(linear_r2(), y, x) == pytest.approx(a @ m @ one(5) / a.sum(), abs=1e-12)
    assert score(cca(held_out=False, summary="yanai"), x, y) == pytest.approx(m.sum() / np.sqrt(30), abs=1e-12)
    assert score(eigenspace_overlap(centre=True), x, y) == pytest.approx(m.sum() / 6, abs=1e-12)
    n, penalty = len(x), 0.2
    f, g = (w * n / w.sum() for w in (a, b))
    f, g = f / (f + n * penalty), g / (g + n * penalty)
    assert score(gulp(penalty, squared=True), x, y) == pytest.approx(f @ f + g @ g - 2 * f @ m @ g, abs=1e-12)


def test_ensd_is_cka_times_participation_ratios_and_bounds_follow():
    """CKA <= NBS^2 sqrt(PR_x PR_y) <= rank(Xc'Yc) CKA."""
    for seed in range(5):
        x, y = systems(seed=seed, n=40)
        pr = np.sqrt(naive.participation_ratio(x) * naive.participation_ratio(y))
        similarity = score(cka(estimator="biased"), x, y)
        assert score(ensd(), x, y) == pytest.approx(similarity * pr, rel=1e-12)
        middle = score(procrustes("similarity"), x, y) ** 2 * pr
        assert similarity <= middle + 1e-12 <= 5 * similarity + 2e-12
        assert score(ensd(), x, x) == pytest.approx(naive.participation_ratio(x), rel=1e-12)


def test_squared_weights_of_pwcca_with_squared_correlations_give_r2():
    x, y = systems()
    details = outcome(pwcca(weights="squared"), x, y).details
    assert details["weights"] @ details["rho"] ** 2 == pytest.approx(score(linear_r2(), y, x), abs=1e-12)


def test_gulp_is_a_metric_also_between_nested_spaces():
    rng = np.random.default_rng(0)
    for measure in (gulp(degenerate="allow"), gulp(0.05)):
        for trial in range(400):
            base = rng.normal(size=(12, 6))
            widths = rng.integers(1, 7, size=3)
            three = [base[:, :w] if trial % 2 else rng.normal(size=(12, w)) for w in widths]
            a, b, c = (measure.prepared(v) for v in three)
            ab, bc, ac = (measure.compare(*pair).score for pair in ((a, b), (b, c), (a, c)))
            assert ac <= ab + bc + 1e-9


def test_small_gulp_distances_keep_their_digits():
    """A difference of nearly equal sums would give 1e-8 and nothing below."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 4))
    noise = rng.normal(size=(60, 4))
    for penalty in (0.0, 0.1):
        large = score(gulp(penalty), x, x + 1e-5 * noise)
        for size in (1e-8, 1e-10):
            assert score(gulp(penalty), x, x + size * noise) == pytest.approx(large * size / 1e-5, rel=1e-3)
        assert score(gulp(penalty), x, x.copy()) < 1e-13


@pytest.mark.parametrize("penalty", [0.0, 0.1])
def test_the_form_of_gulp_for_small_distances_holds_for_all(penalty):
    x, y = systems()
    measure = gulp(penalty)
    a, b = measure.prepared(x), measure.prepared(y)
    f, g = (np.ones(v.rank) if penalty == 0 else v.s**2 / (v.s**2 + penalty * (v.s**2).sum()) for v in (a, b))
    assert _squared_difference(a.u, f, b.u, g) == pytest.approx(naive.gulp(x, y, penalty) ** 2, rel=1e-12)


# Chance


@pytest.mark.parametrize(
    "measure",
    [
        cca(held_out=False, summary="mean_squared", degenerate="allow"),
        cca(held_out=False, summary="yanai", degenerate="allow"),
        cca(held_out=False, summary="yanai", degenerate="allow", chance_corrected=True),
        registry.make("svcca", n_components=1, summary="yanai"),
        gulp(squared=True, degenerate="allow"),
        gulp(0.3, squared=True),
        linear_r2(),
        linear_r2(chance_corrected=True),
        linear_r2(predicted="source"),
        ensd(),
        eigenspace_overlap(degenerate="allow"),
        eigenspace_overlap(centre=True, degenerate="allow"),
    ],
    ids=lambda m: m.label,
)
def test_null_means_are_exact(measure):
    """The mean over all 720 orders of six stimuli is the number that is reported."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(6, 3)) + 1, rng.normal(size=(6, 2)) - 1
    null = outcome(measure, x, y).details["null_mean"]
    assert null == pytest.approx(permuted_mean(measure, x, y), abs=1e-10)


def test_null_formulas():
    x, y = systems()
    n = len(x)
    assert outcome(linear_r2(), x, y).details["null_mean"] == pytest.approx(6 / (n - 1))
    pr = naive.participation_ratio(x) * naive.participation_ratio(y)
    assert outcome(ensd(), x, y).details["null_mean"] == pytest.approx(pr / (n - 1))
    assert outcome(eigenspace_overlap(centre=True), x, y).details["null_mean"] == pytest.approx(5 / (n - 1))
    assert outcome(gulp(squared=True), x, y).details["null_mean"] == pytest.approx(11 - 2 * 30 / (n - 1))
    assert "null_mean" not in outcome(gulp(), x, y).details


def test_chance_of_isotropic_data():
    found = {"overlap": [], "r2": [], "corrected": []}
    for seed in range(60):
        rng = np.random.default_rng(seed)
        x, y = rng.normal(size=(60, 8)), rng.normal(size=(60, 12))
        found["overlap"].append(score(eigenspace_overlap(), x, y))
        found["r2"].append(score(linear_r2(), x, y))
        found["corrected"].append(score(linear_r2(chance_corrected=True), x, y))
    assert np.mean(found["overlap"]) == pytest.approx(8 / 60, abs=0.006)
    assert np.mean(found["r2"]) == pytest.approx(8 / 59, abs=0.006)
    assert np.mean(found["corrected"]) == pytest.approx(0, abs=0.008)


# Guards


@pytest.mark.parametrize("name", ["gulp", "eigenspace_overlap"])
def test_spaces_that_fill_the_stimuli_raise_and_can_be_allowed(name):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(30, 15)), rng.normal(size=(30, 14))
    with pytest.raises(MeasureError, match=rf"{name}: ranks 15 \+ 14 reach .* \(30 - 1\): 0 correlations"):
        score(registry.make(name), x, y)
    assert np.isfinite(score(registry.make(name, degenerate="allow"), x, y))
    assert np.isfinite(score(registry.make(name), x, y[:, :13]))
    many = registry.make(name)
    with pytest.raises(MeasureError, match="ranks 15"):
        many.compare_many([many.prepared(x)], [many.prepared(y)])


def test_linear_r2_needs_room_for_the_predictor_only():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(30, 29)), rng.normal(size=(30, 4))
    with pytest.raises(MeasureError, match=r"rank 29 of the predictor reaches .* \(30 - 1\)"):
        score(linear_r2(), x, y)
    assert score(linear_r2(degenerate="allow"), x, y) == pytest.approx(1, abs=1e-12)
    assert score(linear_r2(), y, x) < 0.5
    with pytest.raises(MeasureError, match="nothing is left to correct"):
        score(linear_r2(degenerate="allow", chance_corrected=True), x, y)


def test_gulp_with_a_penalty_needs_no_room():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(30, 100)), rng.normal(size=(30, 40))
    assert score(gulp(0.1), x, y) == pytest.approx(naive.gulp(x, y, 0.1), rel=1e-10)


def test_crowded_data_are_noted():
    x, y = systems(40, 8, 3)
    assert outcome(gulp(), x, y).notes[0].startswith("gulp_crowded: rank 8 for 40")
    assert outcome(eigenspace_overlap(), x, y).notes
    assert not outcome(gulp(0.1), x, y).notes
    assert not outcome(linear_r2(), y, x).notes
    assert outcome(linear_r2(), x, y).notes[0].startswith("linear_r2_crowded")


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: gulp(-1), "regularization=-1"),
        (lambda: gulp(float("nan")), "regularization=nan"),
        (lambda: gulp(degenerate="alow"), "did you mean 'allow'"),
        (lambda: linear_r2(predicted="y"), "predicted='y'"),
        (lambda: eigenspace_overlap(centre="yes"), "centre='yes'"),
    ],
)
def test_options_off_the_menu(make, text):
    with pytest.raises(OptionError, match=text):
        make()


# Awkward data

MEASURES = [gulp(), gulp(0.1), linear_r2(), ensd(), eigenspace_overlap(centre=True)]
every = pytest.mark.parametrize("measure", MEASURES, ids=lambda m: m.label)


@every
def test_tall_wide_and_deficient_data_agree_with_a_common_rotation(measure):
    """A narrow system seen through many units (wide, of low rank) is the same system."""
    x, y = systems(60, 5, 4)
    rng = np.random.default_rng(1)
    (q, _), (r, _) = np.linalg.qr(rng.normal(size=(200, 5))), np.linalg.qr(rng.normal(size=(30, 4)))
    expected = score(measure, x, y)
    assert score(measure, x @ q.T, y @ r.T) == pytest.approx(expected, abs=1e-9)
    assert score(measure, np.c_[x, x], np.c_[y, y, y]) == pytest.approx(expected, abs=1e-9)
    dead = np.c_[x, np.full((60, 3), 7.0)]
    assert score(measure, dead, y) == pytest.approx(expected, abs=1e-10)


@every
def test_badly_scaled_data(measure):
    x, y = systems(60, 5, 4)
    expected = score(measure, x, y)
    for scale in (1e-6, 1e-150):  # whose squares underflow
        assert score(measure, x * scale, y / scale) == pytest.approx(expected, abs=1e-9)
    assert score(measure, x * 1e-3 + 1e4, y) == pytest.approx(expected, abs=1e-5)  # 1e-3 / (1e4 eps): nine digits left
    narrow = score(measure, (x + 1e4).astype(np.float32), y.astype(np.float32))
    assert narrow == pytest.approx(expected, abs=2e-3)


@every
def test_units_of_very_different_scale(measure):
    """A condition number of 1e4 goes through the singular values, not through their squares."""
    rng = np.random.default_rng(0)
    x, y = systems(60, 5, 4)
    (q, _) = np.linalg.qr(rng.normal(size=(5, 5)))
    x = x @ np.diag([1, 1e-1, 1e-2, 1e-3, 1e-4]) @ q
    oracle = {
        "gulp": lambda: naive.gulp(x, y, measure.options.get("regularization", 0.0)),
        "linear_r2": lambda: naive.linear_r2(x, y),
        "ensd": lambda: naive.ensd(x, y),
        "eigenspace_overlap": lambda: naive.eigenspace_overlap(x - x.mean(0), y - y.mean(0)),
    }
    assert score(measure, x, y) == pytest.approx(oracle[measure.name](), rel=1e-7)


@pytest.mark.parametrize("condition", [10, 900, 1100, 1e6])
def test_both_routes_to_a_spectrum_agree(condition):
    """Eigenvectors of the Gram matrix above the floor, singular vectors below it; tall and wide."""
    rng = np.random.default_rng(0)
    scale = np.geomspace(1, 1 / condition, 20)
    for shape in ((200, 20), (21, 300)):
        left = np.linalg.qr(centre64(rng.normal(size=(shape[0], 20))))[0]
        data = centre64((left * scale) @ np.linalg.qr(rng.normal(size=(shape[1], 20)))[0].T)
        basis, s = spectrum(data, 2.2e-16, full=20)
        u = basis.columns()
        np.testing.assert_allclose(s, scale, rtol=1e-9)
        np.testing.assert_allclose(u.T @ u, np.eye(20), atol=2e-10)
        np.testing.assert_allclose(u @ (u.T @ data), data, atol=1e-12)


@pytest.mark.parametrize(
    "measure", [gulp(), gulp(0.1), linear_r2(), ensd(), eigenspace_overlap()], ids=lambda m: m.label
)
def test_four_stimuli(measure):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(4, 1)), rng.normal(size=(4, 1))
    assert np.isfinite(score(measure, x, y))
    wide = rng.normal(size=(4, 10)), rng.normal(size=(4, 12))
    if measure.name in ("ensd", "gulp") and measure.options.get("regularization", 1):
        assert np.isfinite(score(measure, *wide))
    else:
        with pytest.raises(MeasureError, match="degenerate='allow'"):
            score(measure, *wide)


@pytest.mark.parametrize(
    "form", [gulp(degenerate="allow"), linear_r2(degenerate="allow"), ensd()], ids=lambda m: m.label
)
@pytest.mark.parametrize("shape", [(50, 3), (50, 20), (12, 40)])
def test_stacked_products_equal_pairs_on_both_routes(form, shape):
    """Few wide sources go through factors, many through kernels in blocks of stimuli."""
    rng = np.random.default_rng(0)
    for count in (2, 12):
        states = [form.prepared(rng.normal(size=shape)) for _ in range(count)]
        single = np.array([[form.compare(a, b).score for b in states[:3]] for a in states])
        np.testing.assert_allclose(form.compare_many(states, states[:3]), single, rtol=0, atol=1e-10)
        every_pair = form.compare_many(states, states)
        np.testing.assert_allclose(every_pair[:, :3], single, rtol=0, atol=1e-10)


def test_stacked_kernels_in_several_blocks(monkeypatch):
    rng = np.random.default_rng(0)
    factors = [rng.normal(size=(30, 12)) for _ in range(8)]
    expected = np.array([[np.sum((a @ a.T) * (b @ b.T)) for b in factors] for a in factors])
    np.testing.assert_allclose(_subspace.products(factors), expected, rtol=1e-12)
    monkeypatch.setattr(_subspace, "BLOCK_VALUES", 7 * 30 * 8)
    monkeypatch.setattr(_subspace, "_by_factors", None)  # the other route would fail
    np.testing.assert_allclose(_subspace.products(factors), expected, rtol=1e-12)
    np.testing.assert_allclose(_subspace.products(factors, factors[:7]), expected[:, :7], rtol=1e-12)


def test_different_stimuli_raise():
    x, y = systems()
    with pytest.raises(MeasureError, match="80 stimuli against 70"):
        score(gulp(), x, y[:70])
    with pytest.raises(MeasureError, match="80 stimuli against 70"):
        gulp().compare_many([gulp().prepared(x)], [gulp().prepared(y[:70])])


@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_no_variance_raises(offset):
    _, y = systems()
    for measure in (gulp(), gulp(0.1), linear_r2(), ensd(), eigenspace_overlap()):
        with pytest.raises(MeasureError, match="no variance"):
            score(measure, np.full((80, 3), offset), y)
