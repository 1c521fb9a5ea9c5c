"""Scores become trees, maps and typical members with names; the mean shape has names too."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import repcompare as rc
from repcompare.errors import AlignmentError, MeasureError, OptionError, SchemaError
from repcompare.measures import registry
from repcompare.measures.barycentre import frechet_mean as mean_of_arrays

N = 24
STIMULI = [f"image{i:02d}" for i in range(N)]
NAMES = ["conv1", "V1", "conv2", "V4", "conv3"]


def systems(seed=0):
    """Two families: conv* are noisy turns of one system, V* of another."""
    rng = np.random.default_rng(seed)
    base = {"c": rng.normal(size=(N, 6)), "V": rng.normal(size=(N, 6))}
    found = {}
    for name in NAMES:
        values = base[name[0]] @ np.linalg.qr(rng.normal(size=(6, 6)))[0] + 0.2 * rng.normal(size=(N, 6))
        found[name] = rc.representation(values, stimulus=STIMULI)
    return found


@pytest.fixture(scope="module")
def scores():
    angular = registry.make("cka", estimator="biased", angular=True)
    measures = {"procrustes": "procrustes", "cka": "cka", "angle": angular}
    return rc.similarity_matrix(systems(), measure=measures, progress=False)


def test_scores_say_which_measures_are_metrics(scores):
    assert scores.measure_is_metric.dims == ("measure",)
    assert scores.measure_is_metric.dtype == bool
    assert scores.measure_is_metric.values.tolist() == [True, False, True]


def test_the_record_survives_files_and_joins(scores, tmp_path):
    rc.save(scores, tmp_path / "scores.nc")
    again = rc.open(tmp_path / "scores.nc")
    assert again.measure_is_metric.values.tolist() == [True, False, True]
    joined = rc.concat_scores([scores.sel(measure=[m]) for m in ("cka", "angle")])
    assert joined.measure_is_metric.sel(measure=["cka", "angle"]).values.tolist() == [False, True]
    assert joined.measure_is_metric.dtype == bool
    older = scores.sel(measure=["angle"]).drop_vars("measure_is_metric")
    mixed = rc.concat_scores([scores.sel(measure=["procrustes"]), older])
    assert mixed.measure_is_metric.sel(measure=["procrustes", "angle"]).values.tolist() == [True, False]
    assert rc.cluster(again, measure="procrustes").sizes["source"] == 5


@pytest.mark.parametrize("measure", ["procrustes", "angle"])
def test_families_are_found(scores, measure):
    tree = rc.cluster(scores, n_clusters=2, measure=measure)
    grouped = rc.medoids(scores, 2, measure=measure)
    for found in (tree, grouped):
        labels = dict(zip(found.source.values.tolist(), found.label.values.tolist(), strict=True))
        assert labels["conv1"] == labels["conv2"] == labels["conv3"] != labels["V1"] == labels["V4"]
    leaves = tree.order.values.tolist()
    assert sorted(leaves) == sorted(NAMES)
    assert [name[0] for name in leaves] in (list("cccVV"), list("VVccc"))
    assert {name[0] for name in grouped.medoid.values.tolist()} == {"c", "V"}
    assert grouped.cost == pytest.approx(grouped.distance.sum().item(), rel=1e-12)
    assert (grouped.silhouette > 0.3).all()
    assert tree.attrs == {"schema": "repcompare-clusters-1", "measure": measure, "unit": "rad", "linkage": "average"}
    assert 0.9 < tree.cophenetic_correlation <= 1
    points = rc.embed(scores, measure=measure)
    assert points.coordinates.dims == ("source", "dimension")
    first = points.coordinates.isel(dimension=0)
    assert np.sign(first.sel(source="conv1")) != np.sign(first.sel(source="V1"))
    assert 0 <= points.stress < 0.3
    assert 0 <= points.negative_share < 0.5


@pytest.mark.parametrize("method", ["mds", "classical", "nonmetric"])
def test_maps_are_datasets_that_can_be_saved(scores, method, tmp_path):
    found = rc.embed(scores, method=method, dimensions=3, measure="procrustes", seed=4)
    assert found.coordinates.shape == (5, 3)
    assert found.attrs["seed"] == 4
    found.to_netcdf(tmp_path / "map.nc")
    xr.testing.assert_identical(xr.load_dataset(tmp_path / "map.nc"), found)


def test_trees_go_straight_into_scipy(scores):
    from scipy.cluster.hierarchy import dendrogram

    tree = rc.cluster(scores, measure="procrustes")
    leaves = dendrogram(tree.merges.values, no_plot=True)["leaves"]
    assert tree.source.values[leaves].tolist() == tree.order.values.tolist()
    assert "label" not in tree


def test_a_bare_table_of_distances(scores):
    table = scores.score.sel(measure="procrustes", drop=True)
    shuffled = table.isel(target=[3, 0, 4, 1, 2])
    for distances in (table, shuffled):
        found = rc.medoids(distances, 2)
        whole = rc.medoids(scores, 2, measure="procrustes")
        np.testing.assert_array_equal(found.label, whole.label)
        assert found.medoid.values.tolist() == whole.medoid.values.tolist()
    one = rc.medoids(table, 1)
    assert "silhouette" not in one
    assert one.medoid.item() == table.source.values[int(table.values.sum(axis=0).argmin())]


@pytest.mark.parametrize("call", [rc.cluster, rc.embed, lambda scores, **o: rc.medoids(scores, 2, **o)])
def test_what_is_no_metric_is_refused_with_advice(call, scores):
    advice = r"1 - score is not a metric; take 'procrustes', or cka\(estimator='biased', angular=True\)"
    with pytest.raises(MeasureError, match=f"'cka' is not a metric.*{advice}"):
        call(scores, measure="cka")
    with pytest.raises(OptionError, match="have measures 'procrustes', 'cka', 'angle'; choose one"):
        call(scores)
    with pytest.raises(OptionError, match="measure='angel' is not among the scores; did you mean 'angle'"):
        call(scores, measure="angel")
    with pytest.raises(SchemaError, match="do not say whether"):
        call(scores.drop_vars("measure_is_metric"), measure="angle")
    gaps = np.array([[0, 1.0, 9], [1, 0, 1], [9, 1, 0]])
    table = xr.DataArray(gaps, [("source", list("abc")), ("target", list("abc"))])
    with pytest.raises(MeasureError, match=f"'a' and 'c' are farther apart than by way of 'b'; {advice}"):
        call(table)
    with pytest.raises(SchemaError, match="measure='cka'; expected square scores"):
        call(table, measure="cka")


def test_the_measures_that_the_advice_names_are_metrics():
    assert registry.make("procrustes").is_metric
    assert registry.make("cka", estimator="biased", angular=True).is_metric


def test_tables_that_are_not_square(scores):
    with pytest.raises(SchemaError, match="expected the same names on both sides"):
        rc.cluster(scores.isel(target=[0, 1, 2]), measure="angle")
    with pytest.raises(SchemaError, match="expected square scores"):
        rc.cluster(xr.Dataset())
    bare = xr.DataArray(np.zeros((2, 2)), dims=("source", "target"))
    with pytest.raises(SchemaError, match="expected the same names"):
        rc.embed(bare)


def test_missing_cells_name_the_pair(scores):
    holed = scores.copy(deep=True)
    at = {"source": "V1", "target": "conv3", "measure": "angle"}
    holed.score.loc[at] = np.nan
    holed["reason"] = holed.reason.astype(object)
    holed.reason.loc[at] = "too few stimuli"
    with pytest.raises(MeasureError, match=r"'V1' and 'conv3' have no score \(too few stimuli\); 1 cells"):
        rc.cluster(holed, measure="angle")
    table = holed.score.sel(measure="angle", drop=True)
    with pytest.raises(MeasureError, match="'V1' and 'conv3' have no score; 1 cells"):
        rc.medoids(table, 2)
    lopsided = scores.copy(deep=True)
    lopsided.score.loc[at] = 3.0
    with pytest.raises(MeasureError, match="not symmetric: .* 'V1' to 'conv3'|not symmetric: .* 'conv3' to 'V1'"):
        rc.embed(lopsided, measure="angle")


# ---- the mean shape


def values_of(sources):
    return [ds.response.values for ds in sources.values()]


@pytest.mark.parametrize("group", ["rotation", "permutation"])
@pytest.mark.parametrize("scale", [True, False])
def test_the_mean_shape_equals_that_of_the_arrays(group, scale):
    sources = systems()
    rng = np.random.default_rng(0)
    moved = {name: ds.isel(stimulus=rng.permutation(N)) for name, ds in sources.items()}
    found = rc.frechet_mean(moved, group=group, scale=scale)
    plain = mean_of_arrays(values_of(sources), group, scale=scale)
    np.testing.assert_allclose(found["mean"], plain.mean, atol=1e-12)
    np.testing.assert_allclose(found.aligned, plain.aligned, atol=1e-12)
    assert found.stimulus.values.tolist() == STIMULI
    assert found.source.values.tolist() == found.start.values.tolist() == NAMES
    assert found.spread == pytest.approx(plain.spread, abs=1e-12)
    assert found.attrs["start"] == NAMES[plain.start]
    assert (np.diff(found.loss) <= 1e-14).all()
    assert (found.distance**2).sum().item() == pytest.approx(found.loss[-1].item(), rel=1e-9)


def test_arrays_and_trees_have_mean_shapes(tmp_path):
    sources = systems()
    labelled = rc.frechet_mean(sources)
    for given in (values_of(sources), dict(zip(NAMES, values_of(sources), strict=True))):
        np.testing.assert_allclose(rc.frechet_mean(given)["mean"], labelled["mean"], atol=1e-12)
    assert rc.frechet_mean(values_of(sources)).source.values.tolist() == ["0", "1", "2", "3", "4"]
    tree = xr.DataTree.from_dict({f"/{name}": ds for name, ds in sources.items()})
    np.testing.assert_array_equal(rc.frechet_mean(tree)["mean"], labelled["mean"])
    labelled.to_netcdf(tmp_path / "mean.nc")
    xr.testing.assert_identical(xr.load_dataset(tmp_path / "mean.nc"), labelled)


def test_missing_values_and_stimuli_of_a_mean_shape():
    sources = systems()
    holed = sources["V1"].copy(deep=True)
    holed.response[3, 2] = np.nan
    sources["V1"] = holed
    with pytest.raises(MeasureError, match="NaN. in 'V1'; go on with nan='drop_units'"):
        rc.frechet_mean(sources)
    assert rc.frechet_mean(sources, nan="drop_units").stimulus.size == N
    dropped = rc.frechet_mean(sources, nan="drop_stimuli")
    assert dropped.stimulus.values.tolist() == STIMULI[:3] + STIMULI[4:]
    sources["V1"].response[:, :] = np.nan
    for policy in ("drop_units", "drop_stimuli"):
        with pytest.raises(MeasureError, match="leaves nothing of"):
            rc.frechet_mean(sources, nan=policy)
    fewer = systems()
    fewer["V4"] = fewer["V4"].isel(stimulus=slice(1, None))
    with pytest.raises(AlignmentError, match="stimuli='intersection'"):
        rc.frechet_mean(fewer)
    assert rc.frechet_mean(fewer, stimuli="intersection").stimulus.size == N - 1


def test_sources_without_a_mean_shape():
    x = np.random.default_rng(0).normal(size=(10, 3))
    with pytest.raises(AlignmentError, match="different numbers of rows: 'a' 10, 'b' 8"):
        rc.frechet_mean({"a": x, "b": x[:8]})
    with pytest.raises(MeasureError, match="1 members"):
        rc.frechet_mean([x])
    with pytest.raises(MeasureError, match="member b: the representation has no variance"):
        rc.frechet_mean({"a": x, "b": np.ones((10, 2))})
    with pytest.raises(SchemaError, match="some sources have labels"):
        rc.frechet_mean({"a": x, "b": systems()["V1"]})
    with pytest.raises(SchemaError, match="source 'b': x has shape"):
        rc.frechet_mean({"a": x, "b": x[0]})
    with pytest.raises(OptionError, match="did you mean 'rotation'"):
        rc.frechet_mean([x, x], group="rotations")
    with pytest.raises(OptionError, match="nan='pairwise'"):
        rc.frechet_mean([x, x], nan="pairwise")
