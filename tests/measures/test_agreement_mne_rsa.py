"""Every name of the convention ``"mne-rsa"`` against the package itself, where it is installed."""

from __future__ import annotations

import numpy as np
import pytest

import repcompare as rc
from repcompare.errors import OptionError
from repcompare.measures.rsa.conventions import COMPARATORS, DISTANCE_NAMES

package = pytest.importorskip("mne_rsa")


@pytest.fixture
def patterns():
    return np.random.default_rng(2).normal(size=(3, 15, 9)) + 1


@pytest.mark.parametrize("name", sorted(set(DISTANCE_NAMES["mne-rsa"]) - {"crossnobis"}))
def test_distances(patterns, name):
    theirs = package.compute_rdm(patterns[0], metric=name)
    np.testing.assert_allclose(rc.rdm(patterns[0], distance=name, convention="mne-rsa"), theirs, rtol=1e-10)


@pytest.mark.parametrize("name", sorted(COMPARATORS["mne-rsa"]))
def test_comparators(patterns, name):
    data, one, two = (rc.rdm(x) for x in patterns)
    if name.startswith("partial"):  # theirs: each model given the others
        theirs = package.rsa(data, [one, two], metric=name)
        ours = [
            rc.compare_rdms(data, a, method=name, control=b, convention="mne-rsa") for a, b in ((one, two), (two, one))
        ]
    else:
        theirs, ours = (
            package.rsa(data, one, metric=name),
            rc.compare_rdms(data, one, method=name, convention="mne-rsa"),
        )
    np.testing.assert_allclose(ours, theirs, rtol=1e-10)


@pytest.mark.parametrize("name", ["spearman", "pearson", "kendall-tau-a"])
def test_missing_pairs(patterns, name):
    data, one = (rc.rdm(x) for x in patterns[:2])
    data[3], one[7] = np.nan, np.nan
    theirs = package.rsa(data, one, metric=name, ignore_nan=True)
    assert rc.compare_rdms(data, one, method=name, convention="mne-rsa") == pytest.approx(theirs, rel=1e-10)


def test_its_cross_validated_distances_keep_the_bias_of_noise():
    """What the note on crossnobis says: with 2 folds its training mean is the test fold."""
    rng = np.random.default_rng(0)
    folds = rng.normal(size=(2, 6, 200))
    theirs = package.compute_rdm_cv(folds, metric="sqeuclidean")
    within = np.mean([rc.rdm(x, distance="sqeuclidean", convention="mne-rsa") for x in folds], axis=0)
    ours = rc.rdm(
        folds.reshape(12, 200),
        distance="crossnobis",
        convention="mne-rsa",
        stimulus=np.tile(np.arange(6), 2),
        partition=np.repeat([0, 1], 6),
    )
    np.testing.assert_allclose(theirs, within, rtol=1e-10)
    assert theirs.min() > 200 > 60 > np.abs(ours.mean())
    assert "with 2 folds it is the test fold" in DISTANCE_NAMES["mne-rsa"]["crossnobis"].note


def test_names_it_does_not_have(patterns):
    data = rc.rdm(patterns[0])
    for name in ("kendall-tau", "rho_a"):
        with pytest.raises(ValueError, match="Invalid RSA metric"):
            package.rsa(data, data, metric=name)
        with pytest.raises(OptionError, match="is not a name of mne-rsa"):
            rc.compare_rdms(data, data, method=name, convention="mne-rsa")
