"""Inference on RDM models: what the numbers are, what simulations promise, what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from scipy import stats
from scipy.spatial.distance import pdist

import repcompare as rc
from repcompare.errors import AlignmentError, MeasureError, OptionError, SchemaError
from repcompare.labels.rdms import rdm_set, select_stimuli, stimuli_of
from repcompare.measures.rsa._resampled import RESAMPLED
from repcompare.measures.rsa._resampled_folds import Problem, assign, evaluate_folds
from repcompare.measures.rsa.models import fixed, interpolated, select, weighted
from repcompare.statistics.two_factor import draw_counts, t_pvalue
from tests import naive_rsa_inference as naive

K, S = 12, 5


def rdms(n, k=K, seed=0, noise=1.0):
    rng = np.random.default_rng(seed)
    shared = pdist(rng.normal(size=(k, 6)), "sqeuclidean")
    return np.array([shared + noise * shared.std() * rng.random(shared.size) for _ in range(n)])


def sets(k=K, n_models=2, n_subjects=S):
    values = rdms(n_models + n_subjects, k)
    names = [f"s{i:02d}" for i in range(k)]
    models = rdm_set(values[:n_models], stimulus=names, rdm=[f"m{i}" for i in range(n_models)])
    return models, rdm_set(values[n_models:], stimulus=names, rdm=[f"p{i}" for i in range(n_subjects)])


# --- numbers -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["rho_a", "pearson", "whitened_cosine", "kendall_tau_a"])
def test_bootstrap_equals_explicit_samples(method):
    models, data = sets(k=7)
    found = rc.rsa_inference(models, data, method=method, n_bootstraps=4, samples=True, seed=2)
    c, b = draw_counts(7, 4, 2, "stimuli"), draw_counts(S, 4, 2, "subjects")
    values = models["dissimilarity"].values, data["dissimilarity"].values
    expected = [naive.sample(*values, method, *one) for one in zip(c, b, strict=True)]
    np.testing.assert_allclose(found["score_samples"], [e[0] for e in expected], rtol=0, atol=1e-12)
    for name, k in (("lower", 1), ("upper", 2)):
        np.testing.assert_allclose(found[f"score_ceiling_{name}_samples"], [e[k] for e in expected], rtol=0, atol=1e-12)
    once = [naive.sample(*values, method, one, np.ones(S)) for one in c]
    np.testing.assert_allclose(found["variance_stimuli"], np.var([e[0] for e in once], axis=0, ddof=1), rtol=1e-9)
    drawn = [naive.sample(*values, method, np.ones(7), one) for one in b]
    np.testing.assert_allclose(found["variance_subjects"], np.var([e[0] for e in drawn], axis=0, ddof=1), rtol=1e-9)
    assert found["dof"] == S - 1


def test_scores_are_those_of_compare_rdms():
    models, data = sets()
    for method in RESAMPLED:
        found = rc.rsa_inference(models, data, method=method, bootstrap=None)
        expected = rc.compare_rdms(models["dissimilarity"].values, data["dissimilarity"].values, method=method)
        np.testing.assert_allclose(found["score_subject"], expected, rtol=0, atol=1e-12)
        np.testing.assert_allclose(found["score"], expected.mean(axis=1), rtol=0, atol=1e-12)


def test_fixed_inference_is_the_textbook_t_test():
    models, data = sets()
    found = rc.rsa_inference(models, data, method="pearson", bootstrap=None)
    scores = found["score_subject"].values
    np.testing.assert_allclose(found["score_variance"], scores.var(axis=1, ddof=1) / S, rtol=1e-12)
    expected = stats.ttest_1samp(scores, 0, axis=1, alternative="greater").pvalue
    np.testing.assert_allclose(found["pvalue_zero"], expected, rtol=1e-10)
    paired = stats.ttest_rel(scores[0], scores[1]).pvalue
    np.testing.assert_allclose(found["pvalue_pair"], [[1, paired], [paired, 1]], rtol=1e-10)
    low, high = stats.t.interval(0.95, S - 1, scores.mean(axis=1), stats.sem(scores, axis=1))
    np.testing.assert_allclose([found["score_low"], found["score_high"]], [low, high], rtol=1e-10)
    assert found["dof"] == S - 1


def test_one_subject_has_scores_but_neither_variance_nor_ceiling():
    models, data = sets(n_subjects=1)
    found = rc.rsa_inference(models, data, bootstrap=None)
    assert not {"score_variance", "score_ceiling_lower", "pvalue_zero"} & set(found)
    over_stimuli = rc.rsa_inference(models, data, bootstrap="stimuli", n_bootstraps=20)
    assert (over_stimuli["score_variance"] > 0).all() and over_stimuli["dof"] == K - 1
    with pytest.raises(MeasureError, match="bootstrap='stimuli'"):
        rc.rsa_inference(models, data)


@pytest.mark.parametrize("method", ["rho_a", "pearson", "whitened_pearson", "kendall_tau_a"])
@pytest.mark.parametrize("fitted", [False, True])
def test_threads_and_chunks_change_nothing(method, fitted):
    models, data = sets()
    if fitted:
        models = {"w": rc.rdm_models.weighted(models), "f": rc.rdm_models.fixed(models.isel(rdm=[0]))}
    options = {"method": method, "samples": True, "seed": 5}
    one = rc.rsa_inference(models, data, n_bootstraps=9, **options)
    xr.testing.assert_identical(one, rc.rsa_inference(models, data, n_bootstraps=9, n_jobs=3, **options))
    fewer = rc.rsa_inference(models, data, n_bootstraps=4, **options)
    np.testing.assert_array_equal(one["score_samples"][:4], fewer["score_samples"])
    other = rc.rsa_inference(models, data, n_bootstraps=9, method=method, samples=True, seed=6)
    assert (other["score_samples"] != one["score_samples"]).any()


def test_labels_decide():
    models, data = sets()
    order = np.random.default_rng(0).permutation([f"s{i:02d}" for i in range(K)])
    one = rc.rsa_inference(models, data, n_bootstraps=5, permutations=9)
    two = rc.rsa_inference(models, select_stimuli(data, order), n_bootstraps=5, permutations=9)
    xr.testing.assert_identical(one, two)
    part = select_stimuli(data, order[:9])
    with pytest.raises(AlignmentError, match="intersection"):
        rc.rsa_inference(models, part)
    shared = rc.rsa_inference(models, part, n_bootstraps=5, stimuli="intersection")
    assert shared.attrs["n_stimuli"] == 9


def test_what_models_may_be():
    models, data = sets()
    values = models["dissimilarity"].values
    by_name = rc.rsa_inference(
        {"a": models.isel(rdm=[0]), "b": rc.rdm_models.fixed(models.isel(rdm=[1]))}, data, bootstrap=None
    )
    arrays = rc.rsa_inference(values, data["dissimilarity"].values, bootstrap=None)
    for found in (by_name, arrays):
        np.testing.assert_array_equal(found["score"], rc.rsa_inference(models, data, bootstrap=None)["score"])
    assert by_name["model"].values.tolist() == ["a", "b"]
    names = [f"s{i:02d}" for i in range(K)]
    net = rc.representation(np.random.default_rng(0).normal(size=(K, 8)), stimulus=names)
    layer = rc.rsa_inference({"net": net}, data, bootstrap=None, distance="squared_euclidean")
    expected = rc.compare_rdms(pdist(net["response"].values, "sqeuclidean"), data["dissimilarity"].values)
    np.testing.assert_allclose(layer["score_subject"].values, np.atleast_2d(expected), atol=1e-12)
    with pytest.raises(SchemaError, match="without stimulus names"):
        rc.rsa_inference(values, data)
    with pytest.raises(SchemaError, match="occur more than once"):
        rc.rsa_inference([models.isel(rdm=[0]), models.isel(rdm=[0])], data)


def test_results_round_trip_through_netcdf(tmp_path):
    models, data = sets()
    found = rc.rsa_inference(models, data, n_bootstraps=5, samples=True, permutations=3)
    found.to_netcdf(tmp_path / "found.nc")
    with xr.open_dataset(tmp_path / "found.nc") as back:
        xr.testing.assert_equal(back.load(), found)


# --- fitted models -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["pearson", "cosine", "rho_a"])
def test_held_out_scores_equal_explicit_ones(method):
    values = rdms(3 + S, k=10, noise=2.0)
    parts, data = values[:3], values[3:]
    models = {"fixed": fixed(parts[0]), "weighted": weighted(parts), "interpolated": interpolated(parts)}
    if method != "rho_a":
        models["select"] = select(parts)
    problem = Problem(models=tuple(models.values()), data=data, method=method, variances=None, n_folds=(2, 2))
    rng = np.random.default_rng(1)
    c, b = np.array([1, 2, 1, 0, 1, 3, 1, 1, 0, 2]), np.array([2, 1, 0, 1, 1])
    fold, fold_of = assign(rng.random(10), c, 2), assign(rng.random(S), b, 2)
    (found,) = evaluate_folds(problem, c, fold, [(b, fold_of)])
    plain = [(name, m.rdms) for name, m in models.items()]
    expected = naive.folded(plain, data, method, c, b, fold, fold_of)
    exact = [row for row, name in enumerate(models) if name != "interpolated"]
    np.testing.assert_allclose(found.table[exact], expected[exact], rtol=0, atol=1e-10)
    np.testing.assert_allclose(found.table, expected, rtol=0, atol=1e-7)  # the oracle's line search ends at 1e-8
    assert len(found.theta[1]) == 4  # 2 folds of stimuli times 2 of subjects


def test_fitting_noise_scores_nothing():
    """In-sample, 6 random components explain noise; held out they do not."""
    rng = np.random.default_rng(0)
    scores = []
    for _ in range(12):
        values = rng.random((6 + 6, 190))
        model = {"noise": rc.rdm_models.weighted(values[:6], nonnegative=False)}
        scores.append(float(rc.rsa_inference(model, values[6:], method="pearson", bootstrap=None)["score"][0]))
    assert abs(np.mean(scores)) < 4 * np.std(scores) / np.sqrt(12) + 0.005


def test_a_fitted_model_beats_its_parts():
    rng = np.random.default_rng(3)
    parts = rng.random((2, 190))
    data = parts.sum(axis=0) + 0.3 * rng.random((8, 190))
    models = {"both": rc.rdm_models.weighted(parts), "one": parts[0], "two": parts[1]}
    found = rc.rsa_inference(models, data, method="pearson", n_bootstraps=60)
    assert float(found["score"].sel(model="both")) > float(found["score"].sel(model="one")) + 0.1
    assert float(found["pvalue_pair"].sel(model="both", model_b="one")) < 0.05
    assert found["theta"].dims == ("model", "fold", "parameter")
    assert found.attrs["cross_validated"] == 1
    assert float(found["score_ceiling_lower"]) < float(found["score_ceiling_upper"])


# --- validity ------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_v16_the_true_model_lies_between_the_ceilings():
    rng = np.random.default_rng(0)
    rows = []
    for _ in range(200):
        truth = pdist(rng.normal(size=(20, 8)), "sqeuclidean")
        data = truth + 8 * rng.normal(size=(10, truth.size))
        found = rc.rsa_inference(truth, data, method="pearson", bootstrap=None)
        rows.append([float(found[n].mean()) for n in ("score_ceiling_lower", "score", "score_ceiling_upper")])
    lower, score, upper = np.array(rows).T
    np.testing.assert_allclose(np.mean(rows, axis=0), [0.65, 0.69, 0.73], atol=0.012)
    assert np.mean((lower < score) & (score < upper)) >= 0.95


@pytest.mark.slow
def test_v23_permuting_stimuli_keeps_its_level():
    rng = np.random.default_rng(0)
    hits = []
    for _ in range(400):
        x, y = (pdist(rng.normal(size=(16, 2)) * [1, 0.3], "sqeuclidean") for _ in range(2))
        found = rc.rsa_inference(x, y, method="spearman", bootstrap=None, permutations=99, seed=len(hits))
        hits.append(float(found["pvalue_permutation"][0]) <= 0.05)
    assert np.mean(hits) <= 0.07  # entries instead of stimuli: 0.105
    assert np.mean(hits) >= 0.02


def test_v26_bootstrap_of_independent_data_is_unbiased():
    rng = np.random.default_rng(0)
    shifts = []
    for seed in range(30):
        x, y = (pdist(rng.normal(size=(30, 20)), "sqeuclidean") for _ in range(2))
        found = rc.rsa_inference(x, y, method="pearson", bootstrap="stimuli", n_bootstraps=200, samples=True, seed=seed)
        shifts.append(float(found["score_samples"].mean() - found["score"].mean()))
    assert abs(np.mean(shifts)) < 0.01  # with pairs of copies: +0.098


@pytest.mark.slow
def test_v27_corrected_variance_is_that_of_fresh_experiments():
    rng = np.random.default_rng(0)

    def experiment():
        latents = rng.normal(size=(20, 10)) * np.linspace(1, 0.3, 10)
        model = pdist(latents + 0.7 * rng.normal(size=(20, 10)), "sqeuclidean")
        gains = rng.normal(size=(12, 10, 40)) * np.exp(0.5 * rng.normal(size=(12, 10, 1)))
        data = latents @ gains / np.sqrt(40) + 1.5 * rng.normal(size=(12, 20, 40))
        return model, np.array([pdist(one, "sqeuclidean") for one in data])

    truth = np.var([np.corrcoef(m, d)[0, 1:].mean() for m, d in (experiment() for _ in range(600))], ddof=1)
    found = [rc.rsa_inference(*experiment(), method="pearson", n_bootstraps=150, seed=i) for i in range(60)]
    ratio = {
        n: np.mean([float(f[n][0]) for f in found]) / truth
        for n in ("score_variance", "variance_both", "variance_subjects")
    }
    assert 0.8 < ratio["score_variance"] < 1.4
    assert ratio["variance_both"] > 1.6  # uncorrected
    assert ratio["variance_subjects"] < 0.8


@pytest.mark.slow
def test_v29_max_statistic_keeps_the_family_wise_error():
    rng = np.random.default_rng(0)
    errors, raw = [], []
    for seed in range(200):
        models = np.array([pdist(rng.normal(size=(15, 4)), "sqeuclidean") for _ in range(10)])
        data = pdist(rng.normal(size=(15, 4)), "sqeuclidean")
        found = rc.rsa_inference(models, data, method="pearson", bootstrap=None, permutations=99, seed=seed)
        errors.append(float(found["pvalue_permutation_corrected"].min()) <= 0.05)
        raw.append(float(found["pvalue_permutation"].min()) <= 0.05)
    assert np.mean(errors) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 200)
    assert np.mean(raw) > 0.25  # best of ten, uncorrected


def test_pvalues_of_strong_effects_do_not_underflow():
    truth = rdms(1, k=60)[0]
    data = truth + 0.05 * np.random.default_rng(0).random((40, truth.size))
    found = rc.rsa_inference(truth, data, method="pearson", bootstrap=None)
    assert 0 < float(found["pvalue_zero"][0]) < 1e-19
    assert float(t_pvalue(1.0, 1e-4, 39, "less")) == pytest.approx(1.0)


# --- permutations ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "variances"),
    [(m, None) for m in ("rho_a", "spearman", "cosine", "whitened_pearson", "kendall_tau_b")]
    + [(m, np.linspace(0.5, 2, 7)) for m in ("whitened_cosine", "whitened_pearson")],
)
def test_permutations_equal_explicit_ones(method, variances):
    from repcompare.measures.rsa._resampled import stack_rdms
    from repcompare.measures.rsa._resampled_permuted import permuted_scores

    values = rdms(5, k=7)
    orders = [np.random.default_rng(i).permutation(7) for i in range(4)]
    found = permuted_scores(stack_rdms(values, method, variances), 2, orders)
    upper = np.triu_indices(7, 1)
    for order, row in zip(orders, found, strict=True):
        moved = []
        for rdm in values[:2]:
            square = np.zeros((7, 7))
            square[upper] = rdm
            moved.append((square + square.T)[np.ix_(order, order)][upper])
        expected = naive.sample(moved, values[2:], method, np.ones(7), np.ones(3), variances)[0]
        np.testing.assert_allclose(row, expected, rtol=0, atol=1e-12)


def test_a_permutation_within_categories_counts_as_equal():
    groups = np.repeat([0, 1], 3)
    model = pdist(groups[:, None].astype(float))
    found = rc.rsa_inference(model, model + 0.0, bootstrap=None, permutations=199, method="pearson")
    # 6! / (2 * 3! * 3!) = 10 different models: one in ten permutations gives the model itself
    assert float(found["pvalue_permutation"][0]) == pytest.approx(0.1, abs=0.07)
    assert float(found["pvalue_permutation"][0]) > 1 / 200


# --- refusals and warnings -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["cosine", "whitened_cosine"])
def test_cosine_is_not_tested_against_zero(method):
    models, data = sets()
    found = rc.rsa_inference(models, data, method=method, n_bootstraps=5, permutations=9)
    assert "pvalue_zero" not in found and "pvalue_permutation" in found
    assert any(w.startswith("cosine_zero:") and "permutations=" in w for w in found.attrs["warnings"])
    unbiased = data.assign_attrs(distance="crossnobis")
    assert "pvalue_zero" in rc.rsa_inference(models, unbiased, method=method, n_bootstraps=5)


def test_warnings():
    def codes(k, **options):
        models, data = sets(k=k)
        found = rc.rsa_inference(models, data, n_bootstraps=60, **options)
        return {w.partition(":")[0] for w in found.attrs.get("warnings", [])}, found

    assert codes(25)[0] == set()
    assert codes(12)[0] == {"few_stimuli"}
    models, data = sets(k=25, n_subjects=3)
    three = rc.rsa_inference(models, data, n_bootstraps=9)
    assert [w.partition(":")[0] for w in three.attrs["warnings"]] == ["few_subjects"]
    few, found = codes(4)
    assert {"few_stimuli", "dropped_samples"} <= few
    assert found["n_samples_used"] + found["n_samples_dropped"] == 60 and found["n_samples_dropped"] > 0
    models, data = sets(k=25)
    tied = rc.rsa_inference(models.round(0), data, method="spearman", bootstrap=None)
    assert [w.partition(":")[0] for w in tied.attrs["warnings"]] == ["ties"]


def test_missing_pairs():
    models, data = sets()
    values = data["dissimilarity"].values.copy()
    values[1, 4] = np.nan
    partial = data.assign(dissimilarity=(("rdm", "pair"), values))
    with pytest.raises(MeasureError, match="1 of 66 pairs .* nan='common'"):
        rc.rsa_inference(models, partial)
    found = rc.rsa_inference(models, partial, nan="common", n_bootstraps=5)
    kept = np.arange(66) != 4
    expected = rc.compare_rdms(
        np.where(kept, models["dissimilarity"].values, np.nan), np.where(kept, data["dissimilarity"].values, np.nan)
    )
    np.testing.assert_allclose(found["score_subject"], expected, atol=1e-12)
    assert found.attrs["n_pairs_used"] == 65
    with pytest.raises(MeasureError, match="needs complete RDMs"):
        rc.rsa_inference(models, partial, nan="common", method="whitened_cosine")
    with pytest.raises(MeasureError, match="permuted stimuli need complete"):
        rc.rsa_inference(models, partial, nan="common", bootstrap=None, permutations=9)


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"method": "bures"}, OptionError, "method='bures'"),
        ({"bootstrap": "units"}, OptionError, "bootstrap='units'"),
        ({"n_bootstraps": 1}, OptionError, "n_bootstraps=1"),
        ({"confidence": 95}, OptionError, "confidence=95"),
        ({"seed": -1}, OptionError, "seed=-1"),
        ({"bootstrap": None, "samples": True}, OptionError, "samples=True"),
        ({"stimulus_covariance": np.ones(K)}, OptionError, "stimulus_covariance"),
        ({"nan": "drop"}, OptionError, "nan='drop'"),
    ],
)
def test_refusals(options, error, match):
    models, data = sets()
    with pytest.raises(error, match=match):
        rc.rsa_inference(models, data, **options)


def test_a_covariance_of_shared_stimuli_alone_has_no_order():
    models, data = sets()
    names = [*stimuli_of(data)[:-1].tolist(), "other"]
    partial = rdm_set(data["dissimilarity"].values, stimulus=names)
    options = {"method": "whitened_cosine", "stimuli": "intersection"}
    for covariance in (np.arange(1.0, K), np.diag(np.arange(1.0, K))):
        with pytest.raises(MeasureError, match=r"stimulus_covariance has shape .*; expected \(12,\) or \(12, 12\)"):
            rc.rsa_inference(models, partial, bootstrap=None, stimulus_covariance=covariance, **options)
        with pytest.raises(MeasureError, match=r"stimulus_covariance has shape .*; expected \(12,\) or \(12, 12\)"):
            rc.rdm_models.cross_validate(
                rc.rdm_models.weighted(models), partial, stimulus_covariance=covariance, **options
            )


def test_one_usable_sample_has_no_variance():
    models, data = sets(k=3)
    with pytest.raises(MeasureError, match="1 of 2 bootstrap samples have a score of every model"):
        rc.rsa_inference(models, data, n_bootstraps=2, seed=0)


def test_three_subjects_with_three_stimuli_are_no_square():
    apart = {f"s{i}": rdm_set(row, stimulus=list("cab")) for i, row in enumerate(1 - np.eye(3))}
    model = rdm_set([[1.0, 2.0, 4.0]], stimulus=list("abc"), rdm=["model"])
    found = rc.rsa_inference(model, apart, method="pearson", bootstrap=None)
    expected = [rc.compare_rdms(model, one, method="pearson") for one in apart.values()]
    np.testing.assert_allclose(found["score_subject"].squeeze(), np.ravel(expected), atol=1e-12)


def test_constant_rdms_and_misplaced_models_are_named():
    models, data = sets()
    flat = {"flat": select_stimuli(models, [*models["stimulus_a"].values[:1].tolist(), "s03", "s05"])}
    with pytest.raises(AlignmentError):
        rc.rsa_inference(flat, data)
    constant = rdm_set(np.ones(66), stimulus=[f"s{i:02d}" for i in range(K)])
    with pytest.raises(MeasureError, match="model 'flat': the RDM is constant"):
        rc.rsa_inference({"flat": constant}, data)
    with pytest.raises(AlignmentError, match="has 7 stimuli"):
        rc.rsa_inference(rdms(2, k=7), data["dissimilarity"].values)
    with pytest.raises(OptionError, match="only fixed models are permuted"):
        rc.rsa_inference({"w": rc.rdm_models.weighted(models)}, data, permutations=9)
    small_models, small = sets(k=5)
    with pytest.raises(MeasureError, match="need at least 6"):
        rc.rsa_inference({"w": rc.rdm_models.weighted(small_models)}, small)


def movies(k=20, times=4, subjects=5):
    """Data whose model holds from the third time on."""
    rng = np.random.default_rng(0)
    n = k * (k - 1) // 2
    names = [f"s{i:02d}" for i in range(k)]
    models = rdm_set(rng.random((2, n)), stimulus=names, rdm=["true", "other"])
    signal = np.arange(times)[:, None] >= 2
    values = 2 * signal * models["dissimilarity"].values[0] + rng.random((subjects, times, n))
    return models, rdm_set(values, stimulus=names, rdm=[f"p{i}" for i in range(subjects)], time=0.1 * np.arange(times))


def test_every_time_is_an_inference_of_its_own_from_the_same_draws():
    models, data = movies()
    options = {"n_bootstraps": 30, "permutations": 99, "samples": True}
    found = rc.rsa_inference(models, data, **options)
    assert found["score"].dims == ("model", "time") and found["time"].values.tolist() == data["time"].values.tolist()
    for t in range(4):
        one = rc.rsa_inference(models, data.isel(time=t, drop=True), **options)
        for name in set(one.data_vars) - {"pvalue_permutation_corrected"}:
            np.testing.assert_array_equal(found[name].isel(time=t).values, one[name].values)
        own = found["pvalue_permutation_corrected"].isel(time=t).values
        assert (own >= one["pvalue_permutation_corrected"].values).all()  # the largest over times too
    assert (found["pvalue_permutation_corrected"].sel(model="true").values[2:] == 0.01).all()
    assert (found["pvalue_permutation_corrected"].values[:, :2] > 0.05).all()
    listed = rc.rsa_inference(models, {str(p): data.sel(rdm=[p]) for p in data["rdm"].values}, **options)
    np.testing.assert_array_equal(listed["score"].values, found["score"].values)


def test_inference_over_time_is_stored_and_drawn(tmp_path):
    models, data = movies()
    found = rc.rsa_inference(models, data, n_bootstraps=20)
    rc.save(found, tmp_path / "x.nc")
    with rc.open(tmp_path / "x.nc") as back:
        assert back.load().identical(found)
    pytest.importorskip("matplotlib")
    ax = rc.plot.time_course(
        found["score"], low=found["score_low"], high=found["score_high"], pvalue=found["pvalue_zero"]
    )
    assert len(ax.get_legend().get_texts()) == 2
    with pytest.raises(SchemaError, match=r"pick one by ds.isel\(time=...\)"):
        rc.plot.models(found)
    with pytest.raises(SchemaError, match="other times"):
        rc.rsa_inference(models, [data.isel(rdm=[0]), data.isel(rdm=[1], time=slice(2))])
