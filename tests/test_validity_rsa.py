"""Requirements of the validity page for RDMs and their inference, at reduced repeats: tolerances leave 4 standard errors.

Others are beside what they are about: V05 in measures/test_rsa_crossnobis.py, V06 in test_functional_rdm.py, V16
in measures/test_rsa_ceilings.py and test_rsa_inference.py, V27 there too, V39 in measures/test_rsa_comparators.py.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import pdist
from scipy.stats import rankdata

import repcompare as rc
from repcompare.labels.rdms import rdm_set
from repcompare.measures.cka import cka
from repcompare.statistics.resampling import interval, permutation_pvalues, subsets


def test_v09_rho_a_does_not_prefer_a_categorical_model():
    """400 draws as on the page (.21): the se of a share of .3 is .023."""
    rng = np.random.default_rng(0)
    category = pdist(np.repeat([[0.0], [1.0]], 10, axis=0))
    wrong = {"rho_a": 0, "spearman": 0}
    for _ in range(400):
        graded = category + 0.15 * rng.random(category.size)
        data = graded + 0.6 * rng.standard_normal(category.size)
        for method in wrong:
            true, tied = rc.compare_rdms(np.stack([graded, category]), data, method=method).ravel()
            wrong[method] += tied > true
    assert wrong["rho_a"] / 400 <= 0.3
    assert wrong["spearman"] / 400 > 0.97  # on the page: .995


@pytest.mark.parametrize(("k", "expected"), [(20, 0.073), (50, 0.03)])
def test_null_spread_of_rsa(k, expected):
    """sd about 1.5 / K with correlation distances, for rho_a; 200 draws: se of a sd is 5 %."""
    rng = np.random.default_rng(0)
    found = [rc.rsa(rng.standard_normal((k, 30)), rng.standard_normal((k, 30))) for _ in range(200)]
    assert np.std(found) == pytest.approx(expected, rel=0.2)
    assert abs(np.mean(found)) < 4 * expected / np.sqrt(200)


def test_v23_entries_of_rdms_are_not_exchangeable():
    """300 draws of 16 stimuli, B = 99: se .013.  Stimuli permuted .045; entries permuted .105 on the page."""
    rng = np.random.default_rng(0)
    stimuli, entries, raw = [], [], []
    for seed in range(300):
        x, y = (pdist(rng.standard_normal((16, 2)) * [1, 0.3], "sqeuclidean") for _ in range(2))
        found = rc.rsa_inference(x, y, method="spearman", bootstrap=None, permutations=99, seed=seed)
        raw.append(float(found["pvalue_permutation"][0]))
        stimuli.append(raw[-1] <= 0.05)
        a, b = (rankdata(v) - (x.size + 1) / 2 for v in (x, y))
        null = rng.permuted(np.tile(a, (99, 1)), axis=1) @ b
        entries.append((1 + (null >= a @ b).sum()) / 100 <= 0.05)
    assert np.mean(stimuli) <= 0.07 + 2 * 0.013
    assert np.mean(entries) > 0.07
    grid = np.linspace(0.05, 1, 20)
    assert np.abs([(np.array(raw) <= g).mean() - g for g in grid]).max() < 0.1  # .07 for 400 draws; se .029
    assert min(raw) >= 0.01


def test_v23_permutations_find_what_is_shared():
    """5 shared latents under noise of sd 3, 40 stimuli: power above .95; 30 draws, B = 99."""
    rng, measure, found = np.random.default_rng(0), cka(), []
    for _ in range(30):
        z = rng.standard_normal((40, 5))
        x, y = (z @ rng.standard_normal((5, 30)) + 3 * rng.standard_normal((40, 30)) for _ in range(2))
        a, b = measure.prepare(x), measure.prepare(y)
        null = np.array([measure.compare(a, measure.restrict(b, rng.permutation(40))) for _ in range(99)])
        found.append(float(permutation_pvalues(np.array(measure.compare(a, b)), null, greater=True)[0]))
    assert np.mean(np.array(found) <= 0.05) > 0.95


def test_v26_copies_of_a_stimulus_are_no_new_stimuli():
    """Jackknife intervals of debiased CKA cover; a bootstrap that keeps copies does not (.335, bias +.10).  60 draws."""
    rng, measure = np.random.default_rng(0), cka()
    w, v = rng.standard_normal((10, 30)), rng.standard_normal((10, 30))

    def responses(n):
        z = rng.standard_normal((n, 10))
        x = z @ w + 2 * rng.standard_normal((n, 30))
        return x, (z * np.linspace(0, 1, 10)) @ v + 2 * rng.standard_normal((n, 30))

    def compared(x, y):
        return measure.compare(measure.prepare(x), measure.prepare(y))

    truth = np.mean([compared(*responses(2000)) for _ in range(3)])
    covered, naive, bias = [], [], []
    for _ in range(60):
        x, y = responses(60)
        a, b = measure.prepare(x), measure.prepare(y)
        score = measure.compare(a, b)
        left = [measure.compare(measure.restrict(a, r), measure.restrict(b, r)) for r in subsets(60, 0)[1]]
        low, high = interval(np.array(score), np.array(left), 60, 0.95)
        covered.append(low <= truth <= high)
        drawn = [rng.integers(0, 60, 60) for _ in range(60)]
        copies = [compared(x[r], y[r]) for r in drawn]
        bias.append(np.mean(copies) - score)
        naive.append(np.quantile(copies, 0.025) <= truth <= np.quantile(copies, 0.975))
    assert np.mean(covered) >= 0.93
    assert np.mean(naive) < 0.7
    assert np.mean(bias) > 0.05


def test_intervals_of_both_factors_cover():
    """Requirement 7: 95 % intervals of models on other stimuli and subjects cover; the generator of V27, 80 experiments."""
    rng = np.random.default_rng(0)

    def experiment():
        latents = rng.standard_normal((20, 10)) * np.linspace(1, 0.3, 10)
        model = pdist(latents + 0.7 * rng.standard_normal((20, 10)), "sqeuclidean")
        maps = rng.standard_normal((12, 10, 40)) * np.exp(0.5 * rng.standard_normal((12, 10, 1)))
        seen = latents @ maps / np.sqrt(40) + 1.5 * rng.standard_normal((12, 20, 40))
        return model, np.array([pdist(one, "sqeuclidean") for one in seen])

    truth = np.mean([np.corrcoef(m, d)[0, 1:].mean() for m, d in (experiment() for _ in range(400))])
    covered = []
    for seed in range(80):
        found = rc.rsa_inference(*experiment(), method="pearson", n_bootstraps=80, seed=seed)
        covered.append(float(found["score_low"][0]) <= truth <= float(found["score_high"][0]))
    assert np.mean(covered) >= 0.93


def test_v29_the_maximum_over_models_and_times_controls_errors():
    """No signal, smooth in time: 150 draws (se .018), 3 models x 6 times; corrected at each time alone errors add up."""
    rng = np.random.default_rng(0)
    names = [f"s{i:02d}" for i in range(12)]
    corrected, single, raw = [], [], []
    for seed in range(150):
        steps = rng.standard_normal((6, 12, 5))
        steps[1:] = 0.6 * steps[:-1] + 0.8 * steps[1:]
        data = rdm_set([[pdist(one) for one in steps]], stimulus=names, rdm=["s"], time=0.1 * np.arange(6))
        models = rdm_set([pdist(rng.standard_normal((12, 4))) for _ in range(3)], stimulus=names)
        found = rc.rsa_inference(models, data, method="pearson", bootstrap=None, permutations=59, seed=seed)
        corrected.append(float(found["pvalue_permutation_corrected"].min()) <= 0.05)
        raw.append(float(found["pvalue_permutation"].min()) <= 0.05)
        one = rc.rsa_inference(models, data.isel(time=0, drop=True), bootstrap=None, permutations=59, seed=seed)
        single.append(float(one["pvalue_permutation_corrected"].min()) <= 0.05)
    assert np.mean(corrected) <= 0.05 + 3 * 0.018
    assert np.mean(single) <= 0.05 + 3 * 0.018
    assert np.mean(raw) > 0.3


def test_tests_of_holm_are_corrected_at_each_time_alone():
    """As attrs say: over 12 times the family-wise error adds up; 60 draws of noise RDMs."""
    rng = np.random.default_rng(0)
    names, hits = [f"s{i:02d}" for i in range(10)], []
    for _ in range(60):
        models = rdm_set(rng.random((2, 45)), stimulus=names)
        data = rdm_set(rng.random((6, 12, 45)), stimulus=names, rdm=[f"p{i}" for i in range(6)], time=np.arange(12.0))
        found = rc.rsa_inference(models, data, method="pearson", bootstrap=None)
        hits.append(bool((found["pvalue_zero_holm"] <= 0.05).any()))
    assert found.attrs["corrected_over"] == "models (pairs of models), at each time alone"
    assert np.mean(hits) > 0.25
    still = rc.rsa_inference(models, data.isel(time=0, drop=True), bootstrap=None, permutations=3)
    assert still.attrs["corrected_over"] == "models (pairs of models)" and still.attrs["maximum_over"] == "models"
    moving = rc.rsa_inference(models, data, bootstrap=None, permutations=3)
    assert moving.attrs["maximum_over"] == "models and times"
