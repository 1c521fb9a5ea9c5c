"""Cross-validated and noise-aware distances: against plain loops, their identities, and what they are in simulations."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repcompare.errors import MeasureError, OptionError
from repcompare.kernels import crossnobis as kernels
from repcompare.measures.rsa import _missing, rdm
from repcompare.measures.rsa import crossnobis as module
from repcompare.measures.rsa._condensed import expand
from repcompare.measures.rsa._trials import trials
from repcompare.measures.rsa.noise import as_noise, estimate_noise
from tests import naive_rsa_noise as naive


def labels(k=5, m=4, repeats=1):
    stimulus = np.tile([f"s{i}" for i in range(k)], m * repeats)
    return stimulus, np.repeat([f"run {r}" for r in range(m)], k * repeats)


def data(k=5, m=4, p=7, seed=0, repeats=1, keep=1.0, nan=0.0):
    """Shuffled trials with a pattern per stimulus, partition and unit; some left out, some values missing."""
    rng = np.random.default_rng(seed)
    stimulus, partition = labels(k, m, repeats)
    values = rng.normal(size=(k, p))[np.tile(np.arange(k), m * repeats)] + rng.normal(size=(len(stimulus), p))
    rows = rng.permutation(np.flatnonzero(rng.random(len(stimulus)) < keep))
    values, stimulus, partition = values[rows] + rng.normal(size=p), stimulus[rows], partition[rows]
    values[rng.random(values.shape) < nan] = np.nan
    return values, stimulus, partition


def precision(p, seed=1):
    a = np.random.default_rng(seed).normal(size=(p, p))
    return a @ a.T / p + np.eye(p)


def fast(values, stimulus, partition, **options):
    return rdm(values, "crossnobis", stimulus=stimulus, partition=partition, **options)


OMEGA = [None, precision(7)]


@pytest.mark.parametrize("omega", OMEGA, ids=["identity", "precision"])
@pytest.mark.parametrize("repeats", [1, 3])
@pytest.mark.parametrize("m", [2, 5])
def test_complete_design_equals_plain_loops(omega, repeats, m):
    values, stimulus, partition = data(m=m, repeats=repeats)
    expected = naive.crossnobis(values, stimulus, partition, omega)
    np.testing.assert_allclose(fast(values, stimulus, partition, noise=omega), expected, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("omega", OMEGA, ids=["identity", "precision"])
def test_incomplete_design_equals_plain_loops(omega, monkeypatch):
    values, stimulus, partition = data(k=7, m=5, repeats=2, keep=0.4, seed=3)
    expected = naive.crossnobis(values, stimulus, partition, omega)
    assert np.isnan(expected).any() == np.isnan(fast(values, stimulus, partition, noise=omega, nan="pairwise")).any()
    found = fast(values, stimulus, partition, noise=omega, nan="pairwise")
    np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-12)
    monkeypatch.setattr(module, "GRAM_BYTES", 8)
    np.testing.assert_allclose(fast(values, stimulus, partition, noise=omega, nan="pairwise"), found, rtol=1e-12)


@pytest.mark.parametrize("omega", OMEGA, ids=["identity", "precision"])
@pytest.mark.parametrize("offset", [0.0, 1e3])
def test_trial_weighting_equals_plain_loops(omega, offset):
    values, stimulus, partition = data(k=4, m=4, repeats=3, keep=0.5, seed=4)
    values = values + offset
    expected = naive.crossnobis_trials(values, stimulus, partition, omega)
    found = fast(values, stimulus, partition, noise=omega, weighting="trial")
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12 if offset == 0 else 1e-8 * np.abs(expected).max())


@pytest.mark.parametrize("omega", OMEGA, ids=["identity", "precision"])
def test_every_trial_its_own_partition(omega):
    values, stimulus, _ = data(k=4, m=4, keep=0.8, seed=5)
    expected = naive.crossnobis_trials(values, stimulus, np.arange(len(values)), omega)
    np.testing.assert_allclose(fast(values, stimulus, None, noise=omega), expected, rtol=1e-10, atol=1e-11)


def test_all_forms_agree_on_balanced_data():
    values, stimulus, partition = data(m=6, p=7, repeats=2)
    for noise in (None, precision(7), estimate_noise(values, stimulus=stimulus, partition=partition)):
        complete = fast(values, stimulus, partition, noise=noise)
        scale = np.abs(complete).max()
        by_trial = fast(values, stimulus, partition, noise=noise, weighting="trial")
        incomplete = module._incomplete(trials(values, stimulus, partition), resolved(noise, 7))
        for other in (by_trial, incomplete):
            np.testing.assert_allclose(other, complete, rtol=0, atol=1e-12 * scale)


def resolved(noise, p):
    from repcompare.measures.rsa.noise import resolve

    return resolve(noise, p)


def test_complete_equals_leaving_one_partition_out():
    values, stimulus, partition = data(m=5)
    expected = naive.leave_one_out(values, stimulus, partition, precision(7))
    found = fast(values, stimulus, partition, noise=precision(7))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-14 * np.abs(expected).max() * 10)


@pytest.mark.parametrize("p", [7, 60])
@pytest.mark.parametrize("method", ["shrinkage_diag", "shrinkage_eye", "diag"])
def test_estimated_noise_in_every_form_equals_its_dense_precision(p, method):
    values, stimulus, partition = data(p=p, repeats=2)
    noise = estimate_noise(values, method, stimulus=stimulus, partition=partition)
    expected = naive.crossnobis(values, stimulus, partition, noise.precision())
    for way in (noise, noise.precision(), method):
        found = fast(values, stimulus, partition, noise=way)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-11 * np.abs(expected).max())
    part = data(p=p, repeats=2, keep=0.6)
    expected = naive.crossnobis(*part, noise.precision())
    np.testing.assert_allclose(fast(*part, noise=noise, nan="pairwise"), expected, atol=1e-11 * np.nanmax(expected))
    expected = naive.crossnobis_trials(*part, noise.precision())
    found = fast(*part, noise=noise, weighting="trial")
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10 * np.nanmax(np.abs(expected)))


@pytest.mark.parametrize("p", [7, 60])
def test_one_noise_per_partition(p):
    values, stimulus, partition = data(m=3, p=p)
    rng = np.random.default_rng(6)
    noises = [estimate_noise(rng.normal(size=(30, p)) * scale, dof=30.0) for scale in (1, 2, 3)]
    order = list(dict.fromkeys(partition))
    expected = naive.crossnobis_of_covariances(values, stimulus, partition, [n.covariance() for n in noises])
    found = fast(values, stimulus, partition, noise=noises)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
    same = fast(values, stimulus, partition, noise=[precision(p)] * 3)
    np.testing.assert_allclose(same, fast(values, stimulus, partition, noise=precision(p)), rtol=1e-9, atol=1e-11)
    with pytest.raises(MeasureError, match="2 noises for 3 partitions"):
        fast(values, stimulus, partition, noise=noises[:2])
    with pytest.raises(OptionError, match="no form with one noise per partition"):
        fast(values, stimulus, partition, noise=noises, weighting="trial")
    keep = ~((stimulus == "s2") & (partition == order[1]))
    with pytest.raises(MeasureError, match=f"s2 in {order[1]}"):
        fast(values[keep], stimulus[keep], partition[keep], noise=noises)


@pytest.mark.parametrize("labels", [["a", "b", "c"], [2, 3, 10]], ids=["text", "numbers"])
def test_noises_of_partitions_go_with_sorted_labels_whatever_the_order_of_rows(labels):
    values, stimulus, partition = data(m=3)
    partition = np.array(labels)[np.unique(partition, return_inverse=True)[1]]
    noises = [precision(7, seed) for seed in range(3)]
    order = np.lexsort((stimulus, partition))
    expected = fast(values[order], stimulus[order], partition[order], noise=noises)
    last = np.lexsort((stimulus, -np.unique(partition, return_inverse=True)[1]))  # the last partition first
    found = fast(values[last], stimulus[last], partition[last], noise=noises)
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("keep", [1.0, 0.7])
def test_missing_values_are_means_over_units(keep):
    values, stimulus, partition = data(p=15, repeats=2, keep=keep, nan=0.3, seed=7)
    for minimum in (1, 12):
        expected = naive.crossnobis_units(values, stimulus, partition, minimum)
        found = fast(values, stimulus, partition, nan="pairwise", min_units=minimum)
        np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)
    assert np.isnan(expected).any() or keep == 1.0


def test_missing_values_with_noise_take_sub_blocks_of_the_covariance():
    values, stimulus, partition = data(p=12)
    covariance = np.linalg.inv(precision(12))
    values[stimulus == "s1", 3] = np.nan
    values[(stimulus == "s2") & (partition == "run 1"), 5:8] = np.nan
    expected = naive.crossnobis_common_units(values, stimulus, partition, covariance)
    found = fast(values, stimulus, partition, nan="pairwise", noise=precision(12), min_units=2)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
    mean = np.array([np.mean(values[stimulus == name], axis=0) for name in dict.fromkeys(stimulus)])
    d = expand(rdm(mean, "mahalanobis", nan="pairwise", noise=precision(12), min_units=2))
    for i, j in ((0, 1), (1, 3)):
        u = np.isfinite(mean[i] + mean[j])
        delta = (mean[i] - mean[j])[u]
        assert d[i, j] == pytest.approx(delta @ np.linalg.inv(covariance[np.ix_(u, u)]) @ delta / u.sum(), rel=1e-9)


def test_too_many_sets_of_units_raise():
    values, stimulus, partition = data(k=15, p=30, nan=0.1)
    with pytest.raises(MeasureError, match=r"more than 64 distinct sets .*nan='drop_units'"):
        fast(values, stimulus, partition, nan="pairwise", noise=precision(30), min_units=1)


def test_a_pattern_of_a_partition_and_a_baseline_of_a_unit_change_nothing():
    rng = np.random.default_rng(8)
    for keep, nan in ((1.0, 0.0), (0.7, 0.0), (1.0, 0.2)):
        values, stimulus, partition = data(k=8, p=20, keep=keep, nan=nan)
        offset = {m: rng.normal(size=20) * 10 for m in dict.fromkeys(partition)}
        moved = values + np.array([offset[m] for m in partition])
        base = fast(values, stimulus, partition, nan="pairwise", min_units=1)
        np.testing.assert_allclose(
            fast(moved, stimulus, partition, nan="pairwise", min_units=1), base, rtol=0, atol=1e-10 * np.nanmax(base)
        )
        exact = np.round(values * 2**20) / 2**20
        base = fast(exact, stimulus, partition, nan="pairwise", min_units=1)
        moved = fast(exact + 1e7, stimulus, partition, nan="pairwise", min_units=1)
        np.testing.assert_allclose(moved, base, rtol=0, atol=1e-8 * np.nanmax(base))


def test_noise_without_signal_gives_zero_on_average():
    """Crossnobis is unbiased; the squared distance of run means is 2 sigma^2 / M."""
    rng = np.random.default_rng(9)
    stimulus, partition = labels(10, 6)
    found, wrong = [], []
    for _ in range(300):
        values = rng.normal(size=(60, 100))
        found.append(fast(values, stimulus, partition).mean())
        wrong.append(rdm(values, "squared_euclidean", stimulus=stimulus).mean())
    assert abs(np.mean(found)) < 0.004
    assert np.mean(wrong) == pytest.approx(2 / 6, abs=0.01)
    assert np.min(found) < 0


def test_runs_with_slow_noise_in_a_fixed_order():
    """AR(1) noise of single-trial estimates follows time within a run, and is independent between runs."""
    rng = np.random.default_rng(10)
    k, runs, p = 16, 4, 100
    gap = np.abs(np.subtract.outer(np.arange(k), np.arange(k)))
    i, j = np.triu_indices(k, 1)
    distance = np.minimum(gap, k - gap)[i, j].astype(float)
    distance -= distance.mean()
    factor = np.linalg.cholesky(0.7**gap)
    stimulus, partition = labels(k, runs)
    scores = []
    for _ in range(60):
        values = np.concatenate([factor @ rng.normal(size=(k, p)) for _ in range(runs)])
        pair = fast(values, stimulus, partition), rdm(values, "correlation", stimulus=stimulus)
        ranks = [np.argsort(np.argsort(d)) - (d.size - 1) / 2 for d in pair]
        scores.append([r @ distance / np.linalg.norm(r) / np.linalg.norm(distance) for r in ranks])
    across, within = np.mean(scores, axis=0)
    assert abs(across) < 0.04
    assert within > 0.3


def test_covariance_of_the_estimates():
    rng = np.random.default_rng(11)
    k, m, p, n = 4, 4, 12, 20_000
    u = rng.normal(size=(k, p)) * 0.6
    a = rng.normal(size=(k, k))
    sigma_k = a @ a.T / k + np.eye(k)
    noise = np.linalg.cholesky(sigma_k) @ rng.normal(size=(n, m, k, p))
    delta = (u + noise)[:, :, :, None] - (u + noise)[:, :, None]
    i, j = np.triu_indices(k, 1)
    delta = delta[:, :, i, j]
    d = (np.square(delta.sum(axis=1)) - np.square(delta).sum(axis=1)).sum(axis=-1) / (m * (m - 1) * p)
    expected = module.covariance_of_estimates(u @ u.T, sigma_k, m, p)
    np.testing.assert_allclose(np.cov(d.T), expected, rtol=0, atol=0.03 * expected.max())
    np.testing.assert_allclose(np.var(d, axis=0), np.diag(expected), rtol=0.03)


def test_covariance_between_stimuli_from_the_data():
    rng = np.random.default_rng(12)
    k, m, p = 5, 6, 4000
    a = rng.normal(size=(k, k))
    sigma_k = a @ a.T / k
    values = np.concatenate([np.linalg.cholesky(sigma_k) @ rng.normal(size=(k, p)) for _ in range(m)])
    found = module.stimulus_noise(trials(values, *labels(k, m)), None)
    centring = np.eye(k) - 1 / k
    np.testing.assert_allclose(found, centring @ sigma_k @ centring, atol=0.05)


@pytest.mark.parametrize("omega", OMEGA, ids=["identity", "precision"])
def test_time_generalisation(omega):
    values = np.random.default_rng(13).normal(size=(20, 7, 3))
    _, stimulus, partition = data()
    labelled = trials(values[:, :, 0], stimulus, partition)
    found = module.generalised(values, labelled, resolved(omega, 7))
    expected = naive.generalised(values, stimulus, partition, np.eye(7) if omega is None else omega)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found, found.transpose(1, 0, 2))
    for t in range(3):
        now = fast(np.ascontiguousarray(values[:, :, t]), stimulus, partition, noise=omega)
        np.testing.assert_allclose(found[t, t], now, rtol=1e-9, atol=1e-12)


def test_float32_agrees_with_its_float64_cast(monkeypatch):
    values, stimulus, partition = data(k=20, p=100)
    values = (values + 1e3).astype(np.float32)
    for single in (2**28, 0):
        monkeypatch.setattr(module, "SINGLE_FROM", single)
        for noise in (None, precision(100)):
            exact = fast(values.astype(np.float64), stimulus, partition, noise=noise)
            found = fast(values, stimulus, partition, noise=noise)
            np.testing.assert_allclose(found, exact, rtol=0, atol=1e-5 * np.abs(exact).max())


@pytest.mark.parametrize("keep", [1.0, 0.8])
@pytest.mark.parametrize("shared", [0.0, 1e3, 1e9])
def test_float32_under_a_badly_conditioned_precision_is_computed_in_float64(shared, keep, monkeypatch):
    """Noise that units share is undone by differences of large numbers: float32 would be off by up to a fifth."""
    monkeypatch.setattr(module, "SINGLE_FROM", 0)
    p = 100
    covariance = np.eye(p) + shared
    omega = np.eye(p) - shared / (1 + shared * p)
    values, stimulus, partition = data(k=10, p=p, seed=16, keep=keep)
    values = (values @ np.linalg.cholesky(covariance).T).astype(np.float32)
    exact = fast(values.astype(np.float64), stimulus, partition, noise=omega, nan="pairwise")
    found = fast(values, stimulus, partition, noise=omega, nan="pairwise")
    np.testing.assert_allclose(found, exact, rtol=0, atol=1e-5 * np.nanmax(np.abs(exact)))
    labelled = trials(values, stimulus, partition)
    (term,) = module.terms_of(
        lambda dtype: labelled.means(slice(None), dtype).reshape(-1, p), labelled, resolved(omega, p)
    )
    assert term.left.dtype == (np.float32 if shared == 0 else np.float64)


def test_contrasts_are_an_orthonormal_mixture_of_the_centred_partitions():
    for repeats in (1, 3):
        labelled = trials(*data(repeats=repeats))
        cells = labelled.means(slice(1, 6))
        k, m, p = cells.shape
        rows = labelled.contrasts(slice(1, 6))
        mixed = np.concatenate([rows[:k, None], rows[k:].reshape(k, m - 1, p)], axis=1)
        np.testing.assert_allclose(mixed[:, 0], cells.sum(axis=1) / np.sqrt(m), atol=1e-13)
        between = [np.einsum("imp,jmp->ij", v, v) for v in (mixed, cells)]
        np.testing.assert_allclose(*between, rtol=0, atol=1e-12 * between[1].max())
        shifted = labelled.with_values(labelled.values + 1e3).contrasts(slice(1, 6))
        np.testing.assert_allclose(shifted, rows, atol=1e-11)  # the mean of a partition is in none of them


@given(seed=st.integers(0, 10**6), k=st.integers(2, 6), m=st.integers(2, 5), p=st.integers(1, 6), keep=st.booleans())
@settings(max_examples=40, deadline=None)
def test_any_design_equals_plain_loops(seed, k, m, p, keep):
    values, stimulus, partition = data(k, m, p, seed, 2, 0.6 if keep else 1.0)
    if len(set(stimulus)) < 2 or len(set(partition)) < 2:
        return
    expected = naive.crossnobis(values, stimulus, partition)
    if np.isnan(expected).all():
        return
    found = fast(values, stimulus, partition, nan="pairwise")
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-11)


def test_stimuli_keep_the_order_of_the_data():
    values, stimulus, partition = data()
    names = list(dict.fromkeys(stimulus))
    assert names != sorted(names)
    order = np.random.default_rng(14).permutation(len(values))
    other = list(dict.fromkeys(stimulus[order]))
    square, moved = (
        expand(fast(values, stimulus, partition)),
        expand(fast(values[order], stimulus[order], partition[order])),
    )
    at = [names.index(name) for name in other]
    np.testing.assert_allclose(moved, square[np.ix_(at, at)], atol=1e-12)


def test_units_are_summed_or_averaged():
    values, stimulus, partition = data()
    for name in ("crossnobis", "mahalanobis", "poisson_cv", "poisson"):
        options = {"noise": precision(7)} if name in ("crossnobis", "mahalanobis") else {}
        options |= {"partition": partition} if name in ("crossnobis", "poisson_cv") else {}
        x = np.abs(values)
        mean = rdm(x, name, stimulus=stimulus, **options)
        np.testing.assert_allclose(rdm(x, name, stimulus=stimulus, normalize_units=False, **options), 7 * mean)


@pytest.mark.parametrize("p", [7, 60])
def test_mahalanobis_equals_plain_loops(p):
    values, stimulus, _ = data(p=p, repeats=2)
    mean = np.array([values[stimulus == name].mean(axis=0) for name in dict.fromkeys(stimulus)])
    for noise in (precision(p), estimate_noise(values, stimulus=stimulus)):
        omega = noise if isinstance(noise, np.ndarray) else noise.precision()
        np.testing.assert_allclose(rdm(mean, "mahalanobis", noise=noise), naive.mahalanobis(mean, omega), rtol=1e-10)
        np.testing.assert_allclose(
            rdm(values, "mahalanobis", noise=noise, stimulus=stimulus), naive.mahalanobis(mean, omega), rtol=1e-10
        )
    mean[3] = mean[1]
    assert expand(rdm(mean + 1e7, "mahalanobis", noise=precision(p)))[1, 3] == 0
    np.testing.assert_allclose(rdm(mean, "mahalanobis", noise=np.eye(p)), rdm(mean, "squared_euclidean"), atol=1e-13)


def test_mahalanobis_is_affine_invariant_when_the_precision_moves_along():
    x = data()[0]
    a = np.random.default_rng(15).normal(size=(7, 7)) + 3 * np.eye(7)
    inverse = np.linalg.inv(a)
    moved = inverse @ precision(7) @ inverse.T
    np.testing.assert_allclose(
        rdm(x @ a, "mahalanobis", noise=(moved + moved.T) / 2), rdm(x, "mahalanobis", noise=precision(7)), rtol=1e-9
    )


@pytest.mark.parametrize("nan", [0.0, 0.2])
@pytest.mark.parametrize("prior", [(1.0, 0.1), (2.0, 0.5)])
def test_poisson_equals_plain_loops(nan, prior):
    rng = np.random.default_rng(16)
    counts = rng.poisson(3.0, size=(8, 20)).astype(float)
    counts[rng.random(counts.shape) < nan] = np.nan
    counts[5] = counts[2]
    found = rdm(counts, "poisson", nan="pairwise", min_units=1, prior=prior)
    np.testing.assert_allclose(found, naive.poisson(counts, prior), rtol=1e-10, atol=1e-14)
    assert expand(found)[2, 5] == 0


def test_poisson_between_partitions_equals_plain_loops():
    rng = np.random.default_rng(17)
    stimulus, partition = labels(5, 3, 2)
    counts = rng.poisson(2.0, size=(30, 8)).astype(float)
    found = rdm(counts, "poisson_cv", stimulus=stimulus, partition=partition)
    np.testing.assert_allclose(found, naive.poisson_cv(counts, stimulus, partition), rtol=1e-10, atol=1e-13)
    assert found.min() < 0
    with pytest.raises(MeasureError, match="1 cells are empty: 'b in 1'"):
        rdm(counts[[0, 1, 7]], "poisson_cv", stimulus=["a", "b", "a"], partition=[1, 2, 2])


def test_negative_counts_are_named():
    counts = np.ones((4, 5))
    counts[2, 3] = -1
    with pytest.raises(MeasureError, match="negative counts in 'c'"):
        rdm(counts, "poisson", stimulus=list("abcd"))
    with pytest.raises(MeasureError, match="negative counts in '2'"):
        rdm(counts, "poisson")
    with pytest.raises(OptionError, match=r"prior=\(0, 0.1\)"):
        rdm(np.ones((3, 4)), "poisson", prior=(0, 0.1))


def test_centred_patterns():
    values, stimulus, partition = data(p=12)
    centred = values - values.mean(axis=1, keepdims=True)
    for name in ("squared_euclidean", "cosine"):
        np.testing.assert_allclose(rdm(values, name, centre_patterns=True), rdm(centred, name), rtol=1e-10)
    np.testing.assert_allclose(rdm(values, "cosine", centre_patterns=True), rdm(values, "correlation"), rtol=1e-10)
    np.testing.assert_allclose(
        fast(values, stimulus, partition, centre_patterns=True),
        fast(centred, stimulus, partition),
        rtol=1e-9,
        atol=1e-12,
    )


def test_repeats_are_averaged_in_order_of_first_appearance():
    values = np.array([[3.0, 4.0], [1.0, 1.0], [5.0, 6.0], [np.nan, 3.0]])
    found = rdm(values, "squared_euclidean", stimulus=["b", "a", "b", "a"], nan="pairwise", min_units=1)
    assert found.tolist() == [(3**2 + 3**2) / 2]
    with pytest.raises(MeasureError, match="1 missing values"):
        rdm(values, "squared_euclidean", stimulus=["b", "a", "b", "a"])


def test_designs_that_have_no_crossnobis():
    values, stimulus, partition = data()
    with pytest.raises(MeasureError, match=r"all trials are of the partition 1; .* needs 2 or more"):
        fast(values, stimulus, np.ones(len(values), dtype=int))
    with pytest.raises(MeasureError, match="rows have no stimulus labels"):
        rdm(values, "crossnobis", partition=partition)
    with pytest.raises(MeasureError, match="all 20 rows are the stimulus x"):
        fast(values, ["x"] * 20, partition)
    with pytest.raises(MeasureError, match=r"partition has shape \(3,\)"):
        fast(values, stimulus, [1, 2, 3])
    with pytest.raises(MeasureError, match="missing labels"):
        fast(values, stimulus, np.where(np.arange(20) == 3, np.nan, 1.0))
    keep = ~((stimulus == "s1") & np.isin(partition, ["run 0", "run 1", "run 2"]))
    with pytest.raises(
        MeasureError, match=r"4 pairs of stimuli are in fewer than 2 common partitions: .*s1.*leave out"
    ):
        fast(values[keep], stimulus[keep], partition[keep])
    assert np.isnan(fast(values[keep], stimulus[keep], partition[keep], nan="pairwise")).sum() == 4
    with pytest.raises(MeasureError, match=r"no pair of the 2 stimuli is in 2 common partitions"):
        fast(values[:4], ["a", "b", "a", "b"], [1, 2, 1, 2], nan="pairwise")


def test_options_that_do_not_fit():
    values, stimulus, partition = data()
    with pytest.raises(OptionError, match="takes no noise"):
        rdm(values, "correlation", noise=np.eye(7))
    with pytest.raises(OptionError, match="needs the noise between units"):
        rdm(values, "mahalanobis")
    with pytest.raises(OptionError, match="estimated from repeats"):
        rdm(values, "mahalanobis", noise="diag")
    with pytest.raises(OptionError, match="did you mean 'trial'"):
        fast(values, stimulus, partition, weighting="trials")
    with pytest.raises(OptionError, match="only crossnobis takes one per partition"):
        rdm(values, "mahalanobis", noise=[np.eye(7), np.eye(7)])
    with pytest.raises(OptionError, match="makes them negative"):
        rdm(np.abs(values), "poisson", centre_patterns=True)
    values[0, 0] = np.nan
    with pytest.raises(OptionError, match="missing values takes partition means"):
        fast(values, stimulus, partition, nan="pairwise", weighting="trial")
    with pytest.raises(OptionError, match="no form for missing values"):
        rdm(np.abs(values), "poisson_cv", stimulus=stimulus, partition=partition, nan="pairwise")


def test_kernels_compiled_and_as_python():
    values, stimulus, partition = data(k=4, m=4, p=5, keep=0.8)
    labelled = trials(values, stimulus, partition)
    k, m = labelled.counts.shape
    missing = values.copy()
    missing[0, 2] = np.nan
    cells = labelled.means(slice(None))
    mask = np.repeat((labelled.counts > 0)[:, :, None], 5, axis=2).astype(float)
    gram = np.einsum("imp,jnp->imjn", cells, cells)
    own = np.array([gram[i, :, i] for i in range(k)])
    results = []
    single = np.arange(12).reshape(4, 3)
    for run in (lambda f: f, lambda f: f.py_func):
        means, present, centred = np.empty((k * m, 5)), np.empty((k * m, 5)), cells + 1.0
        run(kernels.mean_cells)(values, labelled.cell, 0, 5, means)
        run(kernels.mean_cells_present)(missing, labelled.cell, present)
        run(kernels.centre_partitions)(centred, labelled.counts > 0)
        distance, units, square = np.empty(6), np.empty(6), np.full((k, k), -1.0)
        run(kernels.masked_crossnobis)(cells, mask, distance, units)
        run(kernels.partition_sums)(gram[1:], own, labelled.counts > 0, 1, square)
        contrasts, sums = np.empty((4, 2, 3)), np.empty((4, 3))
        run(kernels.cell_contrasts)(np.arange(60.0).reshape(12, 5) ** 2, single, 1, 4, sums, contrasts)
        results.append([contrasts, sums, means, present, centred, distance, units, square])
    for compiled, plain in zip(*results, strict=True):
        np.testing.assert_allclose(compiled, plain, rtol=1e-12, atol=1e-14)


def test_blocks_of_pairs_change_nothing(monkeypatch):
    values, stimulus, partition = data(p=12)
    values[stimulus == "s1", 3] = np.nan
    whole = fast(values, stimulus, partition, nan="pairwise", noise=precision(12), min_units=1)
    monkeypatch.setattr(_missing, "BLOCK", 1)
    found = fast(values, stimulus, partition, nan="pairwise", noise=as_noise(precision(12), 12), min_units=1)
    np.testing.assert_allclose(found, whole, rtol=1e-12)
    monkeypatch.setattr(module, "BLOCK", 1)
    complete = data(p=50)
    np.testing.assert_allclose(fast(*complete), naive.crossnobis(*complete), rtol=1e-10, atol=1e-12)
