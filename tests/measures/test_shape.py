"""Shape metrics against their definitions, their metric form, held-out chance, and small distances."""

from __future__ import annotations

import numpy as np
import pytest

from repcompare.errors import MeasureError, OptionError
from repcompare.measures import _nuclear, _rotations, _truncate
from repcompare.measures._measure import Folds, as_outcome
from repcompare.measures.cka import cka
from repcompare.measures.shape import procrustes, shape_distance
from repcompare.measures.shape_grid import shape_distances
from tests import naive, naive_matching


def score(x, y, **options):
    measure = procrustes(**options)
    return measure.compare(measure.prepared(x), measure.prepared(y))


def systems(n=20, p=6, q=5, seed=0):
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, 3))
    return z @ rng.normal(size=(3, p)) + rng.normal(size=(n, p)), z @ rng.normal(size=(3, q)) + rng.normal(size=(n, q))


@pytest.mark.parametrize("shape", [(20, 6, 5), (8, 30, 5), (8, 30, 40), (30, 30, 30)], ids=str)
def test_all_forms_equal_the_definitions(shape):
    x, y = systems(*shape)
    nbs = naive.nbs(x, y)
    assert score(x, y, score="similarity") == pytest.approx(nbs, abs=1e-12)
    assert score(x, y) == pytest.approx(np.arccos(nbs), abs=1e-12)
    assert score(x, y, score="euclidean") == pytest.approx(np.sqrt(2 - 2 * nbs), abs=1e-12)
    assert score(x, y, score="euclidean", scale=False) == pytest.approx(naive.bures(x, y), abs=1e-10)


def test_equals_a_search_over_all_rotations_of_the_plane():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(9, 2)), rng.normal(size=(9, 2))
    assert score(x, y, score="euclidean") == pytest.approx(naive.best_rotation_distance(x, y), abs=1e-6)


def test_golden_value():
    """Procrustes angle of uniform data of numpy's legacy generator: similarity-repository, 30 x 25, seed 0."""
    np.random.seed(0)  # noqa: NPY002 - the published number was made with it
    x, y = np.random.uniform(size=(30, 25)), np.random.uniform(size=(30, 25))  # noqa: NPY002
    assert score(x, y) == pytest.approx(0.7629815799, abs=1e-10)


def test_keeping_principal_components():
    """V31: NBS of a system with its first k components is sqrt(sum_k s^2 / sum s^2)."""
    x, _ = systems(40, 12)
    u, s, vt = np.linalg.svd(x - x.mean(0), full_matrices=False)
    for k in (1, 3, 7):
        expected = np.sqrt((s[:k] ** 2).sum() / (s**2).sum())
        assert score(x, (u[:, :k] * s[:k]) @ vt[:k], score="similarity") == pytest.approx(expected, abs=1e-10)


def test_it_bounds_cka():
    """CKA <= NBS^2 sqrt(PR_x PR_y) <= rank(X'Y) CKA (spec of the alignment measures, identity 6)."""
    for seed in range(20):
        x, y = systems(seed=seed)
        biased = cka(estimator="biased")
        kernel = biased.compare(biased.prepared(x), biased.prepared(y))
        s, t = (np.linalg.svd(v - v.mean(0), compute_uv=False) ** 2 for v in (x, y))
        middle = naive.nbs(x, y) ** 2 * np.sqrt((s.sum() ** 2 / (s**2).sum()) * (t.sum() ** 2 / (t**2).sum()))
        assert kernel <= middle + 1e-12
        assert middle <= 5 * kernel + 1e-12


@pytest.mark.parametrize("options", [{}, {"score": "euclidean"}, {"score": "euclidean", "scale": False}], ids=str)
@pytest.mark.parametrize("width", [6, 50])
def test_small_distances_keep_their_digits(options, width):
    x, _ = systems(20, width)
    rng = np.random.default_rng(1)
    q, _ = np.linalg.qr(rng.normal(size=(width, width)))
    step = 1e-7 * rng.normal(size=x.shape)
    near, twice = (score(x, (x + factor * step) @ q, **options) for factor in (1, 2))
    assert 0 < near < 1e-5
    assert twice / near == pytest.approx(2, rel=1e-3)


def test_unequal_widths_near_zero():
    x, _ = systems(20, 6)
    wide = np.concatenate([x, 1e-8 * np.random.default_rng(0).normal(size=(20, 3))], axis=1)
    assert 0 < score(x, wide) < 1e-7
    assert score(x, wide) == pytest.approx(score(wide, x), rel=1e-6)


def test_scale_1e_6_and_offset_1e4():
    x, y = systems(30)
    assert score(1e-6 * x + 1e4, y) == pytest.approx(score(x, y), abs=1e-5)  # 1e4 + 1e-6 keeps 6 digits of float64


def test_errors():
    x, y = systems()
    with pytest.raises(MeasureError, match="no variance"):
        score(np.ones((20, 3)), y)
    with pytest.raises(MeasureError, match="20 stimuli against 12"):
        score(x, y[:12])
    with pytest.raises(OptionError, match="goes with score='euclidean' only"):
        procrustes("angular", scale=False)
    with pytest.raises(OptionError, match="did you mean 'angular'"):
        procrustes("anguler")


# Nuclear norms and factors: every route gives the same number.


@pytest.mark.parametrize("noise", [1.0, 0.1, 0.01, 0.0], ids=lambda v: f"noise={v}")
@pytest.mark.parametrize("shape", [(60, 60), (59, 40), (30, 80), (5, 9)], ids=str)
def test_nuclear_norms_keep_ten_digits_on_steep_and_deficient_spectra(shape, noise):
    rng = np.random.default_rng(0)
    m = rng.normal(size=(shape[0], 3)) @ rng.normal(size=(3, shape[1])) + noise * rng.normal(size=shape)
    for scale in (1e-6, 1.0, 1e6):
        assert _nuclear.overlap_norm(scale * m) == pytest.approx(scale * np.linalg.norm(m, "nuc"), rel=1e-11)


def test_the_quick_route_is_taken_where_it_is_certified(monkeypatch):
    m = np.random.default_rng(0).normal(size=(80, 50))
    expected = np.linalg.norm(m, "nuc")
    monkeypatch.setattr(_nuclear, "nuclear_norm", None)
    assert _nuclear.overlap_norm(m) == pytest.approx(expected, rel=1e-13)
    with pytest.raises(TypeError):  # singular: only the SVD will do
        _nuclear.overlap_norm(m @ np.diag(np.arange(50) > 20))


@pytest.mark.parametrize("width", [3, 20, 21, 60])
@pytest.mark.parametrize("steep", [False, True])
def test_narrow_factors_reproduce_the_gram_matrix(width, steep):
    x = np.random.default_rng(0).normal(size=(20, width)) + 3.0
    if steep:
        x = (np.logspace(0, -8, 20)[:, None] * x)[:, :width]
    centred = x - x.mean(0)
    factor = _nuclear.narrow_factor(x)
    assert factor.shape[1] <= 19 or width == 20
    np.testing.assert_allclose(factor @ factor.T, centred @ centred.T, atol=1e-12 * np.linalg.norm(centred) ** 2)
    singular = np.linalg.svd(centred, compute_uv=False)[: min(width, 19)]
    np.testing.assert_allclose(
        np.linalg.svd(factor, compute_uv=False)[: len(singular)], singular, rtol=1e-6, atol=1e-14
    )


def test_all_pairs_compare_each_pair_once():
    calls = []
    many = _rotations.all_pairs(lambda a, b: calls.append(1) or 0.5, 1.0)
    states = [_rotations.prepare_shape(systems(seed=seed)[0]) for seed in range(4)]
    np.testing.assert_array_equal(many(states, states), np.where(np.eye(4), 1.0, 0.5))
    assert len(calls) == 6


# The alpha family.


def shape(x, y, alpha=1.0, folds=None, **options):
    measure = shape_distance(alpha, **options)
    return as_outcome(measure.compare(measure.prepared(x, folds), measure.prepared(y, folds)))


@pytest.mark.parametrize("alpha", [0.0, 0.2, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("dims", [(40, 6, 5), (40, 6, 6), (12, 30, 4), (12, 30, 40)], ids=str)
def test_alpha_family_equals_the_definition(alpha, dims):
    x, y = systems(*dims)
    cosine = naive_matching.alpha_cosine(x, y, alpha)
    options = {"degenerate": "allow"} if alpha == 0 else {}
    assert shape(x, y, alpha, score="similarity", **options).score == pytest.approx(cosine, abs=1e-10)
    if cosine < 1 - 1e-9:
        assert shape(x, y, alpha, **options).score == pytest.approx(np.arccos(cosine), abs=1e-8)
        assert shape(x, y, alpha, score="euclidean", **options).score == pytest.approx(
            np.sqrt(2 - 2 * cosine), abs=1e-8
        )


def test_the_ends_of_the_alpha_family():
    """Identity 4: alpha = 0 is sum rho / sqrt(r_x r_y), alpha = 1 is NBS."""
    x, y = systems(60)
    rho = naive.canonical_correlations(x, y)
    assert shape(x, y, 0.0, score="similarity").score == pytest.approx(rho.sum() / np.sqrt(6 * 5), abs=1e-10)
    assert shape(x, y, 1.0, score="similarity").score == pytest.approx(naive.nbs(x, y), abs=1e-12)
    assert shape(x, y).score == pytest.approx(score(x, y), abs=1e-12)


def test_crowded_column_spaces_raise_or_warn():
    """Identity 12: beyond n - 1 dimensions the excess correlations are 1, so alpha = 0 refuses."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(20, 12)), rng.normal(size=(20, 12))
    with pytest.raises(MeasureError, match=r"ranks 12 \+ 12 reach .* 5 correlations would be exactly 1"):
        shape(x, y, 0.0)
    full = rng.normal(size=(20, 19)), rng.normal(size=(20, 19))
    assert shape(*full, 0.0, score="similarity", degenerate="allow").score == pytest.approx(1.0, abs=1e-10)
    assert shape(x, y, 0.5).notes[0].startswith("shape_crowded: rank 12 for 20 stimuli")
    assert shape(x, y, 1.0).notes == ()
    assert shape(x[:, :1], y[:, :1], 0.0).notes == ()


@pytest.mark.parametrize("alpha", [0.0, 0.5])
def test_rank_deficient_data_are_whitened_in_their_own_dimensions(alpha):
    x, y = systems(60, 4, 5)
    rng = np.random.default_rng(0)
    redundant = np.hstack([x, x @ np.linalg.qr(rng.normal(size=(4, 4)))[0]]) * 1e-6 + 0.5
    assert shape(redundant, y, alpha).score == pytest.approx(shape(x, y, alpha).score, abs=1e-8)
    single = redundant.astype(np.float32)
    assert shape(single, y, alpha).score == pytest.approx(shape(single.astype(float), y, alpha).score, abs=0.2)


@pytest.mark.parametrize("score", ["angular", "euclidean"])
@pytest.mark.parametrize("alpha", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("dims", [(40, 6, 5), (12, 30, 8)], ids=str)
def test_netrep_convention_equals_netrep(alpha, score, dims):
    x, y = systems(*dims)
    expected = naive_matching.netrep_distance(x, y, alpha, score)
    assert shape(x, y, alpha, score=score, convention="netrep").score == pytest.approx(expected, abs=2e-7)


def test_netrep_convention_depends_on_units_of_measurement_and_ours_does_not():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(100, 20))
    w = rng.normal(size=(20, 20))
    near, far = (shape(c * x, c * x @ w, 0.0, convention="netrep").score for c in (1e-3, 1e-5))
    assert near < 1e-6
    assert far > 0.2
    assert max(shape(c * x, c * x @ w, 0.0).score for c in (1e-3, 1e-5)) < 1e-6


@pytest.mark.parametrize("options", [{}, {"score": "euclidean"}, {"score": "similarity"}], ids=str)
@pytest.mark.parametrize("dims", [(40, 6, 5), (60, 6, 30), (12, 30, 40)], ids=str)
def test_a_grid_of_alpha_is_each_alpha(options, dims):
    x, y = systems(*dims)
    alphas = [1.0, 0.0, 0.3, 0.5, 0.3]
    expected = [shape(x, y, alpha, degenerate="allow", **options).score for alpha in alphas]
    for a, b in ((x, y), (1e-6 * x, 1e6 * y)):
        found = shape_distances(a, b, alphas, degenerate="allow", **options)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)
    cosines = [naive_matching.alpha_cosine(x, y, alpha) for alpha in alphas]
    np.testing.assert_allclose(
        shape_distances(x, y, alphas, score="similarity", degenerate="allow"), cosines, rtol=0, atol=1e-10
    )
    turned = x @ np.linalg.qr(np.random.default_rng(1).normal(size=(dims[1],) * 2))[0]
    assert shape_distances(x, turned, [0.4, 1.0]).max() < 1e-9


def test_a_grid_that_is_not_defined():
    x, y = systems(12, 30, 40)
    with pytest.raises(MeasureError, match=r"ranks 11 \+ 11 reach"):
        shape_distances(x, y)
    assert shape_distances(x, y, 0.5).shape == (1,)
    for alphas in ([0.5, 1.2], [], [[0.5]], [np.nan]):
        with pytest.raises(OptionError, match="expected numbers in"):
            shape_distances(x, y, alphas)
    with pytest.raises(MeasureError, match="no variance"):
        shape_distances(np.ones((12, 3)), y, 1)
    with pytest.raises(MeasureError, match="12 stimuli against 5"):
        shape_distances(x, y[:5], 1)
    with pytest.raises(MeasureError, match="1 missing values"):
        shape_distances(np.where(x == x[0, 0], np.nan, x), y, 1)


def test_notes_of_pairs_that_are_compared_at_once():
    rng = np.random.default_rng(0)
    measure = shape_distance(0.5)
    states = [measure.prepared(rng.normal(size=(20, 12))) for _ in range(3)]
    np.testing.assert_allclose(
        measure.compare_many(states, states),
        [[measure.compare(a, b).score for b in states] for a in states],
        atol=1e-12,
    )
    assert measure.annotate(*states[:2]).notes == measure.compare(*states[:2]).notes != ()
    with pytest.raises(MeasureError, match="reach the number of stimuli"):  # even a system and itself
        whitened = shape_distance(0.0)
        state = whitened.prepared(rng.normal(size=(20, 12)))
        whitened.compare_many([state], [state])


# Fewer components.


def steep(n=80, p=60, q=50, power=1.5, seed=0):
    """Systems that share latents, with singular values that fall off as a power."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, max(p, q))) * np.arange(1, max(p, q) + 1) ** -power
    return [z[:, :w] @ np.linalg.qr(rng.normal(size=(w, w)))[0] + 5 for w in (p, q)]


@pytest.mark.parametrize("tol", [0.5, 0.1, 1e-2, 1e-4, 1e-8])
@pytest.mark.parametrize("power", [0.3, 1.0, 3.0])
@pytest.mark.parametrize("shape", [(80, 60, 50), (30, 60, 50)], ids=str)
def test_truncation_is_certified_and_keeps_the_fewest(tol, power, shape):
    x, y = steep(*shape, power=power)
    measure = procrustes("similarity", tol=tol)
    states = [measure.prepared(v) for v in (x, y)]
    found = measure.compare(*states)
    bound = found.details["similarity_bound"]
    assert 0 <= bound <= tol
    assert abs(found.score - naive.nbs(x, y)) <= bound + 1e-12
    for v, state in zip((x, y), states, strict=True):
        s = np.linalg.svd(v - v.mean(0), compute_uv=False)
        tails = np.sqrt(np.append(np.cumsum(s[::-1] ** 2)[::-1], 0) / (s**2).sum())  # what the first k leave
        fewest = int(np.flatnonzero(tails <= tol / 2)[0])
        if tol >= 1e-4:
            assert state.factor.shape[1] == fewest
            assert state.lost == pytest.approx(tails[fewest], abs=1e-12)
        else:
            assert state.factor.shape[1] >= fewest


def test_the_bound_is_that_of_the_definition():
    """| |X'Y|_* - |X_k'Y_k|_* | <= |X_rest| |Y| + |X_k| |Y_rest|, by plain singular vectors."""
    for seed in range(20):
        x, y = (v - v.mean(0) for v in steep(20, 8, 7, power=0.5, seed=seed))
        norms = [np.linalg.norm(v) for v in (x, y)]
        kept, lost = [], []
        for v, norm in zip((x, y), norms, strict=True):
            u, s, vt = np.linalg.svd(v, full_matrices=False)
            kept.append((u[:, :3] * s[:3]) @ vt[:3])
            lost.append(np.linalg.norm(s[3:]) / norm)
        whole, part = np.linalg.norm(x.T @ y, "nuc"), np.linalg.norm(kept[0].T @ kept[1], "nuc")
        stated = (lost[0] * norms[0] * norms[1] + np.linalg.norm(kept[0]) * lost[1] * norms[1]) / np.prod(norms)
        bound = _truncate.similarity_bound(*lost)
        assert bound <= stated + 1e-14
        assert bound == pytest.approx(_truncate.similarity_bound(*lost[::-1]), abs=1e-14)
        assert 0 <= whole - part <= bound * np.prod(norms) + 1e-12
        rescaled = part / np.linalg.norm(kept[0]) / np.linalg.norm(kept[1])
        assert abs(rescaled - whole / np.prod(norms)) <= bound + 1e-12


@pytest.mark.parametrize("options", [{}, {"score": "euclidean"}, {"score": "euclidean", "scale": False}], ids=str)
def test_truncated_distances(options):
    x, y = steep(power=1.0)
    x, y = x @ np.diag(np.linspace(0.5, 2, 60)), y
    cut, whole = procrustes(tol=0.05, **options), procrustes(**options)
    found = cut.compare(*(cut.prepared(v) for v in (x, y)))
    exact = whole.compare(*(whole.prepared(v) for v in (x, y)))
    assert found.score == pytest.approx(exact, rel=0.1)
    assert found.score != exact
    assert found.notes[0].startswith("shape_truncated: ")
    assert cut.annotate(*(cut.prepared(v) for v in (x, y))).notes == found.notes
    assert cut.compare(cut.prepared(x), cut.prepared(x)).score < 1e-7
    flat = np.random.default_rng(0).normal(size=(80, 4))
    nothing = cut.compare(cut.prepared(flat), cut.prepared(flat[:, :3]))
    assert nothing.notes == ()
    assert nothing.details["similarity_bound"] == 0


@pytest.mark.parametrize("tol", [0, 1, -0.1, 2.0])
def test_tolerances_that_are_none(tol):
    with pytest.raises(OptionError, match="expected a number in"):
        procrustes(tol=tol)


# Held out.


def halves(n, fitted):
    return Folds(((np.arange(fitted), np.arange(fitted, n)),), n)


def fives(n):
    parts = np.array_split(np.random.default_rng(0).permutation(n), 5)
    return Folds(tuple((np.setdiff1d(np.arange(n), part), np.sort(part)) for part in parts), n)


def test_held_out_rotation_equals_the_definition():
    x, y = systems(50, 6, 6)
    folds = fives(50)
    found = shape(x, y, folds=folds, score="similarity", held_out=True)
    assert found.score == pytest.approx(naive_matching.held_out_rotation(x, y, folds.splits), abs=1e-10)
    assert found.fold_scores.shape == (5,)


def test_v08_held_out_procrustes_has_no_bias():
    """V08: N(200 x 50), map from rows 1-100: in sample .56, held out 0; N(50 x 1000) reaches .987 in sample."""
    rng = np.random.default_rng(0)
    folds = halves(200, 100)
    held_out, fitted = [], []
    for _ in range(40):
        x, y = rng.normal(size=(200, 50)), rng.normal(size=(200, 50))
        held_out.append(shape(x, y, folds=folds, score="similarity", held_out=True).score)
        fitted.append(score(x[:100], y[:100], score="similarity"))
    assert abs(np.mean(held_out)) < 0.02
    assert np.mean(fitted) == pytest.approx(0.564, abs=0.01)
    wide = rng.normal(size=(2, 50, 1000))
    assert score(*wide, score="similarity") == pytest.approx(0.987, abs=0.002)


@pytest.mark.parametrize("group", ["permutation", "soft"])
def test_held_out_matchings_have_no_bias(group):
    rng = np.random.default_rng(0)
    options = {"group": group, "score": "similarity"}
    held_out = [
        shape(*rng.normal(size=(2, 60, 30)), folds=halves(60, 30), held_out=True, **options).score for _ in range(60)
    ]
    assert abs(np.mean(held_out)) < 0.02
    assert shape(*rng.normal(size=(2, 30, 30)), **options).score > 0.25


@pytest.mark.parametrize("alpha", [1.0, 0.5, 0.0])
def test_a_rotated_copy_is_found_on_new_stimuli(alpha):
    x, _ = systems(60, 8)
    q, _ = np.linalg.qr(np.random.default_rng(3).normal(size=(8, 8)))
    moved = 5 * x @ q + 2
    assert shape(x, moved, alpha, folds=fives(60), held_out=True).score < 1e-6
    assert shape(x, moved, alpha, folds=fives(60), score="similarity", held_out=True).score == pytest.approx(
        1, abs=1e-12
    )


# Matchings of units.


@pytest.mark.parametrize("dims", [(20, 6, 6), (20, 6, 4), (20, 4, 7), (4, 5, 5)], ids=str)
def test_permutation_equals_trying_all(dims):
    x, y = systems(*dims)
    cosine = naive_matching.permutation_cosine(x, y)
    found = shape(x, y, group="permutation", score="similarity")
    assert found.score == pytest.approx(cosine, abs=1e-12)
    assert found.counts["units_padded"] == abs(dims[1] - dims[2])
    assert shape(x, y, group="permutation").score == pytest.approx(np.arccos(cosine), abs=1e-10)
    assert shape(x, y, group="permutation", score="euclidean").score == pytest.approx(
        np.sqrt(2 - 2 * cosine), abs=1e-10
    )
    assert len(found.details["plan_source"]) == min(dims[1:])


@pytest.mark.parametrize("dims", [(20, 6, 6), (20, 3, 6), (20, 4, 7), (4, 5, 3), (20, 1, 5)], ids=str)
def test_soft_equals_the_assignment_of_grains(dims):
    x, y = systems(*dims)
    cosine = naive_matching.soft_cosine(x, y)
    assert shape(x, y, group="soft", score="similarity").score == pytest.approx(cosine, abs=1e-12)
    assert shape(x, y, group="soft").score == pytest.approx(np.arccos(cosine), abs=1e-10)
    assert shape(x, y, group="soft", score="euclidean").score == pytest.approx(np.sqrt(2 - 2 * cosine), abs=1e-10)


def test_groups_are_nested():
    """A smaller group leaves more: rotation <= soft = permutation for equal sizes."""
    for seed in range(10):
        x, y = systems(20, 6, 6, seed)
        rotation, soft, exact = (shape(x, y, group=g).score for g in ("rotation", "soft", "permutation"))
        assert rotation < soft
        assert soft == pytest.approx(exact, abs=1e-12)


def test_dead_and_duplicated_units():
    x, y = systems(20, 5, 7)
    silent = np.hstack([x, np.full((20, 2), 1e4)])
    for group in ("rotation", "permutation"):
        assert shape(silent, y, group=group).score == pytest.approx(shape(x, y, group=group).score, abs=1e-12)
    assert shape(silent, y, group="permutation").counts["units_padded"] == 0
    twice = np.hstack([x, x])
    assert shape(x, twice, group="soft").score < 1e-7
    assert shape(x, twice, group="permutation").score > 0.5


METRICS = [
    {"alpha": 1.0},
    {"alpha": 0.5},
    {"alpha": 0.0, "degenerate": "allow"},
    {"alpha": 0.5, "score": "euclidean"},
    {"alpha": 0.5, "convention": "netrep"},
    {"group": "permutation"},
    {"group": "permutation", "score": "euclidean"},
    {"group": "soft"},
    {"group": "soft", "score": "euclidean"},
]


@pytest.mark.parametrize("options", METRICS, ids=str)
def test_triangles(options):
    """Identity 10: no violation, half of the systems nested; soft transport takes longer and fewer."""
    rng = np.random.default_rng(0)
    measure = shape_distance(**options)
    for trial in range(300 if options.get("group") == "soft" else 1500):
        nested = rng.normal(size=(7, 6))
        widths = rng.integers(1, 6, size=3)
        states = [measure.prepare(nested[:, :w] if trial % 2 else rng.normal(size=(7, w))) for w in widths]
        ab, bc, ac = (as_outcome(measure.compare(states[i], states[j])).score for i, j in ((0, 1), (1, 2), (0, 2)))
        assert ac <= ab + bc + 1e-9


def test_badly_scaled_float32_and_few_stimuli():
    x, y = systems(30)
    for options in ({"group": "permutation"}, {"group": "soft"}, {"alpha": 0.5}):
        expected = shape(x, y, **options).score
        assert shape(1e-6 * x + 1e4, y, **options).score == pytest.approx(expected, abs=1e-4)
        assert shape(x.astype(np.float32) * 1e-6, y, **options).score == pytest.approx(expected, abs=1e-5)
        assert np.isfinite(shape(x[:4], y[:4], **options).score)
    with pytest.raises(MeasureError, match="ranks 3 . 3 reach"):
        shape(x[:4], y[:4], 0.0)


def test_options_that_do_not_go_together():
    for options, message in (
        ({"alpha": 1.5}, "alpha=1.5"),
        ({"alpha": 0.5, "group": "soft"}, "goes with alpha=1"),
        ({"convention": "netrep", "group": "permutation"}, "goes with alpha=1"),
        ({"convention": "netrep", "held_out": True}, "no held-out form"),
        ({"group": "rotations"}, "did you mean 'rotation'"),
    ):
        with pytest.raises(OptionError, match=message):
            shape_distance(**options)
    x, y = systems()
    for group in ("rotation", "permutation", "soft"):
        with pytest.raises(MeasureError, match="no variance"):
            shape(np.full((20, 3), 7.1), y, group=group)
        with pytest.raises(MeasureError, match="20 stimuli against 12"):
            shape(x, y[:12], group=group)
    still = np.repeat([[0.0, 1.0] * 5 + [0.5] * 10], 3, axis=0).T
    with pytest.raises(MeasureError, match="on the test stimuli"):
        shape(still, y, folds=halves(20, 10), held_out=True)
