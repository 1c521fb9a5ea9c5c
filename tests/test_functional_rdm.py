"""RDMs and noise of labelled trials: labels, partitions, times, what is recorded and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from scipy.spatial.distance import pdist

import repcompare as rc
from repcompare.errors import AlignmentError, MeasureError, OptionError, SchemaError
from repcompare.labels.rdms import stimuli_of, to_pairs, validate_rdms
from tests import naive_rsa_noise as naive

K, M, P, T = 5, 4, 6, 3
NAMES = ["owl", "cat", "dog", "ant", "bee"]


def parts(seed=0, time=False):
    rng = np.random.default_rng(seed)
    stimulus, run = np.tile(NAMES, M), np.repeat(np.arange(M), K)
    shape = (K * M, P, T) if time else (K * M, P)
    values = rng.normal(size=shape) + rng.normal(size=(K, *shape[1:]))[np.tile(np.arange(K), M)]
    return values, stimulus, run


def trials(seed=0, time=False, **coords):
    values, stimulus, run = parts(seed, time)
    dims = ("presentation", "unit", "time") if time else ("presentation", "unit")
    given = {"stimulus_id": stimulus, "run": run} | coords
    if time:
        given["time"] = np.arange(T) * 0.1
    return rc.representation(values, dims=dims, **given)


def test_crossnobis_of_trials_across_runs():
    values, stimulus, run = parts()
    ds = rc.rdm(trials(), distance="crossnobis")
    validate_rdms(ds)
    np.testing.assert_allclose(ds.dissimilarity, naive.crossnobis(values, stimulus, run), atol=1e-12)
    assert ds.stimulus_a.values[0] == "owl" and ds.stimulus_b.values[-1] == "bee"
    expected = {"distance": "crossnobis", "squared": 1, "normalize_units": 1, "noise": "none", "partition": "run"}
    assert expected.items() <= ds.attrs.items()
    assert ds.attrs["n_pairs_missing"] == 0 and "warnings" not in ds.attrs
    square = rc.rdm(trials(), distance="crossnobis", condensed=False).dissimilarity
    assert square.sel(stimulus="dog", stimulus_b="owl").item() == pytest.approx(ds.dissimilarity.values[1])
    arrays = rc.rdm(values, distance="crossnobis", stimulus=stimulus, partition=run)
    np.testing.assert_array_equal(arrays, ds.dissimilarity)
    np.testing.assert_array_equal(
        rc.rdm(values, distance="crossnobis", stimulus=stimulus, partition=run, condensed=False)[0, 1:], arrays[:4]
    )


def test_other_partitions():
    session = np.repeat(["a", "b"], 10)
    ds = rc.rdm(trials(session=session), distance="crossnobis", partition="session")
    values, stimulus, _ = parts()
    np.testing.assert_allclose(ds.dissimilarity, naive.crossnobis(values, stimulus, session), atol=1e-12)
    assert ds.attrs["partition"] == "session"
    every = rc.rdm(trials(), distance="crossnobis", partition=None)
    np.testing.assert_allclose(every.dissimilarity, naive.crossnobis_trials(values, stimulus, range(20)), atol=1e-11)
    assert every.attrs["partition"] == "trial"
    source = trials()
    source.attrs["modality"] = "fmri"
    assert rc.rdm(source, distance="crossnobis", partition=None).attrs["warnings"][0].startswith("within_run")


def test_noise_is_estimated_from_the_same_trials_or_given():
    values, stimulus, run = parts()
    noise = rc.estimate_noise(trials())
    assert noise.dof == K * M - K - M + 1
    assert rc.estimate_noise(trials(), partition=None).dof == K * M - K
    expected = naive.crossnobis(values, stimulus, run, noise.precision())
    for given in ("shrinkage_diag", noise, noise.precision()):
        ds = rc.rdm(trials(), distance="crossnobis", noise=given)
        np.testing.assert_allclose(ds.dissimilarity, expected, rtol=1e-9, atol=1e-12)
    assert rc.rdm(trials(), distance="crossnobis", noise="diag").attrs["noise"].startswith("diag")
    mean = np.array([values[stimulus == n].mean(axis=0) for n in NAMES])
    ds = rc.rdm(trials(), distance="mahalanobis", noise="shrinkage_diag")
    np.testing.assert_allclose(ds.dissimilarity, naive.mahalanobis(mean, noise.precision()), rtol=1e-9)
    np.testing.assert_allclose(rc.rdm(mean, distance="mahalanobis", noise=noise), ds.dissimilarity, rtol=1e-9)


def test_distances_within_a_run_warn():
    for ds in (trials(), rc.average_repeats(trials().isel(presentation=slice(0, K)))):
        found = rc.rdm(ds)
        assert found.attrs["warnings"][0].startswith("within_run")
        assert found.attrs["partition"] == "none"
    once_per_run = trials(run=np.arange(K * M))
    assert "warnings" not in rc.rdm(once_per_run).attrs
    assert "warnings" not in rc.rdm(trials().drop_vars("run")).attrs


def test_movies_have_one_rdm_per_time():
    values, stimulus, run = parts(time=True)
    for options in ({}, {"distance": "crossnobis"}, {"distance": "crossnobis", "noise": "shrinkage_diag"}):
        ds = rc.rdm(trials(time=True), **options)
        validate_rdms(ds)
        assert ds.dissimilarity.dims == ("time", "pair")
        np.testing.assert_allclose(ds.time, [0.0, 0.1, 0.2])
        noise = rc.estimate_noise(trials(time=True)) if "noise" in options else None
        for t in range(T):
            now = trials(time=True).isel(time=t)
            expected = rc.rdm(now.drop_vars("time"), **(options | ({"noise": noise} if noise else {})))
            np.testing.assert_allclose(ds.dissimilarity[t], expected.dissimilarity, rtol=1e-9, atol=1e-12)
    square = rc.rdm(trials(time=True), condensed=False)
    assert square.dissimilarity.dims == ("time", "stimulus", "stimulus_b")
    assert rc.estimate_noise(trials(time=True)).dof == T * (K * M - K - M + 1)


def test_time_generalisation():
    values, stimulus, run = parts(time=True)
    ds = rc.rdm(trials(time=True), distance="crossnobis", generalize="time")
    assert ds.dissimilarity.dims == ("time", "time_other", "pair")
    np.testing.assert_allclose(ds.dissimilarity, naive.generalised(values, stimulus, run, np.eye(P)), atol=1e-12)
    with pytest.raises(OptionError, match="time axis"):
        rc.rdm(trials(), distance="crossnobis", generalize="time")


def test_covariance_of_the_estimates():
    ds = rc.rdm(trials(), distance="crossnobis", noise="diag", covariance=True)
    assert ds.dissimilarity_covariance.dims == ("pair", "pair_other")
    np.testing.assert_allclose(ds.dissimilarity_covariance, ds.dissimilarity_covariance.T)
    assert (np.diagonal(ds.dissimilarity_covariance) > 0).mean() > 0.8
    whole = rc.rdm(trials(), distance="crossnobis", noise="diag", covariance=True, normalize_units=False)
    np.testing.assert_allclose(whole.dissimilarity_covariance, P**2 * ds.dissimilarity_covariance)
    with pytest.raises(OptionError, match="with noise"):
        rc.rdm(trials(), distance="crossnobis", covariance=True)


def test_pairs_that_no_two_runs_hold_are_missing_and_named():
    values, stimulus, run = parts()
    keep = ~((stimulus == "dog") & (run > 0))
    ds = rc.representation(values[keep], dims=("presentation", "unit"), stimulus_id=stimulus[keep], run=run[keep])
    found = rc.rdm(ds, distance="crossnobis")
    assert found.attrs["n_pairs_missing"] == 4
    assert "(owl, dog)" in found.attrs["warnings"][0] and found.attrs["warnings"][0].startswith("pairs_missing: 4")
    with pytest.raises(MeasureError, match=r"4 pairs .*\(owl, dog\)"):
        rc.rdm(values[keep], distance="crossnobis", stimulus=stimulus[keep], partition=run[keep])


def test_missing_values():
    values, _, _ = parts()
    values[3, 2] = np.nan
    values[7:9, 4] = np.nan
    stimulus, run = parts()[1:]
    ds = rc.representation(values, dims=("presentation", "unit"), stimulus_id=stimulus, run=run)
    with pytest.raises(MeasureError, match="3 missing values"):
        rc.rdm(ds, distance="crossnobis")
    dropped = rc.rdm(ds, distance="crossnobis", nan="drop_units")
    np.testing.assert_allclose(
        dropped.dissimilarity, naive.crossnobis(values[:, [0, 1, 3, 5]], stimulus, run), atol=1e-12
    )
    assert dropped.attrs["n_units_dropped"] == 2
    fewer = rc.rdm(ds, distance="crossnobis", nan="drop_stimuli")
    assert fewer.attrs["n_stimuli_dropped"] == 2 and fewer.sizes["pair"] == 3
    pairwise = rc.rdm(ds, distance="crossnobis", nan="pairwise", min_units=1)
    np.testing.assert_allclose(pairwise.dissimilarity, naive.crossnobis_units(values, stimulus, run), atol=1e-12)


def test_patterns_without_variance_are_dropped_on_request():
    x = np.random.default_rng(0).normal(size=(5, 8))
    x[2] = 1.0
    ds = rc.representation(x, stimulus=NAMES)
    with pytest.raises(MeasureError, match="dog|2"):
        rc.rdm(ds)
    found = rc.rdm(ds, nan="drop_stimuli")
    assert found.attrs["n_stimuli_dropped"] == 1
    assert "dog" not in found.stimulus_a.values
    np.testing.assert_allclose(found.dissimilarity, rc.rdm(np.delete(x, 2, axis=0)), atol=1e-12)
    np.testing.assert_allclose(rc.rdm(x, nan="drop_stimuli"), found.dissimilarity)


def test_several_representations_give_one_set():
    rng = np.random.default_rng(0)
    first = rc.representation(rng.normal(size=(K, P)), stimulus=NAMES)
    second = rc.representation(rng.normal(size=(K, 9)), stimulus=NAMES[::-1])
    ds = rc.rdm({"s1": {"v1": first, "it": second}, "s2": first}, distance="cosine")
    validate_rdms(ds)
    assert ds["rdm"].values.tolist() == ["s1/v1", "s1/it", "s2"] and stimuli_of(ds).tolist() == NAMES
    assert ds.attrs["distance"] == "cosine" and "warnings" not in ds.attrs
    for name, part in (("s1/v1", first), ("s1/it", second)):
        alone = to_pairs(rc.rdm(part, distance="cosine"), NAMES)[0]
        np.testing.assert_array_equal(ds["dissimilarity"].sel(rdm=name), alone)
    tree = xr.DataTree.from_dict({"/s1/v1": first, "/s1/it": second, "/s2": first})
    xr.testing.assert_equal(rc.rdm(tree, distance="cosine").sel(rdm=ds["rdm"]), ds)
    square = rc.rdm({"s": first, "t": second}, condensed=False)["dissimilarity"]
    assert square.dims == ("rdm", "stimulus", "stimulus_b")
    assert square.sel(rdm="t", stimulus="dog", stimulus_b="owl").item() == pytest.approx(
        rc.rdm(second, condensed=False)["dissimilarity"].sel(stimulus="dog", stimulus_b="owl").item(), abs=0
    )


def test_several_with_trials_times_and_other_stimuli():
    one, two = trials(0), trials(1)
    ds = rc.rdm({"a": one, "b": two}, distance="crossnobis", noise="shrinkage_diag")
    np.testing.assert_array_equal(
        ds["dissimilarity"][1], rc.rdm(two, distance="crossnobis", noise="shrinkage_diag")["dissimilarity"]
    )
    plain = rc.rdm({"a": one, "b": rc.average_repeats(two)})
    assert plain.attrs["warnings"][0].startswith("within_run: a: distances")
    movie = rc.rdm({"a": trials(0, time=True), "b": trials(1, time=True)})
    assert movie["dissimilarity"].dims == ("rdm", "time", "pair")
    with pytest.raises(SchemaError, match="other times"):
        rc.rdm({"a": trials(0, time=True), "b": two})
    few = rc.average_repeats(two).isel(stimulus=slice(1, None))
    with pytest.raises(AlignmentError, match=r"b lacks 'owl' \(1\).*intersection"):
        rc.rdm({"a": one, "b": few})
    shared = rc.rdm({"a": one, "b": few}, stimuli="intersection")
    assert stimuli_of(shared).tolist() == NAMES[1:]
    np.testing.assert_array_equal(shared["dissimilarity"][0], to_pairs(rc.rdm(one), NAMES[1:])[0])


def test_both_sides_of_an_inference_may_be_representations():
    rng = np.random.default_rng(0)
    names = [f"s{i:02d}" for i in range(12)]

    def responses(order=slice(None), shape=(8,), **coords):
        values = rng.normal(size=(12, *shape))
        dims = ("stimulus", "unit", "time")[: values.ndim]
        return rc.representation(values, stimulus=names[order], dims=dims, **coords)

    nets = {"net": {"early": responses(), "late": responses()}, "other": responses(slice(None, None, -1))}
    people = {f"p{i}": responses(slice(None, None, (-1) ** i)) for i in range(4)}
    options = {"n_bootstraps": 5, "permutations": 9}
    expected = rc.rsa_inference(rc.rdm(nets), rc.rdm(people), **options)
    assert expected["model"].values.tolist() == ["net/early", "net/late", "other"]
    xr.testing.assert_identical(rc.rsa_inference(nets, people, **options), expected)
    grown = xr.DataTree.from_dict({"net/early": nets["net"]["early"], "net/late": nets["net"]["late"]})
    part = rc.rsa_inference(grown, xr.DataTree.from_dict(people), **options)
    xr.testing.assert_equal(part["score_subject"], expected["score_subject"].isel(model=slice(2)))
    listed = rc.rsa_inference(list(nets["net"].values()), list(people.values()), **options)
    np.testing.assert_array_equal(listed["score"], part["score"])
    movies = {name: responses(shape=(8, 2), time=[0.0, 0.1]) for name in people}
    over_time = rc.rsa_inference(nets, movies, distance="cosine", **options)
    assert over_time.sizes["time"] == 2 and over_time.attrs["distance"] == "cosine"
    second = rc.rdm({name: one.isel(time=1, drop=True) for name, one in movies.items()}, distance="cosine")
    again = rc.rsa_inference(rc.rdm(nets, distance="cosine"), second, **options)
    np.testing.assert_array_equal(over_time["score"].isel(time=1), again["score"])
    with pytest.raises(SchemaError, match="pick one time first"):
        rc.rsa_inference(movies, people)


@pytest.mark.parametrize(
    ("given", "options", "message"),
    [
        (lambda: {"a": trials(), "b": np.ones((5, 3))}, {}, "b is a ndarray without names of stimuli"),
        (lambda: {"a": trials(), "b": rc.rdm(trials())}, {}, "b: .*RDMs; expected a representation"),
        (lambda: {"a": trials()}, {"covariance": True}, "covariance= is of one representation"),
        (lambda: {"a": trials()}, {"stimulus": NAMES}, "stimulus= is of one representation"),
        (lambda: {"a": trials()}, {"stimuli": "union"}, "stimuli='union'"),
        (lambda: {"a": trials()}, {"distance": "crossnobis", "partition": "day"}, "a: partition='day'"),
        (trials, {"stimuli": "intersection"}, "is of several representations"),
        (lambda: "it.nc", {}, "read a file by rc.read"),
    ],
)
def test_several_refused(given, options, message):
    with pytest.raises((OptionError, SchemaError), match=message):
        rc.rdm(given(), **options)


def test_refusals():
    values, stimulus, run = parts()
    averaged = rc.average_repeats(trials())
    with pytest.raises(SchemaError, match="needs single trials"):
        rc.rdm(averaged, distance="crossnobis")
    with pytest.raises(SchemaError, match="needs single trials"):
        rc.estimate_noise(averaged)
    with pytest.raises(OptionError, match=r"partition='runs' is not a coordinate.*did you mean 'run'"):
        rc.rdm(trials(), distance="crossnobis", partition="runs")
    with pytest.raises(OptionError, match="an array has no coordinate 'run'"):
        rc.rdm(values, distance="crossnobis", stimulus=stimulus)
    with pytest.raises(OptionError, match="stimulus= and design= are for arrays"):
        rc.estimate_noise(trials(), design=np.ones((20, 1)))
    with pytest.raises(OptionError, match="did you mean"):
        rc.rdm(values, distance="crossnobiss")
    with pytest.raises(SchemaError, match=r"shape \(20, 6, 3\)"):
        rc.rdm(parts(time=True)[0])
    with pytest.raises(OptionError, match="one noise per partition has no form"):
        rc.rdm(trials(time=True), distance="crossnobis", noise=[np.eye(P)] * M, generalize="time")


def test_residuals_of_a_model():
    rng = np.random.default_rng(3)
    design, z = rng.normal(size=(50, 4)), rng.normal(size=(50, P))
    assert rc.estimate_noise(z, design=design).dof == 46
    assert rc.estimate_noise(z, dof=40).dof == 40


def test_single_run_responses_with_slow_noise():
    """Betas of events in a fixed order under AR(1) noise: time is in the RDM of run means, not in that across runs."""
    from scipy.signal import lfilter
    from scipy.stats import gamma, spearmanr

    rng = np.random.default_rng(4)
    k, scans, voxels, runs = 16, 200, 100, 4
    t = np.arange(0, 30, 2.0)
    response = gamma.pdf(t, 6) - gamma.pdf(t, 16) / 6
    design = np.zeros((scans, k + 1))
    for event in range(4 * k):
        design[3 + 3 * event, event % k] = 1
    design = np.column_stack(
        [np.convolve(design[:, c], response / response.max())[:scans] for c in range(k)] + [np.ones(scans)]
    )
    solver = np.linalg.pinv(design)[:k]
    gap = np.abs(np.subtract.outer(np.arange(k), np.arange(k)))
    distance = np.minimum(gap, k - gap)[np.triu_indices(k, 1)]
    stimulus, run = np.tile([f"s{i:02d}" for i in range(k)], runs), np.repeat(np.arange(runs), k)
    across, within = [], []
    for _ in range(100):
        noise = lfilter([1], [1, -0.5], rng.normal(size=(runs, scans + 50, voxels)), axis=1)
        betas = np.concatenate([solver @ noise[r, 50:] for r in range(runs)])
        ds = rc.representation(betas, dims=("presentation", "unit"), stimulus_id=stimulus, run=run)
        across.append(spearmanr(rc.rdm(ds, distance="crossnobis").dissimilarity, distance).statistic)
        found = rc.rdm(ds)
        within.append(spearmanr(found.dissimilarity, distance).statistic)
    assert abs(np.mean(across)) < 0.04
    assert np.mean(within) == pytest.approx(0.33, abs=0.06)
    assert found.attrs["warnings"][0].startswith("within_run")


@pytest.mark.parametrize(
    ("convention", "theirs", "ours", "options"),
    [
        ("rsatoolbox", "euclidean", "squared_euclidean", {}),
        ("rsatoolbox", "correlation", "correlation", {}),
        ("mne-rsa", "euclidean", "euclidean", {"normalize_units": False}),
        ("mne-rsa", "sqeuclidean", "squared_euclidean", {"normalize_units": False}),
    ],
)
def test_names_and_scales_of_other_packages(convention, theirs, ours, options):
    x = np.random.default_rng(0).normal(size=(6, 9))
    found = rc.rdm(x, distance=theirs, convention=convention)
    np.testing.assert_array_equal(found, rc.rdm(x, distance=ours, **options))
    if convention == "mne-rsa":
        np.testing.assert_allclose(found, pdist(x, theirs))
    with pytest.raises(OptionError, match=f"is not a name of {convention}"):
        rc.rdm(x, distance="euclidian", convention=convention)


def test_rsatoolbox_sorts_stimuli_by_name():
    ds = rc.representation(np.random.default_rng(0).normal(size=(4, 9)), stimulus=["owl", "cat", "elk", "dog"])
    sorted_names = rc.rdm(ds, distance="euclidean", convention="rsatoolbox")
    assert stimuli_of(sorted_names).tolist() == ["cat", "dog", "elk", "owl"]
    ours = rc.rdm(ds, distance="squared_euclidean")
    np.testing.assert_array_equal(to_pairs(sorted_names, stimuli_of(ours)), to_pairs(ours))


def test_agreement_with_rsatoolbox_itself():
    toolbox = pytest.importorskip("rsatoolbox")
    x = np.random.default_rng(0).normal(size=(4, 9))
    names = ["owl", "cat", "elk", "dog"]
    data = toolbox.data.Dataset(x, obs_descriptors={"stimulus": names})
    theirs = toolbox.rdm.calc_rdm(data, method="euclidean", descriptor="stimulus")
    ours = rc.rdm(rc.representation(x, stimulus=names), distance="euclidean", convention="rsatoolbox")
    np.testing.assert_allclose(theirs.dissimilarities, to_pairs(ours), rtol=1e-12)
    assert [str(n) for n in theirs.pattern_descriptors["stimulus"]] == stimuli_of(ours).tolist()
