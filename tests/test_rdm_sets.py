"""Noise ceilings, unions and maps of RDMs with names; and that every Dataset of RSA can be stored."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import repcompare as rc
from repcompare.errors import MeasureError, OptionError, SchemaError
from repcompare.labels.rdms import rdm_set, to_pairs

K = 12
N = K * (K - 1) // 2
NAMES = [f"s{i:02d}" for i in range(K)]


@pytest.fixture
def rng():
    return np.random.default_rng(4)


def trials(rng, runs=4, noise=1.0, patterns=None, time=None):
    x = rng.normal(size=(K, 30)) if patterns is None else patterns
    values = np.tile(x, (runs, 1)) + noise * rng.normal(size=(runs * K, x.shape[1]))
    labels = {"stimulus_id": NAMES * runs, "run": np.repeat(np.arange(runs), K)}
    if time is None:
        return rc.representation(values, dims=("presentation", "unit"), **labels)
    values = values[..., None] + 0.1 * rng.normal(size=(*values.shape, len(time)))
    return rc.representation(values, dims=("presentation", "unit", "time"), time=time, **labels)


def sets(rng, n=5):
    return rdm_set(rng.random((n, N)), stimulus=NAMES, rdm=[f"r{i}" for i in range(n)])


# Noise ceilings


@pytest.mark.parametrize("method", ["pearson", "rho_a", "kendall_tau_a", "whitened_cosine", "bures"])
def test_ceiling_of_subjects_is_that_of_inference(rng, method):
    x = rng.normal(size=(K, 20))
    data = [rc.rdm(x + rng.normal(size=x.shape), distance="squared_euclidean") for _ in range(5)]
    found = rc.rdm_ceiling(np.array(data), method=method)
    assert found.attrs["kind"] == "subjects"
    assert found.attrs["status"] == ("heuristic" if method in ("bures", "kendall_tau_a") else "exact")
    best = np.mean([rc.compare_rdms(found["pooled"].values, d, method=method) for d in data])
    assert found["score_ceiling_upper"] == pytest.approx(best, abs=1e-10)
    assert ("score_ceiling_bound" in found) == (method == "kendall_tau_a")
    if method != "bures":
        same = rc.rsa_inference(data[:1], np.array(data), method=method, bootstrap=None)
        assert found["score_ceiling_lower"] == pytest.approx(float(same["score_ceiling_lower"]))


@pytest.mark.parametrize("distance", ["correlation", "cosine", "euclidean", "squared_euclidean", "crossnobis"])
def test_ceiling_of_one_subject_is_the_score_of_the_truth(distance):
    """A model without noise reaches ``upper`` on average, whatever the distance does with noise."""
    scores, uppers, lowers = [], [], []
    plain = "squared_euclidean" if distance == "crossnobis" else distance
    for seed in range(10):
        rng = np.random.default_rng(seed)
        true = rng.normal(size=(K, 5)) @ rng.normal(size=(5, 40))
        data = trials(rng, 6, 3.0, true)
        found = rc.rdm_ceiling(data, distance=distance, method="pearson", n_splits=5)
        own = rc.rdm(data, distance=distance)["dissimilarity"].values
        scores.append(rc.compare_rdms(rc.rdm(true, distance=plain), own, method="pearson"))
        uppers.append(float(found["score_ceiling_upper"]))
        lowers.append(float(found["score_ceiling_lower"]))
    assert found.attrs["kind"] == "partition" and np.mean(lowers) < np.mean(scores)
    assert np.mean(uppers) == pytest.approx(np.mean(scores), abs=0.03)


def test_halves_do_not_depend_on_the_order_of_the_rows(rng):
    data = trials(rng)
    first = rc.rdm_ceiling(data, n_splits=3)
    other = rc.rdm_ceiling(data.isel(presentation=rng.permutation(4 * K)), n_splits=3)
    assert float(first["score_ceiling_upper"]) == pytest.approx(float(other["score_ceiling_upper"]), rel=1e-9)
    few = rc.rdm_ceiling(trials(rng, 2), n_splits=50)  # one way only
    assert np.isfinite(few["score_ceiling_upper"])
    many = [rc.rdm_ceiling(trials(np.random.default_rng(0), 9), n_splits=3, seed=s) for s in (0, 0, 1)]
    assert many[0].identical(many[1]) and not many[0].identical(many[2])


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (lambda r: rc.rdm_ceiling(sets(r, 1)), MeasureError, "at least 2 subjects.*rdm_ceiling"),
        (
            lambda r: rc.rdm_ceiling(rc.average_repeats(trials(r))),
            SchemaError,
            "needs trials with the coordinate 'run'",
        ),
        (lambda r: rc.rdm_ceiling(trials(r), partition="session"), SchemaError, "coordinate 'session'"),
        (lambda r: rc.rdm_ceiling(trials(r, 3), distance="crossnobis"), MeasureError, "3 partitions; .* at least 4"),
        (lambda r: rc.rdm_ceiling(trials(r), method="bures"), OptionError, "no ceiling from partitions"),
        (lambda r: rc.rdm_ceiling(trials(r), n_splits=0), OptionError, "n_splits=0"),
        (lambda r: rc.rdm_ceiling(trials(r, time=[0.0, 0.1])), SchemaError, "pick one time"),
    ],
)
def test_no_ceiling(rng, make, error, match):
    with pytest.raises(error, match=match):
        make(rng)


# Unions of partial RDMs


def test_partial_sets_come_to_one_scale(rng):
    whole = rdm_set(rng.random(N) + 0.5, stimulus=NAMES)
    parts = []
    for i, chosen in enumerate((NAMES[:7], NAMES[4:], NAMES[2:10])):
        inside = to_pairs(whole, chosen) * 10.0**i
        parts.append(rdm_set(inside, stimulus=chosen, rdm=[f"part{i}"], rdm_subject=f"p{i}"))
    found = rc.merge_partial(parts, rescale="alternating")
    assert found["rdm_subject"].values.tolist() == ["p0", "p1", "p2"] and found.attrs["rescale"] == "alternating"
    truth, there = to_pairs(whole)[0], np.isfinite(found["pooled"].values)
    np.testing.assert_array_equal(there, found["n_rdms"].values > 0)
    ratio = found["pooled"].values[there] / truth[there]
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-6)
    np.testing.assert_allclose(found["rdm_scale"][2] / found["rdm_scale"][0], 100, rtol=1e-6)
    plain = rc.merge_partial(parts)
    np.testing.assert_array_equal(to_pairs(plain), to_pairs(rc.merge_sets(parts)))
    with pytest.raises(MeasureError, match="without shared pairs"):
        rc.merge_partial(
            [sets(rng, 1), rdm_set([[1.0, 2, 3]], stimulus=["x", "y", "z"], rdm=["w"])], rescale="alternating"
        )


# Maps


def test_a_map_of_stimuli_finds_them_again(rng):
    x = rng.normal(size=(K, 2))
    d = rdm_set(rc.rdm(x, distance="euclidean", normalize_units=False), stimulus=NAMES)
    for method in ("mds", "nonmetric"):
        found = rc.rdm_map(d, method=method)
        assert float(found["stress"]) < 0.01
        assert np.corrcoef(found["map_distance"], found["given"])[0, 1] > 0.99
    exact = rc.rdm_map(d, method="mds")
    np.testing.assert_allclose(exact["map_distance"], exact["given"], rtol=1e-3)
    np.testing.assert_array_equal(exact["source"], NAMES)


def test_missing_and_negative_pairs(rng):
    values = np.where(rng.random(N) < 0.2, np.nan, rng.normal(size=N))
    found = rc.rdm_map(rdm_set(values, stimulus=NAMES))
    assert np.isnan(found["disparity"].values[np.isnan(values)]).all() and np.isfinite(found["map_distance"]).all()
    assert (found["weight"].values[np.isnan(values)] == 0).all()
    with pytest.raises(MeasureError, match="are negative.*nonmetric"):
        rc.rdm_map(rdm_set(values, stimulus=NAMES), method="mds")


def test_a_map_of_rdms_puts_like_beside_like(rng):
    one, two = rng.random((2, N))
    rdms = np.stack([one, one + 0.05 * rng.random(N), two, two + 0.05 * rng.random(N)])
    found = rc.rdm_map(rdm_set(rdms, stimulus=NAMES, rdm=["a", "a2", "b", "b2"]), of="rdms", method="mds")
    near = found["map_distance"].values
    assert max(near[0], near[5]) < 0.3 * near[1:5].min()
    assert found.attrs["comparison"] == "rho_a"


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (lambda r: rc.rdm_map(sets(r)), OptionError, "5 RDMs; .* which="),
        (lambda r: rc.rdm_map(sets(r), which="r9"), OptionError, "which='r9'"),
        (lambda r: rc.rdm_map(sets(r), of="stimulus"), OptionError, "of='stimulus'"),
        (lambda r: rc.rdm_map(sets(r, 2), of="rdms"), MeasureError, "at least 3"),
        (lambda r: rc.rdm_map(sets(r), of="rdms", which="r0"), OptionError, "leave them out"),
    ],
)
def test_map_messages(rng, make, error, match):
    with pytest.raises(error, match=match):
        make(rng)


# Notes and names of compare_rdms


def test_ties_are_noted_where_they_are_favoured(rng):
    model = rc.rdm_models.from_categories(list("aaabbbcccddd"), stimulus=NAMES)
    for method in ("spearman", "kendall_tau_b"):
        for details in (True, False):
            found = rc.compare_rdms(sets(rng), model, method=method, details=details)
            assert found.attrs["warnings"][0].startswith(f"ties: 100% of one RDM's distances are tied; {method}")
    assert "warnings" not in rc.compare_rdms(sets(rng), model, details=True).attrs
    assert "warnings" not in rc.compare_rdms(sets(rng), sets(rng), method="spearman").attrs


def test_sigma_k_is_the_covariance_of_the_stimuli(rng):
    a, b = rng.random((2, N))
    theirs = rc.compare_rdms(a, b, method="cosine_cov", convention="rsatoolbox", sigma_k=np.arange(1.0, K + 1))
    assert theirs == rc.compare_rdms(a, b, method="whitened_cosine", stimulus_covariance=np.arange(1.0, K + 1))


# Storage


def stored(rng, name):
    data, models = sets(rng), sets(rng, 3)
    few = {"n_bootstraps": 8}
    model = rc.rdm_models.weighted(models)
    made = {
        "rdm": lambda: rc.rdm(trials(rng)),
        "square": lambda: rc.rdm(trials(rng), condensed=False),
        "movie": lambda: rc.rdm(trials(rng, time=[0.0, 0.1])),
        "square movie": lambda: rc.rdm(trials(rng, time=[0.0, 0.1]), condensed=False),
        "generalised": lambda: rc.rdm(trials(rng, time=[0.0, 0.1]), distance="crossnobis", generalize="time"),
        "covariance": lambda: rc.rdm(trials(rng), distance="crossnobis", noise="diag", covariance=True),
        "merged": lambda: rc.merge_partial([data]),
        "model": lambda: rc.rdm_models.predict(model, [1.0, 2.0, 0.5]),
        "cross_validate": lambda: rc.rdm_models.cross_validate(model, data),
        "inference": lambda: rc.rsa_inference(models, data, permutations=9, samples=True, **few),
        "fitted": lambda: rc.rsa_inference([model], data, **few),
        "partitioning": lambda: rc.variance_partitioning(data, models, cross_validated=False, **few),
        "fr_rsa": lambda: rc.fr_rsa(rc.average_repeats(trials(rng)), data, repeats=1),
        "ceiling": lambda: rc.rdm_ceiling(data),
        "map": lambda: rc.rdm_map(data, of="rdms"),
        "compared": lambda: rc.compare_rdms(models, data, method="spearman", details=True),
    }
    return made[name]() if name else list(made)


@pytest.mark.parametrize("name", stored(np.random.default_rng(0), ""))
def test_every_result_comes_back_as_it_was(rng, tmp_path, name):
    made = stored(rng, name)
    rc.save(made, tmp_path / "result.nc")
    with rc.open(tmp_path / "result.nc") as back:
        xr.testing.assert_identical(back.load(), made)


def test_a_table_of_scores_is_saved_as_a_dataset(rng, tmp_path):
    table = rc.compare_rdms(sets(rng, 3).round(1), sets(rng), method="spearman")
    assert len(table.attrs["warnings"]) == 1  # which netCDF alone would give back as text
    with pytest.raises(SchemaError, match=r"\.to_dataset\(name='score'\)"):
        rc.save(table, tmp_path / "table.nc")
    rc.save(table.to_dataset(name="score"), tmp_path / "table.nc")
    with rc.open(tmp_path / "table.nc") as back:
        xr.testing.assert_identical(back["score"].load(), table)


def test_square_rdms_are_checked_before_they_are_stored(rng, tmp_path):
    square = rc.rdm(trials(rng), condensed=False)
    crooked = square.copy(deep=True)
    crooked["dissimilarity"].values[0, 1] += 1
    with pytest.raises(SchemaError, match="not symmetric"):
        rc.save(crooked, tmp_path / "x.nc")
    with pytest.raises(SchemaError, match="other names"):
        rc.save(square.assign_coords(stimulus_b=NAMES[::-1]), tmp_path / "x.nc")
    with pytest.raises(SchemaError, match="a result of this package"):
        rc.save(xr.Dataset({"r2": 1.0}), tmp_path / "x.nc")
