"""What theorems say of the alignment measures: chance levels, metrics, and equalities between measures.

Identities that concern one family are tested with it (``test_cka``, ``test_shape``, ``test_spectral``,
``test_neighbours``, ``test_cca``, ``test_dependence``); here are those that run over the menu or join families.
"""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from repcompare.errors import MeasureError
from repcompare.measures import registry
from repcompare.measures._measure import Outcome, as_outcome
from tests.test_laws import CASES, ids

METRICS = [case for case in CASES if registry.make(case[0], **case[1]).is_metric]
ORDERS = np.array(list(permutations(range(6))))


def score(x, y, name, **options):
    measure = registry.make(name, **options)
    return as_outcome(measure.compare(measure.prepared(x), measure.prepared(y, side="target"))).score


def systems(n=40, p=7, q=5, seed=0):
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, 3))
    return tuple(z @ rng.normal(size=(3, w)) + rng.normal(size=(n, w)) + rng.normal(size=w) for w in (p, q))


def centred(x):
    return x - x.mean(0)


# Metrics.


@pytest.fixture(scope="module")
def shapes():
    """64 systems of 18 stimuli: four nests of eight subspaces each, and 32 unrelated ones; ranks of two leave room."""
    rng = np.random.default_rng(0)
    nests = [rng.normal(size=(18, 8)) for _ in range(4)]
    nested = [nest[:, : width + 1] for nest in nests for width in range(8)]
    return nested + [rng.normal(size=(18, rng.integers(1, 9))) for _ in range(32)]


@pytest.fixture(scope="module")
def triples():
    """3000 triples: half within a nest, half of any systems."""
    rng = np.random.default_rng(1)
    within = [8 * rng.integers(4) + rng.choice(8, 3, replace=False) for _ in range(1500)]
    return np.array(within + [rng.choice(64, 3, replace=False) for _ in range(1500)])


def distances(measure, data):
    states = [measure.prepared(x) for x in data]
    if measure.compare_many is not None:
        return measure.compare_many(states, states)
    out = np.zeros((len(states), len(states)))
    for i, j in zip(*np.tril_indices(len(states), -1), strict=True):
        out[i, j] = out[j, i] = as_outcome(measure.compare(states[i], states[j])).score
    return out


@pytest.mark.parametrize("case", METRICS, ids=ids)
def test_no_triple_violates_the_triangle(case, shapes, triples):
    found = distances(registry.make(case[0], **case[1]), shapes)
    i, j, k = triples.T
    sides = np.sort([found[i, j], found[j, k], found[i, k]], axis=0)
    assert sides[0].min() >= 0
    assert (sides[0] + sides[1] - sides[2]).min() >= -1e-9 * max(1.0, sides.max())


def orthogonal():
    """Two centred unit vectors over stimuli that are orthogonal, and the plane that they span between them."""
    first, second = np.linalg.qr(centred(np.random.default_rng(0).normal(size=(20, 2))))[0].T
    return first[:, None], np.stack([first, second], axis=1), second[:, None]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("cka", {"estimator": "biased"}),
        ("procrustes", {"score": "similarity"}),
        ("cca", {"held_out": False}),
        ("svcca", {}),
        ("pwcca", {}),
        ("one_to_one", {}),
    ],
)
def test_one_less_a_similarity_is_no_metric(name, options):
    """A line, the plane around it, and the line across: two small steps and one whole."""
    line, plane, across = orthogonal()
    ab, bc, ac = (1 - score(x, y, name, **options) for x, y in ((line, plane), (plane, across), (line, across)))
    assert ac == pytest.approx(1, abs=1e-9)
    assert ac > ab + bc + 0.2
    assert not registry.make(name, **options).is_metric


def test_the_same_triple_keeps_the_triangle_of_metrics():
    """arccos and the root of 2 - 2 NBS or 1 - CKA are metrics where 1 - NBS and 1 - CKA are not; here with equality."""
    line, plane, across = orthogonal()
    for form in ({"score": "angular"}, {"score": "euclidean"}):
        ab, bc, ac = (score(x, y, "procrustes", **form) for x, y in ((line, plane), (plane, across), (line, across)))
        assert ac <= ab + bc + 1e-12
    kernels = [score(x, y, "cka", estimator="biased") for x, y in ((line, plane), (plane, across), (line, across))]
    ab, bc, ac = np.sqrt(1 - np.array(kernels))
    assert ac <= ab + bc + 1e-12


def test_the_root_of_one_less_cka_keeps_the_triangle(shapes, triples):
    measure = registry.make("cka", estimator="biased")
    states = [measure.prepared(x) for x in shapes]
    i, j, k = triples.T
    found = np.sqrt(np.maximum(0, 1 - measure.compare_many(states, states)))
    sides = np.sort([found[i, j], found[j, k], found[i, k]], axis=0)
    assert (sides[0] + sides[1] - sides[2]).min() >= -1e-7  # of equal lines: roots of rounding


def test_shared_neighbours_are_at_distance_zero_without_being_alike():
    """1 - mutual kNN obeys the triangle, but is no metric of shapes: what neighbours share says nothing of distances."""
    x = np.arange(20.0)[:, None] ** 1.5
    stretched = np.arange(20.0)[:, None] ** 1.6
    options = {"k": 2, "neighbours": "euclidean"}
    assert score(x, stretched, "mutual_knn", **options) == 1
    assert score(x, stretched, "procrustes") > 1e-2
    assert not registry.make("mutual_knn", **options).is_metric


# Equalities that join families.


def test_one_number_under_many_names():
    """Linear biased CKA: RV, the cosine of centred squared distances, whitened-cosine RSA, a distance correlation."""
    x, y = systems()
    value = score(x, y, "cka", estimator="biased")
    a, b = centred(x), centred(y)
    rv = np.linalg.norm(a.T @ b) ** 2 / (np.linalg.norm(a @ a.T) * np.linalg.norm(b @ b.T))
    centring = np.eye(40) - 1 / 40
    d, e = (centring @ np.square(v[:, None] - v[None]).sum(-1) @ centring for v in (x, y))
    assert value == pytest.approx(rv, abs=1e-12)
    assert value == pytest.approx((d * e).sum() / np.linalg.norm(d) / np.linalg.norm(e), abs=1e-12)
    assert value == pytest.approx(score(x, y, "rsa", distance="squared_euclidean", method="whitened_cosine"), abs=1e-12)


def test_bures_by_any_name():
    """NBS = normalised Bures similarity of K and L (also between RDMs); Procrustes^2 = Bures^2; the chord of the angle."""
    x, y = systems()
    kernels = [centred(v) @ centred(v).T for v in (x, y)]
    roots = []
    for kernel in kernels:
        values, vectors = np.linalg.eigh(kernel)
        kept = values > 1e-10 * values.max()  # the root of rounding is not small
        roots.append((vectors[:, kept] * np.sqrt(values[kept])) @ vectors[:, kept].T)
    fidelity = np.linalg.norm(roots[0] @ roots[1], "nuc")
    traces = [np.trace(kernel) for kernel in kernels]
    similarity = score(x, y, "procrustes", score="similarity")
    assert similarity == pytest.approx(fidelity / np.sqrt(traces[0] * traces[1]), abs=1e-9)
    assert similarity == pytest.approx(score(x, y, "rsa", distance="squared_euclidean", method="bures"), abs=1e-9)
    squared = score(x, y, "procrustes", score="euclidean", scale=False) ** 2
    assert squared == pytest.approx(sum(traces) - 2 * fidelity, rel=1e-9)
    chord = score(x, y, "procrustes", score="euclidean")
    assert chord == pytest.approx(np.sqrt(2 - 2 * similarity), abs=1e-12)
    assert chord == pytest.approx(2 * np.sin(score(x, y, "procrustes") / 2), abs=1e-12)


def test_self_terms_of_debiased_cka_are_never_negative():
    """<U(K), U(K)> >= 0: the score of a system with itself is 1, however few stimuli there are."""
    for seed in range(50):
        rng = np.random.default_rng(seed)
        x = rng.normal(size=(int(rng.integers(4, 8)), int(rng.integers(1, 40))))
        assert score(x, x, "cka") == pytest.approx(1, abs=1e-9)


def test_the_ends_of_the_alpha_family():
    x, y = systems()
    u, v = (np.linalg.svd(centred(w), full_matrices=False)[0] for w in (x, y))
    rho = np.linalg.svd(u.T @ v, compute_uv=False)
    assert np.cos(score(x, y, "shape_distance", alpha=0.0)) == pytest.approx(rho.sum() / np.sqrt(35), abs=1e-12)
    assert score(x, y, "gulp", squared=True) == pytest.approx(12 - 2 * np.square(rho).sum(), abs=1e-10)
    assert score(x, y, "cca", held_out=False, summary="yanai") == pytest.approx(
        score(u * np.sqrt(40), v, "cka", estimator="biased"), abs=1e-12
    )
    assert np.cos(score(x, y, "shape_distance")) == pytest.approx(
        score(x, y, "procrustes", score="similarity"), abs=1e-12
    )


def test_far_outliers_whatever_their_direction():
    """Moving a set of stimuli by c v: biased CKA tends to one number, whichever v, and NBS does not care for more."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 8))
    moved = np.arange(60) < 9
    share = moved.mean()
    gap = x[moved].mean(0) - x[~moved].mean(0)
    limit = 60 * share * (1 - share) * gap @ gap / np.linalg.norm(centred(x).T @ centred(x))
    for seed in range(3):
        v = np.random.default_rng(seed).normal(size=8)
        assert score(x, x + 1e7 * np.outer(moved, v), "cka", estimator="biased") == pytest.approx(limit, abs=1e-5)


def test_full_column_spaces_share_directions_whatever_they_hold():
    """r_x + r_y - (n - 1) canonical correlations are 1: refused, and exact when allowed."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(20, 15)), rng.normal(size=(20, 12))
    for name, options in (("cca", {"held_out": False}), ("svcca", {"variance": 1.0}), ("gulp", {})):
        with pytest.raises(MeasureError, match="degenerate='allow'"):
            score(x, y, name, **options)
    measure = registry.make("cca", held_out=False, degenerate="allow")
    found = measure.compare(measure.prepared(x), measure.prepared(y))
    u, v = (np.linalg.svd(centred(w), full_matrices=False)[0] for w in (x, y))
    rho = np.linalg.svd(u.T @ v, compute_uv=False)
    assert (rho > 1 - 1e-12).sum() == 15 + 12 - 19
    assert as_outcome(found).score == pytest.approx(rho.mean(), abs=1e-12)


# Chance.


def small(case):
    """The form for six stimuli."""
    name, options = case
    k = {"k": 2} if name in ("mutual_knn", "jaccard", "second_order_cosine", "cknna") else {}
    return registry.make(name, **{**options, **k})


def moments(measure, a, b):
    """Exact mean and sd under permuted stimuli that a pair reports, beside its score or in its annotation."""
    found = measure.annotate(a, b) if measure.annotate else measure.compare(a, b)
    details = found.details if isinstance(found, Outcome) else {}
    return details.get("null_mean"), details.get("null_sd")


@pytest.mark.parametrize("case", [c for c in CASES if registry.make(c[0], **c[1]).restrict is not None], ids=ids)
def test_reported_moments_of_chance_are_those_of_all_orders(case):
    """Mean and standard deviation over all 720 orders of six stimuli, wherever a measure reports them."""
    measure = small(case)
    rng = np.random.default_rng(0)
    widths = (9, 8) if case[0] == "rsa" else (2, 2)  # some comparisons of RDMs need more units than stimuli
    repeats = (3,) if measure.needs == "repeats" else ()
    a, b = (measure.prepared(rng.normal(size=(*repeats, 6, w)) + 0.3) for w in widths)
    mean, sd = moments(measure, a, b)
    if mean is None:
        assert sd is None
        return
    found = [as_outcome(measure.compare(a, measure.restrict(b, order))).score for order in ORDERS]
    assert np.mean(found) == pytest.approx(mean, abs=1e-9)
    if sd is not None:
        assert np.std(found) == pytest.approx(sd, abs=1e-9)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("cka", {}),
        ("cka", {"estimator": "biased"}),
        ("cca", {"held_out": False, "summary": "mean_squared", "degenerate": "allow"}),
        ("cca", {"held_out": False, "summary": "yanai", "degenerate": "allow"}),
        ("linear_r2", {"degenerate": "allow"}),
        ("ensd", {}),
        ("mutual_knn", {"k": 2}),
        ("jaccard", {"k": 2}),
        ("gulp", {"squared": True, "degenerate": "allow"}),
    ],
)
def test_measures_with_exact_chance_report_it(name, options):
    measure = registry.make(name, **options)
    rng = np.random.default_rng(0)
    a, b = (measure.prepared(rng.normal(size=(6, w))) for w in (3, 1))
    assert moments(measure, a, b)[0] is not None


def test_the_mean_product_of_permuted_kernels():
    """E <A, P B P'> = tr A tr B / (n - 1) for centred positive semidefinite A, B: where every chance level comes from."""
    rng = np.random.default_rng(0)
    a, b = (v @ v.T for v in (centred(rng.normal(size=(6, w))) for w in (3, 2)))
    found = np.mean([(a * b[np.ix_(order, order)]).sum() for order in ORDERS])
    assert found == pytest.approx(np.trace(a) * np.trace(b) / 5, rel=1e-12)
