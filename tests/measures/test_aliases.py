"""Names of other packages: what they mean, what they say about conventions, and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest

import repcompare as rc
from repcompare.errors import OptionError, UnknownMeasureError
from repcompare.measures import aliases, registry
from repcompare.measures._forms import as_distance
from repcompare.measures._measure import Folds, as_outcome
from repcompare.measures.aliases import parse
from repcompare.measures.cca import cca
from repcompare.measures.cka import cka
from repcompare.measures.neighbours import jaccard, mutual_knn
from repcompare.measures.shape import procrustes

IN_SAMPLE = {"held_out": False, "degenerate": "allow"}
BURES = {"score": "euclidean", "scale": False}
CASES = {
    "cka-kernel=linear-hsic=gretton": ("cka", {"estimator": "biased", "kernel": "linear"}, None),
    "cka-hsic=song-distance=angular": ("cka", {"estimator": "debiased", "angular": True}, None),
    "cka-distance=one_minus_score": ("cka", {"estimator": "biased"}, "one_minus_score"),
    "cka-kernel=(rbf-sigma=1e-3)-hsic=lange": (
        "cka",
        {"kernel": "rbf", "bandwidth": 1e-3, "bandwidth_scale": "absolute", "estimator": "rv2"},
        None,
    ),
    "measure/sim_metric/cca": ("cca", IN_SAMPLE, None),
    "cca-squared_score": ("cca", {**IN_SAMPLE, "summary": "mean_squared"}, None),
    "cca-squared_score-cv=5folds": ("cca", {"held_out": True, "summary": "mean_squared"}, None),
    "cca-distance=angular": ("cca", IN_SAMPLE, "angular"),
    "svcca-var=0.95": ("svcca", {"variance": 0.95}, None),
    "svcca-dim=10": ("svcca", {"n_components": 10}, None),
    "measure/netrep/svcca-dim=10": ("svcca", {"n_components": 10, "denominator": "geometric"}, None),
    "measure/google_svcca/pwcca": ("pwcca", {}, None),
    "procrustes-score": ("procrustes", {"score": "similarity"}, None),
    "procrustes-distance=angular": ("procrustes", {"score": "angular"}, None),
    "procrustes-distance=euclidean": ("procrustes", BURES, None),
    "procrustes-distance=squared_euclidean": ("procrustes", BURES, "squared_euclidean"),
    "nbs-distance=one_minus_score": ("procrustes", {"score": "similarity"}, "one_minus_score"),
    "bures_distance": ("procrustes", BURES, None),
    "shape_metric-alpha=0.5-distance=angular": (
        "shape_distance",
        {"convention": "netrep", "alpha": 0.5, "score": "angular"},
        None,
    ),
    "shape_metric-alpha=0.5-distance=squared_euclidean": (
        "shape_distance",
        {"convention": "netrep", "alpha": 0.5, "score": "euclidean"},
        "squared_euclidean",
    ),
    "permutation_metric-distance=euclidean": ("shape_distance", {"group": "permutation", "score": "euclidean"}, None),
    "permutation_procrustes": ("permutation", {**BURES, "centre": False}, None),
    "hard_correlation_match": ("one_to_one", {}, None),
    "soft_correlation_match": ("semi_match", {"symmetric": True}, None),
    "pairwisematching": ("semi_match", {"held_out": True}, None),
    "gulp-lambda=1e-3": ("gulp", {"squared": True, "degenerate": "allow", "regularization": 1e-3}, None),
    "measure/resi/distance_correlation": ("distance_correlation", {"debiased": False}, None),
    "linear_regression": ("linear_r2", {"predicted": "source", "degenerate": "allow"}, None),
    "linear_regression-r2-cv=5folds": ("linear", {"scoring": "r2"}, None),
    "ensd": ("ensd", {}, None),
    "eigenspace_overlap_score": ("eigenspace_overlap", {"degenerate": "allow"}, None),
    "aligned_cosine_similarity": ("aligned_cosine", {}, None),
    "jaccard_similarity": ("jaccard", {"k": 10}, None),
    "second_order_cosine_similarity-k=3": ("second_order_cosine", {"k": 3}, None),
    "mutual_knn-topk=5-distance=one_minus_score": ("mutual_knn", {"k": 5}, "one_minus_score"),
    "cknna-topk=7": ("cknna", {"k": 7}, None),
    "rsm_norm_difference": ("rsm_norm", {}, None),
    "measure/resi/rsm_norm_difference": ("rsm_norm", {"norm": "spectral"}, None),
    "measure/resi/magnitude_difference": ("magnitude_difference", {}, None),
    "rsa-rdm=squared_euclidean-compare=cosine_cov": (
        "rsa",
        {"distance": "squared_euclidean", "method": "whitened_cosine"},
        None,
    ),
    "rsa-rdm=pearson-compare=tau-a": ("rsa", {"distance": "correlation", "method": "kendall_tau_a"}, None),
    "rsa-compare=kendall": ("rsa", {"method": "kendall_tau_b"}, None),
    "ridge-lambda=1-r2-cv=5folds": ("ridge", {"alphas": [1.0], "scoring": "r2"}, None),
    "pls-dim=3-cv=5folds": ("pls", {"n_components": 3}, None),
}


# every name of the table of requirements, bare ids of ours behind a prefix
NAMES = """
cka-kernel=linear-hsic=gretton cka-kernel=linear-hsic=song cka-kernel=linear-hsic=lange
cka-kernel=(rbf-sigma=2.0)-hsic=gretton cka-kernel=(laplace-sigma=2.0)-hsic=song measure/r/cca measure/r/cca-score
cca-squared_score cca-cv=5folds cca-distance=one_minus_score svcca-var=0.99 svcca-dim=5 measure/netrep/svcca-var=0.9
measure/netrep/svcca-dim=5 measure/r/svcca measure/r/pwcca procrustes-score nbs-score procrustes-distance=angular
nbs-distance=angular orthogonal_angular_shape_metric_centered procrustes-distance=euclidean nbs-distance=euclidean
procrustes-distance=squared_euclidean nbs-distance=squared_euclidean bures_distance
orthogonal_procrustes_centered_and_normalized shape_metric-alpha=0.5-distance=angular
shape_metric-alpha=1-distance=euclidean shape_metric-alpha=0-distance=squared_euclidean permutation_metric-score
permutation_metric-distance=angular permutation_metric-distance=euclidean permutation_procrustes
hard_correlation_match soft_correlation_match pairwisematching measure/r/gulp gulp-lambda=1e-3
measure/r/distance_correlation linear_regression measure/r/ensd eigenspace_overlap_score aligned_cosine_similarity
jaccard_similarity second_order_cosine_similarity mutual_knn-topk=5 cknna-topk=5 rsm_norm_difference
measure/resi/rsm_norm_difference measure/r/magnitude_difference measure/r/uniformity_difference
measure/r/concentricity_difference rsa-rdm=squared_euclidean-compare=cosine rsa-rdm=correlation-compare=corr
rsa-rdm=squared_euclidean-compare=cosine_cov rsa-rdm=squared_euclidean-compare=corr_cov ridge-lambda=1-r2-cv=5folds
"""
TABLE = NAMES.split()
LATER = {  # of measures or methods that a version may lack: the error names the nearest
    "pls-dim=3-cv=5folds": "the nearest measure is 'ridge'",
    "kernel_ridge-lambda=1-cv=5folds": "the nearest measure is 'ridge'",
    "linear_regression-r2-cv=5folds": "the nearest measure is 'ridge'",
    "rsa-rdm=correlation-compare=tau_a": "method='kendall_tau_a'",
    "rsa-rdm=correlation-compare=tau_b": "method='kendall_tau_b'",
    "rsa-rdm=correlation-compare=kendall": "method='kendall_tau_b'",
}


@pytest.mark.parametrize("name", TABLE)
def test_every_row_of_the_table_gives_a_number(name):
    rng = np.random.default_rng(0)
    latent = rng.normal(size=(60, 3))
    x, y = (latent @ rng.normal(size=(3, 7)) + rng.normal(size=(60, 7)) for _ in range(2))
    measure = registry.make(name)
    order = rng.permutation(60)
    splits = tuple((np.setdiff1d(order, part), np.sort(part)) for part in np.array_split(order, 5))
    drawn = Folds(splits, 60) if measure.fitted else None
    states = measure.prepared(x, drawn), measure.prepared(y, drawn, side="target")
    found = as_outcome(measure.compare(*states)).score
    assert measure.score_range[0] - 1e-12 <= found <= measure.score_range[1] + 1e-12


@pytest.mark.parametrize("name", LATER)
def test_what_a_version_may_lack_is_made_or_named(name):
    try:
        assert registry.make(name).name == parse(name).id
    except OptionError as error:
        assert LATER[name] in str(error)


def test_bare_names_are_ours_and_prefixed_ones_are_theirs():
    x, y = data()
    ours, theirs, root = (
        score(registry.make(name), x, y) for name in ("gulp", "measure/sim_metric/gulp", "gulp-distance=euclidean")
    )
    assert theirs == pytest.approx(ours**2, rel=1e-12)
    assert root == pytest.approx(ours, rel=1e-12)
    assert registry.make("gulp").is_metric
    assert not registry.make("measure/sim_metric/gulp").is_metric
    assert registry.make("cka").options["estimator"] == "debiased"
    assert registry.make("measure/x/cka").options["estimator"] == "biased"


def test_notes_reach_the_user():
    names = [f"s{i}" for i in range(30)]
    sources = {name: rc.representation(v, stimulus=names) for name, v in zip("xy", data(), strict=True)}
    asked = ["linear_cka", "cka", "cka-kernel=linear-hsic=song", "measure/sim_metric/gulp"]
    scores = rc.compare(sources["x"], sources["y"], measures=asked, progress=False)
    said = [line for line in scores.attrs["warnings"] if line.startswith("alias:")]
    assert said == [
        f"alias: linear_cka: {parse('linear_cka').note}",
        f"alias: measure/sim_metric/gulp: {parse('measure/sim_metric/gulp').note}",
    ]
    assert "ours is debiased" in said[0]
    assert "no metric" in said[1]
    assert "prefix measure/sim_metric is ignored" in said[1]
    square = rc.similarity_matrix(sources, measure="procrustes-distance=euclidean", progress=False)
    assert any("response units" in line for line in square.attrs["warnings"])
    assert registry.make("linear_cka-distance=angular").note == parse("linear_cka").note
    assert registry.make("cka").note == ""


@pytest.mark.parametrize("name", CASES)
def test_the_table(name):
    found = parse(name)
    identity, options, form = CASES[name]
    assert (found.id, found.form) == (identity, form)
    found.options.pop("kernel", None) if "kernel" not in options else None
    assert found.options == options


@pytest.mark.parametrize("name", aliases.COMMON)
def test_the_common_ones_give_numbers(name):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 40, 12)) + 0.5
    measure = registry.make(name)
    if not measure.fitted:
        found = as_outcome(measure.compare(measure.prepared(x), measure.prepared(y, side="target"))).score
        assert measure.score_range[0] - 1e-12 <= found <= measure.score_range[1] + 1e-12


def test_our_own_ids_come_first():
    assert registry.make("cca").options["held_out"] is True
    assert registry.make("distance_correlation").options["debiased"] is True
    assert registry.make("measure/resi/distance_correlation").options["debiased"] is False


def test_options_of_the_user_come_last():
    assert registry.make("mutual_knn-topk=5", k=3).options["k"] == 3


def test_notes_name_the_convention():
    assert "ours is debiased" in parse("cka").note
    assert parse("cka-hsic=song").note == ""
    assert parse("measure/sim_metric/cka-hsic=song").note == "the prefix measure/sim_metric is ignored"
    assert "unit of measurement" in parse("shape_metric-alpha=0.5-distance=angular").note
    assert "response units" in parse("bures_distance").note
    assert "held out by default" in parse("measure/sim_metric/cca").note
    assert "prefix measure/sim_metric is ignored" in parse("measure/sim_metric/cca").note
    assert parse("measure/netrep/svcca-dim=3").note == ""
    assert "folds=10" in parse("ridge-lambda=1-r2-cv=10folds").note
    assert "symmetrised" in parse("cknna-topk=3").note


@pytest.mark.parametrize("name", ["ckaa", "nonsense/cka", "", "measure/", "measure/x/y/z", "cka-kernel", "k=3"])
def test_what_is_nobodys_name_is_unknown(name):
    if name == "cka-kernel":
        with pytest.raises(OptionError, match="'kernel' is not understood"):
            parse(name)
    else:
        assert parse(name) is None
        with pytest.raises(UnknownMeasureError, match="unknown measure"):
            registry.make(name)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("imd", "rsm_norm"),
        ("rtd", "distance_correlation"),
        ("measure/resi/cycle_knn-topk=3", "mutual_knn"),
        ("wreath_shape_metric-alpha=1", "shape_distance"),
        ("max_match", "semi_match"),
        ("rank_similarity", "jaccard"),
        ("isc", "rsa"),
    ],
)
def test_what_is_not_provided_names_the_nearest(name, nearest):
    with pytest.raises(UnknownMeasureError, match=f"is not provided .* nearest measure is '{nearest}'"):
        registry.make(name)
    assert nearest in registry.BUILT_IN


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "cka-distance=euclidean",
            "distance='euclidean' is not defined for cka; expected one of angular, one_minus_score",
        ),
        ("svcca-dim=3-distance=squared_euclidean", "is not defined for svcca"),
        ("measure/x/procrustes", "expected one of -score, -distance=angular"),
        ("ridge-lambda=1-r2", "in-sample fits are not scores; expected the held-out form, ridge-lambda=1-r2-cv=5folds"),
        ("kernel_ridge-lambda=1", "in-sample fits"),
        ("cka-cv=5folds", "no held-out form"),
        ("cca-cv=five", "expected cv=5folds"),
        ("svcca-variance=0.9", "parameter 'variance' is not understood; known: var, dim"),
        ("svcca-dim=ten", "dim='ten' is not a number"),
        ("cka-hsic=unbiased", "has no counterpart; known: gretton, song, lange"),
        ("cka-score-distance=angular", "asks for the score and for a distance"),
        ("cka-kernel=laplacian-hsic=song", "kernel='laplacian' has no counterpart; did you mean 'laplace'"),
        ("ensd-distance=angular", "needs a cosine"),
    ],
)
def test_what_the_grammar_refuses(name, message):
    with pytest.raises(OptionError, match=message):
        registry.make(name)


def test_ids_that_are_not_there(monkeypatch):
    monkeypatch.setitem(aliases.ROWS, "later", aliases.Row(id="not_built"))
    monkeypatch.setitem(aliases.ROWS, "richer", aliases.Row(id="cka", options={"colour": 1}))
    with pytest.raises(
        UnknownMeasureError, match="'later' is our measure 'not_built', which this version does not have"
    ):
        registry.make("later")
    with pytest.raises(OptionError, match=r"'richer' needs options \['colour'\] of 'cka'"):
        registry.make("richer")


def data(n=30):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, 4))
    return x, x @ rng.normal(size=(4, 3)) + rng.normal(size=(n, 3))


def score(measure, x, y):
    return as_outcome(measure.compare(measure.prepared(x), measure.prepared(y))).score


def test_distances_made_from_scores():
    x, y = data()
    base = cka(estimator="biased")
    angular, rest = (as_distance(base, form) for form in ("angular", "one_minus_score"))
    assert score(angular, x, y) == pytest.approx(np.arccos(score(base, x, y)), abs=1e-14)
    assert score(rest, x, y) == pytest.approx(1 - score(base, x, y), abs=1e-14)
    assert (angular.kind, angular.unit, angular.is_metric, angular.identical) == ("distance", "rad", True, 0.0)
    assert angular.score_range == (0.0, pytest.approx(np.pi / 2))
    assert (rest.is_metric, rest.score_range, rest.ceiling) == (False, (0.0, 1.0), None)
    assert as_distance(cka(), "angular").score_range == (0.0, pytest.approx(np.pi))
    assert not as_distance(cka(), "angular").is_metric
    states = [angular.prepared(v) for v in (x, y)]
    np.testing.assert_allclose(angular.compare_many(states, states)[0, 1], score(angular, x, y), atol=1e-12)
    assert angular.options["distance"] == "angular"
    assert score(registry.make("cka-hsic=gretton-distance=angular"), x, y) == pytest.approx(
        score(angular, x, y), abs=1e-9
    )


def test_squares_of_distances():
    x, y = data()
    base = procrustes("euclidean", scale=False)
    square = as_distance(base, "squared_euclidean")
    assert score(square, x, y) == pytest.approx(score(base, x, y) ** 2, rel=1e-12)
    assert (square.unit, square.is_metric, square.identical) == ("response^2", False, 0.0)
    assert score(registry.make("procrustes-distance=squared_euclidean"), x, y) == pytest.approx(score(square, x, y))


def test_forms_that_do_not_go_together():
    with pytest.raises(OptionError, match="is made from a distance"):
        as_distance(cka(), "squared_euclidean")
    with pytest.raises(OptionError, match="is made from a similarity"):
        as_distance(procrustes(), "angular")
    with pytest.raises(OptionError, match="distance='euclid'"):
        as_distance(cka(), "euclid")


def test_null_means_follow():
    x, y = data()
    rest = as_distance(mutual_knn(4), "one_minus_score")
    found = rest.compare(rest.prepared(x), rest.prepared(y))
    assert found.details["null_mean"] == pytest.approx(1 - 4 / 29)
    angular = as_distance(jaccard(4), "angular")
    assert "null_mean" not in angular.compare(angular.prepared(x), angular.prepared(y)).details


def test_held_out_angles_keep_their_folds():
    angular = as_distance(cca(), "angular")
    assert angular.fitted
    assert angular.kind == "distance"
