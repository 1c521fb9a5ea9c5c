"""What a measure declares is what it does: one suite over every measure on the menu, in every form that matters.

A new measure, or a new form of one, joins by a line in FORMS; a name on the menu that has none fails the first test.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from repcompare.errors import MeasureError, OptionError
from repcompare.measures import registry
from repcompare.measures._measure import Folds, Measure, as_outcome
from tests import invariances

FORMS: dict[str, list[dict]] = {
    "cka": [
        {},
        {"estimator": "biased"},
        {"estimator": "rv2"},
        {"estimator": "stimulus_and_unit"},
        {"estimator": "repeats"},
        {"estimator": "biased", "angular": True},
        {"angular": True},
        {"kernel": "rbf"},
        {"kernel": "rbf", "estimator": "biased", "bandwidth": 0.7},
        {"kernel": "rbf", "bandwidth": 4.0, "bandwidth_scale": "absolute"},
        {"kernel": "laplace"},
        {"kernel": "laplace", "estimator": "rv2", "bandwidth": 2.0},
        {"kernel": "laplace", "estimator": "biased", "angular": True},
        {"kernel": "laplace", "bandwidth": 4.0, "bandwidth_scale": "absolute"},
    ],
    "rsa": [
        {},
        {"distance": "euclidean", "method": "pearson"},
        {"distance": "euclidean", "method": "spearman"},
        {"distance": "squared_euclidean", "method": "whitened_cosine"},
        {"distance": "squared_euclidean", "method": "whitened_pearson"},
        {"distance": "crossnobis", "method": "pearson"},
        {"distance": "crossnobis", "method": "whitened_cosine"},
        {"distance": "crossnobis", "noise": "shrinkage_diag"},
        {"distance": "crossnobis", "noise": "diag"},
        {"distance": "cosine", "method": "cosine"},
        {"method": "pearson"},
        {"method": "kendall_tau_a"},
        {"distance": "squared_euclidean", "method": "kendall_tau_b"},
        {"distance": "squared_euclidean", "method": "whitened_pearson", "centring": "whitened"},
        {"distance": "squared_euclidean", "method": "bures"},
        {"method": "bures"},
        {"distance": "squared_euclidean", "method": "riemannian"},
        {"distance": "squared_euclidean", "method": "riemannian", "ridge": False},
    ],
    "procrustes": [
        {},
        {"score": "similarity"},
        {"score": "euclidean"},
        {"score": "euclidean", "scale": False},
        {"tol": 0.5},
        {"score": "euclidean", "scale": False, "tol": 0.5},
    ],
    "shape_distance": [
        {},
        {"alpha": 0.5},
        {"alpha": 0.0, "degenerate": "allow"},
        {"alpha": 0.3, "score": "euclidean"},
        {"alpha": 0.0, "score": "similarity"},
        {"alpha": 0.5, "convention": "netrep"},
        {"alpha": 0.5, "convention": "netrep", "score": "euclidean"},
        {"held_out": True},
        {"alpha": 0.0, "held_out": True, "score": "similarity"},
        {"group": "permutation"},
        {"group": "permutation", "score": "euclidean"},
        {"group": "permutation", "held_out": True, "score": "similarity"},
        {"group": "soft"},
        {"group": "soft", "score": "euclidean"},
        {"group": "soft", "held_out": True},
    ],
    "permutation": [
        {},
        {"score": "euclidean", "scale": False},
        {"score": "euclidean", "scale": False, "centre": False},
    ],
    "soft_match": [{}, {"cost": "euclidean"}, {"held_out": True}, {"cost": "euclidean", "held_out": True}],
    "one_to_one": [{}, {"held_out": True}],
    "stochastic_shape": [
        {"n_restarts": 1},
        {"alpha": 0.0, "n_restarts": 1},
        {"group": "permutation", "n_restarts": 1},
        {"covariance": "shrinkage", "n_restarts": 1},
        {"covariance": "shrinkage", "group": "permutation", "n_restarts": 1},
    ],
    "energy_shape": [{"n_restarts": 1}, {"exponent": 1.5, "n_restarts": 1}],
    "semi_match": [{}, {"symmetric": True}, {"held_out": True}, {"symmetric": True, "held_out": True}],
    "cca": [
        {},
        {"summary": "mean_squared"},
        {"summary": "yanai"},
        {"regularization": 0.3},
        {"held_out": False},
        {"held_out": False, "summary": "yanai"},
        {"held_out": False, "degenerate": "allow"},
        {"held_out": False, "summary": "yanai", "degenerate": "allow"},
        {"held_out": False, "summary": "mean_squared", "chance_corrected": True},
        {"held_out": False, "regularization": 0.3},
    ],
    "svcca": [
        {},
        {"degenerate": "allow"},
        {"n_components": 2, "denominator": "geometric"},
        {"variance": 0.8, "summary": "mean_squared", "denominator": "max"},
    ],
    "pwcca": [{}, {"weights": "squared"}],
    "gulp": [{}, {"degenerate": "allow"}, {"regularization": 0.1}, {"regularization": 0.1, "squared": True}],
    "linear_r2": [{}, {"chance_corrected": True}, {"predicted": "source"}, {"degenerate": "allow"}],
    "ensd": [{}],
    "eigenspace_overlap": [{}, {"centre": True}, {"degenerate": "allow"}],
    "distance_correlation": [{}, {"debiased": False}],
    "rsm_norm": [{}, {"norm": "spectral"}],
    "mutual_knn": [{}, {"k": 5, "neighbours": "euclidean"}, {"chance_corrected": True}],
    "jaccard": [{}, {"neighbours": "euclidean"}],
    "second_order_cosine": [{}, {"k": 4}],
    "cknna": [{}, {"k": 4}, {"k": 18}],
    "aligned_cosine": [{}],
    "magnitude_difference": [{}],
    "uniformity_difference": [{"t": 0.05}],
    "concentricity_difference": [{}],
    "ridge": [{}, {"scoring": "r2"}, {"alpha_per_unit": False}],
    "delayed_ridge": [{}, {"delays": [0, 2], "scoring": "r2"}],
    "banded_ridge": [{}, {"bands": [slice(0, 4), slice(4, None)], "n_iter": 8}],
    "kernel_ridge": [{}, {"kernel": "rbf"}, {"kernel": "polynomial", "scoring": "r2"}],
    "pls": [
        {"n_components": 3},
        {"n_components": 3, "solver": "nipals"},
        {"n_components": 3, "selection": "per_unit", "scoring": "r2"},
    ],
    "linear": [{}, {"scoring": "r2"}],
    "best_unit": [{}, {"scoring": "r2"}],
    "poisson": [
        {"alphas": [1.0, 100.0]},
        {"alphas": [1.0, 100.0], "scoring": "pearson"},
        {"alphas": [1.0], "scoring": "bits_per_spike"},
    ],
    "lda": [{"scoring": "auc"}, {"alpha": 0.1}, {"shrinkage": 0.3, "scoring": "auc"}],
    "ridge_classifier": [{}, {"scoring": "auc"}],
    "nearest_centroid": [{}, {"scoring": "accuracy"}],
    "logistic": [{"scoring": "auc"}],
    "svm": [{"C": 0.01, "scoring": "auc"}],
}
CASES = [(name, options) for name, forms in FORMS.items() for options in forms]
N = 60


def ids(case):
    name, options = case
    return "-".join([name, *(f"{k}={v}" for k, v in options.items())])


@pytest.fixture(params=CASES, ids=ids)
def measure(request) -> Measure:
    name, options = request.param
    return registry.make(name, **options)


def where(predicate):
    """Only the measures that declare something; at least one must."""
    chosen = [case for case in CASES if predicate(registry.make(case[0], **case[1]))]
    assert chosen
    return pytest.mark.parametrize("measure", chosen, ids=ids, indirect=True)


def folds(n: int = N, k: int = 5) -> Folds:
    order = np.random.default_rng(7).permutation(n)
    parts = [np.sort(part) for part in np.array_split(order, k)]
    return Folds(tuple((np.setdiff1d(order, part), part) for part in parts), n)


def in_time(n: int, reach: int) -> Folds:
    """Blocks with a gap, for measures that look into the past."""
    rows = np.arange(n)
    parts = np.array_split(rows, min(5, n // 2))
    splits = tuple((rows[np.abs(rows[:, None] - part).min(axis=1) > reach], part) for part in parts)
    return Folds(splits, n, gap=reach, in_time=True)


def pair(measure: Measure, seed: int = 0, n: int = N, p: int = 9, q: int = 7, signal: float = 1.0):
    """Two systems that share latents, with repeats where the measure needs them."""
    rng = np.random.default_rng(seed)
    if measure.options.get("method") == "riemannian":  # which needs more units than stimuli
        p, q = p + N, q + N
    z = rng.normal(size=(n, 4)) * signal
    x = z @ rng.normal(size=(4, p)) + 0.7 * rng.normal(size=(n, p)) + rng.normal(size=p)
    y = z @ rng.normal(size=(4, q)) + 0.7 * rng.normal(size=(n, q)) + rng.normal(size=q)
    if measure.target_holds == "counts":
        x, y = (rng.poisson(np.exp(1 + 0.4 * (v - v.mean(axis=0)) / v.std())).astype(float) for v in (x, y))
    if measure.target_holds == "labels":  # one of three columns is 1
        y = np.eye(3)[np.argmax(y[:, :3] - y[:, :3].mean(axis=0), axis=1)]
    if measure.needs == "repeats":
        return x + 0.5 * rng.normal(size=(3, n, p)), y + 0.5 * rng.normal(size=(3, n, q))
    return x, y


def refused(measure: Measure) -> str:
    """What a measure says of a target that is not what it predicts; empty where any will do."""
    return {"counts": "not counts", "labels": "holds no labels", "responses": ""}[measure.target_holds]


def score(measure: Measure, x, y, drawn: Folds | None = None) -> float:
    if measure.fitted and drawn is None:
        drawn = in_time(x.shape[-2], measure.reach) if measure.reach else folds(x.shape[-2])
    states = measure.prepared(x, drawn), measure.prepared(y, drawn, side="target")
    return as_outcome(measure.compare(*states)).score


def test_every_measure_on_the_menu_is_under_the_law():
    assert set(FORMS) == set(registry.BUILT_IN)


def test_score_is_a_finite_number_within_the_declared_range(measure):
    low, high = measure.score_range
    for seed in range(3):
        for signal in (1.0, 0.0):
            if signal == 0.0 and measure.options.get("estimator") in ("stimulus_and_unit", "repeats"):
                continue  # no signal: a clear error, tested below
            value = score(measure, *pair(measure, seed, signal=signal))
            assert isinstance(value, float)
            assert np.isfinite(value)
            assert low - 1e-12 <= value <= high + 1e-12


@pytest.mark.parametrize("name", sorted(invariances.TRANSFORMS))
@pytest.mark.parametrize("side", ["source", "target"])
def test_declared_invariances_hold_and_others_fail(measure, name, side):
    x, y = pair(measure)
    declared = measure.invariant_to
    if side == "target" and measure.target_invariant_to is not None:
        declared = measure.target_invariant_to
    before = score(measure, x, y)
    changes = []
    for seed in range(3):
        moved = [x, y]
        moved[side == "target"] = invariances.TRANSFORMS[name](moved[side == "target"], np.random.default_rng(seed))
        if refused(measure) and side == "target" and name not in declared:  # no counts, or labels, any more
            with pytest.raises(MeasureError, match=refused(measure)):
                score(measure, *moved)
            continue
        changes.append(abs(score(measure, *moved) - before))
    if not changes:
        return
    if name in declared:
        assert max(changes) < 2e-7, f"declared invariant to {name} of the {side}, yet the score moved"
    else:
        assert max(changes) > 1e-6, f"not declared invariant to {name} of the {side}, yet nothing moved"


def test_symmetry_is_as_declared(measure):
    x, y = pair(measure)
    if measure.classes is not None:  # a source of responses is no target
        with pytest.raises(MeasureError, match=refused(measure)):
            score(measure, y, x)
        assert not measure.symmetric
        return
    gap = abs(score(measure, x, y) - score(measure, y, x))
    assert gap < 1e-10 if measure.symmetric else gap > 1e-3


@where(lambda m: not np.isnan(m.identical))
def test_a_system_compared_with_itself(measure):
    x, y = pair(measure)
    assert score(measure, x, x) == pytest.approx(measure.identical, abs=1e-7)
    assert abs(score(measure, x, y) - measure.identical) > 1e-2


@where(lambda m: m.is_metric)
def test_triangle_inequality_of_metrics(measure):
    rng = np.random.default_rng(0)
    for trial in range(200):
        nested = rng.normal(size=(18, 8))  # two widths leave room for measures of column spaces
        widths = rng.integers(3, 9, size=3)
        systems = [nested[:, :w] if trial % 2 else rng.normal(size=(18, w)) for w in widths]
        ab, bc, ac = (score(measure, systems[i], systems[j]) for i, j in ((0, 1), (1, 2), (0, 2)))
        assert ac <= ab + bc + 1e-9
        assert min(ab, bc, ac) >= 0


def test_missing_values_raise_without_a_nan_aware_form(measure):
    x, y = pair(measure, p=20, q=16)
    y[..., 3, 2] = np.nan
    if measure.accepts_nan:
        assert np.isfinite(score(measure, x, y))
    else:
        with pytest.raises(MeasureError, match="1 missing values|3 missing values"):
            score(measure, x, y)


def test_infinite_values_raise(measure):
    x, y = pair(measure)
    y[..., 3, 2] = np.inf
    with pytest.raises(MeasureError, match="infinite"):
        score(measure, x, y)


def test_too_few_stimuli_raise(measure):
    x, y = pair(measure)
    few = measure.min_stimuli - 1
    with pytest.raises(MeasureError, match=f"{few} stimuli; expected at least"):
        measure.prepared(x[..., :few, :], folds(few, 2) if measure.fitted else None)


def test_no_variance_raises(measure):
    x, y = pair(measure)
    flat = np.full_like(x, 1e4)
    with pytest.raises(MeasureError):
        score(measure, flat, y)


def test_float32_with_a_large_offset_agrees_with_float64(measure):
    """Subtracting means first, in float64: an offset of 1e4 costs only the digits that float32 never had."""
    x, y = pair(measure)
    both = measure.invariant_to & (measure.target_invariant_to or measure.invariant_to)
    offset = 0.0 if "translation" not in both else 1e4
    narrow = [(v + offset).astype(np.float32) for v in (x, y)]
    wide = [v.astype(np.float64) for v in narrow]  # the same numbers, so that only arithmetic differs
    assert score(measure, *narrow) == pytest.approx(score(measure, *wide), abs=2e-5)
    assert score(measure, *narrow) == pytest.approx(score(measure, x, y), abs=2e-2 if offset else 1e-5)


@where(lambda m: "scaling" in m.invariant_to)
@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_scale_of_the_units_of_measurement_does_not_matter(measure, scale):
    x, y = pair(measure)
    assert score(measure, x * scale, y) == pytest.approx(score(measure, x, y), abs=1e-9)


@where(lambda m: m.restrict is not None)
def test_restrict_equals_preparing_the_subset(measure):
    x, y = pair(measure)
    rng = np.random.default_rng(3)
    for rows in (np.sort(rng.permutation(N)[:25]), rng.permutation(N), np.delete(np.arange(N), 11)):
        smaller = [measure.restrict(measure.prepared(v), rows) for v in (x, y)]
        value = as_outcome(measure.compare(*smaller)).score
        assert value == pytest.approx(score(measure, x[..., rows, :], y[..., rows, :]), abs=1e-10)


@where(lambda m: m.restrict is not None)
def test_restrict_leaves_the_state_as_it_was(measure):
    x, y = pair(measure)
    a, b = measure.prepared(x), measure.prepared(y)
    before = as_outcome(measure.compare(a, b)).score
    measure.restrict(a, np.arange(20))
    assert as_outcome(measure.compare(a, b)).score == before


@where(lambda m: m.compare_many is not None)
@pytest.mark.parametrize("widths", [(3, 5, 8), (40, 90, 200), (4, 30, 120)])
def test_compare_many_equals_compare(measure, widths):
    data = [pair(measure, seed, p=width)[0] for seed, width in enumerate(widths)]
    states = [measure.prepared(v, folds() if measure.fitted else None) for v in data]
    try:
        single = np.array([[as_outcome(measure.compare(a, b)).score for b in states] for a in states])
    except MeasureError:  # ranks that fill the stimuli: both forms refuse
        with pytest.raises(MeasureError):
            measure.compare_many(states, states)
        return
    np.testing.assert_allclose(measure.compare_many(states, states), single, rtol=0, atol=1e-10)
    np.testing.assert_allclose(measure.compare_many(states[:1], states[1:]), single[:1, 1:], rtol=0, atol=1e-10)


def test_order_of_stimuli_does_not_matter(measure):
    if measure.reach:  # rows are moments, and have an order: delays do not go over any other
        x, y = pair(measure)
        order = np.random.default_rng(5).permutation(N)
        assert abs(score(measure, x[order], y[order]) - score(measure, x, y)) > 1e-3
        return
    x, y = pair(measure)
    order = np.random.default_rng(5).permutation(N)
    place = np.argsort(order)
    moved = Folds(tuple((place[train], place[test]) for train, test in folds().splits), N)
    value = score(measure, x[..., order, :], y[..., order, :], moved)
    assert value == pytest.approx(score(measure, x, y), abs=1e-9)


def test_inputs_are_not_changed(measure):
    x, y = pair(measure)
    copies = x.copy(), y.copy()
    score(measure, x, y)
    np.testing.assert_array_equal(x, copies[0])
    np.testing.assert_array_equal(y, copies[1])


def test_unknown_options_raise():
    with pytest.raises(OptionError, match="did you mean 'debiased'"):
        registry.make("cka", estimator="debased")
    with pytest.raises(OptionError, match="regularization=2"):
        registry.make("cca", regularization=2)


# The laws must be able to fail: two measures broken on purpose.


def broken_by_a_missing_mean() -> Measure:
    """Linear CKA that forgets to centre: translation changes it."""
    from repcompare.measures.cka import cka

    def prepare(x):
        k = x @ x.T
        return k / np.linalg.norm(k)

    return replace(
        cka(estimator="biased"),
        prepare=prepare,
        compare=lambda a, b: float((a * b).sum()),
        compare_many=None,
        restrict=None,
    )


def broken_by_a_similarity_called_metric() -> Measure:
    """1 - CKA, declared a metric: it violates the triangle inequality."""
    from repcompare.measures.cka import cka

    good = cka(estimator="biased")
    return replace(good, compare=lambda a, b: 1 - good.compare(a, b), is_metric=True, kind="distance", identical=0.0)


def test_the_law_of_translation_catches_a_missing_mean():
    with pytest.raises(AssertionError, match="declared invariant to translation"):
        test_declared_invariances_hold_and_others_fail(broken_by_a_missing_mean(), "translation", "source")


def test_the_law_of_the_triangle_catches_a_false_metric():
    with pytest.raises(AssertionError):
        test_triangle_inequality_of_metrics(broken_by_a_similarity_called_metric())
