"""``compare_rdms`` and partial ``rsa`` through the direct door: labels, controls, details, conventions."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import repcompare as rc
from repcompare.errors import AlignmentError, MeasureError, OptionError, SchemaError
from repcompare.labels.rdms import rdm_set, select_stimuli
from repcompare.measures._measure import as_outcome
from repcompare.measures.rsa import METHODS, rsa
from repcompare.measures.rsa import rdm as rdm_array
from tests import naive_rsa_comparators as naive

K, NAMES = 10, [f"s{i}" for i in range(10)]
COSINES = [m for m in METHODS if METHODS[m].family in ("dot", "tau")]


def responses(seed=0, k=K):
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(k, 5))
    return [z @ rng.normal(size=(5, 30)) + rng.normal(size=(k, 30)) for _ in range(3)]


def sets(names=NAMES, rdm=("x",), seed=0):
    values = [rdm_array(v, "squared_euclidean") for v in responses(seed)]
    return [rdm_set(np.stack([v] * len(rdm)), stimulus=names, rdm=list(rdm)) for v in values]


@pytest.mark.parametrize("method", METHODS)
def test_labels_decide_which_pairs_are_compared(method):
    a, b, _ = sets()
    expected = rc.compare_rdms(a["dissimilarity"].values, b["dissimilarity"].values, method=method)
    shuffled = select_stimuli(b, np.random.default_rng(1).permutation(NAMES))
    found = rc.compare_rdms(a, shuffled, method=method)
    np.testing.assert_allclose(found.values, expected, atol=1e-10)
    assert found.dims == ("rdm_a", "rdm_b")


def test_stimuli_that_differ_raise_or_are_intersected():
    a, b, _ = sets()
    fewer = select_stimuli(b, NAMES[:3:-1])
    with pytest.raises(AlignmentError, match="lacks 's0'"):
        rc.compare_rdms(a, fewer)
    found = rc.compare_rdms(a, fewer, stimuli="intersection", details=True)
    expected = rc.compare_rdms(select_stimuli(a, NAMES[4:]), select_stimuli(b, NAMES[4:]))
    np.testing.assert_allclose(found["score"], expected, atol=1e-12)
    assert found["n_pairs_used"].item() == 15
    sigma = np.linspace(1, 2, K)
    found = rc.compare_rdms(a, fewer, method="whitened_cosine", stimuli="intersection", stimulus_covariance=sigma)
    arrays = [select_stimuli(v, NAMES[4:])["dissimilarity"].values for v in (a, b)]
    expected = rc.compare_rdms(*arrays, method="whitened_cosine", stimulus_covariance=sigma[4:])
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_sets_give_a_table_with_names_and_single_rdms_a_float():
    a, _, _ = sets(rdm=("V1", "V4"))
    _, b, _ = sets(rdm=("m1", "m2", "m3"))
    table = rc.compare_rdms(a, b)
    assert isinstance(table, xr.DataArray)
    assert table.sel(rdm_a="V4", rdm_b="m3").shape == ()
    assert table.shape == (2, 3)
    single = rdm_set(a["dissimilarity"].values[0], stimulus=NAMES)
    assert isinstance(rc.compare_rdms(single, single), float)
    assert rc.compare_rdms(single, b).shape == (1, 3)
    beside = rc.compare_rdms(a["dissimilarity"].values[0], b)
    np.testing.assert_allclose(beside, table.values[:1], atol=1e-12)
    turned = select_stimuli(b, NAMES[::-1])
    with pytest.raises(AlignmentError, match="a has no stimulus names"):
        rc.compare_rdms(a["dissimilarity"].values[0], turned.isel(rdm=[0]), control=a.isel(rdm=[0]))


def test_details_count_pairs_for_each_two_rdms():
    a, b = np.random.default_rng(0).gamma(2.0, size=(2, 2, 45))
    a[0, :4], b[1, 40:] = np.nan, np.nan
    control = np.random.default_rng(1).gamma(2.0, size=45)
    control[20] = np.nan
    found = rc.compare_rdms(a, b, control=control, details=True)
    np.testing.assert_array_equal(found["n_pairs_used"], [[40, 35], [44, 39]])
    np.testing.assert_allclose(found["score"], rc.compare_rdms(a, b, control=control))
    report = rc.compare_rdms(np.abs(a[1]), b[0], method="bures", details=True)
    assert report["negative_share_a"].item() > 0.05
    assert set(report["score"].dims) == {"rdm_a", "rdm_b"}


def test_conventions():
    a, b, _ = sets()
    for theirs, ours in (("tau-a", "kendall_tau_a"), ("corr_cov", "whitened_pearson"), ("neg_riem_dist", "riemannian")):
        found = rc.compare_rdms(a, b, method=theirs, convention="rsatoolbox")
        np.testing.assert_array_equal(found, rc.compare_rdms(a, b, method=ours))
    with pytest.raises(OptionError, match="method='tau-a'"):
        rc.compare_rdms(a, b, method="tau-a")
    with pytest.raises(OptionError, match="convention='rsa-toolbox'"):
        rc.compare_rdms(a, b, convention="rsa-toolbox")


def test_what_is_not_an_rdm_raises():
    a, b, _ = sets()
    with pytest.raises(SchemaError, match="a has no RDMs"):
        rc.compare_rdms(xr.Dataset({"response": ("pair", [1.0])}), b)
    with pytest.raises(SchemaError, match="DataArray"):
        rc.compare_rdms(a["dissimilarity"], b)
    with pytest.raises(MeasureError, match="holds euclidean distances"):
        rc.compare_rdms(a.assign_attrs(distance="euclidean"), b, method="bures")


# rsa with controls


@pytest.mark.parametrize("method", COSINES)
def test_partial_rsa_is_the_partial_score_of_the_rdms(method):
    x, y, z = responses()
    d = [rdm_array(v, "squared_euclidean") for v in (x, y, z)]
    expected = naive.compare(d[0], d[1], method, control=[d[2]])
    for control in (z, d[2], d[2][None]):
        found = rc.rsa(x, y, distance="squared_euclidean", method=method, control=control)
        assert found == pytest.approx(expected, abs=1e-10)
    expected = naive.compare(d[0], d[1], method, control=[d[2]], semipartial=True)
    found = rc.rsa(x, y, distance="squared_euclidean", method=method, control=z, semipartial=True)
    assert found == pytest.approx(expected, abs=1e-10)


def test_controls_are_matched_by_name():
    x, y, z = responses()
    order = np.random.default_rng(2).permutation(K)
    named = [rc.representation(v, stimulus=NAMES) for v in (x, y)]
    expected = rc.rsa(x, y, control=z)
    moved = rc.representation(z[order], stimulus=np.array(NAMES)[order])
    assert rc.rsa(*named, control=moved) == pytest.approx(expected, abs=1e-12)
    as_rdm = select_stimuli(rdm_set(rdm_array(z), stimulus=NAMES), np.array(NAMES)[order])
    assert rc.rsa(*named, control=as_rdm) == pytest.approx(expected, abs=1e-12)
    with pytest.raises(SchemaError, match="control has no stimulus names"):
        rc.rsa(*named, control=rdm_array(z))
    with pytest.raises(AlignmentError, match="'s9'"):
        rc.rsa(*named, control=rc.representation(z[:9], stimulus=NAMES[:9]))
    x[3, 4] = np.nan
    dropped = rc.rsa(x, y, control=z, nan="drop_stimuli")
    rows = np.delete(np.arange(K), 3)
    assert dropped == pytest.approx(rc.rsa(x[rows], y[rows], control=z[rows]), abs=1e-12)


def test_the_covariance_of_stimuli_has_the_order_of_x():
    x, y, _ = responses()
    sigma = np.linspace(0.5, 3, K)
    options = {"distance": "squared_euclidean", "method": "whitened_cosine"}
    expected = rc.rsa(x, y, stimulus_covariance=sigma, **options)
    names = np.array(NAMES)[::-1]
    found = rc.rsa(*(rc.representation(v, stimulus=names) for v in (x, y)), stimulus_covariance=sigma, **options)
    assert found == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("options", [{}, {"method": "whitened_cosine"}, {"method": "kendall_tau_b"}])
def test_states_with_controls_and_covariances_can_be_restricted(options):
    x, y, z = responses()
    control = rdm_array(z)
    given = dict(options)
    factor = np.random.default_rng(3).normal(size=(K, 2 * K))
    sigma = factor @ factor.T / K
    if options.get("method") == "whitened_cosine":
        given["stimulus_covariance"] = sigma
    measure = rsa(control=control, **given)
    rows = np.array([7, 2, 9, 0, 4, 5])
    if "stimulus_covariance" in given:
        given["stimulus_covariance"] = sigma[np.ix_(rows, rows)]
    smaller = rsa(control=rdm_array(z[rows]), **given)
    found = measure.compare(*(measure.restrict(measure.prepared(v), rows) for v in (x, y)))
    expected = smaller.compare(*(smaller.prepared(v[rows]) for v in (x, y)))
    assert as_outcome(found).score == pytest.approx(as_outcome(expected).score, abs=1e-10)


def test_one_side_permuted_moves_its_whitening_with_it():
    x, y, _ = responses()
    factor = np.random.default_rng(3).normal(size=(K, 2 * K))
    measure = rsa("squared_euclidean", "whitened_cosine", stimulus_covariance=factor @ factor.T)
    order = np.random.default_rng(4).permutation(K)
    a, b = measure.prepared(x), measure.prepared(y)
    there = measure.compare(measure.restrict(a, order), b)
    back = measure.compare(a, measure.restrict(b, np.argsort(order)))
    assert there == pytest.approx(back, abs=1e-12)


def test_measures_record_and_refuse_options():
    measure = rsa(control=np.arange(6.0), method="kendall_tau_a", semipartial=True)
    assert measure.label == "rsa(method=kendall_tau_a, semipartial=True, control=[6 values])"
    assert not measure.symmetric
    assert measure.ceiling is None
    x, y, _ = responses()
    with pytest.raises(MeasureError, match=r"control has 6 pairs \(4 stimuli\), the RDMs have 45 \(10\)"):
        measure.prepared(x)
    with pytest.raises(OptionError, match="needs squared distances"):
        rsa("euclidean", "bures")
    with pytest.raises(OptionError, match="method='kendal_tau_a'"):
        rc.rsa(x, y, method="kendal_tau_a")
