"""Comparators of RDMs: against plain loops and dense inverses, and the theorems that tie them to other measures."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kendalltau, rankdata, spearmanr

from repcompare.errors import MeasureError, OptionError
from repcompare.measures.rsa import METHODS, compare_rdms, rdm, shared_pairs
from repcompare.measures.rsa._condensed import take
from repcompare.measures.rsa.comparators import midranks, share_tied
from tests import naive_rsa as naive_rdm
from tests import naive_rsa_comparators as naive

NAMES = [name for name in METHODS if METHODS[name].family in ("dot", "tau")]
WHITENED = [name for name in NAMES if METHODS[name].whitened]
K = 9
N = K * (K - 1) // 2


def two(seed=0, ties=False, nan=0.0, n=N):
    rng = np.random.default_rng(seed)
    a = rng.gamma(2.0, size=n)
    b = a + rng.gamma(2.0, size=n)
    if ties:
        a, b = np.ceil(a), np.ceil(2 * b)
    a[rng.random(n) < nan] = np.nan
    b[rng.random(n) < nan] = np.nan
    return a, b


def covariance(kind, k=K):
    rng = np.random.default_rng(8)
    if kind == "none":
        return None
    if kind == "variances":
        return rng.uniform(0.3, 3, size=k)
    factor = rng.normal(size=(k, k))
    return factor @ factor.T + 0.5 * np.eye(k)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("nan", [0.0, 0.15])
@pytest.mark.parametrize("ties", [False, True])
def test_equals_the_definition(name, nan, ties):
    a, b = two(ties=ties, nan=nan)
    assert compare_rdms(a, b, name) == pytest.approx(naive.compare(a, b, name), abs=1e-12)


@pytest.mark.parametrize("name", WHITENED)
@pytest.mark.parametrize("nan", [0.0, 0.2])
@pytest.mark.parametrize("kind", ["none", "variances", "matrix"])
def test_whitening_equals_the_dense_inverse(name, nan, kind):
    a, b = two(nan=nan)
    sigma = covariance(kind)
    found = compare_rdms(a, b, name, stimulus_covariance=sigma)
    assert found == pytest.approx(naive.compare(a, b, name, sigma), abs=1e-12)


@pytest.mark.parametrize("name", WHITENED)
def test_a_diagonal_matrix_is_a_vector_of_variances(name):
    for nan in (0.0, 0.2):
        a, b = two(nan=nan)
        sigma = covariance("variances")
        vector = compare_rdms(a, b, name, stimulus_covariance=sigma)
        matrix = compare_rdms(a, b, name, stimulus_covariance=np.diag(sigma))
        assert vector == pytest.approx(matrix, abs=1e-12)
        equal = compare_rdms(a, b, name, stimulus_covariance=4.2 * np.eye(K))
        assert equal == pytest.approx(compare_rdms(a, b, name), abs=1e-12)


def test_a_stimulus_without_pairs_does_not_break_whitening():
    a, b = two()
    square = np.ones((K, K))
    square[3] = square[:, 3] = np.nan
    a = a * square[np.triu_indices(K, 1)]
    for kind in ("none", "variances", "matrix"):
        sigma = covariance(kind)
        found = compare_rdms(a, b, "whitened_cosine", stimulus_covariance=sigma)
        assert found == pytest.approx(naive.compare(a, b, "whitened_cosine", sigma), abs=1e-12)


@given(seed=st.integers(0, 10**6), k=st.integers(3, 9), name=st.sampled_from(NAMES), nan=st.booleans())
@settings(max_examples=60, deadline=None)
def test_any_rdm_equals_the_definition(seed, k, name, nan):
    a, b = two(seed, ties=seed % 2 == 0, nan=0.1 if nan else 0.0, n=k * (k - 1) // 2)
    both = np.isfinite(a) & np.isfinite(b)
    if both.sum() < 3 or min(np.ptp(a[both]), np.ptp(b[both])) == 0:
        return
    found = compare_rdms(a, b, name)
    assert found == pytest.approx(naive.compare(a, b, name), abs=1e-11)
    assert found == pytest.approx(compare_rdms(b, a, name), abs=1e-12)
    assert -1 <= found <= 1


@pytest.mark.parametrize(("n", "p", "q"), [(10, 4, 7), (30, 100, 3), (50, 20, 20)])
@pytest.mark.parametrize("normalize", [True, False])
def test_whitened_cosine_of_squared_distances_is_linear_cka(n, p, q, normalize):
    rng = np.random.default_rng(n)
    x = rng.normal(size=(n, p)) + 5
    y = x @ rng.normal(size=(p, q)) + rng.normal(size=(n, q))
    a, b = (rdm(v, "squared_euclidean", normalize_units=normalize) for v in (x, y))
    assert compare_rdms(a, b, "whitened_cosine") == pytest.approx(naive_rdm.biased_linear_cka(x, y), abs=1e-12)


def test_golden_linear_cka():
    state = np.random.RandomState(0)  # the published value is of this generator
    x, y = state.uniform(size=(30, 25)), state.uniform(size=(30, 25))
    a, b = rdm(x, "squared_euclidean"), rdm(y, "squared_euclidean")
    assert compare_rdms(a, b, "whitened_cosine") == pytest.approx(0.4893427391044151, abs=1e-12)


def test_rho_a_is_the_mean_spearman_over_orders_of_ties():
    a, b = two(ties=True)
    rng = np.random.default_rng(2)
    draws = []
    for _ in range(3000):
        broken = [rankdata(v + 1e-6 * rng.random(v.size)) for v in (a, b)]
        draws.append(np.corrcoef(*broken)[0, 1])
    spread = np.std(draws) / np.sqrt(len(draws))
    assert compare_rdms(a, b, "rho_a") == pytest.approx(np.mean(draws), abs=4 * spread)


def test_spearman_is_scipy_and_equals_rho_a_without_ties():
    a, b = two()
    assert compare_rdms(a, b, "spearman") == pytest.approx(spearmanr(a, b).statistic, abs=1e-12)
    assert compare_rdms(a, b, "rho_a") == pytest.approx(compare_rdms(a, b, "spearman"), abs=1e-12)
    a, b = two(ties=True)
    assert compare_rdms(a, b, "spearman") == pytest.approx(spearmanr(a, b).statistic, abs=1e-12)
    assert abs(compare_rdms(a, b, "rho_a")) < abs(compare_rdms(a, b, "spearman"))


def test_rho_a_does_not_prefer_a_tied_wrong_model():
    rng = np.random.default_rng(11)
    wrong = {"rho_a": 0, "spearman": 0}
    labels = np.repeat([0, 1], 10)
    for _ in range(200):
        position = labels + 0.2 * rng.random(20)  # graded inside two categories
        graded = rdm(position[:, None], "euclidean")
        categories = rdm(np.eye(2)[labels], "euclidean")
        data = graded + 0.6 * rng.normal(size=graded.size) * graded.std()
        for name in wrong:
            scores = compare_rdms(np.stack([graded, categories]), data, name)
            wrong[name] += int(scores[1, 0] > scores[0, 0])
    assert wrong["rho_a"] <= 0.3 * 200
    assert wrong["spearman"] >= 0.9 * 200


@pytest.mark.parametrize("name", NAMES)
def test_a_stack_equals_its_rdms_one_by_one(name):
    complete = np.stack([two(seed)[0] for seed in range(4)])
    holes = np.stack([two(seed, nan=0.2)[1] for seed in range(3)])
    for second in (complete[:2], holes, np.vstack([complete[:1], holes])):
        table = compare_rdms(complete, second, name)
        assert table.shape == (4, len(second))
        for i, a in enumerate(complete):
            for j, b in enumerate(second):
                assert table[i, j] == pytest.approx(compare_rdms(a, b, name), abs=1e-12)
    assert compare_rdms(complete[0], complete, name).shape == (1, 4)
    assert isinstance(compare_rdms(complete[0], complete[1], name), float)


@pytest.mark.parametrize("name", NAMES)
def test_an_rdm_without_ties_scores_one_with_itself(name):
    a, _ = two()
    assert compare_rdms(a, a, name) == pytest.approx(1, abs=1e-12)
    holes, _ = two(nan=0.2)
    assert compare_rdms(a, holes * 0 + a, name) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_stimuli_in_another_order_on_both_sides_change_nothing(name):
    a, b = two(ties=True)
    rows = np.random.default_rng(1).permutation(K)
    assert compare_rdms(take(a, rows), take(b, rows), name) == pytest.approx(compare_rdms(a, b, name), abs=1e-12)
    assert compare_rdms(take(a, rows), b, name) != pytest.approx(compare_rdms(a, b, name), abs=1e-3)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [1e-200, 1e-8, 1e200])
def test_scale_does_not_matter(name, size):
    for nan in (0.0, 0.2):
        a, b = two(nan=nan)
        assert compare_rdms(size * a, b, name) == pytest.approx(compare_rdms(a, b, name), abs=1e-12)


def test_ranks():
    np.testing.assert_array_equal(midranks([8, 6, 10, np.nan]), [2, 1, 3, np.nan])
    v = np.random.default_rng(0).integers(0, 9, size=200).astype(float)
    np.testing.assert_array_equal(midranks(v), rankdata(v))
    np.testing.assert_array_equal(midranks(v), naive_rdm.midranks(v))


def test_shared_pairs_are_counted():
    a, b = two(nan=0.2)
    assert shared_pairs(a, b).tolist() == [[int((np.isfinite(a) & np.isfinite(b)).sum())]]


def test_share_of_ties():
    assert share_tied(np.array([1.0, 1.0, 2.0, np.nan, 3.0])) == 0.5


@pytest.mark.parametrize("name", NAMES)
def test_a_zero_rdm_raises(name):
    a, _ = two()
    with pytest.raises(MeasureError, match=r"b\[1\] is zero for all 36 pairs"):
        compare_rdms(a, np.stack([a, 0 * a]), name)


@pytest.mark.parametrize("name", [n for n in NAMES if METHODS[n].centred or METHODS[n].ordinal])
def test_a_constant_rdm_raises(name):
    a, _ = two()
    constant = np.full(N, 0.1)
    with pytest.raises(MeasureError, match=r"a is constant \(0.1 for all 36 pairs\)"):
        compare_rdms(constant, a, name)
    constant[0], a[0] = 7, np.nan
    with pytest.raises(MeasureError, match=r"on the pairs that both have, is constant"):
        compare_rdms(constant, a, name)


@pytest.mark.parametrize("name", ["cosine", "whitened_cosine"])
def test_a_constant_rdm_has_a_cosine(name):
    a, _ = two()
    assert 0 < compare_rdms(np.full(N, 0.1), a, name) < 1


def test_rdms_that_cannot_be_compared():
    a, b = two()
    with pytest.raises(MeasureError, match=r"35 values are not the pairs"):
        compare_rdms(a[1:], b[1:])
    with pytest.raises(MeasureError, match=r"a has 36 pairs \(9 stimuli\), b has 28 \(8\)"):
        compare_rdms(a, b[:28])
    with pytest.raises(MeasureError, match="1 pairs of stimuli; expected at least 3"):
        compare_rdms([1.0], [2.0])
    with pytest.raises(MeasureError, match="infinite"):
        compare_rdms(np.where(a == a.max(), np.inf, a), b)
    with pytest.raises(MeasureError, match="shape"):
        compare_rdms(a.reshape(1, 1, -1), b)
    left, right = a.copy(), b.copy()
    left[:20], right[22:] = np.nan, np.nan
    for name in NAMES:
        with pytest.raises(MeasureError, match=r"2 pairs of stimuli; expected at least 3"):
            compare_rdms(left, right, name)
    with pytest.raises(OptionError, match="did you mean 'spearman'"):
        compare_rdms(a, b, "sperman")


@pytest.mark.parametrize(
    ("sigma", "message"),
    [
        (np.ones(K - 1), "that of 8 stimuli, the RDMs have 9"),
        (np.ones((K, K - 1)), "shape"),
        (np.zeros(K), "positive"),
        (np.full(K, np.nan), "NaN"),
        (np.ones((K, K)) - 2 * np.eye(K), "not positive definite"),
        (np.triu(np.ones((K, K))), "not symmetric"),
    ],
)
def test_covariances_that_are_none(sigma, message):
    a, b = two()
    with pytest.raises(MeasureError, match=message):
        compare_rdms(a, b, "whitened_cosine", stimulus_covariance=sigma)


def test_a_covariance_without_whitening_raises():
    a, b = two()
    with pytest.raises(MeasureError, match="stimulus_covariance has no meaning for method='cosine'"):
        compare_rdms(a, b, "cosine", stimulus_covariance=np.ones(K))


# Controls, centring, stacks with holes


def controls(seed=5, n=N, count=2):
    rng = np.random.default_rng(seed)
    return rng.gamma(2.0, size=(count, n))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("semipartial", [False, True])
@pytest.mark.parametrize("nan", [0.0, 0.15])
@pytest.mark.parametrize("ties", [False, True])
def test_partial_scores_equal_the_definition(name, semipartial, nan, ties):
    a, b = two(ties=ties, nan=nan)
    z = controls() + np.nan_to_num(a, nan=1.0)
    if nan:
        z[0, 7] = np.nan
    found = compare_rdms(a, b, name, control=z, semipartial=semipartial)
    assert found == pytest.approx(naive.compare(a, b, name, control=z, semipartial=semipartial), abs=1e-10)
    table = compare_rdms(np.stack([a, b]), np.stack([b, a]), name, control=z, semipartial=semipartial)
    assert table[0, 0] == pytest.approx(found, abs=1e-10)


@pytest.mark.parametrize("kind", ["none", "variances", "matrix"])
@pytest.mark.parametrize("nan", [0.0, 0.15])
def test_whitened_means_and_controls_in_the_whitened_product(kind, nan):
    a, b = two(nan=nan)
    sigma, z = covariance(kind), controls(count=1)
    options = {"centring": "whitened", "control": z}
    found = compare_rdms(a, b, "whitened_pearson", stimulus_covariance=sigma, **options)
    assert found == pytest.approx(naive.compare(a, b, "whitened_pearson", sigma, **options), abs=1e-10)
    del options["control"]
    found = compare_rdms(a, b, "whitened_pearson", stimulus_covariance=sigma, **options)
    assert found == pytest.approx(naive.compare(a, b, "whitened_pearson", sigma, **options), abs=1e-10)
    shifted = compare_rdms(a + 3, b, "whitened_pearson", stimulus_covariance=sigma, **options)
    assert shifted == pytest.approx(found, abs=1e-10)


def test_collinear_and_constant_controls_add_nothing_and_what_they_explain_raises():
    a, b = two()
    z = controls(count=1)
    for name in NAMES:
        once = compare_rdms(a, b, name, control=z)
        assert compare_rdms(a, b, name, control=np.vstack([z, 2 * z])) == pytest.approx(once, abs=1e-9)
        with pytest.raises(MeasureError, match="explained entirely by control="):
            compare_rdms(a, b, name, control=b)
    with pytest.raises(MeasureError, match=r"control has 28 pairs \(8 stimuli\)"):
        compare_rdms(a, b, control=z[:, :28])


def test_partial_spearman_of_one_control_is_the_textbook_formula():
    a, b = two()
    (z,) = controls(count=1)
    r = {
        pair: spearmanr(*pair_values).statistic
        for pair, pair_values in {"ab": (a, b), "az": (a, z), "bz": (b, z)}.items()
    }
    expected = (r["ab"] - r["az"] * r["bz"]) / np.sqrt((1 - r["az"] ** 2) * (1 - r["bz"] ** 2))
    assert compare_rdms(a, b, "spearman", control=z) == pytest.approx(expected, abs=1e-12)
    t = {pair: kendalltau(*v).statistic for pair, v in {"ab": (a, b), "az": (a, z), "bz": (b, z)}.items()}
    expected = (t["ab"] - t["az"] * t["bz"]) / np.sqrt((1 - t["az"] ** 2) * (1 - t["bz"] ** 2))
    assert compare_rdms(a, b, "kendall_tau_b", control=z) == pytest.approx(expected, abs=1e-12)


def test_options_that_a_method_does_not_have():
    a, b = two()
    for method, options, message in (
        ("bures", {"control": a}, "control= is not defined"),
        ("cosine", {"centring": "whitened"}, "option of method='whitened_pearson'"),
        ("cosine", {"ridge": False}, "option of method='riemannian'"),
        ("cosine", {"semipartial": True}, "needs control="),
        ("whitened_pearson", {"centring": "median"}, "centring='median'"),
    ):
        with pytest.raises(OptionError, match=message):
            compare_rdms(a, b, method, **options)


@pytest.mark.parametrize("name", ["pearson", "cosine"])
def test_masked_products_equal_pairs_of_rdms(name):
    rng = np.random.default_rng(3)
    a, b = (1e6 + rng.gamma(2.0, size=(m, N)) if name == "pearson" else rng.normal(size=(m, N)) for m in (6, 4))
    for side in (a, b):
        side[rng.random(side.shape) < 0.3] = np.nan
    table = compare_rdms(a, b, name)
    single = [[naive.compare(x, y, name) for y in b] for x in a]
    np.testing.assert_allclose(table, single, rtol=0, atol=1e-8 if name == "pearson" else 1e-12)


def test_masked_products_leave_what_is_undefined_to_the_pair():
    a = np.stack([two(seed)[0] for seed in range(3)])
    b = np.stack([two(seed)[1] for seed in range(3)])
    b[1, 2:] = np.nan
    with pytest.raises(MeasureError, match="2 pairs of stimuli"):
        compare_rdms(a, b, "cosine")


# V39: partial RSA removes a confound


def test_partial_rsa_of_a_confounded_latent_is_zero():
    scores = {"plain": [], "partial": [], "apart": []}
    for seed in range(30):
        rng = np.random.default_rng(seed)
        a = rng.normal(size=(60, 3))
        noise = rng.normal(size=(60, 3))
        b, free = 0.95 * a + np.sqrt(1 - 0.95**2) * noise, noise
        x, y, z = (v @ rng.normal(size=(3, 50)) for v in (a, b, free))
        confound = rdm(a, "squared_euclidean")
        dx, dy, dz = (rdm(v, "squared_euclidean") for v in (x, y, z))
        scores["plain"].append(compare_rdms(dx, dy, "spearman"))
        scores["apart"].append(compare_rdms(dx, dz, "spearman"))
        scores["partial"].append(compare_rdms(dx, dy, "spearman", control=confound))
    assert np.mean(scores["plain"]) == pytest.approx(0.85, abs=0.03)
    assert np.mean(scores["apart"]) == pytest.approx(0.01, abs=0.03)
    assert abs(np.mean(scores["partial"])) < 0.03
